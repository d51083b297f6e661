"""The database of a running node: what the loop does while its writer thread is at work."""

import threading
from pathlib import Path

import pytest

from ledger.store import Batch, MemoryStore
from node.opening import Disk
from tests.ledger.chain import Chain


class Slow(MemoryStore):
    """Its write ends only once the event loop has done something meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.done = threading.Event()

    def write(self, batch: Batch) -> None:
        if not self.done.wait(5.0):
            raise AssertionError("the loop did nothing while the batch was being written")
        super().write(batch)


@pytest.mark.asyncio
async def test_while_a_batch_is_written_the_loop_does_a_part_of_the_work(tmp_path: Path) -> None:
    store = Slow()
    parts = 0

    def work() -> bool:
        nonlocal parts
        parts += 1
        if parts == 3:
            store.done.set()
        return parts < 3

    disk = Disk(tmp_path, store, Chain().view)  # type: ignore[arg-type]
    disk.work_meanwhile(work)
    try:
        await disk.write(Batch({b"key": b"value"}))
    finally:
        disk.close()
    assert parts == 3
    assert store.done.is_set()
