"""The signing log on disk: the one adapter of ``consensus.log``'s port for node and signer (CONSENSUS §3).

Rules of this file

* A record is durable when ``fsync`` has returned behind it; only then is its position reported. Appends that wait while
  an fsync runs share the next one (group commit). Writing and syncing happen in one thread of the log's own.
* ``ENOSPC`` on a write truncates the file to the last durable offset: nothing is reported, so nothing is sent; the same
  bytes are written again when there is room. Any other error, and *every* error of fsync, is final: after a failed
  fsync the kernel may have dropped the pages it could not write, and a second fsync would lie. The process ends.
* The directory is synced when the file comes into being and when it is replaced.
* A rotation writes what is still needed into a new file and renames it over the old one, only at a moment when the
  newest synced batch of the database names exactly the old file's end; so that position stays on the new chain.
* A torn tail is cut off at the start; damage in the middle, a missing or foreign file, or a log that has lost what the
  database remembers of it, is an ``OperatorError``. A lock file keeps a second process away from the same record.
"""

import errno
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from consensus.log import START, Decoded, Position, carried, decode_log, encode_batch
from consensus.records import DecidedRecord, FirstRecord, Record
from ledger.errors import InvariantViolation, OperatorError

from .files import Files, SystemFiles

LOG_FILE: Final = "signing.log"
LOCK_FILE: Final = "signing.lock"
ROTATE_BYTES: Final = 16 << 20
"""The file is replaced above this; it is read whole at a start, which must stay quick."""
WAITING_BYTES_MAX: Final = 64 << 20
"""More than this waiting for a full disk ends the process."""
_NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT)


def create_log(directory: Path, first: FirstRecord, files: Files | None = None) -> None:
    """Write a new signing log that holds only ``first``: whole and durable, or not at all.

    Raises ``OperatorError`` LOG_EXISTS, LOG_FAILED.
    """
    files = files or SystemFiles()
    path = directory / LOG_FILE
    if path.exists():
        raise OperatorError(
            "LOG_EXISTS",
            f"there is a signing log at {path} already",
            "it is the only memory of what this validator has signed",
            "start the node; to declare it lost: `huzhu start --record-lost`",
        )
    data, _ = encode_batch([first], START, START.sequence)
    try:
        files.close(_replace(files, path, data))
    except OSError as error:
        raise _failed(path, error) from error


def _replace(files: Files, path: Path, data: bytes) -> int:
    """Put a new file with ``data`` in the place of ``path``, durably; its descriptor. Raises ``OSError``."""
    beside = path.with_suffix(".new")
    files.remove(beside)
    with _room():
        descriptor = files.create(beside)
    try:
        _write_all(files, descriptor, data)
        files.fsync(descriptor)
        files.replace(beside, path)
        files.fsync_directory(path.parent)
    except OSError:
        files.close(descriptor)
        raise
    return descriptor


def open_log(
    directory: Path,
    *,
    chain_id: bytes,
    known: Position,
    files: Files | None = None,
    rotate_bytes: int = ROTATE_BYTES,
) -> tuple["VoteLog", Decoded]:
    """Take the lock, read the log, cut a torn tail off; the log and what it held.

    ``known`` is the position that the database's newest batch names. Raises ``OperatorError``: LOG_LOCKED, LOG_MISSING,
    LOG_FAILED, LOG_DAMAGED, LOG_FOREIGN, LOG_ROLLED_BACK.
    """
    files = files or SystemFiles()
    path = directory / LOG_FILE
    try:
        lock = files.lock(directory / LOCK_FILE)
    except BlockingIOError as error:
        raise OperatorError(
            "LOG_LOCKED",
            f"the signing log {path} is in use",
            "two nodes with one validator key would sign against each other",
            "stop the other node that runs on this home directory",
            exit_code=1,
        ) from error
    except OSError as error:
        raise _failed(path, error) from error
    try:
        decoded = _read(files, path)
        _check(path, decoded, chain_id, known)
        descriptor = files.open(path)
        if decoded.torn:
            files.truncate(descriptor, decoded.offset)
            files.fsync(descriptor)
        files.remove(path.with_suffix(".new"))
    except OSError as error:
        files.close(lock)
        raise _failed(path, error) from error
    except OperatorError:
        files.close(lock)
        raise
    log = VoteLog(path, files, decoded, known=known, descriptor=descriptor, lock=lock, rotate_bytes=rotate_bytes)
    return log, decoded


