"""Backups and pruning beside a running network: the copy is whole, what is kept is enough, what is wrong is told."""

import asyncio
import json
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from consensus.log import decode_log
from consensus.records import FirstRecord
from ledger.errors import OperatorError
from ledger.store import Batch
from ledger.transactions import AdvanceClock
from node.admin import SOCKET_NAME
from node.app import Node
from node.backup import MANIFEST, back_up, read_manifest, restore
from node.blockstore import BlockReader
from node.config import Config, load
from node.doctor import Severity, examine
from node.opening import DATABASE_DIRECTORY
from node.pruning import KEEP_BLOCKS_MIN, first_kept
from node.storage import open_store
from node.unix_socket import short_path
from node.votelog import LOG_FILE
from tests.node.network import Network, running

NAME = "bank"
HOUR_MS = 3_600_000


def code_of(act: Callable[[], object]) -> str:
    with pytest.raises(OperatorError) as caught:
        act()
    return caught.value.code


async def asked(node: Node, route: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines of the administration socket's answer."""
    with short_path(node.config.data_path / SOCKET_NAME) as name:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=name)) as client,
            client.post(f"http://node{route}", json=body) as response,
        ):
            lines = (await response.text()).splitlines() if route == "/backup" else [await response.text()]
            return [json.loads(line) for line in lines]


