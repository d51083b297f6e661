"""The Dockerfile, read without Docker: its stages, what they copy, who runs what, and which ports and paths they name.

``tests/interop/test_distribution.py`` makes the wheel that is copied, installs it and runs the entry point.
"""

import json
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from cli.main import huzhu
from node.config import load, render_default

ROOT: Final = Path(__file__).resolve().parents[2]
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WHEEL: Final = f"dist/{PROJECT['name']}-{PROJECT['version']}-py3-none-any.whl"
"""What ``make dist`` makes."""


@dataclass
class Stage:
    """From one FROM to the next: (instruction, its words) in order."""

    base: str
    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        return [words for name, words in self.steps if name == instruction]

    def one(self, instruction: str) -> str:
        (found,) = self.all(instruction)
        return found

    @property
    def environment(self) -> dict[str, str]:
        return dict(pair.split("=", 1) for words in self.all("ENV") for pair in words.split())


@pytest.fixture(scope="module")
def stages() -> list[Stage]:
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
    found: list[Stage] = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        instruction, words = line.split(None, 1)
        if instruction == "FROM":
            base, _, name = words.partition(" AS ")
            found.append(Stage(base, name))
        else:
            found[-1].steps.append((instruction, words))
    return found


def test_the_wheel_is_installed_in_one_stage_and_run_in_another_with_the_same_interpreter(stages: list[Stage]) -> None:
    build, last = stages
    assert build.base == last.base, "a virtual environment runs with the interpreter it was made with"
    version = tuple(map(int, re.findall(r"python:(\d+)\.(\d+)", last.base)[0]))
    needed = tuple(map(int, PROJECT["requires-python"].removeprefix(">=").split(".")))
    assert version >= needed
    made = re.search(r"-m venv (\S+)", build.one("RUN"))
    assert made is not None
    assert last.all("COPY") == [f"--from={build.name} {made[1]} {made[1]}"], "only the environment is taken over"
    assert last.environment["PATH"].split(":")[0] == f"{made[1]}/bin"


def test_what_is_copied_into_the_image_exists_and_is_let_into_its_context(stages: list[Stage]) -> None:
    build = stages[0]
    *sources, target = build.one("COPY").split()
    assert sources == ["constraints.txt", "dist/*.whl"]
    assert (ROOT / "constraints.txt").is_file()
    assert Path(WHEEL).match(sources[1])
    assert f"PIP_CONSTRAINT={target}constraints.txt" in build.one("RUN")
    assert f"{target}*.whl" in build.one("RUN")
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert ignored == ["*", *(f"!{source}" for source in sources)]


def test_the_entry_point_is_the_wheels_console_script_and_its_command_exists(stages: list[Stage]) -> None:
    last = stages[-1]
    assert json.loads(last.one("ENTRYPOINT"))[0] in PROJECT["scripts"]
    (command,) = json.loads(last.one("CMD"))
    assert command in huzhu.list_commands(huzhu.make_context("huzhu", [], resilient_parsing=True))


def test_it_runs_as_a_user_of_its_own_who_alone_may_read_the_volume(stages: list[Stage]) -> None:
    last = stages[-1]
    user, volume = last.one("USER"), last.one("VOLUME")
    made = last.one("RUN")
    number = re.search(rf"useradd --system --uid (\d+) .*--shell \S*nologin {user}\b", made)
    assert number is not None and int(number[1]) > 0
    assert f"install -d -o {user} -g {user} -m 0700 {volume}" in made
    assert last.environment["HUZHU_HOME"] == volume
    names = [name for name, _ in last.steps]
    assert names.index("USER") > max(at for at, name in enumerate(names) if name in ("RUN", "COPY"))


def test_its_ports_are_those_of_the_configuration(stages: list[Stage], tmp_path: Path) -> None:
    last = stages[-1]
    (tmp_path / "config.toml").write_text(render_default({}))
    config = load(tmp_path, environ={name: value for name, value in last.environment.items() if name != "HUZHU_HOME"})
    assert config.p2p.listen == f"0.0.0.0:{last.one('EXPOSE')}"
    assert f"'http://{config.api.listen}/livez'" in last.one("HEALTHCHECK")
    assert last.one("STOPSIGNAL") == "SIGTERM"
