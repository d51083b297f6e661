"""How commands speak: text for people, one JSON object for programs, and the same errors for both (NODE §3).

Exit codes are stable: 0 ok, 1 failure, 2 usage, 3 configuration, 4 not reachable, 5 not ready or measurement unstable,
6 integrity. An error says what, why and what next; with ``--output json`` stdout is one object
``{"error": {"code", "what", "why", "next"}}``. Progress and hints go to stderr and never into the result.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final, TypeVar

import click

from ledger.errors import OperatorError

TEXT: Final = "text"
JSON: Final = "json"

_MS: Final = re.compile("[ _]ms$")
_MOMENTS_MS: Final = (10**12, 253_402_300_800_000)

F = TypeVar("F", bound=Callable[..., Any])


class Exit(Enum):
    """What the exit code of a command means."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    CONFIGURATION = 3
    NOT_REACHABLE = 4
    NOT_READY = 5
    INTEGRITY = 6


@dataclass(slots=True)
class Console:
    """Where a command's result and error go. One per run, in click's context."""

    mode: str = TEXT

    def result(self, data: dict[str, Any], text: str) -> None:
        """The command's result: ``data`` for programs, ``text`` for people."""
        click.echo(json.dumps(data, ensure_ascii=False) if self.mode == JSON else text)

    def error(self, error: OperatorError) -> None:
        """The command's failure."""
        if self.mode == JSON:
            parts = {"code": error.code, "what": error.what, "why": error.why, "next": error.next}
            click.echo(json.dumps({"error": parts}, ensure_ascii=False))
            return
        lines = [f"{click.style('error', fg='red', bold=True)} {error.code}: {error.what}"]
        lines += [f"  why:  {error.why}"] if error.why else []
        lines += [f"  next: {error.next}"] if error.next else []
        click.echo("\n".join(lines), err=True)

    def note(self, text: str) -> None:
        """Something a person may want to know meanwhile; never part of the result."""
        if self.mode == TEXT:
            click.echo(text, err=True)


def _choose(context: click.Context, _parameter: click.Parameter, mode: str | None) -> None:
    if mode is not None:
        console(context).mode = mode


def output_option(command: F) -> F:
    """Gives a command ``--output text|json``."""
    return click.option(
        "--output",
        type=click.Choice([TEXT, JSON]),
        expose_value=False,
        is_eager=True,
        callback=_choose,
        help="Text for people or one JSON object for programs.  [default: text]",
    )(command)


def console(context: click.Context | None = None) -> Console:
    """The console of the running command."""
    found = (context or click.get_current_context()).find_object(Console)
    return found if found is not None else (context or click.get_current_context()).ensure_object(Console)


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns padded to their widest cell; numbers to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max([len(heading), *(len(row[at]) for row in cells)]) for at, heading in enumerate(headings)]
    right = [bool(rows) and isinstance(rows[0][at], int) for at in range(len(headings))]

    def line(row: Sequence[str]) -> str:
        parts = (cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(row, widths, right, strict=True))
        return "  ".join(parts).rstrip()

    return "\n".join([line(headings), *(line(row) for row in cells)])


def listing(values: Mapping[str, object]) -> str:
    """``name  value`` lines with the values aligned and as people read them (``shown``)."""
    names = {name: _MS.sub("", name) if is_moment(name, value) else name for name, value in values.items()}
    width = max(map(len, names.values()), default=0)
    return "\n".join(f"{names[name].ljust(width)}  {shown(name, value)}" for name, value in values.items())


def shown(name: str, value: object) -> object:
    """A value as people read it: a moment in UTC, a fraction with few digits, a list by its items, nothing as ``-``."""
    if value is None:
        return "-"
    if isinstance(value, int) and is_moment(name, value):
        return moment(value)
    if isinstance(value, float):
        return round(value, 3) if abs(value) >= 1 else float(f"{value:.3g}")
    if isinstance(value, list) and all(isinstance(item, str | int) for item in value):
        return ", ".join(str(item) for item in value) or "-"
    return value


def is_moment(name: str, value: object) -> bool:
    """Whether it is a time on the calendar, and no duration: milliseconds since 1970, from 2001 to 9999."""
    return isinstance(value, int) and _MS.search(name) is not None and _MOMENTS_MS[0] <= value < _MOMENTS_MS[1]


def moment(ms: int) -> str:
    """A time in milliseconds since 1970 as UTC, to the second."""
    return datetime.fromtimestamp(ms / 1_000, UTC).isoformat(timespec="seconds")


def rmb(fen: int) -> str:
    """An amount for people: fen as RMB with two digits."""
    sign = "-" if fen < 0 else ""
    return f"{sign}{abs(fen) // 100:,}.{abs(fen) % 100:02}"
