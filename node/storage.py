"""The ledger's store on disk: one LevelDB. The only module that imports plyvel.

Rules of this file
- `write` is one LevelDB batch with `sync`: atomic, and on the disk when it returns. A block is one `write`.
- The settings are those that reached the figures of DESIGN §6 (LEDGER §1): no compression (rows are hashes and keys),
  16 MB files (a file handle and a bloom filter for each, so few), bloom filter (most lookups of an index miss).
- Every read verifies LevelDB's checksums, but for the values that carry their own (`SEALED`): a checksum over the whole
  block doubles the time of a get. Opening is paranoid: without that, LevelDB silently drops the rest of a damaged log,
  and with it committed blocks. So a damaged disk is an error, never a wrong or older row.
- A write that failed is the last one through this handle: LevelDB may have written a part of the batch into its log and
  would write the next one behind it, where a later opening takes it for damage or loses it. Reads go on; the store must
  be closed and opened again, which cuts the part off.
- A marker binds the database to a format version and a chain: a node never opens another chain's data.
- One writer thread, any number of reader threads; each reader takes its own snapshots. The owner closes the store after
  its readers have stopped.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import plyvel

from ledger.errors import InvariantViolation, OperatorError
from ledger.store import META, SEALED, Batch

FORMAT_VERSION = 2
"""2: pages have amendments (decision 0025)."""
MARKER_KEY = META + b"format"
CHAIN_ID_BYTES = 32
_MARKER_MAGIC = b"huzhu-store"

FILE_BYTES = 16 << 20
WRITE_BUFFER_BYTES = 64 << 20
"""A busy block is a batch of about 15 MB: what four of them change of the same nodes is compacted once (at 5,000,000
members that writes 11 KB a contribution, with 32 MB 17). Two such buffers at most lie in memory."""
BLOCK_CACHE_BYTES = 64 << 20
BLOOM_BITS = 10
"""Bits a key; a lookup of a missing key reads the disk once in 100 times."""
FILES_MAX = 1_000
REOPENING_BYTES_MIN = 4 << 20

T = TypeVar("T")


def open_store(path: Path, *, create: bool, chain_id: bytes, block_cache_bytes: int = BLOCK_CACHE_BYTES) -> LevelStore:
    """Open the LevelDB in the directory `path`, which belongs to the chain `chain_id` (32 bytes).

    With `create`, a missing or empty directory becomes a new store, durably; one that exists is opened as it is.
    Raises `OperatorError`: MISSING_DATABASE, LOCKED_DATABASE, CORRUPT_DATABASE, FOREIGN_DATABASE, UNSUPPORTED_DATABASE,
    DISK_FULL, STORAGE_FAILED.
    """
    if len(chain_id) != CHAIN_ID_BYTES:
        raise InvariantViolation(f"a chain id has {CHAIN_ID_BYTES} bytes, not {len(chain_id)}")
    is_new = _check_directory(path, create)
    database = _guarded(
        path,
        lambda: plyvel.DB(
            str(path),
            create_if_missing=is_new,
            compression=None,
            paranoid_checks=True,
            max_file_size=FILE_BYTES,
            write_buffer_size=WRITE_BUFFER_BYTES,
            lru_cache_size=block_cache_bytes,
            bloom_filter_bits=BLOOM_BITS,
            max_open_files=FILES_MAX,
        ),
    )
    store = LevelStore(path, database)
    try:
        _check_marker(store, path, chain_id, create)
    except OperatorError:
        store.close()
        raise
    if is_new:
        _sync_directory(path)
    return store


class LevelSnapshot:
    """A state of the database that no later write changes."""

    def __init__(self, path: Path, snapshot: Any) -> None:
        self._path = path
        self._snapshot = snapshot

    def get(self, key: bytes) -> bytes | None:
        try:
            value: bytes | None = self._snapshot.get(key, verify_checksums=key[:1] not in SEALED)
        except (plyvel.Error, RuntimeError) as error:
            raise _blame(self._path, error) from error
        return value

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return _get_many(self._path, self._snapshot, keys)

    def scan(self, start: bytes, stop: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        return _scan(self._path, self._snapshot, start, stop, reverse)

    def close(self) -> None:
        self._snapshot.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class LevelStore:
    """`ledger.store.Store` over LevelDB; made by `open_store`."""

    def __init__(self, path: Path, database: Any) -> None:
        self.path = path
        self._database = database
        self._failure: OperatorError | InvariantViolation | None = None

    def get(self, key: bytes) -> bytes | None:
        try:
            value: bytes | None = self._database.get(key, verify_checksums=key[:1] not in SEALED)
        except (plyvel.Error, RuntimeError) as error:
            raise _blame(self.path, error) from error
        return value

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return _get_many(self.path, self._database, keys)

    def scan(self, start: bytes, stop: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        return _scan(self.path, self._database, start, stop, reverse)

    def write(self, batch: Batch) -> None:
        """One synced LevelDB batch. Raises `OperatorError` DISK_FULL or STORAGE_FAILED: then nothing was written.

        After such an error every further write raises it again, until the store was closed and opened.
        """
        if self._failure is not None:
            raise self._failure
        try:
            with self._database.write_batch(sync=True, transaction=True) as writing:
                put, delete = writing.put, writing.delete
                for key, value in batch.changes.items():
                    if value is None:
                        delete(key)
                    else:
                        put(key, value)
        except (plyvel.Error, RuntimeError) as error:
            self._failure = _blame(self.path, error)
            raise self._failure from error

    def snapshot(self) -> LevelSnapshot:
        return LevelSnapshot(self.path, _guarded(self.path, self._database.snapshot))

    def close(self) -> None:
        """Give the lock back. Idempotent."""
        self._database.close()

    def approximate_size(self) -> int:
        """Bytes that the database's files take on the disk, its log included."""
        return self._files_bytes("")

    def _files_bytes(self, ending: str) -> int:
        total = 0
        with os.scandir(self.path) as entries:
            for entry in entries:
                if not entry.name.endswith(ending):
                    continue
                try:
                    total += entry.stat().st_size
                except FileNotFoundError:  # a compaction has just removed it
                    continue
        return total

    def reopening_bytes(self) -> int:
        """Free disk that closing and opening need: LevelDB turns its log into tables, with a new manifest."""
        return 2 * self._files_bytes(".log") + REOPENING_BYTES_MIN

    def size_between(self, start: bytes, stop: bytes) -> int:
        """About how many bytes of the tables on the disk the keys from `start` to `stop` take; not the log."""
        size: int = _guarded(self.path, lambda: self._database.approximate_size(start, stop))
        return size

    def compact(self, start: bytes = b"\x00", stop: bytes = b"\xff" * 16) -> None:
        """Free what deletes and overwrites have left behind between two keys. May take minutes.

        The ends are always named: without them LevelDB through plyvel leaves the lower levels as they are.
        """
        _guarded(self.path, lambda: self._database.compact_range(start=start, stop=stop))


