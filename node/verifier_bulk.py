"""Signatures of the blocks that are caught up with: whole blocks of records, of which each taker takes a piece.

Rules of this file

* A bulk is what one caller wants to know; nothing is remembered of it record by record, its answer is one bitmap.
* Pieces are cut when somebody takes them, a worker's process many records, the event loop a few: so both find work to
  the last record, and a piece that is given back is the next to be taken.
* Of a bulk that nobody waits for any more nothing is handed out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from .verify_worker import RECORD_BYTES


class Bulk:
    """All records of one caller, at least one, and what is known of them."""

    __slots__ = ("bits", "done", "open", "records")

    def __init__(self, records: bytes) -> None:
        """``records``: 128 bytes each."""
        self.records = records
        self.bits = 0
        """Bit i: record i was found valid."""
        self.open = len(records) // RECORD_BYTES
        """Records of which nothing is known yet."""
        self.done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """The bitmap of all."""


@dataclass(slots=True, eq=False)
class Piece:
    """Records of a bulk that follow each other, from ``first`` to before ``stop``."""

    bulk: Bulk
    first: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.first

    @property
    def records(self) -> bytes:
        """Their bytes, one after the other."""
        return self.bulk.records[self.first * RECORD_BYTES : self.stop * RECORD_BYTES]

    def settle(self, bits: int) -> None:
        """Note its bitmap; the last piece completes the bulk."""
        bulk = self.bulk
        bulk.bits |= bits << self.first
        bulk.open -= len(self)
        if bulk.open == 0 and not bulk.done.done():
            bulk.done.set_result(bulk.bits)


class BulkQueue:
    """What nobody has taken yet of each bulk, the oldest first."""

    def __init__(self) -> None:
        self._rests: deque[Piece] = deque()

    def __bool__(self) -> bool:
        return bool(self._rests)

    def add(self, bulk: Bulk) -> None:
        """One more bulk."""
        self._rests.append(Piece(bulk, 0, bulk.open))

    def take(self, count_max: int) -> Piece | None:
        """The next records, up to so many, of the oldest bulk that somebody waits for."""
        while self._rests:
            rest = self._rests[0]
            if rest.bulk.done.done():
                self._rests.popleft()
            elif len(rest) <= count_max:
                return self._rests.popleft()
            else:
                piece = Piece(rest.bulk, rest.first, rest.first + count_max)
                rest.first = piece.stop
                return piece
        return None

    def give_back(self, piece: Piece) -> None:
        """It was taken and not verified: it is the next."""
        self._rests.appendleft(piece)

    def close(self) -> None:
        """Nobody verifies any more: whoever waits is cancelled."""
        for rest in self._rests:
            rest.bulk.done.cancel()
        self._rests.clear()
