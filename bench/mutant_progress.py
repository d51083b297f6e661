"""What is known of each mutant, kept in ``build/mutants/*.jsonl``: an interrupted run goes on from there.

Rules of this file
- What was killed is not tried again while the module's text and its list of mutants are the same; a survivor not while
  the tests that it was asked are the same, too.
- Whoever was stopped by the clock, on a busy machine, is not judged: nothing is written of him.
"""

import importlib
import json
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import click

from .mutate import EDITS, Mutant, mutants

PROGRESS: Final = Path("build/mutants")
CHILD_SECONDS: Final = 90
"""Of the processor, at most, that a child may use."""
CLOCK_FACTOR: Final = 40
"""How much longer it may take by the clock: the machine may be busy with forty others."""
CHILD_BYTES_MAX: Final = 3 * 2**30
KILLED, SURVIVED, HUNG, STOPPED = "killed", "SURVIVED", "hung", "stopped by the clock"
_ENDS: Final = {0: SURVIVED, 1: KILLED, 2: KILLED, 128 + signal.SIGALRM: STOPPED}


def in_child(work: Callable[[], int], seconds: int, *, silent: bool = True) -> int:
    """Run ``work`` in a forked child with so many seconds of the processor, in bounded memory: its result, or 128 +
    the signal that ended it, ``SIGALRM`` if it was the clock."""
    process = os.fork()
    if process == 0:
        code = 2
        try:
            signal.alarm(CLOCK_FACTOR * seconds)
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            resource.setrlimit(resource.RLIMIT_AS, (CHILD_BYTES_MAX, CHILD_BYTES_MAX))
            if silent:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, 1)
                os.dup2(nowhere, 2)
            code = work()
        finally:
            if sys.exc_info()[0] is not None:
                traceback.print_exc()
            os._exit(code)
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def outcome(work: Callable[[], int], seconds: int) -> str:
    """What became of a mutant whose tests ``work`` runs: one of the four words. Never ending is being noticed."""
    return _ENDS.get(in_child(work, seconds), HUNG)


def digest_of(*places: Path) -> str:
    """Of all Python files there."""
    files = [each for place in places for each in ([place] if place.is_file() else sorted(place.rglob("*.py")))]
    return sha256(b"".join(each.read_bytes() for each in files)).hexdigest()


class Progress:
    """Results so far of one module: one line a mutant, the last one counts."""

    def __init__(self, path: str, text: str, tests: Sequence[str], *, fresh: bool) -> None:
        self._file = PROGRESS / (path.replace("/", ".") + ".jsonl")
        self._text = text
        self.known: dict[int, dict[str, Any]] = {}
        if self._file.exists() and not fresh:
            for line in self._file.read_text().splitlines():
                entry = json.loads(line)
                if entry["text"] == text and (entry["result"] != SURVIVED or entry["tests"] in tests):
                    self.known[entry["at"]] = entry
        PROGRESS.mkdir(parents=True, exist_ok=True)
        self._file.write_text("".join(json.dumps(entry) + "\n" for entry in self.known.values()))

    def add(self, mutant: Mutant, result: str, tests: str) -> None:
        """Remember at once what became of a mutant that was asked the tests of this digest."""
        if result == STOPPED:
            return
        entry = {"at": mutant.at, "result": result, "text": self._text, "tests": tests}
        self.known[mutant.at] = entry
        with self._file.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def result(self, mutant: Mutant) -> str | None:
        """What became of it; ``None``: not tried yet."""
        entry = self.known.get(mutant.at)
        return None if entry is None else str(entry["result"])

    def asked(self, mutant: Mutant, tests: str) -> bool:
        """Whether a survivor was asked the tests of this digest."""
        entry = self.known.get(mutant.at)
        return entry is not None and entry["tests"] == tests


@dataclass(frozen=True)
class Target:
    """A module under test."""

    path: str
    source: str
    files: tuple[str, ...]
    """The test files that are about it."""
    tests: str
    """Their digest."""
    mutants: list[Mutant]
    progress: Progress

    @property
    def name(self) -> str:
        """As imported."""
        return self.path.removesuffix(".py").replace("/", ".")

    def left(self, *, anew: bool) -> list[Mutant]:
        """Not yet tried mutants that need a new import, or that do not."""
        return [each for each in self.mutants if self.progress.result(each) is None and imported(each) == anew]


def imported(mutant: Mutant) -> bool:
    """Whether the change stands in a class's body or in a function's defaults: those exist since the import."""
    return mutant.scope.startswith(("class ", "def "))


def target_of(path: str, files: tuple[str, ...], all_tests: str, *, fresh: bool) -> Target:
    """A module with its mutants; it is imported in a child, so that this process stays without it."""
    source = Path(path).read_text()
    made = _imported_in_child(path, source)
    names = "\n".join(f"{each.at} {each.key} {each.nth}" for each in made)
    text = sha256(f"{EDITS}\n{source}\n{names}".encode()).hexdigest()
    tests = digest_of(*map(Path, files))
    return Target(path, source, files, tests, made, Progress(path, text, (tests, all_tests), fresh=fresh))


def _imported_in_child(path: str, source: str) -> list[Mutant]:
    PROGRESS.mkdir(parents=True, exist_ok=True)
    answer = PROGRESS / "names.json"

    def work() -> int:
        module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
        rows = [[getattr(each, name) for name in Mutant.__slots__] for each in mutants(path, source, vars(module))]
        answer.write_text(json.dumps(rows))
        return 0

    if in_child(work, CHILD_SECONDS):
        raise click.ClickException(f"{path} cannot be imported")
    return [Mutant(*row) for row in json.loads(answer.read_text())]
