"""A whole network of cores in one thread: virtual time, seeded faults, real log records; only the durable survives.

It knows nothing of pytest and can move to ``simulator/``. Its own cryptography is a keyed hash, so that hundreds of
seeds run in seconds; ``ED25519`` may be given instead. Checked at every event: one block per height; no key signs two
messages for one (height, round, kind), across crashes; every message sent was durable; round synchrony; no honest node
is blamed or accused.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from random import Random

from consensus import effects as fx
from consensus import events as ev
from consensus.context import HeightContext, Timing
from consensus.core import Consensus
from consensus.log import height_of
from consensus.messages import (
    CompactBlock,
    Message,
    decode_message,
    encode_message,
)
from consensus.proposer import proposer_order
from consensus.records import FirstRecord, ProposalRecord, Record, VoteRecord
from consensus.safety import SafetyRules
from consensus.scheme import Scheme
from ledger import blocks
from ledger.codec import encode
from ledger.votes import Certificate, Commit, ValidatorEntry, quorum

CHAIN_ID = sha256(b"test chain").digest()
TIMING = Timing(timeout_ms=400, timeout_ms_max=3_000, certify_wait_ms=50)


def _public(seed: bytes) -> bytes:
    return sha256(b"public" + seed).digest()


def _sign(seed: bytes, digest: bytes) -> bytes:
    return _tag(_public(seed), digest)


def _tag(public: bytes, digest: bytes) -> bytes:
    half = sha256(public + digest).digest()
    return half + half


def _verify(public: bytes, digest: bytes, signature: bytes) -> bool:
    return signature == _tag(public, digest)


def _prove(seed: bytes, alpha: bytes) -> bytes:
    return sha256(seed + alpha).digest() + bytes(48)


FAST = Scheme(_public, _sign, _verify, _prove)


def seed_of(index: int) -> bytes:
    return sha256(b"seed" + bytes([index])).digest()


def validator_set(n: int, scheme: Scheme = FAST) -> tuple[ValidatorEntry, ...]:
    return tuple(
        ValidatorEntry(i, i, sha256(b"org%d" % i).digest(), scheme.public_key(seed_of(i)), bytes(32)) for i in range(n)
    )


class Broken(AssertionError):
    """An invariant does not hold."""


@dataclass(frozen=True)
class Decided:
    header: blocks.Header
    block: CompactBlock
    transactions: tuple[bytes, ...]
    certificate: Certificate

    @property
    def hash(self) -> bytes:
        return blocks.header_hash(self.block.header)


def transaction(number: int) -> bytes:
    return b"transaction %d" % number


def make_block(
    height: int,
    parent: bytes,
    creator: bytes,
    certificate: Certificate,
    transactions: tuple[bytes, ...],
    validators: tuple[ValidatorEntry, ...],
    time_ms: int = 0,
) -> CompactBlock:
    ids = [sha256(raw).digest() for raw in transactions]
    header = blocks.Header(
        version=1,
        epoch=0,
        height=height,
        time_ms=time_ms,
        parent=parent,
        creator=creator,
        txs_root=blocks.txs_root(ids),
        tx_count=len(ids),
        evidence_root=blocks.evidence_root(()),
        validators_hash=bytes(32),
        next_validators_hash=bytes(32),
        params_hash=bytes(32),
        parent_certificate_hash=blocks.certificate_hash(certificate),
        state_root=bytes(32),
        receipts_root=bytes(32),
        beacon=sha256(parent).digest() * 2,
        beacon_proof=bytes(80),
    )
    return CompactBlock(encode(header), b"".join(ids), (), certificate, None)


GENESIS_HASH = sha256(b"genesis").digest()


def make_context(
    n: int,
    index: int | None,
    chain: list[Decided],
    *,
    certify: bool = False,
    scheme: Scheme = FAST,
    timing: Timing = TIMING,
) -> HeightContext:
    validators = validator_set(n, scheme)
    height = len(chain) + 1
    parent = chain[-1].hash if chain else GENESIS_HASH
    certificate = chain[-1].certificate if chain else blocks.genesis_certificate(GENESIS_HASH)
    beacon = sha256(parent).digest() * 2
    return HeightContext(
        chain_id=CHAIN_ID,
        epoch=0,
        height=height,
        parent_hash=parent,
        parent_certificate=certificate,
        validators=validators,
        index=index,
        proposers=proposer_order(beacon, height, validators, range(n)),
        timing=TIMING,
        certify=certify,
    )


@dataclass
class Faults:
    """Which faults a seed has until the heal."""

    loss: float = 0.0
    duplication: float = 0.0
    latency_ms_max: int = 20
    crash_every_ms: int = 0
    partition_every_ms: int = 0
    fsync_ms_max: int = 5
    mempool_gap: float = 0.0
    """Chance that a node's mempool lacks a transaction."""
    codec: bool = False


