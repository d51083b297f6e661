"""A new epoch in the record of a seat and in the core: what was signed and locked before is void, for ever (§6)."""

import dataclasses

import pytest
from msgspec.structs import replace

from consensus import effects as fx
from consensus import events as ev
from consensus import messages as wire
from consensus import repair
from consensus.candidates import Candidates
from consensus.core import Consensus
from consensus.effects import SignRequest
from consensus.log import START, carried, decode_log, encode_batch
from consensus.logstate import LogState
from consensus.messages import Lock
from consensus.records import DecidedRecord, FirstRecord, LockRecord, Record, RecoveredRecord, VoteRecord
from consensus.safety import SafetyRules, SigningRefused
from consensus.scheme import ED25519
from ledger import signing
from ledger.blocks import RecoveryRecord, decode_header, header_hash
from ledger.codec import encode
from ledger.recovery import with_signature
from ledger.votes import Commit, Prepare, RoundChange, ValidatorEntry
from tests.consensus.harness import CHAIN_ID, GENESIS_HASH, make_block, make_context, seed_of
from tests.consensus.solo import Solo, decided_by, follower, leader, of, others
from tests.consensus.test_log import HISTORY

X = b"\1" * 32
ME = 1
LEADER, FOLLOWER = leader(), follower()


def organisation(index: int) -> bytes:
    return bytes([100 + index]) * 32


def entries(*indexes: int) -> tuple[ValidatorEntry, ...]:
    return tuple(
        ValidatorEntry(
            seat,
            index,
            signing.public_key(organisation(index)),
            signing.public_key(seed_of(index)),
            signing.public_key(bytes([200 + index]) * 32),
        )
        for seat, index in enumerate(indexes)
    )


OLD, NEW = entries(0, 1, 2, 3), entries(0, 1, 4, 5)


def shown(*signers: int, head: int = 1, epoch: int = 1) -> RecoveredRecord:
    record = RecoveryRecord(CHAIN_ID, epoch, head, X, NEW, ())
    for index in signers or (0, 1, 2):
        record = with_signature(record, organisation(index))
    return RecoveredRecord(record, OLD)


def rules(records: list[Record]) -> SafetyRules:
    return SafetyRules(CHAIN_ID, [seed_of(ME)], bytes(32), records, ED25519)


def locked(height: int) -> list[Record]:
    """Prepared and committed at ``height`` in epoch 0."""
    prepares = HISTORY[4]
    assert isinstance(prepares, LockRecord)
    return [VoteRecord(0, Prepare(height, 0, X)), LockRecord(0, Lock(height, 0, X, ()), 4)]


# ---- the record of the seat ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("height", [1, 2, 3, 50])
def test_once_shown_a_valid_record_nothing_is_signed_in_the_old_epoch_at_any_height(height: int) -> None:
    safety = rules([FirstRecord(CHAIN_ID, OLD[ME].validator_key, False)])
    safety.begin(0, 2, tuple(entry.validator_key for entry in OLD))
    safety.recorded([shown()])
    vote = VoteRecord(0, Prepare(height, 0, X))
    safety.recorded([vote])
    with pytest.raises(SigningRefused):
        safety.sign(SignRequest(0, vote.message, OLD[ME].validator_key))


def test_in_the_new_epoch_it_signs_with_no_lock_of_the_old_one() -> None:
    safety = rules([])
    safety.begin(0, 2, tuple(entry.validator_key for entry in OLD))
    safety.recorded(locked(2))
    safety.recorded([shown()])
    safety.begin(1, 2, tuple(entry.validator_key for entry in NEW))
    fresh = VoteRecord(1, RoundChange(2, 1, -1, b""))
    safety.recorded([fresh])
    digest = fresh.message.signing_digest(CHAIN_ID, 1)
    assert signing.verify(
        NEW[ME].validator_key, digest, safety.sign(SignRequest(1, fresh.message, NEW[ME].validator_key))
    )


@pytest.mark.parametrize(
    ("what", "record"),
    [
        ("too few seats", shown(0, 1)),
        ("signed for another epoch", replace(shown(), recovery=replace(shown().recovery, epoch=2))),
        ("of another chain", replace(shown(), recovery=replace(shown().recovery, chain_id=bytes(32)))),
    ],
)
def test_a_record_that_does_not_count_is_refused(what: str, record: RecoveredRecord) -> None:
    with pytest.raises(SigningRefused):
        rules([]).recorded([record])


def test_the_quorum_is_counted_over_the_set_of_the_open_height() -> None:
    safety = rules([])
    safety.begin(0, 2, tuple(entry.validator_key for entry in NEW))
    with pytest.raises(SigningRefused, match="another validator set"):
        safety.recorded([shown()])


def test_the_record_survives_a_restart_and_a_rotation_of_the_log() -> None:
    records: list[Record] = [FirstRecord(CHAIN_ID, X, False), *locked(5), shown()]
    data, _ = encode_batch(records, START, 0)
    reread = decode_log(data).records
    assert reread == records
    for kept in (reread, carried(reread, DecidedRecord(0, 1)), carried(reread, DecidedRecord(1, 2))):
        state = LogState(kept)
        assert state.epoch == 1
        assert state.lock is None
        assert state.fault(0, Prepare(9, 0, X)) == "the record is past epoch 0, height 9"


def test_a_head_below_what_was_voted_on_is_begun_again_in_the_new_epoch() -> None:
    """Blocks above the named head are dropped: heights come back, in a higher epoch."""
    state = LogState([*locked(9), shown(head=5)])
    assert (state.epoch, state.height) == (1, 6)
    assert state.fault(1, Prepare(6, 0, X)) is None
    assert state.fault(0, Prepare(9, 0, X)) is not None
    assert state.fault(0, Commit(9, 0, X)) is not None


