"""What ``status`` says of the open height: who proposes, who has voted, who is missing."""

from pathlib import Path

import pytest

from cli.status import picture_lines
from ledger.transactions import AdvanceClock
from node.api.answers import plain
from node.api.operating import status_of
from tests.node.network import Network, running

HOUR_MS = 3_600_000


@pytest.mark.asyncio
async def test_a_validator_that_is_away_is_named_missing_and_the_others_voted(tmp_path: Path) -> None:
    network = Network(tmp_path, observers=0)
    now_ms = network.genesis.values.clock_start_ms
    async with running(network) as live:
        await live.submit("platform", ("clock", AdvanceClock(now_ms + HOUR_MS)))
        await live.until_height(1)
        await live.stop("bank", "firm-a")
        node = live.nodes["platform"]
        await live.submit("platform", ("clock", AdvanceClock(now_ms + 2 * HOUR_MS)))

        def voted_alone(node: object) -> bool:
            found = live.nodes["platform"].window.status().more["agreement"]
            return bool(found["voted"])

        await live.until(voted_alone, "platform")
        status = status_of(node.window)
        found = status["agreement"]
        assert set(found["voted"]) <= {"platform", "firm-b"}
        assert {"bank", "firm-a"} <= set(found["missing"])
        assert found["height"] == status["height"] + 1
        assert found["proposer"] in network.members
        assert 0 <= status["last_commit_age_s"] < 60
        lines = "\n".join(picture_lines(plain(status), [plain(peer) for peer in node.window.peers()]))
        assert "not yet: " in lines
        assert f"height {status['height']:,}" in lines


@pytest.mark.asyncio
async def test_before_the_first_block_nothing_was_committed(tmp_path: Path) -> None:
    network = Network(tmp_path, observers=0)
    async with running(network) as live:
        await live.until(lambda node: node.driver.signing)
        status = status_of(live.nodes["platform"].window)
    assert status["last_commit_age_s"] is None
    assert len(status["agreement"]["voted"]) + len(status["agreement"]["missing"]) == 4