@dataclass
class Node:
    index: int
    network: "Network"
    chain: list[Decided] = field(default_factory=list)
    durable: list[Record] = field(default_factory=list)
    alive: bool = False
    life: int = 0
    core: Consensus | None = None
    safety: SafetyRules | None = None
    timers: dict[ev.TimerKind, int] = field(default_factory=dict)
    fsync_at: int = 0
    lacks: set[int] = field(default_factory=set)

    @property
    def peer(self) -> bytes:
        return bytes([self.index]) * 32

    def start(self) -> None:
        network = self.network
        self.alive, self.life = True, self.life + 1
        self.timers, self.fsync_at = {}, network.now
        self.safety = SafetyRules(CHAIN_ID, [seed_of(self.index)], bytes(32), list(self.durable), network.scheme)
        self.core = Consensus(list(self.durable), network.scheme)
        self.open_height()
        if self.index in network.byzantine:
            core = self.core.state
            core.cleared_key, core.last_seen = core.open.context.key(self.index), None
        for other in network.nodes:
            if other.alive and other is not self:
                self.later(1, partial(self.step, ev.PeerUp(other.index)))
                other.later(1, partial(other.step, ev.PeerUp(self.index)))

    def crash(self) -> None:
        self.alive, self.life = False, self.life + 1
        self.core = self.safety = None

    def later(self, delay_ms: int, action: Callable[[], None]) -> None:
        life = self.life

        def run() -> None:
            if self.alive and self.life == life:
                action()

        self.network.at(self.network.now + delay_ms, run)

    def open_height(self) -> None:
        network = self.network
        certify = bool(self.chain and self.chain[-1].transactions)
        context = make_context(len(network.nodes), self.index, self.chain, certify=certify, scheme=network.scheme)
        assert self.safety is not None
        self.safety.begin(0, context.height, tuple(entry.validator_key for entry in context.validators))
        nonce = sha256(b"nonce%d.%d.%d" % (self.index, self.life, context.height)).digest()
        self.step(ev.HeightStarted(context, nonce))
        if context.height <= network.heights_wanted:
            self.step(
                ev.BlockDue(context.height, network.random.choice((ev.DueReason.PENDING, ev.DueReason.ANNOUNCED)))
            )
            height = context.height
            self.later(150, lambda: self.step(ev.BlockDue(height, ev.DueReason.ANNOUNCED)))

    def step(self, event: ev.Event) -> None:
        assert self.core is not None
        life = self.life
        for effect in self.core.step(event):
            if self.life != life:
                return
            self.perform(effect)

    def perform(self, effect: fx.Effect) -> None:
        network = self.network
        match effect:
            case fx.Persist(token, records):
                self.fsync_at = max(self.fsync_at, network.now) + network.random.randint(0, network.faults.fsync_ms_max)
                self.later(self.fsync_at - network.now, lambda: self.synced(token, records))
            case fx.Sign(token, request):
                assert self.safety is not None
                signature = self.safety.sign(request)
                network.check_signed(self, request)
                self.later(0, lambda: self.step(ev.Signed(token, signature)))
            case fx.Send(to, message):
                index = to if isinstance(to, int) else to[0]
                self.send(network.nodes[index], message)
            case fx.Broadcast(message):
                for other in network.nodes:
                    if other is not self:
                        self.send(other, message)
            case fx.SetTimer(timer, delay_ms):
                self.set_timer(timer, delay_ms)
            case fx.BuildBlock(height, round):
                self.later(2, lambda: self.build(height, round))
            case fx.FetchBody(height, hash, ids):
                found = tuple(
                    network.pool.get(id) if network.random.random() >= network.faults.mempool_gap else None
                    for id in ids
                )
                self.later(1, lambda: self.step(ev.BodyAvailable(height, hash, found)))
            case fx.CheckBlock(height, hash):
                self.later(1, lambda: self.step(ev.BlockChecked(height, hash, ev.Verdict.VALID)))
            case fx.Decide(height, hash, block, transactions, certificate):
                decided = Decided(blocks.decode_header(block.header), block, transactions, certificate)
                self.later(network.random.randint(1, 10), lambda: self.commit(decided))
            case fx.Behind(peer, head_height):
                self.later(5, lambda: self.sync(network.nodes[peer[0]], head_height))
            case fx.ReportEvidence(evidence):
                if evidence.first.index not in network.byzantine:
                    raise Broken(f"an honest validator is accused: {evidence}")
                network.accused.add(evidence.first.index)
            case fx.Blame(peer, code, detail):
                if peer[0] not in network.byzantine:
                    raise Broken(f"{peer[0]} is blamed by {self.index}: {code}: {detail}")
            case fx.Compact():
                self.durable = [r for r in self.durable if isinstance(r, FirstRecord) or height_of(r) > effect.height]

    def synced(self, token: int, records: tuple[Record, ...]) -> None:
        assert self.safety is not None
        self.durable.extend(records)
        self.safety.recorded(records)
        self.step(ev.Persisted(token))

    def set_timer(self, timer: ev.Timer, delay_ms: int) -> None:
        self.timers[timer.kind] = mark = self.timers.get(timer.kind, 0) + 1

        def run() -> None:
            if self.timers.get(timer.kind) == mark:
                self.step(ev.Timeout(timer))

        self.later(delay_ms, run)

    def build(self, height: int, round: int) -> None:
        if height != len(self.chain) + 1:
            return
        network = self.network
        count = network.random.randint(0, 3)
        numbers = [network.new_transaction() for _ in range(count)]
        transactions = tuple(transaction(number) for number in numbers)
        assert self.core is not None
        context = self.core.state.open.context
        block = make_block(
            height,
            context.parent_hash,
            context.key(self.index),
            context.parent_certificate,
            transactions,
            context.validators,
            network.now,
        )
        recent = transactions if network.random.random() < 0.5 else ()
        self.step(ev.BlockBuilt(height, round, block, transactions, recent))

    def send(self, other: "Node", message: Message) -> None:
        network = self.network
        network.check_durable(self, message)
        twin = network.twins.get(other.index)
        if twin is not None and other is not twin:
            self.send(twin, message)
        lost = max(network.faults.loss, 0.4 if self.index in network.byzantine else 0.0)
        if (self.index, other.index) in network.cut or network.random.random() < lost:
            return
        copies = 2 if network.random.random() < network.faults.duplication else 1
        for _ in range(copies):
            delay = network.random.randint(1, network.faults.latency_ms_max)
            if network.faults.codec:
                message = decode_message(encode_message(message))
            network.at(network.now + delay, partial(other.receive, self, message))

    def receive(self, sender: "Node", message: Message) -> None:
        if self.alive:
            self.step(ev.Received(sender.peer, sender.index, message))

    def commit(self, decided: Decided) -> None:
        if decided.header.height == len(self.chain) + 1:
            self.network.check_decided(self, decided)
            self.chain.append(decided)
            self.open_height()

    def sync(self, other: "Node", head_height: int) -> None:
        if not other.alive or (self.index, other.index) in self.network.cut or len(other.chain) < head_height:
            self.step(ev.HeadRefuted(other.peer))
            return
        while len(self.chain) < head_height:
            self.commit(other.chain[len(self.chain)])


