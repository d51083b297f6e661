"""What processes use, from /proc: CPU time and memory of a node together with its verifier processes."""

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """The process and everything it started that runs now."""
    found = [pid]
    for at in found:
        try:
            text = Path(f"/proc/{at}/task/{at}/children").read_text()
        except OSError:  # it has ended
            continue
        found.extend(int(child) for child in text.split())
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """Seconds of CPU that these processes have used so far, children reaped included."""
    ticks = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
        except OSError:  # it has ended
            continue
        fields = text.rpartition(")")[2].split()
        ticks += sum(int(field) for field in fields[11:15])
    return ticks * TICK_S


def own_cpu_s() -> float:
    """Seconds of CPU of this process: the load generator's share."""
    return time.process_time()


def machine_busy_s() -> float:
    """Seconds of CPU used by everything on this machine since it started."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    ticks = [int(field) for field in fields]
    return (sum(ticks[:8]) - ticks[3] - ticks[4]) * TICK_S


def memory_bytes(pids: Iterable[int], name: str = "VmRSS") -> int:
    """Resident memory of these processes; ``RssAnon`` counts only what is not files."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except OSError:  # it has ended
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
    return total * 1_024
