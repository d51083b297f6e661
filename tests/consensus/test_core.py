"""What one core says and does, event by event (CONSENSUS §1, §2, §4)."""

import pytest
from msgspec import structs

from consensus import effects as fx
from consensus import events as ev
from consensus import messages as wire
from consensus.log import height_of
from consensus.records import BodyRecord, LockRecord, ProposalRecord, VoteRecord
from ledger.blocks import header_hash
from ledger.errors import InvariantViolation
from ledger.votes import Certificate, Proposal, RoundChange, Seal
from tests.consensus.harness import Decided, make_context
from tests.consensus.solo import Solo, follower, kinds, leader, of, said

LEADER, FOLLOWER = leader(), follower()


def built(solo: Solo, round: int = 0, tag: int = 0) -> ev.BlockBuilt:
    block = solo.block(solo.context.index or 0, tag)
    return ev.BlockBuilt(1, round, block, solo.bodies[header_hash(block.header)], ())


def others(*known: int) -> list[int]:
    return [index for index in range(4) if index not in known]


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


# Due, timers, rounds.


def test_pending_transactions_move_the_leader_only() -> None:
    solo = Solo(FOLLOWER)
    assert not solo.step(ev.BlockDue(1, ev.DueReason.PENDING))
    assert of(fx.SetTimer, solo.step(ev.BlockDue(1, ev.DueReason.DEADLINE)))


@pytest.mark.parametrize("reason", [r for r in ev.DueReason if r is not ev.DueReason.PENDING])
def test_every_other_reason_starts_the_timer_of_round_zero(reason: ev.DueReason) -> None:
    effects = Solo(FOLLOWER).step(ev.BlockDue(1, reason))
    assert ev.Timer(ev.TimerKind.ROUND, 1, 0) in [e.timer for e in of(fx.SetTimer, effects)]


def test_a_certifying_block_waits_so_that_an_ordinary_one_can_do_its_job() -> None:
    solo = Solo(LEADER, certify=True)
    timers = [e for e in of(fx.SetTimer, solo.all) if e.timer.kind is ev.TimerKind.CERTIFY]
    assert [e.delay_ms for e in timers] == [50]
    assert not of(fx.BuildBlock, solo.all)
    assert of(fx.BuildBlock, solo.step(ev.Timeout(timers[0].timer)))
    early = Solo(LEADER, certify=True)
    assert of(fx.BuildBlock, early.step(ev.BlockDue(1, ev.DueReason.PENDING)))


def test_a_due_certifying_block_starts_every_timer_at_once() -> None:
    solo = Solo(FOLLOWER, certify=True)
    assert ev.Timer(ev.TimerKind.ROUND, 1, 0) in [e.timer for e in of(fx.SetTimer, solo.all)]


def test_an_idle_height_runs_no_round_timer() -> None:
    solo = Solo(FOLLOWER)
    assert ev.TimerKind.ROUND not in [e.timer.kind for e in of(fx.SetTimer, solo.all)]


def test_a_stale_timer_means_nothing() -> None:
    solo = Solo(FOLLOWER)
    solo.step(ev.BlockDue(1, ev.DueReason.DEADLINE))
    solo.step(ev.Timeout(ev.Timer(ev.TimerKind.ROUND, 1, 0)))
    assert solo.core.round == 1
    assert not said(solo.step(ev.Timeout(ev.Timer(ev.TimerKind.ROUND, 1, 0))))
    assert solo.core.round == 1


@pytest.mark.parametrize("kind", ["prepare", "commit", "change", "proposal"])
def test_every_kind_of_message_counts_for_the_join_rule(kind: str) -> None:
    solo = Solo(FOLLOWER)
    one, two = others(FOLLOWER)[:2]
    solo.receive(one, solo.change(one, 3))
    assert solo.core.round == 0
    if kind == "proposal":
        lead = leader(3)
        changes = [solo.change(i, 3) for i in others(FOLLOWER)]
        solo.receive(lead, solo.proposal(solo.block(lead), 3, changes))
    else:
        message = solo.change(two, 3) if kind == "change" else getattr(solo, kind)(two, b"\1" * 32, 3)
        solo.receive(two, message)
    assert solo.core.round == 3