class Hours:
    """Commits blocks: each steps the ledger's clock by an hour."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._now_ms = network.genesis.values.clock_start_ms

    async def pass_by(self, count: int) -> None:
        for _ in range(count):
            height = self._network.nodes["platform"].chain.height
            self._now_ms += HOUR_MS
            await self._network.submit("platform", ("clock", AdvanceClock(self._now_ms)))
            await self._network.until_height(height + 1)


def network_in(tmp_path: Path) -> Network:
    return Network(tmp_path / "n", observers=0, changes={"certify_wait_ms": 5})


def home_of(network: Network) -> Config:
    return load(network.members[NAME].home, environ={})


@pytest.mark.asyncio
async def test_a_backup_of_a_running_node_restored_signs_only_after_asking_the_others(tmp_path: Path) -> None:
    network = network_in(tmp_path)
    hours, config, target = Hours(network), home_of(network), tmp_path / "backup"
    async with running(network) as live:
        await hours.pass_by(3)
        lines = await asked(live.nodes[NAME], "/backup", {"target": str(target)})
        backed_up = lines[-1]["done"]["height"]
        await hours.pass_by(3)
        later = live.nodes["platform"].chain.height
    assert read_manifest(target).height == backed_up < later
    assert not [path for path in target.rglob("*") if path.name.endswith(".key") or path.name == LOG_FILE]

    (config.data_path / DATABASE_DIRECTORY).rename(tmp_path / "gone")
    (config.data_path / LOG_FILE).rename(tmp_path / "gone.log")
    assert restore(config, target).record == "lost"
    first = decode_log((config.data_path / LOG_FILE).read_bytes()).records[0]
    assert isinstance(first, FirstRecord)
    assert first.lost
    async with running(network) as live:
        await live.until(lambda node: node.driver.signing)
        await live.until_height(later)
        await hours.pass_by(1)


@pytest.mark.asyncio
async def test_a_record_that_is_still_there_is_kept_and_the_database_names_it(tmp_path: Path) -> None:
    network = network_in(tmp_path)
    hours, config, target = Hours(network), home_of(network), tmp_path / "backup"
    async with running(network) as live:
        await hours.pass_by(2)
        await asked(live.nodes[NAME], "/backup", {"target": str(target)})
        await hours.pass_by(2)
    record = (config.data_path / LOG_FILE).read_bytes()
    (config.data_path / DATABASE_DIRECTORY).rename(tmp_path / "gone")
    assert restore(config, target).record == "kept"
    assert (config.data_path / LOG_FILE).read_bytes() == record
    async with running(network) as live:
        await live.until(lambda node: node.driver.signing)


@pytest.fixture
def backup(tmp_path: Path) -> tuple[Config, Path]:
    """A home whose database is gone, and a backup of it."""
    network = network_in(tmp_path)
    config, target = home_of(network), tmp_path / "backup"

    async def run() -> None:
        async with running(network) as live:
            await Hours(network).pass_by(1)
            await asked(live.nodes[NAME], "/backup", {"target": str(target)})

    asyncio.run(run())
    return config, target


def emptied(config: Config) -> Config:
    database = config.data_path / DATABASE_DIRECTORY
    database.rename(database.with_name("set-aside"))
    return config


def test_a_home_with_a_database_is_not_restored_over(backup: tuple[Config, Path]) -> None:
    assert code_of(lambda: restore(*backup)) == "RESTORE_OCCUPIED"


@pytest.mark.parametrize("field", ["height", "hash", "state_root", "digest", "chain_id", "kind"])
def test_a_manifest_that_says_otherwise_is_refused_and_nothing_is_put(backup: tuple[Config, Path], field: str) -> None:
    config, target = backup
    manifest = json.loads((target / MANIFEST).read_text())
    manifest[field] = manifest[field] + 1 if field == "height" else "00" * 32
    (target / MANIFEST).write_text(json.dumps(manifest))
    emptied(config)
    assert code_of(lambda: restore(config, target)) == "BACKUP_INVALID"
    assert not (config.data_path / DATABASE_DIRECTORY).exists()


def test_a_changed_key_in_a_backup_is_noticed(backup: tuple[Config, Path]) -> None:
    config, target = backup
    store = open_store(
        target / DATABASE_DIRECTORY, create=False, chain_id=bytes.fromhex(read_manifest(target).chain_id)
    )
    key, value = next(store.scan(b"i", b"j"))
    store.write(Batch({key: value + b"x"}))
    store.close()
    emptied(config)
    assert code_of(lambda: restore(config, target)) == "BACKUP_INVALID"
    assert not (config.data_path / DATABASE_DIRECTORY).exists()


@pytest.mark.parametrize("name", ["backup.json", "genesis.toml", "genesis.sigs"])
def test_a_missing_file_of_a_backup_is_named(backup: tuple[Config, Path], name: str) -> None:
    config, target = backup
    (target / name).unlink()
    emptied(config)
    assert code_of(lambda: restore(config, target)) == "BACKUP_INVALID"


def test_a_backup_of_another_chain_is_refused(backup: tuple[Config, Path], tmp_path: Path) -> None:
    other = home_of(Network(tmp_path / "other", observers=0))
    assert code_of(lambda: restore(other, backup[1])) == "GENESIS_DIFFERS"


def test_a_backup_that_is_stopped_leaves_nothing(backup: tuple[Config, Path], tmp_path: Path) -> None:
    config, target = backup
    chain_id = bytes.fromhex(read_manifest(target).chain_id)
    store = open_store(config.data_path / DATABASE_DIRECTORY, create=False, chain_id=chain_id)
    store.write(Batch({b"i" + bytes((n,)): bytes(1 << 20) for n in range(6)}))
    stop = threading.Event()
    stop.set()
    try:
        assert code_of(lambda: back_up(config, store, tmp_path / "stopped", stop=stop)) == "COPY_STOPPED"
        assert code_of(lambda: back_up(config, store, target)) == "TARGET_EXISTS"
    finally:
        store.close()
    assert not [path for path in tmp_path.iterdir() if "stopped" in path.name]


@pytest.mark.asyncio
async def test_the_socket_takes_one_job_at_a_time_and_only_what_it_knows(tmp_path: Path) -> None:
    network = network_in(tmp_path)
    async with running(network) as live:
        node = live.nodes[NAME]
        await Hours(network).pass_by(1)
        assert (node.config.data_path / SOCKET_NAME).stat().st_mode & 0o777 == 0o600
        admin = node._admin
        assert admin is not None
        async with admin._job:
            [found] = await asked(node, "/prune", {"keep_blocks": 20})
            assert found["error"]["code"] == "BUSY"
        [found] = await asked(node, "/prune", {"keep_blocks": "all"})
        assert found["error"]["code"] == "USAGE"
        assert (await asked(node, "/backup", {"target": "relative"}))[-1]["error"]["code"] == "USAGE"
    assert not (network.members[NAME].home / "data" / SOCKET_NAME).exists()


# ---- pruning ---------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_pruned_node_keeps_what_the_rules_read_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.pruning.VALIDITY_WINDOW_MS", 0)
    network = network_in(tmp_path)
    hours = Hours(network)
    async with running(network) as live:
        node = live.nodes[NAME]
        await hours.pass_by(KEEP_BLOCKS_MIN + 4)
        [found] = await asked(node, "/prune", {"keep_blocks": KEEP_BLOCKS_MIN})
        first = found["done"]["first_kept"]
        blocks, head = BlockReader(node._disk.store), node.chain.height
        assert 1 < first <= head - KEEP_BLOCKS_MIN + 1
        assert found["done"]["blocks"] == first - 1
        for height in range(1, head + 1):
            assert blocks.header_raw(height) is not None
            assert blocks.certificate_raw(height) is not None
            assert (blocks.body_raw(height) is not None) == (height >= first) == (blocks.receipts(height) is not None)
        assert node.chain.raw_block(first - 1) is None
        await hours.pass_by(1)
    async with running(network) as live:  # a pruned node starts, and goes on
        await live.until(lambda node: node.driver.signing)
        await hours.pass_by(1)
    severe = (Severity.ERROR, Severity.INTEGRITY)
    assert [item.what for item in examine(home_of(network)) if item.severity in severe] == []


@pytest.mark.asyncio
async def test_blocks_of_the_validity_window_stay_whatever_is_asked(tmp_path: Path) -> None:
    network = network_in(tmp_path)
    async with running(network) as live:
        await Hours(network).pass_by(3)
        assert first_kept(live.nodes[NAME]._disk.store, 0) == 1
        [found] = await asked(live.nodes[NAME], "/prune", {"keep_blocks": 0})
        assert found["done"]["blocks"] == 0


@pytest.mark.asyncio
async def test_a_client_that_leaves_during_a_backup_leaves_a_whole_backup_and_no_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, target = network_in(tmp_path), tmp_path / "backup"

    async def gone(self: web.StreamResponse, data: bytes) -> None:
        raise ConnectionResetError("Cannot write to closing transport")

    async with running(network) as live:
        await Hours(network).pass_by(1)
        monkeypatch.setattr(web.StreamResponse, "write", gone)
        with caplog.at_level(logging.WARNING), suppress(aiohttp.ClientError):
            await asked(live.nodes[NAME], "/backup", {"target": str(target)})
    assert read_manifest(target).height > 0
    assert [record.getMessage() for record in caplog.records] == []
