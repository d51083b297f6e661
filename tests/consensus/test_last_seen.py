"""From a start to the first signature (CONSENSUS §3)."""

from typing import Any

import msgspec
import pytest

from consensus import effects as fx
from consensus import events as ev
from consensus import messages as wire
from consensus.messages import Lock
from consensus.records import AdoptRecord, VoteRecord
from ledger.errors import OperatorError
from ledger.votes import Commit, Prepare
from tests.consensus.harness import make_context
from tests.consensus.solo import NONCE, Solo, follower, leader, of, said

X = b"\1" * 32
ME = follower()
OTHERS = [index for index in range(4) if index != ME]
LAST_SEEN = ev.Timer(ev.TimerKind.LAST_SEEN, 1, 0)


def starting(**fields: Any) -> Solo:
    return Solo(ME, ask_others=True, **fields)


def lock(solo: Solo, round: int, hash: bytes = X, q: int = 3) -> Lock:
    return Lock(1, round, hash, tuple(solo.prepare(index, hash, round) for index in OTHERS[:q]))


def test_every_other_seat_is_asked_with_key_and_nonce() -> None:
    solo = starting()
    asked = [(s.to, s.message) for s in of(fx.Send, solo.all)]
    question = wire.LastSeenQuestion(1, solo.context.key(ME), NONCE)
    assert asked == [(index, question) for index in OTHERS]


def test_nothing_is_signed_before_all_answered_or_the_wait_is_over() -> None:
    solo = starting()
    solo.receive(leader(), solo.proposal(solo.block(leader())))
    solo.receive(OTHERS[0], solo.answer())
    assert not solo.core.signing
    effects = solo.receive(OTHERS[1], solo.answer())
    assert [(e.timer, e.delay_ms) for e in of(fx.SetTimer, effects)] == [(LAST_SEEN, 5_000)]
    assert not solo.core.signing
    assert not of(fx.Persist, solo.all)
    effects = solo.step(ev.Timeout(LAST_SEEN))
    assert solo.core.signing
    assert [type(message) for message in said(effects)] == [wire.SignedPrepare]


def test_when_all_answered_nobody_waits() -> None:
    solo = starting()
    for index in OTHERS:
        solo.receive(index, solo.answer())
    assert solo.core.signing


def test_below_a_quorum_the_wait_never_ends() -> None:
    solo = starting()
    solo.receive(OTHERS[0], solo.answer())
    solo.step(ev.Timeout(LAST_SEEN))
    assert not solo.core.signing


def test_an_answer_to_another_nonce_or_off_no_validators_link_does_not_count() -> None:
    solo = starting()
    for index in OTHERS:
        solo.receive(index, solo.answer(nonce=bytes(32)))
        solo.step(ev.Received(bytes([index]) * 32, None, solo.answer()))
    assert not solo.core.signing


def test_one_seat_answers_once_however_often_it_does() -> None:
    solo = starting()
    for _ in range(4):
        solo.receive(OTHERS[0], solo.answer())
    assert not of(fx.SetTimer, solo.receive(OTHERS[0], solo.answer()))
    assert not solo.core.signing


def test_observers_do_not_ask() -> None:
    assert not of(fx.Send, Solo(None, ask_others=True).all)


def test_a_single_validator_asks_nobody() -> None:
    assert Solo(0, n=1, ask_others=True).core.signing


def test_who_has_not_answered_is_asked_again_when_its_link_comes_up_and_each_period() -> None:
    solo = starting()
    solo.receive(OTHERS[0], solo.answer())

    def asked(effects: list[fx.Effect]) -> list[int | bytes]:
        return [s.to for s in of(fx.Send, effects) if isinstance(s.message, wire.LastSeenQuestion)]

    assert asked(solo.step(ev.PeerUp(OTHERS[0]))) == []
    assert asked(solo.step(ev.PeerUp(OTHERS[1]))) == [OTHERS[1]]
    assert asked(solo.step(ev.Timeout(ev.Timer(ev.TimerKind.RESEND, 1, 0)))) == OTHERS[1:]