def test_the_prepares_of_a_lock_go_to_the_next_proposer() -> None:
    me = next(i for i in range(4) if i not in (leader(0), leader(1)))
    solo = Solo(me)
    proposal = solo.proposal(solo.block(leader(0)))
    hash = proposal.message.hash
    solo.receive(leader(0), proposal)
    for index in others(me):
        solo.receive(index, solo.prepare(index, hash))
    effects = solo.step(ev.Timeout(ev.Timer(ev.TimerKind.ROUND, 1, 0)))
    (change,) = said(effects)
    assert isinstance(change, wire.SignedRoundChange)
    assert change.message == RoundChange(1, 1, 0, hash)
    sent = [s for s in of(fx.Send, effects) if isinstance(s.message, wire.PreparedRoundChange)]
    assert [s.to for s in sent] == [leader(1)]
    assert len(sent[0].message.prepares) == 3  # type: ignore[union-attr]


def test_a_round_change_prepared_at_or_above_its_target_is_blamed() -> None:
    solo = Solo(FOLLOWER)
    effects = solo.receive(LEADER, solo.change(LEADER, 2, (2, b"\1" * 32)))
    assert [b.code for b in of(fx.Blame, effects)] == ["round_change"]
    assert solo.core.state.open.tally.highest[LEADER] == -1


def leading_round_one() -> tuple[Solo, wire.CompactBlock, bytes]:
    """We lead round 1; one validator says that it prepared a block that we have never seen."""
    solo = Solo(leader(1), body_found=False)
    block = solo.block(leader(0))
    return solo, block, header_hash(block.header)


def test_a_prepared_round_change_counts_once_prepares_and_body_are_here() -> None:
    solo, block, hash = leading_round_one()
    a, b = others(leader(1))[:2]
    solo.receive(a, solo.change(a, 1))
    effects = solo.receive(b, solo.change(b, 1, (0, hash)))
    assert solo.core.round == 1
    assert not of(fx.BuildBlock, effects)
    assert wire.GetPrepares(1, 0, hash) in [s.message for s in of(fx.Send, effects)]
    effects = solo.receive(b, wire.Prepares(tuple(solo.prepare(i, hash) for i in others(leader(1)))))
    assert wire.GetBlock(1, hash) in [s.message for s in of(fx.Send, effects)]
    effects = solo.receive(b, wire.Block(1, block))
    assert [type(s.message) for s in of(fx.Send, effects)] == [wire.GetBodies]
    effects = solo.receive(b, wire.Bodies(1, hash, (b"one", b"two")))
    (proposal,) = [m for m in said(effects) if isinstance(m, wire.SignedProposal)]
    assert (proposal.message.hash, proposal.message.round, len(proposal.prepares)) == (hash, 1, 3)


def test_meanwhile_any_other_quorum_may_be_used() -> None:
    solo, _, hash = leading_round_one()
    a, b, c = others(leader(1))
    solo.receive(a, solo.change(a, 1))
    solo.receive(b, solo.change(b, 1, (0, hash)))
    effects = solo.receive(c, solo.change(c, 1))
    assert of(fx.BuildBlock, effects) == [fx.BuildBlock(1, 1)]


def test_a_built_block_is_dropped_when_its_round_is_over() -> None:
    solo = Solo(LEADER)
    solo.step(ev.BlockDue(1, ev.DueReason.DEADLINE))
    solo.step(ev.Timeout(ev.Timer(ev.TimerKind.ROUND, 1, 0)))
    assert not said(solo.step(built(solo)))


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


# Repair.


def test_what_status_lacks_is_sent_again() -> None:
    solo = Solo(FOLLOWER)
    proposal = solo.proposal(solo.block(LEADER))
    solo.receive(LEADER, proposal)
    nothing = wire.Status(0, 1, 0, bytes(32), -1, (-1,) * 4, (-1,) * 4, (-1,) * 4)
    assert kinds(s.message for s in of(fx.Send, solo.receive(LEADER, nothing))) == ["SignedPrepare"]
    has = wire.Status(0, 1, 0, bytes(32), 0, (0,) * 4, (-1,) * 4, (-1,) * 4)
    assert not of(fx.Send, solo.receive(LEADER, has))


