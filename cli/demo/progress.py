"""How far the demo is: a bar on a terminal, a line every few seconds elsewhere, always on stderr."""

import sys
import time
from types import TracebackType
from typing import Final, Self

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

LINE_SECONDS: Final = 5.0


class Steps:
    """Counts half-months. Use as a context manager."""

    def __init__(self, total: int, *, quiet: bool = False) -> None:
        self._total = total
        self._done = 0
        self._quiet = quiet
        self._begun = self._said = time.monotonic()
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> Self:
        if not self._quiet and sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task("starting", total=self._total)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def note(self, what: str) -> None:
        """Something that happened."""
        if self._bar is not None:
            self._bar.console.print(what)
        elif not self._quiet:
            click.echo(what, err=True)

    def done(self, what: str, detail: str) -> None:
        """One more half-month."""
        self._done += 1
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, description=f"{what}  {detail}")
            return
        now = time.monotonic()
        if not self._quiet and (now - self._said >= LINE_SECONDS or self._done == self._total):
            self._said = now
            rate = self._done / max(now - self._begun, 0.001)
            click.echo(f"{what}  {self._done}/{self._total}  {rate:.2f} half-months/s  {detail}", err=True)
