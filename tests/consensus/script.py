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
| `expect fork` · `expect no fork` | whether two nodes decided differently |

A block is named by its creator and the round it was created in: `A0`, `Z1`. KIND is proposal, prepare, commit,
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
from ledger.votes import Commit, Prepare
from tests.consensus.harness import CHAIN_ID, FAST, GENESIS_HASH, TIMING, make_block, seed_of, validator_set

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


class ScenarioFailed(AssertionError):
    """The line and what was found instead."""


class Actor:
    def __init__(self, script: "Script", index: int, name: str) -> None:
        self.script, self.index, self.name = script, index, name
        self.durable: list[Record] = [FirstRecord(CHAIN_ID, FAST.public_key(seed_of(index)), False)]
        self.core: Consensus | None = None
        self.safety: SafetyRules | None = None
        self.timers: dict[ev.TimerKind, ev.Timer] = {}
        self.decided: bytes | None = None
        self.blocks_built = 0

    def start(self) -> None:
        context = self.script.context(self.index)
        self.safety = SafetyRules(CHAIN_ID, [seed_of(self.index)], bytes(32), list(self.durable), FAST)
        self.core = Consensus(list(self.durable), FAST)
        self.safety.begin(0, 1, tuple(entry.validator_key for entry in context.validators))
        self.timers, self.decided = {}, None
        self.step(ev.HeightStarted(context, bytes([self.index]) * 32))

    def crash(self) -> None:
        self.core = self.safety = None

    def step(self, event: ev.Event) -> None:
        if self.core is None or self.safety is None:
            return
        todo: deque[ev.Event] = deque([event])
        while todo:
            for effect in self.core.step(todo.popleft()):
                self.perform(effect, todo)

    def perform(self, effect: fx.Effect, todo: deque[ev.Event]) -> None:
        assert self.core is not None
        assert self.safety is not None
        match effect:
            case fx.Persist(token, records):
                self.durable.extend(records)
                self.safety.recorded(records)
                todo.append(ev.Persisted(token))
            case fx.Sign(token, request):
                todo.append(ev.Signed(token, self.safety.sign(request)))
            case fx.Broadcast(message):
                for other in self.script.actors:
                    if other is not self:
                        self.script.sent.append((self, other, message))
            case fx.Send(to, message):
                other = self.script.actors[to if isinstance(to, int) else to[0]]
                self.script.sent.append((self, other, message))
            case fx.SetTimer(timer):
                self.timers[timer.kind] = timer
            case fx.BuildBlock(height, round):
                todo.append(self.script.build(self, height, round))
            case fx.FetchBody(height, hash, ids):
                todo.append(ev.BodyAvailable(height, hash, (None,) * len(ids)))
            case fx.CheckBlock(height, hash):
                todo.append(ev.BlockChecked(height, hash, ev.Verdict.VALID))
            case fx.Decide(_, hash):
                self.decided = hash
            case fx.Blame(peer, code, detail):
                raise ScenarioFailed(f"{self.name} blames {self.script.actors[peer[0]].name}: {code}: {detail}")
            case fx.ReportEvidence() | fx.Behind() | fx.Compact():
                self.script.reports.append((self.name, effect))


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

    def run(self, path: Path) -> None:
        for number, raw in enumerate(path.read_text().splitlines(), start=1):
            line = raw.split("#")[0].strip()
            if line:
                try:
                    self.line(line.split())
                except (ScenarioFailed, KeyError) as failure:
                    raise ScenarioFailed(f"{path.name}:{number}: {line}: {failure}") from failure

    def context(self, index: int) -> HeightContext:
        n = len(self.actors)
        genesis = blocks.genesis_certificate(GENESIS_HASH)
        return HeightContext(
            CHAIN_ID, 0, 1, GENESIS_HASH, genesis, validator_set(n), index, tuple(range(n)), TIMING, False
        )

    def actor(self, name: str) -> Actor:
        return next(actor for actor in self.actors if actor.name == name)

    def build(self, actor: Actor, height: int, round: int) -> ev.BlockBuilt:
        context = self.context(actor.index)
        raw = b"transaction of %s in round %d" % (actor.name.encode(), round)
        block = make_block(
            height,
            GENESIS_HASH,
            context.key(actor.index),
            context.parent_certificate,
            (raw,),
            context.validators,
            round + 1,
        )
        self.names[f"{actor.name}{round}"] = blocks.header_hash(block.header)
        return ev.BlockBuilt(height, round, block, (raw,), (raw,))

    def line(self, words: list[str]) -> None:
        match words:
            case ["validators", *names]:
                self.actors = [Actor(self, index, name) for index, name in enumerate(names)]
            case ["start" | "restart", *names]:
                for name in names:
                    self.actor(name).start()
                self.deliver(("last-seen",), self.actors, self.actors, until_quiet=True)
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
                    self.actor(name).step(ev.BlockDue(1, ev.DueReason.ANNOUNCED))
            case ["timeout", *names]:
                for name in names:
                    self.fire(self.actor(name), ev.TimerKind.ROUND)
            case ["resend", *names]:
                for name in names:
                    self.fire(self.actor(name), ev.TimerKind.RESEND)
            case ["deliver", "all"]:
                self.deliver(tuple(KINDS), self.actors, self.actors, until_quiet=True)
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
                receiver.step(ev.Received(bytes([sender.index]) * 32, sender.index, message))
            delivered += len(batch)
            if not batch or not until_quiet:
                break
        if not delivered and not until_quiet:
            raise ScenarioFailed("nothing of that kind was sent")

    def expect(self, words: list[str]) -> None:
        match words:
            case ["fork"] | ["no", "fork"]:
                decided = {actor.decided for actor in self.actors if actor.decided}
                self.check((len(decided) > 1) == (words == ["fork"]), f"decided: {len(decided)} different blocks")
            case ["no", "timer", name]:
                self.check(not self.timer_runs(self.actor(name)), "its timer runs")
            case ["timer", name]:
                self.check(self.timer_runs(self.actor(name)), "no timer runs")
            case _:
                known = {actor.name for actor in self.actors}
                names = list(takewhile(known.__contains__, words))
                for name in names:
                    self.expect_of(self.actor(name), words[len(names) :])

    def expect_of(self, actor: Actor, words: list[str]) -> None:
        if actor.core is None:
            raise ScenarioFailed(f"{actor.name} is down")
        record = actor.core.state.record
        match words:
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
