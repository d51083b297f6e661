"""The rules of the house that a reader relies on, checked on the source itself (DESIGN §1)."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BELOW_THE_COMMAND_LINE = ("ledger", "consensus", "p2p", "node")
PURE = ("ledger", "consensus")
IMPURE_MODULES = {"asyncio", "aiohttp", "plyvel", "socket", "time", "random", "logging", "threading", "os", "secrets"}


def sources(*packages: str) -> list[Path]:
    found = [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]
    assert found
    return found


def imported(path: Path) -> set[str]:
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            modules.add(node.module)
    return modules


@pytest.mark.parametrize("package", BELOW_THE_COMMAND_LINE)
def test_nothing_below_the_command_line_knows_of_the_demo(package: str) -> None:
    for path in sources(package):
        assert not {name for name in imported(path) if name.split(".")[0] == "cli"}, path
        words = {part for name in ast.walk(ast.parse(path.read_text())) for part in _names(name)}
        assert "demo" not in words, path


def _names(node: ast.AST) -> set[str]:
    """The words of identifiers and of strings that a program could act on."""
    if isinstance(node, ast.Name):
        return set(node.id.lower().split("_"))
    if isinstance(node, ast.Attribute):
        return set(node.attr.lower().split("_"))
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return set(node.value.lower().split()) if len(node.value) < 40 else set()
    return set()


@pytest.mark.parametrize("package", PURE)
def test_rules_and_protocol_import_no_clock_no_socket_no_chance(package: str) -> None:
    for path in sources(package):
        assert not {name.split(".")[0] for name in imported(path)} & IMPURE_MODULES, path


@pytest.mark.parametrize("package", PURE)
def test_rules_and_protocol_hold_no_float(package: str) -> None:
    for path in sources(package):
        constants = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)]
        assert not [n.value for n in constants if isinstance(n.value, float)], path


def test_one_module_knows_leveldb() -> None:
    knowing = [path.relative_to(ROOT) for path in sources(*BELOW_THE_COMMAND_LINE, "cli") if "plyvel" in imported(path)]
    assert knowing == [Path("node/storage.py")]
