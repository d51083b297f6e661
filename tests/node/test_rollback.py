"""``huzhu rollback``: a node forgets its newest blocks, contradicts nothing, and comes to the same roots again."""

import asyncio
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from ledger.calendar import MS_PER_DAY
from ledger.store import Batch, MemoryStore
from ledger.transactions import AdvanceClock, Enrol
from node import blockstore
from node.blockstore import BlockReader, HeadRecord
from node.chain import UNDO_BLOCKS
from node.config import Config, load
from node.opening import DATABASE_DIRECTORY
from node.rollback import take_back
from node.storage import LevelStore, open_store
from tests.ledger.chain import START_MS
from tests.ledger.chain import Chain as Source
from tests.node.chains import open_chain, raw
from tests.node.network import Network, running
from tests.running import run

NAME = "bank"
ALL = ("platform", "bank", "firm-a", "firm-b")


def opened(network: Network, config: Config) -> LevelStore:
    return open_store(config.data_path / DATABASE_DIRECTORY, create=False, chain_id=network.genesis.chain_id)


def contents(network: Network, config: Config) -> dict[bytes, bytes]:
    store = opened(network, config)
    try:
        return dict(store.scan(b"", b"\xff" * 9))
    finally:
        store.close()


def head_of(network: Network, config: Config) -> HeadRecord:
    store = opened(network, config)
    try:
        head = BlockReader(store).head()
        assert head is not None
        return head
    finally:
        store.close()


async def grow(network: Network, blocks: int) -> None:
    """So many blocks with a member each, on all nodes."""
    for _ in range(blocks):
        node = network.nodes["platform"]
        person = sha256(b"person %d" % node.chain.height).digest()
        await network.submit("platform", ("platform", Enrol(0, person, 1980 * 12, b"")))
        await network.until_height(node.chain.height + 1, "platform")
    await network.until_height(network.nodes["platform"].chain.height)


