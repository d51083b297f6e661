"""The tables of a block in the making: pages kept decoded, and the paths above those that changed hashed once.

What is hashed and what is stored: ``ledger.tables``. Everything goes into the block's overlay; of what it replaces the
tables tell the undo how to make it again (`splices`, `amended`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import chain, islice, repeat

from .codec import encode
from .errors import InvariantViolation
from .pages import (
    EMPTY_NODE,
    NODE_BYTES,
    WIDTH,
    Fresh,
    Patched,
    amendments_key,
    node_key,
    page_key,
    read_nodes,
    read_page,
    read_pages,
    seal,
    splice,
)
from .proofs import HASH_BYTES, INNER_PREFIX, Proof
from .store import LENGTHS, Overlay, Reader
from .tables import LENGTHS_ROW, ROW_BYTES_MAX, TABLES, MissingRow, Table, TableReader, depth, heads_value, state_root

OPEN_PAGES_MAX = 16_384
"""When so many pages of a table are open, those that were only read are let go."""
_AT_A_TIME = 256
"""So many pages or nodes are read at once: more would lie there twice."""
_CHILD_SPLICES = tuple(
    (splice(at, at + HASH_BYTES, bytes(HASH_BYTES))[:-HASH_BYTES], at, at + HASH_BYTES)
    for at in range(0, NODE_BYTES, HASH_BYTES)
)
"""How a splice of a child begins, and where the child lies."""


class Tables(TableReader):
    """The tables of a block in the making, over its overlay.

    Changed pages are kept decoded; `root()` hashes only the changed paths and puts pages, nodes and lengths into the
    overlay. So call `root()` before `overlay.batch()`. Nobody else may write to the spaces of ``SEALED``.
    """

    def __init__(self, overlay: Overlay, stored: Reader | None = None) -> None:
        """``stored``: what lies under an overlay that holds nothing of the tables yet; saves a way through it."""
        super().__init__(overlay)
        self._overlay = overlay
        self._stored: Reader = overlay if stored is None else stored
        """Where pages and nodes are as of the last `root()`."""
        self._flushed = list(self._lengths)
        self._spliced: dict[bytes, bytes | None] = {}
        """What `root()` has put: how the value before is made of it; nothing for a new one, or one put twice."""
        self._amended: dict[bytes, bytes | None] = {}
        """What lay at the keys of amendments before."""
        self._open: list[dict[int, Fresh | Patched]] = [{} for _ in range(TABLES + 1)]
        """Pages by table and number that were read or changed; most of those that are read are changed next."""
        if self._lengths[Table.META] == 0:
            self._append(Table.META, self._lengths_row())

    def get(self, table: Table, row_id: int) -> bytes:
        """A row as of now. Raises `MissingRow`. (Row 0 of `meta` is as of the last `root()`.)"""
        page = self._open[table].get(row_id >> 4)
        if page is None:
            length = self._lengths[table]
            if not 0 <= row_id < length:
                raise MissingRow(table, row_id, length)
            page = self._load(table, row_id >> 4)
        row = page.row(row_id & 15)
        if row is None:
            raise MissingRow(table, row_id, self._lengths[table])
        return row

    def get_many(self, table: Table, row_ids: Sequence[int]) -> list[bytes]:
        """Rows as of now, the pages of all of them read in one go. Raises `MissingRow`."""
        self.open_pages(table, row_ids)
        pages, found = self._open[table], []
        for row_id in row_ids:
            page = pages.get(row_id >> 4)
            row = None if page is None else page.row(row_id & 15)
            found.append(self.get(table, row_id) if row is None else row)
        return found

    def open_pages(self, table: Table, row_ids: Iterable[int]) -> None:
        """Read the pages of rows that will be asked for, in the order of their keys, which is quicker than singly.

        Ids of no rows are passed over, and so is what exceeds half of ``OPEN_PAGES_MAX`` in one call.
        """
        length, pages = self._lengths[table], self._open[table]
        numbers = {row_id >> 4 for row_id in row_ids if 0 <= row_id < length}
        wanted = sorted(numbers.difference(pages))[: OPEN_PAGES_MAX // 2]
        if len(pages) + len(wanted) > OPEN_PAGES_MAX:
            self._let_go(table)
            pages = self._open[table]
        for first in range(0, len(wanted), _AT_A_TIME):
            pages.update(read_pages(self._stored, table, wanted[first : first + _AT_A_TIME], self._lengths[table]))

    def append(self, table: Table, value: bytes) -> int:
        """Add a row (1 to 1 MiB); returns its id."""
        _check_size(len(value))
        return self._append(table, value)

    def append_many(self, table: Table, values: Sequence[bytes]) -> range:
        """Add rows in order; returns their ids. Nothing is added if one of them is refused."""
        sizes = set(map(len, values))
        if sizes:
            _check_size(min(sizes))
            _check_size(max(sizes))
        first = self._lengths[table]
        taken = 0
        if first & 15:
            taken = min(WIDTH - (first & 15), len(values))
            self._last_page(table).rows.extend(values[:taken])
        pages = self._open[table]
        number = (first + taken) >> 4
        for at in range(taken, len(values), WIDTH):
            pages[number] = Fresh(list(values[at : at + WIDTH]))
            number += 1
        self._lengths[table] = first + len(values)
        return range(first, first + len(values))

    def put(self, table: Table, row_id: int, value: bytes) -> None:
        """Replace a row. Raises `MissingRow`: rows come into being by `append` only."""
        if table == Table.META and row_id == LENGTHS_ROW:
            raise InvariantViolation("row 0 of meta binds the lengths: root() alone writes it")
        self._put(table, row_id, value)

    def put_many(self, rows: Iterable[tuple[Table, int, bytes]]) -> None:
        """`put` each of them."""
        opened, lengths = self._open, self._lengths
        for table, row_id, value in rows:
            page = opened[table].get(row_id >> 4)
            if page is None or not 0 < len(value) <= ROW_BYTES_MAX or not 0 < row_id < lengths[table]:
                self.put(table, row_id, value)
            else:
                page.put(row_id & 15, value)

    def root(self) -> bytes:
        """The state root after all changes so far; flushes pages and nodes into the overlay. Idempotent."""
        if self._lengths != self._flushed:
            self._put(Table.META, LENGTHS_ROW, self._lengths_row())
        changed = False
        for tag in range(1, TABLES + 1):
            pages = self._open[tag]
            if pages and any(page.changed for page in pages.values()):
                self._roots[tag] = self._flush(tag)
                changed = True
        if changed:
            self._overlay.put(LENGTHS, heads_value(self._lengths, self._roots))
            self._flushed = list(self._lengths)
            self._stored = self._overlay
        return state_root(self._roots)

    def splices(self) -> dict[bytes, bytes]:
        """Pages and nodes put so far of which the base's value can be told, by key (`ledger.undo`)."""
        return {key: found for key, found in self._spliced.items() if found is not None}

    def amended(self) -> dict[bytes, bytes | None]:
        """The base's values at the keys of the amendments that were put or deleted so far."""
        return self._amended

    def table_root(self, table: Table) -> bytes:
        """The root of one table after all changes so far; flushes like `root()`."""
        self.root()
        return super().table_root(table)

    def prove(self, table: Table, row_id: int) -> Proof:
        """The existence proof of a row under `root()`, which is called first."""
        self.root()
        return super().prove(table, row_id)

    def _append(self, table: Table, value: bytes) -> int:
        row_id = self._lengths[table]
        if row_id & 15:
            self._last_page(table).rows.append(value)
        else:
            self._open[table][row_id >> 4] = Fresh([value])
        self._lengths[table] = row_id + 1
        return row_id

    def _put(self, table: Table, row_id: int, value: bytes) -> None:
        if not 0 < len(value) <= ROW_BYTES_MAX or not 0 <= row_id < self._lengths[table]:
            _check_size(len(value))
            raise MissingRow(table, row_id, self._lengths[table])
        page = self._open[table].get(row_id >> 4) or self._load(table, row_id >> 4)
        page.put(row_id & 15, value)

    def _load(self, table: Table, number: int) -> Patched:
        """Read a page and keep it open."""
        if len(self._open[table]) >= OPEN_PAGES_MAX:
            self._let_go(table)
        page = self._open[table][number] = read_page(self._stored, table, number, self._rows_in(table, number))
        return page

    def _let_go(self, table: Table) -> None:
        """Of the pages that were only read."""
        self._open[table] = {number: page for number, page in self._open[table].items() if page.changed}

    def _last_page(self, table: Table) -> Fresh:
        """The last page, partly full, ready to be appended to."""
        pages = self._open[table]
        number = self._lengths[table] >> 4
        page = pages.get(number)
        if not isinstance(page, Fresh):
            page = page or self._load(table, number)
            page = self._open[table][number] = Fresh(page.all_rows(), page.amendments)
        return page

    def _page_rows(self, table: Table, number: int) -> list[bytes]:
        page = self._open[table].get(number)
        if page is None:
            return super()._page_rows(table, number)
        return list(page.rows) if isinstance(page, Fresh) else page.all_rows()

    def _lengths_row(self) -> bytes:
        return encode(self._lengths[1:])

    def _flush(self, tag: int) -> bytes:
        """Write the changed pages and the nodes above them; returns the table's root.

        In the order of the keys: the store finds neighbours quicker, and so does its batch.
        """
        changed: dict[int, bytes] = {}
        new: dict[bytes, bytes] = {}
        pages, old_pages = self._open[tag], -(-self._flushed[tag] // WIDTH)
        for number in sorted(pages):
            page = pages[number]
            if page.changed:
                flushed = page.flush(tag, number)
                changed[number] = flushed.digest
                if number >= old_pages and flushed.body is not None:
                    key = page_key(tag, number)
                    new[key] = seal(key, flushed.body)
                elif flushed.body is not None:
                    self._store(page_key(tag, number), flushed.body, flushed.splices)
                if flushed.amendments or page.amendments:
                    self._amend(amendments_key(tag, number), page.amendments, flushed.amendments)
        if new:
            self._overlay.add(new)
            self._spliced.update(dict.fromkeys(new))
        self._open[tag] = {}
        old_length = self._flushed[tag]
        old_depth = depth(old_length) if old_length else 0
        for level in range(1, depth(self._lengths[tag])):
            # A tree that grows taller hangs its old root, changed or not, under the first node of the new level.
            grown_from = self._roots[tag] if level == old_depth else None
            old_nodes = -(-old_length // WIDTH ** (level + 1)) if level < old_depth else 0
            changed = self._flush_level(tag, level, changed, old_nodes, grown_from)
        return changed[0]

    def _flush_level(
        self, tag: int, level: int, children: dict[int, bytes], old_nodes: int, grown_from: bytes | None
    ) -> dict[int, bytes]:
        """Patch the nodes of one level with their changed children; returns the hashes of those nodes by index.

        ``children`` and what is returned are in ascending order.
        """
        families: dict[int, list[int]] = {}
        for child in children:
            families.setdefault(child >> 4, []).append(child)
        changed: dict[int, bytes] = {}
        for index, key, old in self._nodes(tag, level, families, old_nodes):
            node = bytearray(old)
            if index == 0 and grown_from is not None:
                node[:HASH_BYTES] = grown_from
            splices: list[bytes] = []
            for child in families[index]:
                head, start, stop = _CHILD_SPLICES[child & 15]
                splices += (head, old[start:stop])
                node[start:stop] = children[child]
            changed[index] = sha256(INNER_PREFIX + node).digest()
            self._store(key, node, b"".join(splices) if index < old_nodes else None)
        return changed

    def _nodes(
        self, tag: int, level: int, indexes: Iterable[int], old_nodes: int
    ) -> Iterator[tuple[int, bytes, bytes]]:
        """Index, key and body of nodes as they are stored, in ascending order; new ones are empty."""
        ascending = iter(indexes)
        while some := [*islice(ascending, _AT_A_TIME)]:
            keys = [node_key(tag, level, index) for index in some]
            stored = read_nodes(self._stored, keys[: bisect_left(some, old_nodes)])
            yield from zip(some, keys, chain(stored, repeat(EMPTY_NODE)), strict=False)

    def _store(self, key: bytes, body: bytes | bytearray, splices: bytes | None) -> None:
        self._spliced[key] = None if key in self._spliced else splices
        self._overlay.put(key, seal(key, body))

    def _amend(self, key: bytes, old: bytes, new: bytes) -> None:
        if key not in self._amended:
            self._amended[key] = seal(key, old) if old else None
        if new:
            self._overlay.put(key, seal(key, new))
        else:
            self._overlay.delete(key)


def _check_size(size: int) -> None:
    if not 0 < size <= ROW_BYTES_MAX:
        raise InvariantViolation(f"a row of {size} bytes: from 1 to {ROW_BYTES_MAX} are allowed")
