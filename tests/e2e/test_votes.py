"""The reader of signing logs that the end-to-end tests trust reads what the product writes, and sees what is wrong."""

from pathlib import Path

import pytest

from consensus.log import START, encode_batch
from consensus.records import FirstRecord, Record, VoteRecord
from ledger.votes import Commit, Prepare, RoundChange

from .votes import Watch, promises

FIRST = FirstRecord(bytes(32), bytes(32), lost=False)
X, Y = b"x" * 32, b"y" * 32


def _log(path: Path, *records: Record) -> Watch:
    path.write_bytes(encode_batch([FIRST, *records], START, 0)[0])
    return Watch("bank", path)


def _votes(*messages: Prepare | Commit | RoundChange) -> list[VoteRecord]:
    return [VoteRecord(0, message) for message in messages]


def test_an_honest_log_is_read_in_order_and_a_torn_tail_is_no_promise(tmp_path: Path) -> None:
    watch = _log(tmp_path / "log", *_votes(Prepare(1, 0, X), Commit(1, 0, X), RoundChange(2, 1, -1, b"")))
    watch.look()
    data = watch.path.read_bytes()
    assert [(p.kind, p.height, p.round) for p in promises(data)] == [
        ("prepare", 1, 0),
        ("commit", 1, 0),
        ("round_change", 2, 1),
    ]
    assert [promise.end for promise in promises(data)][-1] == len(data)
    assert len(list(promises(data[:-1]))) == 2


@pytest.mark.parametrize(
    "messages",
    [
        [Prepare(1, 0, X), Prepare(1, 0, Y)],
        [Commit(1, 2, X), Commit(1, 2, Y)],
        [RoundChange(1, 1, -1, b""), RoundChange(1, 1, 0, X)],
        [RoundChange(1, 1, -1, b""), Commit(1, 0, X)],
        [Prepare(1, 1, X), Prepare(1, 0, X)],
    ],
)
def test_two_messages_for_one_place_and_a_round_that_was_left_are_seen(
    tmp_path: Path, messages: list[Prepare | Commit | RoundChange]
) -> None:
    with pytest.raises(AssertionError):
        _log(tmp_path / "log", *_votes(*messages)).look()


def test_what_a_log_has_said_is_remembered_when_it_forgets(tmp_path: Path) -> None:
    watch = _log(tmp_path / "log", *_votes(Prepare(1, 0, X)))
    watch.look()
    _log(tmp_path / "log", *_votes(Prepare(2, 0, X)))
    watch.look()
    _log(tmp_path / "log", *_votes(Prepare(1, 0, Y)))
    with pytest.raises(AssertionError, match="signed twice"):
        watch.look()
