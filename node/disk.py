"""The floor of free disk: below it the node stops signing, cleanly, and resumes above it (NODE §2).

A node that runs until its disk is full may lose the record it must not lose. So it stops voting while there is still
room to commit what others decide. It resumes a tenth above the floor, or it would flutter.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ledger.errors import OperatorError

CHECK_SECONDS: Final = 5.0


def free_bytes(path: Path) -> int:
    """Bytes an ordinary user may still write below ``path``. Raises ``OperatorError`` DISK_UNREADABLE."""
    try:
        status = os.statvfs(path)
    except OSError as error:
        raise OperatorError(
            "DISK_UNREADABLE", f"cannot read the free space of {path}", str(error), "check the data directory"
        ) from error
    return status.f_bavail * status.f_frsize


class DiskGuard:
    """Whether there is room to sign. ``measure`` gives the free bytes; ``run`` belongs to the node's TaskGroup."""

    def __init__(self, floor_bytes: int, measure: Callable[[], int]) -> None:
        self._floor_bytes = floor_bytes
        self._measure = measure
        self.free_bytes = measure()
        self.has_room = self.free_bytes >= floor_bytes

    def check(self) -> bool:
        """Measure again; returns whether ``has_room`` changed."""
        self.free_bytes = self._measure()
        enough = self._floor_bytes if self.has_room else self._floor_bytes + self._floor_bytes // 10
        before, self.has_room = self.has_room, self.free_bytes >= enough
        return before != self.has_room

    async def run(self, on_change: Callable[[bool], None], *, every_s: float = CHECK_SECONDS) -> None:
        """Check at each interval, until cancelled; ``on_change`` is told when signing must stop or may resume."""
        while True:
            await asyncio.sleep(every_s)
            if self.check():
                on_change(self.has_room)
