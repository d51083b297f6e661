"""The one door of the agreement: ``Consensus.step(event) -> list[Effect]`` (CONSENSUS §1).

No clock, socket, disk, randomness or key. Two calls of ``step`` with equal histories give equal effects.
"""

from collections.abc import Callable, Iterable

from .effects import Effect
from .events import Event
from .records import Record

Verify = Callable[[bytes, bytes, bytes], bool]
"""verify(public key, 32-byte digest, signature) -> whether it is valid."""


class Consensus:
    """The agreement of one node, over all heights of one process.

    ``records`` is the whole log as read at the start (empty for an observer). ``step`` may raise ``InvariantViolation``
    only, which ends the process; a peer's fault is the effect ``Blame``.
    """

    height: int
    """The open height; 0 before the first HeightStarted."""
    round: int
    """Our current round at it."""
    signing: bool
    """Whether LastSeen is satisfied and we are in V(height): False for an observer."""

    def __init__(self, verify: Verify, records: Iterable[Record]) -> None: ...

    def step(self, event: Event) -> list[Effect]:
        """Take one event in; return what is to be done, in order."""
        return []
