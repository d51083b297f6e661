"""Runs the golden scenarios of ``tests/scenarios/*.txt``: one line a step, readable without knowing Python.

| line | meaning |
|---|---|
| `validators A B C Z` | a set of these, in the proposing order of height 1: round r is led by the r-th |
| `rule abandon-round off` | a seeded bug: the record only remembers one message per (round, kind) |
| `start A B` | the nodes start from their logs, ask LastSeen of each other and get the answers |
| `due A B` | a block is due for them |
| `deliver KIND from A to B C` | messages of that kind that A has sent arrive at B and C (each once) |
| `deliver KIND round 1 from A to B` | the same, of that round only |
| `deliver all` | everything sent arrives, until nothing is left; dead nodes lose theirs |
| `lose all` | everything sent and not delivered is lost |
| `timeout A B` | the round timers of these nodes run off (it is an error if none is running) |
| `resend A` | the time has come to send Status |
| `crash A B` | the nodes lose all but their durable log |
| `destroy A` | the log is lost too; only a first record marked *lost* is left |
| `restart A B` | they come back |
| `expect A round 1` · `expect A silent in round 0` | |
| `expect A locked NAME round 0` · `expect A unlocked` | |
| `expect A prepared (committed) NAME round 0` · `expect A committed nothing in round 0` | |
| `expect A decided NAME` · `expect A undecided` | |
| `expect timer A` · `expect no timer A` | whether A's round timer runs |
| `expect fork` · `expect no fork` | whether two nodes decided different blocks of one height |
| `set 3 A B E+1` | V(3) and on: these; `+1` means with the next keys of its rotation |
| `next A B` | the block they decided is executed and synced: they open the next height |
| `sync E from A` | E has fetched the blocks that A holds |
| `pending A` | A's mempool alone holds a transaction |
| `backup A` · `restore A` | its log is copied · the old copy is put back, and it is down |
| `boot A` | it starts, and what it asks LastSeen waits to be delivered |
| `wait-over A` | the 5 s of LastSeen are over |
| `expect A may sign` · `expect A may not sign` | |
| `expect A B hold different certificates` | of the block they decided |

Faults are in `script_faults.py`: Byzantine validators, twins, lies about heads, disks.

A block is named by its creator and the round it was created in: `A0`, `Z1`, or `A0@2`
at height 2. KIND is proposal, prepare, commit,
round-change, certificate, status, last-seen, request or answer. Persisting, signing, building and checking happen at
once; messages wait until they are delivered.
"""

from collections import deque
from itertools import takewhile
from pathlib import Path

from consensus import effects as fx
from consensus import events as ev
from consensus import messages as wire
from consensus.context import HeightContext
from consensus.core import Consensus
from consensus.records import FirstRecord, Record
from consensus.safety import SafetyRules
from ledger import blocks
from ledger.votes import Commit, Prepare, ValidatorEntry
from tests.consensus.harness import CHAIN_ID, FAST, GENESIS_HASH, TIMING, Decided, make_block, seed_of
from tests.consensus.script_faults import Disk, ScenarioFailed, faults_expectation, faults_line

ROTATED = 100
"""Added to the number of a seat's seed for each rotation of its keys."""

KINDS = {
    "proposal": (wire.SignedProposal,),
    "prepare": (wire.SignedPrepare,),
    "commit": (wire.SignedCommit,),
    "round-change": (wire.SignedRoundChange, wire.PreparedRoundChange),
    "certificate": (wire.CommitCertificate,),
    "status": (wire.Status,),
    "last-seen": (wire.LastSeenQuestion, wire.LastSeenAnswer),
    "request": (wire.GetBlock, wire.GetBodies, wire.GetPrepares, wire.GetCertificate),
    "answer": (wire.Block, wire.Bodies, wire.Prepares),
}


