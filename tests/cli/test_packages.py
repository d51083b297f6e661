"""What a wheel holds: every package of the tree, and every file that packages read."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
TOPS = {name.partition(".")[0] for name in SETUPTOOLS["packages"]}


def test_every_package_of_the_tree_is_in_the_wheel() -> None:
    found = {
        ".".join(file.parent.relative_to(ROOT).parts)
        for top in TOPS
        for file in (ROOT / top).rglob("*.py")
        if "__pycache__" not in file.parts
    }
    assert sorted(SETUPTOOLS["packages"]) == sorted(found)
    assert all((ROOT / Path(*name.split(".")) / "__init__.py").is_file() for name in found)


def test_every_package_of_the_console_script_is_a_top_of_the_wheel() -> None:
    with_init = {file.parent.name for file in ROOT.glob("*/__init__.py")}
    assert with_init == TOPS


def test_every_file_of_configs_is_in_the_wheel() -> None:
    patterns = SETUPTOOLS["package-data"]["configs"]
    for file in (ROOT / "configs").iterdir():
        if file.is_file() and file.suffix != ".py":
            assert any(file.match(pattern) for pattern in patterns), file.name
