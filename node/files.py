"""The few file operations the signing log needs, as a port: the real one, and in tests one that records or fails.

Rules of this file: every method raises ``OSError`` as the system does and hides nothing. ``write`` writes everything or
raises; whoever uses the port decides what an error means.
"""

import fcntl
import os
from pathlib import Path
from typing import Protocol


class Files(Protocol):
    """File operations; descriptors are integers."""

    def read(self, path: Path) -> bytes: ...

    def create(self, path: Path) -> int:
        """Create a new file, mode 0600, for appending. Raises ``FileExistsError``."""
        ...

    def open(self, path: Path) -> int:
        """Open an existing file for appending."""
        ...

    def write(self, descriptor: int, data: bytes) -> None: ...

    def fsync(self, descriptor: int) -> None: ...

    def truncate(self, descriptor: int, length: int) -> None: ...

    def close(self, descriptor: int) -> None: ...

    def replace(self, source: Path, target: Path) -> None:
        """Rename, replacing the target."""
        ...

    def remove(self, path: Path) -> None:
        """Unlink; a file that is not there is fine."""
        ...

    def fsync_directory(self, path: Path) -> None: ...

    def lock(self, path: Path) -> int:
        """Create or open ``path`` and take its exclusive lock until closed. Raises ``BlockingIOError`` when held."""
        ...


class SystemFiles:
    """The operating system's."""

    def read(self, path: Path) -> bytes:
        return path.read_bytes()

    def create(self, path: Path) -> int:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def open(self, path: Path) -> int:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def write(self, descriptor: int, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    def fsync(self, descriptor: int) -> None:
        os.fsync(descriptor)

    def truncate(self, descriptor: int, length: int) -> None:
        os.ftruncate(descriptor, length)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        source.replace(target)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def fsync_directory(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def lock(self, path: Path) -> int:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor
