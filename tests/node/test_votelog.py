"""The signing log on real files: nothing is reported before its fsync, and nothing that was reported is ever lost."""

import errno
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from consensus.log import START, Decoded, Position, decode_log
from consensus.records import DecidedRecord, FirstRecord, Record, VoteRecord
from ledger.errors import OperatorError
from ledger.votes import Prepare
from node.votelog import LOG_FILE, VoteLog, create_log, open_log
from tests.node.recording import RecordingFiles

CHAIN = bytes(range(32))
FIRST = FirstRecord(CHAIN, b"v" * 32, False)


def vote(height: int, round: int = 0) -> VoteRecord:
    return VoteRecord(0, Prepare(height, round, height.to_bytes(32, "big")))


class Harness:
    """A log whose reports are collected; ``wait`` until something has been reported."""

    def __init__(self, directory: Path, files: RecordingFiles, known: Position, rotate_bytes: int) -> None:
        self.log, self.decoded = open_log(
            directory, chain_id=CHAIN, known=known, files=files, rotate_bytes=rotate_bytes
        )
        self.files = files
        self.durable: list[Position] = []
        self.errors: list[OperatorError] = []
        self._told = threading.Condition()
        self.log.start(self._post, self._durable, self.errors.append)

    def _post(self, action: Callable[[], None]) -> None:
        with self._told:
            action()
            self._told.notify_all()

    def _durable(self, position: Position) -> None:
        self.files.note(f"reported {position.sequence}")
        self.durable.append(position)

    def wait(self, what: Callable[[], bool]) -> None:
        with self._told:
            assert self._told.wait_for(what, timeout=5), (self.files.events, self.errors)

    def append(self, *records: Record) -> Position:
        position = self.log.append(records)
        self.wait(lambda: position in self.durable)
        return position


@contextmanager
def opened(
    directory: Path, files: RecordingFiles | None = None, known: Position = START, rotate_bytes: int = 1 << 20
) -> Iterator[Harness]:
    harness = Harness(directory, files or RecordingFiles(), known, rotate_bytes)
    try:
        yield harness
    finally:
        harness.log.close()


def on_disk(directory: Path) -> Decoded:
    return decode_log((directory / LOG_FILE).read_bytes())


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    create_log(tmp_path, FIRST)
    return tmp_path


def code_of(action: Callable[[], object]) -> str:
    with pytest.raises(OperatorError) as error:
        action()
    return error.value.code


def test_a_record_is_reported_only_after_its_fsync(directory: Path) -> None:
    with opened(directory) as harness:
        harness.append(vote(1))
        assert harness.files.events == ["write", "fsync", "reported 2"]


def test_what_was_reported_is_there_after_a_restart(directory: Path) -> None:
    with opened(directory) as harness:
        position = harness.append(vote(1), vote(2))
    with opened(directory, known=position) as harness:
        assert harness.decoded.records == [FIRST, vote(1), vote(2)]
        harness.append(vote(3))
    assert on_disk(directory).records == [FIRST, vote(1), vote(2), vote(3)]


def test_appends_that_wait_share_one_fsync(directory: Path) -> None:
    files = RecordingFiles()
    gate, inside = threading.Event(), threading.Event()
    real = files.fsync

    def slow(descriptor: int) -> None:
        inside.set()
        assert gate.wait(5)
        real(descriptor)

    files.fsync = slow  # type: ignore[method-assign]
    with opened(directory, files) as harness:
        first = harness.log.append([vote(1)])
        assert inside.wait(5)
        others = [harness.log.append([vote(2 + number)]) for number in range(3)]
        gate.set()
        harness.wait(lambda: others[-1] in harness.durable)
        assert harness.durable == [first, others[-1]]
        assert files.events.count("fsync") == 2


def test_a_new_log_is_synced_with_its_directory(tmp_path: Path) -> None:
    files = RecordingFiles()
    create_log(tmp_path, FIRST, files)
    assert files.events == ["write", "fsync", "replace", "fsync_directory"]


def test_an_existing_log_is_never_replaced_by_a_new_one(directory: Path) -> None:
    assert code_of(lambda: create_log(directory, FIRST)) == "LOG_EXISTS"


def test_a_torn_tail_is_cut_off_and_the_log_goes_on(directory: Path) -> None:
    with opened(directory) as harness:
        position = harness.append(vote(1))
    path = directory / LOG_FILE
    whole = path.read_bytes()
    path.write_bytes(whole + b"HZL1 half of a frame")
    with opened(directory, known=position) as harness:
        assert harness.decoded.records == [FIRST, vote(1)]
        assert harness.files.events == ["truncate", "fsync"]
        assert path.read_bytes() == whole
        harness.append(vote(2))
    assert on_disk(directory).records == [FIRST, vote(1), vote(2)]


def test_damage_of_a_record_that_was_durable_is_refused(directory: Path) -> None:
    with opened(directory) as harness:
        for height in range(1, 5):
            harness.append(vote(height))
    path = directory / LOG_FILE
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(bytes(raw))
    assert code_of(lambda: open_log(directory, chain_id=CHAIN, known=START)) == "LOG_DAMAGED"


