"""The documents name commands, files and codes that exist."""

import re
from pathlib import Path

import click
import pytest

from cli.main import huzhu
from cli.reference import pages

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = (
    "start.md",
    "join.md",
    "operate.md",
    "troubleshooting.md",
    "consortium.md",
    "embed.md",
    "jury.md",
    "claims.md",
)


def text(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_command_named_exists_with_its_options(name: str) -> None:
    context = click.Context(huzhu, info_name="huzhu")
    for line in re.findall(r"huzhu ([a-z][^`#\n;&>]*)", text(name)):
        words = line.replace("[", "").replace("]", "").split()
        command: click.Command | None = huzhu.get_command(context, words.pop(0))
        if isinstance(command, click.Group) and words:
            for verb in words.pop(0).split("|"):
                found = command.get_command(context, verb)
                assert found is not None, line
            command = found
        assert command is not None, line
        known = {option for param in command.params for option in param.opts}
        assert {word for word in words if word.startswith("--")} <= known | {"--output"}, line


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_and_file_named_exists(name: str) -> None:
    found = text(name)
    for target in re.findall(r"\]\(([^)#]+)\)", found):
        assert (ROOT / "docs" / target).is_file(), target
    for target in re.findall(r"`(configs/[a-z_.]+)`", found):
        assert (ROOT / target).is_file(), target


def test_every_warning_and_error_of_the_log_has_its_line_in_the_troubleshooting() -> None:
    found = {
        event
        for path in [*(ROOT / "node").rglob("*.py"), *(ROOT / "p2p").rglob("*.py")]
        for event in re.findall(r'\b_?log\.(?:warning|error|critical|exception)\(\s*"([^"]+)"', path.read_text())
    }
    assert len(found) > 10
    assert {event for event in found if f"`{event}`" not in text("troubleshooting.md")} == set()


def test_every_code_of_the_troubleshooting_exists() -> None:
    known = set(re.findall(r"\| `([A-Z][A-Z_]+)` \|", pages()["docs/reference/errors.md"]))
    known |= set(re.findall(r"\| `([A-Z][A-Z_]+)` \|", pages()["docs/reference/api.md"]))
    for line in text("troubleshooting.md").splitlines():
        if line.startswith("| `") and "`" in line:
            codes = re.findall(r"`([A-Z][A-Z]+(?:_[A-Z]+)*)`", line.split("|")[1])
            assert set(codes) <= known, line
