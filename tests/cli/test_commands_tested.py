"""Every command is run by a test to its success and to a failure, or stands here as missing: commands_tested.toml.

Checked: the table is the command tree, each test it names exists, and its file says the command's last word.
"""

import ast
import tomllib
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from tests.cli.command_tree import LEAVES

ROOT = Path(__file__).resolve().parents[2]
TABLE: Final[dict[str, dict[str, str]]] = tomllib.loads(Path(__file__).with_name("commands_tested.toml").read_text())
MISSING: Final[dict[str, frozenset[str]]] = {
    "success": frozenset(
        {
            "keys rotate",
            "signer",
            "claim opinion",
            "gov propose",
            "org reinstate",
            "plan pay-refund",
            "plan refund-surplus",
            "plan sponsor-paid",
            "bench ledger",
            "bench network",
            "bench sync",
        }
    ),
    "failure": frozenset(
        {
            "keys list",
            "genesis card",
            "join status",
            "snapshot list",
            "recover sign",
            "org apply",
            "org propose",
            "proof spec",
            "testnet down",
            "testnet resume",
            "bench network",
            "bench sync",
            "demo",
        }
    ),
}
"""Debts: whoever writes the test names it in the table and takes the command from here."""


@cache
def named_in(file: str) -> tuple[frozenset[str], frozenset[str]]:
    """The functions of a test file, and the words of its strings."""
    nodes = list(ast.walk(ast.parse((ROOT / file).read_text())))
    functions = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    strings = (node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return frozenset(functions), frozenset(word for text in strings for word in text.split())


def test_the_table_is_the_command_tree() -> None:
    assert sorted(TABLE) == sorted(LEAVES)


@pytest.mark.parametrize("name", TABLE)
def test_the_tests_named_exist_and_say_the_command(name: str) -> None:
    for how in ("success", "failure"):
        file, _, test = TABLE[name][how].partition("::")
        assert (name in MISSING[how]) == (not file), how
        if file:
            functions, words = named_in(file)
            assert test in functions, how
            if test != "test_every_command_says_when_no_node_answers_and_needs_its_key":  # it walks the tree itself
                assert name.split()[-1] in words, how
