"""``make dist`` in a copy of the tree: a wheel that pip installs and that runs outside the checkout, and an archive.

It is what the Dockerfile copies; what Docker itself would do is not tried here.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from ledger.protocol import NEWEST

from . import tools

pytestmark = pytest.mark.interop

ROOT: Final = Path(__file__).resolve().parents[2]
LEFT_OUT: Final = (".git", ".venv", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis", "tests")
SECONDS: Final = 120


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A copy of the tree in a repository of its own, and its commit."""
    place = tmp_path_factory.mktemp("dist") / "tree"
    shutil.copytree(ROOT, place, ignore=shutil.ignore_patterns(*LEFT_OUT))
    git = tools.need("git", "install git")
    who = ["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "all"]):
        tools.run([git, *words], cwd=place)
    commit = tools.run([git, "rev-parse", "HEAD"], cwd=place).decode().strip()
    venv = Path(sys.executable).parents[1]
    untouched = ["-o", str(venv / ".installed")]  # else it may be set up anew, for the copy
    tools.run(["make", *untouched, "dist", f"VENV={venv}"], cwd=place, seconds=SECONDS)
    assert tools.run([git, "status", "--porcelain"], cwd=place) == b"", "nothing is left in the tree"
    yield place, commit


def test_the_wheel_installs_and_its_command_runs_outside_the_checkout(tree: tuple[Path, str], tmp_path: Path) -> None:
    place, commit = tree
    (wheel,) = (place / "dist").glob("*.whl")
    target = tmp_path / "installed"
    flags = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-index", "--no-compile"]
    tools.run([sys.executable, "-m", "pip", "install", *flags, "--target", target, wheel], cwd=tmp_path)
    script = target / "bin" / "huzhu"
    environment = {**os.environ, "PYTHONPATH": str(target)}

    def huzhu(*words: str | Path) -> str:
        done = subprocess.run(
            [sys.executable, script, *words], cwd=tmp_path, env=environment, capture_output=True, timeout=SECONDS
        )
        assert done.returncode == 0, done
        return done.stdout.decode()

    where = subprocess.run(
        [sys.executable, "-c", "import cli, configs, node; print(cli.__file__, configs.__file__, node.__file__)"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        check=True,
    )
    assert all(Path(file).is_relative_to(target) for file in where.stdout.decode().split())
    verifier = "from node.known_answers import check_worker; check_worker()"
    subprocess.run([sys.executable, "-c", verifier], cwd=tmp_path, env=environment, check=True)
    said = huzhu("--version")
    assert commit in said
    assert f"protocol 1 to {NEWEST}" in said
    huzhu("init", "--home", tmp_path / "home", "--name", "one")
    checked = json.loads(huzhu("config", "check", "--home", tmp_path / "home", "--output", "json"))
    assert Path(checked["home"]) == tmp_path / "home"
    assert "bench" in huzhu("--help")


def test_the_source_archive_holds_what_the_wheel_was_made_of(tree: tuple[Path, str]) -> None:
    (archive,) = (tree[0] / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "cli/main.py",
        "cli/commit.txt",
        "configs/chain_main.toml",
    } <= names
