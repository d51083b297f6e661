"""What an operator uses on a home: doctor, replay, inspect, export, reset, config, peers; each with its failures."""

import json
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from cli.output import Exit
from ledger.store import INDEXES, Batch
from node.opening import DATABASE_DIRECTORY
from node.storage import open_store
from node.votelog import LOG_FILE

from .command import huzhu, in_json
from .network import LiveNetwork, LiveNode, until

pytestmark = pytest.mark.e2e

MEMBERS: Final = 5


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNetwork]:
    """A lone validator with a few members; a second home that nobody runs."""
    with LiveNetwork(tmp_path_factory.mktemp("tools") / "net", validators=1, observers=1) as network:
        network.up()
        for _ in range(MEMBERS):
            network.commit_one(network.nodes["platform"])
        yield network


@pytest.fixture(scope="module")
def used(network: LiveNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the home, as it was left by a clean end."""
    node = network.nodes["platform"]
    node.signal(signal.SIGTERM)
    assert node.wait() == 0
    copy = tmp_path_factory.mktemp("used") / "home"
    shutil.copytree(node.home, copy)
    network.up()
    return copy


@pytest.fixture
def home(used: Path, tmp_path: Path) -> Path:
    """A copy of that home, to be spoilt."""
    shutil.copytree(used, tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def node(network: LiveNetwork) -> LiveNode:
    """The running node."""
    return network.up().nodes["platform"]


# ---- doctor --------------------------------------------------------------------------------------------------------


def codes(ran: Any) -> set[str]:
    return {finding["code"] for finding in ran.json["findings"]}


def test_a_good_home_has_no_findings(home: Path) -> None:
    ran = in_json("doctor", "--home", home)
    assert (ran.exit_code, ran.json) == (0, {"healthy": True, "findings": []})
    assert huzhu("doctor", "--home", home, "--quick").stdout == "nothing is wrong\n"


def test_of_a_running_node_the_doctor_asks_the_node(node: LiveNode) -> None:
    ran = in_json("doctor", "--home", node.home)
    assert ran.exit_code == 0
    assert codes(ran) == {"NODE_RUNS", "NO_PEERS"}


def spoil_index(home: Path, network: LiveNetwork) -> None:
    store = open_store(home / "data" / DATABASE_DIRECTORY, create=False, chain_id=network.chain_id)
    store.write(Batch({INDEXES + b"i" + bytes(14): b"\x00\x00\x00\x00\x09"}))
    store.close()


def spoil_block(home: Path, network: LiveNetwork) -> None:
    store = open_store(home / "data" / DATABASE_DIRECTORY, create=False, chain_id=network.chain_id)
    store.write(Batch({b"bh" + (2).to_bytes(8, "big"): None}))
    store.close()


def tear_log(home: Path, _: LiveNetwork) -> None:
    with (home / "data" / LOG_FILE).open("ab") as log:
        log.write(b"half a rec")


Spoil = Callable[[Path, LiveNetwork], object]
SPOILT: Final[dict[str, tuple[Spoil, str, Exit]]] = {
    # what: (how, code of the finding, exit code)
    "no configuration": (lambda home, _: (home / "config.toml").unlink(), "MISSING_CONFIG", Exit.CONFIGURATION),
    "a key others can read": (
        lambda home, _: (home / "keys/validator.key").chmod(0o640),
        "KEY_EXPOSED",
        Exit.CONFIGURATION,
    ),
    "a directory of keys others can look into": (
        lambda home, _: (home / "keys").chmod(0o755),
        "KEYS_DIRECTORY_OPEN",
        Exit.OK,
    ),
    "signatures lost": (lambda home, _: (home / "genesis.sigs").unlink(), "GENESIS_UNSIGNED", Exit.CONFIGURATION),
    "the signing record lost": (lambda home, _: (home / "data" / LOG_FILE).unlink(), "LOG_MISSING", Exit.INTEGRITY),
    "an old signing record": (
        lambda home, network: (home / "data" / LOG_FILE).write_bytes(
            (home / "data" / LOG_FILE).read_bytes()[: _first_frame(home)]
        ),
        "LOG_ROLLED_BACK",
        Exit.INTEGRITY,
    ),
    "a torn signing record": (tear_log, "LOG_TORN", Exit.OK),
    "a database of nothing": (
        lambda home, _: (home / "data/ledger/CURRENT").write_bytes(b"MANIFEST-999999\n"),
        "CORRUPT_DATABASE",
        Exit.INTEGRITY,
    ),
    "an index entry that no row makes": (spoil_index, "INDEX_DIFFERS", Exit.INTEGRITY),
    "a lost block": (spoil_block, "BLOCK_DAMAGED", Exit.INTEGRITY),
    "no database": (lambda home, _: shutil.rmtree(home / "data/ledger"), "NO_DATABASE_YET", Exit.OK),
}


def _first_frame(home: Path) -> int:
    """Where the record's second frame begins."""
    raw = (home / "data" / LOG_FILE).read_bytes()
    return raw.index(b"HZL1", 1)


@pytest.mark.parametrize("what", SPOILT)
def test_the_doctor_names_what_is_wrong(network: LiveNetwork, home: Path, what: str) -> None:
    spoil, code, exit_code = SPOILT[what]
    spoil(home, network)
    ran = in_json("doctor", "--home", home)
    assert code in codes(ran), ran
    assert ran.exit_code == exit_code.value, ran
    assert ran.json["healthy"] is (exit_code is Exit.OK)
    assert code in huzhu("doctor", "--home", home).stdout


# ---- replay, inspect, export, reset --------------------------------------------------------------------------------


def test_a_chain_executed_again_is_the_same(home: Path) -> None:
    ran = in_json("replay", "--home", home)
    assert (ran.exit_code, ran.json["same"], ran.json["transactions"]) == (0, True, MEMBERS), ran
    assert "every root, receipt and row is the same" in huzhu("replay", "--home", home).stdout
    assert in_json("replay", "--home", home, "--to", "2").json["height"] == 2
    assert [path.name for path in home.iterdir() if path.name.startswith(".replay-")] == []


def test_a_replay_needs_the_node_stopped_and_all_blocks(network: LiveNetwork, node: LiveNode, home: Path) -> None:
    ran = in_json("replay", "--home", node.home)
    assert (ran.error["code"], ran.exit_code) == ("LOCKED_DATABASE", Exit.FAILURE.value)
    spoil_block(home, network)
    ran = in_json("replay", "--home", home)
    assert (ran.error["code"], ran.exit_code) == ("BLOCK_MISSING", Exit.INTEGRITY.value)


def test_a_stopped_database_is_read_without_its_types(home: Path) -> None:
    spaces = in_json("inspect", "spaces", "--home", home).json["spaces"]
    assert spaces["blocks"]["entries"] > spaces["meta"]["entries"] > 0
    rows = in_json("inspect", "rows", "members", "--home", home, "--from", "1", "--limit", "2").json
    assert (rows["length"], [row["id"] for row in rows["rows"]]) == (MEMBERS, [1, 2])
    assert 1990 * 12 in rows["rows"][0]["row"]
    meta = in_json("inspect", "entries", "meta", "--home", home).json["entries"]
    assert {bytes.fromhex(entry["key"]) for entry in meta} >= {b"head", b"format"}
    block = in_json("inspect", "block", "1", "--home", home).json
    assert len(block["header"]) > 10
    for arguments in (["spaces"], ["rows", "plans"], ["entries", "blocks", "--prefix", "68"], ["block", "1"]):
        assert huzhu("inspect", *arguments, "--home", home).exit_code == 0
    ran = in_json("inspect", "block", "999999", "--home", home)
    assert (ran.error["code"], ran.exit_code) == ("NO_SUCH_BLOCK", Exit.FAILURE.value)
    assert in_json("inspect", "block", "latest", "--home", home).exit_code == Exit.USAGE.value
    assert in_json("inspect", "entries", "meta", "--prefix", "xy", "--home", home).exit_code == Exit.USAGE.value


def test_a_running_nodes_block_is_read_without_its_types(node: LiveNode) -> None:
    block = in_json("inspect", "block", "latest", "--node", node.api.url).json
    assert set(block) == {"header", "body", "certificate", "receipts"}
    assert in_json("inspect", "block", "99999999", "--node", node.api.url).error["code"] == "NOT_FOUND"
    assert in_json("inspect", "spaces", "--home", node.home).error["code"] == "LOCKED_DATABASE"


def test_blocks_are_exported_as_json_lines(node: LiveNode, tmp_path: Path) -> None:
    out = tmp_path / "blocks.jsonl"
    height = node.height
    ran = in_json("export", "--node", node.api.url, "--to", str(height), "--out", out)
    assert (ran.exit_code, ran.json["blocks"]) == (0, height + 1), ran
    blocks = [json.loads(line) for line in out.read_text().splitlines()]
    assert [block["height"] for block in blocks] == list(range(height + 1))
    for parent, block in zip(blocks, blocks[1:], strict=False):
        assert block["header"]["parent"] == parent["hash"]
        assert block["certificate"]["block_hash"] == block["hash"]
    sent = [tx for block in blocks for tx in block["transactions"]]
    assert len(sent) >= MEMBERS
    assert {(tx["type"], tx["code"]) for tx in sent} == {("enrol", "OK")}
    lines = huzhu("export", "--node", node.api.url, "--from", "1", "--to", "2", "--out", "-")
    assert [json.loads(line)["height"] for line in lines.stdout.splitlines()] == [1, 2]
    ran = in_json("export", "--node", node.api.url, "--to", "99999999", "--out", tmp_path / "none")
    assert (ran.error["code"], ran.exit_code) == ("BAD_REQUEST", Exit.FAILURE.value)
    assert not (tmp_path / "none").exists()
    ran = in_json("export", "--node", node.api.url, "--out", tmp_path / "no" / "where")
    assert ran.error["code"] == "FILE_UNWRITABLE"


def test_a_reset_keeps_keys_and_record(node: LiveNode, home: Path) -> None:
    before = {path: path.read_bytes() for path in [*(home / "keys").iterdir(), home / "data" / LOG_FILE]}
    assert in_json("reset", "--home", home).error["code"] == "NOT_CONFIRMED"
    assert (home / "data/ledger").is_dir()
    ran = in_json("reset", "--home", home, "--yes")
    assert (ran.exit_code, ran.json["removed"]) == (0, str(home / "data/ledger")), ran
    assert str(home / "data" / LOG_FILE) in ran.json["kept"]
    assert not (home / "data/ledger").exists()
    assert {path: path.read_bytes() for path in before} == before
    again = huzhu("reset", "--home", home, "--yes")
    assert (again.exit_code, "no database" in again.stdout) == (0, True)
    ran = in_json("reset", "--home", node.home, "--yes")
    assert (ran.error["code"], ran.exit_code) == ("LOCKED_DATABASE", Exit.FAILURE.value)
    assert node.running


# ---- config, peers -------------------------------------------------------------------------------------------------


def test_the_configuration_is_shown_with_the_source_of_every_value(home: Path) -> None:
    checked = in_json("config", "check", "--home", home)
    assert (checked.exit_code, checked.json["data"]) == (0, str(home / "data"))
    shown = in_json(
        "config",
        "show",
        "--home",
        home,
        "--set",
        "log.level=debug",
        environ={"HUZHU_MEMPOOL_MEMBER_TRANSACTIONS_MAX": "9"},
    )
    keys = {entry["key"]: entry for entry in shown.json["keys"]}
    assert {
        keys[key]["source"] for key in ("log.level", "mempool.member_transactions_max", "node.name", "api.waiters_max")
    } == {
        "flag",
        "environment",
        "file",
        "default",
    }
    differing = {entry["key"] for entry in in_json("config", "diff", "--home", home).json["keys"]}
    assert "api.listen" in differing
    assert "api.waiters_max" not in differing
    for verb in ("check", "show", "diff"):
        assert huzhu("config", verb, "--home", home).exit_code == 0
        (home / "config.toml").rename(home / "away")
        assert in_json("config", verb, "--home", home).error["code"] == "MISSING_CONFIG"
        (home / "away").rename(home / "config.toml")
    bad = in_json("config", "check", "--home", home, "--set", "log.level=loud")
    assert (bad.error["code"], bad.exit_code) == ("BAD_CONFIG", Exit.CONFIGURATION.value)


def test_why_a_peer_is_not_connected_is_answered(network: LiveNetwork, node: LiveNode) -> None:
    def refused() -> Any:
        found = in_json("peers", "why", "regulator", "--node", node.api.url)
        return found if found.exit_code == 0 and found.json["last_error"] else None

    ran = until(refused, 20, "the dead observer was dialled")
    assert (ran.json["connected"], ran.json["last_error"]["code"]) == (False, "UNREACHABLE")
    assert "check that the other node runs" in ran.json["next"]
    key = ran.json["key"]
    assert "UNREACHABLE" in huzhu("peers", "why", key[:12], "--node", node.api.url).stdout
    ran = in_json("peers", "list", "--node", node.api.url)
    assert ran.exit_code == 0, ran
    listed = ran.json["peers"]
    assert [(peer["name"], peer["key"]) for peer in listed] == [("regulator", key)]
    assert "UNREACHABLE" in huzhu("peers", "list", "--node", node.api.url).stdout
    nobody = in_json("peers", "why", "nobody", "--node", node.api.url)
    assert (nobody.error["code"], nobody.exit_code) == ("NO_SUCH_PEER", Exit.FAILURE.value)
    observer = network.nodes["regulator"]
    observer.start()
    network.await_ready(observer)
    connected = in_json("peers", "why", "regulator", "--node", node.api.url).json
    assert (connected["connected"], connected["next"]) == (True, "nothing to do")
    for verb in (["list"], ["why", key]):
        silent = in_json("peers", *verb, "--node", "http://127.0.0.1:1")
        assert (silent.error["code"], silent.exit_code) == ("NOT_REACHABLE", Exit.NOT_REACHABLE.value)
