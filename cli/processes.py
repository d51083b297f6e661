"""Node processes of a local network: started like an operator would, told from strangers, ended for certain.

A process is named by its id *and* the time it started, for ids are used again: ``end`` never signals anything else.
Each node leads a process group of its own, so that what it started ends with it.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from select import select
from types import FrameType
from typing import Final

from ledger.errors import OperatorError

END_SECONDS: Final = 10.0
"""A node that has not ended so long after SIGTERM is killed."""


@dataclass(frozen=True, slots=True)
class ProcessId:
    """One process, for as long as the machine runs: its id and its start in clock ticks since boot."""

    pid: int
    started: int


def identify(pid: int) -> ProcessId | None:
    """The process that now has this id; ``None`` when there is none, or only its unreaped remains."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else ProcessId(pid, int(fields[19]))


def is_running(process: ProcessId) -> bool:
    """Whether exactly this process runs."""
    return identify(process.pid) == process


def command() -> list[str]:
    """How to run ``huzhu``: the console script of this environment, else the module."""
    script = Path(sys.executable).with_name("huzhu")
    return [str(script)] if script.exists() else [sys.executable, "-m", "cli.main"]


def start_node(home: Path, log: Path) -> ProcessId:
    """Run ``huzhu start --home HOME`` in the background, its output appended to ``log``."""
    arguments = [*command(), "start", "--home", str(home)]
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    pid = os.posix_spawn(
        arguments[0],
        arguments,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    found = identify(pid)
    if found is None:
        reap(pid)
        raise ended(home, log)
    return found


def ended(home: Path, log: Path) -> OperatorError:
    """The error for a node that ended by itself: why stands at the end of its log."""
    return OperatorError("NODE_ENDED", f"the node in {home} has ended", last_lines(log), f"read {log}", exit_code=1)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Within the block SIGTERM acts like Ctrl-C, so that whoever started nodes can end them."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def reap(pid: int) -> None:
    """Collect an ended child, so that its id is free; not ours or not ended is fine."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def kill(process: ProcessId) -> None:
    """SIGKILL, at once."""
    _signal(process, signal.SIGKILL)
    wait_ended([process], END_SECONDS)


def end(processes: list[ProcessId]) -> None:
    """Ask all to end, wait, kill what is left together with everything it started. Idempotent."""
    ours = [process for process in processes if is_running(process)]
    for process in ours:
        _signal(process, signal.SIGTERM)
    for process in wait_ended(ours, END_SECONDS):
        _signal(process, signal.SIGKILL)
    wait_ended(ours, END_SECONDS)
    for process in ours:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # the group outlives its leader only if something was left behind


def wait_ended(processes: list[ProcessId], seconds: float) -> list[ProcessId]:
    """Wait until all have ended; those that have not after ``seconds``."""
    deadline = time.monotonic() + seconds
    left = [process for process in processes if is_running(process)]
    for process in left:
        _wait_one(process, max(0.0, deadline - time.monotonic()))
    for process in processes:
        reap(process.pid)
    return [process for process in left if is_running(process)]


def _wait_one(process: ProcessId, seconds: float) -> None:
    """Sleep in the kernel until the process ends: a pidfd becomes readable then."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        if is_running(process):
            select([descriptor], [], [], seconds)
    finally:
        os.close(descriptor)


def _signal(process: ProcessId, number: signal.Signals) -> None:
    if is_running(process):
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)


def last_lines(log: Path, count: int = 3) -> str:
    """The end of a log, for an error message."""
    try:
        lines = log.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return " | ".join(line.strip() for line in lines[-count:])
