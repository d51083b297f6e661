"""Four validators and an observer over loopback, with real stores and signing logs: they agree and catch up."""

from pathlib import Path

import pytest

from ledger.calendar import MS_PER_DAY, day_of, month_of
from ledger.transactions import AdvanceClock, Enrol
from node.keys import KeyKind, generate
from node.mempool import SignerClass
from tests.node.network import Network, running

VALIDATORS = ("platform", "bank", "firm-a", "firm-b")


def assert_agree(network: Network) -> None:
    heads = {(node.chain.height, node.chain.hash, node.chain.view.state_root) for node in network.nodes.values()}
    assert len(heads) == 1


async def step(network: Network, at: str, days: int) -> None:
    """Advance the ledger's clock with one transaction and wait until everybody who runs has it."""
    to_ms = network.genesis.values.clock_start_ms + days * MS_PER_DAY
    outcome = (await network.submit(at, ("clock", AdvanceClock(to_ms))))[0]
    assert outcome.code == "OK"
    await network.until(lambda node: node.chain.current.blocks.place_of(outcome.id) is not None)


async def settle(network: Network) -> None:
    """Wait until no block is due and all have the same head."""
    nodes = network.nodes.values()
    await network.until(
        lambda _: (
            len({node.chain.hash for node in nodes}) == 1
            and not any(node.chain.view.certifying_due or node.chain.deadline_due() for node in nodes)
        )
    )


@pytest.mark.asyncio
async def test_four_nodes_decide_blocks_and_the_observer_follows(tmp_path: Path) -> None:
    network = Network(tmp_path)
    async with running(network):
        await network.until(lambda node: node.driver.signing, *VALIDATORS)
        for day in range(1, 6):
            await step(network, "bank", day)
        await settle(network)
        assert_agree(network)
        assert all(node.driver.rounds_above_zero == 0 for node in network.nodes.values())


@pytest.mark.asyncio
async def test_all_nodes_restarted_go_on_from_their_stores_and_logs(tmp_path: Path) -> None:
    network = Network(tmp_path, observers=0)
    async with running(network):
        await step(network, "bank", 1)
        await settle(network)
        height, root = network.nodes["bank"].chain.height, network.nodes["bank"].chain.view.state_root
    async with running(network):
        assert network.nodes["firm-a"].chain.height == height
        assert network.nodes["firm-a"].chain.view.state_root == root
        await step(network, "platform", 2)
        await settle(network)
        assert_agree(network)
        assert network.nodes["bank"].chain.height > height


@pytest.mark.asyncio
async def test_a_node_that_was_away_catches_up_and_votes_again(tmp_path: Path) -> None:
    network = Network(tmp_path, observers=0, changes={"timeout_ms": 200})
    async with running(network, "platform", "bank", "firm-a", "firm-b") as up:
        await step(up, "bank", 1)
        await up.stop("firm-b")
        for day in range(2, 8):
            await step(up, "bank", day)
    async with running(network) as up:
        await up.until(lambda node: node.driver.signing)
        await step(up, "firm-b", 9)
        await settle(up)
        assert_agree(up)


@pytest.mark.asyncio
async def test_a_key_counts_as_a_members_from_the_block_on_that_enrols_him_with_it(tmp_path: Path) -> None:
    network = Network(tmp_path, observers=0)
    pair = generate(KeyKind.ORGANISATION)
    birth_month = month_of(day_of(network.genesis.values.clock_start_ms)) - 30 * 12
    async with running(network):
        await network.until(lambda node: node.driver.signing)
        assert {node._signers(pair.public) for node in network.nodes.values()} == {SignerClass.UNKNOWN}
        (outcome,) = await network.submit("bank", ("platform", Enrol(0, bytes(32), birth_month, pair.public)))
        await network.until(lambda node: node.chain.current.blocks.place_of(outcome.id) is not None)
        assert {node._signers(pair.public) for node in network.nodes.values()} == {SignerClass.MEMBER}
