"""How the tables lie in the store: pages of 16 rows with their leaf hashes, inner nodes, checksums (LEDGER §1).

Private to `ledger.tables`. Rules of this file
- Every value ends with a CRC-32 that starts from its key: a damaged or misplaced value is an `InvariantViolation` that
  says what to do, never a row. What passes the checksum is still measured against the count of rows that is due.
- A page of 1.5 KB is not written anew for each row of 60 bytes: rows put since it was written lie beside it, with their
  leaf hashes, as its *amendments*, until they take a sixth of its bytes (decision 0025). What has amendments is read
  through `Patched` alone.
- A put copies the other rows and leaf hashes as they are: random puts are what a collection's failures cost.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from hashlib import sha256
from zlib import crc32

import msgspec

from .errors import InvariantViolation
from .proofs import HASH_BYTES, INNER_PREFIX, varint
from .store import AMENDMENTS, NODES, ROWS, Reader

WIDTH = 16
NODE_BYTES = WIDTH * HASH_BYTES
EMPTY_NODE = bytes(NODE_BYTES)
TAGS = tuple(bytes((tag,)) for tag in range(256))
"""Each number below 256 as a byte: of table tags, of ids, of lengths."""
_SIZES = TAGS[:0x80]
"""Lengths that are one byte as a varint."""
_LOWS = tuple(TAGS[low : low + WIDTH] for low in range(0, 256, WIDTH))
"""The low bytes of the ids of a page's rows, by the low half byte of its number."""


def page_key(table: int, number: int) -> bytes:
    return ROWS + TAGS[table] + number.to_bytes(8, "big")


def amendments_key(table: int, number: int) -> bytes:
    return AMENDMENTS + TAGS[table] + number.to_bytes(8, "big")


def node_key(table: int, level: int, index: int) -> bytes:
    return NODES + TAGS[table] + bytes((level,)) + index.to_bytes(8, "big")


_CRC = struct.Struct(">I")
_SHORT = tuple(struct.Struct(f">{count}H") for count in range(WIDTH + 1))
_LONG = tuple(struct.Struct(f">{count}I") for count in range(WIDTH + 1))
_LONG_FLAG = 0x80
_PADDING = bytes(NODE_BYTES)

_SPLICE = struct.Struct(">III")


def splice(start: int, stop: int, old: bytes | bytearray) -> bytes:
    """That ``old`` stood in a value's body at what is now ``start`` to ``stop``; joined, ascending."""
    return _SPLICE.pack(start, stop, len(old)) + old


def spliced(body: bytes, splices: bytes) -> bytes:
    """The body before, of the one after. Raises `InvariantViolation` when the splices are not of this body."""
    pieces: list[bytes] = []
    at = read = 0
    while read < len(splices):
        start, stop, length = _SPLICE.unpack_from(splices, read)
        read += _SPLICE.size
        if not at <= start <= stop <= len(body):
            raise InvariantViolation(f"what was replaced from {start} to {stop} does not lie in {len(body)} bytes")
        pieces += (body[at:start], splices[read : read + length])
        at, read = stop, read + length
    return b"".join((*pieces, body[at:]))


def seal(key: bytes, body: bytes | bytearray) -> bytes:
    return b"".join((body, _CRC.pack(crc32(body, crc32(key)))))


def open_value(reader: Reader, key: bytes) -> bytes:
    """The body of a sealed value that must be there."""
    return _opened(key, reader.get(key))


def _opened(key: bytes, raw: bytes | None) -> bytes:
    if raw is None:
        raise InvariantViolation(f"the store has lost the value {key.hex()}: run `huzhu doctor`")
    body = unsealed(key, raw)
    if body is None:
        raise InvariantViolation(f"the store's value {key.hex()} is damaged (checksum): run `huzhu doctor`")
    return body


def unsealed(key: bytes, raw: bytes) -> bytes | None:
    """The body of a sealed value; ``None`` when it is damaged."""
    body = raw[:-4]
    if len(raw) < 5 or crc32(body, crc32(key)) != int.from_bytes(raw[-4:], "big"):
        return None
    return body


_ENTRY = struct.Struct(">BH")
"""Slot and length of an amended row; its leaf hash and the row follow."""
_ENTRY_BYTES = _ENTRY.size + HASH_BYTES
_AMENDED_SHARE = 6
"""Amendments take at most one of so many bytes of their page: two rows of a member, three of an account."""
_AMENDMENTS_MAX = 0xFFFF
"""Bytes, for a row's length has two."""
_Entries = dict[int, tuple[bytes, bytes]]
"""Leaf hash and row, by slot."""


class Flushed(msgspec.Struct, frozen=True, gc=False):
    """What of a changed page is to be stored."""

    digest: bytes
    """The hash of its node."""
    body: bytes | bytearray | None
    """The page; ``None``: it stays as it was written."""
    splices: bytes | None
    """What makes the page before of this one; ``None`` when there was none, or it stays."""
    amendments: bytes
    """Empty: none."""


def read_pages(reader: Reader, table: int, numbers: Sequence[int], length: int) -> Iterator[tuple[int, Patched]]:
    """Stored pages of a table of ``length`` rows, by number: many are asked for at a time, ``numbers`` ascending."""
    keys = [page_key(table, number) for number in numbers]
    beside = [amendments_key(table, number) for number in numbers]
    found = zip(numbers, keys, reader.get_many(keys), beside, reader.get_many(beside), strict=True)
    for number, key, raw, amended_key, amended in found:
        amendments = b"" if amended is None else _opened(amended_key, amended)
        yield number, Patched(_opened(key, raw), min(WIDTH, length - number * WIDTH), amendments)


def read_page(reader: Reader, table: int, number: int, count: int) -> Patched:
    """A stored page with its amendments; ``count`` rows are due."""
    body = open_value(reader, page_key(table, number))
    key = amendments_key(table, number)
    raw = reader.get(key)
    return Patched(body, count, b"" if raw is None else _opened(key, raw))


def _entries(amendments: bytes, count: int) -> _Entries:
    found: _Entries = {}
    at = 0
    while at < len(amendments):
        start = at + _ENTRY_BYTES
        slot, length = _ENTRY.unpack_from(amendments, at) if start <= len(amendments) else (count, 0)
        if slot >= count or start + length > len(amendments):
            raise InvariantViolation(f"{len(amendments)} bytes are no amendments of a page of {count} rows")
        found[slot] = amendments[at + _ENTRY.size : start], amendments[start : start + length]
        at = start + length
    return found


class Fresh:
    """A changed page whose rows are all at hand: a new page, or the last one after an append. All leaves are hashed."""

    __slots__ = ("amendments", "rows")
    changed = True

    def __init__(self, rows: list[bytes], amendments: bytes = b"") -> None:
        self.rows = rows
        self.amendments = amendments
        """Of the page as it is stored."""

    def row(self, slot: int) -> bytes | None:
        return self.rows[slot] if slot < len(self.rows) else None

    def put(self, slot: int, value: bytes) -> None:
        self.rows[slot] = value

    def flush(self, table: int, number: int) -> Flushed:
        """The whole page, and nothing of the page before."""
        rows, head, low = self.rows, _leaf_head(table, number), (number & 15) << 4
        sizes = [*map(len, rows)]
        if max(sizes) < len(_SIZES):  # as ``_leaf_hash``, without a call for each of the many rows of an enrolment
            tags = zip(_LOWS[low >> 4], rows, sizes, strict=False)
            hashes = b"".join([sha256(head + tag + _SIZES[size] + row).digest() for tag, row, size in tags])
        else:
            hashes = b"".join([_leaf_hash(head, low + slot, row) for slot, row in enumerate(rows)])
        return Flushed(_page_hash(hashes), b"".join((_page_head(sizes), hashes, *rows)), None, b"")


class Patched:
    """A page as it is stored, and the rows put since: the other leaves and rows are copied, never decoded."""

    __slots__ = ("_older", "amendments", "body", "count", "places", "puts")

    def __init__(self, body: bytes, count: int, amendments: bytes = b"") -> None:
        self.body = body
        self.count = count
        self.places = layout(body, count)
        self.amendments = amendments
        self._older = _entries(amendments, count) if amendments else {}
        self.puts: dict[int, bytes] = {}

    @property
    def changed(self) -> bool:
        return bool(self.puts)

    def row(self, slot: int) -> bytes | None:
        row = self.puts.get(slot)
        if row is not None:
            return row
        if slot in self._older:
            return self._older[slot][1]
        if slot >= self.count:
            return None
        lengths, _, at = self.places
        at += sum(lengths[:slot])
        return self.body[at : at + lengths[slot]]

    def put(self, slot: int, value: bytes) -> None:
        self.puts[slot] = value

    def all_rows(self) -> list[bytes]:
        rows = rows_of(self.body, self.count)
        for slot, (_, value) in self._older.items():
            rows[slot] = value
        for slot, value in self.puts.items():
            rows[slot] = value
        return rows

    def node(self) -> bytes:
        """The leaf hashes of the stored rows, 16 children."""
        return bytes(self._hashes(self._older)).ljust(NODE_BYTES, b"\x00")

    def flush(self, table: int, number: int) -> Flushed:
        """The amendments with what was put, or a page anew when they grow too large."""
        leaf_head, low = _leaf_head(table, number), (number & 15) << 4
        if not self._older and len(self.puts) == 1:  # as below; most changes are of one row
            ((slot, row),) = self.puts.items()
            size = _ENTRY_BYTES + len(row)
            if size * _AMENDED_SHARE <= len(self.body) and size <= _AMENDMENTS_MAX:
                _, hashes_at, rows_at = self.places
                leaf, at, body = _leaf_hash(leaf_head, low + slot, row), hashes_at + slot * HASH_BYTES, self.body
                node = (INNER_PREFIX, body[hashes_at:at], leaf, body[at + HASH_BYTES : rows_at])
                digest = sha256(b"".join((*node, _PADDING[rows_at - hashes_at :]))).digest()
                return Flushed(digest, None, None, b"".join((_ENTRY.pack(slot, len(row)), leaf, row)))
        entries = dict(self._older)
        for slot, row in self.puts.items():
            entries[slot] = _leaf_hash(leaf_head, low + slot, row), row
        size = _ENTRY_BYTES * len(entries)
        for _, row in entries.values():
            size += len(row)
        if size * _AMENDED_SHARE > len(self.body) or size > _AMENDMENTS_MAX:
            return self._rewritten(entries)
        pieces: list[bytes] = []
        for slot, (leaf, row) in entries.items():
            pieces += (_ENTRY.pack(slot, len(row)), leaf, row)
        return Flushed(_page_hash(self._hashes(entries)), None, None, b"".join(pieces))

    def _hashes(self, entries: _Entries) -> bytearray:
        _, hashes_at, rows_at = self.places
        hashes = bytearray(self.body[hashes_at:rows_at])
        for slot, (leaf, _) in entries.items():
            at = slot * HASH_BYTES
            hashes[at : at + HASH_BYTES] = leaf
        return hashes

    def _rewritten(self, entries: _Entries) -> Flushed:
        page = bytearray(self.body)
        old_lengths, hashes_at, rows_at = self.places
        lengths = list(old_lengths)
        for slot, (_, row) in entries.items():
            lengths[slot] = len(row)
        splices: list[bytes] = []
        shift = 0
        if tuple(lengths) != old_lengths:
            head = _page_head(lengths)
            splices.append(splice(0, len(head), page[:hashes_at]))
            page[:hashes_at] = head
            shift = len(head) - hashes_at
        leaves_at = hashes_at + shift
        slots = sorted(entries)
        for slot in slots:
            start = leaves_at + slot * HASH_BYTES
            stop = start + HASH_BYTES
            splices.append(splice(start, stop, page[start:stop]))
            page[start:stop] = entries[slot][0]
        digest = _page_hash(page[leaves_at : rows_at + shift])
        for slot in slots:
            start = rows_at + shift + sum(old_lengths[:slot])
            stop = start + old_lengths[slot]
            splices.append(splice(start, start + lengths[slot], page[start:stop]))
            page[start:stop] = entries[slot][1]
            shift += lengths[slot] - old_lengths[slot]
        return Flushed(digest, page, b"".join(splices), b"")


def _leaf_head(table: int, number: int) -> bytes:
    """What the leaves of a page's 16 rows begin with: their keys differ in the last byte only."""
    return b"\x00\x09" + TAGS[table] + (number >> 4).to_bytes(7, "big")


def _leaf_hash(head: bytes, low: int, row: bytes) -> bytes:
    """The hash of a row's leaf; ``low`` is the low byte of its id."""
    size = len(row)
    return sha256(head + TAGS[low] + (TAGS[size] if size < 0x80 else varint(size)) + row).digest()


def _page_hash(hashes: bytes | bytearray) -> bytes:
    """The hash of the node over a page's leaf hashes; missing rows are empty children."""
    return sha256(INNER_PREFIX + hashes + _PADDING[len(hashes) :]).digest()


def _page_head(lengths: list[int]) -> bytes:
    """A page is count and width (1) ‖ row lengths (2 or 4 bytes each) ‖ leaf hashes (32 each) ‖ rows."""
    count = len(lengths)
    if max(lengths) <= 0xFFFF:
        return bytes((count,)) + _SHORT[count].pack(*lengths)
    return bytes((count | _LONG_FLAG,)) + _LONG[count].pack(*lengths)


def layout(body: bytes, expected: int) -> tuple[tuple[int, ...], int, int]:
    """Row lengths, and where the hashes and the rows begin. `expected` is the count that the table's length demands."""
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


def rows_of(body: bytes, expected: int) -> list[bytes]:
    lengths, _, at = layout(body, expected)
    rows = []
    for length in lengths:
        rows.append(body[at : at + length])
        at += length
    return rows


def read_nodes(reader: Reader, keys: Sequence[bytes]) -> Iterator[bytes]:
    """The stored nodes at these keys."""
    for key, raw in zip(keys, reader.get_many(keys), strict=True):
        yield _node(_opened(key, raw))


def read_node(reader: Reader, table: int, level: int, index: int) -> bytes:
    return _node(open_value(reader, node_key(table, level, index)))


def _node(body: bytes) -> bytes:
    if len(body) != NODE_BYTES:
        raise InvariantViolation(f"a node of {len(body)} bytes where {NODE_BYTES} are due")
    return body
