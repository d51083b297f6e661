"""Twins: the enumeration is whole, forgetting and merging change nothing, and a network that forks is noticed."""

from random import Random

import pytest

from simulator.bugs import planted
from simulator.twins import search as twins
from simulator.twins.choices import ALL, FINE, NOBODY, ORDERS, PROCESSES, Choice, Hearing, Schedule, choices, partitions
from simulator.twins.process import Blocks, Group, Network, Process
from simulator.twins.search import KINDS, Expansion, Kind, packed, search, unpacked
from simulator.twins.state import (
    BEGIN,
    NONE,
    Decided,
    Local,
    Rules,
    State,
    canonical,
    namings,
    over,
    renamed,
    settled,
)

TOGETHER = partitions().index((tuple(range(PROCESSES)),))
ALONE = partitions().index(tuple((process,) for process in range(PROCESSES)))
WITHOUT_3 = partitions().index(((0, 1, 2, 4), (3,)))
COPIES_APART = partitions().index(((0, 1, 2), (3, 4)))
LOST = Hearing(commits=NOBODY)
FIRST = 0


def after(*schedule: Choice, kind: Kind = KINDS["in-step"]) -> State:
    """Phase by phase, from each state alone."""
    expansion, state = Expansion(kind), BEGIN
    for choice in schedule:
        state, violation = expansion.step(state, choice)
        assert not violation
    return state


def lived(schedule: Schedule, kind: Kind) -> State:
    """The same, with cores that live through all phases and forget nothing."""
    blocks = Blocks(())
    leaders = tuple(choice.leader for choice in schedule)
    processes = [Process(number, leaders, blocks, local, begun=False) for number, local in enumerate(BEGIN.locals)]
    for phase, choice in enumerate(schedule):
        for group in partitions()[choice.partition]:
            members = [processes[number] for number in ORDERS[choice.first] if number in group]
            handed_out = [process.decided for process in members if process.decided != NONE]
            network = Network(choice.hearing, kind.in_step, kind.late)
            Group([one for one in members if one.decided == NONE], blocks, network).run(first=phase == 0)
            for process in members if handed_out else ():
                process.decided = handed_out[0]
    creators = [NONE] * (max(blocks.made, default=0) + 1)
    for number, creator in blocks.made.items():
        creators[number] = creator
    locals_ = tuple(process.local() for process in processes)
    return settled(State(locals_, leaders, tuple(creators)), Rules(twins.quorum(), kind.late))


def kinds_of_states(kind: Kind, rounds: int, sample: int) -> dict[bytes, set[State]]:
    """Different states of one name, after ``rounds`` phases, of some of the states before."""
    expansion, frontier = Expansion(kind), [BEGIN]
    for phase in range(rounds):
        known: dict[bytes, set[State]] = {}
        for state in frontier:
            for _, step in expansion.steps(state):
                if not over(step.state):
                    known.setdefault(canonical(step.state, 3), set()).add(step.state)
        frontier = [min(states, key=repr) for _, states in sorted(known.items())]
        if phase + 1 < rounds:
            frontier = Random(phase).sample(frontier, min(sample, len(frontier)))
    return known


def test_five_processes_have_52_partitions_and_a_phase_416_choices_in_two_orders() -> None:
    assert len(set(partitions())) == 52
    assert all(sorted(process for group in groups for process in group) == [0, 1, 2, 3, 4] for groups in partitions())
    assert len(set(choices())) == 4 * 52 * 2 * 2
    assert len(set(choices(fine=True))) == 4 * 52 * len(FINE) * 2


def test_all_together_decide_and_all_alone_do_not() -> None:
    assert over(after(Choice(1, TOGETHER, ALL)))
    assert all(isinstance(local, Local) and local.round == 1 for local in after(Choice(1, ALONE, ALL)).locals)


def test_with_its_commits_lost_a_round_locks_and_the_next_decides_the_same_block() -> None:
    state = after(Choice(1, TOGETHER, LOST))
    assert {local.lock[:2] for local in state.locals if isinstance(local, Local) and local.lock} == {(0, 0)}
    assert set(after(Choice(1, TOGETHER, LOST), Choice(2, TOGETHER, ALL)).locals) == {Decided(0)}


