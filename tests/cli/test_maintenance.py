"""``backup``, ``restore``, ``prune``, ``debug dump``, ``completion``: of a stopped home, and what they refuse."""

import asyncio
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from ledger.transactions import AdvanceClock
from node.config import load
from node.keys import load_node_keys
from node.opening import DATABASE_DIRECTORY
from tests.node.network import Network, running
from tests.running import run

NAME = "bank"


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a validator that took part in a network and was stopped."""
    network = Network(tmp_path_factory.mktemp("stopped"), observers=0)

    async def life() -> None:
        async with running(network) as live:
            await live.submit("platform", ("clock", AdvanceClock(network.genesis.values.clock_start_ms + 3_600_000)))
            await live.until_height(1)

    asyncio.run(life())
    return network.members[NAME].home


def result(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> dict[str, Any]:
    assert run([*map(str, arguments), "--output", "json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def error(capsys: pytest.CaptureFixture[str], code: int, *arguments: object) -> str:
    return str(result(capsys, *arguments, code=code)["error"]["code"])


def test_a_backup_is_restored_into_a_new_home(
    tmp_path: Path, stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = result(capsys, "backup", tmp_path / "backup", "--home", stopped)
    assert taken["height"] >= 1
    assert error(capsys, 3, "backup", tmp_path / "backup", "--home", stopped) == "TARGET_EXISTS"
    restored = result(capsys, "restore", tmp_path / "backup", "--home", tmp_path / "new")
    assert (restored["height"], restored["hash"], restored["record"]) == (taken["height"], taken["hash"], "none")
    assert error(capsys, 3, "restore", tmp_path / "backup", "--home", tmp_path / "new") == "RESTORE_OCCUPIED"
    assert (load(tmp_path / "new").data_path / DATABASE_DIRECTORY).is_dir()
    assert error(capsys, 6, "restore", tmp_path, "--home", tmp_path / "other") == "BACKUP_INVALID"
    assert not (tmp_path / "other").exists()


def test_what_is_no_backup_is_refused(tmp_path: Path, stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert error(capsys, 6, "restore", tmp_path / "empty", "--home", stopped) == "BACKUP_INVALID"
    assert error(capsys, 3, "backup", tmp_path / "b", "--home", tmp_path / "nobody") == "MISSING_CONFIG"


def test_pruning_says_what_it_freed_and_refuses_too_few(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = result(capsys, "prune", "--home", stopped, "--keep-blocks", 16)
    assert (found["first_kept"], found["blocks"]) == (1, 0)  # everything is of the last validity window
    assert error(capsys, 2, "prune", "--home", stopped, "--keep-blocks", 15) == "USAGE"


def test_a_dump_holds_no_secret(tmp_path: Path, stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "dump.tar.gz"
    found = result(capsys, "debug", "dump", file, "--home", stopped)
    assert found["node_runs"] is False
    with tarfile.open(file) as archive:
        members = {Path(entry.name).name: archive.extractfile(entry) for entry in archive.getmembers()}
        contents = {name: b"" if opened is None else opened.read() for name, opened in members.items()}
    assert set(contents) == set(found["parts"])
    assert set(contents) >= {"versions.json", "configuration.json", "files.json", "findings.json"}
    keys = load_node_keys(stopped / "keys")
    for pair in (keys.node, keys.validator, keys.beacon):
        assert pair is not None
        for content in contents.values():
            assert pair.secret not in content
            assert pair.secret.hex().encode() not in content
    assert error(capsys, 3, "debug", "dump", file, "--home", stopped) == "DUMP_FAILED"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", shell]) == 0
    assert "_HUZHU_COMPLETE" in capsys.readouterr().out


def test_another_shell_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert error(capsys, 2, "completion", "tcsh") == "USAGE"
