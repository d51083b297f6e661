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
from collections.abc import Iterator, Sequence
from enum import IntEnum
from hashlib import sha256

from .codec import decode_own
from .errors import InvariantViolation
from .pages import EMPTY_NODE, NODE_BYTES, TAGS, WIDTH, open_value, read_node, read_page, seal
from .proofs import EMPTY_CHILD, INNER_PREFIX, VALUE_BYTES_MAX, Inner, Proof, inner_step
from .store import LENGTHS, Reader

ROW_BYTES_MAX = VALUE_BYTES_MAX
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
        children.append(sha256(INNER_PREFIX + lower).digest() if lower != EMPTY_NODE else EMPTY_CHILD)
    return b"".join(children).ljust(NODE_BYTES, EMPTY_CHILD[:1])


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


def read_lengths(meta_row: bytes) -> list[int]:
    """The lengths of the tables, by tag - 1, from row 0 of `meta`."""
    return decode_own(list[int], meta_row)
