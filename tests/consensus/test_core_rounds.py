"""One core, rounds: what makes a block due, timers, the join rule, what a new proposer needs (CONSENSUS §2)."""

import pytest

from consensus import effects as fx
from consensus import events as ev
from consensus import messages as wire
from ledger.blocks import header_hash
from ledger.votes import RoundChange
from tests.consensus.solo import Solo, built, follower, leader, of, others, said

LEADER, FOLLOWER = leader(), follower()


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
