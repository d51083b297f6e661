"""Rows written by a transaction in progress, kept aside until it is known to succeed.

A transaction that is refused half-way must leave no trace. Rules write as they go; ``State.attempt`` puts this buffer
between them and the block's tables. On success the buffer is laid over the tables in one go, on refusal it is dropped.
It costs a dict operation a row, while a nested ``Tables`` would decode, hash and encode whole pages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from .tables import MissingRow, Table


class RowReader(Protocol):
    """What rules need of tables they only read."""

    def length(self, table: Table) -> int:
        """The number of rows; the next id."""
        ...

    def get(self, table: Table, row_id: int) -> bytes:
        """A row. Raises ``MissingRow``."""
        ...

    def scan(self, table: Table, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, bytes]]:
        """Rows from ``start`` (inclusive) to ``stop`` (exclusive) in order."""
        ...


class RowWriter(RowReader, Protocol):
    """What rules need of tables they write."""

    def append(self, table: Table, value: bytes) -> int:
        """Add a row; returns its id."""
        ...

    def append_many(self, table: Table, values: Sequence[bytes]) -> range:
        """Add rows in order; returns their ids."""
        ...

    def put(self, table: Table, row_id: int, value: bytes) -> None:
        """Replace a row. Raises ``MissingRow``."""
        ...


class StagedTables:
    """A ``RowWriter`` over another one; nothing reaches it before ``flush``."""

    __slots__ = ("_base", "_changed", "_fresh", "_starts")

    def __init__(self, base: RowWriter) -> None:
        self._base = base
        self._changed: dict[tuple[Table, int], bytes] = {}
        self._fresh: dict[Table, list[bytes]] = {}
        self._starts: dict[Table, int] = {}

    def length(self, table: Table) -> int:
        fresh = self._fresh.get(table)
        return self._base.length(table) if fresh is None else self._starts[table] + len(fresh)

    def get(self, table: Table, row_id: int) -> bytes:
        fresh = self._fresh.get(table)
        if fresh is not None and row_id >= self._starts[table]:
            at = row_id - self._starts[table]
            if at >= len(fresh):
                raise MissingRow(table, row_id, self.length(table))
            return fresh[at]
        changed = self._changed.get((table, row_id))
        return self._base.get(table, row_id) if changed is None else changed

    def scan(self, table: Table, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, bytes]]:
        length = self.length(table)
        end = length if stop is None else min(stop, length)
        below = self._starts.get(table, length)
        fresh = list(self._fresh.get(table, ()))[max(start, below) - below : max(end - below, 0)]
        changed = {row_id: value for (of, row_id), value in self._changed.items() if of == table}
        for row_id, value in self._base.scan(table, start, min(end, below)):
            yield row_id, changed.get(row_id, value)
        yield from enumerate(fresh, start=max(start, below))

    def append(self, table: Table, value: bytes) -> int:
        return self.append_many(table, (value,)).start

    def append_many(self, table: Table, values: Sequence[bytes]) -> range:
        fresh = self._fresh.get(table)
        if fresh is None:
            fresh = self._fresh[table] = []
            self._starts[table] = self._base.length(table)
        first = self._starts[table] + len(fresh)
        fresh.extend(values)
        return range(first, first + len(values))

    def put(self, table: Table, row_id: int, value: bytes) -> None:
        length = self.length(table)
        if not 0 <= row_id < length:
            raise MissingRow(table, row_id, length)
        fresh = self._fresh.get(table)
        if fresh is not None and row_id >= self._starts[table]:
            fresh[row_id - self._starts[table]] = value
        else:
            self._changed[table, row_id] = value

    def flush(self) -> None:
        """Lay everything over the base: changed rows, then new ones."""
        for (table, row_id), value in self._changed.items():
            self._base.put(table, row_id, value)
        for table, rows in self._fresh.items():
            self._base.append_many(table, rows)