class Network:
    """``n`` nodes under faults, then healed; the last ``twins`` of them are Byzantine.

    A Byzantine validator is a pair of nodes with one key and two records, that skip LastSeen; each of their messages
    reaches only some. So they equivocate in everything, yet every single message looks honest.
    """

    def __init__(
        self, seed: int, n: int, faults: Faults, heights_wanted: int, scheme: Scheme = FAST, *, twins: int = 0
    ) -> None:
        self.random = Random(seed)
        self.scheme = scheme
        self.faults = faults
        self.heights_wanted = heights_wanted
        self.now = 0
        self.cut: set[tuple[int, int]] = set()
        self.pool: dict[bytes, bytes] = {}
        self.nodes = [Node(index, self) for index in range(n)]
        self.byzantine = set(range(n - twins, n))
        self.twins = {index: Node(index, self) for index in self.byzantine}
        self.accused: set[int] = set()
        self.decided: dict[int, bytes] = {}
        self.signed: dict[tuple[int, int, int, str], object] = {}
        self.rounds: dict[int, list[int]] = {}
        self.events = 0
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._transactions = 0
        for node in (*self.nodes, *self.twins.values()):
            node.durable.append(FirstRecord(CHAIN_ID, scheme.public_key(seed_of(node.index)), False))

    @property
    def honest(self) -> list[Node]:
        return [node for node in self.nodes if node.index not in self.byzantine]

    def at(self, time_ms: int, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._queue, (time_ms, self._count, action))

    def new_transaction(self) -> int:
        self._transactions += 1
        raw = transaction(self._transactions)
        self.pool[sha256(raw).digest()] = raw
        return self._transactions

    def run(self, until: Callable[[], bool], limit_ms: int) -> None:
        """Perform events until the condition holds; fail when virtual time passes ``limit_ms``."""
        while not until():
            if not self._queue:
                raise Broken("nothing is left to happen")
            time_ms, _, action = heapq.heappop(self._queue)
            if time_ms > limit_ms:
                raise Broken(f"no progress by {limit_ms} ms: {self.summary()}")
            self.now = time_ms
            self.events += 1
            action()

    def run_for(self, duration_ms: int) -> None:
        end = self.now + duration_ms
        done: list[bool] = []
        self.at(end, lambda: done.append(True))
        self.run(lambda: bool(done), end)

    def heal(self) -> None:
        self.faults = Faults(codec=self.faults.codec)
        self.cut.clear()
        for node in (*self.nodes, *self.twins.values()):
            if not node.alive:
                node.start()

    def summary(self) -> str:
        return ", ".join(
            f"{node.index}: height {len(node.chain) + 1} round {node.core.round} signing {node.core.signing}"
            if node.core
            else f"{node.index}: down"
            for node in self.nodes
        )

    def check_signed(self, node: Node, request: fx.SignRequest) -> None:
        message = request.message
        slot = (node.index, message.height, message.round, type(message).__name__)
        if node.index not in self.byzantine and self.signed.setdefault(slot, message) != message:
            raise Broken(f"{node.index} signed two messages in {slot}")
        self.check_synchrony(node, message.height, message.round)

    def check_synchrony(self, node: Node, height: int, round: int) -> None:
        """No honest round is more than one above the q-th highest round ever signed at that height."""
        rounds = self.rounds.setdefault(height, [0] * len(self.nodes))
        if node.index not in self.byzantine and round > sorted(rounds, reverse=True)[quorum(len(rounds)) - 1] + 1:
            raise Broken(f"{node.index} is in round {round} of height {height}, the others in {rounds}")
        rounds[node.index] = max(rounds[node.index], round)

    def check_durable(self, node: Node, message: Message) -> None:
        own = getattr(message, "message", None)
        if own is None or getattr(message, "index", None) != node.index:
            return
        if own.height != len(node.chain) + 1:
            return
        if not any(isinstance(r, VoteRecord | ProposalRecord) and r.message == own for r in node.durable):
            raise Broken(f"{node.index} sent {own} before it was durable")

    def check_decided(self, node: Node, decided: Decided) -> None:
        certificate, n = decided.certificate, len(self.nodes)
        if self.decided.setdefault(certificate.height, decided.hash) != decided.hash:
            raise Broken(f"two blocks at height {certificate.height}")
        digest = Commit(certificate.height, certificate.round, decided.hash).signing_digest(CHAIN_ID, 0)
        keys = validator_set(n, self.scheme)
        good = {
            s.index for s in certificate.seals if self.scheme.verify(keys[s.index].validator_key, digest, s.signature)
        }
        if len(good) < quorum(n):
            raise Broken("a certificate without a quorum")


def revive(node: Node) -> None:
    if not node.alive:
        node.start()


def disturb(network: Network, duration_ms: int) -> None:
    """Crashes and one-way partitions at random moments until ``duration_ms``."""
    random, faults, n = network.random, network.faults, len(network.nodes)

    def crash() -> None:
        victims = random.sample(network.nodes, n if random.random() < 0.2 else random.randint(1, max(1, n // 2)))
        for node in victims:
            if node.alive:
                node.crash()
                network.at(network.now + random.randint(1, 800), partial(revive, node))

    def partition() -> None:
        network.cut = {
            (a, b) for a in range(n) for b in range(n) if a != b and random.random() < random.choice((0.1, 0.4, 0.7))
        }
        network.at(network.now + random.randint(50, 1_500), network.cut.clear)

    for every, action in ((faults.crash_every_ms, crash), (faults.partition_every_ms, partition)):
        at = random.randint(1, every) if every else duration_ms
        while at < duration_ms:
            network.at(at, action)
            at += random.randint(1, 2 * every)
