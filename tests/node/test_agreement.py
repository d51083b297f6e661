"""What ``status`` says of the open height: who proposes, who has voted, who is missing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.status import picture_lines
from consensus.messages import Signed
from ledger.transactions import AdvanceClock
from node.agreement import agreement
from node.api.answers import plain
from node.api.operating import status_of
from tests.consensus.solo import Solo
from tests.node.network import Network, running

HOUR_MS = 3_600_000
NAMES = ["platform", "bank", "firm-a", "firm-b"]


def seen_with(round_: int, *votes: Callable[[Solo], Signed]) -> dict[str, Any]:
    solo = Solo(None)
    state = solo.core.state.open
    state.round = round_
    for vote in votes:
        state.tally.add(vote(solo), round_)
    return agreement(state, NAMES.__getitem__)


def test_voters_of_this_round_are_named_whatever_they_voted_for() -> None:
    seen = seen_with(0, lambda solo: solo.prepare(1, b"x" * 32), lambda solo: solo.commit(2, b"y" * 32))
    assert (seen["voted"], seen["missing"]) == (["bank", "firm-a"], ["platform", "firm-b"])


def test_a_vote_of_a_round_before_does_not_count() -> None:
    seen = seen_with(1, lambda solo: solo.prepare(1, bytes(32)), lambda solo: solo.prepare(2, bytes(32), 1))
    assert (seen["round"], seen["voted"]) == (1, ["firm-a"])


def test_the_proposer_follows_the_round() -> None:
    order = [seen_with(round_)["proposer"] for round_ in range(4)]
    assert sorted(order) == sorted(NAMES)


@pytest.mark.asyncio
async def test_a_running_node_tells_it_and_the_picture_shows_it(tmp_path: Path) -> None:
    network = Network(tmp_path, observers=0)
    now_ms = network.genesis.values.clock_start_ms
    async with running(network) as live:
        node = live.nodes["platform"]
        await live.until(lambda node: node.driver.signing)
        assert status_of(node.window)["last_commit_age_s"] is None
        await live.submit("platform", ("clock", AdvanceClock(now_ms + HOUR_MS)))
        await live.until_height(1)
        status = status_of(node.window)
        found = status["agreement"]
        assert sorted(found["voted"] + found["missing"]) == sorted(NAMES)
        assert status["last_commit_age_s"] >= 0
        lines = "\n".join(picture_lines(plain(status), [plain(peer) for peer in node.window.peers()]))
    assert "not yet: " in lines
    assert "3 of 3 peers" in lines
