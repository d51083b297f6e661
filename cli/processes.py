"""Node processes of a local network: started like an operator would, told from strangers, ended for certain.

A process is named by its id *and* the time it started, for ids are used again: ``end`` never signals anything else.
Each node leads a process group of its own, so that what it started ends with it. What belongs to a network carries its
directory in the environment (``MARKER``): so ``strays`` finds it even when whoever started it was killed before the
process id was written down.
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
from typing import Any, Final

from ledger.errors import OperatorError

MARKER: Final = "_HUZHU_TESTNET"
"""Environment variable of every process of a network: the network's directory."""
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


def start_node(home: Path, log: Path, network: Path) -> ProcessId:
    """Run ``huzhu start --home HOME`` in the background, its output appended to ``log``."""
    pid = spawn([*command(), "start", "--home", str(home)], log, network)
    found = identify(pid)
    if found is None:
        reap(pid)
        raise ended(home, log)
    return found


def spawn(arguments: list[str], log: Path, network: Path, stdout: int | None = None) -> int:
    """Run a program of the network in ``network`` in a session of its own; its process id.

    Its output is appended to ``log``; ``stdout`` is a descriptor that gets its standard output instead.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions: list[tuple[Any, ...]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, str(log), flags, 0o600),
        (os.POSIX_SPAWN_DUP2, 2 if stdout is None else stdout, 1),
    ]
    environ = {**os.environ, MARKER: str(network)}
    return os.posix_spawn(arguments[0], arguments, environ, file_actions=actions, setsid=True)


def strays(network: Path) -> list[ProcessId]:
    """Every process that carries the mark of the network in ``network``, recorded or not."""
    mark, found = f"{MARKER}={network}\0".encode(), []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            environ = b"\0" + (entry / "environ").read_bytes() + b"\0"
        except OSError:  # it has ended, or belongs to somebody else
            continue
        process = identify(int(entry.name)) if b"\0" + mark in environ else None
        if process is not None:
            found.append(process)
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
    kill_all([process])


def kill_all(processes: list[ProcessId]) -> None:
    """SIGKILL to all before the first is waited for."""
    for process in processes:
        _signal(process, signal.SIGKILL)
    wait_ended(processes, END_SECONDS)


def pause(process: ProcessId) -> None:
    """SIGSTOP to the process and everything it started: it keeps its sockets and says nothing."""
    _signal_group(process, signal.SIGSTOP)


def resume(process: ProcessId) -> None:
    """SIGCONT."""
    _signal_group(process, signal.SIGCONT)


def is_paused(process: ProcessId) -> bool:
    """Whether exactly this process is stopped by SIGSTOP."""
    try:
        state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state == "T" and is_running(process)


def end(processes: list[ProcessId]) -> None:
    """Ask all to end, wait, kill what is left together with everything it started. Idempotent."""
    ours = [process for process in processes if is_running(process)]
    for process in ours:
        _signal(process, signal.SIGTERM)
        resume(process)  # one that is paused cannot hear
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


def _signal_group(process: ProcessId, number: signal.Signals) -> None:
    if is_running(process):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)


def last_lines(log: Path, count: int = 3) -> str:
    """The end of a log, for an error message."""
    try:
        lines = log.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return " | ".join(line.strip() for line in lines[-count:])
