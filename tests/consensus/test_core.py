"""One core: evidence it reports, whom it believes, and the calling order of its events (CONSENSUS §1, §4)."""

import pytest

from consensus import effects as fx
from consensus import events as ev
from consensus import messages as wire
from consensus.log import height_of
from ledger.errors import InvariantViolation
from tests.consensus.harness import make_context
from tests.consensus.solo import Solo, decided_by, follower, kinds, leader, of, others, said

LEADER, FOLLOWER = leader(), follower()


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
