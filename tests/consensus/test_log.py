"""The log's frames: torn tail or damage, and what a rotation keeps (CONSENSUS §3)."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.log import FRAME, MARKER, START, Position, carried, decode_log, encode_batch, encode_frame, height_of
from consensus.logstate import BODIES_MAX, LogState
from consensus.messages import Lock
from consensus.records import (
    AdoptRecord,
    BodyRecord,
    DecidedRecord,
    FirstRecord,
    LockRecord,
    ProposalRecord,
    Record,
    RecoveredRecord,
    VoteRecord,
)
from ledger.blocks import RecoveryRecord, SignedVote
from ledger.codec import encode
from ledger.errors import InvariantViolation, OperatorError
from ledger.votes import Commit, Prepare, Proposal, RoundChange
from tests.consensus.harness import GENESIS_HASH, make_block, make_context, validator_set

X = b"\1" * 32


def body(height: int, hash: bytes = X) -> BodyRecord:
    context = make_context(4, 0, [])
    block = make_block(height, GENESIS_HASH, context.key(0), context.parent_certificate, (b"tx",), context.validators)
    return BodyRecord(0, height, hash, block, (b"tx",))


HISTORY: list[Record] = [
    FirstRecord(bytes(32), bytes(32), False),
    body(1),
    ProposalRecord(0, Proposal(1, 0, X), (), ()),
    VoteRecord(0, Prepare(1, 0, X)),
    LockRecord(0, Lock(1, 0, X, ()), 4),
    VoteRecord(0, Commit(1, 0, X)),
    AdoptRecord(0, (SignedVote(RoundChange(2, 1, -1, b""), 0, bytes(64)),), None),
    DecidedRecord(0, 1),
    VoteRecord(0, Prepare(2, 1, X)),
    RecoveredRecord(RecoveryRecord(bytes(32), 1, 1, X, validator_set(4), ((bytes(32), bytes(64)),)), validator_set(4)),
]


def written(records: list[Record] = HISTORY, *, synced_each: bool = True) -> tuple[bytes, list[int]]:
    """The file, and the offset where each frame begins; each append is durable before the next, or none ever is."""
    raw, offsets, position = b"", [], START
    for record in records:
        offsets.append(len(raw))
        frame, position = encode_frame(record, position, position.sequence if synced_each else 0)
        raw += frame
    return raw, offsets


def test_every_record_comes_back() -> None:
    raw, _ = written()
    decoded = decode_log(raw)
    assert decoded.records == HISTORY
    assert (decoded.offset, decoded.torn, decoded.end.sequence) == (len(raw), False, len(HISTORY))


def test_an_empty_file_is_an_empty_log() -> None:
    decoded = decode_log(b"")
    assert (decoded.records, decoded.end, decoded.torn) == ([], START, False)


def test_cut_anywhere_the_tail_is_torn_and_whole_records_stay() -> None:
    raw, offsets = written()
    for cut in range(len(raw)):
        decoded = decode_log(raw[:cut])
        whole = sum(1 for end in [*offsets[1:], len(raw)] if end <= cut)
        assert decoded.records == HISTORY[:whole]
        assert decoded.torn == (cut not in (*offsets, len(raw)))
        assert decoded.offset == ([*offsets, len(raw)][whole])


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_flipped_bit_in_a_durable_record_is_damage(data: st.DataObject) -> None:
    raw, offsets = written()
    at = data.draw(st.integers(0, offsets[-1] - 1))
    broken = bytearray(raw)
    broken[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(OperatorError, match="damaged") as error:
        decode_log(bytes(broken), START)
    assert error.value.code == "LOG_DAMAGED"
    assert error.value.exit_code == 6


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_pages_of_an_unsynced_tail_may_reach_the_disk_in_any_order(data: st.DataObject) -> None:
    raw, offsets = written(synced_each=False)
    at = data.draw(st.integers(0, len(raw) - 1))
    broken = bytearray(raw)
    broken[at] ^= 0xFF
    decoded = decode_log(bytes(broken), START)
    intact = sum(1 for end in [*offsets[1:], len(raw)] if end <= at)
    assert decoded.torn
    assert decoded.records == HISTORY[:intact]


def test_a_record_taken_out_put_in_or_repeated_breaks_the_chain() -> None:
    raw, offsets = written()
    frames = [raw[a:b] for a, b in zip(offsets, [*offsets[1:], len(raw)], strict=True)]
    for forged in (frames[:3] + frames[4:], frames[:3] + frames[2:], frames[:2] + [frames[3], frames[2]] + frames[4:]):
        with pytest.raises(OperatorError):
            decode_log(b"".join(forged))


def test_a_rotated_file_continues_the_chain() -> None:
    first, end = encode_batch(HISTORY[:4], START, 0)
    second, last = encode_batch(HISTORY[4:], end, end.sequence)
    assert decode_log(second, end).records == HISTORY[4:]
    alone = decode_log(second)
    assert (alone.start, alone.end) == (end, last)
    assert decode_log(first + second).end == last
    wrong = Position(end.sequence, end.crc ^ 1)
    with pytest.raises(OperatorError):
        decode_log(second, wrong)


def test_the_position_in_the_database_tells_a_log_that_was_rolled_back() -> None:
    raw, offsets = written()
    full = decode_log(raw)
    assert full.holds(full.end)
    assert full.holds(START)
    assert not decode_log(raw[: offsets[-1]]).holds(full.end)
    assert not full.holds(Position(full.end.sequence, full.end.crc ^ 1))


def test_durable_cannot_be_ahead_of_what_is_written() -> None:
    with pytest.raises(InvariantViolation):
        encode_frame(HISTORY[0], Position(4, 0), 5)


def test_a_length_that_cannot_be_is_refused_before_it_is_believed() -> None:
    raw, offsets = written()
    broken = raw[: offsets[1]] + FRAME.pack(MARKER, 2**32 - 1, 0, 0, 0, 2, 1)
    assert decode_log(broken).torn
    unknown_type = raw[: offsets[1]] + FRAME.pack(MARKER, 0, 0, 0, 0, 2, 99)
    assert decode_log(unknown_type).torn


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_make_the_reader_fail_otherwise(raw: bytes) -> None:
    assert decode_log(raw).records == []


def test_a_rotation_keeps_the_first_record_the_mark_and_the_open_height() -> None:
    kept = carried(HISTORY, DecidedRecord(0, 1))
    assert kept == [HISTORY[0], DecidedRecord(0, 1), HISTORY[6], HISTORY[8], HISTORY[9]]
    before, after = LogState(HISTORY), LogState(kept)
    assert (after.epoch, after.height, after.granted) == (before.epoch, before.height, before.granted)


def test_the_height_of_a_record() -> None:
    assert [height_of(record) for record in HISTORY] == [0, 1, 1, 1, 1, 1, 2, 1, 2, 2]
    assert height_of(AdoptRecord(0, (), LockRecord(0, Lock(9, 0, X, ()), 4))) == 9


def test_bodies_in_memory_are_bounded_and_the_locked_one_stays() -> None:
    record = LogState([AdoptRecord(0, (SignedVote(Commit(1, 0, X), 0, bytes(64)),), None), body(1)])
    for number in range(BODIES_MAX + 5):
        record.apply(body(1, struct.pack(">32x") if number == 0 else number.to_bytes(32, "big")))
    assert len(record.bodies) == BODIES_MAX
    assert X in record.bodies


def test_a_vote_costs_little_more_than_its_bytes() -> None:
    frame, _ = encode_frame(VoteRecord(0, Commit(1, 0, X)), START, 0)
    assert len(frame) - len(encode(VoteRecord(0, Commit(1, 0, X)))) == FRAME.size == 33
