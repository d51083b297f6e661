"""The latency model: distances and measured costs are what decides, and nothing else."""

import pytest

from simulator import latency
from simulator.latency import BLOCKS, REGIONS, ROUND_TRIP_MS, LatencyRun, Row


def test_the_table_is_symmetric_and_of_the_regions_it_names() -> None:
    assert len(ROUND_TRIP_MS) == len(REGIONS)
    for i, row in enumerate(ROUND_TRIP_MS):
        assert [line[i] for line in ROUND_TRIP_MS] == list(row)
        assert row[i] == min(row)


def test_a_block_takes_three_steps_over_the_distances_and_all_to_all_votes() -> None:
    row = LatencyRun(4).measure()
    assert BLOCKS >= 10
    assert 3 * 31 / 2 < row.interval_ms < 2 * 3 * 123
    assert 2 * 4 * 3 <= row.messages < 40
    assert 20 < row.costs_us["SignedPrepare"] < 5_000
    assert 0 < row.busiest < 0.5


def test_what_a_message_costs_is_charged(monkeypatch: pytest.MonkeyPatch) -> None:
    ordinary = LatencyRun(4).measure()
    monkeypatch.setattr(latency.Costs, "of", lambda self, message: 0.0 if self.measuring else 20.0)
    slow: Row = LatencyRun(4).measure()
    assert slow.interval_ms > ordinary.interval_ms + 20 and slow.busiest > 0.3
