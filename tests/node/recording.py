"""File operations that are written down, and that fail or are left out when a test says so."""

import errno
from collections.abc import Callable
from pathlib import Path

from node.files import SystemFiles


class RecordingFiles(SystemFiles):
    """The real operations, each noted in ``events``; ``skip`` leaves an operation out, ``fail`` makes it raise."""

    def __init__(self, note: Callable[[str], None] | None = None) -> None:
        self.events: list[str] = []
        self.note = note or self.events.append
        self.skip: set[str] = set()
        self.fail: dict[str, int] = {}
        """Operation -> errno, until it is taken out."""
        self.partial_bytes = 0
        """What a failing write has written before it fails."""

    def _allowed(self, operation: str) -> bool:
        code = self.fail.get(operation)
        if code is not None:
            self.note(f"{operation}: {errno.errorcode[code]}")
            raise OSError(code, errno.errorcode[code])
        if operation in self.skip:
            return False
        self.note(operation)
        return True

    def write(self, descriptor: int, data: bytes) -> None:
        if "write" in self.fail and self.partial_bytes:
            super().write(descriptor, data[: self.partial_bytes])
        if self._allowed("write"):
            super().write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        if self._allowed("fsync"):
            super().fsync(descriptor)

    def truncate(self, descriptor: int, length: int) -> None:
        if self._allowed("truncate"):
            super().truncate(descriptor, length)

    def replace(self, source: Path, target: Path) -> None:
        if self._allowed("replace"):
            super().replace(source, target)

    def fsync_directory(self, path: Path) -> None:
        if self._allowed("fsync_directory"):
            super().fsync_directory(path)
