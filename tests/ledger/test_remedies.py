"""Unclaimed aid, clawback and court orders, with both sides of every amount (LEDGER §5, §9)."""

import pytest

from ledger import remedies
from ledger import transactions as tx
from ledger.actions import ClawBackClaim, RunOffPlan, WriteOffClaim
from ledger.claim_table import ClaimState, Judge
from ledger.claims import UNCLAIMED_DAYS
from ledger.errors import TransactionRejected
from ledger.governance import OBJECTION_DAYS
from ledger.rows import Member, Plan, Proposal
from ledger.standing import MemberState
from ledger.state import BlockContext, State
from ledger.store import Overlay
from tests.ledger.chain import Chain
from tests.ledger.claim_kit import (
    PARAMS,
    account,
    check_whole,
    enrolled,
    filed,
    paid,
    person,
    reviewed,
    row,
    settled,
)
from tests.ledger.test_life import AID, CLAIMANT, HASH, SALT, days, filing, state_of


@pytest.mark.parametrize("ordered", [False, True])
def test_aid_that_nobody_takes_for_two_years_goes_to_carry(ordered: bool) -> None:
    chain = enrolled()
    claim = settled(chain)
    if ordered:
        days(chain, 100)
        chain.ok("bank", tx.Pay(claim, AID, b"order"))
        chain.ok("bank", tx.ConfirmPayment(claim, b"order", False))
    days(chain, UNCLAIMED_DAYS - 1)
    assert state_of(chain, claim) is (ClaimState.PAYING if ordered else ClaimState.SETTLED)
    carry = account(chain).carry
    days(chain, 2)
    assert state_of(chain, claim) is ClaimState.UNCLAIMED
    assert (account(chain).claims, account(chain).carry) == (0, carry + AID)
    assert chain.refused("bank", tx.Pay(claim, AID, b"late")) == "NO_SUCH_TRANSITION"
    assert chain.refused("platform", filing(chain)) == "ALREADY_HELPED"
    check_whole(chain)


def test_clawed_back_aid_is_recovered_in_parts_and_never_more_than_it_was() -> None:
    chain = enrolled()
    claim = paid(chain)
    before = account(chain)
    assert chain.refused("regulator", tx.ClawBack(claim, b"short")) == "BAD_FIELD"
    assert chain.ok("regulator", tx.ClawBack(claim, HASH)) == (claim, AID)
    assert row(chain, claim).judgment == HASH
    assert chain.ok("bank", tx.RecoverAid(claim, 10_000, b"part 1")) == (claim, 10_000)
    assert state_of(chain, claim) is ClaimState.CLAWBACK
    assert chain.refused("bank", tx.RecoverAid(claim, 20_001, b"part 2")) == "WRONG_AMOUNT"
    assert chain.refused("bank", tx.RecoverAid(claim, 0, b"part 2")) == "WRONG_AMOUNT"
    assert chain.refused("bank", tx.RecoverAid(claim, 20_000, b"part 1")) == "DUPLICATE_REFERENCE"
    assert chain.ok("bank", tx.RecoverAid(claim, 20_000, b"part 2")) == (claim, AID)
    assert state_of(chain, claim) is ClaimState.RECOVERED
    assert (account(chain).cash, account(chain).carry) == (before.cash + AID, before.carry + AID)
    assert chain.refused("bank", tx.RecoverAid(claim, 1, b"part 3")) == "NO_SUCH_TRANSITION"
    assert chain.refused("platform", filing(chain)) == "ALREADY_HELPED"
    check_whole(chain)


def test_what_does_not_come_back_is_written_off() -> None:
    chain = enrolled()
    claim = paid(chain)
    chain.ok("regulator", tx.ClawBack(claim, HASH))
    chain.ok("bank", tx.RecoverAid(claim, 10_000, b"part"))
    before = account(chain)
    assert chain.refused("regulator", tx.WriteOffAid(claim, b"")) == "BAD_FIELD"
    assert chain.ok("regulator", tx.WriteOffAid(claim, HASH)) == (claim, 20_000)
    assert state_of(chain, claim) is ClaimState.WRITTEN_OFF
    assert account(chain) == before, "it left the accounts when it was paid"
    check_whole(chain)


def test_governance_claws_back_through_begin_and_only_what_was_paid() -> None:
    chain = enrolled()
    claim = settled(chain)
    state = State(Overlay(chain.store), BlockContext(bytes(32), 99, chain.now_ms, chain.now_ms, bytes(32), bytes(64)))
    with pytest.raises(TransactionRejected, match="NO_SUCH_TRANSITION"):
        remedies.begin(state, claim, HASH)


def decided(chain: Chain, action: object) -> Proposal:
    """Proposed, voted for by enough, and enacted or tried."""
    proposal, _ = chain.ok("platform", tx.Propose(action))  # type: ignore[arg-type]
    for name in ("bank", "firm-a", "firm-b"):
        chain.ok(name, tx.VoteFor(proposal))
    days(chain, OBJECTION_DAYS + 1)
    return chain.state.get(Proposal, proposal)


def test_the_organisations_claw_back_and_write_off_without_a_court() -> None:
    chain = enrolled()
    claim = paid(chain)
    assert chain.refused("platform", tx.Propose(ClawBackClaim(claim, b"short"))) == "BAD_FIELD"
    assert chain.refused("platform", tx.Propose(ClawBackClaim(99, HASH))) == "UNKNOWN_CLAIM"
    assert chain.refused("platform", tx.Propose(WriteOffClaim(claim, HASH))) == "NO_SUCH_TRANSITION"
    assert decided(chain, ClawBackClaim(claim, HASH)).code == "OK"
    found = row(chain, claim)
    assert (found.state, found.judgment) == (ClaimState.CLAWBACK, HASH)
    assert chain.refused("platform", tx.Propose(ClawBackClaim(claim, HASH))) == "NO_SUCH_TRANSITION"
    chain.ok("bank", tx.RecoverAid(claim, 10_000, b"part"))
    assert decided(chain, WriteOffClaim(claim, bytes(32))).code == "OK"
    assert (row(chain, claim).state, row(chain, claim).judgment) == (ClaimState.WRITTEN_OFF, bytes(32))
    check_whole(chain)