def test_who_is_one_behind_is_shown_the_decision_who_is_ahead_is_followed() -> None:
    solo = Solo(FOLLOWER)
    chain = [decided_by(solo)]
    later = Solo(FOLLOWER, chain=chain)
    status = wire.Status(0, 1, 0, bytes(32), -1, (-1,) * 4, (-1,) * 4, (-1,) * 4)
    assert [s.message for s in of(fx.Send, later.receive(0, status))] == [wire.CommitCertificate(chain[0].certificate)]
    effects = solo.receive(0, wire.Status(0, 9, 0, bytes(32), -1, (), (), ()))
    assert of(fx.Behind, effects) == [fx.Behind(bytes(32), 8)]


def test_who_is_further_behind_is_told_how_far_we_are() -> None:
    later = Solo(FOLLOWER, chain=[decided_by(Solo(FOLLOWER))])
    status = wire.Status(0, 0, 0, bytes(32), -1, (-1,) * 4, (-1,) * 4, (-1,) * 4)
    (sent,) = of(fx.Send, later.receive(0, status))
    assert isinstance(sent.message, wire.Status)
    assert sent.message.height == 2
    assert of(fx.Behind, Solo(FOLLOWER).receive(0, sent.message)) == [fx.Behind(bytes(32), 1)]


@pytest.mark.parametrize("kind", ["proposal", "prepare", "commit", "round change", "prepared round change"])
def test_a_vote_two_heights_above_ours_shows_that_its_sender_is_ahead_once_a_period(kind: str) -> None:
    solo = Solo(FOLLOWER)
    proposal = structs.replace(solo.proposal(solo.block(LEADER)), message=Proposal(7, 0, b"\1" * 32))
    high = RoundChange(7, 1, -1, b"")
    change = wire.SignedRoundChange(high, LEADER, solo.sign(LEADER, high))
    messages: dict[str, wire.Message] = {
        "proposal": proposal,
        "prepare": solo.prepare(LEADER, b"\1" * 32, height=7),
        "commit": solo.commit(LEADER, b"\1" * 32, height=7),
        "round change": change,
        "prepared round change": wire.PreparedRoundChange(change, ()),
    }
    message = messages[kind]
    assert of(fx.Behind, solo.receive(LEADER, message)) == [fx.Behind(bytes([LEADER]) * 32, 6)]
    assert not of(fx.Behind, solo.receive(LEADER, message))
    solo.step(ev.Timeout(ev.Timer(ev.TimerKind.RESEND, 1, 0)))
    assert of(fx.Behind, solo.receive(LEADER, message))


def test_who_votes_two_heights_above_is_ahead_and_that_is_said_once_a_period() -> None:
    solo = Solo(FOLLOWER)
    peer = bytes([LEADER]) * 32
    assert of(fx.Behind, solo.receive(LEADER, solo.prepare(LEADER, b"\1" * 32, height=3))) == [fx.Behind(peer, 2)]
    assert not of(fx.Behind, solo.receive(LEADER, solo.commit(LEADER, b"\1" * 32, height=4)))
    solo.step(ev.Timeout(ev.Timer(ev.TimerKind.RESEND, 1, 0)))
    assert of(fx.Behind, solo.receive(LEADER, solo.commit(LEADER, b"\1" * 32, height=4))) == [fx.Behind(peer, 3)]
    stranger = ev.Received(b"stranger", None, solo.prepare(LEADER, b"\1" * 32, height=9))
    assert not of(fx.Behind, solo.step(stranger))


def test_who_is_far_behind_is_told_where_we_are() -> None:
    later = Solo(FOLLOWER, chain=[decided_by(Solo(FOLLOWER))])
    old = wire.Status(0, 0, 0, bytes(32), -1, (-1,) * 4, (-1,) * 4, (-1,) * 4)
    (sent,) = of(fx.Send, later.receive(0, old))
    assert isinstance(sent.message, wire.Status)
    assert sent.message.height == 2


def decided_by(solo: Solo) -> Decided:
    from ledger.blocks import decode_header

    block = solo.block(LEADER)
    seals = tuple(Seal(i, solo.commit(i, header_hash(block.header)).signature) for i in range(3))
    certificate = Certificate(1, 0, header_hash(block.header), seals)
    return Decided(decode_header(block.header), block, (b"one", b"two"), certificate)