def test_one_process_may_be_the_only_one_to_decide() -> None:
    state = after(Choice(1, TOGETHER, Hearing(commits=2)), kind=KINDS["fine"])
    assert [isinstance(local, Decided) for local in state.locals] == [False, False, True, False, False]


def test_a_leader_that_runs_twice_proposes_twice_and_the_order_decides_which_is_accepted() -> None:
    states = {after(Choice(0, TOGETHER, LOST, first)) for first in ORDERS}
    assert len(states) == 2 and len({canonical(state, 3) for state in states}) == 1


def test_a_group_below_a_quorum_stays_behind_unless_rounds_are_kept_in_step() -> None:
    schedule = (Choice(1, ALONE, ALL), Choice(2, WITHOUT_3, LOST))
    rounds = [local.round for local in after(*schedule, kind=KINDS["lagging"]).locals if isinstance(local, Local)]
    assert rounds == [2, 2, 2, 1, 2]
    assert {local.round for local in after(*schedule).locals if isinstance(local, Local)} == {2}


def test_names_do_not_matter_to_a_state_and_locks_do() -> None:
    state = after(Choice(1, WITHOUT_3, LOST))
    assert {canonical(renamed(state, naming), 3) for naming in namings()} == {canonical(state, 3)}
    assert canonical(state, 3) != canonical(after(Choice(1, ALONE, ALL)), 3)
    assert canonical(state, 3) != canonical(after(Choice(1, TOGETHER, LOST)), 3)


@pytest.mark.parametrize("name", KINDS)
def test_forgetting_changes_nothing(name: str) -> None:
    """Cores that remember everything are in the same kind of state after every schedule."""
    kind, random = KINDS[name], Random(7)
    likely = [choice for choice in choices(fine=kind.fine) if len(partitions()[choice.partition]) <= 2]
    for _ in range(8):
        schedule = tuple(random.choice(likely) for _ in range(4))
        assert canonical(lived(schedule, kind), 3) == canonical(after(*schedule, kind=kind), 3), schedule


def test_states_of_one_name_have_futures_of_the_same_names() -> None:
    """All choices of the next phase, from two different states that the search takes for one."""
    kind = KINDS["in-step"]
    expansion = Expansion(kind)

    def futures(state: State) -> set[bytes]:
        return {canonical(step.state, 3) for _, step in expansion.steps(state)}

    merged = [sorted(one, key=repr) for _, one in sorted(kinds_of_states(kind, 2, 3).items()) if len(one) > 1]
    for states in Random(3).sample(merged, 4):
        assert futures(states[0]) == futures(states[-1])


def test_every_schedule_of_two_rounds() -> None:
    found = search(2, processes=1)
    assert found.violations == []
    assert found.schedules == 416**2
    assert found.states == [9, 38] and found.decided == [4, 8]
    assert found.healed_phases_max == 1


@pytest.mark.parametrize(
    ("bug", "kind", "invariant"),
    [
        ("quorum_minus_one", "in-step", "certificate"),
        ("decide_on_prepares", "in-step", "certificate"),
        ("drop_the_lock", "fine", "agreement"),
    ],
)
def test_a_seeded_bug_is_noticed_with_and_without_merging(
    monkeypatch: pytest.MonkeyPatch, bug: str, kind: str, invariant: str
) -> None:
    few = [
        choice
        for choice in choices(fine=KINDS[kind].fine)
        if choice.partition in (TOGETHER, WITHOUT_3, COPIES_APART) and choice.leader == 1 and choice.first == FIRST
        if choice.hearing in (ALL, LOST, Hearing(commits=3))
    ]
    monkeypatch.setattr(twins, "choices", lambda **_: few)

    def verdicts(*, merged: bool) -> set[str]:
        kind_ = Kind(fine=KINDS[kind].fine, merged=merged)
        return {what.partition(":")[0] for _, what in search(2, kind_, processes=1).violations}

    assert verdicts(merged=True) == verdicts(merged=False) == set()
    with planted(bug):
        assert invariant in verdicts(merged=True)
        assert verdicts(merged=True) == verdicts(merged=False)


def test_a_state_survives_the_progress_file() -> None:
    schedule = (Choice(0, WITHOUT_3, LOST, 4), Choice(1, COPIES_APART, Hearing(prepares=2)))
    state = after(*schedule, kind=KINDS["fine"])
    assert unpacked(packed(schedule, state)) == (schedule, state)
