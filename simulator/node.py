"""One simulated node: the real core, SafetyRules and mempool, wired as ``node.driver`` wires them, in virtual time.

Rules of this file:

* The same calling order as the driver: SafetyRules is told of a height and of durable records before the core is.
* A life ends with a crash. What survives is the log's synced bytes, the committed chain, and nothing else.
* Before and after every effect the node may crash (``crash_hook``); after that nothing more of the step is performed.
* The node is watched through ``Watcher``; it never looks at the checks.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from consensus import effects as fx
from consensus import events as ev
from consensus.context import HeightContext, Timing
from consensus.core import Consensus
from consensus.log import START, Decoded
from consensus.messages import RECENT_BYTES_MAX, Message, decode_message, encode_message
from consensus.records import FirstRecord, Record
from consensus.safety import SafetyRules
from consensus.scheme import Scheme
from ledger.errors import HuzhuError, OperatorError
from ledger.transactions import transaction_id
from ledger.votes import Certificate, ValidatorEntry

from .disk import LogDisk
from .names import number_of, peer_key
from .network import Network
from .pool import Pool
from .replica import CHAIN_ID, START_MS, Replica, Sealed
from .sync import Sync
from .world import World

BLOCK_BYTES: Final = 4_000
BLOCK_TRANSACTIONS: Final = 8
SYNC_BLOCKS_MAX: Final = 8


class Watcher(Protocol):
    """Who looks at everything a node does."""

    def signed(self, node: "SimNode", request: fx.SignRequest) -> None: ...

    def sending(self, node: "SimNode", message: Message) -> None: ...

    def received(self, node: "SimNode", sender: int, message: Message) -> None: ...

    def stepped(self, node: "SimNode", event: ev.Event) -> None: ...

    def effect(self, node: "SimNode", effect: fx.Effect) -> None: ...

    def committed(self, node: "SimNode", sealed: Sealed) -> None: ...

    def opened(self, node: "SimNode", decoded: Decoded, written: Sequence[Record]) -> None: ...

    def lost(self, node: "SimNode") -> None: ...

    def happened(self, mark: str) -> None: ...

    def contradicts_itself(self, node: "SimNode", error: OperatorError) -> bool: ...


class Peers(Protocol):
    """The other nodes, and what they can be asked for."""

    world: World
    network: Network
    timing: Timing
    scheme: Scheme
    nodes: list["SimNode"]

    @property
    def watcher(self) -> Watcher: ...

    def fsync_ms(self) -> int: ...

    def mempool_gap(self) -> bool: ...

    def fsync_fails(self, node: "SimNode") -> bool: ...

    def passes(self, sender: "SimNode", receiver: "SimNode", message: Message) -> bool: ...


class SimNode:
    """Node ``number``, which owns the seat of that number, if there is one."""

    def __init__(
        self,
        number: int,
        seat: int,
        peers: Peers,
        replica: Replica,
        seeds: tuple[bytes, ...],
        beacon_seed: bytes,
    ) -> None:
        self.number = number
        """Place among the nodes; a link's node key is made of it."""
        self.seat = seat
        """Whose keys it has: its own number, but for a twin."""
        self.peers = peers
        self.world = peers.world
        self.replica = replica
        self.seeds = seeds
        self.keys = tuple(peers.scheme.public_key(seed) for seed in seeds)
        self.beacon_seed = beacon_seed
        self.disk = LogDisk(FirstRecord(CHAIN_ID, self.keys[0], False))
        self.known = START
        """The log's position that the database's newest batch names."""
        self.log_lost = False
        """The log is gone; the next start declares it lost."""
        self.joined = False
        """Whether it began with a snapshot."""
        self.honest = True
        self.alive = False
        self.life = 0
        self.skew_ms = 0
        self.paused_until_ms = 0
        self.full_until_ms = 0
        """Until then the disk takes no byte (ENOSPC)."""
        self.core = Consensus(())
        self.safety = SafetyRules(CHAIN_ID, seeds, beacon_seed, (), peers.scheme)
        self.crash_hook: Callable[[SimNode, str], bool] = _never
        """Asked before and after each effect; true: the node has just crashed."""
        self.context: HeightContext | None = None
        self._reset()

    def _reset(self) -> None:
        self._queue: deque[ev.Event] = deque()
        self._feeding = False
        self._timers: dict[ev.TimerKind, int] = {}
        self._held: list[Callable[[], None]] = []
        """What came due during a pause."""
        self._fsync_at_ms = 0
        self._stalled: deque[fx.Persist] = deque()
        """What a full disk has refused, in order."""
        self.pool = Pool(self)
        self.sync = Sync(self)

    def __str__(self) -> str:
        return f"n{self.number}.{self.life}"

    @property
    def peer(self) -> bytes:
        """The node key of its links."""
        return peer_key(self.number)

    @property
    def height(self) -> int:
        """Of the newest committed block."""
        return self.replica.view.height

    @property
    def synced_height(self) -> int:
        """Of the newest block whose batch is durable: a commit is one synced batch, so there is no difference."""
        return self.replica.view.height

    @property
    def clock_ms(self) -> int:
        """The node's own idea of the time."""
        return START_MS + self.world.now_ms + self.skew_ms

    # ---- life ----

    def start(self) -> None:
        """A new process: read the log, or begin one that says that the old one was lost."""
        if self.alive:
            return
        self.life += 1
        self.alive = True
        self._reset()
        written = tuple(self.disk.durable_records)
        try:
            if self.log_lost:
                raise OperatorError("LOG_MISSING", "the simulated log", "it was lost")
            decoded = self.disk.open(self.known)
        except OperatorError as error:
            if error.code == "LOG_ROLLED_BACK":
                self.peers.watcher.happened("rolled_back")
            self.world.trace(str(self), "record-lost", described=error)
            self.log_lost = False
            self.disk.replace(FirstRecord(CHAIN_ID, self.keys[0], True))
            self.peers.watcher.lost(self)
            self.known = START
            decoded = self.disk.open(START)
        else:
            self.peers.watcher.opened(self, decoded, written)
        self.world.trace(str(self), "start", described=f"height {self.height}, {len(decoded.records)} records")
        self.safety = self._new_safety(decoded.records)
        self.core = self.new_core(decoded.records)
        self._open_height()
        for other in self.peers.nodes:
            if other is not self and other.alive:
                self._link_up(other)
                other._link_up(self)

    def crash(self) -> None:
        """The power is cut."""
        if self.alive:
            if self.core.height == self.height + 1 and self.core.state.open.decided is not None:
                self.peers.watcher.happened("decided_not_written")
            fate = self.disk.crash(self.world.random)
            self.world.trace(str(self), "crash", described=f"unsynced tail {fate}")
            self.alive = False
            self._queue.clear()

    def pause(self, duration_ms: int) -> None:
        """SIGSTOP: everything waits, then comes at once."""
        self.paused_until_ms = max(self.paused_until_ms, self.world.now_ms + duration_ms)

    def later(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Do ``action`` in this life, after ``delay_ms``; a paused node does it when it goes on, all in their order."""
        life = self.life

        def run() -> None:
            if not self.alive or self.life != life:
                return
            if self._held or self.world.now_ms < self.paused_until_ms:
                self._held.append(run)
                if len(self._held) == 1:
                    self.world.at(self.paused_until_ms, self.go_on)
            else:
                action()

        self.world.later(delay_ms, run)

    def go_on(self) -> None:
        """SIGCONT, unless the pause was lengthened: do what was held up, in the order in which it came due."""
        if self.world.now_ms < self.paused_until_ms:
            self.world.at(self.paused_until_ms, self.go_on)
            return
        held, self._held = self._held, []
        for run in held:
            run()

    def new_core(self, records: Sequence[Record]) -> Consensus:
        """The agreement of a new life."""
        return Consensus(records, self.peers.scheme)

    def _new_safety(self, records: Sequence[Record]) -> SafetyRules:
        return SafetyRules(CHAIN_ID, self.seeds, self.beacon_seed, records, self.peers.scheme)

    def _link_up(self, other: "SimNode") -> None:
        def up() -> None:
            index = self.index_of(other)
            if index is not None:
                self.feed(ev.PeerUp(index))

        if self.peers.network.connected(other.number, self.number):
            self.later(self.world.random.randint(1, 10), up)

    def join(self, replica: Replica) -> None:
        """Begin at the head of somebody's snapshot instead of the genesis; only before the first start."""
        self.replica, self.joined = replica, True
        self.start()

    # ---- heights ----

    def _open_height(self) -> None:
        context = self.context = self.replica.context(self.keys, self.peers.timing)
        self.safety.begin(context.epoch, context.height, tuple(entry.validator_key for entry in context.validators))
        nonce = self.world.random.randbytes(32)
        self.feed(ev.HeightStarted(context, nonce))
        self.pool.height_opened()

    # ---- events and effects ----

    def feed(self, event: ev.Event) -> None:
        """Give the core an event; effects are performed in order, as the driver does."""
        self._queue.append(event)
        if self._feeding:
            return
        self._feeding = True
        life = self.life
        try:
            while self._queue and self.alive and self.life == life:
                event = self._queue.popleft()
                effects = self.core.step(event)
                self.peers.watcher.stepped(self, event)
                for effect in effects:
                    if not self._perform(effect, life):
                        return
        except OperatorError as error:
            if not self.peers.watcher.contradicts_itself(self, error) and self.honest:
                raise
            self.log_lost = True  # the operator reads the error, and declares the record lost at the next start
            self.crash()
        except HuzhuError:
            if self.honest:
                raise
            self.crash()  # confused by its own lies, or by its twin's
        finally:
            if self.life == life:
                self._feeding = False

    def _perform(self, effect: fx.Effect, life: int) -> bool:
        if self.crash_hook(self, "before"):
            return False
        self.peers.watcher.effect(self, effect)
        getattr(self, _PERFORM[type(effect)])(effect)
        if not self.alive or self.life != life:
            return False
        return not self.crash_hook(self, "after")

    def _persist(self, effect: fx.Persist) -> None:
        """A full disk writes nothing, so nothing is sent, until there is room; an error of fsync ends the process."""
        if self._stalled or self.world.now_ms < self.full_until_ms:
            self.peers.watcher.happened("disk_full")
            self._stalled.append(effect)
            if len(self._stalled) == 1:
                self._wait_for_room()
        else:
            self._write(effect)

    def _wait_for_room(self) -> None:
        def room() -> None:
            if self.world.now_ms < self.full_until_ms:
                self._wait_for_room()
                return
            self.world.trace(str(self), "room", described=f"{len(self._stalled)} waiting")
            while self._stalled:
                self._write(self._stalled.popleft())

        self.later(self.full_until_ms - self.world.now_ms, room)

    def _write(self, effect: fx.Persist) -> None:
        position = self.disk.append(effect.records)
        now_ms = self.world.now_ms
        self._fsync_at_ms = max(self._fsync_at_ms, now_ms) + self.peers.fsync_ms()

        def synced() -> None:
            if self.peers.fsync_fails(self):
                return
            self.disk.sync(position)
            self.world.trace(str(self), "fsync", described=position.sequence)
            self.safety.recorded(effect.records)
            self.feed(ev.Persisted(effect.token))

        self.later(self._fsync_at_ms - now_ms, synced)

    def _sign(self, effect: fx.Sign) -> None:
        signature = self.safety.sign(effect.request)
        self.peers.watcher.signed(self, effect.request)
        self._queue.append(ev.Signed(effect.token, signature))

    def _send(self, effect: fx.Send) -> None:
        to = effect.to
        numbers = self._numbers_of(to) if isinstance(to, int) else [number_of(to)]
        self._transmit(numbers, effect.message)

    def _broadcast(self, effect: fx.Broadcast) -> None:
        context = self.context
        if context is not None:
            others = [i for i in range(len(context.validators)) if i != context.index]
            self._transmit([number for index in others for number in self._numbers_of(index)], effect.message)

    def _transmit(self, numbers: Sequence[int], message: Message) -> None:
        self.peers.watcher.sending(self, message)
        raw = encode_message(message)
        self.world.trace(str(self), f"send {type(message).__name__}", raw, message if self.world.keep_log else "")
        decoded = decode_message(raw)
        for number in numbers:
            self.deliver(number, decoded)

    def deliver(self, number: int, message: Message) -> None:
        """Put one decoded message on the link to ``number``."""
        receiver = self.peers.nodes[number]

        def arrive() -> None:
            receiver.later(0, lambda: receiver.take(self, message))

        if self.peers.passes(self, receiver, message):
            self.peers.network.carry(self.number, number, arrive)

    def take(self, sender: "SimNode", message: Message) -> None:
        """A consensus message off a link."""
        self.world.trace(str(self), f"recv {type(message).__name__} {sender.number}")
        self.peers.watcher.received(self, sender.number, message)
        self.feed(ev.Received(sender.peer, self.index_of(sender), message))

    def _set_timer(self, effect: fx.SetTimer) -> None:
        timer = effect.timer
        mark = self._timers[timer.kind] = self._timers.get(timer.kind, 0) + 1

        def run_off() -> None:
            if self._timers.get(timer.kind) == mark:
                self.world.trace(str(self), f"timer {timer.kind.value} {timer.height}/{timer.round}")
                self.feed(ev.Timeout(timer))

        self.later(effect.delay_ms, run_off)

    def _build(self, effect: fx.BuildBlock) -> None:
        context = self.context
        if effect.height != self.height + 1 or context is None or context.index is None:
            return
        picked = self.pool.mempool.pick(BLOCK_BYTES, BLOCK_TRANSACTIONS, max(self.clock_ms, self._above_parent()))
        block = self.replica.build(context.validators[context.index], self.safety.beacon_proof, picked, self.clock_ms)
        transactions = tuple(raw for _, raw in picked)
        recent = transactions if self.world.chance(0.5) and sum(map(len, transactions)) <= RECENT_BYTES_MAX else ()
        self._queue.append(ev.BlockBuilt(effect.height, effect.round, block, transactions, recent))

    def _above_parent(self) -> int:
        return self.replica.view.header.time_ms + 1

    def _fetch(self, effect: fx.FetchBody) -> None:
        found = tuple(None if self.peers.mempool_gap() else self.pool.mempool.raw(tx_id) for tx_id in effect.ids)
        self._queue.append(ev.BodyAvailable(effect.height, effect.hash, found))

    def _check(self, effect: fx.CheckBlock) -> None:
        def checked() -> None:
            if effect.height == self.height + 1:
                verdict = self.replica.check(effect.block, effect.transactions, self.clock_ms)
                self.world.trace(str(self), f"check {verdict.value}", effect.hash)
                self.feed(ev.BlockChecked(effect.height, effect.hash, verdict))

        self.later(self.world.random.randint(0, 3), checked)

    def _decide(self, effect: fx.Decide) -> None:
        def batch() -> None:
            if effect.height == self.height + 1:
                self.commit(effect.block, effect.transactions, effect.certificate)

        self.world.trace(str(self), f"decide {effect.height} round {effect.certificate.round}", effect.hash)
        self.later(self.world.random.randint(1, 10), batch)

    def commit(self, block: Any, transactions: tuple[bytes, ...], certificate: Certificate) -> None:
        """The block's one synced batch."""
        sealed = self.replica.commit(block, transactions, certificate, self.disk.durable)
        self.known = self.disk.batched = sealed.log
        self.world.trace(str(self), f"commit {sealed.height}", sealed.hash)
        self.peers.watcher.committed(self, sealed)
        self.pool.mempool.remove_committed([transaction_id(raw) for raw in transactions], sealed.header.time_ms)
        self._open_height()
        for other in self.peers.nodes:
            if other is not self and self.index_of(other) is None:
                self.sync.claim_to(other)

    def _behind(self, effect: fx.Behind) -> None:
        self.sync.claim(number_of(effect.peer), effect.head_height)

    def _compact(self, effect: fx.Compact) -> None:
        if self.disk.compact(effect.epoch, effect.height):
            self.peers.watcher.happened("rotated")

    def _watched_only(self, effect: fx.Effect) -> None:
        """Evidence and blame: the watcher judges them."""

    def blocks_from(self, first: int) -> tuple[Sealed, ...]:
        """What we serve to a node that is behind."""
        return tuple(self.replica.chain[first - 1 : first - 1 + SYNC_BLOCKS_MAX])

    def reach(self, other: "SimNode", action: Callable[["SimNode"], None]) -> None:
        """Something other than a consensus message: ``other`` does ``action`` when it arrives."""
        self.peers.network.carry(self.number, other.number, lambda: other.later(0, lambda: action(other)))

    # ---- who is who ----

    def index_of(self, other: "SimNode") -> int | None:
        """Position of the other's seat in V(open height)."""
        validators = self.replica.view.next_validators
        return next((index for index, entry in enumerate(validators) if entry.seat == other.seat), None)

    def _numbers_of(self, index: int) -> list[int]:
        seat = self.replica.view.next_validators[index].seat
        return [other.number for other in self.peers.nodes if other.seat == seat and other is not self]

    def entry(self) -> ValidatorEntry | None:
        """Our entry of V(open height)."""
        context = self.context
        return None if context is None or context.index is None else context.validators[context.index]


def _never(_node: SimNode, _where: str) -> bool:
    return False


_PERFORM: Final[dict[type[fx.Effect], str]] = {
    fx.Persist: "_persist",
    fx.Sign: "_sign",
    fx.Send: "_send",
    fx.Broadcast: "_broadcast",
    fx.SetTimer: "_set_timer",
    fx.BuildBlock: "_build",
    fx.FetchBody: "_fetch",
    fx.CheckBlock: "_check",
    fx.Decide: "_decide",
    fx.Behind: "_behind",
    fx.Compact: "_compact",
    fx.ReportEvidence: "_watched_only",
    fx.Blame: "_watched_only",
}
"""Names, not functions: a Byzantine node performs some effects in its own way."""