def test_own_prepares_of_any_round_and_the_last_block_are_served() -> None:
    solo = Solo(FOLLOWER)
    proposal = solo.proposal(solo.block(LEADER))
    hash = proposal.message.hash
    solo.receive(LEADER, proposal)
    solo.step(ev.Timeout(ev.Timer(ev.TimerKind.ROUND, 1, 0)))
    (answer,) = of(fx.Send, solo.receive(1, wire.GetPrepares(1, 0, hash)))
    assert isinstance(answer.message, wire.Prepares)
    assert FOLLOWER in [vote.index for vote in answer.message.votes]
    for index in others(FOLLOWER):
        solo.receive(index, solo.commit(index, hash))
    decided = decided_by(solo)
    solo.start(make_context(4, FOLLOWER, [decided]))
    assert [type(s.message) for s in of(fx.Send, solo.receive(1, wire.GetBlock(1, hash)))] == [wire.Block]
    bodies = of(fx.Send, solo.receive(1, wire.GetBodies(1, hash, b"\2")))
    assert [s.message for s in bodies] == [wire.Bodies(1, hash, (b"two",))]


def test_f_plus_one_peers_at_the_next_height_make_us_ask_for_the_decision() -> None:
    solo = Solo(FOLLOWER)
    one, two = others(FOLLOWER)[:2]
    assert not of(fx.Send, solo.receive(one, solo.prepare(one, b"\1" * 32, height=2)))
    sent = of(fx.Send, solo.receive(two, solo.prepare(two, b"\1" * 32, height=2)))
    assert [s.message for s in sent] == [wire.GetCertificate(1)]


def test_early_messages_of_the_next_height_are_counted_when_it_starts() -> None:
    solo = Solo(FOLLOWER)
    early = solo.prepare(LEADER, b"\1" * 32, height=2)
    solo.receive(LEADER, early)
    solo.start(make_context(4, FOLLOWER, [decided_by(solo)]))
    assert solo.core.state.open.tally.known(early)


# Evidence.


def pairs(effects: list[fx.Effect]) -> list[set[str]]:
    return [{type(r.evidence.first.message).__name__, type(r.evidence.second.message).__name__}
            for r in of(fx.ReportEvidence, effects)]  # fmt: skip


def test_two_proposals_of_one_round_are_evidence_and_the_first_is_accepted() -> None:
    solo = Solo(FOLLOWER)
    first = solo.proposal(solo.block(LEADER, 1))
    solo.receive(LEADER, first)
    effects = solo.receive(LEADER, solo.proposal(solo.block(LEADER, 2)))
    assert pairs(effects) == [{"Proposal"}]
    assert solo.core.state.open.accepted[0].hash == first.message.hash


@pytest.mark.parametrize("kind", ["prepare", "commit"])
def test_two_votes_of_one_round_are_evidence_once(kind: str) -> None:
    solo = Solo(FOLLOWER)
    vote = getattr(solo, kind)
    solo.receive(LEADER, vote(LEADER, b"\1" * 32))
    effects = solo.receive(LEADER, vote(LEADER, b"\2" * 32))
    (report,) = of(fx.ReportEvidence, effects)
    from ledger.codec import encode

    assert encode(report.evidence.first) < encode(report.evidence.second)
    assert not of(fx.ReportEvidence, solo.receive(LEADER, vote(LEADER, b"\3" * 32)))


def test_a_commit_denied_by_a_later_round_change_is_evidence_in_either_order() -> None:
    for reverse in (False, True):
        solo = Solo(FOLLOWER)
        two: list[wire.Signed] = [solo.commit(LEADER, b"\1" * 32, 1), solo.change(LEADER, 3, (0, b"\1" * 32))]
        ordered: list[wire.Signed] = [*reversed(two)] if reverse else [*two]
        for message in ordered:
            effects = solo.receive(LEADER, message)
        assert pairs(effects) == [{"Commit", "RoundChange"}]


def test_a_round_change_that_tells_its_commit_is_honest() -> None:
    solo = Solo(FOLLOWER)
    solo.receive(LEADER, solo.commit(LEADER, b"\1" * 32, 1))
    assert not of(fx.ReportEvidence, solo.receive(LEADER, solo.change(LEADER, 3, (1, b"\1" * 32))))


def test_an_equivocating_commit_still_counts_towards_a_certificate() -> None:
    solo = Solo(FOLLOWER)
    proposal = solo.proposal(solo.block(LEADER))
    solo.receive(LEADER, proposal)
    a, b, c = others(FOLLOWER)
    solo.receive(a, solo.commit(a, b"\7" * 32))
    for index in (a, b, c):
        effects = solo.receive(index, solo.commit(index, proposal.message.hash))
    assert of(fx.Decide, effects)


