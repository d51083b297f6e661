"""Authenticated tables: append-only, dense ids from 0, one Merkle root over all of them (LEDGER §1).

What is hashed (this is consensus: it can never change)
- leaf  = H(0x00 ‖ varint len ‖ key ‖ varint len ‖ value), key = table tag (1 byte) ‖ id (8 bytes, big-endian).
- inner = H(0x01 ‖ 16 × 32 bytes); an empty child is 32 zero bytes.
- A table of n rows is a 16-ary tree of depth d, the least d >= 1 with 16**d >= n. Row `id` sits at the slots that the d
  hexadecimal digits of `id` name, from the top. n = 1 to 16 has depth 1, 17 to 256 depth 2, 257 to 4,096 depth 3.
  Depth is never 0: a table's root is an inner node (that of one row holds its leaf in slot 0), and every proof has an
  inner step below the fixed ones. The root of an empty table (n = 0) is 32 zero bytes, that is: an empty child.
- state root = two fixed inner levels over 256 slots; the root of the table with tag t is in slot t: slot t >> 4 of the
  upper node, t & 15 of the lower one. A lower node of 16 empty slots is itself an empty child. Slot 0 is never used.
  So a proof has d + 2 steps.
- Row 0 of `meta` is the canonical MessagePack array of the lengths of all tables in the order of their tags (`meta`
  first; it counts row 0). Only `root()` writes it. With it a verifier knows that an id is the last one, or that there
  is no such row. Rows of `meta` from 1 on are free for the ledger's own single facts.

What is stored (private, `ledger.pages`; may change with the store's format version)
- a page: 16 rows with their 16 leaf hashes, at ROWS ‖ tag ‖ page number; what has changed of it since it was written,
  while that is little, at AMENDMENTS ‖ tag ‖ page number;
- a node: 16 child hashes, at NODES ‖ tag ‖ level ‖ index; level 1 stands on the pages;
- one value with the length and the root of every table, at LENGTHS.

A row is 1 to 1 MiB: ICS-23 verifiers refuse an empty value.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from hashlib import sha256
from itertools import chain, islice, repeat

from .codec import decode_own, encode
from .errors import InvariantViolation
from .pages import (
    NODE_BYTES,
    TAGS,
    WIDTH,
    Fresh,
    Patched,
    amendments_key,
    node_key,
    open_value,
    page_key,
    read_node,
    read_nodes,
    read_page,
    read_pages,
    seal,
    splice,
)
from .proofs import EMPTY_CHILD, HASH_BYTES, INNER_PREFIX, VALUE_BYTES_MAX, Inner, Proof, inner_step
from .store import LENGTHS, Overlay, Reader

ROW_BYTES_MAX = VALUE_BYTES_MAX
OPEN_PAGES_MAX = 16_384
"""When so many pages of a table are open, those that were only read are let go."""
_AT_A_TIME = 256
"""So many pages or nodes are read at once: more would lie there twice."""
LENGTHS_ROW = 0
"""The row of `meta` that binds every table's length."""


class Table(IntEnum):
    """The tables and their tags. Append only: a tag is never reused, for it is in every key and proof."""

    META = 1
    PLANS = 2
    PLAN_VERSIONS = 3
    ORGANISATIONS = 4
    VALIDATORS = 5
    MEMBERS = 6
    SPANS = 7
    COHORTS = 8
    FROZEN = 9
    ACCOUNTS = 10
    CLAIMS = 11
    SETTLEMENTS = 12
    COLLECTIONS = 13
    DRAWS = 14
    DISPUTES = 15
    BALLOTS = 16
    JURORS = 17
    PROPOSALS = 18
    ATTESTATIONS = 19
    EVIDENCE = 20
    ACCESS_LOG = 21
    MEMBER_KEYS = 22
    BANK_ATTESTATIONS = 23
    FINGERPRINTS = 24
    CONTRADICTIONS = 25


TABLES = len(Table)
_HEAD = struct.Struct(">Q32s")
"""Length and root of one table in the value at LENGTHS."""
_EMPTY_NODE = bytes(NODE_BYTES)
_CHILD_SPLICES = tuple(
    (splice(at, at + HASH_BYTES, bytes(HASH_BYTES))[:-HASH_BYTES], at, at + HASH_BYTES)
    for at in range(0, NODE_BYTES, HASH_BYTES)
)
"""How a splice of a child begins, and where the child lies."""


class MissingRow(InvariantViolation):
    """A row that the caller promised exists does not."""

    def __init__(self, table: Table, row_id: int, length: int) -> None:
        super().__init__(f"table {table.name.lower()} has no row {row_id}: its length is {length}")
        self.table = table
        self.row_id = row_id


def row_key(table: Table, row_id: int) -> bytes:
    """The key under which a row is hashed and proven."""
    return TAGS[table] + row_id.to_bytes(8, "big")


