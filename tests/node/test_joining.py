"""A node that begins with nothing: it joins by snapshot when told to, is started anew on it, and serves others."""

import asyncio
from hashlib import sha256
from pathlib import Path

import pytest

from ledger.transactions import EnrolBatch
from node import snapshot_place
from node.config import render_default
from node.opening import DATABASE_DIRECTORY
from node.storage import open_store
from tests.node.network import Network, running

CHAIN = bytes(32)


def by_snapshot(network: Network, name: str) -> None:
    """The node joins by snapshot whatever the length of the chain."""
    values = {
        "node.name": name,
        "node.observer": True,
        "p2p.listen": "127.0.0.1:0",
        "api.listen": "127.0.0.1:0",
        "verifier.workers": 0,
        "storage.free_bytes_min": 0,
        "log.level": "error",
        "sync.mode": "snapshot",
    }
    (network.members[name].home / "config.toml").write_text(render_default(values))


@pytest.mark.asyncio
async def test_an_empty_node_joins_by_snapshot_is_started_anew_on_it_and_serves_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.snapshot_serve.PIN_WAIT_S", 0.2)
    network = Network(tmp_path, observers=2)
    validators = tuple(name for name in network.members if not name.startswith("observer"))
    async with running(network, *validators):
        for number in range(4):
            people = tuple((sha256(b"%d %d" % (number, at)).digest(), 1990 * 12) for at in range(300))
            (outcome,) = await network.submit("bank", ("platform", EnrolBatch(0, people)))
            assert outcome.code == "OK", outcome
            await network.until(lambda node, number=number: len(node.mempool) == 0)  # type: ignore[misc]
        height = network.nodes["bank"].chain.height
        await network.until_height(height)
        async with asyncio.TaskGroup() as tasks:
            for name in ("observer-0", "observer-1"):
                by_snapshot(network, name)
                await network.start(tasks, name)
                member = network.members[name]
                node, task = member.running, member.task
                assert task is not None
                await task
                assert node.reopening, "it ended to be started anew"
                assert node.joining.status["snapshot"]["phase"] == "done"
                data = member.home / "data"
                assert (data / snapshot_place.JOINED_DIRECTORY).is_dir()
                await network.start(tasks, name)
                assert not (data / snapshot_place.JOINED_DIRECTORY).exists()
                assert not (data / snapshot_place.REPLACED_DIRECTORY).exists()
                await network.until_height(height, name)
                bank, joined = network.nodes["bank"].chain, member.running.chain
                await network.until(lambda node, bank=bank: node.chain.hash == bank.hash, name)  # type: ignore[misc]
                assert joined.view.state_root == bank.view.state_root
                assert joined.raw_block(1) is not None or height > 100
            await network.stop("observer-0", "observer-1")


def test_a_whole_database_takes_the_place_of_the_old_one_wherever_the_last_start_was_killed(tmp_path: Path) -> None:
    def database(name: str) -> None:
        open_store(tmp_path / name, create=True, chain_id=CHAIN).close()
        (tmp_path / name / "whose").write_text(name)

    def whose() -> str:
        return (tmp_path / DATABASE_DIRECTORY / "whose").read_text()

    assert not snapshot_place.take_over(tmp_path)
    database(DATABASE_DIRECTORY)
    database(snapshot_place.JOINING_DIRECTORY)
    assert not snapshot_place.take_over(tmp_path), "it is not whole"
    snapshot_place.finish(tmp_path)
    assert snapshot_place.take_over(tmp_path)
    assert whose() == snapshot_place.JOINING_DIRECTORY
    assert [path.name for path in tmp_path.iterdir()] == [DATABASE_DIRECTORY]

    database(snapshot_place.JOINED_DIRECTORY)  # killed after the first rename
    (tmp_path / DATABASE_DIRECTORY).rename(tmp_path / snapshot_place.REPLACED_DIRECTORY)
    assert snapshot_place.take_over(tmp_path)
    assert whose() == snapshot_place.JOINED_DIRECTORY
    assert [path.name for path in tmp_path.iterdir()] == [DATABASE_DIRECTORY]

    database(snapshot_place.REPLACED_DIRECTORY)  # killed after the second
    assert not snapshot_place.take_over(tmp_path)
    assert whose() == snapshot_place.JOINED_DIRECTORY
    assert [path.name for path in tmp_path.iterdir()] == [DATABASE_DIRECTORY]

    database(snapshot_place.JOINING_DIRECTORY)
    snapshot_place.forget(tmp_path)
    snapshot_place.forget(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [DATABASE_DIRECTORY]
