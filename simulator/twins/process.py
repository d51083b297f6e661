"""The real core of each process of a group, from a ``State`` through one phase and back (CONSENSUS §1, §7).

Rules of this file:

* A core is made from what the state says and from nothing else: records like those of a log, then the votes it held.
  Making it must not lead to a signature; that would mean that the state is not the whole past.
* Groups do not hear each other, so each runs alone, in an order of its own: messages first in, first out.
* What is checked at every step is what ``simulator.invariants`` checks where there is no crash and no liar.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from hashlib import sha256, sha512
from typing import Any, Final, NamedTuple

from consensus import effects as fx
from consensus import events as ev
from consensus.context import HeightContext, Timing
from consensus.core import Consensus
from consensus.messages import (
    CompactBlock,
    Lock,
    Message,
    PreparedRoundChange,
    Prepares,
    SignedCommit,
    SignedPrepare,
    SignedProposal,
    SignedRoundChange,
)
from consensus.own import prepared_change
from consensus.records import BodyRecord, FirstRecord, LockRecord, ProposalRecord, Record, VoteRecord
from consensus.safety import SafetyRules
from ledger.blocks import Header, evidence_root, genesis_certificate, header_hash, txs_root
from ledger.codec import encode
from ledger.errors import HuzhuError, InvariantViolation
from ledger.votes import Certificate, Commit, Prepare, Proposal, RoundChange, ValidatorEntry

from ..invariants import Violation
from ..names import number_of, peer_key
from ..oracle import Oracle
from ..replica import CHAIN_ID, START_MS
from ..scheme import CHEAP
from .choices import ALL, EVERYBODY, INDEX, PROCESSES, VALIDATORS, Hearing
from .state import NONE, Change, Decided, Local, Offer, Vote, bits

HEIGHT: Final = 1
EPOCH: Final = 0
TIMING: Final = Timing(1_000, 1_000, 50)
REPEATS: Final = VALIDATORS
"""So often what is lacking is asked for in a phase: each holder once."""
MESSAGES_MAX: Final = 20_000
"""Of one group in one phase: more is a storm."""
PARENT: Final = sha256(b"twins parent").digest()
SEEDS: Final = tuple(sha256(b"twin seed %d" % index).digest() for index in range(VALIDATORS))
BUILT_MAX: Final = 4
"""Fresh blocks of one process in one phase."""


def _entries() -> tuple[ValidatorEntry, ...]:
    keys = [CHEAP.public_key(seed) for seed in SEEDS]
    return tuple(
        ValidatorEntry(index, index, sha256(b"org%d" % index).digest(), key, sha256(key).digest())
        for index, key in enumerate(keys)
    )


VALIDATOR_SET: Final = _entries()
ORACLE: Final = Oracle(CHEAP, CHAIN_ID, EPOCH)


@lru_cache(4_096)
def _block(creator: int, serial: int) -> tuple[bytes, CompactBlock]:
    """An empty block of this height, different for each serial number."""
    header = Header(
        version=1,
        epoch=EPOCH,
        height=HEIGHT,
        time_ms=START_MS + 1 + serial,
        parent=PARENT,
        creator=VALIDATOR_SET[creator].validator_key,
        txs_root=txs_root([]),
        tx_count=0,
        evidence_root=evidence_root(()),
        validators_hash=bytes(32),
        next_validators_hash=bytes(32),
        params_hash=bytes(32),
        parent_certificate_hash=bytes(32),
        state_root=bytes(32),
        receipts_root=bytes(32),
        beacon=sha512(b"%d" % creator).digest(),
        beacon_proof=bytes(80),
    )
    raw = encode(header)
    return header_hash(raw), CompactBlock(raw, b"", (), genesis_certificate(PARENT), None)


@lru_cache(65_536)
def _signature(message: Prepare | Commit | RoundChange, index: int) -> bytes:
    return CHEAP.sign(SEEDS[index], message.signing_digest(CHAIN_ID, EPOCH))


def _prepare(round: int, hash: bytes, index: int) -> SignedPrepare:
    message = Prepare(HEIGHT, round, hash)
    return SignedPrepare(message, index, _signature(message, index))


def _commit(round: int, hash: bytes, index: int) -> SignedCommit:
    message = Commit(HEIGHT, round, hash)
    return SignedCommit(message, index, _signature(message, index))


def _change(target: int, round: int, hash: bytes, index: int) -> SignedRoundChange:
    message = RoundChange(HEIGHT, target, round, hash)
    return SignedRoundChange(message, index, _signature(message, index))


class Blocks:
    """Blocks of one phase of one group: numbers as in the state, hashes as in messages."""

    def __init__(self, creators: Sequence[int]) -> None:
        self._creators = creators
        self._hashes: dict[int, bytes] = {NONE: b""}
        self._numbers: dict[bytes, int] = {b"": NONE}
        self.made: dict[int, int] = {}
        """Number of each block made in this phase, and its creator."""

    def block(self, number: int) -> CompactBlock:
        """The block of this number."""
        creator = self._creators[number] if number < len(self._creators) else self.made[number]
        hash, block = _block(max(creator, 0), number)
        self._hashes[number] = hash
        self._numbers[hash] = number
        return block

    def hash(self, number: int) -> bytes:
        """Its hash; empty for NONE."""
        if number not in self._hashes:
            self.block(number)
        return self._hashes[number]

    def number(self, hash: bytes) -> int:
        """The reverse of ``hash``."""
        return self._numbers[hash]

    def known(self) -> Iterable[tuple[bytes, int]]:
        """Every block that was spoken of."""
        return [(hash, number) for hash, number in self._numbers.items() if number != NONE]

    def make(self, process: int) -> CompactBlock:
        """A fresh one."""
        number = len(self._creators) + process * BUILT_MAX
        while number in self.made:
            number += 1
        self.made[number] = INDEX[process]
        return self.block(number)


class Process:
    """One process that has not decided when the phase begins."""

    def __init__(
        self, number: int, leaders: Sequence[int], blocks: Blocks, local: Local | Decided, *, begun: bool
    ) -> None:
        """``leaders`` of the rounds up to this phase's; before the first phase has begun no block is due."""
        if isinstance(local, Decided):
            raise InvariantViolation("who has decided runs no more")
        self.number = number
        self.index = INDEX[number]
        self.decided = NONE
        self._blocks = blocks
        records = _records(self.index, local, blocks)
        self.core = Consensus(records, CHEAP)
        self.safety = SafetyRules(CHAIN_ID, (SEEDS[self.index],), b"", records, CHEAP)
        self.safety.begin(EPOCH, HEIGHT, tuple(entry.validator_key for entry in VALIDATOR_SET))
        self._start(leaders)
        if begun:
            self._take_up(local)

    def _start(self, leaders: Sequence[int]) -> None:
        context = HeightContext(
            chain_id=CHAIN_ID,
            epoch=EPOCH,
            height=HEIGHT,
            parent_hash=PARENT,
            parent_certificate=genesis_certificate(PARENT),
            validators=VALIDATOR_SET,
            index=self.index,
            proposers=tuple(max(leader, 0) for leader in leaders),
            timing=TIMING,
            certify=False,
        )
        self._quietly(ev.HeightStarted(context, bytes(32)))
        core = self.core.state
        core.cleared_key, core.last_seen = context.key(self.index), None  # what LastSeen is for does not happen here

    def _take_up(self, local: Local) -> None:
        hash = self._blocks.hash
        self._quietly(ev.BlockDue(HEIGHT, ev.DueReason.DEADLINE))
        for index, change in enumerate(local.changes):
            if change is not None:
                self._hear(_change(change[0], change[1], hash(change[2]), index))
        for round, block, mask in local.prepares:
            for index in bits(mask):
                self._hear(_prepare(round, hash(block), index))
        for round, block, mask in local.commits:
            for index in bits(mask):
                self._hear(_commit(round, hash(block), index))
        for index, round in enumerate(local.highest):
            self.core.state.open.tally.raise_highest(index, round)
        self._quietly(ev.BlockDue(HEIGHT, ev.DueReason.DEADLINE))

    def _hear(self, message: Message) -> None:
        self._quietly(ev.Received(peer_key(PROCESSES), None, message))

    def _quietly(self, event: ev.Event) -> None:
        waiting = deque([event])
        while waiting:
            for effect in self.core.step(waiting.popleft()):
                if isinstance(effect, fx.Sign):
                    waiting.append(ev.Signed(effect.token, self.safety.sign(effect.request)))
                elif isinstance(effect, fx.Persist | fx.BuildBlock | fx.Decide):
                    raise InvariantViolation(f"the state of process {self.number} is not its whole past: {effect}")

    # ---- reading it back ----

    def local(self) -> Local | Decided:
        """What is known of it now."""
        if self.decided != NONE:
            return Decided(self.decided)
        core, number = self.core.state, self._blocks.number
        record, height = core.record, core.open
        prepared, committed = [], []
        for (kind, round), message in sorted(record.granted.items(), key=lambda item: item[0][1]):
            if kind is Prepare:
                prepared.append((round, number(message.hash)))  # type: ignore[union-attr]
            elif kind is Commit:
                committed.append((round, number(message.hash)))  # type: ignore[union-attr]
        lock = record.lock
        change = record.signed(RoundChange, height.round)
        proposed = record.signed(Proposal, height.round)
        return Local(
            height.round,
            None if lock is None else (lock.round, number(lock.hash), sum(1 << p.index for p in lock.prepares)),
            self._change(change) if isinstance(change, RoundChange) else None,
            number(proposed.hash) if isinstance(proposed, Proposal) else NONE,
            self._offer(height.own.proposal),
            tuple(prepared),
            tuple(committed),
            self._votes(height.tally.prepares.by),
            self._votes(height.tally.commits.by),
            tuple(
                self._change(height.tally.changes[i].message) if i in height.tally.changes else None
                for i in range(VALIDATORS)
            ),
            tuple(height.tally.highest),
            tuple(sorted(number for hash, number in self._blocks.known() if height.candidates.get(hash) is not None)),
        )

    def _change(self, message: RoundChange) -> Change:
        return message.round, message.prepared_round, self._blocks.number(message.prepared_hash)

    def _offer(self, proposal: SignedProposal | None) -> Offer | None:
        if proposal is None:
            return None
        changes = [
            (c.index, c.message.prepared_round, self._blocks.number(c.message.prepared_hash))
            for c in proposal.round_changes
        ]
        mask = sum(1 << prepare.index for prepare in proposal.prepares)
        return Offer(proposal.message.round, self._blocks.number(proposal.message.hash), tuple(sorted(changes)), mask)

    def _votes(self, by: Callable[[int], list[Any]]) -> tuple[Vote, ...]:
        masks: dict[tuple[int, bytes], int] = {}
        for index in range(VALIDATORS):
            for vote in by(index):
                at = (vote.message.round, vote.message.hash)
                masks[at] = masks.get(at, 0) | 1 << index
        return tuple(sorted((round, self._blocks.number(hash), mask) for (round, hash), mask in masks.items()))


def _records(index: int, local: Local, blocks: Blocks) -> list[Record]:
    """A log from which the core takes up what it had signed, by round."""
    hash = blocks.hash
    records: list[Record] = [FirstRecord(CHAIN_ID, VALIDATOR_SET[index].validator_key, False)]
    records += [BodyRecord(EPOCH, HEIGHT, hash(block), blocks.block(block), ()) for block in local.blocks]
    steps: list[tuple[int, int, list[Record]]] = []

    def vote(order: int, message: Prepare | Commit | RoundChange, *before: Record) -> None:
        steps.append((message.round, order, [*before, VoteRecord(EPOCH, message)]))

    if local.change is not None:
        target, round, block = local.change
        vote(0, RoundChange(HEIGHT, target, round, hash(block)))
    offer = local.offer
    if offer is not None:
        changes = tuple(_change(offer.round, round, hash(block), i) for i, round, block in offer.changes)
        highest = max((round for _, round, _ in offer.changes), default=NONE)
        prepares = tuple(_prepare(highest, hash(offer.block), i) for i in bits(offer.prepares))
        message = Proposal(HEIGHT, offer.round, hash(offer.block))
        steps.append((offer.round, 1, [ProposalRecord(EPOCH, message, changes, prepares)]))
    if local.proposed != NONE and (offer is None or offer.round != local.round):
        message = Proposal(HEIGHT, local.round, hash(local.proposed))
        steps.append((local.round, 1, [ProposalRecord(EPOCH, message, (), ())]))
    for round, block in local.prepared:
        vote(2, Prepare(HEIGHT, round, hash(block)))
    held = {(round, block): mask for round, block, mask in local.prepares}
    if local.lock is not None:
        held[local.lock[:2]] = local.lock[2]
    for round, block in local.committed:
        signers = tuple(_prepare(round, hash(block), i) for i in bits(held[round, block]))
        lock = LockRecord(EPOCH, Lock(HEIGHT, round, hash(block), signers), VALIDATORS)
        vote(3, Commit(HEIGHT, round, hash(block)), lock)
    for _, _, found in sorted(steps, key=lambda step: step[:2]):
        records += found
    return records


