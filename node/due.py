"""When a block is due, and the look again when the next thing may be (CONSENSUS §2, the due rule).

Rules of this file

* Each reason is told at most once a height; ``DueReason`` says what each means to the core.
* One timer runs: it ends at the next deadline or heartbeat, and no later than the bound of the oldest transaction.
* Transactions that wait for long are pushed to all again, whether a block is due or not.
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from consensus.events import DueReason
from ledger.votes import quorum
from p2p.clock import Clock, TimerHandle

from .chain import Chain
from .evidence import EvidencePool
from .mempool import Mempool

PUSH_AGAIN_S: Final = 5.0
"""Transactions that still wait are pushed to all again so often (CONSENSUS §2)."""
PUSH_AGAIN_MAX: Final = 256


class Gossip(Protocol):
    """What the driver needs of the transactions' gossip."""

    def submit(self, transactions: Sequence[tuple[bytes, bytes]]) -> None: ...

    def holders(self, transaction_id: bytes) -> frozenset[bytes]: ...


class DueWatch:
    """See the head of this file."""

    def __init__(
        self,
        *,
        chain: Chain,
        mempool: Mempool,
        evidence: EvidencePool,
        gossip: Gossip,
        clock: Clock,
        tell: Callable[[DueReason], None],
    ) -> None:
        """``tell`` gets each reason for which a block above the head is due."""
        self._chain = chain
        self._mempool = mempool
        self._evidence = evidence
        self._gossip = gossip
        self._clock = clock
        self._tell = tell
        self._stopped = False
        self._said: set[DueReason] = set()
        self._timer: TimerHandle | None = None
        self._watching_old = False
        """Whether the timer runs off soon enough for the transactions that wait."""
        self._pushed_s = 0.0

    def height_opened(self) -> None:
        """Forget what was said, and say what is due at the new height."""
        self._said.clear()
        if len(self._mempool):
            self.say(DueReason.PENDING)
        if len(self._evidence):
            self.say(DueReason.EVIDENCE)
        self._look()

    def pending(self) -> None:
        """Transactions have entered the mempool."""
        self.say(DueReason.PENDING)
        if not self._watching_old:
            self._look()

    def say(self, reason: DueReason) -> None:
        """A block is due for this reason."""
        if reason not in self._said:
            self._said.add(reason)
            self._tell(reason)

    def stop(self) -> None:
        """Nothing is looked at any more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        """Say what is due now, and look again when the next thing may be."""
        if self._stopped:
            return
        if self._timer is not None:
            self._timer.cancel()
        chain = self._chain
        wait_ms = chain.due_in_ms()
        if wait_ms <= 0:
            self.say(DueReason.DEADLINE if chain.deadline_due() else DueReason.HEARTBEAT)
            wait_ms = chain.view.params.heartbeat_ms
        self._watching_old = len(self._mempool) > 0
        if self._watching_old:
            bound_ms = chain.view.params.announce_bound_ms
            self._watch_old(bound_ms)
            wait_ms = min(wait_ms, bound_ms)
        self._timer = self._clock.call_later(wait_ms / 1_000, self._look)

    def _watch_old(self, bound_ms: int) -> None:
        now_ms = self._clock.time_ms()
        if self._mempool.oldest_due(bound_ms, quorum(len(self._chain.view.next_validators)), now_ms) is not None:
            self.say(DueReason.ANNOUNCED)
        now_s = self._clock.monotonic_s()
        if now_s - self._pushed_s >= PUSH_AGAIN_S:
            self._pushed_s = now_s
            old = self._mempool.older_than(int(PUSH_AGAIN_S * 1_000), now_ms, PUSH_AGAIN_MAX)
            entries = map(self._mempool.get, old)
            self._gossip.submit([(entry.id, entry.raw) for entry in entries if entry is not None])
