"""The key-value port of the ledger: what a store must offer, an overlay of uncommitted changes, and a store in memory.

Rules of this file
- Pure: no I/O. The store on disk is `node.storage.LevelStore`; both stores pass the same contract test.
- Keys and values are bytes; keys are ordered as bytes compare (LevelDB's default order). An empty value is a value.
- `write` is atomic *and durable on return*. A block is exactly one `write`.
- A scan, like a snapshot, shows the state of the moment it was *asked for*: changes made while it runs are not seen. So
  `for key, _ in overlay.scan(...): overlay.delete(key)` is safe.

The first byte of a key names its space. The constants below are the only list of the spaces; nobody else invents one.
"""

from __future__ import annotations

import weakref
from bisect import bisect_left, insort
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from itertools import islice
from types import TracebackType
from typing import Final, Protocol, Self

from .errors import InvariantViolation

META = b"m"
"""The node's own facts: the marker of format and chain, the newest height, pruning floors."""
ROWS = b"r"
"""Rows of the tables: tag (1) ‖ page number (8, big-endian) -> 16 rows with their leaf hashes (`ledger.tables`)."""
AMENDMENTS = b"a"
"""Rows of a page that have changed since the page was written: tag (1) ‖ page number (8) (`ledger.pages`)."""
NODES = b"n"
"""Inner nodes of the tables: tag (1) ‖ level (1) ‖ index (8) -> 16 child hashes (`ledger.tables`)."""
LENGTHS = b"l"
"""One value: length and root of every table (`ledger.tables`)."""
INDEXES = b"i"
"""Derived indexes: name (1) ‖ key. Never hashed, never accepted from a peer, rebuilt from rows."""
UNDO = b"u"
"""What the last blocks overwrote: height (8) ‖ ..., for `rollback`."""
BLOCKS = b"b"
"""Blocks, headers, certificates and receipts by height; where each transaction stands, by its id."""

SPACES = (META, ROWS, AMENDMENTS, NODES, LENGTHS, INDEXES, UNDO, BLOCKS)

SEALED = frozenset((ROWS, AMENDMENTS, NODES, LENGTHS))
"""Spaces whose values carry their own checksum (`ledger.pages`): a store need not check them a second time."""


def index_key(name: bytes, key: bytes) -> bytes:
    """The key of `key` in the derived index `name` (exactly one byte, chosen by the index's owner)."""
    if len(name) != 1:
        raise InvariantViolation(f"the name of an index is one byte, not {name!r}")
    return INDEXES + name + key


def prefix_stop(prefix: bytes) -> bytes:
    """The least key above every key that begins with `prefix`: `scan(prefix, prefix_stop(prefix))` is all of them."""
    head = prefix.rstrip(b"\xff")
    if not head:
        raise InvariantViolation("no key lies above a prefix of nothing but ff bytes")
    return head[:-1] + bytes((head[-1] + 1,))


class Batch:
    """The *final* value of every changed key; None deletes. Later calls for one key replace earlier ones."""

    __slots__ = ("changes",)

    def __init__(self, changes: dict[bytes, bytes | None] | None = None) -> None:
        self.changes: dict[bytes, bytes | None] = {} if changes is None else changes

    def put(self, key: bytes, value: bytes) -> None:
        self.changes[key] = value

    def delete(self, key: bytes) -> None:
        self.changes[key] = None

    def update(self, other: Batch) -> None:
        """Lay `other` over this batch."""
        self.changes.update(other.changes)

    def __len__(self) -> int:
        return len(self.changes)


