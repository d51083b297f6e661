"""A state of which only some rows are known: those somebody needs, each proven (LEDGER §10).

The rules that make a member's statement or check a settlement read a ``StateReader`` like all others. The maker runs
them over ``recorded``, which notes every row they read; the verifier runs *the same rules* over ``proven``, which holds
just the rows that came with proofs. So a file holds exactly what is needed, and a rule that reads a row the file lacks
fails by name. Indexes are made from the proven rows; the lengths of all tables come from the proven row 0 of ``meta``.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from .codec import decode_own
from .errors import ProofFailed
from .indexes import LISTS, SOURCES
from .light import proven_row
from .rows import Cohort, PlanVersion, Row, Settlement
from .staging import RowReader
from .state import StateReader
from .store import Batch, MemoryStore, Reader, index_key
from .tables import LENGTHS_ROW, TABLES, MissingRow, Table, TableReader, row_key

RowKey = tuple[Table, int]
_INDEXED: Final[tuple[type[Row], ...]] = (PlanVersion, Cohort, Settlement)
"""Rows that the rules of statements find through an index."""


class RecordingTables:
    """Tables that note which rows are read through them."""

    def __init__(self, tables: RowReader) -> None:
        self._tables = tables
        self.read: set[RowKey] = set()

    def length(self, table: Table) -> int:
        """The number of rows; reads row 0 of ``meta``, which binds it."""
        self.read.add((Table.META, LENGTHS_ROW))
        return self._tables.length(table)

    def get(self, table: Table, row_id: int) -> bytes:
        """A row. Raises ``MissingRow``."""
        value = self._tables.get(table, row_id)
        self.read.add((table, row_id))
        return value

    def scan(self, table: Table, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, bytes]]:
        """Rows from ``start`` (inclusive) to ``stop`` (exclusive) in order."""
        length = self.length(table)
        for row_id in range(start, length if stop is None else min(stop, length)):
            yield row_id, self.get(table, row_id)


class ProvenTables:
    """The rows that a file proves, and no others."""

    def __init__(self, rows: dict[RowKey, bytes]) -> None:
        self._rows = rows
        lengths = rows.get((Table.META, LENGTHS_ROW))
        self._lengths: list[int] = [] if lengths is None else decode_own(list[int], lengths)

    def length(self, table: Table) -> int:
        """The number of rows, as the proven row 0 of ``meta`` says."""
        if not self._lengths:
            raise ProofFailed("rows", "the file lacks row 0 of meta, which binds the tables' lengths")
        return self._lengths[table - 1] if table <= len(self._lengths) else 0

    def get(self, table: Table, row_id: int) -> bytes:
        """A row. Raises ``MissingRow`` when there is none, ``ProofFailed`` when the file does not prove it."""
        value = self._rows.get((table, row_id))
        if value is not None:
            return value
        if not 0 <= row_id < self.length(table):
            raise MissingRow(table, row_id, self.length(table))
        raise ProofFailed(row_name((table, row_id)), "the file does not prove this row")

    def scan(self, table: Table, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, bytes]]:
        """Rows from ``start`` (inclusive) to ``stop`` (exclusive) in order."""
        length = self.length(table)
        for row_id in range(start, length if stop is None else min(stop, length)):
            yield row_id, self.get(table, row_id)


def recorded(reader: Reader) -> tuple[StateReader, RecordingTables]:
    """A state over a store or snapshot that notes what is read of it."""
    tables = RecordingTables(TableReader(reader))
    return StateReader(reader, tables), tables


def prove_rows(reader: Reader, keys: set[RowKey]) -> Iterator[bytes]:
    """The ICS-23 proofs of rows, ascending by table and id."""
    tables = TableReader(reader)
    for table, row_id in sorted(keys):
        yield tables.prove(table, row_id).encode()


class ProvenState:
    """The rows that came with proofs under one state root."""

    def __init__(self, root: bytes, row_proofs: Sequence[bytes]) -> None:
        """Raises ``ProofFailed`` unless every proof holds, and all stand in ascending order of their keys."""
        rows: dict[RowKey, bytes] = {}
        newest = b""
        for number, raw in enumerate(row_proofs):
            tag, row_id, value = proven_row(root, raw, f"row proof {number}")
            if not 1 <= tag <= TABLES:
                raise ProofFailed(f"row proof {number}", f"there is no table {tag}")
            key = row_key(Table(tag), row_id)
            if key <= newest:
                raise ProofFailed(f"row proof {number}", "the proofs are not in ascending order of their keys")
            rows[Table(tag), row_id], newest = value, key
        self.keys = frozenset(rows)
        self._tables = RecordingTables(ProvenTables(rows))
        self.state = StateReader(_index_store(rows), self._tables)

    def require_all_read(self) -> None:
        """Raises ``ProofFailed`` when the file proves a row that nobody needed."""
        for key in sorted(self.keys - self._tables.read):
            raise ProofFailed(row_name(key), "the file proves a row that is not needed")


def row_name(key: RowKey) -> str:
    """How people name a row: ``members 17``."""
    return f"{key[0].name.lower()} {key[1]}"


def _index_store(rows: dict[RowKey, bytes]) -> MemoryStore:
    """The derived indexes of the proven rows, as ``indexes`` makes them from all rows."""
    kinds = {kind.table: kind for kind in _INDEXED}
    batch = Batch()
    for table, row_id in sorted(rows):
        kind = kinds.get(table)
        if kind is None:
            continue
        for index, key, value in SOURCES[kind](row_id, decode_own(kind, rows[table, row_id])):
            where = index_key(index.value, key)
            batch.put(where, (batch.changes.get(where) or b"") + value if index in LISTS else value)
    store = MemoryStore()
    store.write(batch)
    return store
