"""Sorted runs, merged: entries of one key lie together, lists are put together, of others the newest stays."""

import asyncio
from pathlib import Path

import pytest

from ledger import indexes
from ledger.state import Index
from ledger.store import Batch, MemoryStore, index_key
from node.snapshot_indexes import IndexRebuild
from tests.node.snapshots import grown


def test_the_entries_of_many_runs_are_one_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [(Index.VERSION, b"b", b"\x01"), (Index.IDENTITY, b"z", b"\x01"), (Index.CONTRADICTION, b"s", b"\x01")]
    made += [(Index.CONTRADICTION, b"s", b"\x02"), (Index.VERSION, b"a", b""), (Index.VERSION, b"b", b"\x02\x03")]
    monkeypatch.setattr(indexes, "entries", lambda reader: iter(made))
    monkeypatch.setattr("node.snapshot_indexes.RUN_ENTRIES", 2)
    monkeypatch.setattr("node.snapshot_indexes.SLICE", 2)
    monkeypatch.setattr("node.snapshot_indexes.BATCH_ENTRIES", 2)
    store = MemoryStore()
    store.write(Batch({index_key(Index.VERSION.value, b"old"): b"gone"}))

    async def write(batch: Batch) -> None:
        store.write(batch)

    told: list[int] = []
    count = asyncio.run(IndexRebuild(store, write, tmp_path / "runs", told.append).run())
    wanted = {(Index.VERSION, b"a"): b"", (Index.VERSION, b"b"): b"\x01\x02\x03"}
    wanted |= {(Index.IDENTITY, b"z"): b"\x01", (Index.CONTRADICTION, b"s"): b"\x02"}
    expected = {index_key(index.value, key): value for (index, key), value in wanted.items()}
    assert dict(store.scan(b"", b"\xff")) == expected
    assert (count, sum(told)) == (4, 10)
    assert not (tmp_path / "runs").exists()


def test_a_rebuilt_index_is_what_the_blocks_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.snapshot_indexes.RUN_ENTRIES", 100)
    monkeypatch.setattr("node.snapshot_indexes.SLICE", 50)
    store = grown(400).store

    async def write(batch: Batch) -> None:
        store.write(batch)

    asyncio.run(IndexRebuild(store, write, tmp_path / "runs", lambda count: None).run())
    assert list(indexes.differences(store)) == []