class Reader(Protocol):
    """Anything that can be read: a store, a snapshot, an overlay."""

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`, or None."""
        ...

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The value of each key, as `get` gives it: thousands are asked for with one way through all readers."""
        ...

    def scan(self, start: bytes, stop: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Keys from `start` (inclusive) to `stop` (exclusive) with their values, in order or in reverse."""
        ...


class Snapshot(Reader, Protocol):
    """A state that no later write changes. Close it: an open snapshot keeps old data from being freed."""

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Store(Reader, Protocol):
    """A key-value store with one writer."""

    def write(self, batch: Batch) -> None:
        """Apply the whole batch or nothing of it; it is durable when this returns."""
        ...

    def snapshot(self) -> Snapshot: ...

    def close(self) -> None: ...


class _SortedKeys:
    """The keys of a dict in order, brought up to date only when somebody scans."""

    __slots__ = ("_fresh", "_keys")

    SINGLY_MAX = 32
    """Up to this many new keys are inserted one by one; more are appended and sorted together."""

    def __init__(self) -> None:
        self._keys: list[bytes] = []
        self._fresh: list[bytes] = []

    def add(self, key: bytes) -> None:
        """Add a key that is not here yet."""
        self._fresh.append(key)

    def remove(self, key: bytes) -> None:
        self._settle()
        del self._keys[bisect_left(self._keys, key)]

    def between(self, start: bytes, stop: bytes) -> list[bytes]:
        """A copy of the keys in [start, stop)."""
        self._settle()
        return self._keys[bisect_left(self._keys, start) : bisect_left(self._keys, stop)]

    def _settle(self) -> None:
        if len(self._fresh) <= self.SINGLY_MAX:
            for key in self._fresh:
                insort(self._keys, key)
        else:
            self._keys.extend(self._fresh)
            self._keys.sort()
        self._fresh.clear()


class Remembering:
    """A reader of a state that does not change meanwhile, which asks the one below once for each key; bounded."""

    BYTES_MAX: Final = 64 << 20
    """Of values. More is forgotten and, if asked for again, read again."""

    __slots__ = ("_base", "_bytes", "_known")

    def __init__(self, base: Reader) -> None:
        self._base = base
        self._bytes = 0
        self._known: dict[bytes, bytes | None] = {}

    def get(self, key: bytes) -> bytes | None:
        known = self._known
        if key in known:
            return known[key]
        value = known[key] = self._base.get(key)
        self._took(_KNOWN_KEY_BYTES + (len(value) if value is not None else 0))
        return value

    def _took(self, size: int) -> None:
        self._bytes += size
        if self._bytes > self.BYTES_MAX:
            self._known, self._bytes = {}, 0

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Not remembered: so many at a time are new keys, which nobody asks for again (``Overlay.add``)."""
        return self._base.get_many(keys)

    def expect(self, keys: Iterable[bytes]) -> None:
        """Read what will be asked for, in the order of the keys, which is quicker than singly."""
        fresh = sorted({key for key in keys if key not in self._known})
        values = self._base.get_many(fresh)
        self._known.update(zip(fresh, values, strict=True))
        self._took(_KNOWN_KEY_BYTES * len(fresh) + sum([len(value) for value in values if value is not None]))

    def scan(self, start: bytes, stop: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        return self._base.scan(start, stop, reverse=reverse)


_KNOWN_KEY_BYTES: Final = 150
"""About what a remembered key takes beside its value."""


class _Unchanged(Enum):
    """In place of the old value of a key that had not been changed before."""

    IT = 0


_UNCHANGED: Final = _Unchanged.IT


class Overlay:
    """Uncommitted changes over a reader; itself a reader, so overlays can be stacked.

    get, put and delete cost one dict operation; the order of the changed keys is computed only when a scan needs it.
    Between ``savepoint`` and ``settle`` it keeps what each change has replaced, so that ``restore`` can take it back.
    """

    __slots__ = ("_added", "_base", "_changes", "_keys", "_log", "_ordered")

    def __init__(self, base: Reader) -> None:
        self._base = base
        self._changes: dict[bytes, bytes | None] = {}
        self._added: list[Mapping[bytes, bytes]] = []
        """What was put by ``add``: of these keys the base holds nothing."""
        self._keys: list[bytes] = []
        """The first ``_ordered`` keys of ``_changes``, in order."""
        self._ordered = 0
        self._log: list[tuple[bytes, bytes | _Unchanged | None] | Mapping[bytes, bytes]] | None = None
        """Each changed key with what stood there; or what was added at once."""

    def get(self, key: bytes) -> bytes | None:
        changes = self._changes
        if key in changes:
            return changes[key]
        return self._base.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        if self._changes.keys().isdisjoint(keys):
            return self._base.get_many(keys)
        return [self.get(key) for key in keys]

    def expect(self, keys: Iterable[bytes]) -> None:
        """These keys will be asked for: the memory below, if there is one, reads them in one go."""
        if isinstance(self._base, Remembering):
            self._base.expect(keys)

    def put(self, key: bytes, value: bytes) -> None:
        if self._log is not None:
            self._log.append((key, self._changes.get(key, _UNCHANGED)))
        self._changes[key] = value

    def add(self, entries: Mapping[bytes, bytes]) -> None:
        """Put new keys: the caller has just found that the base holds none of them."""
        if not self._changes.keys().isdisjoint(entries):
            raise InvariantViolation("keys that were changed already are not new")
        if self._log is not None:
            self._log.append(entries)
        self._changes.update(entries)
        self._added.append(entries)

    def delete(self, key: bytes) -> None:
        if self._log is not None:
            self._log.append((key, self._changes.get(key, _UNCHANGED)))
        self._changes[key] = None

    def apply(self, batch: Batch) -> None:
        """Lay a batch over these changes. Not after a savepoint."""
        if self._log is not None:
            raise InvariantViolation("a whole batch laid over changes that may be taken back")
        self._changes.update(batch.changes)

    def savepoint(self) -> int:
        """Changes from now on can be taken back to this point, until ``settle``."""
        if self._log is None:
            self._log = []
        return len(self._log)

    def restore(self, savepoint: int) -> None:
        """Take back every change since the savepoint."""
        log, changes = self._log, self._changes
        if log is None:
            raise InvariantViolation("changes that are settled cannot be taken back")
        for entry in reversed(log[savepoint:]):
            if not isinstance(entry, tuple):
                self._added.pop()
                for key in entry:
                    del changes[key]
                continue
            key, old = entry
            if isinstance(old, _Unchanged):
                del changes[key]
            else:
                changes[key] = old
        del log[savepoint:]
        if self._ordered > len(changes):  # what is new stands last, so only then was some of it put in order
            self._keys = [key for key in self._keys if key in changes]
            self._ordered = len(changes)

    def settle(self) -> None:
        """Keep all changes; forget what they replaced."""
        self._log = None

    def scan(self, start: bytes, stop: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        below = self._base.scan(start, stop, reverse=reverse)
        keys = self._between(start, stop)
        if not keys:
            return below
        if reverse:
            keys.reverse()
        changed = [(key, self._changes[key]) for key in keys]
        return _merge(below, changed, reverse)

    def _between(self, start: bytes, stop: bytes) -> list[bytes]:
        keys, fresh = self._keys, len(self._changes) - self._ordered
        if fresh:
            keys.extend(islice(reversed(self._changes), fresh))
            keys.sort()
            self._ordered += fresh
        return keys[bisect_left(keys, start) : bisect_left(keys, stop)]

    def batch(self) -> Batch:
        """A copy of the changes, ready to be written."""
        return Batch(dict(self._changes))

    def undo(self, but: Container[bytes] = ()) -> Batch:
        """The batch that would take these changes back: the base's value of every changed key.

        ``but`` is left out, if it is not of what was added.
        """
        base = self._base
        old: dict[bytes, bytes | None] = {}
        for entries in self._added:
            old.update(dict.fromkeys(entries))
        old.update([(key, base.get(key)) for key in self._changes if key not in old and key not in but])
        return Batch(old)

    def __len__(self) -> int:
        return len(self._changes)


def _merge(
    below: Iterator[tuple[bytes, bytes]], changed: list[tuple[bytes, bytes | None]], reverse: bool
) -> Iterator[tuple[bytes, bytes]]:
    """Two ordered sources as one: a changed key hides the same key below, and a deleted one is left out."""
    at, end = 0, len(changed)
    for key, value in below:
        while at < end and (changed[at][0] > key if reverse else changed[at][0] < key):
            fresh = changed[at][1]
            if fresh is not None:
                yield changed[at][0], fresh
            at += 1
        if at < end and changed[at][0] == key:
            fresh = changed[at][1]
            if fresh is not None:
                yield key, fresh
            at += 1
        else:
            yield key, value
    for changed_key, fresh in changed[at:]:
        if fresh is not None:
            yield changed_key, fresh


class MemoryStore:
    """A store in memory for tests and the simulator. One thread; "durable" means as long as the object lives."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._keys = _SortedKeys()
        self._snapshots: weakref.WeakSet[MemorySnapshot] = weakref.WeakSet()
        self._closed = False

    def get(self, key: bytes) -> bytes | None:
        self._check_open()
        return self._values.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        self._check_open()
        return list(map(self._values.get, keys))

    def scan(self, start: bytes, stop: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        return self.snapshot().scan(start, stop, reverse=reverse)

    def write(self, batch: Batch) -> None:
        self._check_open()
        snapshots = list(self._snapshots)
        for key, value in batch.changes.items():
            old = self._values.get(key)
            for snapshot in snapshots:
                snapshot.keep(key, old)
            if value is not None:
                self._values[key] = value
                if old is None:
                    self._keys.add(key)
            elif old is not None:
                del self._values[key]
                self._keys.remove(key)

    def snapshot(self) -> MemorySnapshot:
        self._check_open()
        snapshot = MemorySnapshot(self)
        self._snapshots.add(snapshot)
        return snapshot

    def close(self) -> None:
        self._closed = True

    def keys_between(self, start: bytes, stop: bytes) -> list[bytes]:
        """The present keys in [start, stop), in order."""
        self._check_open()
        return self._keys.between(start, stop)

    def _check_open(self) -> None:
        if self._closed:
            raise InvariantViolation("the store is closed")


class MemorySnapshot:
    """The store's live values, hidden by what writes have overwritten since: cheap to take, whatever the size."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._kept: dict[bytes, bytes | None] = {}
        self._closed = False

    def keep(self, key: bytes, old: bytes | None) -> None:
        """The store is about to overwrite `key`; the first old value is the snapshot's."""
        if not self._closed:
            self._kept.setdefault(key, old)

    def get(self, key: bytes) -> bytes | None:
        self._check_open()
        if key in self._kept:
            return self._kept[key]
        return self._store.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self.get(key) for key in keys]

    def scan(self, start: bytes, stop: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        self._check_open()
        keys = self._store.keys_between(start, stop)
        gone = [key for key, old in self._kept.items() if old is not None and start <= key < stop]
        if gone:
            keys = sorted({*keys, *gone})
        if reverse:
            keys.reverse()
        return self._values_of(keys)

    def _values_of(self, keys: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
        for key in keys:
            value = self.get(key)
            if value is not None:
                yield key, value

    def close(self) -> None:
        self._closed = True
        self._kept.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise InvariantViolation("the snapshot is closed")
