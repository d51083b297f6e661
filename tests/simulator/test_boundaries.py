"""Restart everything at an effect boundary of a calm run: nothing forks, nothing is lost, progress in 3 timeouts."""

import pytest

from consensus.log import MARKER
from simulator import boundaries as module
from simulator.boundaries import BLOCKS, BoundaryRun, boundaries
from simulator.disk import LogDisk
from simulator.invariants import Violation
from simulator.runner import run_seeds

STRATUM = 30
"""Every so many boundaries one is cut here; `make sim-deep` cuts all."""


def test_a_calm_run_passes_hundreds_of_boundaries_and_decides_its_blocks() -> None:
    calm = BoundaryRun(0)
    calm.run()
    assert calm.head == BLOCKS and calm.boundaries == boundaries() > 1_000


@pytest.mark.parametrize("first", range(1, STRATUM, 6))
def test_restarting_everybody_at_a_boundary_forks_nothing_loses_nothing_and_goes_on(first: int) -> None:
    report = run_seeds(range(first, boundaries() + 1, STRATUM), scenario="boundaries", processes=1)
    assert report.violations == [] and report.seeds > 60
    assert 0 < report.recovery_ms_max < 3 * 1_000


def test_the_cut_is_at_the_same_moment_each_time() -> None:
    one, two = BoundaryRun(700), BoundaryRun(700)
    one.run()
    two.run()
    assert one.world.trace_hash == two.world.trace_hash


def test_a_disk_that_lies_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somewhere in the run: a synced vote that is gone after the restart."""

    def forget(disk: LogDisk, random: object) -> str:
        disk._unsynced.clear()
        disk.synced = disk.synced[: disk.synced.rindex(MARKER)]
        return "lied"

    monkeypatch.setattr(LogDisk, "crash", forget)
    with pytest.raises(Violation, match="log_replay"):
        BoundaryRun(700).run()


def test_progress_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUTS_MAX", 0)
    with pytest.raises(Violation, match="recovery"):
        BoundaryRun(700).run()
