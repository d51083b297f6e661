"""Unclaimed aid, clawback and court orders, with both sides of every amount (LEDGER §5, §9)."""

import pytest

from ledger import remedies
from ledger import transactions as tx
from ledger.claim_table import ClaimState, Judge
from ledger.claims import UNCLAIMED_DAYS
from ledger.errors import TransactionRejected
from ledger.rows import Member
from ledger.standing import MemberState
from ledger.state import BlockContext, State
from ledger.store import Overlay
from tests.ledger.claim_kit import (
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
