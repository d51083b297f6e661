"""``huzhu recover`` on whole nodes: a network that lost three of four goes on; a roll-back says what it drops (§6)."""

import asyncio
import shutil
from hashlib import sha256
from pathlib import Path

import pytest

from consensus.records import FirstRecord, RecoveredRecord
from ledger.blocks import RecoveryRecord
from ledger.errors import OperatorError
from ledger.recovery import with_signature
from ledger.rows import Member as MemberRow
from ledger.store import META
from ledger.transactions import Enrol
from node import recover
from node.config import Config, load
from node.keys import KeyKind, NodeKeys, generate, key_path, load_node_keys, write_key
from node.mempool import Mempool
from node.opening import DATABASE_DIRECTORY
from node.recover import NewSeat
from node.replay import replay
from node.resume import load_view
from node.storage import open_store
from node.votelog import create_log, open_log
from tests.node.network import Network, running

LOST = ("bank", "firm-a", "firm-b")


def home(network: Network, name: str) -> Config:
    return load(network.members[name].home, environ={})


def new_machine(network: Network, name: str) -> NodeKeys:
    """The disk is gone, the node key comes from the operator's safe, validator and beacon keys are new."""
    member = network.members[name]
    for directory in (member.home / "data", member.home / "keys"):
        kept = (directory / "node.key").read_bytes() if directory.name == "keys" else b""
        shutil.rmtree(directory)
        directory.mkdir(mode=0o700)
        if kept:
            path = directory / "node.key"
            path.touch(mode=0o600)
            path.write_bytes(kept)
    for kind in (KeyKind.VALIDATOR, KeyKind.BEACON):
        write_key(key_path(member.home / "keys", kind), generate(kind))
    keys = load_node_keys(member.home / "keys")
    assert keys.validator is not None
    create_log(member.home / "data", FirstRecord(network.genesis.chain_id, keys.validator.public, False))
    return keys


async def grow(network: Network, blocks: int, at: str = "platform", only: tuple[str, ...] = ()) -> None:
    """Enrolments, one by one, until so many blocks more are there."""
    node = network.nodes[at]
    end = node.chain.height + blocks
    while node.chain.height < end:
        person = sha256(b"person %d %d" % (node.chain.height, node.chain.epoch)).digest()
        outcomes = await network.submit(at, ("platform", Enrol(0, person, 1980 * 12, b"")))
        assert [outcome.code for outcome in outcomes] == ["OK"]
        height = node.chain.height
        await network.until_height(height + 1, *(only or (at,)), timeout_s=30)


def signed(network: Network, record: RecoveryRecord, *names: str) -> RecoveryRecord:
    for name in names or ("platform", *LOST):
        record = with_signature(record, network.keys[name].secret)
    return record


def seats(replaced: dict[int, NodeKeys]) -> list[NewSeat]:
    found = []
    for seat, keys in replaced.items():
        assert keys.validator is not None
        assert keys.beacon is not None
        found.append(NewSeat(seat, "", keys.validator.public, keys.beacon.public))
    return found


@pytest.mark.asyncio
async def test_three_of_four_are_lost_and_the_consortium_goes_on_with_new_machines(tmp_path: Path) -> None:
    network = Network(tmp_path, observers=1)
    async with running(network):
        await network.until(lambda node: node.driver.signing, "platform", *LOST)
        await grow(network, 2, only=("platform", "observer-0"))
        await network.stop("observer-0")  # it will be behind, across the epoch
        await grow(network, 3, only=("platform", *LOST))
    old_machine = tmp_path / "firm-b-old"
    shutil.copytree(network.members["firm-b"].home, old_machine)
    lost = {number: new_machine(network, name) for number, name in enumerate(LOST, start=1)}

    async with running(network, "platform", *LOST):  # the new machines fetch what the survivor holds
        head = network.nodes["platform"].chain.height
        await network.until_height(head, *LOST)
        assert not any(network.nodes[name].driver.signing for name in LOST)

    record = recover.draft(home(network, "platform"), [0], seats(lost))
    assert (record.epoch, record.head_height, len(record.validators)) == (1, head, 4)
    with pytest.raises(OperatorError, match="signed for 2 seats, 3 are needed"):
        recover.apply(home(network, "platform"), signed(network, record, "platform", "bank"))
    record = signed(network, record, "platform", "bank", "firm-a")
    for name in ("platform", *LOST):
        done = recover.apply(home(network, name), record)
        assert (done.standing.signed, done.applied) == ((0, 1, 2), True)
        assert recover.apply(home(network, name), record).applied, "again changes nothing"

    network.epoch = 1
    async with running(network):  # the observer was told nothing: the block itself tells it
        await network.until(lambda node: node.driver.signing, "platform", *LOST, timeout_s=30)
        await network.until_height(head + 1, timeout_s=30)
        await grow(network, 3)
        await network.until_height(head + 4, timeout_s=30)
        nodes = network.nodes
        assert {node.chain.epoch for node in nodes.values()} == {1}
        assert {
            node.chain.view.state_root for node in nodes.values() if node.chain.height == nodes["bank"].chain.height
        }
        assert nodes["observer-0"].chain.current.state.length(MemberRow) >= 4
        validators = nodes["observer-0"].chain.view.next_validators
        assert [entry.validator_key for entry in validators[1:]] == [item.validator_key for item in seats(lost)]
        await an_old_machine_comes_back(network, old_machine)
    check_replay(network)