def _get_many(path: Path, source: Any, keys: Sequence[bytes]) -> list[bytes | None]:
    get, verify = source.get, any(key[:1] not in SEALED for key in keys)
    try:
        return [get(key, verify_checksums=verify) for key in keys]
    except (plyvel.Error, RuntimeError) as error:
        raise _blame(path, error) from error


def _scan(path: Path, source: Any, start: bytes, stop: bytes, reverse: bool) -> Iterator[tuple[bytes, bytes]]:
    """LevelDB takes the iterator's state when it is made, here; the generators below only walk it.

    A reverse iterator gets no `start`: plyvel 1.5 answers nothing when the range holds one key only, the start itself.
    """
    if start >= stop:
        return iter(())
    bounds = {"stop": stop, "reverse": True} if reverse else {"start": start, "stop": stop}
    walk = _walk(path, _guarded(path, lambda: source.iterator(**bounds, verify_checksums=True)))
    return itertools.takewhile(lambda pair: pair[0] >= start, walk) if reverse else walk


def _walk(path: Path, walk: Any) -> Iterator[tuple[bytes, bytes]]:
    try:
        yield from walk
    except (plyvel.Error, RuntimeError) as error:
        raise _blame(path, error) from error
    finally:
        walk.close()


# ---- opening -------------------------------------------------------------------------------------------------------


