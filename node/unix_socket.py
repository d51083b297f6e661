"""Unix sockets that only the right users can open: their mode is set before their name exists.

``fchmod`` on the unbound socket decides the mode of the name that ``bind`` makes (Linux). Changing the process's umask
instead would reach files that other threads make in the same moment.
"""

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """A short name of a socket, as long as this lasts: its own may exceed the 107 bytes allowed. Raises ``OSError``."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def bound(path: Path, mode: int) -> socket.socket:
    """A socket bound to ``path`` with ``mode``; one left there by a killed process is replaced. Raises ``OSError``."""
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        path.unlink()
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(made.fileno(), mode)
        with short_path(path) as name:
            made.bind(name)
    except OSError:
        made.close()
        raise
    return made
