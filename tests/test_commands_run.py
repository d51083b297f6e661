"""The record of what tests have run is honest: only what was compared, held, and belongs to a test that passed."""

import json
from pathlib import Path

import pytest

from tests import running
from tests.cli.command_tree import LEAVES
from tests.commands_run import USAGE_ONLY, codes, main, missing
from tests.running import FILE, ended


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FILE, str(tmp_path / "record" / "run.jsonl"))
    monkeypatch.setattr(running, "_asserted", [])
    running.begin()
    return tmp_path / "record" / "run.jsonl"


def written(file: Path) -> list[tuple[list[str], int]]:
    running.write("a test")
    return [(entry["words"], entry["exit"]) for entry in map(json.loads, file.read_text().splitlines())]


def test_what_was_compared_and_held_is_written(file: Path) -> None:
    assert ended(["tx", "show", "ab", "--prove"], 4) == 4
    assert (ended(["status"], 0), 1) == (0, 1)
    assert ended(["doctor"], 6) != 0
    assert written(file) == [(["doctor"], 6), (["status"], 0), (["tx", "show", "ab"], 4)]


def test_what_was_not_compared_or_did_not_hold_is_not(file: Path) -> None:
    ended(["status"], 0)
    held = ended(["doctor"], 3) == 4
    assert not held
    assert ended(["export"], 3) != 4, "that it is not another one says nothing"
    assert ended(["init", "--help"], 0) == 0
    assert written(file) == []


def test_what_a_failed_test_has_seen_is_forgotten(file: Path) -> None:
    assert ended(["status"], 0) == 0
    running.forget()
    assert written(file) == []


def test_every_command_wants_a_success_and_a_failure_that_is_not_clicks() -> None:
    assert missing({name: {0, 2 if name in USAGE_ONLY else 3} for name in LEAVES}) == []
    assert missing({name: {0, 2} for name in LEAVES}) == [
        f"{name}: no test runs it to a failure" for name in LEAVES if name not in USAGE_ONLY
    ]
    assert missing({name: {5} for name in LEAVES if name not in USAGE_ONLY} | dict.fromkeys(USAGE_ONLY, {0, 2})) == [
        f"{name}: no test runs it to its success" for name in LEAVES if name not in USAGE_ONLY
    ]
    assert set(LEAVES) >= USAGE_ONLY


def test_a_record_that_is_not_there_is_no_proof(tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none")]) == 1
    assert main([]) == 1
    assert ended(["tx", "show"], 0) == 0
    assert written(file)
    assert codes([file]) == {"tx show": {0}}
    assert main([str(file)]) == 1
    assert "tx show: no test runs it to a failure" in capsys.readouterr().err
