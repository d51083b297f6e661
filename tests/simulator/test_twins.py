"""Twins: the enumeration is whole, a schedule does what it says, and the search notices a network that forks."""

from collections import Counter

import pytest

from simulator.bugs import planted
from simulator.invariants import Violation
from simulator.twins import PROCESSES, TIMEOUT_MS, Steady, TwinsRun, _expand, choices, partitions, search

TOGETHER = partitions().index((0,) * PROCESSES)
ALONE = partitions().index(tuple(range(PROCESSES)))
COPIES_APART = partitions().index((0, 0, 0, 1, 1))
"""{first copy, 1, 2} and {3, second copy}."""


def ran(*choices_: tuple[int, int, bool]) -> TwinsRun:
    run = TwinsRun(choices_)
    run.to_last_phase()
    return run


def test_five_processes_have_52_partitions_and_a_phase_416_choices() -> None:
    assert len(set(partitions())) == 52
    assert len(set(choices())) == 4 * 52 * 2
    assert all(groups[0] == 0 and max(groups) < PROCESSES for groups in partitions())


def test_all_together_decide_and_all_alone_do_not() -> None:
    assert ran((1, TOGETHER, False)).over
    assert not ran((1, ALONE, False)).over


def test_with_its_commits_lost_a_round_locks_and_the_next_decides_the_same_block() -> None:
    run = ran((1, TOGETHER, True))
    locked = {node.core.state.record.lock.hash for node in run.nodes if node.core.state.record.lock is not None}
    assert not run.over and len(locked) == 1
    run = ran((1, TOGETHER, True), (2, TOGETHER, False))
    assert run.over and run.checker.blocks[1] == locked.pop()


def test_a_leader_that_runs_twice_proposes_twice() -> None:
    run = ran((0, TOGETHER, True))
    accepted = {node.core.state.open.accepted[0].hash for node in run.nodes if 0 in node.core.state.open.accepted}
    assert len(accepted) == 2


def test_the_leader_of_a_round_is_the_schedules() -> None:
    for leader in (1, 2, 3):
        run = ran((leader, TOGETHER, False))
        first = run.nodes[1].replica.chain[0]
        assert first.header.creator == run.nodes[leader].keys[0]


def test_names_of_processes_do_not_matter_to_a_state_and_locks_do() -> None:
    apart = partitions().index((0, 0, 0, 1, 0))
    other = partitions().index((0, 0, 1, 0, 0))
    assert ran((1, apart, True)).state() == ran((1, other, True)).state() == ran((2, apart, True)).state()
    assert ran((1, apart, True)).state() != ran((3, apart, True)).state(), "its leader is cut off"
    assert ran((1, TOGETHER, True)).state() != ran((1, ALONE, True)).state()


def test_a_share_runs_every_choice_and_heals_every_state_once(monkeypatch: pytest.MonkeyPatch) -> None:
    few = [(leader, partition, lost) for leader, partition, lost in choices() if partition in (TOGETHER, COPIES_APART)]
    monkeypatch.setattr("simulator.twins.choices", lambda: few)
    values = _expand(((1, ALONE, False),), None)
    assert values["runs"] == len(few) and values["violations"] == []
    assert 1 < len(values["states"]) < len(few)
    assert Counter(over for _, _, over in values["states"])[True] >= 1


def test_a_quorum_that_is_too_small_is_noticed() -> None:
    schedule = ((0, COPIES_APART, False),)
    TwinsRun(schedule).run()
    with planted("quorum_minus_one"), pytest.raises(Violation):
        TwinsRun(schedule).run()


def test_every_schedule_of_one_round_up_to_symmetry() -> None:
    found = search(1, processes=1)
    assert found.violations == []
    assert found.schedules == found.runs == 416
    assert 10 < found.states[0] < found.healed < 50, "those that go on, and some in which all have decided"
    assert 0 < found.recovery_ms_max < 3 * TIMEOUT_MS


def test_chance_is_steady() -> None:
    assert Steady(1).randint(3, 9) == 3 and Steady(1).random() > 0.99
