"""How much may wait before clients are sent away: so much as the chain commits in a second or two (NODE §2).

A node that admits more than it commits spends its time on verifying what will wait, and commits less for it: what waits
has cost every node its verification already. So the door closes while the backlog is cheap: before a transaction is
decoded, long before the mempool is full. While the chain is idle a burst is taken at once; how much may wait behind a
block that left something over is what the chain commits in ``BACKLOG_S``. What peers push is not refused here: they
have verified it already, and a proposal that names it would have to be fetched.
"""

from typing import Final

BACKLOG_S: Final = 1.5
"""What waits is at most what the last blocks under load commit in so long."""
BACKLOG_MIN: Final = 4_608
"""... but this many may always wait: a few blocks, so that none is small for want of transactions."""
BURST_MAX: Final = 8_192
"""So many are taken by a chain that is not busy."""
RATE_KEPT: Final = 0.8
"""Share of the old average in the new one, a block."""


class Door:
    """See the head of this file. ``committed`` after each block, ``is_open`` before a client's are decoded."""

    def __init__(self) -> None:
        self._since_s: float | None = None
        self._rate = 0.0

    @property
    def backlog_max(self) -> int:
        """Transactions that may wait now."""
        return max(BACKLOG_MIN if self._since_s is not None else BURST_MAX, int(self._rate * BACKLOG_S))

    def committed(self, count: int, left: int, now_s: float) -> None:
        """A block took ``count`` transactions and left ``left`` waiting; only a busy chain says how quick it is."""
        if self._since_s is not None and count:
            fresh = count / max(now_s - self._since_s, 1e-3)
            self._rate = RATE_KEPT * self._rate + (1 - RATE_KEPT) * fresh
        self._since_s = now_s if left else None

    def is_open(self, waiting: int) -> bool:
        """Whether one more may come while ``waiting`` wait or are being checked."""
        return waiting < self.backlog_max
