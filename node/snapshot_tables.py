"""Fetching the tables of a snapshot: piece by piece, each checked by itself, straight into the store's own form.

Rules of this file

* ``meta`` first: its row 0 binds the lengths of all tables. Then nodes from the roots down, then subtrees of rows; what
  is written has been hashed up to a hash that the certified header binds.
* A piece that lies in the store with the right root is not fetched again: so a fetch goes on where it was killed, also
  with a newer snapshot, whose unchanged pieces are the same.
* Memory is bounded by the questions in flight and one batch; batches are synced, for a power cut must not leave a hole
  below a finished piece.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from ledger.errors import PeerError
from ledger.pages import node_key, seal
from ledger.store import Batch, Reader
from ledger.subtrees import (
    Subtree,
    acceptable,
    build,
    child_hashes,
    node_hash,
    read_page,
    root_level,
    rows_under,
    stored_root,
)
from ledger.tables import LENGTHS_ROW, TABLES, Table

from .snapshot_offer import Target, check_lengths
from .snapshot_progress import Progress
from .snapshot_sources import Sources, TooLarge
from .snapshot_wire import (
    NODES_MAX,
    PIECE_LEVEL,
    GetNodes,
    decode_nodes,
    decode_rows,
    rows_question,
)

WORKERS: Final = 6
"""Questions open at a time."""
BATCH_BYTES: Final = 8 << 20

Write = Callable[[Batch], Awaitable[None]]


class TableFetch:
    """See the head of this file. ``run`` it once."""

    def __init__(self, store: Reader, write: Write, target: Target, sources: Sources, progress: Progress) -> None:
        self._store = store
        self._write = write
        self._target = target
        self._sources = sources
        self._progress = progress
        self._batch = Batch()
        self._batch_bytes = 0
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Fetch what is missing; everything is durable when this returns. Raises ``NoSource``."""
        await self._fetch(await self._pieces(Table.META))
        await self._flush()
        length = self._target.lengths[Table.META]
        try:
            if not length:
                raise PeerError("BAD_OFFER", "a state without rows of meta")
            check_lengths(self._target, read_page(self._store, Table.META, 0, length)[LENGTHS_ROW])
        except PeerError as error:
            self._sources.blame_all(error)
            raise
        pieces: deque[tuple[Subtree, bytes]] = deque()
        for tag in range(1, TABLES + 1):
            if tag != Table.META:
                pieces += await self._pieces(Table(tag))
        await self._fetch(pieces)
        await self._flush()

    # ---- what there is to fetch ----

    async def _pieces(self, table: Table) -> deque[tuple[Subtree, bytes]]:
        """The subtrees of a table with their roots, the nodes above them fetched."""
        length, hashes = self._target.lengths[table], [self._target.roots[table]]
        if not length:
            return deque()
        level = root_level(length)
        while level > PIECE_LEVEL:
            nodes = await self._nodes(table, level, hashes)
            await self._put({node_key(table, level, at): node for at, node in enumerate(nodes)})
            level -= 1
            count = -(-length // rows_under(level))
            hashes = [child for node in nodes for child in child_hashes(node)][:count]
        return deque((Subtree(table, level, at), digest) for at, digest in enumerate(hashes))

    async def _nodes(self, table: Table, level: int, hashes: list[bytes]) -> list[bytes]:
        nodes: list[bytes] = []
        for first in range(0, len(hashes), NODES_MAX):
            nodes += await self._some_nodes(table, level, first, hashes[first : first + NODES_MAX])
        return nodes

    async def _some_nodes(self, table: Table, level: int, first: int, hashes: list[bytes]) -> tuple[bytes, ...]:
        question = GetNodes(self._target.height, int(table), level, first, len(hashes))

        def check(raw: bytes) -> tuple[bytes, ...]:
            nodes = decode_nodes(raw, question)
            if [node_hash(node) for node in nodes] != hashes:
                raise PeerError("BAD_NODE", f"{table.name.lower()}, level {level}, from {first}")
            return nodes

        return await self._sources.fetch(question, check)

    # ---- fetching ----

    async def _fetch(self, pieces: deque[tuple[Subtree, bytes]]) -> None:
        workers: list[asyncio.Task[None]] = []
        try:
            async with asyncio.TaskGroup() as tasks:
                workers += [tasks.create_task(self._work(pieces)) for _ in range(min(WORKERS, len(pieces)))]
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from group

    async def _work(self, pieces: deque[tuple[Subtree, bytes]]) -> None:
        while pieces:
            where, root = pieces.popleft()
            rows = where.rows(self._target.lengths[where.table])
            if stored_root(self._store, where, self._target.lengths[where.table]) == root:
                self._progress.found(rows)
                await asyncio.sleep(0)
            else:
                await self._piece(where, root)

    async def _piece(self, where: Subtree, root: bytes) -> None:
        expected = where.rows(self._target.lengths[where.table])

        def check(raw: bytes) -> dict[bytes, bytes]:
            rows = decode_rows(raw)
            if not acceptable(rows, expected):
                raise PeerError("BAD_ROWS", f"{len(rows)} rows for {where}")
            built = build(where, rows)
            if built.root != root:
                raise PeerError("BAD_ROWS", f"{where} has another root")
            self._progress.fetched(expected, len(raw))
            return dict(built.puts)

        question = rows_question(self._target.height, where)
        try:
            puts = await self._sources.fetch(question, check, divisible=where.level > 0)
        except TooLarge:
            await self._children(where, root)
        else:
            await self._put(puts, sealed=True)

    async def _children(self, where: Subtree, root: bytes) -> None:
        """A piece too large for one answer: its top node is written after all below it."""
        (node,) = await self._some_nodes(where.table, where.level, where.index, [root])
        key = node_key(where.table, where.level, where.index)
        await self._add({key: None}, 0)
        hashes = child_hashes(node)
        for child in where.children(self._target.lengths[where.table]):
            await self._piece(child, hashes[child.index % len(hashes)])
        await self._put({key: node})

    # ---- writing ----

    async def _put(self, values: dict[bytes, bytes], *, sealed: bool = False) -> None:
        if not sealed:
            values = {key: seal(key, body) for key, body in values.items()}
        await self._add(dict(values), sum(map(len, values.values())))

    async def _add(self, changes: dict[bytes, bytes | None], size: int) -> None:
        async with self._turn:  # while one batch is written, whoever has more waits here: memory is bounded
            self._batch.changes.update(changes)
            self._batch_bytes += size
            if self._batch_bytes >= BATCH_BYTES:
                await self._flush_now()

    async def _flush(self) -> None:
        async with self._turn:
            await self._flush_now()

    async def _flush_now(self) -> None:
        batch, self._batch, self._batch_bytes = self._batch, Batch(), 0
        if batch.changes:
            await self._write(batch)
