"""Rebuilding all derived indexes of a large store in key order: sorted runs on the disk, merged into the database.

Rules of this file

* An index has its keys in no order of the rows (identities are hashes). Written as they come, LevelDB would rewrite
  each of its files over and over; written in order, none. So entries are sorted in runs of ``RUN_ENTRIES``, and the
  runs merged: an external merge sort (Knuth, TAOCP 3, §5.4).
* Memory is bounded by one run and one batch. Everything is done in slices, for the node goes on answering.
* Entries of one key lie side by side after the merge, ascending by value, that is by row id: those of a list are put
  together, of others the last one stays, as ``ledger.indexes`` says.
"""

import asyncio
import heapq
import shutil
import struct
from collections.abc import Awaitable, Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from ledger import indexes
from ledger.store import INDEXES, Batch, Store, index_key, prefix_stop

RUN_ENTRIES: Final = 250_000
SLICE: Final = 2_000
BATCH_ENTRIES: Final = 50_000
READ_BYTES: Final = 1 << 16

Pair = tuple[bytes, bytes]
"""Key in the store, and value."""
_HEAD: Final = struct.Struct(">HI")
_LISTS: Final = frozenset(INDEXES + index.value for index in indexes.LISTS)
_PREFIX_BYTES: Final = len(INDEXES) + 1


class IndexRebuild:
    """See the head of this file. ``run`` it once over a store whose rows are whole; begun again, it starts anew."""

    def __init__(
        self,
        store: Store,
        write: Callable[[Batch], Awaitable[None]],
        scratch: Path,
        done: Callable[[int], None],
    ) -> None:
        """``scratch``: a directory that is made, and removed at the end. ``done(n)``: n more entries were handled;
        each is told twice, once sorted and once written."""
        self._store = store
        self._write = write
        self._scratch = scratch
        self._done = done

    async def run(self) -> int:
        """Replace every index by what the rows say; how many entries they made."""
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir(parents=True)
        try:
            await self._clear()
            runs = await self._sort()
            return await self._merge(runs)
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)

    async def _clear(self) -> None:
        keys = (key for key, _ in self._store.scan(INDEXES, prefix_stop(INDEXES)))
        while some := list(islice(keys, BATCH_ENTRIES)):
            await self._write(Batch(dict.fromkeys(some)))

    async def _sort(self) -> list[Path]:
        runs: list[Path] = []
        pairs: list[Pair] = []
        entries = indexes.entries(self._store)
        while some := list(islice(entries, SLICE)):
            pairs += [(index_key(index.value, key), value) for index, key, value in some]
            self._done(len(some))
            if len(pairs) >= RUN_ENTRIES:
                runs.append(await self._save(pairs, len(runs)))
                pairs = []
            await asyncio.sleep(0)
        if pairs:
            runs.append(await self._save(pairs, len(runs)))
        return runs

    async def _save(self, pairs: list[Pair], number: int) -> Path:
        path = self._scratch / f"{number}.run"
        await asyncio.get_running_loop().run_in_executor(None, _save_sorted, path, pairs)
        return path

    async def _merge(self, runs: list[Path]) -> int:
        merged = _joined(heapq.merge(*(_read(path) for path in runs)))
        count = 0
        batch = Batch()
        while some := list(islice(merged, SLICE)):
            batch.changes.update(some)
            count += len(some)
            self._done(len(some))
            if len(batch) >= BATCH_ENTRIES:
                await self._write(batch)
                batch = Batch()
            await asyncio.sleep(0)
        await self._write(batch)
        return count


def _save_sorted(path: Path, pairs: list[Pair]) -> None:
    pairs.sort()
    with path.open("wb") as file:
        for at in range(0, len(pairs), SLICE):
            some = pairs[at : at + SLICE]
            file.write(b"".join([_HEAD.pack(len(key), len(value)) + key + value for key, value in some]))


def _read(path: Path) -> Iterator[Pair]:
    with path.open("rb") as file:
        raw = b""
        at = 0
        while True:
            if len(raw) - at < READ_BYTES >> 1:
                fresh = file.read(READ_BYTES)
                raw, at = raw[at:] + fresh, 0
                if not raw:
                    return
            key_bytes, value_bytes = _HEAD.unpack_from(raw, at)
            key_at = at + _HEAD.size
            value_at = key_at + key_bytes
            at = value_at + value_bytes
            yield raw[key_at:value_at], raw[value_at:at]


def _joined(pairs: Iterator[Pair]) -> Iterator[Pair]:
    """One pair a key."""
    present = next(pairs, None)
    for key, value in pairs:
        if present is None or key != present[0]:
            if present is not None:
                yield present
            present = (key, value)
        elif key[:_PREFIX_BYTES] in _LISTS:
            present = (key, present[1] + value)
        else:
            present = (key, value)
    if present is not None:
        yield present