def test_it_is_asked_once_a_process_and_again_when_the_key_comes_back() -> None:
    solo = Solo(ME)
    decided: Any = None
    for height in (2, 3):
        context = make_context(4, ME, [])
        values = {name: getattr(context, name) for name in type(context).__dataclass_fields__}
        values["height"] = height
        if height == 3:
            values["index"] = None
        solo.all.clear()
        solo.start(type(context)(**values))
        assert not [s for s in of(fx.Send, solo.all) if isinstance(s.message, wire.LastSeenQuestion)]
        decided = values
    decided.update(height=4, index=ME)
    solo.all.clear()
    solo.start(type(context)(**decided))
    assert len([s for s in of(fx.Send, solo.all) if isinstance(s.message, wire.LastSeenQuestion)]) == 3
    assert not solo.core.signing


def test_a_responder_answers_before_it_may_sign_itself() -> None:
    solo = starting()
    question = wire.LastSeenQuestion(1, solo.context.key(OTHERS[0]), b"\7" * 32)
    (sent,) = of(fx.Send, solo.receive(OTHERS[0], question))
    assert isinstance(sent.message, wire.LastSeenAnswer)
    assert (sent.message.nonce, sent.message.head_height, sent.message.votes) == (b"\7" * 32, 0, ())


def test_an_answer_tells_what_is_in_log_or_memory_and_the_own_lock() -> None:
    solo = Solo(ME)
    proposal = solo.proposal(solo.block(leader()))
    hash = proposal.message.hash
    solo.receive(leader(), proposal)
    for index in OTHERS:
        solo.receive(index, solo.prepare(index, hash))
    asker = OTHERS[1]
    commit, early = solo.commit(asker, hash), solo.prepare(asker, X, height=2)
    for message in (commit, solo.change(asker, 1, (0, hash)), early):
        solo.receive(asker, message)
    question = wire.LastSeenQuestion(1, solo.context.key(asker), b"\7" * 32)
    (sent,) = of(fx.Send, solo.receive(asker, question))
    assert isinstance(sent.message, wire.LastSeenAnswer)
    told = {(type(v.message).__name__, v.message.height) for v in sent.message.votes}
    expected = {("Prepare", 1), ("Commit", 1), ("RoundChange", 1), ("Prepare", 2)}
    assert told - {("Proposal", 1)} == expected
    assert sent.message.lock is not None
    assert (sent.message.lock.round, sent.message.lock.hash) == (0, hash)


def test_what_was_returned_is_adopted_and_durable_before_anything_is_signed() -> None:
    solo = starting()
    solo.hold_disk = True
    own = solo.prepare(ME, X, 2)
    for index in OTHERS:
        solo.receive(index, solo.answer(votes=(solo.vote(own),)))
    (persist,) = of(fx.Persist, solo.all)
    assert isinstance(persist.records[0], AdoptRecord)
    assert not solo.core.signing
    solo.hold_disk = False
    solo.durable.extend(persist.records)
    solo.safety.recorded(persist.records)
    effects = solo.step(solo.held.pop())
    assert solo.core.signing
    assert solo.core.round == 2
    assert said(effects) == [own]


def test_an_adopted_lock_makes_its_round_the_current_one_and_its_body_is_fetched() -> None:
    solo = starting(body_found=False)
    for index in OTHERS:
        solo.receive(index, solo.answer(lock=lock(solo, 3)))
    assert solo.core.round == 3
    record = solo.core.state.record
    assert record.lock == lock(solo, 3)
    assert wire.GetBlock(1, X) in [s.message for s in of(fx.Send, solo.all)]


def test_the_highest_valid_lock_is_adopted_and_forged_ones_are_not() -> None:
    solo = starting()
    good = lock(solo, 1)
    below_quorum = lock(solo, 5, q=2)
    forged = msgspec.structs.replace(lock(solo, 6), prepares=tuple(
        msgspec.structs.replace(p, signature=bytes(64)) for p in lock(solo, 6).prepares
    ))  # fmt: skip
    for index, told in zip(OTHERS, (good, below_quorum, forged), strict=True):
        solo.receive(index, solo.answer(lock=told))
    assert solo.core.state.record.lock == good


def test_foreign_and_decided_messages_are_not_adopted() -> None:
    solo = starting()
    foreign = solo.vote(solo.prepare(OTHERS[0], X))
    forged = msgspec.structs.replace(foreign, index=ME)
    for index in OTHERS:
        solo.receive(index, solo.answer(votes=(foreign, forged)))
    assert solo.core.signing
    assert not of(fx.Persist, solo.all)


