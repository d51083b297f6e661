"""The door: a backlog of a few seconds, and clients are sent away before anything is decoded."""

import pytest

from node.admission import Source
from node.door import BACKLOG_MIN, BACKLOG_S, BURST_MAX, Door
from tests.node.test_admission import Node, signed


def test_the_backlog_is_what_a_busy_chain_commits_in_a_few_seconds() -> None:
    door = Door()
    assert door.backlog_max == BURST_MAX
    for second in range(100):
        door.committed(5_000, 1_000, float(second))
    assert door.backlog_max == pytest.approx(5_000 * BACKLOG_S, rel=0.01)
    assert door.is_open(door.backlog_max - 1)
    assert not door.is_open(door.backlog_max)


def test_a_chain_with_nothing_left_to_do_says_nothing_about_its_speed() -> None:
    door = Door()
    for second in range(100):
        door.committed(50_000, 0, float(second))
    assert door.backlog_max == BURST_MAX


def test_behind_a_block_that_left_something_over_less_may_wait_than_on_an_idle_chain() -> None:
    door = Door()
    door.committed(1_000, 1, 0.0)
    assert door.backlog_max == BACKLOG_MIN < BURST_MAX
    door.committed(1, 0, 100.0)
    assert door.backlog_max == BURST_MAX


@pytest.mark.asyncio
async def test_a_closed_door_refuses_clients_undecoded_and_lets_peers_in(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node()
    monkeypatch.setattr("node.door.BURST_MAX", 2)
    assert await node.codes(signed(1), signed(2), signed(3), b"junk") == ["OK", "OK", "MEMPOOL_FULL", "MEMPOOL_FULL"]
    assert await node.codes(signed(1)) == ["OK"], "what waits already is told so"
    assert [outcome.code for outcome in await node.admission.submit([signed(4)], Source.PEER)] == ["OK"]
