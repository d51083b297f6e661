"""The bias that is left to a proposer, told to the log (LEDGER §7).

A proposer knows what his block would mix into an open draw, and nobody else does. He cannot choose another beacon; he
can withhold the block, the round fails, and the next proposer's beacon is mixed in instead. So each failed round while
a draw is open may have been one such choice, or a machine that was slow: the log says which draws, and how many rounds,
and whoever looks for a pattern finds the validators in the headers and in the metrics.
"""

from typing import Final

from ledger import draws

from .chain import Chain, Committed
from .logs import Log

DRAWS_NAMED_MAX: Final = 20
"""So many draws are named in a line; all of them are counted."""


class DrawWatch:
    """A listener of the chain."""

    def __init__(self, chain: Chain, log: Log) -> None:
        self._chain = chain
        self._log = log

    def committed(self, committed: Committed) -> None:
        """Tell of the rounds that failed before this block, if it was mixed into draws."""
        rounds = committed.certificate.round
        if rounds == 0:
            return
        mixed = draws.mixed_in(self._chain.current.state, committed.height)
        if mixed:
            self._log.info(
                "rounds failed while draws were open: each may be a block withheld",
                height=committed.height,
                rounds=rounds,
                draws=len(mixed),
                ids=mixed[:DRAWS_NAMED_MAX],
            )