# ---- the core ------------------------------------------------------------------------------------------------------


def test_the_first_block_of_an_epoch_holds_the_record_and_no_other_does() -> None:
    context, record = make_context(4, 0, []), shown().recovery
    plain = make_block(1, GENESIS_HASH, context.key(0), context.parent_certificate, (), context.validators)
    begun = replace(plain, recovery=record)
    more = replace(begun, recovery=with_signature(record, organisation(3)))
    other = replace(begun, recovery=replace(record, validators=OLD))
    recovering = dataclasses.replace(context, recovery=record)
    assert Candidates(context).examine(begun) == "recovery"
    assert Candidates(recovering).examine(plain) == "recovery"
    assert Candidates(recovering).examine(other) == "recovery"
    assert not isinstance(Candidates(recovering).examine(begun), str)
    assert not isinstance(Candidates(recovering).examine(more), str), "more signatures say nothing else"
    assert not isinstance(Candidates(context).examine(plain), str)


def test_a_header_of_another_epoch_is_of_another_chain_of_blocks() -> None:
    context = make_context(4, 0, [])
    block = make_block(1, GENESIS_HASH, context.key(0), context.parent_certificate, (), context.validators)
    header = replace(decode_header(block.header), epoch=1)
    assert (
        Candidates(context).examine(replace(block, header=encode(header))) == "version, epoch or height of the header"
    )
    assert header_hash(encode(header)) != header_hash(block.header)


def test_a_core_whose_log_is_of_a_later_epoch_does_not_sign_in_the_old_one() -> None:
    core = Consensus([FirstRecord(CHAIN_ID, X, False), shown(head=0)])
    core.step(ev.HeightStarted(make_context(4, 0, []), bytes(32)))
    core.state.cleared_key = core.state.open.context.key(0)
    assert not core.signing
    core.step(ev.HeightStarted(dataclasses.replace(make_context(4, 0, []), epoch=1), bytes(32)))
    core.state.cleared_key = core.state.open.context.key(0)
    assert core.signing


# ---- what others say in another epoch (decision 0028) ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["proposal", "prepare", "commit", "change", "prepares"])
def test_what_does_not_verify_is_somebodys_fault_in_our_epoch_only(kind: str) -> None:
    solo = Solo(FOLLOWER, epoch=5)
    unsigned = {"signature": bytes(64)}
    prepare = replace(solo.prepare(LEADER, X), **unsigned)
    messages: dict[str, wire.Message] = {
        "proposal": replace(solo.proposal(solo.block(LEADER)), **unsigned),
        "prepare": prepare,
        "commit": replace(solo.commit(LEADER, X), **unsigned),
        "change": replace(solo.change(LEADER, 1), **unsigned),
        "prepares": wire.Prepares((prepare,)),
    }
    assert solo.receive(LEADER, messages[kind], epoch=4) == []
    assert solo.receive(LEADER, messages[kind], epoch=6) == []
    assert of(fx.Blame, solo.receive(LEADER, messages[kind], epoch=5))


def test_a_vote_of_another_epoch_counts_for_nothing() -> None:
    for height in (1, 2):
        solo = Solo(FOLLOWER)
        for epoch in (1, 2**32 - 1):
            for index in (LEADER, *others(FOLLOWER)):
                solo.receive(index, solo.prepare(index, X, height=height), epoch=epoch)
        assert (solo.core.state.open.tally.prepares.of(0, X), solo.core.state.early.peers) == ({}, 0)


def test_who_speaks_of_a_later_height_in_a_later_epoch_is_ahead_of_us() -> None:
    solo = Solo(FOLLOWER, epoch=5)
    peer = bytes([LEADER]) * 32
    status = wire.Status(8, 0, bytes(32), -1, (), (), ())
    for message, head in ((solo.prepare(LEADER, b"\1" * 32, height=2), 1), (status, 7)):
        assert solo.receive(LEADER, message, epoch=6) == [fx.Behind(peer, head)]
        assert solo.receive(LEADER, message, epoch=6) == [], "said once a period"
        assert solo.receive(LEADER, message, epoch=4) in ([], [fx.Send(peer, repair.status_of(solo.core.state))])
        solo.step(ev.Timeout(ev.Timer(ev.TimerKind.RESEND, 1, 0)))
    assert solo.receive(LEADER, wire.Status(1, 0, bytes(32), -1, (), (), ()), epoch=6) == [], "it began at our height"
    assert solo.receive(LEADER, wire.GetBlock(9, bytes(32)), epoch=6) == []


def test_who_asks_from_an_earlier_epoch_is_told_where_we_are() -> None:
    solo = Solo(FOLLOWER, epoch=5)
    status = wire.Status(9, 0, bytes(32), -1, (), (), ())
    question = wire.LastSeenQuestion(9, solo.context.key(LEADER), bytes(32))
    for message in (status, question):
        (sent,) = solo.receive(LEADER, message, epoch=4)
        assert isinstance(sent, fx.Send)
        assert sent.message == repair.status_of(solo.core.state)
        assert not of(fx.Send, solo.receive(LEADER, message, epoch=6))


def test_what_came_early_in_one_epoch_is_not_heard_in_the_next() -> None:
    solo = Solo(FOLLOWER)
    solo.receive(LEADER, solo.prepare(LEADER, b"\1" * 32, height=2))
    context = dataclasses.replace(make_context(4, FOLLOWER, [decided_by(Solo(FOLLOWER))]), epoch=1)
    assert not of(fx.Blame, solo.step(ev.HeightStarted(context, bytes(32))))
    assert not solo.core.state.open.tally.prepares.quorums()
