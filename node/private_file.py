"""Files that only their owner may read: created complete or not at all, read only when nobody else can (DESIGN §3)."""

import os
import secrets
import stat
from pathlib import Path
from typing import Final

from ledger.errors import OperatorError

FILE_BYTES_MAX: Final = 4_096
MOVED_FILE: Final = "MOVED"
"""Its presence in a directory of keys says that the validator has gone to another machine (``node.moving``)."""


def create_private(path: Path, text: str) -> None:
    """Create the file durably, mode 0600. Raises ``OperatorError`` KEY_EXISTS or KEY_UNWRITABLE; never overwrites."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = _written_beside(path, text)
        try:
            os.link(beside, path)
        finally:
            beside.unlink()
        sync_directory(path.parent)
    except FileExistsError as error:
        raise OperatorError(
            "KEY_EXISTS",
            f"there is a key at {path} already",
            "a key is never overwritten: it may be the only copy",
            "use it, or move it away first",
        ) from error
    except OSError as error:
        raise _unwritable(path, error) from error


def replace_private(path: Path, text: str) -> None:
    """Put another text of the same content in the place of ``path``, durably. Raises ``OperatorError``."""
    try:
        replace_durably(path, text)
    except OSError as error:
        raise _unwritable(path, error) from error


def replace_durably(path: Path, text: str) -> None:
    """The same of any file that is its owner's alone. Raises ``OSError``."""
    _written_beside(path, text).replace(path)
    sync_directory(path.parent)


def read_private(path: Path, what: str = "key") -> str:
    """The text of the file. ``what`` names it in errors.

    Raises ``OperatorError``: KEY_MISSING, KEY_UNREADABLE, KEY_EXPOSED, KEY_MALFORMED.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise OperatorError(
            "KEY_MISSING", f"there is no {what} at {path}", "", "run `huzhu init` or `huzhu keys new`"
        ) from error
    except OSError as error:
        raise OperatorError(
            "KEY_UNREADABLE", f"the {what} {path} cannot be opened", str(error), "check its owner"
        ) from error
    try:
        status = os.fstat(descriptor)  # of the file opened, not of a name that may be replaced meanwhile
        if not stat.S_ISREG(status.st_mode):
            raise malformed(path, "it is not a regular file")
        if status.st_mode & 0o077:
            raise OperatorError(
                "KEY_EXPOSED",
                f"others can use the {what} {path} (mode {stat.S_IMODE(status.st_mode):04o})",
                "it must belong to its owner alone",
                f"chmod 600 {path}, and think about who may have read it",
            )
        raw = os.read(descriptor, FILE_BYTES_MAX + 1)
    except OSError as error:
        raise OperatorError(
            "KEY_UNREADABLE", f"the {what} {path} cannot be read", str(error), "check the disk"
        ) from error
    finally:
        os.close(descriptor)
    if len(raw) > FILE_BYTES_MAX:
        raise malformed(path, f"it is longer than {FILE_BYTES_MAX} bytes")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise malformed(path, "it is not text") from error


def malformed(path: Path, why: str) -> OperatorError:
    """A file whose content is not what its name promises."""
    return OperatorError("KEY_MALFORMED", f"{path} is not a key file", why, "restore it from your backup of the keys")


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable. Raises ``OSError``."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _written_beside(path: Path, text: str) -> Path:
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        beside.unlink()
        raise
    return beside


def _unwritable(path: Path, error: OSError) -> OperatorError:
    return OperatorError(
        "KEY_UNWRITABLE", f"the key {path} cannot be written", str(error), "check the directory and the disk"
    )
