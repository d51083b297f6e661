"""What holds for every command of the tree: one manner of failing, one way to choose how results are said."""

import json
from pathlib import Path

import click
import pytest

from cli.network import NETWORK_FILE
from tests.cli.command_tree import LEAVES, required
from tests.running import run

NOBODY = "http://127.0.0.1:9"
"""Where no node answers."""
ID = "ab" * 32
ASKING = {
    "status": "",
    "peers list": "",
    "peers why": ID,
    "inspect block": "latest",
    "export": "--out never",
    "tx show": ID,
    "tx wait": ID,
    "proof draw": "0 --out never",
    "proof jury": "0 --out never",
    "proof settlement": "0 20 --out never",
    "proof show": "members 0",
    "proof transaction": f"{ID} --out never",
}
"""Commands that ask a node, apart from those of the consortium, which test_consortium_commands runs."""
HOMELESS = {
    "backup": "target",
    "config check": "",
    "config diff": "",
    "config show": "",
    "debug dump": "dump.tar.gz",
    "inspect entries": "meta",
    "inspect rows": "members",
    "inspect spaces": "",
    "keys rotate": "",
    "prune": "--keep-blocks 100",
    "replay": "",
    "reset": "--yes",
    "signer": "--socket nowhere",
    "snapshot create": "target",
    "start": "",
}
"""Commands that need a home with a configuration."""


def error(capsys: pytest.CaptureFixture[str], words: list[str], code: int) -> dict[str, str]:
    """The error object of a command that ends with ``code``: the one thing on stdout."""
    ended = run([*words, "--output", "json"])
    said = capsys.readouterr().out
    assert ended == code, said
    found: dict[str, dict[str, str]] = json.loads(said)
    assert set(found) == {"error"}
    assert set(found["error"]) == {"code", "what", "why", "next"}
    return found["error"]


@pytest.mark.parametrize("name", LEAVES)
def test_results_are_said_for_people_or_for_programs(name: str) -> None:
    (option,) = (parameter for parameter in LEAVES[name].params if "--output" in parameter.opts)
    assert isinstance(option.type, click.Choice)
    assert list(option.type.choices) == ["text", "json"]


@pytest.mark.parametrize("name", LEAVES)
def test_an_unknown_option_is_usage(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = error(capsys, [*name.split(), "--no-such-option"], 2)
    assert found["code"] == "USAGE"
    assert f"huzhu {name} --help" in found["next"]


@pytest.mark.parametrize("name", [name for name, command in LEAVES.items() if required(command)])
def test_what_is_required_and_missing_is_usage(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert error(capsys, name.split(), 2)["code"] == "USAGE"


@pytest.mark.parametrize("name", ASKING)
def test_a_node_that_does_not_answer_is_not_reachable(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    found = error(capsys, [*name.split(), *ASKING[name].split(), "--node", NOBODY], 4)
    assert found["code"] == "NOT_REACHABLE"
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize("name", HOMELESS)
def test_a_home_that_is_none_is_a_configuration_error(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    found = error(capsys, [*name.split(), *HOMELESS[name].split(), "--home", str(tmp_path / "none")], 3)
    assert found["code"] == "MISSING_CONFIG"
    assert found["next"]
    assert list(tmp_path.iterdir()) == []


REFUSED = {
    "verify draw": ("rubbish --genesis rubbish", "GENESIS_INVALID"),
    "verify settlement": ("rubbish --genesis rubbish", "GENESIS_INVALID"),
    "verify transaction": ("rubbish --genesis rubbish", "GENESIS_INVALID"),
    "recover show": ("rubbish --home none", "RECOVERY_MALFORMED"),
    "snapshot verify": ("none", "GENESIS_UNREADABLE"),
    "genesis assemble": ("rubbish --name x", "CARD_INVALID"),
    "genesis card": ("--home none --roles bank --no-node --out card", "MISSING_CONFIG"),
    "keys list": ("--dir exposed", "KEY_EXPOSED"),
    "recover sign": ("rubbish --key rubbish", "RECOVERY_MALFORMED"),
    "testnet down": ("--dir broken", "NETWORK_UNREADABLE"),
    "join bundle": ("--home none", "MISSING_CONFIG"),
    "testnet heal": ("--all --dir none", "NO_NETWORK"),
    "testnet restart": ("--all --dir none", "NO_NETWORK"),
}
"""Commands that are given something that is not what they read."""


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_what_a_command_reads_is_a_configuration_error(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rubbish").write_text("rubbish\n")
    for place in ("exposed", "broken"):
        (tmp_path / place).mkdir()
    (tmp_path / "exposed" / "validator.key").write_text("rubbish\n")
    (tmp_path / "broken" / NETWORK_FILE).write_text("{}")
    words, code = REFUSED[name]
    assert error(capsys, [*name.split(), *words.split()], 3)["code"] == code


def test_a_node_that_joins_and_is_not_there_is_not_ready(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["join", "status", "--node", NOBODY, "--output", "json"]) == 5
    assert json.loads(capsys.readouterr().out)["stage"].startswith("not running")
