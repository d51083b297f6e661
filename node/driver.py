"""The asyncio shell of the agreement: events in, effects performed in order (CONSENSUS §1, ``consensus.effects``).

Rules of this file

* The core decides, this file performs. What must be durable before what is sent is the core's construction: a vote goes
  Persist -> ``Persisted`` -> Sign -> ``Signed`` -> Broadcast, and each step here only answers the one before.
* ``SafetyRules`` is told of a height before the core is, and of records once they are durable, before the core is.
* Everything runs in the event loop's thread; ``_feed`` is not re-entered, so effects keep their order.
* What an event makes us send leaves before anything that takes longer begins (checking, executing, committing).
* A peer's rubbish is a ``PeerError`` to the caller, who ends the link; a broken rule found later is ``Blame``.
* At a height whose version of the protocol this program does not speak it takes no part: nothing is opened or signed.
* When a block is due ``node.due`` says.
"""

from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, Protocol

from consensus.context import HeightContext
from consensus.core import Consensus
from consensus.effects import (
    Behind,
    Blame,
    Broadcast,
    BuildBlock,
    CheckBlock,
    Compact,
    Decide,
    Effect,
    FetchBody,
    Persist,
    ReportEvidence,
    Send,
    SetTimer,
    Sign,
)
from consensus.events import (
    BlockBuilt,
    BlockChecked,
    BlockDue,
    BodyAvailable,
    DueReason,
    Event,
    HeadRefuted,
    HeightStarted,
    PeerUp,
    Persisted,
    Received,
    Signed,
    Timeout,
    Timer,
    TimerKind,
    Verdict,
)
from consensus.log import Position, height_of
from consensus.messages import (
    NONCE_BYTES,
    RECENT_BYTES_MAX,
    Message,
    SignedCommit,
    SignedPrepare,
    SignedProposal,
    decode_framed,
    encode_framed,
)
from consensus.state import HeightState
from ledger.errors import InvariantViolation, PeerError
from ledger.votes import ValidatorEntry
from p2p.clock import Clock, TimerHandle
from p2p.limits import Channel
from p2p.turn import Turn

from .building import Committing
from .chain import Chain, Committed
from .due import DueWatch, Gossip
from .eager import begin
from .evidence import EvidencePool
from .logs import Log
from .mempool import Mempool
from .roster import Roster
from .seat import Seat
from .steps import Phases, Steps

TIMER_EARLY_S: Final = 0.001
"""A timer of the core may run off so much too early, for the clock's own timers do."""
DISK_LOW: Final = "the disk is nearly full"
"""Why a validator that has little free disk does not vote."""


class Links(Protocol):
    """What the driver needs of the network."""

    def send(self, peer: bytes, channel: Channel, payload: bytes) -> bool: ...

    def penalize(self, peer: bytes, error: PeerError) -> None: ...


