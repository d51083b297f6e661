"""One core, voting: persist, then sign, then send; the body comes first; what decides (CONSENSUS §1, §2)."""

import pytest

from consensus import effects as fx
from consensus import events as ev
from consensus import messages as wire
from consensus.records import BodyRecord, LockRecord, ProposalRecord, VoteRecord
from consensus.tally import ROUNDS_MAX
from ledger.blocks import header_hash
from ledger.votes import Certificate, Seal
from tests.consensus.solo import Solo, built, follower, kinds, leader, of, others, said

LEADER, FOLLOWER = leader(), follower()


# Persist, then sign, then send.


def test_a_follower_prepares_in_the_order_persist_sign_broadcast() -> None:
    solo = Solo(FOLLOWER)
    effects = solo.receive(LEADER, solo.proposal(solo.block(LEADER)))
    steps = [type(e) for e in effects if isinstance(e, fx.Persist | fx.Sign | fx.Broadcast)]
    assert steps == [fx.Persist, fx.Sign, fx.Broadcast]
    assert [type(r) for r in of(fx.Persist, effects)[0].records] == [BodyRecord, VoteRecord]


def test_nothing_is_signed_while_the_disk_has_not_answered() -> None:
    solo = Solo(FOLLOWER)
    solo.hold_disk = True
    effects = solo.receive(LEADER, solo.proposal(solo.block(LEADER)))
    assert of(fx.Persist, effects)
    assert not of(fx.Sign, effects)
    assert not said(effects)


def test_nothing_is_sent_while_the_signer_has_not_answered() -> None:
    solo = Solo(FOLLOWER)
    solo.hold_signer = True
    effects = solo.receive(LEADER, solo.proposal(solo.block(LEADER)))
    assert of(fx.Sign, effects)
    assert not said(effects)


def test_the_leader_makes_proposal_body_and_own_prepare_durable_at_once() -> None:
    solo = Solo(LEADER)
    assert of(fx.BuildBlock, solo.step(ev.BlockDue(1, ev.DueReason.PENDING))) == [fx.BuildBlock(1, 0)]
    effects = solo.step(built(solo))
    (persist,) = of(fx.Persist, effects)
    assert [type(r) for r in persist.records] == [BodyRecord, ProposalRecord, VoteRecord]
    assert kinds(said(effects)) == ["SignedProposal", "SignedPrepare"]


def test_the_q_prepares_are_in_the_log_before_the_commit() -> None:
    solo = Solo(FOLLOWER)
    proposal = solo.proposal(solo.block(LEADER))
    hash = proposal.message.hash
    solo.receive(LEADER, proposal)
    solo.receive(LEADER, solo.prepare(LEADER, hash))
    effects = solo.receive(others(LEADER, FOLLOWER)[0], solo.prepare(others(LEADER, FOLLOWER)[0], hash))
    (persist,) = of(fx.Persist, effects)
    assert [type(r) for r in persist.records] == [LockRecord, VoteRecord]
    assert kinds(said(effects)) == ["SignedCommit"]


def test_a_signature_that_comes_after_the_decision_is_not_sent() -> None:
    solo = Solo(FOLLOWER)
    solo.hold_signer = True
    proposal = solo.proposal(solo.block(LEADER))
    solo.receive(LEADER, proposal)
    for index in others(FOLLOWER):
        solo.receive(index, solo.commit(index, proposal.message.hash))
    assert of(fx.Decide, solo.all)
    assert not said([e for event in solo.held for e in solo.core.step(event)])


# The body comes first.


def test_no_prepare_before_every_transaction_is_here() -> None:
    solo = Solo(FOLLOWER, body_found=False)
    block = solo.block(LEADER)
    effects = solo.receive(LEADER, solo.proposal(block, recent=(b"one",)))
    assert not of(fx.Persist, effects)
    (request,) = [s.message for s in of(fx.Send, effects) if isinstance(s.message, wire.GetBodies)]
    assert request.missing == b"\2"
    effects = solo.receive(LEADER, wire.Bodies(1, header_hash(block.header), (b"two",)))
    assert kinds(said(effects)) == ["SignedPrepare"]


def test_a_fetch_is_not_cancelled_by_a_round_change_and_its_result_is_kept() -> None:
    solo = Solo(FOLLOWER, body_found=False)
    block = solo.block(LEADER)
    solo.receive(LEADER, solo.proposal(block))
    solo.step(ev.Timeout(ev.Timer(ev.TimerKind.ROUND, 1, 0)))
    solo.step(ev.BodyAvailable(1, header_hash(block.header), (b"one", b"two")))
    for index in others(FOLLOWER):
        effects = solo.receive(index, solo.commit(index, header_hash(block.header)))
    assert of(fx.Decide, effects)


def test_a_body_is_asked_of_another_holder_each_period() -> None:
    solo = Solo(FOLLOWER, body_found=False)
    proposal = solo.proposal(solo.block(LEADER))
    first = solo.receive(LEADER, proposal)
    voter = others(LEADER, FOLLOWER)[0]
    assert not of(fx.Send, solo.receive(voter, solo.prepare(voter, proposal.message.hash)))
    second = solo.step(ev.Timeout(ev.Timer(ev.TimerKind.RESEND, 1, 0)))
    asked = [s.to for s in [*of(fx.Send, first), *of(fx.Send, second)] if isinstance(s.message, wire.GetBodies)]
    assert asked == [LEADER, voter]


