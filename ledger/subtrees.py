"""Aligned subtrees of the tables: the pieces in which a snapshot of the state travels (issue 6, sync).

A piece is a whole subtree of a table's 16-ary tree (`ledger.tables`): its root is bound by the state root, so a piece
is checked by itself, whoever sent it, and can be fetched from anybody in any order. A piece of level 0 is a page of 16
rows, of level l a node with 16**(l+1) rows below it; the last one of a table may hold fewer.

Rules of this file
- Pure. Only rows travel; every hash is computed anew where they arrive, and pages and nodes come out in the form in
  which the tables lie in the store, so a finished piece is a finished part of the store.
- A piece is written as one batch, its top node with it: that this node is there says that all below it is.

The idea is that of the aligned chunks of Merkle-tree state sync (Ethereum's snap protocol, 2021; Cosmos' ADR 040).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from . import pages
from .pages import (
    NODE_BYTES,
    WIDTH,
    Fresh,
    node_key,
    open_value,
    page_key,
    seal,
)
from .proofs import EMPTY_CHILD, HASH_BYTES, INNER_PREFIX
from .store import Reader
from .tables import ROW_BYTES_MAX, Table, depth


@dataclass(frozen=True, slots=True)
class Subtree:
    """Which subtree: the node ``index`` of ``level`` in the tree of ``table``."""

    table: Table
    level: int
    index: int

    @property
    def first(self) -> int:
        """Id of its first row."""
        return self.index * rows_under(self.level)

    def rows(self, length: int) -> int:
        """How many rows it has in a table of ``length`` rows; 0 when it lies beyond."""
        return max(0, min(rows_under(self.level), length - self.first))

    def children(self, length: int) -> Iterator["Subtree"]:
        """The subtrees just below that are not empty; of a level above 0."""
        for index in range(self.index * WIDTH, (self.index + 1) * WIDTH):
            child = Subtree(self.table, self.level - 1, index)
            if not child.rows(length):
                return
            yield child


@dataclass(frozen=True, slots=True)
class Built:
    """A subtree made from its rows: its root, and what to write for it."""

    root: bytes
    puts: tuple[tuple[bytes, bytes], ...]


def rows_under(level: int) -> int:
    """Most rows below a node of ``level``."""
    return 1 << 4 * (level + 1)


def root_level(length: int) -> int:
    """The level of the root of a table of ``length`` >= 1 rows."""
    return depth(length) - 1


def build(where: Subtree, rows: Sequence[bytes]) -> Built:
    """Hash ``rows`` (1 to 1 MiB each, checked by ``acceptable``) upwards to the root of the subtree."""
    puts: list[tuple[bytes, bytes]] = []
    hashes: list[bytes] = []
    number = where.first // WIDTH
    for at in range(0, len(rows), WIDTH):
        key = page_key(where.table, number)
        flushed = Fresh(list(rows[at : at + WIDTH])).flush(where.table, number)
        puts.append((key, seal(key, flushed.body or b"")))
        hashes.append(flushed.digest)
        number += 1
    for level in range(1, where.level + 1):
        first = where.first // rows_under(level)
        nodes = [b"".join(hashes[at : at + WIDTH]).ljust(NODE_BYTES, b"\x00") for at in range(0, len(hashes), WIDTH)]
        for at, node in enumerate(nodes):
            key = node_key(where.table, level, first + at)
            puts.append((key, seal(key, node)))
        hashes = [node_hash(node) for node in nodes]
    return Built(hashes[0], tuple(puts))


def acceptable(rows: Sequence[bytes], expected: int) -> bool:
    """Whether these can be ``expected`` rows at all."""
    return len(rows) == expected and all(0 < len(row) <= ROW_BYTES_MAX for row in rows)


def read_page(reader: Reader, table: Table, number: int, length: int) -> list[bytes]:
    """The rows of one page of a table of ``length`` rows."""
    return pages.read_page(reader, table, number, min(WIDTH, length - number * WIDTH)).all_rows()


def stored_root(reader: Reader, where: Subtree, length: int) -> bytes | None:
    """The root of a subtree as it lies in the store; None when it is not there, or not with the rows of ``length``."""
    key = node_key(where.table, where.level, where.index) if where.level else page_key(where.table, where.index)
    if reader.get(key) is None:
        return None
    body = open_value(reader, key)
    if where.level:
        return node_hash(body) if len(body) == NODE_BYTES else None
    count = where.rows(length)
    if body[0] & 0x7F != count:
        return None
    return node_hash(pages.read_page(reader, where.table, where.index, count).node())


def node_hash(node: bytes) -> bytes:
    """The hash of an inner node of 16 child hashes."""
    return sha256(INNER_PREFIX + node).digest()


def root_of(hashes: Sequence[bytes], levels: int) -> bytes:
    """The hash so many levels above these neighbours, the first of which is the first of its level."""
    for _ in range(levels):
        hashes = [
            node_hash(b"".join(hashes[at : at + WIDTH]).ljust(NODE_BYTES, b"\x00"))
            for at in range(0, len(hashes), WIDTH)
        ]
    return hashes[0]


def child_hashes(node: bytes) -> list[bytes]:
    """The 16 hashes in an inner node; those of empty children are ``EMPTY_CHILD``."""
    return [node[at : at + HASH_BYTES] for at in range(0, NODE_BYTES, HASH_BYTES)]


def is_empty(child: bytes) -> bool:
    """Whether this is the hash of an empty child."""
    return child == EMPTY_CHILD
