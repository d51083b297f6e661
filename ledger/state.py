"""What a rule sees: typed rows over the authenticated tables, derived indexes, and the block being executed.

Indexes (names in ``Index``) are derived from rows, written in the same batch, never hashed and never accepted from a
peer; ``node`` rebuilds them from rows when it must. A rule reads an index only to find a row.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from .codec import decode_own, encode
from .errors import TransactionRejected
from .rows import Row
from .staging import RowReader, RowWriter, StagedTables
from .store import Overlay, Reader, index_key, prefix_stop
from .tables import TableReader, Tables

R = TypeVar("R", bound=Row)


class Index(Enum):
    """Names of the derived indexes: key -> id, unless said otherwise. The row types they come from are in brackets."""

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
        return self.reader.get(index_key(name.value, key))

    def index_id(self, name: Index, key: bytes) -> int | None:
        """The id stored under ``key`` (8 bytes, big-endian)."""
        raw = self.index_get(name, key)
        return None if raw is None else int.from_bytes(raw, "big")

    def index_scan(self, name: Index, prefix: bytes = b"", *, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """(key without the space's prefix, value) for every key with ``prefix``, ascending, from ``prefix + start``."""
        whole = index_key(name.value, prefix)
        skip = len(whole) - len(prefix)
        for key, value in self.reader.scan(whole + start, prefix_stop(whole)):
            yield key[skip:], value


class State(StateReader):
    """The writable state of the block being executed. One owner: ``apply_block``.

    Rules write as they go, also before their last check: inside ``attempt`` a refusal takes everything back.
    """

    def __init__(self, overlay: Overlay, block: BlockContext) -> None:
        self.overlay = overlay
        self.base = Tables(overlay)
        """The block's tables; rules write through ``append``, ``append_many`` and ``put`` only."""
        self.writable: RowWriter = self.base
        self.block = block
        super().__init__(overlay, self.base)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """All changes of the ``with`` block, or none of them when it raises. Not nested."""
        outer, staged, overlay = self.overlay, StagedTables(self.base), Overlay(self.overlay)
        self._use(overlay, staged)
        try:
            yield
        except BaseException:
            self._use(outer, self.base)
            raise
        self._use(outer, self.base)
        staged.flush()
        outer.apply(overlay.batch())

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        """None of the changes of the ``with`` block stays; also within an attempt."""
        outer, tables = self.overlay, self.writable
        self._use(Overlay(outer), StagedTables(tables))
        try:
            yield
        finally:
            self._use(outer, tables)

    def _use(self, overlay: Overlay, tables: RowWriter) -> None:
        self.overlay = self.reader = overlay
        self.writable = self.tables = tables

    def append(self, row: Row) -> int:
        """Append the row to its table; returns its id."""
        return self.writable.append(row.table, encode(row))

    def append_many(self, rows: Sequence[R]) -> range:
        """Append rows of one kind in order; returns their ids."""
        if not rows:
            return range(0)
        return self.writable.append_many(rows[0].table, [encode(row) for row in rows])

    def put(self, row_id: int, row: Row) -> None:
        """Replace the row ``row_id`` of its table."""
        self.writable.put(row.table, row_id, encode(row))

    def index_put(self, name: Index, key: bytes, value: bytes | int = b"") -> None:
        """Set an index entry; an int is stored as 8 bytes, big-endian."""
        self.overlay.put(index_key(name.value, key), u64(value) if isinstance(value, int) else value)

    def index_delete(self, name: Index, key: bytes) -> None:
        """Remove an index entry; absent is fine."""
        self.overlay.delete(index_key(name.value, key))
