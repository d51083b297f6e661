"""Which ids cannot have been committed lately, told without asking the disk (NODE §2).

Of almost every transaction that comes in, the answer to "was it committed already?" is no, and LevelDB takes some
microseconds to say so. A filter of fixed size (Bloom 1970, with one bit an id) says it at once.

Rules of this file

* It never denies an id that was committed and may still be valid; what it may hold, the disk is asked for.
* Time is that of blocks. An id that a block of ``t`` holds is valid until ``t + VALIDITY_WINDOW_MS`` at most. So time
  is cut into spans as long as that window, and the ids of a span are forgotten when the span after it is over.
* Ids are hashes, so their own bits choose the places. Who grinds ids to hit set bits makes the disk be asked, no more.
* What lies on the disk at a start is read into it when it is little; else every id may be held until that has expired.
"""

from collections.abc import Iterable
from itertools import islice
from struct import Struct
from typing import Final

from ledger.limits import VALIDITY_WINDOW_MS

BITS: Final = 1 << 26
"""8 MiB a span, two spans. At 4,000 ids a second 7 % of all others seem to be held in the end, at 1,000 2 %."""
READ_MAX: Final = 50_000
"""So many ids are read at a start: a tenth of a second."""

_BYTES: Final = BITS // 8
_ZEROS: Final = bytes(_BYTES)
_place: Final = Struct("=I").unpack_from
"""Of an id: its upper bits say the byte, the lower three the bit."""
_ID_PLACES: Final = 8
"""An id is so many numbers as large as a place; the first one is its place."""
_BIT: Final = tuple(1 << bit for bit in range(8))


class SeenFilter:
    """See the head of this file. ``begin`` it once with what the store holds, ``add`` each block's ids."""

    def __init__(self) -> None:
        self._now = bytearray(_ZEROS)  # copied, and so in memory from the start: it does not grow under load
        """Ids of the present span."""
        self._before = bytearray(_ZEROS)
        """Of the one before."""
        self._span = 0
        self._blind_until_ms: int | None = None
        """Up to this block time anything may be held: there was too much to be read."""

    def begin(self, ids: Iterable[bytes], head_ms: int) -> None:
        """``ids``: all that were committed and have not expired at ``head_ms``, the newest block's time."""
        self._span = head_ms // VALIDITY_WINDOW_MS
        found = list(islice(ids, READ_MAX + 1))
        if len(found) > READ_MAX:
            self._blind_until_ms = head_ms + VALIDITY_WINDOW_MS
        else:
            self._mark(found)

    def add(self, ids: Iterable[bytes], time_ms: int) -> None:
        """A block of ``time_ms`` holds these; the times of blocks ascend."""
        span = time_ms // VALIDITY_WINDOW_MS
        if span != self._span:
            self._before, self._now = self._now, self._before
            memoryview(self._now)[:] = _ZEROS  # in place, without a copy
            if span != self._span + 1:
                memoryview(self._before)[:] = _ZEROS
            self._span = span
        if self._blind_until_ms is not None and time_ms > self._blind_until_ms:
            self._blind_until_ms = None
        self._mark(ids)

    def _mark(self, ids: Iterable[bytes]) -> None:
        bits = self._now
        for place in memoryview(b"".join(ids)).cast("I")[::_ID_PLACES]:
            bits[(place >> 3) % _BYTES] |= _BIT[place & 7]

    def may_hold(self, tx_id: bytes) -> bool:
        """Whether the id may have been committed within the validity window; false: it was not."""
        (place,) = _place(tx_id)
        byte, bit = (place >> 3) % _BYTES, _BIT[place & 7]
        return bool(self._now[byte] & bit or self._before[byte] & bit) or self._blind_until_ms is not None
