"""What a rule sees: typed rows over the authenticated tables, derived indexes, and the block being executed.

Indexes (names in ``Index``) are derived from rows, written in the same batch, never hashed and never accepted from a
peer; ``node`` rebuilds them from rows when it must. A rule reads an index only to find a row.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Any, Final, TypeVar

from .codec import decode_own, encode
from .errors import InvariantViolation, TransactionRejected
from .protocol import OLDEST
from .rows import Row
from .staging import RowReader, StagedTables
from .store import Overlay, Reader, index_key, prefix_stop
from .table_writer import Tables
from .tables import MissingRow, Table, TableReader

R = TypeVar("R", bound=Row)
RowKey = tuple[Table, int]
_AT_A_TIME: Final = 256
"""Rows that are read and then decoded, while they are still in the processor's memory."""
_Savepoint = tuple[int, int, int]
"""How long the logs of rows, index entries and appended rows were."""


class Index(Enum):
    """Names of the derived indexes: key -> id, unless said otherwise. The row types they come from are in brackets."""

    prefix: bytes
    """What the store's keys of the index begin with."""

    def __init__(self, name: bytes) -> None:
        self.prefix = index_key(name, b"")

    ORGANISATION_KEY = b"o"
    """organisation key [Organisation]"""
    IDENTITY = b"i"
    """plan (4) ‖ first 10 bytes of the identity -> member ids, 5 bytes each, ascending [Member]"""
    COHORT = b"c"
    """plan (4) ‖ birth month (4) [Cohort]"""
    SETTLEMENT = b"s"
    """plan (4) ‖ period (4) [Settlement]"""
    VERSION = b"v"
    """plan (4) -> list of PlanVersion ids, 8 bytes each, ascending"""
    DEADLINE = b"d"
    """due (8) ‖ kind (1) ‖ id (8) -> empty [Plan, Claim, ...]"""
    OPEN_CLAIM = b"k"
    """member (8) -> his newest claim that is not refused, expired or withdrawn [Claim]"""
    DRAW = b"w"
    """draw (8) ‖ claim (8) -> empty [Claim waiting for a draw, ``claims.entries``]"""
    OPEN_DRAW = b"W"
    """draw (8) -> empty [Draw]"""
    PERIOD_CLAIMS = b"p"
    """plan (4) ‖ period (4) ‖ claim (8) -> empty [Claim noticed for the period]"""
    CLEARED = b"C"
    """plan (4) ‖ claim (8) -> empty [Claim in state CLEARED]"""
    REFERENCE = b"r"
    """payment or receipt reference -> id [Payment]"""
    COLLECTION = b"l"
    """plan (4) ‖ period (4) ‖ first id (8) -> collection [Collection not replaced]"""
    MEMBER_KEY = b"m"
    """member's own key -> member [MemberKey]"""
    MEMBER_KEY_ROWS = b"M"
    """member (8) -> list of MemberKey ids, 8 bytes each, ascending"""
    FINGERPRINT = b"f"
    """fingerprint -> list of Fingerprint ids"""
    JUROR = b"j"
    """member (8) -> juror [Juror]"""
    BALLOT = b"b"
    """dispute (8) ‖ juror (8) -> ballot [Ballot]"""
    CONTRADICTION = b"x"
    """seat (8) -> its newest contradiction [Contradiction]"""


def u32(*values: int) -> bytes:
    """Big-endian 4-byte integers, concatenated: parts of index keys."""
    return b"".join(value.to_bytes(4, "big") for value in values)


def u64(*values: int) -> bytes:
    """Big-endian 8-byte integers, concatenated."""
    return b"".join(value.to_bytes(8, "big") for value in values)


@dataclass(frozen=True, slots=True)
class BlockContext:
    """The block whose rules run: its place, its two times, its creator."""

    chain_id: bytes
    height: int
    time_ms: int
    """Consensus time."""
    ledger_time_ms: int
    """Consensus time + the clock's offset."""
    creator: bytes
    beacon: bytes
    version: int = OLDEST
    """Of the protocol: by its rules the block is executed (``protocol.rules_of``)."""


