"""``testnet logs``: the end of the nodes' logs, and what is added to them; woken by the kernel, not by a clock."""

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from select import select
from time import monotonic
from typing import Final

import click

from ledger.errors import OperatorError

from ..output import console, output_option
from ..processes import ended_by_signals
from .choosing import chosen, directory_option, finished, names_argument

LINES_MAX: Final = 100_000
TAIL_BYTES_MAX: Final = 64 << 20
_IN_MODIFY: Final = 0x2
_EVENT: Final = struct.Struct("iIII")


@dataclass
class Tail:
    """One log, read from where it was left."""

    name: str
    path: Path
    offset: int = 0
    rest: bytes = b""

    def last(self, count: int) -> list[str]:
        """The last ``count`` lines; from now on ``fresh`` gives what follows them."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES_MAX))
            data = file.read()
            self.offset = file.tell()
        whole, _, self.rest = data.rpartition(b"\n")
        lines = whole.decode("utf-8", "replace").splitlines()
        return lines[-count:] if count else []

    def fresh(self) -> list[str]:
        """Lines finished since the last call."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = self.rest + file.read(TAIL_BYTES_MAX)
                self.offset = file.tell()
        except FileNotFoundError:
            return []
        whole, newline, self.rest = data.rpartition(b"\n")
        return whole.decode("utf-8", "replace").splitlines() if newline else []


@contextmanager
def _watching(paths: list[Path]) -> Iterator[int]:
    """A descriptor that becomes readable when one of the files grows (inotify)."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_CLOEXEC)
    try:
        for path in paths:
            if descriptor < 0 or libc.inotify_add_watch(descriptor, os.fsencode(path), _IN_MODIFY) < 0:
                why = os.strerror(ctypes.get_errno())
                raise OperatorError("LOGS_UNWATCHABLE", f"{path} cannot be followed", why, "leave --follow out")
        yield descriptor
    finally:
        if descriptor >= 0:
            os.close(descriptor)


@click.command()
@names_argument
@directory_option
@click.option("-n", "--lines", type=click.IntRange(0, LINES_MAX), default=20, show_default=True, help="Of each node.")
@click.option("--follow", is_flag=True, help="Go on with what is added, until Ctrl-C; json: an object a line.")
@click.option("--seconds", type=click.FloatRange(0.1, 86_400), default=None, help="Follow only for so long.")
@output_option
def logs(names: tuple[str, ...], directory: Path, lines: int, follow: bool, seconds: float | None) -> None:
    """The end of the nodes' logs; all nodes, or those that are named."""
    network = finished(directory)
    tails = [Tail(node.name, node.log) for node in chosen(network, names, not names)]
    if not follow:
        found = {tail.name: tail.last(lines) for tail in tails}
        shown = [f"{name} | {line}" for name, listed in found.items() for line in listed]
        console().result({"logs": found}, "\n".join(shown))
        return
    tails = [tail for tail in tails if tail.path.exists()]
    with ended_by_signals(), _watching([tail.path for tail in tails]) as descriptor:
        for tail in tails:
            _say(tail, tail.last(lines))
        _follow(tails, descriptor, seconds)


def _follow(tails: list[Tail], descriptor: int, seconds: float | None) -> None:
    deadline = None if seconds is None else monotonic() + seconds
    while True:
        left = None if deadline is None else max(0.0, deadline - monotonic())
        try:
            ready, _, _ = select([descriptor], [], [], left)
            if not ready:
                return
            os.read(descriptor, _EVENT.size * 256)
            for tail in tails:
                _say(tail, tail.fresh())
        except KeyboardInterrupt:
            return


def _say(tail: Tail, lines: list[str]) -> None:
    for line in lines:
        console().result({"node": tail.name, "line": line}, f"{tail.name} | {line}")
