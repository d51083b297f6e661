"""Copying a whole database key by key: what ``backup`` makes of a running node, and ``restore`` of a backup.

Rules of this file

* The source is a snapshot or a stopped database, so the copy is one state; the target is a new database that is moved
  into place only when it is complete and durable.
* A digest runs over every key and value in order; the manifest names it, and ``restore`` computes it again.
* Memory is bounded by one batch. Beside a running node the copy rests as long as it works (``PACE``): it has time, the
  next vote has not.
"""

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ledger.errors import OperatorError
from ledger.store import Batch, Reader

from .storage import MARKER_KEY, open_store

BATCH_BYTES: Final = 4 << 20
PACE: Final = 1.0
"""Seconds of rest for each second of work, beside a running node."""
LAST_KEY: Final = b"\xff" * 16

Progress = Callable[[int, int], None]
"""Keys and bytes copied so far."""


def copy_database(
    source: Reader,
    target: Path,
    chain_id: bytes,
    *,
    changed: Batch | None = None,
    pace: float = 0.0,
    stop: threading.Event | None = None,
    progress: Progress = lambda keys, size: None,
) -> str:
    """Copy every key of ``source`` into a new database at ``target``; the digest of what was read, in hexadecimal.

    ``changed`` is written over the copy at the end. Raises ``OperatorError`` COPY_STOPPED when ``stop`` is set,
    TARGET_EXISTS, DISK_FULL and what reading the source raises; then nothing is left at ``target``.
    """
    if target.exists():
        raise OperatorError("TARGET_EXISTS", f"there is something at {target} already", "", "name another place")
    stop = stop or threading.Event()
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        digest = _copy(source, partial, chain_id, changed, pace, stop, progress)
        partial.rename(target)
        sync_directory(target.parent)
    except OSError as error:
        raise OperatorError("COPY_FAILED", f"cannot write {target}", str(error), "check the directory") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return digest


def _copy(
    source: Reader,
    partial: Path,
    chain_id: bytes,
    changed: Batch | None,
    pace: float,
    stop: threading.Event,
    progress: Progress,
) -> str:
    copy = open_store(partial, create=True, chain_id=chain_id)
    running, keys, size = hashlib.sha256(), 0, 0
    try:
        batch, waiting, since_s = Batch(), 0, time.perf_counter()
        for key, value in source.scan(b"", LAST_KEY):
            running.update(len(key).to_bytes(4, "big") + key + len(value).to_bytes(4, "big") + value)
            if key != MARKER_KEY:
                batch.put(key, value)
            keys, waiting = keys + 1, waiting + len(key) + len(value)
            if waiting >= BATCH_BYTES:
                copy.write(batch)
                size, batch, waiting = size + waiting, Batch(), 0
                progress(keys, size)
                if stop.wait(pace * (time.perf_counter() - since_s)):
                    raise OperatorError("COPY_STOPPED", "the copy was stopped", "", "start it again", exit_code=1)
                since_s = time.perf_counter()
        copy.write(batch)
        if changed is not None:
            copy.write(changed)
        progress(keys, size + waiting)
    finally:
        copy.close()
    return running.hexdigest()


def sync_directory(path: Path) -> None:
    """Make a directory's entries durable. Raises ``OSError``."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