class Actor:
    def __init__(self, script: "Script", index: int, name: str) -> None:
        self.script, self.index, self.name = script, index, name
        self.durable: list[Record] = [FirstRecord(CHAIN_ID, FAST.public_key(seed_of(index)), False)]
        self.core: Consensus | None = None
        self.safety: SafetyRules | None = None
        self.timers: dict[ev.TimerKind, ev.Timer] = {}
        self.decided: bytes | None = None
        self.chain: list[Decided] = []
        self.pending: Decided | None = None
        self.disk = Disk()

    def start(self) -> None:
        if self.disk.refused:
            return
        seeds = [seed_of(self.index + ROTATED * version) for version in range(3)]
        self.safety = SafetyRules(CHAIN_ID, seeds, bytes(32), list(self.durable), FAST)
        self.core = Consensus(list(self.durable), FAST)
        self.timers = {}
        self.open()

    def open(self) -> None:
        """The next height of its chain."""
        assert self.safety is not None
        context = self.script.context(self)
        self.safety.begin(0, context.height, tuple(entry.validator_key for entry in context.validators))
        self.decided, self.pending = None, None
        self.step(ev.HeightStarted(context, bytes([self.index]) * 32))

    def next(self) -> None:
        """Its decided block is executed and synced."""
        if self.pending is None:
            raise ScenarioFailed(f"{self.name} has decided nothing")
        self.chain.append(self.pending)
        self.open()

    def crash(self) -> None:
        self.core = self.safety = None
        self.disk.stalled.clear()

    def step(self, event: ev.Event) -> None:
        if self.core is None or self.safety is None:
            return
        todo: deque[ev.Event] = deque([event])
        while todo:
            for effect in self.core.step(todo.popleft()):
                self.perform(effect, todo)
                if self.core is None:
                    return  # its disk failed

    def perform(self, effect: fx.Effect, todo: deque[ev.Event]) -> None:
        assert self.core is not None
        assert self.safety is not None
        script = self.script
        match effect:
            case fx.Persist():
                if self.disk.takes(self, effect):
                    self.synced(effect, todo)
            case fx.Sign(token, request):
                todo.append(ev.Signed(token, self.safety.sign(request)))
            case fx.Broadcast(message):
                members = [name for name, _ in script.set_at(len(self.chain) + 1)]
                for other in (*script.actors, *script.twins):
                    if other is not self and script.actors[other.index].name in members:
                        script.sent.append((self, other, message))
            case fx.Send(to, message):
                for other in script.reached(self, to):
                    script.sent.append((self, other, message))
            case fx.SetTimer(timer):
                self.timers[timer.kind] = timer
            case fx.BuildBlock(height, round):
                todo.append(self.script.build(self, height, round))
            case fx.FetchBody(height, hash, ids):
                todo.append(ev.BodyAvailable(height, hash, (None,) * len(ids)))
            case fx.CheckBlock(height, hash):
                todo.append(ev.BlockChecked(height, hash, ev.Verdict.VALID))
            case fx.Decide(_, hash, block, transactions, certificate):
                self.decided = hash
                self.pending = Decided(blocks.decode_header(block.header), block, transactions, certificate)
            case fx.Blame(peer, code, detail):
                if script.actors[peer[0]].name in script.byzantine:
                    script.reports.append((self.name, effect))
                    return
                raise ScenarioFailed(f"{self.name} blames {self.script.actors[peer[0]].name}: {code}: {detail}")
            case fx.ReportEvidence() | fx.Behind() | fx.Compact():
                self.script.reports.append((self.name, effect))

    def synced(self, effect: fx.Persist, todo: deque[ev.Event]) -> None:
        """The records are durable."""
        assert self.safety is not None
        self.durable.extend(effect.records)
        self.safety.recorded(effect.records)
        todo.append(ev.Persisted(effect.token))


def round_of(message: wire.Message) -> int | None:
    match message:
        case wire.SignedProposal() | wire.SignedPrepare() | wire.SignedCommit() | wire.SignedRoundChange():
            return message.message.round
        case wire.PreparedRoundChange():
            return message.change.message.round
    return None