class StateReader:
    """Typed rows over any reader: a store, a snapshot, an overlay."""

    def __init__(self, reader: Reader, tables: RowReader | None = None) -> None:
        self.reader = reader
        self.tables: RowReader = tables if tables is not None else TableReader(reader)

    def find(self, kind: type[R], row_id: int) -> R | None:
        """The row, or ``None`` when the table is not that long."""
        if not 0 <= row_id < self.tables.length(kind.table):
            return None
        return decode_own(kind, self.tables.get(kind.table, row_id))

    def get(self, kind: type[R], row_id: int) -> R:
        """The row; raises ``MissingRow`` (an InvariantViolation) when there is none."""
        return decode_own(kind, self.tables.get(kind.table, row_id))

    def need(self, kind: type[R], row_id: int, code: str) -> R:
        """The row; raises ``TransactionRejected(code)`` when a client named one that does not exist."""
        row = self.find(kind, row_id)
        if row is None:
            raise TransactionRejected(code, f"id {row_id}")
        return row

    def rows(self, kind: type[R], start: int = 0, stop: int | None = None) -> Iterator[tuple[int, R]]:
        """(id, row) from ``start`` up to ``stop`` (exclusive; default the table's end), ascending."""
        end = self.tables.length(kind.table) if stop is None else stop
        for row_id, raw in self.tables.scan(kind.table, start, end):
            yield row_id, decode_own(kind, raw)

    def length(self, kind: type[Row]) -> int:
        """Rows in the table of ``kind``."""
        return self.tables.length(kind.table)

    def index_get(self, name: Index, key: bytes) -> bytes | None:
        """The value stored under ``key``, raw."""
        return self.reader.get(name.prefix + key)

    def index_id(self, name: Index, key: bytes) -> int | None:
        """The id stored under ``key`` (8 bytes, big-endian)."""
        raw = self.index_get(name, key)
        return None if raw is None else int.from_bytes(raw, "big")

    def index_scan(self, name: Index, prefix: bytes = b"", *, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """(key without the space's prefix, value) for every key with ``prefix``, ascending, from ``prefix + start``."""
        whole = name.prefix + prefix
        skip = len(whole) - len(prefix)
        for key, value in self.reader.scan(whole + start, prefix_stop(whole)):
            yield key[skip:], value


class State(StateReader):
    """The writable state of the block being executed. One owner: ``apply_block``.

    Rules write as they go, also before their last check: inside ``attempt`` a refusal takes everything back. A row that
    is read or put is kept decoded, and encoded once, by ``root``: a busy block puts the same few rows again and again.
    """

    KNOWN_MAX: Final = 65_536
    """Decoded rows kept between two attempts."""

    EXPECTED_MAX: Final = 10_000
    """Rows that ``expect`` reads at most."""

    def __init__(self, overlay: Overlay, block: BlockContext, stored: Reader | None = None) -> None:
        """``stored``: what lies under a fresh overlay."""
        self.overlay = overlay
        self.base = Tables(overlay, stored)
        """The block's tables, without what was put or appended since the last ``root``."""
        self.writable = StagedTables(self.base)
        """Those with what was appended."""
        self.block = block
        self.memo: dict[Hashable, Any] = {}
        """What a rule has derived from rows, for the next transaction of the block; forgotten when anything is taken
        back. Its owner asks whether the rows are still the same."""
        self._known: dict[RowKey, Row] = {}
        """Decoded rows as they are now."""
        self._stale: set[RowKey] = set()
        """Those whose bytes in ``writable`` are older."""
        self._changed: set[Table | Index] = set()
        """Tables of rows that were put, and indexes; what was taken back again is not taken out."""
        self._log: list[tuple[RowKey, Row | None, bool]] | None = None
        """In an attempt or rehearsal: each change of ``_known``, what stood there, and whether it was stale."""
        super().__init__(overlay, self.writable)

    def attempt(self) -> Attempt:
        """All changes of the ``with`` block, or none of them when it raises. Not nested."""
        return Attempt(self)

    def begin(self) -> None:
        """What ``attempt`` does first: from now on changes can be taken back."""
        if self._log is not None:
            raise InvariantViolation("an attempt within another one")
        self._savepoint()

    def end(self, *, keep: bool) -> None:
        """What ``attempt`` does last: keep everything since ``begin``, or nothing of it."""
        if not keep:
            self._restore((0, 0, 0))
        self._log = None
        self.overlay.settle()
        self.writable.settle()
        if len(self._known) > self.KNOWN_MAX:
            self._settle()
            self._known.clear()

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        """None of the changes of the ``with`` block stays; also within an attempt."""
        alone = self._log is None
        savepoint = self._savepoint()
        try:
            yield
        finally:
            self._restore(savepoint)
            if alone:
                self.end(keep=True)

    def _savepoint(self) -> _Savepoint:
        if self._log is None:
            self._log = []
        return len(self._log), self.overlay.savepoint(), self.writable.savepoint()

    def _restore(self, savepoint: _Savepoint) -> None:
        rows, entries, appended = savepoint
        log = self._log or []
        for key, old, was_stale in reversed(log[rows:]):
            if old is None:
                del self._known[key]
            else:
                self._known[key] = old
            if not was_stale:
                self._stale.discard(key)
        del log[rows:]
        self.overlay.restore(entries)
        self.writable.restore(appended)
        self.memo.clear()

    def find(self, kind: type[R], row_id: int) -> R | None:
        row: Any = self._known.get((kind.table, row_id))
        if row is not None:
            found: R = row
            return found
        try:
            return self.get(kind, row_id)
        except MissingRow:
            return None

    def get(self, kind: type[R], row_id: int) -> R:
        key = (kind.table, row_id)
        row: Any = self._known.get(key)
        if row is None:
            row = self._known[key] = decode_own(kind, self.writable.get(kind.table, row_id))
            if self._log is not None and row_id >= self.base.length(kind.table):
                self._log.append((key, None, False))
        found: R = row
        return found

    def expect(self, kind: type[Row], row_ids: Iterable[int]) -> None:
        """These rows will be asked for: read and decoded now, in the order of their ids, which is quicker than singly.

        Ids of no rows are passed over, and so is what exceeds ``EXPECTED_MAX``. Changes nothing.
        """
        table, known, length = kind.table, self._known, self.base.length(kind.table)
        wanted = sorted({row_id for row_id in row_ids if 0 <= row_id < length and (table, row_id) not in known})
        del wanted[self.EXPECTED_MAX :]
        for first in range(0, len(wanted), _AT_A_TIME):
            some = wanted[first : first + _AT_A_TIME]
            for row_id, raw in zip(some, self.base.get_many(table, some), strict=True):
                known[table, row_id] = decode_own(kind, raw)

    def expect_keys(self, name: Index, keys: Iterable[bytes]) -> None:
        """Entries of these keys will be asked for; changes nothing."""
        self.overlay.expect([name.prefix + key for key in keys])

    def rows(self, kind: type[R], start: int = 0, stop: int | None = None) -> Iterator[tuple[int, R]]:
        end = self.tables.length(kind.table) if stop is None else stop
        for row_id, raw in self.tables.scan(kind.table, start, end):
            row: Any = self._known.get((kind.table, row_id))
            yield row_id, decode_own(kind, raw) if row is None else row

    def root(self) -> bytes:
        """The state root after all changes so far; everything is in ``overlay`` then. Not within an attempt."""
        self._settle()
        return self.base.root()

    def _settle(self) -> None:
        """Bring the bytes of the tables up to date."""
        if self._log is not None:
            raise InvariantViolation("the tables of an attempt in progress have no root")
        self.writable.flush()
        known = self._known
        self.base.put_many((*key, encode(known[key])) for key in sorted(self._stale))
        self._stale.clear()

    def append(self, row: Row) -> int:
        """Append the row to its table; returns its id."""
        return self.writable.append(row.table, encode(row))

    def append_many(self, rows: Sequence[R]) -> range:
        """Append rows of one kind in order; returns their ids."""
        if not rows:
            return range(0)
        return self.writable.append_many(rows[0].table, [encode(row) for row in rows])

    def put(self, row_id: int, row: Row) -> None:
        """Replace the row ``row_id`` of its table. Raises ``MissingRow``."""
        key = (row.table, row_id)
        known = self._known.get(key)
        if known is None and not 0 <= row_id < self.writable.length(row.table):
            raise MissingRow(row.table, row_id, self.writable.length(row.table))
        if self._log is not None:
            self._log.append((key, known, key in self._stale))
        self._known[key] = row
        self._stale.add(key)
        self._changed.add(row.table)

    def touched(self, *what: type[Row] | Index) -> bool:
        """Whether rows of these kinds, or entries of these indexes, may be others than before the block."""
        grown, changed = self.writable.grown, self._changed
        for one in what:
            if isinstance(one, Index):
                if one in changed:
                    return True
            elif one.table in changed or one.table in grown:
                return True
        return False

    def all_touched(self) -> frozenset[Table | Index]:
        """Every table and index of which ``touched`` says so."""
        return frozenset(self._changed | self.writable.grown)

    def index_put(self, name: Index, key: bytes, value: bytes | int = b"") -> None:
        """Set an index entry; an int is stored as 8 bytes, big-endian."""
        self._changed.add(name)
        self.overlay.put(name.prefix + key, value.to_bytes(8, "big") if isinstance(value, int) else value)

    def index_delete(self, name: Index, key: bytes) -> None:
        """Remove an index entry; absent is fine."""
        self._changed.add(name)
        self.overlay.delete(name.prefix + key)


class Attempt:
    """See ``State.attempt``. A class, for every transaction enters it and a generator costs three times as much."""

    __slots__ = ("_state",)

    def __init__(self, state: State) -> None:
        self._state = state

    def __enter__(self) -> None:
        self._state.begin()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._state.end(keep=error is None)
