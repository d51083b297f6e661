"""A plan that runs off: nobody joins, earlier diagnoses are helped, and in the end every balance is zero."""

from hashlib import sha256

from ledger import calendar, run_off
from ledger import transactions as tx
from ledger.claim_table import ClaimState
from ledger.indexes import differences
from ledger.rows import Account, BankAttestation, Plan, Settlement
from ledger.state import BlockContext, State
from ledger.store import Overlay
from tests.ledger.chain import PLAN_PARAMS, Chain
from tests.ledger.test_life import (
    AID,
    BIRTH_MONTH,
    MEMBERS,
    cleared,
    collected,
    enrolled,
    filing,
    person,
    settled,
    state_of,
)


def account(chain: Chain) -> Account:
    return chain.state.get(Account, 0)


def decided(chain: Chain) -> None:
    """The decision, written into the store as governance would."""
    overlay = Overlay(chain.store)
    context = BlockContext(bytes(32), 1, 1, chain.now_ms, bytes(32), bytes(64))
    state = State(overlay, context)
    run_off.begin(state, 0)
    state.root()
    chain.store.write(overlay.batch())
    chain.block()


def paid_out(chain: Chain) -> None:
    """The bank settles whatever the plan owes or is owed."""
    left = account(chain)
    bodies: list[tx.SponsorPayment | tx.PayRefund | tx.PayFee] = [
        tx.SponsorPayment(0, left.sponsor, b"sponsor's end"),
        tx.PayRefund(0, left.refunds, b"refunds' end"),
        tx.PayFee(0, left.fee, b"fee's end"),
    ]
    for body in bodies:
        if body.amount_fen:
            chain.ok("bank", body)


def test_a_plan_runs_off_to_zero_balances() -> None:
    chain = enrolled()
    claim = cleared(chain)
    decided(chain)
    day = calendar.day_of(chain.now_ms)
    assert chain.refused("platform", tx.Enrol(0, bytes(32), BIRTH_MONTH, b"")) == "PLAN_CLOSED"
    assert chain.refused("platform", tx.EnrolBatch(0, ((bytes(32), BIRTH_MONTH),))) == "PLAN_CLOSED"
    chain.ok("platform", tx.Exit(9))
    assert chain.refused("platform", tx.Enrol(0, *person(9), b"")) == "PLAN_CLOSED"
    chain.step_to_day(2019, 3, 14)
    assert state_of(chain, claim) is ClaimState.SETTLED
    assert chain.refused("platform", filing(chain, 5, diagnosis_day=day + 1)) == "PLAN_CLOSED"
    collected(chain)
    chain.ok("bank", tx.Pay(claim, AID, b"aid"))
    chain.ok("bank", tx.ConfirmPayment(claim, b"aid", True))
    chain.step_to(calendar.start_of_day(day + PLAN_PARAMS.file_days))
    assert not chain.state.get(Plan, 0).closed, "an earlier diagnosis may still be filed"
    chain.step_to(chain.now_ms + 40 * calendar.MS_PER_DAY)
    plan = chain.state.get(Plan, 0)
    assert plan.closed
    assert chain.view.next_due_ms is None
    paid_out(chain)
    assert account(chain) == Account(*[0] * 11)
    assert chain.refused("platform", tx.SponsorPeriod(0, plan.period)) == "PLAN_CLOSED"
    assert chain.refused("bank", tx.Contribution(3, (plan.period - 1,), 1, b"late")) == "PLAN_CLOSED"
    assert list(differences(chain.store)) == []


def test_a_claim_of_a_plan_without_members_is_the_sponsors() -> None:
    chain = enrolled()
    claim = cleared(chain)
    decided(chain)
    chain.ok("platform", tx.ExitBatch(0, tuple(range(MEMBERS))))
    chain.step_to_day(2019, 3, 14)
    row = chain.state.get(Settlement, chain.state.get(Plan, 0).settlement)
    assert (row.sponsored, row.counts, row.goal_fen) == (True, (), AID + AID * PLAN_PARAMS.fee_bps // 10_000)
    assert account(chain).sponsor == row.goal_fen
    assert state_of(chain, claim) is ClaimState.SETTLED


def test_an_open_claim_keeps_the_plan_open() -> None:
    chain = enrolled()
    claim = settled(chain)
    collected(chain)
    decided(chain)
    chain.step_to(chain.now_ms + (PLAN_PARAMS.file_days + 60) * calendar.MS_PER_DAY)
    assert state_of(chain, claim) is ClaimState.SETTLED
    assert not chain.state.get(Plan, 0).closed
    chain.ok("bank", tx.Pay(claim, AID, b"aid"))
    chain.ok("bank", tx.ConfirmPayment(claim, b"aid", True))
    chain.step_to(chain.now_ms + 40 * calendar.MS_PER_DAY)
    assert chain.state.get(Plan, 0).closed


def surplus_of(chain: Chain, extra: int) -> int:
    """The open period is collected with ``extra`` fen too much; returns the period."""
    plan = chain.state.get(Plan, 0)
    due = chain.state.get(Settlement, plan.settlement).due_fen
    (collection, *_) = chain.ok("platform", tx.Collect(0, plan.period, 0, MEMBERS - 1, (), 0))
    chain.ok("bank", tx.ConfirmCollection(collection, due + extra, sha256(b"too much").digest()))
    chain.step_to(chain.now_ms + 10 * calendar.MS_PER_DAY)
    return plan.period


def test_a_surplus_is_refunded_to_whom_it_belongs_and_the_rest_is_carried_after_a_year() -> None:
    chain = enrolled()
    settled(chain)
    period = surplus_of(chain, 500)
    carry = account(chain).carry
    assert account(chain).refunds == 500
    assert chain.refused("bank", tx.PayRefund(0, 1, b"a")) == "WRONG_AMOUNT"
    assert chain.refused("bank", tx.RefundSurplus(0, period + 1, 1, b"a")) == "WRONG_AMOUNT"
    assert chain.refused("bank", tx.RefundSurplus(0, period, 501, b"a")) == "WRONG_AMOUNT"
    chain.ok("bank", tx.RefundSurplus(0, period, 200, b"a"))
    chain.step_to(calendar.notice_ms(period + calendar.PERIODS_PER_YEAR) - calendar.MS_PER_DAY)
    assert (account(chain).refunds, account(chain).carry) == (300, carry)
    chain.step_to(calendar.notice_ms(period + calendar.PERIODS_PER_YEAR))
    assert (account(chain).refunds, account(chain).carry) == (0, carry + 300)
    assert chain.state.get(Plan, 0).surplus == ()


def test_the_banks_balance_is_published_with_its_difference() -> None:
    chain = enrolled()
    settled(chain)
    cash = collected(chain).due_fen
    today = calendar.day_of(chain.now_ms)
    assert chain.ok("bank", tx.AttestBalance(0, today, cash)) == (0, 0, 0)
    assert chain.ok("bank", tx.AttestBalance(0, today - 1, cash - 7)) == (1, 7, 1)
    assert chain.ok("bank", tx.AttestBalance(0, today, cash + 9)) == (2, 9, 0)
    row = chain.state.get(BankAttestation, 1)
    assert (row.bank, row.balance_fen, row.cash_fen, row.difference_fen) == (1, cash - 7, cash, -7)
    assert chain.refused("bank", tx.AttestBalance(0, today + 1, cash)) == "BAD_FIELD"
    assert chain.refused("bank", tx.AttestBalance(0, today, -1)) == "BAD_FIELD"
    assert chain.refused("bank", tx.AttestBalance(7, today, cash)) == "UNKNOWN_PLAN"
