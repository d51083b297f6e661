"""Every schedule of up to so many phases, each state of the network visited once (CONSENSUS §7).

Breadth first: from one state of each kind that is new after a phase, every choice of the next is run. What a group does
depends on its own processes only, so a group that was met before is not run again.
"""

import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from consensus import quorum as arithmetic

from ..progress import work_off
from .choices import (
    ALL,
    HONEST,
    NOBODY,
    ORDERS,
    PROCESSES,
    TWINS,
    VALIDATORS,
    Choice,
    Hearing,
    Schedule,
    choices,
    partitions,
)
from .process import BUILT_MAX, Network, Outcome, run_group
from .state import BEGIN, NONE, Decided, Local, Offer, Rules, State, canonical, over, settled

SHARE_STATES: Final = 64
"""States whose futures are one share of the work."""
GROUPS_MAX: Final = 400_000
"""Groups remembered by a process; then they are run again."""
HEALED_PHASES_MAX: Final = 3
"""After so many phases with everybody together and an honest leader, everybody has decided."""
Members = tuple[tuple[int, Local | Decided], ...]
Groups = dict[tuple[Any, ...], Outcome]


def quorum() -> int:
    """What the core counts with; a seeded bug may have changed it."""
    return arithmetic.quorum(VALIDATORS)


@dataclass(frozen=True, slots=True)
class Kind:
    """What the network of a search does."""

    in_step: bool = True
    """Everybody learns at the end of a phase in which round the others are; else a group below q stays behind."""
    fine: bool = False
    """Also: one process alone hears the Prepares, or the Commits."""
    late: bool = False
    """Votes of rounds that their signer has left are sent again; else they are lost until the heal."""
    merged: bool = True
    """False: every state is expanded, the same or not; to show that merging hides nothing."""


KINDS: Final = {
    "in-step": Kind(),
    "lagging": Kind(in_step=False),
    "late": Kind(late=True),
    "fine": Kind(fine=True),
}
"""By the name on the command line."""


class Step(NamedTuple):
    """What one choice makes of a state."""

    state: State
    violation: str


