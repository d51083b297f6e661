"""Seeds end without a violation; the same seed is the same run."""

import pytest

from simulator.runner import run_seed, run_seeds

SEEDS = 300
CHUNK = 10


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_no_invariant_is_violated_and_the_healed_core_recovers(first: int) -> None:
    report = run_seeds(range(first, first + CHUNK), processes=1)
    assert [(result.seed, result.violation) for result in report.violations] == []


@pytest.mark.parametrize("seed", [3, 17, 42])
def test_the_same_seed_gives_the_same_trace(seed: int) -> None:
    one, two = run_seed(seed), run_seed(seed, keep_log=True)
    assert (one.trace_hash, one.events, one.marks) == (two.trace_hash, two.events, two.marks)
    assert one.log == () and len(two.log) > 100
    assert run_seed(seed + 1).trace_hash != one.trace_hash


@pytest.mark.parametrize("nodes", [1, 4, 7, 10])
def test_the_number_of_validators_can_be_given(nodes: int) -> None:
    assert run_seed(5, nodes).violation is None


def test_a_range_reaches_the_rare_paths_and_processes_do_not_change_the_report() -> None:
    one, two = run_seeds(range(40), processes=1), run_seeds(range(40), processes=2)
    assert (one.heights, one.events, one.marks) == (two.heights, two.events, two.marks)
    assert len(one.marks.unreached()) < 10
