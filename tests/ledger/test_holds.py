"""Fraud hold and stop: two together, clocks that stand still, and reversals that restore every counter (LEDGER §5)."""

from collections.abc import Callable

import pytest

from ledger import bills, calendar, draws
from ledger import transactions as tx
from ledger.claim_table import HOLDABLE, ClaimState
from ledger.disputes import Outcome
from ledger.rows import NO_END, NONE, Cohort, Draw, Member, Plan, Settlement
from ledger.standing import MemberState
from tests.ledger.chain import Chain
from tests.ledger.claim_kit import (
    PARAMS,
    account,
    before_jury,
    both,
    check_whole,
    dispute,
    enrolled,
    filed,
    noticed,
    objected,
    reviewed,
    row,
    settled,
)
from tests.ledger.test_documents import WAYS
from tests.ledger.test_life import AID, CLAIMANT, HASH, days, filing, state_of

DAY = calendar.MS_PER_DAY
FEE = AID * 800 // 10_000


def _in_jury(chain: Chain) -> int:
    claim = noticed(chain)
    objected(chain, claim)
    before_jury(chain, claim)
    return claim


def _before_experts(chain: Chain) -> int:
    claim = noticed(chain)
    objected(chain, claim)
    days(chain, PARAMS.notice_days + 1)
    return claim


HELD: dict[ClaimState, tuple[int, Callable[[Chain], int]]] = {
    **{state: (0, way) for state, way in WAYS.items()},
    ClaimState.JURY: (12, _in_jury),
    ClaimState.EXPERT: (0, _before_experts),
}


@pytest.mark.parametrize("state", HOLDABLE)
def test_a_held_claim_is_released_with_the_time_it_had_left(state: ClaimState) -> None:
    jurors, way = HELD[state]
    chain = enrolled(jurors=jurors)
    claim = way(chain)
    before = row(chain, claim)
    left_ms = before.due_ms - chain.now_ms - 2_000
    both(chain, tx.HoldClaim(claim))
    assert (state_of(chain, claim), row(chain, claim).held_from) == (ClaimState.FRAUD_HOLD, state)
    chain.step_to(chain.now_ms + 100 * DAY)
    assert state_of(chain, claim) is ClaimState.FRAUD_HOLD, "deadlines stop"
    both(chain, tx.FreeClaim(claim))
    after = row(chain, claim)
    assert after.held_from == NONE
    if state is ClaimState.NOTICED:
        assert (state_of(chain, claim), after.period) == (ClaimState.CLEARED, NONE), "its batch is closed"
    else:
        assert state_of(chain, claim) is state
        if before.due_ms:
            assert abs(after.due_ms - chain.now_ms - left_ms) < 10_000
            assert after.due_ms - after.opened_ms == before.due_ms - before.opened_ms
    check_whole(chain)


def test_held_for_a_day_a_noticed_claim_comes_back_to_its_open_batch() -> None:
    chain = enrolled()
    claim = noticed(chain)
    period = row(chain, claim).period
    days(chain, 1)
    both(chain, tx.HoldClaim(claim))
    days(chain, 1)
    both(chain, tx.FreeClaim(claim))
    assert (state_of(chain, claim), row(chain, claim).period) == (ClaimState.NOTICED, period)
    chain.step_to_day(2019, 3, 14)
    assert state_of(chain, claim) is ClaimState.SETTLED


def test_a_window_that_would_end_with_the_settlement_or_later_sends_the_claim_to_the_next_notice() -> None:
    chain = enrolled()
    claim = noticed(chain)
    both(chain, tx.HoldClaim(claim))
    chain.step_to_day(2019, 3, 12)
    both(chain, tx.FreeClaim(claim))
    assert (state_of(chain, claim), row(chain, claim).period) == (ClaimState.CLEARED, NONE)
    chain.step_to_day(2019, 3, 28)
    assert state_of(chain, claim) is ClaimState.SETTLED


def test_a_draw_under_way_when_a_claim_is_held_is_opened_again() -> None:
    chain = enrolled()
    claim = filed(chain)
    due_ms = row(chain, claim).due_ms
    chain.block(("clock", tx.AdvanceClock(due_ms)))
    chain.block(("firm-a", tx.HoldClaim(claim)), ("regulator", tx.HoldClaim(claim)))
    assert state_of(chain, claim) is ClaimState.FRAUD_HOLD
    chain.quiet()
    first = row(chain, claim).draw
    assert chain.state.get(Draw, first).closed_height
    assert row(chain, claim).investigator == NONE
    both(chain, tx.FreeClaim(claim))
    chain.quiet()
    assert row(chain, claim).draw == first + 1
    assert row(chain, claim).investigator != NONE
    check_whole(chain)