def test_an_answer_that_contradicts_our_record_betrays_a_second_copy_of_our_key() -> None:
    solo = starting(records=[VoteRecord(0, Prepare(1, 0, X))])
    same = solo.vote(solo.prepare(ME, X))
    other = solo.vote(solo.prepare(ME, bytes(32)))
    solo.receive(OTHERS[0], solo.answer(votes=(same,)))
    solo.receive(OTHERS[1], solo.answer(votes=(other,)))
    with pytest.raises(OperatorError) as error:
        solo.receive(OTHERS[2], solo.answer())
    assert error.value.code == "KEY_IN_USE"


def test_own_messages_of_a_later_height_keep_us_silent_until_that_height() -> None:
    solo = starting()
    for index in OTHERS:
        solo.receive(index, solo.answer(votes=(solo.vote(solo.prepare(ME, X, height=2)),)))
    assert not solo.core.signing
    solo.receive(leader(), solo.proposal(solo.block(leader())))
    assert not said(solo.all)


def test_a_claimed_head_is_followed_or_refuted_before_signing() -> None:
    solo = starting()
    ahead = solo.answer(head_height=7)
    effects = solo.receive(OTHERS[0], ahead)
    assert of(fx.Behind, effects) == [fx.Behind(bytes([OTHERS[0]]) * 32, 7)]
    for index in OTHERS[1:]:
        solo.receive(index, solo.answer())
    assert not solo.core.signing
    solo.step(ev.HeadRefuted(b"somebody else"))
    assert not solo.core.signing
    solo.step(ev.HeadRefuted(bytes([OTHERS[0]]) * 32))
    assert solo.core.signing


def test_a_head_one_above_decides_our_height_by_its_certificate() -> None:
    solo = starting()
    proposal = solo.proposal(solo.block(leader()))
    solo.receive(leader(), proposal)
    from ledger.votes import Certificate, Seal

    hash = proposal.message.hash
    seals = tuple(Seal(i, solo.commit(i, hash).signature) for i in range(3))
    effects = solo.receive(OTHERS[0], solo.answer(head_height=1, head_certificate=Certificate(1, 0, hash, seals)))
    assert of(fx.Decide, effects)


def test_a_lost_commit_comes_back_as_a_lock_and_is_never_denied() -> None:
    solo = starting()
    commit = solo.commit(ME, X, 1)
    for index in OTHERS:
        solo.receive(index, solo.answer(votes=(solo.vote(solo.prepare(ME, X, 1)), solo.vote(commit))))
    record = solo.core.state.record
    assert (record.signed(Prepare, 1), record.signed(Commit, 1)) == (Prepare(1, 1, X), commit.message)
    for index in OTHERS:
        solo.receive(index, solo.change(index, 2))
    (change,) = [m for m in said(solo.all) if isinstance(m, wire.SignedRoundChange)]
    assert (change.message.prepared_round, change.message.prepared_hash) == (1, X)


def test_a_higher_head_told_while_the_adoption_is_written_is_caught_up_with_first() -> None:
    """Seeds 17730 and 34208 of 50,000: a second answer of the same peer came during the fsync."""
    solo = starting()
    solo.hold_disk = True
    own = solo.vote(solo.prepare(ME, X))
    for index in OTHERS:
        solo.receive(index, solo.answer(votes=(own,)))
    solo.receive(OTHERS[0], solo.answer(head_height=1, votes=()))
    [adoption] = of(fx.Persist, solo.all)
    solo.safety.recorded(adoption.records)
    solo.step(ev.Persisted(adoption.token))
    assert not solo.core.signing
    assert not said(solo.all)
    solo.step(ev.HeadRefuted(bytes([OTHERS[0]]) * 32))
    assert solo.core.signing


def test_a_lock_is_whole_after_a_start_although_its_liar_spoke_first() -> None:
    """Seeds 14322, 15157 and 31798 of 50,000: of one signer and round two votes are kept, and these came earlier."""
    solo = starting(body_found=False)
    for hash in (b"\2" * 32, b"\3" * 32):
        solo.receive(OTHERS[0], solo.prepare(OTHERS[0], hash, 3))
    for index in OTHERS:
        solo.receive(index, solo.answer(lock=lock(solo, 3)))
    assert solo.core.state.prepares_of(3, X) == lock(solo, 3).prepares