def _read(files: Files, path: Path) -> Decoded:
    try:
        return decode_log(files.read(path))
    except FileNotFoundError as error:
        raise OperatorError(
            "LOG_MISSING",
            f"there is no signing log at {path}",
            "without it this validator could contradict what it has signed before",
            "restore the file; if it is gone for good: `huzhu start --record-lost`",
            exit_code=6,
        ) from error


def _check(path: Path, decoded: Decoded, chain_id: bytes, known: Position) -> None:
    first = next((record for record in decoded.records if isinstance(record, FirstRecord)), None)
    if first is None or first.chain_id != chain_id:
        of = "nothing" if first is None else f"the chain {first.chain_id.hex()}"
        raise OperatorError(
            "LOG_FOREIGN", f"will not use the signing log {path}", f"it belongs to {of}", "check the home directory"
        )
    if known != START and not decoded.holds(known):
        raise OperatorError(
            "LOG_ROLLED_BACK",
            f"the signing log {path} is older than the database",
            f"record {known.sequence}, which the database remembers, is not in it",
            "put the newest log back; if it is gone for good: `huzhu start --record-lost`",
            exit_code=6,
        )


def _failed(path: Path, error: OSError) -> OperatorError:
    return OperatorError(
        "LOG_FAILED",
        f"the signing log {path} failed",
        str(error),
        "check the disk; the node signs nothing that is not safely on it",
        exit_code=1,
    )


def _disk_full(path: Path, why: str) -> OperatorError:
    return OperatorError("DISK_FULL", f"the disk of {path} is full", why, "free some space", exit_code=1)


class _DiskFullError(OSError):
    """A write found no room. (Never raised for an fsync: what that error left on the disk nobody knows.)"""