def test_a_missing_log_is_refused(tmp_path: Path) -> None:
    assert code_of(lambda: open_log(tmp_path, chain_id=CHAIN, known=START)) == "LOG_MISSING"


def test_the_log_of_another_chain_is_refused(directory: Path) -> None:
    assert code_of(lambda: open_log(directory, chain_id=bytes(32), known=START)) == "LOG_FOREIGN"


def test_a_log_older_than_the_database_is_refused(directory: Path) -> None:
    old = (directory / LOG_FILE).read_bytes()
    with opened(directory) as harness:
        position = harness.append(vote(1))
    (directory / LOG_FILE).write_bytes(old)
    assert code_of(lambda: open_log(directory, chain_id=CHAIN, known=position)) == "LOG_ROLLED_BACK"


def test_a_second_opening_of_the_same_log_is_refused(directory: Path) -> None:
    with opened(directory):
        assert code_of(lambda: open_log(directory, chain_id=CHAIN, known=START)) == "LOG_LOCKED"
    with opened(directory):
        pass


def test_a_full_disk_truncates_reports_nothing_and_resumes_with_the_same_bytes(directory: Path) -> None:
    with opened(directory) as harness:
        harness.append(vote(1))
        before = (directory / LOG_FILE).read_bytes()
        harness.files.fail["write"] = errno.ENOSPC
        harness.files.partial_bytes = 20
        position = harness.log.append([vote(2)])
        harness.wait(lambda: bool(harness.errors))
        assert harness.errors[0].code == "DISK_FULL"
        assert (directory / LOG_FILE).read_bytes() == before
        assert position not in harness.durable
        later = harness.log.append([vote(3)])
        del harness.files.fail["write"]
        harness.log.retry()
        harness.wait(lambda: later in harness.durable)
    assert on_disk(directory).records == [FIRST, vote(1), vote(2), vote(3)]


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_any_error_of_fsync_is_final(directory: Path, code: int) -> None:
    with opened(directory) as harness:
        harness.files.fail["fsync"] = code
        position = harness.log.append([vote(1)])
        harness.wait(lambda: bool(harness.errors))
        assert harness.errors[0].code == "LOG_FAILED"
        del harness.files.fail["fsync"]
        harness.log.retry()
        assert code_of(lambda: harness.log.append([vote(2)])) == "LOG_FAILED"
        assert position not in harness.durable
        assert harness.files.events.count("fsync: " + errno.errorcode[code]) == 1


def test_a_rotation_keeps_what_is_needed_and_the_position_the_database_names(directory: Path) -> None:
    with opened(directory, rotate_bytes=1) as harness:
        batched = harness.append(vote(1), vote(2))
        harness.log.batched(batched)
        harness.files.events.clear()
        harness.log.compact(0, 1)
        harness.wait(lambda: len(harness.durable) == 2)
        assert harness.files.events[:5] == ["write", "fsync", "replace", "fsync_directory", "reported 6"]
        harness.append(vote(3))
    decoded = on_disk(directory)
    assert decoded.records == [FIRST, DecidedRecord(0, 1), vote(2), vote(3)]
    assert decoded.holds(batched)
    with opened(directory, known=batched) as harness:
        harness.append(vote(4))


def test_nothing_is_rotated_before_the_database_names_the_end(directory: Path) -> None:
    with opened(directory, rotate_bytes=1) as harness:
        harness.log.batched(harness.append(vote(1)))
        harness.append(vote(2))
        harness.log.compact(0, 1)
        harness.append(vote(3))
        assert "replace" not in harness.files.events


def test_a_rotation_on_a_full_disk_leaves_the_old_file_and_waits(directory: Path) -> None:
    with opened(directory, rotate_bytes=1) as harness:
        harness.log.batched(harness.append(vote(1), vote(2)))
        before = (directory / LOG_FILE).read_bytes()
        harness.files.fail["write"] = errno.ENOSPC
        harness.log.compact(0, 1)
        harness.wait(lambda: bool(harness.errors))
        assert (directory / LOG_FILE).read_bytes() == before
        later = harness.log.append([vote(3)])
        del harness.files.fail["write"]
        harness.log.retry()
        harness.wait(lambda: later in harness.durable)
    assert on_disk(directory).records == [FIRST, DecidedRecord(0, 1), vote(2), vote(3)]


def test_closing_writes_what_waits(directory: Path) -> None:
    with opened(directory) as harness:
        harness.log.append([vote(1)])
    assert on_disk(directory).records == [FIRST, vote(1)]


def test_a_log_is_never_written_by_an_unstarted_adapter(directory: Path) -> None:
    log, decoded = open_log(directory, chain_id=CHAIN, known=START)
    log.append([vote(1)])
    log.close()
    assert on_disk(directory).records == decoded.records == [FIRST]
    assert isinstance(log, VoteLog)
