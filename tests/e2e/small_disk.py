"""A small disk for one node: a tmpfs over its data directory, in a mount namespace that the test makes.

A process that only waits for the end of its input keeps the namespace; the node is started inside it with ``nsenter``.
Outside, the same files are found below ``/proc/PID/root``. When the test ends, however it ends, the pipe closes, the
holder goes, and the kernel takes the mount away: nothing is left, and nothing outside ever saw it.
"""

import errno
import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Final, Self

MIB: Final = 1 << 20
BALLAST: Final = "ballast"
_SCRIPT: Final = (
    'cp -a "$1/." "$2" && mount -t tmpfs -o mode=0700,size="$3" tmpfs "$1" && cp -a "$2/." "$1" && echo ready && cat'
)


class SmallDisk:
    """A disk of ``size_bytes`` for the directory ``place``, with what lies in it now. Close it last."""

    def __init__(self, place: Path, size_bytes: int) -> None:
        """Raises ``AssertionError`` when this machine gives no mount namespace: the test fails, it does not skip."""
        aside = place.with_name(f"{place.name}.aside")
        aside.mkdir()
        user = [] if os.geteuid() == 0 else ["--map-root-user"]
        script = ["sh", "-c", _SCRIPT, "sh", str(place), str(aside), str(size_bytes)]
        self._holder = subprocess.Popen(
            ["unshare", "--mount", *user, *script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        if self._holder.stdout is None or self._holder.stderr is None or self._holder.stdout.readline() != b"ready\n":
            why = self._holder.communicate()[1].decode()
            raise AssertionError(f"no mount namespace with a small tmpfs can be made here: {why}")
        shutil.rmtree(aside)
        self._user = ["--user", "--preserve-credentials"] if user else []
        self.size_bytes = size_bytes
        self.place = Path(f"/proc/{self._holder.pid}/root{place}")
        """The directory as it is inside, seen from here."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def prefix(self) -> list[str]:
        """What stands before a command that is to run with the small disk."""
        return ["nsenter", "--target", str(self._holder.pid), "--mount", *self._user, "--"]

    @property
    def free_bytes(self) -> int:
        status = os.statvfs(self.place)
        return status.f_bavail * status.f_frsize

    def fill(self, leave_bytes: int) -> None:
        """Take all but ``leave_bytes``, really written."""
        descriptor = os.open(self.place / BALLAST, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            while (more := self.free_bytes - leave_bytes) > 0:
                os.write(descriptor, bytes(min(more, MIB)))
        except OSError as error:
            if error.errno != errno.ENOSPC:  # the node was quicker: it is full, that is what was asked for
                raise
        finally:
            os.close(descriptor)

    def empty(self) -> None:
        """Give the room back."""
        (self.place / BALLAST).unlink(missing_ok=True)

    def close(self) -> None:
        """End the namespace; its processes must have ended. Idempotent."""
        self._holder.communicate()