class Script:
    """One scenario's network and the meaning of each line."""

    def __init__(self, *, abandon_round_off: bool = False) -> None:
        self.abandon_round_off = abandon_round_off
        self.actors: list[Actor] = []
        self.sent: list[tuple[Actor, Actor, wire.Message]] = []
        self.names: dict[str, bytes] = {}
        self.reports: list[tuple[str, fx.Effect]] = []
        self.byzantine: set[str] = set()
        self.twins: list[Actor] = []
        self.sets: dict[int, list[tuple[str, int]]] = {}
        """From which height on who votes, each with the number of its keys."""

    def run(self, path: Path) -> None:
        for number, raw in enumerate(path.read_text().splitlines(), start=1):
            line = raw.split("#")[0].strip()
            if line:
                try:
                    self.line(line.split())
                except (ScenarioFailed, KeyError) as failure:
                    raise ScenarioFailed(f"{path.name}:{number}: {line}: {failure}") from failure

    def set_at(self, height: int) -> list[tuple[str, int]]:
        """V(height): names with the number of their keys, in proposing order."""
        known = [since for since in self.sets if since <= height]
        return self.sets[max(known)] if known else [(actor.name, 0) for actor in self.actors]

    def validators(self, height: int) -> tuple[ValidatorEntry, ...]:
        found = []
        for name, version in self.set_at(height):
            seat = self.actor(name).index
            key = FAST.public_key(seed_of(seat + ROTATED * version))
            found.append(ValidatorEntry(seat, seat, bytes(32), key, bytes(32)))
        return tuple(found)

    def context(self, actor: Actor) -> HeightContext:
        height = len(actor.chain) + 1
        parent = actor.chain[-1].hash if actor.chain else GENESIS_HASH
        certificate = actor.chain[-1].certificate if actor.chain else blocks.genesis_certificate(GENESIS_HASH)
        validators = self.validators(height)
        index = next((at for at, entry in enumerate(validators) if entry.seat == actor.index), None)
        order = tuple(range(len(validators)))
        return HeightContext(CHAIN_ID, 0, height, parent, certificate, validators, index, order, TIMING, False)

    def reached(self, sender: Actor, to: int | bytes) -> list[Actor]:
        """Who hears a message: a validator of the sender's height, or the one that is answered; twins hear it too."""
        index = self.actor(self.set_at(len(sender.chain) + 1)[to][0]).index if isinstance(to, int) else to[0]
        return [actor for actor in (*self.actors, *self.twins) if actor.index == index and actor is not sender]

    def actor(self, name: str) -> Actor:
        return next(actor for actor in (*self.actors, *self.twins) if actor.name == name)

    def build(self, actor: Actor, height: int, round: int) -> ev.BlockBuilt:
        context = self.context(actor)
        assert context.index is not None
        raw = b"transaction of %s in round %d" % (actor.name.encode(), round)
        block = make_block(
            height,
            context.parent_hash,
            context.key(context.index),
            context.parent_certificate,
            (raw,),
            context.validators,
            round + 1,
        )
        self.names[f"{actor.name}{round}" + (f"@{height}" if height > 1 else "")] = blocks.header_hash(block.header)
        return ev.BlockBuilt(height, round, block, (raw,), (raw,))

    def line(self, words: list[str]) -> None:
        match words:
            case ["validators", *names]:
                self.actors = [Actor(self, index, name) for index, name in enumerate(names)]
            case ["start" | "restart", *names]:
                for name in names:
                    self.actor(name).start()
                everybody = [*self.actors, *self.twins]
                self.deliver(("last-seen",), everybody, everybody, until_quiet=True)
                for name in names:  # of seats that stay silent: the 5 s are over
                    actor = self.actor(name)
                    if ev.TimerKind.LAST_SEEN in actor.timers:
                        actor.step(ev.Timeout(actor.timers.pop(ev.TimerKind.LAST_SEEN)))
            case ["crash", *names]:
                for name in names:
                    self.actor(name).crash()
            case ["destroy", *names]:
                for name in names:
                    actor = self.actor(name)
                    actor.crash()
                    actor.durable = [FirstRecord(CHAIN_ID, FAST.public_key(seed_of(actor.index)), True)]
            case ["due", *names]:
                for name in names:
                    actor = self.actor(name)
                    actor.step(ev.BlockDue(len(actor.chain) + 1, ev.DueReason.ANNOUNCED))
            case ["pending", *names]:
                for name in names:
                    actor = self.actor(name)
                    actor.step(ev.BlockDue(len(actor.chain) + 1, ev.DueReason.PENDING))
            case ["set", height, *names]:
                self.sets[int(height)] = [(name.partition("+")[0], int(name.partition("+")[2] or 0)) for name in names]
            case ["next", *names]:
                for name in names:
                    self.actor(name).next()
            case ["sync", name, "from", other]:
                actor = self.actor(name)
                actor.chain = list(self.actor(other).chain)
                actor.open()
            case ["boot", *names]:
                for name in names:
                    self.actor(name).start()
            case ["wait-over", *names]:
                for name in names:
                    actor = self.actor(name)
                    actor.step(ev.Timeout(actor.timers.pop(ev.TimerKind.LAST_SEEN)))
            case ["backup", *names]:
                for name in names:
                    self.actor(name).disk.copy = list(self.actor(name).durable)
            case ["restore", *names]:
                for name in names:
                    self.actor(name).crash()
                    self.actor(name).durable = list(self.actor(name).disk.copy)
            case ["timeout", *names]:
                for name in names:
                    self.fire(self.actor(name), ev.TimerKind.ROUND)
            case ["resend", *names]:
                for name in names:
                    self.fire(self.actor(name), ev.TimerKind.RESEND)
            case ["deliver", "all"]:
                everybody = [*self.actors, *self.twins]
                self.deliver(tuple(KINDS), everybody, everybody, until_quiet=True)
            case ["rule", "abandon-round", "off"]:
                self.check(self.abandon_round_off, "the test did not switch the rule off")
            case ["deliver", kind, "round", round, "from", *rest]:
                self.deliver_some(kind, int(round), rest)
            case ["deliver", kind, "from", *rest]:
                self.deliver_some(kind, None, rest)
            case ["lose", "all"]:
                self.sent.clear()
            case ["expect", *rest]:
                self.expect(rest)
            case _:
                if not faults_line(self, words):
                    raise ScenarioFailed("unknown line")

    def deliver_some(self, kind: str, round: int | None, rest: list[str]) -> None:
        at = rest.index("to")
        froms, tos = ([self.actor(name) for name in names] for names in (rest[:at], rest[at + 1 :]))
        self.deliver((kind,), froms, tos, round=round)

    def fire(self, actor: Actor, kind: ev.TimerKind) -> None:
        timer = actor.timers.get(kind)
        if timer is None or (kind is ev.TimerKind.ROUND and not self.timer_runs(actor)):
            raise ScenarioFailed(f"no {kind.value} timer is running")
        actor.step(ev.Timeout(timer))

    def timer_runs(self, actor: Actor) -> bool:
        timer = actor.timers.get(ev.TimerKind.ROUND)
        return timer is not None and actor.core is not None and timer.round == actor.core.round

    def deliver(
        self,
        kinds: tuple[str, ...],
        froms: list[Actor],
        tos: list[Actor],
        *,
        until_quiet: bool = False,
        round: int | None = None,
    ) -> None:
        types = tuple(kind for name in kinds for kind in KINDS[name])
        delivered = 0
        while True:
            batch = [
                item
                for item in self.sent
                if item[0] in froms
                and item[1] in tos
                and isinstance(item[2], types)
                and (round is None or round_of(item[2]) == round)
            ]
            for item in batch:
                self.sent.remove(item)
                sender, receiver, message = item
                position = self.position(sender, receiver)
                receiver.step(ev.Received(bytes([sender.index]) * 32, position, message))
            delivered += len(batch)
            if not batch or not until_quiet:
                break
        if not delivered and not until_quiet:
            raise ScenarioFailed("nothing of that kind was sent")

    def position(self, sender: Actor, receiver: Actor) -> int | None:
        """The sender's position in V(open height) of the receiver."""
        names = [name for name, _ in self.set_at(len(receiver.chain) + 1)]
        own = self.actors[sender.index].name
        return names.index(own) if own in names else None

    def expect(self, words: list[str]) -> None:
        match words:
            case ["fork"] | ["no", "fork"]:
                by_height: dict[int, set[bytes]] = {}
                for actor in self.actors:
                    for decided in (*actor.chain, *([actor.pending] if actor.pending else [])):
                        by_height.setdefault(decided.header.height, set()).add(decided.hash)
                most = max(map(len, by_height.values()), default=0)
                self.check((most > 1) == (words == ["fork"]), f"decided: {most} different blocks")
            case [one, other, "hold", "different", "certificates"]:
                held = [self.actor(name).pending for name in (one, other)]
                seals = {decided.certificate.seals for decided in held if decided is not None}
                self.check(len(seals) == 2, f"{len(seals)} certificates")
            case ["no", "timer", name]:
                self.check(not self.timer_runs(self.actor(name)), "its timer runs")
            case ["timer", name]:
                self.check(self.timer_runs(self.actor(name)), "no timer runs")
            case _:
                known = {actor.name for actor in (*self.actors, *self.twins)}
                names = list(takewhile(known.__contains__, words))
                for name in names:
                    self.expect_of(self.actor(name), words[len(names) :])

    def expect_of(self, actor: Actor, words: list[str]) -> None:
        if faults_expectation(self, actor, words):
            return
        if actor.core is None:
            raise ScenarioFailed(f"{actor.name} is down")
        record = actor.core.state.record
        match words:
            case ["may", "sign"]:
                self.check(actor.core.signing, f"{actor.name} may not sign")
            case ["may", "not", "sign"]:
                self.check(not actor.core.signing, f"{actor.name} may sign")
            case ["observes"]:
                self.check(actor.core.state.open.context.index is None, f"{actor.name} has a seat")
            case ["height", height]:
                self.check(actor.core.height == int(height), f"{actor.name} is at height {actor.core.height}")
            case ["round", round]:
                self.check(actor.core.round == int(round), f"{actor.name} is in round {actor.core.round}")
            case ["decided", block]:
                self.check(actor.decided == self.names[block], f"{actor.name} decided {self.name_of(actor.decided)}")
            case ["undecided"]:
                self.check(actor.decided is None, f"{actor.name} decided {self.name_of(actor.decided)}")
            case ["locked", block, "round", round]:
                held = (self.name_of(record.lock.hash), record.lock.round) if record.lock else None
                self.check(held == (block, int(round)), f"{actor.name} is locked on {held}")
            case ["committed", "nothing", "in", "round", round]:
                self.check(record.signed(Commit, int(round)) is None, f"{actor.name} committed")
            case ["unlocked"]:
                self.check(record.lock is None, f"{actor.name} is locked")
            case ["prepared" | "committed" as what, block, "round", round]:
                kind = Prepare if what == "prepared" else Commit
                own = record.signed(kind, int(round))
                found = self.name_of(own.hash) if isinstance(own, Prepare | Commit) else None
                self.check(found == block, f"{actor.name} {what} {found}")
            case ["silent", "in", "round", round]:
                said = [kind.__name__ for kind, at in record.granted if at == int(round)]
                self.check(not said, f"{actor.name} signed {said}")
            case _:
                raise ScenarioFailed("unknown expectation")

    def name_of(self, hash: bytes | None) -> str:
        return next((name for name, known in self.names.items() if known == hash), str(hash))

    @staticmethod
    def check(holds: bool, found: str) -> None:
        if not holds:
            raise ScenarioFailed(found)
