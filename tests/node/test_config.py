"""The configuration: every key defined once, precedence, and errors that name what was meant."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import OperatorError
from node import config as module
from node.addresses import PeerAddress, parse_peer, split_address
from node.config import (
    KEYS,
    KEYS_MAX,
    describe,
    load,
    load_with_sources,
    render_default,
)

PEER = "ab" * 32 + "@10.0.0.7:7040"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "config.toml").write_text(render_default())
    return tmp_path


def refusal(home: Path, text: str | None = None, **layers: Any) -> OperatorError:
    if text is not None:
        (home / "config.toml").write_text(text)
    with pytest.raises(OperatorError) as caught:
        load(home, layers.get("overrides"), layers.get("environ", {}))
    assert caught.value.exit_code == 3
    return caught.value


def test_there_are_fewer_than_40_keys_and_each_is_described() -> None:
    assert len(KEYS) < KEYS_MAX
    assert all(info.doc.endswith(".") for info in KEYS.values())
    table = describe()
    assert all(f"`{name}`" in table for name in KEYS)


def test_the_defaults_are_valid_values_of_their_own_keys() -> None:
    for info in KEYS.values():
        assert info.check(info.default) is None, info.name
        assert type(info.default) is info.kind, info.name


def test_the_default_file_changes_nothing_and_names_every_key(home: Path) -> None:
    config, sources = load_with_sources(home, environ={})
    assert set(sources.values()) == {"default"}
    text = render_default()
    uncommented = "\n".join(line.removeprefix("#") if line[:2] != "# " else line for line in text.splitlines())
    table = tomllib.loads(uncommented)
    assert {f"{section}.{key}" for section in table if section != "config_version" for key in table[section]} == set(
        KEYS
    )
    (home / "config.toml").write_text(uncommented)
    again, sources = load_with_sources(home, environ={})
    assert again == config
    assert set(sources.values()) == {"file"}


def test_flag_beats_environment_beats_file_beats_default(home: Path) -> None:
    values = {"log.summary_seconds": 1, "mempool.member_transactions_max": 1, "mempool.bytes_max": 2_000_000}
    (home / "config.toml").write_text(render_default(values))
    environ = {"HUZHU_LOG_SUMMARY_SECONDS": "2", "HUZHU_MEMPOOL_MEMBER_TRANSACTIONS_MAX": "2", "PATH": "x"}
    environ |= {"HUZHU_HOME": "elsewhere", "HUZHU_NODE": "http://127.0.0.1:1"}  # the command line's own
    config, sources = load_with_sources(home, {"log.summary_seconds": 3}, environ)
    assert (config.log.summary_seconds, config.mempool.member_transactions_max, config.mempool.bytes_max) == (
        3,
        2,
        2_000_000,
    )
    assert config.api.waiters_max == 1_024
    names = ("log.summary_seconds", "mempool.member_transactions_max", "mempool.bytes_max", "api.waiters_max")
    assert [sources[name] for name in names] == ["flag", "environment", "file", "default"]


def test_paths_start_from_the_home_directory(home: Path) -> None:
    config = load(home, {"node.data_dir": "/srv/huzhu", "log.file": "node.log"}, {})
    assert config.data_path == Path("/srv/huzhu")
    assert config.keys_path == home / "keys"
    assert config.genesis_path == home / "genesis.toml"
    assert config.log_path == home / "node.log"
    assert load(home, environ={}).log_path is None


def test_text_from_flags_and_environment_becomes_typed(home: Path) -> None:
    environ = {"HUZHU_NODE_OBSERVER": "true", "HUZHU_MEMPOOL_BYTES_MAX": "2_000_000", "HUZHU_P2P_PEERS": f"{PEER}, "}
    config = load(home, {"verifier.workers": "0"}, environ)
    assert config.node.observer is True
    assert config.mempool.bytes_max == 2_000_000
    assert config.verifier.workers == 0
    assert config.peers == (PeerAddress(b"\xab" * 32, "10.0.0.7", 7040),)
    assert [str(peer) for peer in config.peers] == [PEER]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("config_version = 1\n[p2p]\nlisten_on = '127.0.0.1:1'\n", "p2p.listen"),
        ("config_version = 1\n[mempol]\nbytes_max = 1\n", "mempool"),
        ("config_version = 1\n[mempool]\nbytes = 1\n", "mempool.bytes_max"),
    ],
)
def test_an_unknown_key_is_an_error_with_a_suggestion(home: Path, text: str, expected: str) -> None:
    error = refusal(home, text)
    assert error.code == "BAD_CONFIG"
    assert error.next == f"did you mean {expected}?"


def test_a_misspelt_variable_or_flag_is_an_error_with_a_suggestion(home: Path) -> None:
    assert "HUZHU_P2P_PEERS" in refusal(home, environ={"HUZHU_P2P_PEER": ""}).next
    assert "HUZHU_MEMPOOL_BYTES_MAX" in refusal(home, environ={"HUZHU_MEMPOL_BYTES_MAX": "1"}).next
    assert "log.level" in refusal(home, overrides={"log.levle": "info"}).next


@pytest.mark.parametrize(
    "text",
    [
        "",
        "config_version = 2\n",
        "config_version = true\n",
        "config_version = '1'\n",
        "config_version = 1\nnode = 3\n",
        "config_version = 1\n[node\n",
        "config_version = 1\n[node]\nobserver = 1\n",
        "config_version = 1\n[node]\nobserver = 'yes'\n",
        "config_version = 1\n[node]\ndata_dir = ''\n",
        "config_version = 1\n[mempool]\nmember_transactions_max = true\n",
        "config_version = 1\n[mempool]\nmember_transactions_max = 1.5\n",
        "config_version = 1\n[p2p]\npeers = 'one'\n",
        "config_version = 1\n[p2p]\npeers = [3]\n",
        f"config_version = 1\n[p2p]\npeers = ['{PEER}', '{PEER}']\n",
        "config_version = 1\n[p2p]\npeers = ['127.0.0.1:7040']\n",
        "config_version = 1\n[api]\nlisten = '7050'\n",
        "config_version = 1\n[api]\nlisten = '::1:7050'\n",
        "config_version = 1\n[api]\nlisten = 'localhost:65536'\n",
        "config_version = 1\n[log]\nlevel = 'loud'\n",
        "config_version = 1\n[node]\nname = 3\n",
    ],
)
def test_a_wrong_value_is_an_error(home: Path, text: str) -> None:
    assert refusal(home, text).code == "BAD_CONFIG"


@pytest.mark.parametrize(
    ("name", "low", "high"), [("verifier.workers", 0, 64), ("api.body_bytes_max", 4_096, 268_435_456)]
)
def test_ranges_hold_at_the_limit_and_one_past(home: Path, name: str, low: int, high: int) -> None:
    for value in (low, high):
        load(home, {name: value}, {})
    for value in (low - 1, high + 1):
        assert refusal(home, overrides={name: value}).code == "BAD_CONFIG"


def test_a_missing_file_says_what_to_run(tmp_path: Path) -> None:
    error = refusal(tmp_path)
    assert error.code == "MISSING_CONFIG"
    assert "huzhu init" in error.next
    (tmp_path / "config.toml").write_bytes(b"\xff\xfe")
    assert refusal(tmp_path).code == "BAD_CONFIG"
    (tmp_path / "config.toml").unlink()
    (tmp_path / "config.toml").mkdir()
    assert refusal(tmp_path).code == "BAD_CONFIG"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("localhost:0", ("localhost", 0)), ("[::1]:65535", ("::1", 65_535)), ("10.0.0.1:7040", ("10.0.0.1", 7040))],
)
def test_addresses_are_host_and_port(text: str, expected: tuple[str, int]) -> None:
    assert split_address(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "@", f"{'ab' * 31}@h:1", f"{'ab' * 32}@h", f"{'ab' * 32}@h:0", f"{'zz' * 32}@h:1", f"{' ab' * 32}@h:1"],
)
def test_a_peer_is_a_node_key_at_an_address(text: str) -> None:
    with pytest.raises(ValueError, match="must"):
        parse_peer(text)


@given(st.text(max_size=40), st.lists(st.from_regex(r"[a-z]{1,8}", fullmatch=True), max_size=3))
def test_whatever_is_written_is_read_back(name: str, hosts: list[str]) -> None:
    peers = [f"{number:064x}@{host}:1" for number, host in enumerate(hosts)]
    values = tomllib.loads(render_default({"node.name": name, "p2p.peers": tuple(peers)}))
    assert values["node"]["name"] == name
    assert values["p2p"]["peers"] == peers


@given(st.text(max_size=60))
def test_no_text_of_a_value_escapes_as_another_error(text: str) -> None:
    for info in KEYS.values():
        try:
            module._from_text(info, text, "test")
        except OperatorError as error:
            assert error.code == "BAD_CONFIG"