async def an_old_machine_comes_back(network: Network, old_machine: Path) -> None:
    """firm-b's lost machine is found: it follows, and with its old key it has no seat."""
    await network.stop("firm-b")
    member = network.members["firm-b"]
    new_home, member.home = member.home, old_machine
    async with asyncio.TaskGroup() as tasks:
        await network.start(tasks, "firm-b")
        await network.until_height(network.nodes["platform"].chain.height, "firm-b", timeout_s=30)
        assert network.nodes["firm-b"].driver.own_index is None
        assert network.nodes["firm-b"].chain.epoch == 1
        await network.stop("firm-b")
    member.home = new_home


def check_replay(network: Network) -> None:
    """Executed again from the genesis, over the epoch, every root is the same."""
    config = home(network, "observer-0")
    store = open_store(config.data_path / DATABASE_DIRECTORY, create=False, chain_id=network.genesis.chain_id)
    fresh = open_store(config.data_path / "fresh", create=True, chain_id=network.genesis.chain_id)
    try:
        assert replay(store, network.genesis, fresh, to=None, progress=lambda at, last: None).difference is None
    finally:
        store.close()
        fresh.close()


@pytest.mark.asyncio
async def test_a_roll_back_agreed_by_the_consortium_drops_what_it_lists_and_nothing_unasked(tmp_path: Path) -> None:
    network = Network(tmp_path, observers=0)
    async with running(network):
        await network.until(lambda node: node.driver.signing)
        await grow(network, 3, only=("platform", *LOST))
        await network.until_height(network.nodes["platform"].chain.height)
    config = home(network, "platform")
    record = recover.draft(config, [0, 1, 2, 3], [])
    kept = record.head_height - 2
    before = contents(network, config)
    store = open_store(config.data_path / DATABASE_DIRECTORY, create=False, chain_id=network.genesis.chain_id)
    header = store.get(b"b" + b"h" + kept.to_bytes(8, "big"))
    store.close()
    assert header is not None
    record = signed(network, RecoveryRecord(record.chain_id, 1, kept, sha256(header).digest(), record.validators, ()))

    with pytest.raises(OperatorError) as caught:
        recover.apply(config, record)
    assert caught.value.code == "BLOCKS_WOULD_GO"
    assert [block.height for block in recover.judge(config, record).dropped] == [kept + 1, kept + 2]
    assert contents(network, config) == before, "a refusal changes nothing"
    for name in ("platform", *LOST):
        found = recover.apply(home(network, name), record, drop=True)
        assert [block.height for block in found.dropped][:2] == [kept + 1, kept + 2]
    network.epoch = 1
    async with running(network):
        await network.until(lambda node: node.driver.signing, timeout_s=30)
        await network.until_height(kept + 1, timeout_s=30)
        await grow(network, 2)
        await network.until_height(network.nodes["platform"].chain.height)
        assert {node.chain.epoch for node in network.nodes.values()} == {1}
    check_signing_records(network)


@pytest.mark.asyncio
async def test_what_is_sent_for_the_new_epoch_before_its_first_block_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pick, held = Mempool.pick, list[bool]()
    monkeypatch.setattr(Mempool, "pick", lambda *args, **named: [] if held else pick(*args, **named))
    network = Network(tmp_path, observers=0)
    async with running(network):
        await network.until(lambda node: node.driver.signing)
        await grow(network, 1, only=("platform", *LOST))
        await network.until_height(network.nodes["platform"].chain.height)
        members = network.nodes["platform"].chain.current.state.length(MemberRow)
    record = signed(network, recover.draft(home(network, "platform"), [0, 1, 2, 3], []))
    for name in ("platform", *LOST):
        recover.apply(home(network, name), record, drop=True)
    network.epoch = 1
    held.append(True)
    async with running(network, "platform"), asyncio.TaskGroup() as others:
        [sent] = await network.submit("platform", ("platform", Enrol(0, bytes(32), 1980 * 12, b"")))
        assert sent.code == "OK"
        chain = network.nodes["platform"].chain
        assert (chain.height, len(chain.mempool)) == (record.head_height, 1)
        for name in LOST:
            await network.start(others, name)
        await network.until_height(record.head_height + 1, "platform", *LOST, timeout_s=30)
        assert len(chain.mempool) == 1
        held.clear()
        await network.until(
            lambda node: node.chain.current.state.length(MemberRow) == members + 1, "platform", *LOST, timeout_s=30
        )
        for name in LOST:
            await network.stop(name)


def contents(network: Network, config: Config) -> dict[bytes, bytes]:
    store = open_store(config.data_path / DATABASE_DIRECTORY, create=False, chain_id=network.genesis.chain_id)
    try:
        return {key: value for key, value in store.scan(b"", b"\xff") if not key.startswith(META)}
    finally:
        store.close()


def check_signing_records(network: Network) -> None:
    """Each log holds the recovery, and nothing that was signed after it is of the old epoch."""
    for name in network.members:
        config = home(network, name)
        store = open_store(config.data_path / DATABASE_DIRECTORY, create=False, chain_id=network.genesis.chain_id)
        try:
            _, known = load_view(store, network.genesis)
        finally:
            store.close()
        log, decoded = open_log(config.data_path, chain_id=network.genesis.chain_id, known=known)
        log.close()
        at = next(i for i, item in enumerate(decoded.records) if isinstance(item, RecoveredRecord))
        assert {getattr(item, "epoch", 1) for item in decoded.records[at + 1 :]} == {1}


# ---- the file --------------------------------------------------------------------------------------------------


def test_a_file_that_is_no_record_is_refused() -> None:
    record = RecoveryRecord(bytes(32), 1, 0, bytes(32), (), ())
    for text in ("", "{}", '{"kind": "x", "version": 1}', recover.render(record)):
        with pytest.raises(OperatorError) as caught:
            recover.parse(text.encode())
        assert caught.value.code == "RECOVERY_MALFORMED"