def result(capsys: pytest.CaptureFixture[str], code: int, *words: object) -> dict[str, Any]:
    assert run([*map(str, words), "--output", "json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.asyncio
async def test_blocks_are_taken_back_fetched_again_and_give_the_same_roots(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = Network(tmp_path, observers=0)
    home = network.members[NAME].home
    at, config = ("--home", home), load(home, environ={})
    assert result(capsys, 3, "rollback", *at)["error"]["code"] == "MISSING_DATABASE"
    async with running(network):
        await network.until(lambda node: node.driver.signing)
        await grow(network, UNDO_BLOCKS + 2)
        assert result(capsys, 1, "rollback", *at, "--yes")["error"]["code"] == "LOCKED_DATABASE"
    before, record = contents(network, config), (config.data_path / "signing.log").read_bytes()
    store = opened(network, config)
    head = BlockReader(store).head()
    certified = BlockReader(store).header(head.height) if head is not None else None
    store.close()
    assert head is not None
    assert certified is not None

    listed = result(capsys, 2, "rollback", *at)["error"]
    assert (listed["code"], head.hash.hex()[:16] in listed["what"]) == ("NOT_CONFIRMED", True)
    too_deep = head.height - UNDO_BLOCKS - 1
    for height in (too_deep, head.height + 1):
        assert (
            result(capsys, 1 if height < head.height else 3, "rollback", *at, "--to", height, "--yes")["error"]["code"]
            == "TOO_DEEP"
        )
    assert contents(network, config) == before, "a refusal changes nothing"

    once = result(capsys, 0, "rollback", *at, "--yes")
    assert (once["height"], once["state_root"]) == (head.height - 1, certified.state_root.hex())
    assert [block["hash"] for block in once["dropped"]] == [head.hash.hex()]
    deep = result(capsys, 0, "rollback", *at, "--to", too_deep + 1, "--yes")
    assert (deep["height"], len(deep["dropped"])) == (too_deep + 1, UNDO_BLOCKS - 1)
    assert result(capsys, 0, "doctor", *at, "--quick")["healthy"]
    assert (config.data_path / "signing.log").read_bytes() == record, "what was signed stays signed"

    async with running(network):
        await network.until_height(head.height, NAME)
        block = network.nodes[NAME].chain.blocks.header_raw(head.height)
        assert block is not None
        assert sha256(block).digest() == head.hash, "a decided block stays decided"
        await network.until(lambda node: node.driver.signing)
        await grow(network, 2)
        roots = {network.nodes[name].chain.view.state_root for name in ALL}
        assert len(roots) == 1
    assert result(capsys, 0, "replay", *at)["same"]


@pytest.mark.asyncio
async def test_what_is_taken_back_leaves_nothing_behind() -> None:
    """Its transactions may stand in a block again: the index that decides duplicates has forgotten them."""
    source, store = Source(), MemoryStore()
    chain, kept = open_chain(source.genesis, store), list[dict[bytes, bytes]]()
    for day in (1, 2, 3):
        kept.append(dict(store.scan(b"", b"\xff" * 9)))
        assert await chain.import_block(raw(source.block(("clock", AdvanceClock(START_MS + day * MS_PER_DAY)))))
    for height in (2, 1, 0):
        take_back(store, height)
        assert dict(store.scan(b"", b"\xff" * 9)) == kept[height]


@pytest.mark.asyncio
async def test_a_state_that_the_undo_pages_do_not_give_is_not_put_in_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = Network(tmp_path, observers=0)
    home = network.members[NAME].home
    config = load(home, environ={})
    async with running(network):
        await grow(network, 2)
    store = opened(network, config)
    head = BlockReader(store).head()
    assert head is not None
    before = store.get(blockstore.undo_key(head.height - 1))
    assert before is not None
    store.write(Batch({blockstore.undo_key(head.height): before}))
    store.close()
    found = contents(network, config)
    assert result(capsys, 6, "rollback", "--home", home, "--yes")["error"]["code"] == "UNDO_DIFFERS"
    assert contents(network, config) == found


# ---- a validator that decides alone ----------------------------------------------------------------------------------

ALONE = "platform"


@pytest.mark.asyncio
async def test_a_lone_validator_decides_its_newest_block_again_from_its_record_and_is_refused_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = Network(tmp_path, observers=0, seats=1)
    at, config = ("--home", network.members[ALONE].home), load(network.members[ALONE].home, environ={})
    async with running(network, ALONE):
        await grow(network, 3)
    head, before = head_of(network, config), contents(network, config)
    for confirmed in ((), ("--yes",)):
        error = result(capsys, 1, "rollback", *at, "--to", head.height - 2, *confirmed)["error"]
        assert (error["code"], "huzhu reset" in error["next"]) == ("DECIDES_ALONE", True)
    assert contents(network, config) == before, "a refusal changes nothing"

    once = result(capsys, 0, "rollback", *at, "--yes")
    assert once["height"] == head.height - 1
    async with running(network, ALONE):
        await network.until_height(head.height)
        await grow(network, 1)
        header = network.nodes[ALONE].chain.blocks.header_raw(head.height)
        assert header is not None
        assert sha256(header).digest() == head.hash, "the same block, though nobody else has it"
    assert result(capsys, 0, "replay", *at)["same"]


@pytest.mark.asyncio
async def test_a_lone_validator_below_its_own_record_says_that_it_cannot_go_on_and_signs_nothing(
    tmp_path: Path,
) -> None:
    network = Network(tmp_path, observers=1, seats=1)
    config = load(network.members[ALONE].home, environ={})
    async with running(network, ALONE, "observer-0"):
        await grow(network, 3)
    head = head_of(network, config)
    store = opened(network, config)
    take_back(store, head.height - 2)
    store.close()
    record = (config.data_path / "signing.log").read_bytes()
    async with asyncio.TaskGroup() as tasks:
        await network.start(tasks, ALONE)
        node = network.nodes[ALONE]
        await network.submit(ALONE, (ALONE, Enrol(0, bytes(32), 1980 * 12, b"")))
        why = node.driver.not_signing_because
        assert (node.driver.signing, why) == (
            False,
            f"its signing record is at block {head.height}: those below it can only come from other nodes",
        )
        assert (config.data_path / "signing.log").read_bytes() == record
        await network.start(tasks, "observer-0")
        await network.until(lambda node: node.driver.signing, ALONE)
        await network.until_height(head.height + 1)
        await network.stop()
