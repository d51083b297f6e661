"""The command line as tests run it; what a test that passed has asserted of an exit code is written down.

Rules of this file

* Every test runs commands by ``run`` (in its own process) or says by ``ended`` what a process of its own ended with.
* An exit code counts when the test *compared* it, and it was what the test asked for: ``Ended`` is an integer that
  notes that. What a failed test has seen is forgotten.
* Written only where ``COMMANDS_RUN`` names a file: ``make test``, ``make sim`` and ``make e2e`` do, each its own.
  ``tests.commands_run`` reads them: every command of the tree, run to its success and to a failure.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from cli import main

FILE: Final = "COMMANDS_RUN"
"""The environment variable that names the file."""
HELP: Final = frozenset({"-h", "--help"})
"""Asking what a command does is not running it."""
_asserted: list[tuple[list[str], int]] = []
"""Since the last test ended."""


class Ended(int):
    """The exit code of a command. What it is found equal to, and that it is not 0, is noted."""

    words: list[str]
    """The first of its arguments, which name the command."""

    def __new__(cls, arguments: Sequence[str], code: int) -> "Ended":
        found = super().__new__(cls, code)
        found.words = [] if HELP & set(arguments) else list(arguments[:3])
        return found

    def __eq__(self, other: object) -> bool:
        return self._noted(int(self) == other)

    def __ne__(self, other: object) -> bool:
        different = int(self) != other
        self._noted(not different or other == 0)
        return different

    def __hash__(self) -> int:
        return hash(int(self))

    def _noted(self, asserted: bool) -> bool:
        if asserted and self.words:
            _asserted.append((self.words, int(self)))
        return asserted


def ended(arguments: Sequence[str | Path], code: int) -> Ended:
    """What a process of ``huzhu`` with these arguments ended with."""
    return Ended([str(argument) for argument in arguments], code)


def run(arguments: Sequence[str], **context: Any) -> Ended:
    """``cli.main.run``."""
    return Ended(arguments, main.run(arguments, **context))


def begin() -> None:
    """Begin the file of a test run anew. Workers inherit its absolute path, for some tests change the directory."""
    if FILE in os.environ:
        path = Path(os.environ[FILE]).absolute()
        os.environ[FILE] = str(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def forget() -> None:
    """The test failed."""
    _asserted.clear()


def write(test: str) -> None:
    """The test passed: append what it asserted, one JSON object a line."""
    lines = {json.dumps({"words": words, "exit": code, "test": test}) for words, code in _asserted}
    _asserted.clear()
    if lines and FILE in os.environ:
        with Path(os.environ[FILE]).open("a") as file:
            file.write("".join(f"{line}\n" for line in sorted(lines)))