# Signatures and senders.


@pytest.mark.parametrize("index", [1, 2])
def test_a_vote_under_another_index_is_blamed_and_not_counted(index: int) -> None:
    solo = Solo(FOLLOWER)
    good = solo.prepare(3, b"\1" * 32)
    effects = solo.receive(3, wire.SignedPrepare(good.message, index, good.signature))
    assert [b.code for b in of(fx.Blame, effects)] == ["signature"]
    assert len(solo.core.state.open.tally.prepares) == 0


def test_an_index_outside_the_set_is_blamed() -> None:
    solo = Solo(FOLLOWER)
    good = solo.prepare(3, b"\1" * 32)
    effects = solo.receive(3, wire.SignedPrepare(good.message, 4, good.signature))
    assert [b.code for b in of(fx.Blame, effects)] == ["index"]


def test_only_the_proposer_of_the_round_may_propose() -> None:
    solo = Solo(FOLLOWER)
    proposal = solo.proposal(solo.block(LEADER))
    wrong = others(LEADER, FOLLOWER)[0]
    forged = wire.SignedProposal(
        proposal.message, wrong, solo.sign(wrong, proposal.message), proposal.block, (), (), ()
    )
    assert [b.code for b in of(fx.Blame, solo.receive(wrong, forged))] == ["proposal"]


def test_a_proposal_with_one_bad_round_change_is_not_accepted() -> None:
    me = next(i for i in range(4) if i != leader(1))
    solo = Solo(me)
    changes = [solo.change(i, 1) for i in others(me)]
    changes[0] = wire.SignedRoundChange(changes[0].message, changes[0].index, bytes(64))
    effects = solo.receive(leader(1), solo.proposal(solo.block(leader(1)), 1, changes))
    assert [b.code for b in of(fx.Blame, effects)] == ["signature"]
    assert 1 not in solo.core.state.open.accepted


def test_events_before_the_first_height_say_nothing() -> None:
    from consensus.core import Consensus
    from tests.consensus.harness import FAST

    core = Consensus([], FAST)
    assert core.step(ev.BlockDue(1, ev.DueReason.DEADLINE)) == []
    assert (core.height, core.round, core.signing) == (0, 0, False)


def test_a_height_does_not_start_twice() -> None:
    solo = Solo(FOLLOWER)
    with pytest.raises(InvariantViolation):
        solo.core.step(ev.HeightStarted(solo.context, bytes(32)))


def test_a_height_executed_otherwise_than_decided_ends_the_process() -> None:
    solo = Solo(FOLLOWER)
    proposal = solo.proposal(solo.block(LEADER, 5))
    solo.receive(LEADER, proposal)
    for index in others(FOLLOWER):
        solo.receive(index, solo.commit(index, proposal.message.hash))
    with pytest.raises(InvariantViolation, match="decided otherwise"):
        solo.start(make_context(4, FOLLOWER, [decided_by(solo)]))


def test_a_new_height_lets_the_log_be_compacted() -> None:
    solo = Solo(FOLLOWER)
    effects = solo.core.step(ev.HeightStarted(make_context(4, FOLLOWER, [decided_by(solo)]), bytes(32)))
    assert of(fx.Compact, effects) == [fx.Compact(0, 1)]


def test_every_intent_of_the_log_is_taken_up_after_a_restart() -> None:
    solo = Solo(FOLLOWER)
    proposal = solo.proposal(solo.block(LEADER))
    solo.receive(LEADER, proposal)
    for index in others(FOLLOWER):
        solo.receive(index, solo.prepare(index, proposal.message.hash))
    again = Solo(FOLLOWER, records=solo.durable, body_found=False)
    assert kinds(said(again.all)) == ["SignedPrepare", "SignedCommit"]
    assert said(again.all) == [m for m in said(solo.all) if isinstance(m, wire.SignedPrepare | wire.SignedCommit)]
    assert again.core.state.open.due
    for index in others(FOLLOWER)[:2]:
        effects = again.receive(index, again.commit(index, proposal.message.hash))
    assert of(fx.Decide, effects)
    assert all(height_of(r) == 1 for r in again.durable)