def test_foreign_transactions_in_an_answer_are_blamed() -> None:
    solo = Solo(FOLLOWER, body_found=False)
    proposal = solo.proposal(solo.block(LEADER))
    solo.receive(LEADER, proposal)
    effects = solo.receive(LEADER, wire.Bodies(1, proposal.message.hash, (b"three",)))
    assert [b.code for b in of(fx.Blame, effects)] == ["bodies"]


@pytest.mark.parametrize("verdict", [ev.Verdict.INVALID, ev.Verdict.STALE])
def test_a_fresh_block_that_is_invalid_or_stale_is_not_prepared(verdict: ev.Verdict) -> None:
    solo = Solo(FOLLOWER, verdict=verdict)
    assert not said(solo.receive(LEADER, solo.proposal(solo.block(LEADER))))


def test_freshness_is_not_checked_again_of_a_block_proposed_again() -> None:
    me = next(i for i in range(4) if i not in (leader(0), leader(1)))
    solo = Solo(me, verdict=ev.Verdict.STALE)
    block = solo.block(leader(0))
    hash = header_hash(block.header)
    changes = [solo.change(i, 1, (0, hash) if i == leader(1) else (-1, b"")) for i in others(me)]
    prepares = [solo.prepare(i, hash) for i in others(me)]
    effects = solo.receive(leader(1), solo.proposal(block, 1, changes, prepares))
    assert kinds(said(effects)) == ["SignedRoundChange", "SignedPrepare"]
    assert not of(fx.Blame, effects)


def test_an_id_list_that_is_not_the_headers_is_refused_before_any_fetch() -> None:
    solo = Solo(FOLLOWER)
    block = solo.block(LEADER)
    other = wire.CompactBlock(block.header, bytes(64), (), block.parent_certificate, None)
    effects = solo.receive(LEADER, solo.proposal(other))
    assert [b.code for b in of(fx.Blame, effects)] == ["proposal"]
    assert not of(fx.FetchBody, effects)


# Deciding.


def test_q_commits_of_one_round_decide_and_the_certificate_is_ascending() -> None:
    solo = Solo(FOLLOWER)
    proposal = solo.proposal(solo.block(LEADER))
    solo.receive(LEADER, proposal)
    hash = proposal.message.hash
    for index in reversed(others(FOLLOWER)):
        effects = solo.receive(index, solo.commit(index, hash, round=2))
    (decide,) = of(fx.Decide, effects)
    assert decide.certificate.round == 2
    assert [s.index for s in decide.certificate.seals] == others(FOLLOWER)
    assert decide.transactions == (b"one", b"two")


def test_commits_of_different_rounds_do_not_add_up() -> None:
    solo = Solo(FOLLOWER)
    proposal = solo.proposal(solo.block(LEADER))
    solo.receive(LEADER, proposal)
    for round, index in enumerate(others(FOLLOWER)):
        solo.receive(index, solo.commit(index, proposal.message.hash, round=round))
    assert not of(fx.Decide, solo.all)


def test_an_observer_decides_from_a_certificate_and_fetches_the_block() -> None:
    solo = Solo(None, body_found=False)
    block = solo.block(LEADER)
    hash = header_hash(block.header)
    seals = tuple(Seal(i, solo.commit(i, hash).signature) for i in range(3))
    effects = solo.receive(0, wire.CommitCertificate(Certificate(1, 0, hash, seals)))
    assert [type(s.message) for s in of(fx.Send, effects)] == [wire.GetBlock]
    effects = solo.receive(0, wire.Block(1, block))
    assert [type(s.message) for s in of(fx.Send, effects)] == [wire.GetBodies]
    assert of(fx.Decide, solo.receive(0, wire.Bodies(1, hash, (b"one", b"two"))))
    assert not of(fx.Persist, solo.all)


def test_a_certificate_with_a_bad_seal_decides_nothing_and_is_blamed() -> None:
    solo = Solo(FOLLOWER)
    proposal = solo.proposal(solo.block(LEADER))
    solo.receive(LEADER, proposal)
    hash = proposal.message.hash
    seals = (*(Seal(i, solo.commit(i, hash).signature) for i in range(2)), Seal(2, bytes(64)))
    effects = solo.receive(1, wire.CommitCertificate(Certificate(1, 0, hash, seals)))
    assert [b.code for b in of(fx.Blame, effects)] == ["signature"]
    assert not of(fx.Decide, solo.all)


def test_what_locked_us_stays_here_whatever_its_signers_say_in_later_rounds() -> None:
    solo = Solo(FOLLOWER)
    proposal = solo.proposal(solo.block(LEADER))
    hash, liar = proposal.message.hash, others(LEADER, FOLLOWER)[0]
    solo.receive(LEADER, proposal)
    for index in (LEADER, liar):
        solo.receive(index, solo.prepare(index, hash))
    for index in (LEADER, liar):
        solo.receive(index, solo.change(index, ROUNDS_MAX + 1))
    assert solo.core.round == ROUNDS_MAX + 1
    for round in range(1, ROUNDS_MAX + 2):
        solo.receive(liar, solo.prepare(liar, hash, round))
    assert [vote.index for vote in solo.core.state.prepares_of(0, hash)] == sorted((LEADER, FOLLOWER, liar))
