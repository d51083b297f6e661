"""The simulated disk forgets only what was not synced, and its bytes are the real log's."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.log import START
from consensus.records import FirstRecord, Record, VoteRecord
from ledger.errors import OperatorError
from ledger.votes import Prepare
from simulator.disk import ROTATE_BYTES, LogDisk

FIRST = FirstRecord(bytes(32), bytes(32), False)


def vote(height: int, round: int = 0) -> Record:
    return VoteRecord(0, Prepare(height, round, bytes([height % 256]) * 32))


@given(st.integers(0, 2**32), st.integers(0, 4), st.integers(0, 4))
@settings(max_examples=100)
def test_what_was_synced_is_there_after_every_crash(chance: int, synced: int, unsynced: int) -> None:
    disk = LogDisk(FIRST)
    for height in range(synced):
        disk.sync(disk.append([vote(height)]))
    durable = list(disk.durable_records)
    for height in range(unsynced):
        disk.append([vote(100 + height), vote(100 + height, 1)])
    disk.crash(Random(chance))
    read = disk.open(START).records
    assert read[: len(durable)] == durable
    assert len(read) <= len(durable) + 2 * unsynced


def test_a_log_older_than_the_database_is_refused() -> None:
    disk = LogDisk(FIRST)
    old = disk.synced
    disk.sync(disk.append([vote(1)]))
    known = disk.durable
    disk.roll_back(old)
    with pytest.raises(OperatorError, match="record 2 is not in it"):
        disk.open(known)


def test_a_rotation_keeps_the_open_height_and_the_chain() -> None:
    disk = LogDisk(FIRST)
    height = 0
    while len(disk.synced) < ROTATE_BYTES:
        height += 1
        disk.sync(disk.append([vote(height)]))
    disk.batched = disk.durable
    assert disk.compact(0, height - 1)
    kept = disk.open(disk.batched).records
    assert kept[0] == FIRST and kept[-1] == vote(height) and len(kept) == 3