def _check_directory(path: Path, create: bool) -> bool:
    """Whether a new database is to be made there; the directory exists afterwards."""
    if (path / "CURRENT").is_file():
        return False
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise _foreign(path, "it holds something that is not a database of this program")
    if not create:
        raise OperatorError(
            "MISSING_DATABASE", f"there is no database in {path}", "", "check the home directory, or run `huzhu init`"
        )
    try:
        for missing in reversed([place for place in (path, *path.parents) if not place.exists()]):
            missing.mkdir(exist_ok=True)
            _sync_directory(missing.parent)
    except OSError as error:
        raise _blame(path, error) from error
    return True


def _check_marker(store: LevelStore, path: Path, chain_id: bytes, create: bool) -> None:
    """Compare the marker, or write it into a database that is still empty (a creation may have been cut short)."""
    marker = store.get(MARKER_KEY)
    wanted = _MARKER_MAGIC + bytes((FORMAT_VERSION,)) + chain_id
    if marker == wanted:
        return
    if marker is None:
        if next(store.scan(b"", b"\xff" * 16), None) is not None:
            raise _foreign(path, "it has no marker of this program")
        if not create:
            raise OperatorError(
                "MISSING_DATABASE", f"the database in {path} was never finished", "", "run `huzhu init` again"
            )
        store.write(Batch({MARKER_KEY: wanted}))
        return
    if not marker.startswith(_MARKER_MAGIC) or len(marker) != len(wanted):
        raise _foreign(path, "its marker is not of this program")
    if marker[len(_MARKER_MAGIC)] != FORMAT_VERSION:
        raise OperatorError(
            "UNSUPPORTED_DATABASE",
            f"the database in {path} has format {marker[len(_MARKER_MAGIC)]}, this program writes {FORMAT_VERSION}",
            "it was written by another version",
            "use that version; or `huzhu reset`, one machine after the other: the chain comes again from the peers",
        )
    raise _foreign(path, f"it belongs to the chain {marker[-CHAIN_ID_BYTES:].hex()}, not to {chain_id.hex()}")


def _sync_directory(path: Path) -> None:
    """Make a directory's entries durable: without it a new database may vanish with the power."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# ---- errors --------------------------------------------------------------------------------------------------------


def _guarded(path: Path, action: Callable[[], T]) -> T:
    try:
        return action()
    except (plyvel.Error, RuntimeError) as error:
        raise _blame(path, error) from error


def _foreign(path: Path, why: str) -> OperatorError:
    return OperatorError(
        "FOREIGN_DATABASE", f"will not use {path}", why, "check the home directory and the genesis file"
    )


_INTEGRITY = 6
_FAILURE = 1

SYMPTOMS: tuple[tuple[tuple[str, ...], str, str, str, int], ...] = (
    (
        ("No space left on device", "Disk quota exceeded"),
        "DISK_FULL",
        "the disk of {path} is full",
        "free some space and start again; nothing of the unfinished block was kept",
        _FAILURE,
    ),
    (
        ("already held by process", "Resource temporarily unavailable"),
        "LOCKED_DATABASE",
        "the database in {path} is in use",
        "stop the other node that runs on this home directory",
        _FAILURE,
    ),
    (
        ("Corruption", "checksum mismatch", "corrupted", "CURRENT file does not end with newline", "No such file"),
        "CORRUPT_DATABASE",
        "the database in {path} is damaged",
        "check the disk; then `huzhu reset`, and the node fetches every block again from its peers",
        _INTEGRITY,
    ),
)
"""LevelDB tells its errors apart by text: words in the message, code, what, what next, exit code."""


def _blame(path: Path, error: Exception) -> OperatorError | InvariantViolation:
    """Who has to act on an error of LevelDB."""
    text = str(error)
    if isinstance(error, RuntimeError):
        return InvariantViolation(f"the store in {path} was used after it was closed: {text}")
    for words, code, what, following, exit_code in SYMPTOMS:
        if any(word in text for word in words) or (
            code == "CORRUPT_DATABASE" and isinstance(error, plyvel.CorruptionError)
        ):
            return OperatorError(code, what.format(path=path), text, following, exit_code=exit_code)
    return OperatorError(
        "STORAGE_FAILED",
        f"the database in {path} failed",
        text,
        "check the disk and its permissions",
        exit_code=_FAILURE,
    )
