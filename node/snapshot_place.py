"""Where a database that is being joined lies until it is whole, and how it takes the place of the node's own.

Rules of this file

* The new database grows in ``ledger.joining`` beside ``ledger``; a kill leaves it there, to go on with. When it is
  whole and closed it is renamed to ``ledger.joined``: the name says that it may be used, and nothing else does.
* ``take_over`` runs before the node opens its database. Each step is one rename; killed between two of them, the next
  start does the rest. What was there before is removed last.
"""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ledger.errors import OperatorError

DATABASE_DIRECTORY: Final = "ledger"
JOINING_DIRECTORY: Final = "ledger.joining"
JOINED_DIRECTORY: Final = "ledger.joined"
REPLACED_DIRECTORY: Final = "ledger.replaced"
SORTING_DIRECTORY: Final = "ledger.sorting"
"""Scratch files while indexes are rebuilt."""


def joining_path(data: Path) -> Path:
    """Where the new database grows."""
    return data / JOINING_DIRECTORY


def finish(data: Path) -> None:
    """The new database is whole and closed: name it so. Raises ``OperatorError`` STORAGE_FAILED."""
    _guarded(data, lambda: _rename(data / JOINING_DIRECTORY, data / JOINED_DIRECTORY))


def take_over(data: Path) -> bool:
    """Put a whole new database into the place of the node's own; whether there was one. Raises ``OperatorError``."""
    joined, own, replaced = (data / name for name in (JOINED_DIRECTORY, DATABASE_DIRECTORY, REPLACED_DIRECTORY))
    found = joined.is_dir()

    def move() -> None:
        if found:
            if own.is_dir():
                _check_unused(own)
                if replaced.is_dir():
                    shutil.rmtree(replaced)
                _rename(own, replaced)
            _rename(joined, own)
        if replaced.is_dir() and own.is_dir():
            shutil.rmtree(replaced)

    _guarded(data, move)
    return found


def forget(data: Path) -> None:
    """Remove a database that was never finished. Raises ``OperatorError`` STORAGE_FAILED."""

    def remove() -> None:
        for path in (joining_path(data), data / SORTING_DIRECTORY):
            if path.is_dir():
                shutil.rmtree(path)

    _guarded(data, remove)


def _check_unused(database: Path) -> None:
    """Try LevelDB's own lock. Raises ``OperatorError`` LOCKED_DATABASE while a node holds it."""
    with (database / "LOCK").open("ab") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OperatorError(
                "LOCKED_DATABASE",
                f"the database in {database} is in use",
                "",
                "stop the other node that runs on this home directory",
                exit_code=1,
            ) from error


def _rename(source: Path, target: Path) -> None:
    source.rename(target)
    descriptor = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _guarded(data: Path, action: Callable[[], None]) -> None:
    try:
        action()
    except OSError as error:
        raise OperatorError(
            "STORAGE_FAILED",
            f"the new database cannot be put into place in {data}",
            str(error),
            "check the disk and its permissions, then start again: it goes on where it stopped",
            exit_code=1,
        ) from error
