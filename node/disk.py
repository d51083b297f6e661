"""The floor of free disk: below it the node stops signing, cleanly, and resumes above it (NODE §2).

A node that runs until its disk is full may lose the record it must not lose. So it stops voting while there is still
room to commit what others decide. It resumes a tenth above the floor, or it would flutter.

A disk may be full all the same: the floor is 0, or another program was quicker. A write that was refused says how much
it needs to go on (``refused``); until that is free there is no room, whatever the floor says.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ledger.errors import OperatorError

CHECK_SECONDS: Final = 2.0


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
        self._needed_bytes = 0

    def refused(self, needed_bytes: int) -> None:
        """A write has found the disk full: there is no room before ``needed_bytes`` are free."""
        self._needed_bytes = max(self._needed_bytes, needed_bytes)
        self.free_bytes = self._measure()
        self.has_room = False

    def check(self) -> bool:
        """Measure again; returns whether ``has_room`` changed."""
        self.free_bytes = self._measure()
        enough = self._floor_bytes
        if not self.has_room:
            enough = max(self._floor_bytes + self._floor_bytes // 10, self._needed_bytes)
        before, self.has_room = self.has_room, self.free_bytes >= enough
        if self.has_room:
            self._needed_bytes = 0
        return before != self.has_room

    @property
    def shortage(self) -> str | None:
        """Why there is no room, in a sentence; None: there is."""
        if self.has_room:
            return None
        if self._needed_bytes:
            return f"the disk is full: {self.free_bytes:,} bytes are free, {self._needed_bytes:,} are needed"
        return f"the disk is nearly full: {self.free_bytes:,} bytes are free, the floor is {self._floor_bytes:,}"

    async def run(self, on_change: Callable[[bool], None], *, every_s: float = CHECK_SECONDS) -> None:
        """Check at each interval, until cancelled; ``on_change`` is told when signing must stop or may resume."""
        while True:
            await asyncio.sleep(every_s)
            if self.check():
                on_change(self.has_room)
