"""The rulebook names code and tests that exist: a rule without its test is seen."""

import ast
import re
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "rulebook.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith(("| rule |", "| event |"))
]
SECTIONS = ("(§2)", "(§3)", "(§4)", "(§5)", "(§6)", "(§7)", "(§8)", "(§9)", "(§10)", "(all)")


def named(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@cache
def names_in(name: str) -> set[str]:
    path = ROOT / "tests" / (f"{name}.py" if "/" in name else f"ledger/{name}.py")
    assert path.is_file(), path
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.AsyncFunctionDef)} | {
        node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:60])
def test_every_rule_names_its_code_and_a_test(row: list[str]) -> None:
    assert len(row) == 3, row
    _, code, tests = row
    assert named(code)
    for name in named(code):
        module, _, attribute = name.rpartition(".")
        where = module[1:] if module.startswith("/") else f"ledger.{module}"
        if "." in module and not module.startswith("/"):
            where, _, kind = where.rpartition(".")
            assert hasattr(getattr(import_module(where), kind), attribute), name
            continue
        assert hasattr(import_module(where), attribute), name
    found = [name for name in named(tests) if ".test_" in name]
    assert found, row
    for name in found:
        file, _, test = name.rpartition(".")
        assert test in names_in(file), name


def test_every_section_is_there() -> None:
    headings = [line for line in PAGE.splitlines() if line.startswith("## ")]
    assert [heading.split()[-1] for heading in headings] == list(SECTIONS)
    assert len(ROWS) > 100


def test_no_rule_of_a_transaction_is_missing() -> None:
    """Each module whose rules ``execute`` runs is named somewhere."""
    source = ast.parse((ROOT / "ledger" / "execute.py").read_text())
    used = {
        node.value.id
        for node in ast.walk(source)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id not in ("tx", "body")
    }
    imports = [node for node in ast.walk(source) if isinstance(node, ast.ImportFrom) and node.module is None]
    modules = {item.name for node in imports for item in node.names} & used - {"clock"}
    assert len(modules) > 15
    mentioned = {name.split(".")[0] for row in ROWS for name in named(row[1])}
    assert modules <= mentioned, modules - mentioned
