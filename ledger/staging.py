"""Rows appended by the block in progress, kept aside until its tables are hashed.

A transaction that is refused half-way must leave no trace. Rules write as they go; rows they append lie in this buffer,
from whose end a refusal takes them back (``State.attempt``). The block lays all of them over its tables in one go.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
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


class RowAppender(RowReader, Protocol):
    """What the buffer needs of the tables below it."""

    def append_many(self, table: Table, values: Sequence[bytes]) -> range:
        """Add rows in order; returns their ids."""
        ...


class StagedTables:
    """Tables with rows appended to them that do not reach them before ``flush``."""

    __slots__ = ("_base", "_fresh", "_log", "_starts", "grown")

    def __init__(self, base: RowAppender) -> None:
        self._base = base
        self._fresh: dict[Table, list[bytes]] = {}
        self._starts: dict[Table, int] = {}
        self._log: list[tuple[Table, int]] | None = None
        self.grown: set[Table] = set()
        """Tables to which rows were appended, whether they stayed or not."""

    def length(self, table: Table) -> int:
        fresh = self._fresh.get(table)
        return self._base.length(table) if fresh is None else self._starts[table] + len(fresh)

    def get(self, table: Table, row_id: int) -> bytes:
        fresh = self._fresh.get(table)
        if fresh is None or row_id < self._starts[table]:
            return self._base.get(table, row_id)
        at = row_id - self._starts[table]
        if at >= len(fresh):
            raise MissingRow(table, row_id, self.length(table))
        return fresh[at]

    def scan(self, table: Table, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, bytes]]:
        length = self.length(table)
        end = length if stop is None else min(stop, length)
        below = self._starts.get(table, length)
        fresh = list(islice(self._fresh.get(table, ()), max(start - below, 0), max(end - below, 0)))
        yield from self._base.scan(table, start, min(end, below))
        yield from enumerate(fresh, start=max(start, below))

    def append(self, table: Table, value: bytes) -> int:
        fresh = self._rows(table)
        fresh.append(value)
        return self._starts[table] + len(fresh) - 1

    def append_many(self, table: Table, values: Sequence[bytes]) -> range:
        fresh = self._rows(table)
        first = self._starts[table] + len(fresh)
        fresh.extend(values)
        return range(first, first + len(values))

    def _rows(self, table: Table) -> list[bytes]:
        """The rows appended so far, about to become more."""
        fresh = self._fresh.get(table)
        if fresh is None:
            fresh = self._fresh[table] = []
            self._starts[table] = self._base.length(table)
            self.grown.add(table)
        if self._log is not None:
            self._log.append((table, len(fresh)))
        return fresh

    def savepoint(self) -> int:
        """Rows appended from now on can be taken back to this point, until ``settle``."""
        if self._log is None:
            self._log = []
        return len(self._log)

    def restore(self, savepoint: int) -> None:
        """Take back every row appended since the savepoint."""
        log = self._log if self._log is not None else []
        for table, length in reversed(log[savepoint:]):
            del self._fresh[table][length:]
        del log[savepoint:]

    def settle(self) -> None:
        """Keep all rows; forget in what order they came."""
        self._log = None

    def flush(self) -> None:
        """Lay all rows over the base."""
        for table, rows in self._fresh.items():
            self._base.append_many(table, rows)
        self._fresh.clear()
        self._starts.clear()
