"""A validator's link key is changed while the network goes on (DESIGN §3, issue 6): both named, swapped, one named."""

import asyncio
from hashlib import sha256
from pathlib import Path

import pytest

from ledger.transactions import Enrol, SetNodes
from node.keys import KeyKind, generate, key_path, write_key
from tests.node.network import Network, running

NAME = "bank"
OTHERS = ("platform", "firm-a", "firm-b")


async def more(network: Network, *names: str) -> None:
    """Another block on these nodes."""
    node = network.nodes["platform"]
    height = node.chain.height
    await network.submit("platform", ("platform", Enrol(0, sha256(b"%d" % height).digest(), 1980 * 12, b"")))
    await network.until_height(height + 1, *names, timeout_s=30)


@pytest.mark.asyncio
async def test_a_validator_changes_the_key_of_its_links_and_votes_on(tmp_path: Path) -> None:
    network = Network(tmp_path, observers=0)
    path = key_path(network.members[NAME].home / "keys", KeyKind.NODE)
    new = generate(KeyKind.NODE)
    async with running(network):
        await network.until(lambda node: node.driver.signing)
        old = network.nodes[NAME].keys.node.public
        (outcome,) = await network.submit(NAME, (NAME, SetNodes((old, new.public), "")))
        assert outcome.code == "OK"
        await network.until(lambda node: new.public in node.neighbours.roster.allowed)
        await more(network, *OTHERS, NAME)

        await network.stop(NAME)
        await more(network, *OTHERS)
        path.unlink()
        write_key(path, new)
        async with asyncio.TaskGroup() as tasks:
            await network.start(tasks, NAME)
            await network.until(lambda node: node.driver.signing, NAME, timeout_s=30)
            await more(network, *OTHERS, NAME)

            await network.submit(NAME, (NAME, SetNodes((new.public,), "")))
            await network.until(lambda node: old not in node.neighbours.roster.allowed)
            await network.stop("firm-b")  # nothing is decided any more without its vote
            await more(network, "platform", "firm-a", NAME)
            links = {peer.key for peer in network.nodes["platform"].network.peers() if peer.connected}
            assert new.public in links and old not in links
            await network.stop(NAME)