def depth(length: int) -> int:
    """Levels of the tree of `length` >= 1 rows: the least d >= 1 with 16**d >= length."""
    return max(1, ((length - 1).bit_length() + 3) // 4)


def state_root(roots: Sequence[bytes]) -> bytes:
    """The state root over the table roots, indexed by tag (index 0 unused)."""
    return sha256(INNER_PREFIX + _upper_node(roots)).digest()


def _lower_node(roots: Sequence[bytes], slot: int) -> bytes:
    """The 16 table roots under one slot of the upper node."""
    part = b"".join(roots[slot * WIDTH : (slot + 1) * WIDTH])
    return part.ljust(NODE_BYTES, b"\x00")


def _upper_node(roots: Sequence[bytes]) -> bytes:
    children = []
    for slot in range(-(-len(roots) // WIDTH)):
        lower = _lower_node(roots, slot)
        children.append(sha256(INNER_PREFIX + lower).digest() if lower != _EMPTY_NODE else EMPTY_CHILD)
    return b"".join(children).ljust(NODE_BYTES, EMPTY_CHILD[:1])


# ---- reading -------------------------------------------------------------------------------------------------------


class TableReader:
    """The tables of a state that does not change: a snapshot, or a store between two writes."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._lengths, self._roots = read_heads(reader)

    def length(self, table: Table) -> int:
        """The number of rows; the next id."""
        return self._lengths[table]

    def get(self, table: Table, row_id: int) -> bytes:
        """A row. Raises `MissingRow`."""
        length = self._lengths[table]
        if not 0 <= row_id < length:
            raise MissingRow(table, row_id, length)
        number, slot = divmod(row_id, WIDTH)
        row = read_page(self._reader, table, number, self._rows_in(table, number)).row(slot)
        if row is None:
            raise MissingRow(table, row_id, length)
        return row

    def scan(self, table: Table, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, bytes]]:
        """Rows from `start` (inclusive) to `stop` (exclusive; None, or more than the length: to the end) in order.

        The length is that of the call; a page of 16 rows is read when the scan reaches it.
        """
        length = self._lengths[table]
        stop = length if stop is None else min(stop, length)
        if start < 0:
            raise InvariantViolation(f"a scan from row {start}")
        return self._scan(table, start, stop)

    def _scan(self, table: Table, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        while start < stop:
            number, slot = divmod(start, WIDTH)
            rows = self._page_rows(table, number)
            end = min(stop - number * WIDTH, len(rows))
            for at in range(slot, end):
                yield number * WIDTH + at, rows[at]
            start = (number + 1) * WIDTH

    def root(self) -> bytes:
        """The state root, 32 bytes."""
        return state_root(self._roots)

    def table_root(self, table: Table) -> bytes:
        """The root of one table; 32 zero bytes if it is empty."""
        return self._roots[table]

    def prove(self, table: Table, row_id: int) -> Proof:
        """The existence proof of a row under `root()`, checked before it is returned. Raises `MissingRow`."""
        length = self._lengths[table]
        if not 0 <= row_id < length:
            raise MissingRow(table, row_id, length)
        number, slot = divmod(row_id, WIDTH)
        page = read_page(self._reader, table, number, self._rows_in(table, number))
        value = page.row(slot)
        if value is None:
            raise MissingRow(table, row_id, length)
        path = [inner_step(page.node(), slot)]
        index = number
        for level in range(1, depth(length)):
            index, slot = divmod(index, WIDTH)
            path.append(inner_step(read_node(self._reader, table, level, index), slot))
        proof = Proof(row_key(table, row_id), value, (*path, *self._state_steps(table)))
        if proof.root() != self.root():
            raise InvariantViolation(
                f"the stored path of {table.name.lower()} {row_id} does not lead to the state root"
            )
        return proof

    def _state_steps(self, table: Table) -> tuple[Inner, Inner]:
        upper, lower = divmod(int(table), WIDTH)
        return inner_step(_lower_node(self._roots, upper), lower), inner_step(_upper_node(self._roots), upper)

    def _page_rows(self, table: Table, number: int) -> list[bytes]:
        return read_page(self._reader, table, number, self._rows_in(table, number)).all_rows()

    def _rows_in(self, table: Table, number: int) -> int:
        """How many rows page `number` has."""
        return min(WIDTH, self._lengths[table] - number * WIDTH)


def heads_value(lengths: Sequence[int], roots: Sequence[bytes]) -> bytes:
    """The value at ``LENGTHS`` for lengths and roots by tag (index 0 unused)."""
    heads = zip(lengths[1:], roots[1:], strict=True)
    return seal(LENGTHS, b"".join(_HEAD.pack(length, root) for length, root in heads))


def read_heads(reader: Reader) -> tuple[list[int], list[bytes]]:
    """Lengths and roots by tag (index 0 unused). A store without tables, or with fewer of them, has empty ones."""
    lengths = [0] * (TABLES + 1)
    roots = [EMPTY_CHILD] * (TABLES + 1)
    if reader.get(LENGTHS) is None:
        return lengths, roots
    body = open_value(reader, LENGTHS)
    if len(body) % _HEAD.size or len(body) > TABLES * _HEAD.size:
        raise InvariantViolation(f"{len(body)} bytes of table lengths: more tables than this version knows")
    for tag, (length, root) in enumerate(_HEAD.iter_unpack(body), start=1):
        lengths[tag], roots[tag] = length, root
    return lengths, roots


# ---- writing -------------------------------------------------------------------------------------------------------


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
            yield from zip(some, keys, chain(stored, repeat(_EMPTY_NODE)), strict=False)

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


def read_lengths(meta_row: bytes) -> list[int]:
    """The lengths of the tables, by tag - 1, from row 0 of `meta`."""
    return decode_own(list[int], meta_row)


def _check_size(size: int) -> None:
    if not 0 < size <= ROW_BYTES_MAX:
        raise InvariantViolation(f"a row of {size} bytes: from 1 to {ROW_BYTES_MAX} are allowed")
