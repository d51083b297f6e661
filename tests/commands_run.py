"""Every command of the tree is run by a test to its success and to a failure: what ``tests.running`` wrote down.

``python -m tests.commands_run FILE...`` after the tests; exit code 1 names what is missing. A failure is an exit code
that a test asserted, other than 2: that a command dislikes its arguments is click's doing. Commands that can fail in no
other way are in ``USAGE_ONLY``.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import click

from tests.cli.command_tree import LEAVES, leaf_of

USAGE: Final = 2
USAGE_ONLY: Final = frozenset({"completion", "proof spec"})
"""They read nothing, ask nobody and write nothing."""


def codes(files: Iterable[Path]) -> dict[str, set[int]]:
    """Which exit codes of each command a passing test has asserted."""
    found: defaultdict[str, set[int]] = defaultdict(set)
    for file in files:
        for line in file.read_text().splitlines():
            entry = json.loads(line)
            name = leaf_of(entry["words"])
            if name is not None:
                found[name].add(entry["exit"])
    return found


def missing(found: dict[str, set[int]]) -> list[str]:
    """What no test has done, a line each."""
    lines = []
    for name in LEAVES:
        of = found.get(name, set())
        lines += [] if 0 in of else [f"{name}: no test runs it to its success"]
        failures = of - {0} if name in USAGE_ONLY else of - {0, USAGE}
        lines += [] if failures else [f"{name}: no test runs it to a failure"]
    return lines


def main(arguments: list[str]) -> int:
    """The check; returns the exit code."""
    files = [Path(argument) for argument in arguments]
    absent = [str(file) for file in files if not file.is_file()]
    if absent or not files:
        click.echo(f"nothing was written by {', '.join(absent) or 'any run'}: `make test sim e2e` first", err=True)
        return 1
    lines = missing(codes(files))
    for line in lines:
        click.echo(line, err=True)
    click.echo(f"{len(LEAVES)} commands, {len(lines)} missing")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
