"""``huzhu config migrate``: what was chosen stays, the file is this release's, and the old one is beside it."""

import json
from pathlib import Path
from typing import Any

import pytest

from ledger.errors import OperatorError
from node import config
from node.config import CONFIG_FILE, load, render_default
from node.config_migration import STEPS, migrate
from tests.running import run

CHOSEN = {"node.name": "north", "api.listen": "127.0.0.1:7051", "mempool.transactions_max": 7_000}
PLAIN = """config_version = 1
mempool.transactions_max = 7_000
[node]
name = "north"
[api]
listen = "127.0.0.1:7051"
"""


def home_with(tmp_path: Path, text: str) -> Path:
    (tmp_path / CONFIG_FILE).write_text(text)
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], home: Path, code: int) -> dict[str, Any]:
    assert run(["config", "migrate", "--home", str(home), "--output", "json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_file_of_another_release_is_written_as_this_one_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = home_with(tmp_path, PLAIN)
    before = load(home, environ={})
    found = said(capsys, home, 0)
    assert found == {"from": 1, "to": 1, "changed": True, "kept": str(home / "config.toml.1.old")}
    assert (home / "config.toml.1.old").read_text() == PLAIN
    assert (home / CONFIG_FILE).read_text() == render_default(CHOSEN)
    assert load(home, environ={}) == before
    assert said(capsys, home, 0)["changed"] is False, "a second time changes nothing"


def test_an_old_file_that_was_set_aside_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = home_with(tmp_path, PLAIN)
    (home / "config.toml.1.old").write_text("the first")
    assert said(capsys, home, 3)["error"]["code"] == "CONFIG_KEPT"
    assert (home / CONFIG_FILE).read_text() == PLAIN
    assert (home / "config.toml.1.old").read_text() == "the first"


@pytest.mark.parametrize("text", ["[node]\n", *(f"config_version = {v}\n" for v in (0, 2, "1\nx = 1"))])
def test_what_it_does_not_understand_it_leaves_alone(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = home_with(tmp_path, text)
    assert said(capsys, home, 3)["error"]["code"] == "BAD_CONFIG"
    assert [(path.name, path.read_text()) for path in home.iterdir()] == [(CONFIG_FILE, text)]


def test_steps_lead_from_each_version_to_the_present_one_and_none_beyond() -> None:
    assert sorted(STEPS) == list(range(1, config.CONFIG_VERSION))


def test_versions_are_climbed_step_by_step_and_the_result_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the program of version 3 will do it: a section was moved, then a unit changed."""
    monkeypatch.setattr(config, "CONFIG_VERSION", 3)
    steps = {
        1: lambda table: {"mempool": table["pool"]},
        2: lambda table: {"mempool": {"bytes_max": table["mempool"]["megabytes_max"] * 1_048_576}},
    }
    home = home_with(tmp_path, "config_version = 1\n[pool]\nmegabytes_max = 64\n")
    with pytest.raises(OperatorError, match="an earlier program wrote it") as caught:
        load(home, environ={})
    assert caught.value.next == "run `huzhu config migrate`"
    assert migrate(home, steps) == (1, home / "config.toml.1.old")
    assert load(home, environ={}).mempool.bytes_max == 64 * 1_048_576
    assert (home / CONFIG_FILE).read_text().splitlines()[2] == "config_version = 3"

    home = home_with(tmp_path, "config_version = 2\n[mempool]\nmegabytes_max = 0\n")
    with pytest.raises(OperatorError, match="bytes_max must be from"):
        migrate(home, steps)
    assert not (home / "config.toml.2.old").exists()
