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

What is stored (private, may change with the store's format version)
- a page: 16 rows with their 16 leaf hashes, at ROWS ‖ tag ‖ page number;
- a node: 16 child hashes, at NODES ‖ tag ‖ level ‖ index; level 1 stands on the pages;
- one value with the length and the root of every table, at LENGTHS.
Each ends with a CRC-32 that starts from its key: a damaged or misplaced value is an `InvariantViolation`, never a row.

A row is 1 to 1 MiB: ICS-23 verifiers refuse an empty value.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from enum import IntEnum
from hashlib import sha256
from zlib import crc32

from .codec import decode_own, encode
from .errors import InvariantViolation
from .proofs import EMPTY_CHILD, HASH_BYTES, INNER_PREFIX, VALUE_BYTES_MAX, Inner, Proof, inner_step, varint
from .store import LENGTHS, NODES, ROWS, Overlay, Reader

ROW_BYTES_MAX = VALUE_BYTES_MAX
WIDTH = 16
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


TABLES = len(Table)
_TAGS = tuple(bytes((tag,)) for tag in range(TABLES + 1))


class MissingRow(InvariantViolation):
    """A row that the caller promised exists does not."""

    def __init__(self, table: Table, row_id: int, length: int) -> None:
        super().__init__(f"table {table.name.lower()} has no row {row_id}: its length is {length}")
        self.table = table
        self.row_id = row_id


def row_key(table: Table, row_id: int) -> bytes:
    """The key under which a row is hashed and proven."""
    return _TAGS[table] + row_id.to_bytes(8, "big")


def depth(length: int) -> int:
    """Levels of the tree of `length` >= 1 rows: the least d >= 1 with 16**d >= length."""
    return max(1, ((length - 1).bit_length() + 3) // 4)


def state_root(roots: Sequence[bytes]) -> bytes:
    """The state root over the table roots, indexed by tag (index 0 unused)."""
    return sha256(INNER_PREFIX + _upper_node(roots)).digest()


def _lower_node(roots: Sequence[bytes], slot: int) -> bytes:
    """The 16 table roots under one slot of the upper node."""
    part = b"".join(roots[slot * WIDTH : (slot + 1) * WIDTH])
    return part.ljust(WIDTH * HASH_BYTES, b"\x00")


def _upper_node(roots: Sequence[bytes]) -> bytes:
    children = []
    for slot in range(WIDTH):
        lower = _lower_node(roots, slot)
        children.append(sha256(INNER_PREFIX + lower).digest() if any(lower) else EMPTY_CHILD)
    return b"".join(children)


# ---- stored values -------------------------------------------------------------------------------------------------


def _page_key(table: int, number: int) -> bytes:
    return ROWS + _TAGS[table] + number.to_bytes(8, "big")


def _node_key(table: int, level: int, index: int) -> bytes:
    return NODES + _TAGS[table] + bytes((level,)) + index.to_bytes(8, "big")


_CRC = struct.Struct(">I")
_HEAD = struct.Struct(">Q32s")
_SHORT = tuple(struct.Struct(f">{count}H") for count in range(WIDTH + 1))
_LONG = tuple(struct.Struct(f">{count}I") for count in range(WIDTH + 1))
_LONG_FLAG = 0x80
_NODE_BYTES = WIDTH * HASH_BYTES


def _seal(key: bytes, body: bytes) -> bytes:
    return body + _CRC.pack(crc32(body, crc32(key)))


def _open_value(reader: Reader, key: bytes) -> bytes:
    """The body of a sealed value that must be there."""
    raw = reader.get(key)
    if raw is None:
        raise InvariantViolation(f"the store has lost the value {key.hex()}: run `huzhu doctor`, or restore a snapshot")
    body = raw[:-4]
    if len(raw) < 5 or crc32(body, crc32(key)) != int.from_bytes(raw[-4:], "big"):
        raise InvariantViolation(
            f"the store's value {key.hex()} is damaged (checksum): run `huzhu doctor`, or restore a snapshot"
        )
    return body


class _Page:
    """Up to 16 rows with their leaf hashes; an empty hash is one not computed yet."""

    __slots__ = ("hashes", "rows")

    def __init__(self, rows: list[bytes], hashes: list[bytes]) -> None:
        self.rows = rows
        self.hashes = hashes

    def encode(self) -> bytes:
        """count and width (1) ‖ row lengths (2 or 4 each) ‖ leaf hashes (32 each) ‖ rows."""
        count = len(self.rows)
        lengths = [*map(len, self.rows)]
        if max(lengths) <= 0xFFFF:
            head = bytes((count,)) + _SHORT[count].pack(*lengths)
        else:
            head = bytes((count | _LONG_FLAG,)) + _LONG[count].pack(*lengths)
        return head + b"".join(self.hashes) + b"".join(self.rows)

    def hash(self, table: int, number: int) -> bytes:
        """The hash of the level-0 node, after computing the missing leaf hashes."""
        hashes = self.hashes
        rows = self.rows
        # A key's first 8 bytes are common to the 16 rows; its last byte is the low byte of the id.
        head = b"\x00\x09" + _TAGS[table] + (number >> 4).to_bytes(7, "big")
        low = (number & 15) << 4
        for slot, known in enumerate(hashes):
            if not known:
                row = rows[slot]
                size = len(row)
                tail = bytes((low + slot, size)) if size < 0x80 else bytes((low + slot,)) + varint(size)
                hashes[slot] = sha256(head + tail + row).digest()
        joined = b"".join(hashes)
        if len(hashes) < WIDTH:
            joined = joined.ljust(_NODE_BYTES, b"\x00")
        return sha256(INNER_PREFIX + joined).digest()


def _layout(body: bytes, expected: int) -> tuple[tuple[int, ...], int, int]:
    """Row lengths, and where the hashes and the rows begin. `expected` is the count the table's length demands."""
    count = body[0] & ~_LONG_FLAG
    layouts, width = (_LONG, 4) if body[0] & _LONG_FLAG else (_SHORT, 2)
    hashes_at = 1 + width * count
    rows_at = hashes_at + HASH_BYTES * count
    if count != expected or len(body) < rows_at:
        raise InvariantViolation(f"a page of {count} rows in {len(body)} bytes where {expected} rows are due")
    lengths: tuple[int, ...] = layouts[count].unpack_from(body, 1)
    if rows_at + sum(lengths) != len(body):
        raise InvariantViolation(f"a page's row lengths do not add up to its {len(body)} bytes")
    return lengths, hashes_at, rows_at


def _decode_page(body: bytes, expected: int) -> _Page:
    lengths, hashes_at, at = _layout(body, expected)
    hashes = [body[i : i + HASH_BYTES] for i in range(hashes_at, at, HASH_BYTES)]
    rows = []
    for length in lengths:
        rows.append(body[at : at + length])
        at += length
    return _Page(rows, hashes)


# ---- reading -------------------------------------------------------------------------------------------------------


class TableReader:
    """The tables of a state that does not change: a snapshot, or a store between two writes."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._lengths, self._roots = _read_heads(reader)

    def length(self, table: Table) -> int:
        """The number of rows; the next id."""
        return self._lengths[table]

    def get(self, table: Table, row_id: int) -> bytes:
        """A row. Raises `MissingRow`."""
        length = self._lengths[table]
        if not 0 <= row_id < length:
            raise MissingRow(table, row_id, length)
        number, slot = divmod(row_id, WIDTH)
        body = _open_value(self._reader, _page_key(table, number))
        lengths, _, at = _layout(body, min(WIDTH, length - number * WIDTH))
        at += sum(lengths[:slot])
        return body[at : at + lengths[slot]]

    def scan(self, table: Table, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, bytes]]:
        """Rows from `start` (inclusive) to `stop` (exclusive; None, or more than the length: to the end) in order."""
        length = self._lengths[table]
        stop = length if stop is None else min(stop, length)
        if start < 0:
            raise InvariantViolation(f"a scan from row {start}")
        return self._scan(table, start, stop)

    def _scan(self, table: Table, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        while start < stop:
            number, slot = divmod(start, WIDTH)
            rows = self._rows(table, number)
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
        page = _decode_page(_open_value(self._reader, _page_key(table, number)), min(WIDTH, length - number * WIDTH))
        path = [inner_step(b"".join(page.hashes).ljust(_NODE_BYTES, b"\x00"), slot)]
        index = number
        for level in range(1, depth(length)):
            index, slot = divmod(index, WIDTH)
            path.append(inner_step(_read_node(self._reader, table, level, index), slot))
        proof = Proof(row_key(table, row_id), page.rows[row_id % WIDTH], (*path, *self._state_steps(table)))
        if proof.root() != self.root():
            raise InvariantViolation(
                f"the stored path of {table.name.lower()} {row_id} does not lead to the state root"
            )
        return proof

    def _state_steps(self, table: Table) -> tuple[Inner, Inner]:
        upper, lower = divmod(int(table), WIDTH)
        return inner_step(_lower_node(self._roots, upper), lower), inner_step(_upper_node(self._roots), upper)

    def _rows(self, table: Table, number: int) -> list[bytes]:
        expected = min(WIDTH, self._lengths[table] - number * WIDTH)
        return _decode_page(_open_value(self._reader, _page_key(table, number)), expected).rows


def _read_heads(reader: Reader) -> tuple[list[int], list[bytes]]:
    """Lengths and roots by tag (index 0 unused). A store without tables, or with fewer of them, has empty ones."""
    lengths = [0] * (TABLES + 1)
    roots = [EMPTY_CHILD] * (TABLES + 1)
    if reader.get(LENGTHS) is None:
        return lengths, roots
    body = _open_value(reader, LENGTHS)
    if len(body) % _HEAD.size or len(body) > TABLES * _HEAD.size:
        raise InvariantViolation(f"{len(body)} bytes of table lengths: more tables than this version knows")
    for tag, (length, root) in enumerate(_HEAD.iter_unpack(body), start=1):
        lengths[tag], roots[tag] = length, root
    return lengths, roots


def _read_node(reader: Reader, table: int, level: int, index: int) -> bytes:
    body = _open_value(reader, _node_key(table, level, index))
    if len(body) != _NODE_BYTES:
        raise InvariantViolation(f"a node of {len(body)} bytes where {_NODE_BYTES} are due")
    return body


# ---- writing -------------------------------------------------------------------------------------------------------


class Tables(TableReader):
    """The tables of a block in the making, over its overlay.

    Changed pages are kept decoded; `root()` hashes only the changed paths and puts pages, nodes and lengths into the
    overlay. So call `root()` before `overlay.batch()`. Nobody else may write to the spaces ROWS, NODES and LENGTHS.
    """

    def __init__(self, overlay: Overlay) -> None:
        super().__init__(overlay)
        self._overlay = overlay
        self._flushed = list(self._lengths)
        self._dirty: list[dict[int, _Page]] = [{} for _ in range(TABLES + 1)]
        if self._lengths[Table.META] == 0:
            self._append(Table.META, self._lengths_row())

    def get(self, table: Table, row_id: int) -> bytes:
        """A row as of now. Raises `MissingRow`. (Row 0 of `meta` is as of the last `root()`.)"""
        page = self._dirty[table].get(row_id >> 4)
        if page is None:
            return super().get(table, row_id)
        slot = row_id & 15
        if slot >= len(page.rows):
            raise MissingRow(table, row_id, self._lengths[table])
        return page.rows[slot]

    def append(self, table: Table, value: bytes) -> int:
        """Add a row (1 to 1 MiB); returns its id."""
        _check_value(value)
        return self._append(table, value)

    def append_many(self, table: Table, values: Sequence[bytes]) -> range:
        """Add rows in order; returns their ids. Nothing is added if one of them is refused."""
        for value in values:
            _check_value(value)
        first = self._lengths[table]
        taken = 0
        if first & 15 and values:
            page = self._page(table, first >> 4)
            taken = min(WIDTH - (first & 15), len(values))
            page.rows.extend(values[:taken])
            page.hashes.extend([b""] * taken)
        dirty = self._dirty[table]
        number = (first + taken) >> 4
        for at in range(taken, len(values), WIDTH):
            rows = list(values[at : at + WIDTH])
            dirty[number] = _Page(rows, [b""] * len(rows))
            number += 1
        self._lengths[table] = first + len(values)
        return range(first, first + len(values))

    def put(self, table: Table, row_id: int, value: bytes) -> None:
        """Replace a row. Raises `MissingRow`: rows come into being by `append` only."""
        _check_value(value)
        if table == Table.META and row_id == LENGTHS_ROW:
            raise InvariantViolation("row 0 of meta binds the lengths: root() alone writes it")
        self._put(table, row_id, value)

    def root(self) -> bytes:
        """The state root after all changes so far; flushes pages and nodes into the overlay. Idempotent."""
        if self._lengths != self._flushed:
            self._put(Table.META, LENGTHS_ROW, self._lengths_row())
        changed = False
        for tag in range(1, TABLES + 1):
            if self._dirty[tag]:
                self._roots[tag] = self._flush(tag)
                changed = True
        if changed:
            heads = zip(self._lengths[1:], self._roots[1:], strict=True)
            self._overlay.put(LENGTHS, _seal(LENGTHS, b"".join(_HEAD.pack(length, root) for length, root in heads)))
            self._flushed = list(self._lengths)
        return state_root(self._roots)

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
        number = row_id >> 4
        if row_id & 15:
            page = self._page(table, number)
            page.rows.append(value)
            page.hashes.append(b"")
        else:
            self._dirty[table][number] = _Page([value], [b""])
        self._lengths[table] = row_id + 1
        return row_id

    def _put(self, table: Table, row_id: int, value: bytes) -> None:
        length = self._lengths[table]
        if not 0 <= row_id < length:
            raise MissingRow(table, row_id, length)
        page = self._page(table, row_id >> 4)
        slot = row_id & 15
        page.rows[slot] = value
        page.hashes[slot] = b""

    def _page(self, table: Table, number: int) -> _Page:
        """The decoded page, from now on a changed one."""
        pages = self._dirty[table]
        page = pages.get(number)
        if page is None:
            expected = min(WIDTH, self._lengths[table] - number * WIDTH)
            page = pages[number] = _decode_page(_open_value(self._reader, _page_key(table, number)), expected)
        return page

    def _rows(self, table: Table, number: int) -> list[bytes]:
        page = self._dirty[table].get(number)
        return list(page.rows) if page is not None else super()._rows(table, number)

    def _lengths_row(self) -> bytes:
        return encode(self._lengths[1:])

    def _flush(self, tag: int) -> bytes:
        """Write the changed pages and the nodes above them; returns the table's root."""
        put = self._overlay.put
        changed: dict[int, bytes] = {}
        for number, page in self._dirty[tag].items():
            changed[number] = page.hash(tag, number)
            key = _page_key(tag, number)
            put(key, _seal(key, page.encode()))
        self._dirty[tag] = {}
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
        """Patch the nodes of one level with their changed children; returns the hashes of those nodes by index."""
        put = self._overlay.put
        nodes: dict[int, bytearray] = {}
        for child, digest in children.items():
            index = child >> 4
            node = nodes.get(index)
            if node is None:
                if index < old_nodes:
                    node = bytearray(_read_node(self._reader, tag, level, index))
                else:
                    node = bytearray(_NODE_BYTES)
                    if index == 0 and grown_from is not None:
                        node[:HASH_BYTES] = grown_from
                nodes[index] = node
            at = (child & 15) << 5
            node[at : at + HASH_BYTES] = digest
        changed: dict[int, bytes] = {}
        for index, node in nodes.items():
            body = bytes(node)
            changed[index] = sha256(INNER_PREFIX + body).digest()
            key = _node_key(tag, level, index)
            put(key, _seal(key, body))
        return changed


def read_lengths(meta_row: bytes) -> list[int]:
    """The lengths of the tables, by tag - 1, from row 0 of `meta`."""
    return decode_own(list[int], meta_row)


def _check_value(value: bytes) -> None:
    if not 0 < len(value) <= ROW_BYTES_MAX:
        raise InvariantViolation(f"a row of {len(value)} bytes: from 1 to {ROW_BYTES_MAX} are allowed")
