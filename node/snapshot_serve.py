"""Serving snapshots: a certified state is held, and its rows are read in a thread of their own (NODE §2).

Rules of this file

* A state is held (``Pin``) only when somebody asks, in a LevelDB snapshot, by the height of the header that certifies
  it. Whoever joins asks all peers for one height a little above the head: each pins it when it commits it, so that all
  of them hold the same state and its pieces can be fetched from any of them.
* A pin nobody asked for in ``PIN_IDLE_S`` is dropped; there are at most ``PINS_MAX``. While one is held, LevelDB keeps
  what later blocks overwrite.
* Nothing here delays a vote: rows are read in one thread (the disk is waited for there), and the bytes served are
  bounded by a rate; who asks for more is told BUSY and asks again.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar

from ledger.codec import encode
from ledger.errors import PeerError
from ledger.pages import WIDTH, read_node
from ledger.store import Reader
from ledger.subtrees import Subtree, read_page, root_level, rows_under
from ledger.tables import Table, TableReader
from p2p.clock import Clock, time_limit
from p2p.rate import TokenBucket
from p2p.requests import RequestRefused

from .chain import Chain, Committed
from .snapshot_offer import make_offer
from .snapshot_wire import (
    RECEIPTS_BYTES,
    RECEIPTS_MAX,
    ROWS_BYTES,
    GetHeaders,
    GetNodes,
    GetReceipts,
    GetRows,
    GetSnapshot,
    Headers,
    Nodes,
    ReceiptLists,
    Rows,
    Snapshot,
    encode_answer,
    subtree_of,
)

T = TypeVar("T")

PINS_MAX: Final = 3
PIN_IDLE_S: Final = 120.0
PIN_WAIT_S: Final = 4.0
"""How long a question waits for a height that is not committed yet."""
PIN_AHEAD_MAX: Final = 8
BYTES_PER_S: Final = 64 << 20
"""Rows served, to all peers together."""
WAITING_MAX: Final = 32
"""Questions that wait for their height."""


@dataclass
class Pin:
    """A held state."""

    offer: Snapshot
    reader: Reader
    asked_s: float

    def length(self, table: Table) -> int:
        """Rows of a table."""
        return self.offer.lengths[table - 1]


class SnapshotServer:
    """See the head of this file. ``committed`` listens to the chain; ``close`` before the store is closed."""

    def __init__(self, chain: Chain, clock: Clock) -> None:
        self._chain = chain
        self._clock = clock
        self._pins: dict[int, Pin] = {}
        self._waiting: dict[asyncio.Future[None], int] = {}
        self._reading = ThreadPoolExecutor(1, "snapshot-reader")
        self._bucket = TokenBucket(BYTES_PER_S, 2 * BYTES_PER_S, clock.monotonic_s())
        self.bytes_served = 0

    @property
    def heights(self) -> tuple[int, ...]:
        """Of the states held now."""
        return tuple(sorted(self._pins))

    def close(self) -> None:
        """Let every held state go, once what is being read has been read."""
        self._reading.shutdown(wait=True, cancel_futures=True)
        self._pins.clear()

    def committed(self, committed: Committed) -> None:
        """A listener of the chain: pin what is waited for, drop what nobody wants."""
        for waiting, height in self._waiting.items():
            if height <= committed.height and not waiting.done():
                waiting.set_result(None)
        if committed.height in self._waiting.values():
            self._pin_head()
        self._drop_idle()

    def _drop_idle(self) -> None:
        now_s = self._clock.monotonic_s()
        for height in [height for height, pin in self._pins.items() if now_s - pin.asked_s > PIN_IDLE_S]:
            del self._pins[height]

    # ---- offers ----

    async def offer(self, question: GetSnapshot) -> bytes:
        """The snapshot of the height asked for, else the newest. Raises ``RequestRefused``."""
        height = question.height
        if self._chain.height < height <= self._chain.height + PIN_AHEAD_MAX:
            await self._wait(height)
        self._drop_idle()
        pin = self._pins.get(height)
        if pin is None:
            self._pin_head()
            pin = self._pins.get(self._chain.height) or (self._pins[max(self._pins)] if self._pins else None)
        if pin is None:
            raise RequestRefused("NOT_FOUND", "no certified state can be held now")
        pin.asked_s = self._clock.monotonic_s()
        return encode_answer(pin.offer)

    async def _wait(self, height: int) -> None:
        if len(self._waiting) >= WAITING_MAX:
            raise RequestRefused("BUSY", "too many wait for a snapshot")
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[waiting] = height
        try:
            async with time_limit(self._clock, PIN_WAIT_S):
                await waiting
        except TimeoutError:
            return
        finally:
            del self._waiting[waiting]

    def _pin_head(self) -> None:
        """Hold the state that the newest header certifies, if there is room and it is known."""
        chain = self._chain
        height, certified = chain.height, chain.certified
        header = chain.blocks.header_raw(height)
        if height in self._pins or len(self._pins) >= PINS_MAX or certified.height != height - 1 or header is None:
            return
        tables = TableReader(certified.reader)
        offer = make_offer(height, header, encode(chain.certificate), tables, chain.blocks)
        self._pins[height] = Pin(offer, certified.reader, self._clock.monotonic_s())

    def _pin(self, height: int) -> Pin:
        pin = self._pins.get(height)
        if pin is None:
            raise RequestRefused("GONE", f"the snapshot {height} is not held here")
        pin.asked_s = self._clock.monotonic_s()
        return pin

    # ---- tables ----

    async def nodes(self, question: GetNodes) -> bytes:
        """Inner nodes. Raises ``RequestRefused``, ``PeerError`` for some that cannot be."""
        pin, table = self._pin(question.height), Table(question.table)
        length = pin.length(table)
        last = question.first + question.count - 1
        if not length or question.level > root_level(length) or last > (length - 1) // rows_under(question.level):
            raise PeerError("BAD_QUESTION", f"node {last} of level {question.level} of {length} rows")

        def read() -> bytes:
            indexes = range(question.first, last + 1)
            return encode_answer(Nodes(tuple(read_node(pin.reader, table, question.level, at) for at in indexes)))

        return await self._read(read)

    async def rows(self, question: GetRows) -> bytes:
        """The rows of a subtree. Raises ``RequestRefused``, ``PeerError`` for one that cannot be."""
        pin, where = self._pin(question.height), subtree_of(question)
        length = pin.length(where.table)
        if not where.rows(length) or where.level > max(root_level(length), 0):
            raise PeerError("BAD_QUESTION", f"{where} of {length} rows")
        return await self._read(lambda: _rows(pin.reader, where, length))

    async def _read(self, read: Callable[[], bytes]) -> bytes:
        if not self._bucket.take(0, self._clock.monotonic_s()):
            raise RequestRefused("BUSY", "more is asked than is served in a second")
        answer = await asyncio.get_running_loop().run_in_executor(self._reading, read)
        self._spend(len(answer))
        return answer

    def _spend(self, size: int) -> None:
        """Count what was served: it may overdraw the bucket once, the next questions wait for it to fill."""
        self.bytes_served += size
        self._bucket.draw(size, self._clock.monotonic_s())

    # ---- blocks ----

    async def headers(self, question: GetHeaders) -> bytes:
        """Headers. Raises ``RequestRefused`` NOT_FOUND."""
        found = [self._chain.blocks.header_raw(height) for height in range(question.first, question.last + 1)]
        headers = tuple(raw for raw in found if raw is not None)
        if len(headers) != len(found):
            raise RequestRefused("NOT_FOUND", f"headers from {question.first} to {question.last}")
        return encode_answer(Headers(headers))

    async def receipts(self, question: GetReceipts) -> bytes:
        """Receipts of blocks. Raises ``RequestRefused`` NOT_FOUND."""
        lists: list[bytes] = []
        size = 0
        for height in range(question.first, min(question.last, question.first + RECEIPTS_MAX - 1) + 1):
            receipts = self._chain.blocks.receipts(height)
            if receipts is None or size >= RECEIPTS_BYTES:
                break
            lists.append(encode(receipts))
            size += len(lists[-1])
            await asyncio.sleep(0)
        if not lists:
            raise RequestRefused("NOT_FOUND", f"receipts of {question.first}")
        return encode_answer(ReceiptLists(tuple(lists)))


def _rows(reader: Reader, where: Subtree, length: int) -> bytes:
    """The answer with the rows of ``where``. Raises ``RequestRefused`` TOO_LARGE."""
    rows: list[bytes] = []
    size = 0
    first = where.first // WIDTH
    for number in range(first, first + -(-where.rows(length) // WIDTH)):
        page = read_page(reader, where.table, number, length)
        rows += page
        size += sum(map(len, page))
        if size > ROWS_BYTES and where.level:
            raise RequestRefused("TOO_LARGE", f"{where}")
    return encode_answer(Rows(tuple(rows)))