class Expansion:
    """The futures of states; remembers groups."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._groups: Groups = {}
        self.runs = 0
        """Groups run."""

    def step(self, state: State, choice: Choice) -> Step:
        """One choice."""
        leaders = (*state.leaders, choice.leader)
        return self._together(state, leaders, self._outcomes(state, leaders, choice))

    def steps(self, state: State) -> Iterator[tuple[Choice, Step]]:
        """Every choice, but of those that do the same only the first."""
        seen: set[tuple[Any, ...]] = set()
        for choice in choices(fine=self._kind.fine):
            leaders = (*state.leaders, choice.leader)
            outcomes = self._outcomes(state, leaders, choice)
            same = (choice.leader, *(id(outcome.locals) for _, outcome in outcomes))
            if same not in seen:
                seen.add(same)
                yield choice, self._together(state, leaders, outcomes)

    def healed_in(self, state: State) -> int | None:
        """Phases until everybody honest has decided, with everybody together and honest leaders in turn."""
        everybody = partitions().index((tuple(range(PROCESSES)),))
        for phase in range(HEALED_PHASES_MAX + 1):
            if over(state):
                return phase
            state, violation = self.step(state, Choice(HONEST[phase % len(HONEST)], everybody, ALL))
            if violation:
                return None
        return None

    def _outcomes(
        self, state: State, leaders: tuple[int, ...], choice: Choice
    ) -> list[tuple[tuple[int, ...], Outcome]]:
        return [(group, self._outcome(state, leaders, group, choice)) for group in partitions()[choice.partition]]

    def _outcome(self, state: State, leaders: tuple[int, ...], group: tuple[int, ...], choice: Choice) -> Outcome:
        hearing = choice.hearing
        hearing = Hearing(
            hearing.prepares if hearing.prepares < 0 or hearing.prepares in group else NOBODY,
            hearing.commits if hearing.commits < 0 or hearing.commits in group else NOBODY,
        )
        members = tuple((process, state.locals[process]) for process in group)
        usual = self._heard(members, leaders, state.creators, hearing, ORDERS[TWINS[0]])
        if choice.first == TWINS[0] or not set(TWINS) <= set(group):
            return usual
        turned = self._heard(members, leaders, state.creators, hearing, ORDERS[choice.first])
        return usual if turned == usual else turned

    def _heard(
        self,
        members: Members,
        leaders: tuple[int, ...],
        creators: tuple[int, ...],
        hearing: Hearing,
        order: tuple[int, ...],
    ) -> Outcome:
        free = self._run(members, leaders, creators, ALL, order)
        lost = [carried for carried, heard, one in zip(free.carried, hearing, ALL, strict=True) if heard != one]
        return self._run(members, leaders, creators, hearing, order) if any(lost) else free

    def _run(self, *group: Any) -> Outcome:
        found = self._groups.get(group)
        if found is None:
            if len(self._groups) >= GROUPS_MAX:
                self._groups.clear()
            self.runs += 1
            members, leaders, creators, hearing, order = group
            network = Network(hearing, self._kind.in_step, self._kind.late)
            found = self._groups[group] = run_group(members, leaders, creators, network, order)
        return found

    def _together(
        self, state: State, leaders: tuple[int, ...], outcomes: Sequence[tuple[tuple[int, ...], Outcome]]
    ) -> Step:
        locals_ = list(state.locals)
        creators = [*state.creators, *[NONE] * (PROCESSES * BUILT_MAX)]
        violation = ""
        for group, outcome in outcomes:
            violation = violation or outcome.violation
            for process, local in zip(group, outcome.locals, strict=True):
                locals_[process] = local
            for number, creator in outcome.made:
                creators[number] = creator
        decided = {local.block for local in locals_ if isinstance(local, Decided)}
        if len(decided) > 1:
            violation = violation or "agreement: two blocks of one height are decided"
        return Step(
            settled(State(tuple(locals_), leaders, tuple(creators)), Rules(quorum(), self._kind.late)), violation
        )


# ---- the search ----


@dataclass(slots=True)
class Search:
    """What a search found."""

    rounds: int
    schedules: int
    """Of so many rounds, before symmetry; each in both orders of the copies."""
    runs: int = 0
    """Groups run by the core."""
    steps: list[int] = field(default_factory=list)
    """Choices, by phase, that did different things to a state."""
    states: list[int] = field(default_factory=list)
    """Kinds of states after each phase that no earlier phase had and that go on."""
    decided: list[int] = field(default_factory=list)
    """Of those in which everybody honest has decided."""
    healed_phases_max: int = 0
    violations: list[tuple[Schedule, str]] = field(default_factory=list)


def search(rounds: int, kind: Kind = Kind(), *, processes: int | None = None, resume: Path | None = None) -> Search:
    """Every schedule of up to ``rounds`` phases. Raises ``OperatorError`` SIMULATION_RESUME."""
    _expansion.cache_clear()
    found = Search(rounds, schedules=(len(choices(fine=kind.fine)) // len(TWINS)) ** rounds)
    frontier: list[tuple[Schedule, State]] = [((), BEGIN)]
    known: set[str] = set()
    options = {"run": "twins", "in_step": kind.in_step, "fine": kind.fine, "late": kind.late, "merged": kind.merged}
    for phase in range(1, rounds + 1):
        shares = {f"{phase}:{at}": frontier[at : at + SHARE_STATES] for at in range(0, len(frontier), SHARE_STATES)}
        new: list[tuple[Schedule, State]] = []
        steps = decided = 0
        for values in work_off(_expand, shares, kind, options, processes=processes, resume=resume):
            found.runs += values["runs"]
            steps += values["steps"]
            found.violations += [(_schedule(raw), what) for raw, what in values["violations"]]
            found.healed_phases_max = max(found.healed_phases_max, values["healed_phases_max"])
            for name, is_over, packed in values["states"]:
                if name in known and kind.merged:
                    continue
                known.add(name)
                decided += is_over
                if not is_over:
                    new.append(unpacked(packed))
        frontier = sorted(new, key=lambda one: one[0])
        found.steps.append(steps)
        found.states.append(len(frontier))
        found.decided.append(decided)
    found.violations.sort()
    return found


@cache
def _expansion(kind: Kind) -> Expansion:
    """Of this process: what its shares have in common."""
    return Expansion(kind)


def _expand(states: Iterable[tuple[Schedule, State]], kind: Kind) -> dict[str, Any]:
    """Every choice behind each state; each kind of state that is new to this share is healed too."""
    expansion = _expansion(kind)
    violations: list[tuple[Schedule, str]] = []
    found: dict[str, list[Any]] = {}
    runs, steps, healed = expansion.runs, 0, 0
    for before, state in states:
        for choice, (after, violation) in expansion.steps(state):
            steps += 1
            schedule = (*before, choice)
            if violation:
                violations.append((schedule, violation))
                continue
            name = canonical(after, quorum()).hex()
            if name in found and kind.merged:
                continue
            found[name if kind.merged else f"{name} {len(found)}"] = [name, over(after), packed(schedule, after)]
            phases = expansion.healed_in(after)
            if phases is None:
                violations.append((schedule, f"recovery: nobody decides in {HEALED_PHASES_MAX} phases after the heal"))
            else:
                healed = max(healed, phases)
    return {
        "runs": expansion.runs - runs,
        "steps": steps,
        "violations": violations,
        "healed_phases_max": healed,
        "states": list(found.values()),
    }


# ---- as text ----


def packed(schedule: Schedule, state: State) -> str:
    """A state and how it was come by, on a line of the progress file."""
    return b64encode(zlib.compress(json.dumps([schedule, state], separators=(",", ":")).encode(), 1)).decode()


def unpacked(text: str) -> tuple[Schedule, State]:
    """The reverse of ``packed``."""
    schedule, (locals_, leaders, creators) = json.loads(zlib.decompress(b64decode(text)))
    return _schedule(schedule), State(tuple(_local(one) for one in locals_), tuple(leaders), tuple(creators))


def _local(raw: Sequence[Any]) -> Local | Decided:
    if len(raw) == 1:
        return Decided(raw[0])
    fields = dict(zip(Local._fields, (_tuples(one) for one in raw), strict=True))
    if fields["offer"] is not None:
        fields["offer"] = Offer(*fields["offer"])
    return Local(**fields)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(one) for one in value) if isinstance(value, list) else value


def _schedule(raw: Sequence[Sequence[Any]]) -> Schedule:
    return tuple(Choice(leader, partition, Hearing(*hearing), first) for leader, partition, hearing, first in raw)
