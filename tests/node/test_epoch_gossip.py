"""Nodes of two epochs on one network: an epoch begins at some nodes first (CONSENSUS §6, decision 0028).

Nobody is taken for a liar, who was told nothing follows at once, and what waited for the old epoch is gone.
"""

import asyncio
import shutil
from pathlib import Path

import pytest

from consensus import admission
from ledger.transactions import Enrol
from node import recover
from node.chain import Committed
from node.opening import DATABASE_DIRECTORY
from tests.node.network import Network, running
from tests.node.test_recover import LOST, grow, home, signed

VALIDATORS = ("platform", *LOST)
BEFORE_A_BAN_ENDS_S = 8.0


async def begin_an_epoch_at(network: Network, names: tuple[str, ...], untold: str) -> None:
    """All sign and commit, those in ``names`` are stopped, and begin epoch 1; at ``untold`` a transaction waits."""
    await network.until(lambda node: node.driver.signing, *VALIDATORS)
    await grow(network, 2, only=tuple(network.nodes))
    await network.stop(*names)
    outcomes = await network.submit(untold, ("platform", Enrol(0, b"o" * 32, 1980 * 12, b"")))
    assert (outcomes[0].code, len(network.nodes[untold].mempool)) == ("OK", 1)
    record = signed(network, recover.draft(home(network, names[0]), [0, 1, 2, 3], []))
    for name in names:
        recover.apply(home(network, name), record)
    network.epoch = 1


async def follows_at_once(network: Network, names: tuple[str, ...], untold: str) -> None:
    """``names`` commit in the new epoch; ``untold`` is with them before a ban could end, and nobody is banned."""
    node = network.nodes[untold]
    await network.until(lambda node: node.driver.signing, *names)
    (old,) = node.mempool.ids()
    told: list[Committed] = []
    node.chain.listen(told.append)
    outcomes = await network.submit(names[0], ("platform", Enrol(0, b"n" * 32, 1980 * 12, b"")))
    assert outcomes[0].code == "OK"
    await network.until(lambda node: node.chain.epoch == 1, timeout_s=BEFORE_A_BAN_ENDS_S)
    for each in network.nodes.values():
        assert [peer.banned_for_s for peer in each.network.peers() if peer.banned_for_s] == []
    assert (old in node.mempool, node.mempool.expired(old)) == (False, True)
    assert [old in committed.expired for committed in told if committed.header.epoch == 1][0]
    for name in names:
        assert old not in network.nodes[name].mempool


@pytest.mark.asyncio
async def test_a_node_that_missed_the_recovery_which_dropped_its_blocks_says_so_and_a_reset_brings_it_back(
    tmp_path: Path,
) -> None:
    network = Network(tmp_path, observers=1)
    async with running(network), asyncio.TaskGroup() as again:
        await network.until(lambda node: node.driver.signing, *VALIDATORS)
        await grow(network, 1, only=tuple(network.nodes))
        await network.stop("platform")
        await grow(network, 2, at="bank", only=(*LOST, "observer-0"))
        await network.stop(*LOST)
        record = signed(network, recover.draft(home(network, "platform"), [0, 1, 2, 3], []))
        for name in VALIDATORS:
            recover.apply(home(network, name), record, drop=True)
        network.epoch, observer = 1, network.nodes["observer-0"]
        parted = observer.chain.height
        await network.start(again, *VALIDATORS)
        await grow(network, parted + 1 - record.head_height, only=VALIDATORS)
        await network.until(lambda node: node.sync.later_epoch == 1, "observer-0")
        said = f"the others are in epoch 1, and dropped block {parted} before it began"
        assert (observer.chain.height, observer.window.status().more["reset_needed"]) == (parted, said)
        for each in network.nodes.values():
            assert [peer.banned_for_s for peer in each.network.peers() if peer.banned_for_s] == []
        assert [each.sync.later_epoch for name, each in network.nodes.items() if name != "observer-0"] == [None] * 4

        await network.stop("observer-0")
        shutil.rmtree(home(network, "observer-0").data_path / DATABASE_DIRECTORY)
        await network.start(again, "observer-0")
        await network.until_height(parted + 1, timeout_s=BEFORE_A_BAN_ENDS_S)
        assert network.nodes["observer-0"].window.status().more["reset_needed"] is None
        await network.stop()


@pytest.mark.asyncio
async def test_an_observer_runs_on_through_a_recovery(tmp_path: Path) -> None:
    network = Network(tmp_path, observers=1)
    async with running(network), asyncio.TaskGroup() as again:
        await begin_an_epoch_at(network, VALIDATORS, "observer-0")
        await network.start(again, *VALIDATORS)
        await follows_at_once(network, VALIDATORS, "observer-0")
        await network.stop(*VALIDATORS)


@pytest.mark.asyncio
async def test_a_validator_was_told_nothing_and_votes_on_in_the_old_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "LAST_SEEN_WAIT_MS", 100)  # the fourth of another epoch does not answer
    network, told = Network(tmp_path, observers=0), VALIDATORS[:3]
    async with running(network), asyncio.TaskGroup() as again:
        await begin_an_epoch_at(network, told, "firm-b")
        await network.start(again, *told)
        await follows_at_once(network, told, "firm-b")
        await network.until(lambda node: node.driver.signing, "firm-b")
        await network.stop(*told)
