"""The reference says what the program does: it is made from it, and this fails when it was not made again."""

import re
from pathlib import Path

import pytest

from cli.main import COMMANDS
from cli.reference import pages, stale
from ledger.errors import CODES
from node.config import KEYS, load
from node.metrics import Metrics

ROOT = Path(__file__).resolve().parents[2]


def test_the_reference_is_fresh() -> None:
    assert stale() == [], "run `make reference` and commit what it wrote"


def test_a_changed_page_is_stale(tmp_path: Path) -> None:
    found = pages()
    for name, text in found.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert stale(tmp_path) == []
    (tmp_path / "docs/reference/cli.md").write_text(found["docs/reference/cli.md"] + "\n")
    (tmp_path / "configs/node.toml").unlink()
    assert stale(tmp_path) == ["docs/reference/cli.md", "configs/node.toml"]


def test_every_command_key_metric_and_code_has_its_line() -> None:
    found = pages()
    for name in COMMANDS:
        assert f"## `huzhu {name}" in found["docs/reference/cli.md"], name
    for key in KEYS:
        assert f"| `{key}` |" in found["docs/reference/config.md"], key
    for code in (*CODES, "GENESIS_UNSIGNED", "LOG_ROLLED_BACK", "CORRUPT_DATABASE", "INDEX_DIFFERS", "WRONG_CHAIN"):
        assert f"| `{code}` |" in found["docs/reference/errors.md"], code
    page = Metrics().render().decode()
    for name in re.findall(r"^# HELP (huzhu_\w+) ", page, re.MULTILINE):
        if not name.endswith("_created"):
            assert f"| `{name}` |" in found["docs/reference/metrics.md"], name


def test_no_page_names_a_machine() -> None:
    for name, text in pages().items():
        assert not re.search(r"/(home|root|tmp|work)/", text), name


def test_the_example_configuration_is_one(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(pages()["configs/node.toml"])
    assert load(tmp_path, environ={}) == load(tmp_path, {"verifier.workers": KEYS["verifier.workers"].default}, {})


@pytest.mark.parametrize("name", ["alerts.yml", "prometheus.yml", "huzhu.service"])
def test_what_is_configured_around_the_node_names_only_what_exists(name: str) -> None:
    text = (ROOT / "configs" / name).read_text()
    metrics = pages()["docs/reference/metrics.md"]
    for metric in set(re.findall(r"\bhuzhu_\w+", text)):
        known = re.sub(r"_(bucket|sum|count)$", "", metric)
        assert f"| `{metric}` |" in metrics or f"| `{known}` |" in metrics, metric
    for command in re.findall(r"huzhu ([a-z]+) ", text):
        assert command in COMMANDS or name == "alerts.yml", command