def test_a_claim_that_a_court_took_back_meanwhile_is_not_taken_back_twice() -> None:
    chain = enrolled()
    claim = paid(chain)
    proposal, _ = chain.ok("platform", tx.Propose(ClawBackClaim(claim, HASH)))
    for name in ("bank", "firm-a", "firm-b"):
        chain.ok(name, tx.VoteFor(proposal))
    chain.ok("regulator", tx.ClawBack(claim, HASH))
    days(chain, OBJECTION_DAYS + 1)
    assert chain.state.get(Proposal, proposal).code == "NO_SUCH_TRANSITION"


def test_money_recovered_after_the_plan_has_run_off_is_refunded_and_no_aid_is_ordered() -> None:
    chain = enrolled()
    claim = paid(chain)
    plan = chain.state.get(Plan, 0)
    last = chain.state.length(Member) - 1
    (collection, *_) = chain.ok("platform", tx.Collect(0, plan.period, 0, last, (), 0))
    due = account(chain).due
    chain.ok("bank", tx.ConfirmCollection(collection, due, b"collected"))
    refused = reviewed(chain, 2, CLAIMANT + 1)
    assert decided(chain, RunOffPlan(0)).code == "OK"
    days(chain, PARAMS.file_days + 60)
    assert chain.state.get(Plan, 0).closed
    left = account(chain)
    assert left.carry == 0
    assert chain.refused("regulator", tx.CourtOrder(refused, HASH)) == "PLAN_CLOSED"
    chain.ok("regulator", tx.ClawBack(claim, HASH))
    chain.ok("bank", tx.RecoverAid(claim, AID, b"at last"))
    assert state_of(chain, claim) is ClaimState.RECOVERED
    after = account(chain)
    assert (after.carry, after.refunds) == (0, left.refunds + AID)
    chain.ok("bank", tx.PayRefund(0, after.refunds, b"refunds"))
    assert account(chain).refunds == 0
    check_whole(chain)


def test_a_court_clears_a_claim_that_was_refused_and_it_is_not_disputable() -> None:
    chain = enrolled()
    claim = reviewed(chain, 2)
    assert chain.refused("regulator", tx.CourtOrder(claim, HASH)) == "NO_SUCH_TRANSITION"
    days(chain, 31)
    assert state_of(chain, claim) is ClaimState.REFUSED_FINAL
    assert chain.refused("regulator", tx.CourtOrder(claim, bytes(31))) == "BAD_FIELD"
    chain.ok("regulator", tx.CourtOrder(claim, HASH))
    found = row(chain, claim)
    assert (found.state, found.judge, found.judgment, found.reason) == (ClaimState.CLEARED, Judge.COURT, HASH, 0)
    chain.step_to_day(2019, 4, 7)
    assert state_of(chain, claim) is ClaimState.NOTICED
    assert chain.refused("person 1", tx.ObjectTo(person(1), claim, SALT)) == "NOT_DISPUTABLE"
    chain.step_to_day(2019, 4, 14)
    assert chain.state.get(Member, CLAIMANT).state == MemberState.BENEFITED
    check_whole(chain)


def test_a_court_clears_an_expired_claim() -> None:
    chain = enrolled()
    claim = filed(chain)
    chain.ok("firm-a", tx.AskDocuments(claim))
    days(chain, 61)
    assert state_of(chain, claim) is ClaimState.EXPIRED
    chain.ok("regulator", tx.CourtOrder(claim, HASH))
    assert state_of(chain, claim) is ClaimState.CLEARED
    check_whole(chain)


def test_a_court_does_not_give_a_member_two_claims() -> None:
    chain = enrolled()
    first = reviewed(chain, 2)
    days(chain, 31)
    second = filed(chain)
    assert chain.refused("regulator", tx.CourtOrder(first, HASH)) == "OPEN_CLAIM"
    chain.ok("platform", tx.Withdraw(CLAIMANT, second))
    chain.ok("regulator", tx.CourtOrder(first, HASH))
    assert chain.refused("platform", filing(chain)) == "OPEN_CLAIM"
    check_whole(chain)


def test_unknown_claims_are_refused_by_every_step() -> None:
    chain = enrolled()
    for name, body in (
        ("firm-a", tx.AskDocuments(9)),
        ("platform", tx.GiveDocuments(0, 9, HASH, SALT)),
        ("platform", tx.Withdraw(0, 9)),
        ("platform", tx.Appeal(0, 9, SALT)),
        ("bank", tx.Opinion(9, 0)),
        ("firm-a", tx.HoldClaim(9)),
        ("firm-a", tx.FreeClaim(-1)),
        ("regulator", tx.RejectClaim(9, 1)),
        ("regulator", tx.CourtOrder(9, HASH)),
        ("regulator", tx.ClawBack(9, HASH)),
        ("bank", tx.RecoverAid(9, 1, b"x")),
        ("regulator", tx.WriteOffAid(9, HASH)),
        ("person 0", tx.ObjectTo(person(0), 9, SALT)),
        ("bank", tx.ExcludeJuror(9, 0, 8)),
        ("person 0", tx.CommitBallot(person(0), 9, HASH)),
        ("person 0", tx.RevealBallot(person(0), 9, 1, SALT)),
    ):
        assert chain.refused(name, body) == "UNKNOWN_CLAIM"