def test_a_jury_that_was_not_drawn_when_its_claim_was_held_is_drawn_after_the_release() -> None:
    chain = enrolled(jurors=12)
    claim = noticed(chain)
    objected(chain, claim)
    chain.block(("clock", tx.AdvanceClock(row(chain, claim).due_ms)))
    assert chain.block().codes == []
    assert (state_of(chain, claim), row(chain, claim).due_ms) == (ClaimState.JURY, 0)
    chain.block(("firm-a", tx.HoldClaim(claim)), ("regulator", tx.HoldClaim(claim)))
    chain.quiet()
    assert dispute(chain, claim).drawn == ()
    both(chain, tx.FreeClaim(claim))
    chain.quiet()
    found = dispute(chain, claim)
    assert len(found.drawn) == PARAMS.jury_panel
    assert found.seed == draws.seed_of(chain.state.get(Draw, found.draw).running, claim)
    check_whole(chain)


def test_one_alone_holds_nothing_and_two_assessors_are_not_enough() -> None:
    chain = enrolled()
    claim = filed(chain)
    assert chain.ok("firm-a", tx.HoldClaim(claim)) == (claim, 0)
    assert chain.refused("firm-a", tx.HoldClaim(claim)) == "ALREADY_CONSENTED"
    assert chain.ok("firm-b", tx.HoldClaim(claim)) == (claim, 0)
    assert state_of(chain, claim) is ClaimState.FILED
    assert chain.refused("bank", tx.HoldClaim(claim)) == "NOT_PERMITTED"
    assert chain.ok("regulator", tx.HoldClaim(claim)) == (claim, 1)


def test_a_word_counts_only_for_the_state_in_which_it_was_given() -> None:
    chain = enrolled()
    claim = filed(chain)
    chain.ok("firm-a", tx.HoldClaim(claim))
    days(chain, 4)
    assert chain.ok("regulator", tx.HoldClaim(claim)) == (claim, 0), "it is INVESTIGATING now"
    assert chain.ok("firm-a", tx.HoldClaim(claim)) == (claim, 1)


def test_a_held_claim_is_refused_for_a_reason_that_both_name() -> None:
    chain = enrolled(jurors=12)
    claim = _in_jury(chain)
    both(chain, tx.HoldClaim(claim))
    assert chain.refused("firm-a", tx.RejectClaim(claim, 0)) == "UNKNOWN_REASON"
    assert chain.refused("firm-a", tx.RejectClaim(claim, 99)) == "UNKNOWN_REASON"
    chain.ok("firm-a", tx.RejectClaim(claim, 12))
    assert chain.ok("regulator", tx.RejectClaim(claim, 4)) == (claim, 0)
    assert chain.ok("firm-b", tx.RejectClaim(claim, 4)) == (claim, 1)
    assert (state_of(chain, claim), row(chain, claim).reason) == (ClaimState.REFUSED_FINAL, 4)
    assert dispute(chain, claim).outcome == Outcome.ABANDONED
    chain.ok("platform", filing(chain))
    check_whole(chain)


# ---- stop ------------------------------------------------------------------------------------------------------------


def test_a_stopped_claim_is_not_paid_until_it_is_resumed() -> None:
    chain = enrolled()
    claim = settled(chain)
    both(chain, tx.HoldClaim(claim))
    assert state_of(chain, claim) is ClaimState.STOPPED
    assert chain.refused("bank", tx.Pay(claim, AID, b"order")) == "NO_SUCH_TRANSITION"
    days(chain, 40)
    both(chain, tx.FreeClaim(claim))
    assert state_of(chain, claim) is ClaimState.PAYING
    chain.ok("bank", tx.Advance(0, AID, False, b"advance"))
    chain.ok("bank", tx.Pay(claim, AID, b"order"))
    assert chain.refused("firm-a", tx.HoldClaim(claim)) == "ORDER_OUT"
    chain.ok("bank", tx.ConfirmPayment(claim, b"order", False))
    both(chain, tx.HoldClaim(claim))
    both(chain, tx.FreeClaim(claim))
    chain.ok("bank", tx.Pay(claim, AID, b"order 2"))
    chain.ok("bank", tx.ConfirmPayment(claim, b"order 2", True))
    check_whole(chain)


def counters(chain: Chain) -> tuple[object, ...]:
    """What counts members, and what the claimant is."""
    return [found for _, found in chain.state.rows(Cohort)], chain.state.get(Member, CLAIMANT)


def rejected(chain: Chain, claim: int) -> None:
    both(chain, tx.HoldClaim(claim))
    both(chain, tx.RejectClaim(claim, 12))
    assert state_of(chain, claim) is ClaimState.REFUSED_FINAL