# ---- one phase of one group ----


class Outcome(NamedTuple):
    """What a group is after a phase."""

    locals: tuple[Local | Decided, ...]
    """Of its processes, in their order."""
    made: tuple[tuple[int, int], ...]
    """Blocks made: number, and creator."""
    carried: tuple[bool, bool]
    """Whether any Prepare, any Commit was on its way: else it does not matter who hears them."""
    violation: str
    """Empty when there is none."""


class Network(NamedTuple):
    """What passes."""

    hearing: Hearing = ALL
    in_step: bool = True
    """At the end of a phase everybody learns in which round the others are, so that all timers run off."""
    late: bool = False
    """Votes and proposals of rounds that their signer has left are sent again; else they are lost until the heal."""


class Group:
    """Processes that hear each other and nobody else; ``order`` is theirs."""

    def __init__(self, processes: Sequence[Process], blocks: Blocks, network: Network) -> None:
        self._processes = list(processes)
        self._blocks = blocks
        self._network = network
        self._links: deque[tuple[Process, Process, Message]] = deque()
        self.carried = [False, False]

    def run(self, *, first: bool) -> None:
        """One phase. Raises ``Violation``."""
        for process in self._processes:
            if first:
                self._feed(process, ev.BlockDue(HEIGHT, ev.DueReason.DEADLINE))
            else:
                self._say_round(process)
        self._deliver()
        for _ in range(REPEATS):
            for process in self._processes:
                self._feed(process, ev.Timeout(ev.Timer(ev.TimerKind.RESEND, HEIGHT, 0)))
            self._deliver()
        for process in self._processes:
            height = process.core.state.open
            if self._network.in_step and process.decided == NONE:
                for index in range(VALIDATORS):
                    height.tally.raise_highest(index, height.round)
                self._feed(process, ev.BlockDue(HEIGHT, ev.DueReason.DEADLINE))
            if height.timer_started:
                self._feed(process, ev.Timeout(ev.Timer(ev.TimerKind.ROUND, HEIGHT, height.round)))
        self._links.clear()

    def _say_round(self, process: Process) -> None:
        """The RoundChange that nobody heard when the timer ran off."""
        core = process.core.state
        change = core.open.own.newest(SignedRoundChange)
        if isinstance(change, SignedRoundChange):
            self._send(process, [i for i in range(VALIDATORS) if i != process.index], change)
            prepared, proposer = prepared_change(core, change), core.open.context.proposer(change.message.round)
            if isinstance(prepared, PreparedRoundChange) and proposer != process.index:
                self._send(process, [proposer], prepared)

    def _deliver(self) -> None:
        carried = 0
        while self._links:
            carried += 1
            if carried > MESSAGES_MAX:
                raise Violation("storm", f"more than {MESSAGES_MAX} messages")
            sender, receiver, message = self._links.popleft()
            if self._lost(receiver, message):
                continue
            self._feed(receiver, ev.Received(peer_key(sender.number), sender.index, message))

    def _lost(self, receiver: Process, message: Message) -> bool:
        if isinstance(message, SignedPrepare | Prepares):
            kind, heard = 0, self._network.hearing.prepares
        elif isinstance(message, SignedCommit):
            kind, heard = 1, self._network.hearing.commits
        else:
            return False
        self.carried[kind] = True
        return heard not in (EVERYBODY, receiver.number)

    def _feed(self, process: Process, event: ev.Event) -> None:
        waiting = deque([event])
        while waiting and process.decided == NONE:
            for effect in process.core.step(waiting.popleft()):
                follows = self._perform(process, effect)
                if follows is not None:
                    waiting.append(follows)

    def _perform(self, process: Process, effect: fx.Effect) -> ev.Event | None:
        match effect:
            case fx.Persist():
                process.safety.recorded(effect.records)
                return ev.Persisted(effect.token)
            case fx.Sign():
                return ev.Signed(effect.token, process.safety.sign(effect.request))
            case fx.Broadcast():
                self._send(process, [i for i in range(VALIDATORS) if i != process.index], effect.message)
            case fx.Send():
                if not self._network.late and self._left(process, effect.message):
                    return None
                if isinstance(effect.to, int):
                    self._send(process, [effect.to], effect.message)
                else:
                    wanted = number_of(effect.to)
                    self._links += [(process, one, effect.message) for one in self._processes if one.number == wanted]
            case fx.BuildBlock():
                return ev.BlockBuilt(HEIGHT, effect.round, self._blocks.make(process.number), (), ())
            case fx.CheckBlock():
                return ev.BlockChecked(HEIGHT, effect.hash, ev.Verdict.VALID)
            case fx.Decide():
                self._decide(process, effect.certificate)
            case fx.ReportEvidence():
                if effect.evidence.first.index != 0:
                    raise Violation("no_false_evidence", f"{effect.evidence}")
            case fx.Blame():
                raise Violation("no_false_blame", f"{effect.code}: {effect.detail}")
        return None

    @staticmethod
    def _left(process: Process, message: Message) -> bool:
        """Whether it is sent again though its signer has left its round."""
        if isinstance(message, SignedProposal | SignedPrepare | SignedCommit):
            return message.message.round < process.core.round
        return False

    def _send(self, sender: Process, indexes: Sequence[int], message: Message) -> None:
        for receiver in self._processes:
            if receiver is not sender and receiver.index in indexes:
                self._links.append((sender, receiver, message))

    def _decide(self, process: Process, certificate: Certificate) -> None:
        fault = ORACLE.certificate_fault(certificate, VALIDATOR_SET)
        if fault is not None:
            raise Violation("certificate", fault)
        process.decided = self._blocks.number(certificate.block_hash)


def run_group(
    members: Sequence[tuple[int, Local | Decided]],
    leaders: tuple[int, ...],
    creators: tuple[int, ...],
    network: Network,
    order: Sequence[int],
) -> Outcome:
    """One phase of the processes of one group; who has decided before hands the block out at its end."""
    blocks = Blocks(creators)
    first = len(leaders) == 1
    violation = ""
    before = [local.block for _, local in members if isinstance(local, Decided)]
    running = [
        Process(number, leaders, blocks, local, begun=not first)
        for number, local in sorted(members, key=lambda member: order.index(member[0]))
        if isinstance(local, Local)
    ]
    group = Group(running, blocks, network)
    try:
        group.run(first=first)
    except (Violation, HuzhuError) as error:
        violation = f"{error}"
    after = {process.number: process.local() for process in running}
    locals_: list[Local | Decided] = []
    for number, local in members:
        now = local if isinstance(local, Decided) else after[number]
        locals_.append(Decided(before[0]) if before and isinstance(now, Local) else now)
    return Outcome(tuple(locals_), tuple(blocks.made.items()), (group.carried[0], group.carried[1]), violation)
