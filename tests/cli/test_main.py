"""The command line's manners: exit codes, errors for people and for programs, and nothing imported in vain."""

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from cli.main import COMMANDS, DEPENDENCIES, Commands, huzhu
from cli.version import UNKNOWN, checkout_commit
from tests.cli.command_tree import LEAVES
from tests.running import run


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_can_be_imported_and_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: huzhu {name}")


def test_help_does_not_pay_for_the_node() -> None:
    code = "import sys, cli.main; cli.main.run(['--help']); sys.exit('aiohttp' in sys.modules or 'node' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=30).returncode == 0


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    lines = dict(line.split(" ", 1) for line in capsys.readouterr().out.splitlines())
    assert set(lines) == {"huzhu", "commit", "protocol", "transactions", "database", "configuration", "cards"}
    assert lines["commit"] == UNKNOWN or len(lines["commit"]) == 40


def test_the_commit_of_a_checkout_is_read_wherever_git_keeps_it(tmp_path: Path) -> None:
    assert checkout_commit(tmp_path) == ""
    (tmp_path / "HEAD").write_text("ref: refs/heads/main\n")
    assert checkout_commit(tmp_path) == ""
    (tmp_path / "packed-refs").write_text(f"# pack-refs\n{'b' * 40} refs/heads/main\n")
    assert checkout_commit(tmp_path) == "b" * 40
    (tmp_path / "refs" / "heads").mkdir(parents=True)
    (tmp_path / "refs" / "heads" / "main").write_text("a" * 40 + "\n")
    assert checkout_commit(tmp_path) == "a" * 40
    (tmp_path / "HEAD").write_text("c" * 40 + "\n")
    assert checkout_commit(tmp_path) == "c" * 40


def test_an_unknown_command_is_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["frobnicate"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "USAGE" in captured.err


def test_errors_are_one_json_object_when_json_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--no-such-option", "--output", "json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert set(error) == {"code", "what", "why", "next"}
    assert error["code"] == "USAGE"


def test_a_configuration_error_is_3_and_says_what_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["start", "--home", str(tmp_path / "none"), "--output", "json"]) == 3
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "MISSING_CONFIG"
    assert "huzhu init" in error["next"]


@pytest.mark.parametrize("library", ["aiohttp", "ed25519_zebra", "msgspec", "nacl", "plyvel"])
def test_a_library_that_is_missing_is_named(library: str) -> None:
    code = f"import sys; sys.modules[{library!r}] = None; import cli.main; cli.main.main()"
    words = [sys.executable, "-c", code, "status" if library == "aiohttp" else "start", "--output", "json"]
    done = subprocess.run(words, capture_output=True, timeout=30)
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["code"]) == (3, "LIBRARY_MISSING")
    assert library in error["what"]


def test_the_libraries_are_those_of_the_distribution() -> None:
    root = Path(__file__).resolve().parents[2]
    declared = tomllib.loads((root / "pyproject.toml").read_text())["project"]["dependencies"]
    distributions = packages_distributions()
    assert {_plain(re.split("[>=; ]", entry)[0]) for entry in declared} == {
        _plain(distributions[library][0]) for library in DEPENDENCIES
    }


def _plain(distribution: str) -> str:
    """Its name as indexes compare it (PEP 503); of plyvel there are two."""
    return re.sub("[-_.]+", "-", distribution).lower().removesuffix("-next")


def test_a_module_of_our_own_that_is_missing_is_a_bug_and_not_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "node.doctor", None)
    monkeypatch.delitem(sys.modules, "cli.doctor", raising=False)
    with pytest.raises(ImportError, match=r"node\.doctor"):
        run(["doctor"])


def test_a_node_that_does_not_answer_is_4(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--node", "http://127.0.0.1:9", "--output=json"]) == 4
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "NOT_REACHABLE"


def test_the_table_is_the_whole_command_line() -> None:
    assert isinstance(huzhu, Commands)
    assert huzhu.commands == {}


def test_every_verb_of_the_design_is_there() -> None:
    """NODE §3, word by word."""
    groups = {
        "genesis": "card assemble check sign",
        "keys": "list new export import rotate",
        "peers": "list why",
        "org": "list apply propose approve promote suspend remove",
        "join": "bundle accept",
        "gov": "list show vote",
        "member": "enrol show statement exit",
        "tx": "send show wait",
        "verify": "chain statement settlement jury",
        "proof": "spec show",
        "config": "check show diff migrate",
        "debug": "dump",
        "testnet": "up down status advance kill pause cut restart load logs",
        "bench": "ledger network",
    }
    single = "init start status backup restore export prune replay rollback reset doctor completion demo simulate"
    wanted = {*single.split(), *(f"{group} {verb}" for group, verbs in groups.items() for verb in verbs.split())}
    assert wanted <= set(LEAVES)
    assert {"plan", "claim", "jury", "snapshot", "recover", "inspect"} <= {name.split()[0] for name in LEAVES}
