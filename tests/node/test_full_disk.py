"""A full disk: what the node stops, what it says, and how it comes back (CONSENSUS §3, NODE §2)."""

import errno
import io
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import plyvel
import pytest

from ledger.errors import OperatorError
from ledger.genesis import Genesis
from ledger.store import Batch
from ledger.transactions import Enrol
from node.app import Node
from node.config import LogSection, load
from node.disk import DiskGuard
from node.logs import NodeLog
from node.opening import check_clock
from node.storage import LevelStore
from node.votelog import create_log
from tests.node.driver_bench import VOTE, Bench
from tests.node.network import Network, running
from tests.node.recording import RecordingFiles
from tests.node.test_votelog import FIRST, opened, vote

FULL = plyvel.IOError(f"IO error: 000003.log: {os.strerror(errno.ENOSPC)}".encode())


class Fickle:
    """A LevelDB whose next write finds the disk full."""

    def __init__(self, database: Any) -> None:
        self._database = database
        self.full = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    def write_batch(self, **options: bool) -> Any:
        if self.full:
            raise FULL
        return self._database.write_batch(**options)


def test_after_a_refused_batch_nothing_is_written_through_this_handle(tmp_path: Path) -> None:
    database = Fickle(plyvel.DB(str(tmp_path / "db"), create_if_missing=True))
    store = LevelStore(tmp_path / "db", database)
    with pytest.raises(OperatorError, match="is full"):
        store.write(Batch({b"a": b"1"}))
    database.full = False
    with pytest.raises(OperatorError, match="is full"):
        store.write(Batch({b"b": b"2"}))
    assert store.get(b"b") is None, "reading goes on, and nothing came behind what may be half a batch"
    assert store.reopening_bytes() >= 1 << 20
    store.close()


def test_without_room_for_what_was_refused_there_is_no_room_whatever_the_floor_says() -> None:
    free = [500]
    guard = DiskGuard(0, lambda: free[0])
    guard.refused(1_000)
    assert not guard.has_room and guard.shortage is not None and "1,000 are needed" in guard.shortage
    free[0] = 999
    assert not guard.check()
    free[0] = 1_000
    assert guard.check() and guard.shortage is None
    free[0] = 1
    assert not guard.check(), "what was needed once is needed no more"


def test_a_vote_held_back_is_never_asked_for_once_its_height_is_decided() -> None:
    bench = Bench()
    bench.driver.start()
    bench.driver.hold("one")
    bench.driver.hold("two")
    for number in range(3):
        bench.driver._persist(type("Persist", (), {"token": number, "records": (VOTE,)})())
    bench.told.clear()
    bench.driver.release("one")
    assert bench.told == [], "the other reason still holds"
    bench.driver._forget_held(VOTE.message.height + 1)
    bench.driver.release("two")
    assert bench.told == []


def test_a_rotation_that_finds_no_room_waits_for_it(tmp_path: Path) -> None:
    create_log(tmp_path, FIRST)

    class Full(RecordingFiles):
        full = False

        def create(self, path: Path) -> int:
            if self.full:
                raise OSError(errno.ENOSPC, "full")
            return super().create(path)

    files = Full()
    with opened(tmp_path, files, rotate_bytes=1) as harness:
        position = harness.append(vote(1))
        harness.log.batched(position)
        files.full = True
        harness.log.compact(0, 1)
        harness.wait(lambda: bool(harness.errors))
        files.full = False
        harness.log.retry()
        harness.wait(lambda: harness.log.durable == harness.log.end)
    assert [error.code for error in harness.errors] == ["DISK_FULL"]


class FullStream(io.StringIO):
    """A file on a full disk."""

    full = True

    def write(self, text: str) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, "full")
        return super().write(text)


def test_a_log_line_that_finds_no_room_ends_nothing_and_is_counted() -> None:
    stream = FullStream()
    log = NodeLog(LogSection(), None, stream=stream).log
    log.info("one")
    log.info("two")
    stream.full = False
    log.info("three")
    log.info("four")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2 and '"lines_lost": 2' in lines[0] and "lines_lost" not in lines[1]


def test_only_a_test_networks_clock_may_be_wrong_on_purpose(tmp_path: Path) -> None:
    network = Network(tmp_path, observers=0)
    home = network.members["bank"].home
    wrong = load(home, {"node.clock_offset_ms": 5_000}, environ={})
    node = Node(wrong)
    assert abs(node.clock.time_ms() - Node(load(home, environ={})).clock.time_ms() - 5_000) < 1_000
    with pytest.raises(OperatorError) as caught:
        check_clock(wrong, cast(Genesis, SimpleNamespace(stepped=False)))
    assert caught.value.code == "CLOCK_OFFSET_REFUSED"


@pytest.mark.asyncio
async def test_a_node_whose_database_is_full_says_so_and_ends_to_be_started_anew_when_there_is_room(
    tmp_path: Path,
) -> None:
    network = Network(tmp_path, observers=0)
    async with running(network):
        await network.until(lambda node: node.driver.signing)
        bank = network.nodes["bank"]
        free = [0]
        bank.disk._measure = lambda: free[0]
        bank._disk.store._database = Fickle(bank._disk.store._database)
        await network.submit("platform", ("platform", Enrol(0, os.urandom(32), 12 * 1990, b"")))
        await network.until(lambda node: node._disk.full, "bank")
        stopped = bank.chain.height
        await network.until_height(stopped + 2, "platform", "firm-a", "firm-b")
        status = bank.window.status()
        assert (bank.chain.height, status.signing) == (stopped, False)
        assert "the database waits for room" in str(status.not_signing_because)
        assert "the disk is full" in str(status.disk_shortage)
        free[0] = 1 << 40
        task = network.members["bank"].task
        assert task is not None
        await task
        assert bank.reopening
        network.members["bank"].node = None
        await network.stop("platform", "firm-a", "firm-b")
    async with running(network):
        await network.until_height(stopped + 2)
        assert not network.nodes["bank"]._disk.full