class Driver:
    """See the head of this file. ``start`` it once the links may be used."""

    def __init__(
        self,
        *,
        core: Consensus,
        seat: Seat | None,
        chain: Chain,
        mempool: Mempool,
        evidence: EvidencePool,
        gossip: Gossip,
        links: Links,
        clock: Clock,
        roster: Callable[[], Roster],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        behind: Callable[[bytes, int], None],
        random_bytes: Callable[[int], bytes],
        log: Log,
        steps: Steps | None = None,
        coming: Callable[[bytes], bytes | None] = lambda tx_id: None,
        on_phase: Callable[[str, float], None] = lambda phase, seconds: None,
        turn: Turn | None = None,
    ) -> None:
        """``roster`` gives the present one; ``behind`` tells synchronisation of a peer that is ahead.

        ``coming`` gives the bytes of a transaction that is here, but not in the mempool yet; ``turn`` is the links'.
        """
        self._core = core
        self._seat = seat
        self._chain = chain
        self._mempool = mempool
        self._evidence = evidence
        self._gossip = gossip
        self._links = links
        self._clock = clock
        self._roster = roster
        self._spawn = spawn
        self._behind = behind
        self._random_bytes = random_bytes
        self._log = log
        self._coming = coming
        self._steps = steps if steps is not None else Steps()
        self._consensus = self._steps.of("consensus")
        self._phases = Phases(clock.monotonic_s, on_phase)
        self._stopped = False
        self._context: HeightContext | None = None
        self._queue: deque[Event] = deque()
        self._feeding = False
        self._turn = turn if turn is not None else Turn()
        self._following: deque[Coroutine[Any, Any, None]] = deque()
        """What the effects performed set in motion, to begin when they are all performed."""
        self._wanted: dict[TimerKind, tuple[float, Timer]] = {}
        """The core's timer of each kind, and when it runs off."""
        self._timers: dict[TimerKind, tuple[float, TimerHandle]] = {}
        """The clock's, which may run off earlier: most are set anew long before, and that shall cost nothing."""
        self._persisting: deque[tuple[int, Persist]] = deque()
        self._held: deque[Persist] = deque()
        self._holds: dict[str, None] = {}
        """Why nothing is made durable now, in the order in which the reasons came up."""
        self._due = DueWatch(
            chain=chain, mempool=mempool, evidence=evidence, gossip=gossip, clock=clock, tell=self._block_due
        )
        self.rounds_above_zero = 0
        """Blocks decided in a round above 0, since the start."""

    # ---- what happens ----

    def start(self) -> None:
        """Open the next height; from now on commits open the following ones."""
        self._chain.listen(self._committed)
        self._open_height()

    @property
    def height(self) -> int:
        """The open height."""
        return self._core.height

    @property
    def round(self) -> int:
        """Our round at it."""
        return self._core.round

    @property
    def signing(self) -> bool:
        """Whether we vote: we have a seat, know what others saw of it, have a head that our record has not passed, and
        there is room on the disk.
        """
        context, index = self._context, self.own_index
        if context is None or index is None or self._holds or self._core.state.passed:
            return False
        return self._core.state.cleared_key == context.key(index)

    @property
    def own_index(self) -> int | None:
        """Our position in V(height); None when we have no seat."""
        return self._context.index if self._context is not None else None

    @property
    def step(self) -> str:
        """Where the open height stands."""
        if not self._core.height:
            return "starting"
        state = self._core.state.open
        if state.decided is not None:
            return "committing"
        if state.round in state.accepted:
            return "voting"
        return "proposing" if state.due or state.pending else "idle"

    @property
    def open_height(self) -> HeightState | None:
        """The state of the open height, to be looked at; None before the first."""
        return self._core.state.open if self._core.height else None

    @property
    def not_signing_because(self) -> str | None:
        """Why a validator does not vote now."""
        if self.signing or self.own_index is None:
            return None
        if self._holds:
            return next(reversed(self._holds))
        if self._core.state.passed:
            record = self._core.state.record
            return f"its signing record is at block {record.height}: those below it can only come from other nodes"
        return "asking the others what they saw of this key"

    @property
    def evidence_seen(self) -> int:
        """Pieces of evidence that were new here, since the start."""
        return self._evidence.seen

    def received(self, peer: bytes, payload: bytes) -> None:
        """A message of the consensus class. Raises ``MalformedBytes``."""
        with self._consensus:
            epoch, message = decode_framed(payload)
            self._feed(Received(peer, self._roster().index_of(peer), message, epoch))

    def peer_up(self, peer: bytes) -> None:
        """A link came up."""
        index = self._roster().index_of(peer)
        if index is not None:
            self._feed(PeerUp(index))

    def head_refuted(self, peer: bytes) -> None:
        """Synchronisation could not obtain the blocks this peer's head promised."""
        self._feed(HeadRefuted(peer))

    def durable(self, position: Position) -> None:
        """The signing log is on the disk up to ``position``."""
        while self._persisting and self._persisting[0][0] <= position.sequence:
            _, effect = self._persisting.popleft()
            if self._seat is not None:
                self._seat.safety.recorded(effect.records)
            self._feed(Persisted(effect.token))

    def pending(self) -> None:
        """Transactions have entered the mempool."""
        self._due.pending()

    def evidence_waits(self) -> None:
        """A new piece of evidence waits for a block."""
        self._due.say(DueReason.EVIDENCE)

    def hold(self, why: str = DISK_LOW) -> None:
        """Sign nothing from now on: what is to be made durable waits."""
        self._holds[why] = None

    def release(self, why: str = DISK_LOW) -> None:
        """This reason is gone; when it was the last one: sign again."""
        self._holds.pop(why, None)
        while self._held and not self._holds:
            self._persist(self._held.popleft())

    def _forget_held(self, height: int) -> None:
        """What waits to be promised at heights below ``height`` is never asked for again: they are decided."""
        self._held = deque(effect for effect in self._held if any(height_of(r) >= height for r in effect.records))

    def stop(self) -> None:
        """Nothing is signed, sent or asked for any more."""
        self._stopped = True
        for _, timer in self._timers.values():
            timer.cancel()
        self._due.stop()

    # ---- heights ----

    def _committed(self, committed: Committed) -> None:
        self._evidence.committed()
        if committed.certificate.round > 0:
            self.rounds_above_zero += 1
        self._phases.reached("applied")
        self._open_height()

    def _open_height(self) -> None:
        if not self._chain.spoken:
            self.stop()
            return
        keys = self._seat.keys if self._seat is not None else ()
        context = self._context = self._chain.context(keys)
        if self._seat is not None:
            validator_keys = tuple(entry.validator_key for entry in context.validators)
            self._seat.safety.begin(context.epoch, context.height, validator_keys)
            self._seat.log.batched(self._chain.synced_position)
        self._forget_held(context.height)
        self._phases.begin()
        self._feed(HeightStarted(context, self._random_bytes(NONCE_BYTES)))
        self._due.height_opened()

    def _block_due(self, reason: DueReason) -> None:
        self._phases.reached("due")
        self._feed(BlockDue(self._chain.height + 1, reason))

    # ---- events and effects ----

    def _feed(self, event: Event) -> None:
        if self._stopped:
            return
        self._queue.append(event)
        if self._feeding:
            return
        self._feeding = True
        try:
            with self._turn, self._consensus:
                while self._queue:
                    for effect in self._core.step(self._queue.popleft()):
                        _PERFORM[type(effect)](self, effect)
        finally:
            self._feeding = False
        if self._following:
            self._turn.end()
            while self._following:
                begin(self._following.popleft(), self._spawn)

    def _persist(self, effect: Persist) -> None:
        if self._seat is None:
            raise InvariantViolation("an observer has nothing to persist")
        if self._holds:
            self._held.append(effect)
            return
        position = self._seat.log.append(effect.records)
        self._persisting.append((position.sequence, effect))

    def _sign(self, effect: Sign) -> None:
        if self._seat is None:
            raise InvariantViolation("an observer signs nothing")
        self._queue.append(Signed(effect.token, self._seat.safety.sign(effect.request)))

    def _send(self, effect: Send) -> None:
        payload = self._framed(effect.message)
        peers = self._links_of(effect.to) if isinstance(effect.to, int) else (effect.to,)
        for peer in peers:
            self._links.send(peer, Channel.CONSENSUS, payload)

    def _framed(self, message: Message) -> bytes:
        if self._context is None:
            raise InvariantViolation("before the first height there is nothing to say")
        return encode_framed(self._context.epoch, message)

    def _links_of(self, index: int) -> tuple[bytes, ...]:
        return self._roster().links[index]

    def _broadcast(self, effect: Broadcast) -> None:
        phase = _PHASES.get(type(effect.message))
        if phase is not None:
            self._phases.reached(phase)
        self._to_all(effect.message)
        if isinstance(effect.message, SignedPrepare):  # nothing to do until the others' come; those here come first
            self._clock.call_later(0, partial(self._execute_ahead, effect.message.message.hash))

    def _execute_ahead(self, hash_: bytes) -> None:
        if not self._stopped:
            begin(self._chain.execute_ahead(hash_), self._spawn)

    def _to_all(self, message: Message) -> None:
        payload = self._framed(message)
        own = self._context.index if self._context is not None else None
        for index, keys in enumerate(self._roster().links):
            if index != own:
                for key in keys:
                    self._links.send(key, Channel.CONSENSUS, payload)

    def _set_timer(self, effect: SetTimer) -> None:
        kind, delay_s = effect.timer.kind, effect.delay_ms / 1_000
        due_s = self._clock.monotonic_s() + delay_s
        self._wanted[kind] = (due_s, effect.timer)
        running = self._timers.get(kind)
        if running is not None:
            if running[0] <= due_s:
                return  # it runs off, sees that it is too early, and runs on
            running[1].cancel()
        self._run_timer(kind, delay_s, due_s)

    def _run_timer(self, kind: TimerKind, delay_s: float, due_s: float) -> None:
        self._timers[kind] = (due_s, self._clock.call_later(delay_s, partial(self._timeout, kind)))

    def _timeout(self, kind: TimerKind) -> None:
        del self._timers[kind]
        due_s, timer = self._wanted[kind]
        left_s = due_s - self._clock.monotonic_s()
        if left_s > TIMER_EARLY_S:
            self._run_timer(kind, left_s, due_s)
        else:
            del self._wanted[kind]
            self._feed(Timeout(timer))

    def _build(self, effect: BuildBlock) -> None:
        seat, chain = self._seat, self._chain
        if effect.height != chain.height + 1 or seat is None:
            return
        with self._steps.of("propose"):
            built = chain.build(self._own_entry(), seat.safety.beacon_proof)
        recent: list[bytes] = []
        size = 0
        for (tx_id, _), raw in zip(built.transactions, built.body.transactions, strict=True):
            if size + len(raw) <= RECENT_BYTES_MAX and not self._gossip.holders(tx_id):
                recent.append(raw)
                size += len(raw)
        self._queue.append(
            BlockBuilt(effect.height, effect.round, chain.compact(built), built.body.transactions, tuple(recent))
        )

    def committing(self, committing: Committing) -> None:
        """The next block is assembled while this one is written, if we shall propose it."""
        seat = self._seat
        if seat is None or self._stopped or self._holds or not self.signing:
            return
        view = committing.view
        if view.version > self._chain.protocol_newest:
            return
        if (
            view.validators != view.next_validators
        ):  # a rotated key begins to count: its proofs wait for the open height
            return
        if view.proposers()[0].validator_key in seat.keys:
            with self._steps.of("propose"):
                self._chain.assemble_ahead(committing, seat.safety.beacon_proof)

    def _own_entry(self) -> ValidatorEntry:
        if self._context is None or self._context.index is None:
            raise InvariantViolation("a node without a seat builds no block")
        return self._context.validators[self._context.index]

    def _fetch(self, effect: FetchBody) -> None:
        found = tuple(self._mempool.raw(tx_id) or self._coming(tx_id) for tx_id in effect.ids)
        self._queue.append(BodyAvailable(effect.height, effect.hash, found))

    def _check(self, effect: CheckBlock) -> None:
        self._phases.reached("proposed")
        self._following.append(self._check_block(effect))

    async def _check_block(self, effect: CheckBlock) -> None:
        if effect.height == self._chain.height + 1:
            verdict = await self._chain.check(effect.block, effect.transactions)
            if verdict is not Verdict.VALID:
                self._log.info(
                    "proposal refused",
                    height=effect.height,
                    hash=effect.hash,
                    verdict=verdict.value,
                    why=str(self._chain.fault),
                )
            self._feed(BlockChecked(effect.height, effect.hash, verdict))

    def _decide(self, effect: Decide) -> None:
        self._phases.reached("committed")
        self._following.append(self._chain.decide(effect.block, effect.transactions, effect.certificate))

    def _report(self, effect: ReportEvidence) -> None:
        signed = effect.evidence.first
        self._log.warning("a validator contradicted itself", index=signed.index, height=signed.message.height)
        self._evidence.add(effect.evidence)

    def _note_behind(self, effect: Behind) -> None:
        self._behind(effect.peer, effect.head_height)

    def _blame(self, effect: Blame) -> None:
        self._log.info("peer blamed", peer=effect.peer, code=effect.code, detail=effect.detail)
        self._links.penalize(effect.peer, PeerError(effect.code, effect.detail))

    def _compact(self, effect: Compact) -> None:
        if self._seat is not None:
            self._seat.log.compact(effect.epoch, effect.height)


_PHASES: Final[dict[type[Message], str]] = {
    SignedProposal: "proposed",
    SignedPrepare: "checked",
    SignedCommit: "prepared",
}
"""Which phase of a height has passed when we send this."""
_PERFORM: Final[dict[type[Effect], Callable[[Driver, Any], None]]] = {
    Persist: Driver._persist,
    Sign: Driver._sign,
    Send: Driver._send,
    Broadcast: Driver._broadcast,
    SetTimer: Driver._set_timer,
    BuildBlock: Driver._build,
    FetchBody: Driver._fetch,
    CheckBlock: Driver._check,
    Decide: Driver._decide,
    ReportEvidence: Driver._report,
    Behind: Driver._note_behind,
    Blame: Driver._blame,
    Compact: Driver._compact,
}