def test_a_stopped_claim_that_is_refused_gives_aid_and_fee_back_and_reopens_the_span() -> None:
    chain = enrolled()
    claim = reviewed(chain, 0)
    chain.step_to_day(2019, 3, 13)
    before = counters(chain)
    chain.step_to_day(2019, 3, 14)
    assert counters(chain) != before
    carry = account(chain).carry
    rejected(chain, claim)
    assert counters(chain) == before, "no notice fell in between: as if nothing had been"
    assert (account(chain).claims, account(chain).fee, account(chain).carry) == (0, 0, carry + AID + FEE)
    chain.ok("platform", filing(chain))
    chain.step_to_day(2019, 3, 28)
    later = chain.state.get(Settlement, chain.state.get(Plan, 0).settlement)
    assert (later.claims, later.goal_fen) == (0, 0)
    check_whole(chain)


def test_only_what_is_unpaid_of_the_fee_comes_back() -> None:
    chain = enrolled()
    claim = settled(chain)
    plan = chain.state.get(Plan, 0)
    (collection, *_) = chain.ok("platform", tx.Collect(0, plan.period, 0, 323, (), 0))
    chain.ok("bank", tx.ConfirmCollection(collection, account(chain).due, b"collected"))
    chain.ok("bank", tx.PayFee(0, FEE - 100, b"fee"))
    carry = account(chain).carry
    rejected(chain, claim)
    assert account(chain).carry == carry + AID + 100


def test_after_a_gap_the_member_goes_on_with_the_next_notice_and_is_not_charged_for_it() -> None:
    chain = enrolled()
    claim = settled(chain)
    period = row(chain, claim).period
    chain.step_to_day(2019, 3, 21)
    bill = bills.total(chain.state, chain.state.get(Member, CLAIMANT))
    rejected(chain, claim)
    member = chain.state.get(Member, CLAIMANT)
    assert (member.state, member.from_period, member.to_period) == (MemberState.ACTIVE, period + 2, NO_END)
    assert bills.total(chain.state, member) == bill > 0
    gap_day = calendar.day_from_civil(2019, 3, 18)
    chain.ok("platform", filing(chain, diagnosis_day=gap_day))
    chain.step_to_day(2019, 4, 15)
    counted = chain.state.get(Settlement, chain.state.get(Plan, 0).settlement)
    assert dict(counted.counts)[1] == 324, "he is counted again"
    check_whole(chain)


def test_whoever_had_left_before_he_was_helped_is_what_he_was() -> None:
    chain = enrolled()
    claim = noticed(chain)
    chain.ok("platform", tx.Exit(CLAIMANT))
    before = counters(chain)
    chain.step_to_day(2019, 3, 14)
    assert chain.state.get(Member, CLAIMANT).state == MemberState.BENEFITED
    rejected(chain, claim)
    assert counters(chain) == before
    check_whole(chain)


def test_a_member_whose_debit_failed_in_between_still_owes_it() -> None:
    chain = enrolled()
    claim = settled(chain)
    plan = chain.state.get(Plan, 0)
    chain.ok("platform", tx.Collect(0, plan.period, 0, 323, (CLAIMANT,), 0))
    rejected(chain, claim)
    member = chain.state.get(Member, CLAIMANT)
    assert (member.state, member.fail_period, member.to_period) == (MemberState.ACTIVE, plan.period, NO_END)
    chain.step_to_day(2019, 3, 21)
    assert account(chain).arrears == member.arrears_fen > 0
    check_whole(chain)


def test_a_member_with_arrears_written_off_in_the_gap_has_exited_and_pays_before_he_returns() -> None:
    chain = enrolled()
    claim = settled(chain)
    plan = chain.state.get(Plan, 0)
    chain.ok("platform", tx.Collect(0, plan.period, 0, 323, (CLAIMANT,), 0))
    chain.step_to_day(2019, 3, 21)
    rejected(chain, claim)
    member = chain.state.get(Member, CLAIMANT)
    assert member.state == MemberState.EXITED
    assert bills.owed(chain.state, member).written_off_fen == member.arrears_fen > 0
    check_whole(chain)


def test_a_claim_refused_after_the_stop_is_settled_again_by_a_court() -> None:
    chain = enrolled()
    claim = settled(chain)
    rejected(chain, claim)
    chain.ok("regulator", tx.CourtOrder(claim, HASH))
    chain.step_to_day(2019, 3, 28)
    assert state_of(chain, claim) is ClaimState.SETTLED
    assert chain.state.get(Member, CLAIMANT).state == MemberState.BENEFITED
    assert account(chain).claims == AID
    check_whole(chain)