@contextmanager
def _room() -> Iterator[None]:
    """What finds no room within may be tried again. Raises ``_DiskFullError`` for that, ``OSError`` as it comes."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise _DiskFullError(error.errno, str(error)) from error
        raise


def _write_all(files: Files, descriptor: int, data: bytes) -> None:
    with _room():
        files.write(descriptor, data)


@dataclass(slots=True)
class _Waiting:
    """Bytes to write, and where the chain stands behind them."""

    data: bytes
    position: Position


@dataclass(slots=True)
class _Job:
    """What the thread does next; ``count`` appends are done with it (0: a rotation)."""

    work: Callable[[bytes], None]
    data: bytes
    position: Position
    count: int


class VoteLog:
    """The open log. One owner appends, in one thread; ``close`` it after its last use."""

    def __init__(
        self,
        path: Path,
        files: Files,
        decoded: Decoded,
        *,
        known: Position,
        descriptor: int,
        lock: int,
        rotate_bytes: int = ROTATE_BYTES,
    ) -> None:
        self.path = path
        self._files = files
        self._descriptor = descriptor
        self._lock = lock
        self._state = threading.Condition()
        self._waiting: deque[_Waiting] = deque()
        self._rotation: _Waiting | None = None
        self._closing = False
        self._stalling = False
        self._failure: OperatorError | None = None
        self._thread: threading.Thread | None = None
        self._end = self._durable = decoded.end
        self.sync_s = 0.0
        """How long the newest fsync took, for the metrics."""
        self._offset = decoded.offset
        self._records: list[Record] = list(decoded.records)
        self._batched = known
        self._rotate_bytes = rotate_bytes
        self._on_durable: Callable[[Position], None] = _nobody
        self._on_stall: Callable[[OperatorError], None] = _nobody

    # ---- the owner's side ----

    @property
    def end(self) -> Position:
        """The last record appended."""
        return self._end

    @property
    def durable(self) -> Position:
        """The last record known to be on the disk: what a batch of the database stores."""
        return self._durable

    def start(
        self,
        post: Callable[[Callable[[], None]], object],
        on_durable: Callable[[Position], None],
        on_stall: Callable[[OperatorError], None],
    ) -> None:
        """Begin to write. ``post`` runs a function in the owner's thread, in order.

        ``on_durable(position)``: everything up to there is on the disk. ``on_stall(error)``: DISK_FULL (then call
        ``retry`` from time to time), or LOG_FAILED, which is final.
        """
        self._on_durable = on_durable
        self._on_stall = on_stall
        self._thread = threading.Thread(target=self._run, args=(post,), name="signing-log", daemon=True)
        self._thread.start()

    def append(self, records: Iterable[Record]) -> Position:
        """Begin to write the records, together and in order; the position of the last one.

        Raises ``OperatorError`` when the log has failed, or too much waits for a full disk.
        """
        new = list(records)
        data, end = encode_batch(new, self._end, self._durable.sequence)
        with self._state:
            if self._failure is not None:
                raise self._failure
            if self._stalling and sum(len(item.data) for item in self._waiting) + len(data) > WAITING_BYTES_MAX:
                raise _disk_full(self.path, "too much of the signing log waits for it")
            self._waiting.append(_Waiting(data, end))
            self._end = end
            self._state.notify()
        self._records.extend(new)
        return end

    def append_now(self, records: Iterable[Record]) -> Position:
        """Write and sync the records here and now; the log was not started. Raises ``OperatorError`` LOG_FAILED."""
        new = list(records)
        data, end = encode_batch(new, self._end, self._durable.sequence)
        try:
            self._write(data)
        except OSError as error:
            raise _failed(self.path, error) from error
        self._end = self._durable = end
        self._records.extend(new)
        return end

    def batched(self, position: Position) -> None:
        """The database's newest synced batch names this position."""
        self._batched = position

    def compact(self, epoch: int, height: int) -> None:
        """Everything up to ``height`` is decided and its batch synced: forget it at the next rotation, maybe now."""
        self._records = carried(self._records, DecidedRecord(epoch, height))
        if self._offset < self._rotate_bytes or not self._end == self._durable == self._batched:
            return
        data, end = encode_batch(self._records, self._end, self._durable.sequence)
        with self._state:
            self._rotation = _Waiting(data, end)
            self._end = end
            self._state.notify()

    def retry(self) -> None:
        """Try again to write what a full disk has refused."""
        with self._state:
            self._stalling = False
            self._state.notify()

    def close(self) -> None:
        """Write and sync what waits, end the thread, give the lock back."""
        with self._state:
            self._closing = True
            self._state.notify()
        if self._thread is not None:
            self._thread.join()
        self._files.close(self._descriptor)
        self._files.close(self._lock)

    # ---- the thread ----

    def _run(self, post: Callable[[Callable[[], None]], object]) -> None:
        while (job := self._next_job()) is not None:
            try:
                job.work(job.data)
            except _DiskFullError as full:
                if not self._stalled():
                    return
                post(partial(self._on_stall, _disk_full(self.path, str(full))))
                continue
            except OSError as error:
                failure = _failed(self.path, error)
                with self._state:
                    self._failure = failure
                post(partial(self._on_stall, failure))
                return
            with self._state:
                self._done(job)
            post(partial(self._report, job.position))

    def _next_job(self) -> "_Job | None":
        """Wait for something to write; ``None`` when the log is being closed and nothing waits."""
        with self._state:
            while self._stalling or (self._rotation is None and not self._waiting):
                if self._closing:
                    return None
                self._state.wait()
            if self._rotation is not None:
                return _Job(self._rotate, self._rotation.data, self._rotation.position, 0)
            data = b"".join(item.data for item in self._waiting)
            return _Job(self._write, data, self._waiting[-1].position, len(self._waiting))

    def _done(self, job: "_Job") -> None:
        if not job.count:
            self._rotation = None
        for _ in range(job.count):
            self._waiting.popleft()

    def _stalled(self) -> bool:
        """The disk is full: wait for ``retry``; false when the log is being closed, and what waits is given up."""
        with self._state:
            self._stalling = True
            return not self._closing

    def _write(self, data: bytes) -> None:
        try:
            _write_all(self._files, self._descriptor, data)
        except _DiskFullError:
            self._files.truncate(self._descriptor, self._offset)
            raise
        since_s = time.perf_counter()
        self._files.fsync(self._descriptor)
        self.sync_s = time.perf_counter() - since_s
        self._offset += len(data)

    def _rotate(self, data: bytes) -> None:
        descriptor = _replace(self._files, self.path, data)
        self._files.close(self._descriptor)
        self._descriptor = descriptor
        self._offset = len(data)

    def _report(self, position: Position) -> None:
        self._durable = position
        self._on_durable(position)


def _nobody(_: object) -> None:
    raise InvariantViolation("the signing log reports before it was started")
