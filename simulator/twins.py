"""Twins: one validator of four runs twice; every leader and partition of every round (Bano et al., 2020).

Processes 0 and 4 are two honest copies with one key, 1 to 3 are honest. A *phase* lasts one timeout; in phase r rounds
are at r, or behind. Its *choice* is the leader of round r (both copies, when it is validator 0), how the five processes
are partitioned (52 ways), and whether the round's Commits are lost: else a round would be decided or nothing. What a
partition cut off is lost until the heal, retransmission included; after the last phase all is well again and everybody
honest must decide that height and the next.

Up to symmetry: schedules whose networks are in the same state after a phase, but for the names of processes 1 to 3 and
of the two copies, are continued once. The state is what each process has signed, received, accepted, locked and
decided, with blocks named in the order in which they are met; which repair was asked of whom is left out. So the search
covers every schedule, but runs each distinct state once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from hashlib import sha256
from itertools import permutations, product
from pathlib import Path
from random import Random
from typing import Any, Final

from consensus import events as ev
from consensus.context import Timing
from consensus.messages import (
    Message,
    PreparedRoundChange,
    SignedCommit,
    SignedPrepare,
    SignedProposal,
    SignedRoundChange,
)
from ledger.errors import HuzhuError
from ledger.votes import ValidatorEntry

from .faults import calm_plan
from .invariants import Violation
from .node import SimNode
from .progress import work_off
from .replica import LightReplica
from .simulation import Simulation

ROUNDS_MAX: Final = 5
PROCESSES: Final = 5
TWINS: Final = (0, 4)
TIMEOUT_MS: Final = 1_000
BEGIN_MS: Final = 100
"""Everybody has asked LastSeen by then; a block is due."""
PHASE_MS: Final = 1_050
"""The end of phase 0: before the first timeout."""
HEAL_MS: Final = 12 * TIMEOUT_MS
HONEST_LEADERS: Final = (1, 2, 3)
"""Of the rounds behind the last phase."""
Choice = tuple[int, int, bool]
"""Leader, partition, whether the Commits are lost."""
Schedule = tuple[Choice, ...]


@cache
def partitions() -> tuple[tuple[int, ...], ...]:
    """All set partitions of the five processes: entry i is the group of process i, groups numbered as they are met."""
    found: list[tuple[int, ...]] = [()]
    for _ in range(PROCESSES):
        found = [(*groups, group) for groups in found for group in range(max(groups, default=-1) + 2)]
    return tuple(found)


def choices() -> list[Choice]:
    """Everything that one phase can be."""
    return list(product(range(4), range(len(partitions())), (False, True)))


class Steady(Random):
    """Chance that always takes the shortest delay, so that equal states come at equal times."""

    def random(self) -> float:
        return 0.999

    def randint(self, a: int, b: int) -> int:
        return a


class TwinsReplica(LightReplica):
    """Whose leaders at height 1 are those of the schedule."""

    def __init__(self, schedule: Schedule, *founding: Any) -> None:
        self._schedule = schedule
        super().__init__(*founding)

    def leaders(self) -> tuple[ValidatorEntry, ...]:
        """The proposers of the open height."""
        if self.view.height > 0:
            return super().leaders()
        validators = self.view.next_validators
        wanted = [leader for leader, _, _ in self._schedule]
        return tuple(validators[leader] for leader in (*wanted, *HONEST_LEADERS))


class TwinsRun(Simulation):
    """One schedule."""

    def __init__(self, schedule: Schedule, *, keep_log: bool = False) -> None:
        self.schedule = schedule
        self.light_replica = partial(TwinsReplica, schedule)
        self._phase = -1
        """-1: before the first, ``len(schedule)``: healed."""
        plan = replace(calm_plan(4, timing=Timing(TIMEOUT_MS, TIMEOUT_MS, 50)), byzantine=frozenset({0}), twins=True)
        super().__init__(1, plan=plan, keep_log=keep_log)
        self.world.random = Steady(1)

    def run(self) -> None:
        """All phases, and the heal. Raises ``Violation``."""
        self.to_last_phase()
        self.heal()

    def to_last_phase(self) -> None:
        """Up to the end of the last phase, or of the height. Raises ``Violation``."""
        world = self.world
        for node in self.nodes:
            node.start()
        world.run_for(BEGIN_MS)
        self._phase = 0
        for node in self.nodes:
            node.pool.admit(self.workload.transaction(600_000))
            node.feed(ev.BlockDue(1, ev.DueReason.DEADLINE))
        for phase in range(len(self.schedule)):
            self._phase = phase
            if world.run(lambda: self.over, PHASE_MS + phase * TIMEOUT_MS):
                return

    def heal(self) -> None:
        """Everybody hears everybody again. Raises ``Violation`` when that does not help soon."""
        self._phase = len(self.schedule)
        self.healed = True
        self._every(300, self._client, lasting=True)
        core = [self.nodes[number] for number in sorted(self.plan.core)]
        begun_ms = self.world.now_ms
        if not self.world.run(lambda: all(node.height >= 2 for node in core), begun_ms + HEAL_MS):
            raise Violation("recovery", f"no two blocks {HEAL_MS} ms after the heal: {self._summary()}")
        self.recovery_ms = self.world.now_ms - begun_ms

    def passes(self, sender: SimNode, receiver: SimNode, message: Message) -> bool:
        """Within the present partition, and within that of the round the message is of."""
        phase, end = self._phase, len(self.schedule)
        if phase in (-1, end):
            return True
        if not self._together(phase, sender, receiver):
            return False
        signed = message.change if isinstance(message, PreparedRoundChange) else message
        if not isinstance(signed, SignedProposal | SignedPrepare | SignedCommit | SignedRoundChange):
            return True
        round = signed.message.round
        if signed.message.height != 1 or round >= end:
            return True
        lost = isinstance(signed, SignedCommit) and self.schedule[round][2]
        return not lost and self._together(round, sender, receiver)

    def _together(self, phase: int, one: SimNode, other: SimNode) -> bool:
        groups = partitions()[self.schedule[phase][1]]
        return groups[one.number] == groups[other.number]

    def fsync_ms(self) -> int:
        """At once."""
        return 0

    # ---- states ----

    @property
    def over(self) -> bool:
        """Whether everybody honest has decided the height."""
        return all(self.nodes[number].height >= 1 for number in self.plan.core)

    def state(self) -> str:
        """Names the state of the network, the same for all that differ by names only."""
        views = [self._view(node) for node in self.nodes]
        return min(_described(views, order) for order in _symmetries())

    def _view(self, node: SimNode) -> "_View":
        core = node.core.state
        if node.height >= 1 or not node.alive:
            return _View(("decided", node.replica.chain[0].hash if node.height else b""), ())
        state = core.open
        facts: list[tuple[Any, ...]] = []
        for (kind, round), message in core.record.granted.items():
            hash = getattr(message, "hash", getattr(message, "prepared_hash", b""))
            facts.append(("signed", kind.__name__, -1, round, hash))
        for index in range(4):
            for box in (state.tally.prepares, state.tally.commits):
                facts += [(type(v).__name__, "", v.index, v.message.round, v.message.hash) for v in box.by(index)]
            change = state.tally.changes.get(index)
            if change is not None:
                facts.append(("change", change.message.prepared_round, index, change.message.round, b""))
        facts += [("accepted", "", -1, round, accepted.hash) for round, accepted in state.accepted.items()]
        hashes = {fact[-1] for fact in facts if fact[-1]}
        for hash in hashes:
            candidate = state.candidates.get(hash)
            facts.append(("candidate", candidate is not None and candidate.complete, -1, 0, hash))
        lock = core.record.lock
        return _View((state.round, lock.round if lock else -1, lock.hash if lock else b""), tuple(facts))


@dataclass(frozen=True, slots=True)
class _View:
    head: tuple[Any, ...]
    facts: tuple[tuple[Any, ...], ...]


@cache
def _symmetries() -> tuple[tuple[int, ...], ...]:
    """Orders of the processes: 1 to 3 in any, the copies in any."""
    return tuple((first, *middle, last) for first, last in (TWINS, TWINS[::-1]) for middle in permutations((1, 2, 3)))


def _described(views: Sequence[_View], order: tuple[int, ...]) -> str:
    """The state with process ``order[i]`` in place i; blocks named by how they are met."""
    place = {0: 0} | {process: at for at, process in enumerate(order) if process not in TWINS}
    names: dict[bytes, int] = {b"": -1}
    lines: list[Any] = []

    def named(value: Any) -> Any:
        return names.setdefault(value, len(names)) if isinstance(value, bytes) else value

    for process in order:
        view = views[process]
        facts = sorted(view.facts, key=lambda fact: (str(fact[0]), fact[3], place.get(fact[2], -1), str(fact[1])))
        lines.append([named(value) for value in view.head])
        lines.append(
            [(kind, more, place.get(index, -1), round, named(hash)) for kind, more, index, round, hash in facts]
        )
    return sha256(repr(lines).encode()).hexdigest()


# ---- the search ----


@dataclass(slots=True)
class Search:
    """What a search found."""

    rounds: int
    schedules: int = 0
    """Of so many rounds, before symmetry."""
    runs: int = 0
    states: list[int] = field(default_factory=list)
    """Distinct states after each phase that are not over."""
    healed: int = 0
    """Distinct states, over or not, from which the heal was run."""
    violations: list[tuple[Schedule, str]] = field(default_factory=list)
    recovery_ms_max: int = 0


def search(rounds: int, *, processes: int | None = None, resume: Path | None = None) -> Search:
    """Every schedule of up to ``rounds`` phases. Raises ``OperatorError`` SIMULATION_RESUME."""
    found = Search(rounds, schedules=len(choices()) ** rounds)
    frontier: list[Schedule] = [()]
    known: set[str] = set()
    options = {"run": "twins"}
    for phase in range(1, rounds + 1):
        work = {f"{phase}:{_name(schedule)}": schedule for schedule in frontier}
        new: dict[str, tuple[Schedule, bool]] = {}
        for values in work_off(_expand, work, None, options, processes=processes, resume=resume):
            found.runs += values["runs"]
            found.violations += [(_schedule(raw), what) for raw, what in values["violations"]]
            found.recovery_ms_max = max(found.recovery_ms_max, values["recovery_ms_max"])
            for state, raw, over in values["states"]:
                schedule = _schedule(raw)
                if state not in known and (state not in new or schedule < new[state][0]):
                    new[state] = (schedule, over)
        known |= set(new)
        found.healed += len(new)
        frontier = sorted(schedule for schedule, over in new.values() if not over)
        found.states.append(len(frontier))
    found.violations.sort()
    return found


def _expand(prefix: Schedule, _: None) -> dict[str, Any]:
    """Every choice behind ``prefix``; each state that is new to this share is healed too."""
    violations: list[tuple[Schedule, str]] = []
    states: dict[str, tuple[Schedule, bool]] = {}
    recovery_ms, runs = 0, 0
    for choice in choices():
        run = TwinsRun((*prefix, choice))
        runs += 1
        try:
            run.to_last_phase()
            state = run.state()
            if state not in states:
                states[state] = (run.schedule, run.over)
                run.heal()
                recovery_ms = max(recovery_ms, run.recovery_ms)
        except (Violation, HuzhuError) as broken:
            violations.append((run.schedule, str(broken)))
    return {
        "runs": runs,
        "violations": violations,
        "recovery_ms_max": recovery_ms,
        "states": [(state, schedule, over) for state, (schedule, over) in states.items()],
    }


def _name(schedule: Schedule) -> str:
    return " ".join(f"{leader}.{partition}.{int(lost)}" for leader, partition, lost in schedule)


def _schedule(raw: Sequence[Sequence[Any]]) -> Schedule:
    return tuple((int(leader), int(partition), bool(lost)) for leader, partition, lost in raw)
