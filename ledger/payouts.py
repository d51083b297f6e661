"""Money that leaves or enters a plan outside the collection: aid, fee, advances, the sponsor, refunds (LEDGER §9).

Only the bank sends these, each with a reference used once. Cash serves claims first, then refunds, then the
advance, then the fee: a payment may not take what an earlier one in this order still needs.
"""

from typing import Final

from msgspec.structs import replace

from . import claims, journal
from .claim_table import ClaimState, Event, target
from .errors import TransactionRejected
from .references import PaymentKind, use
from .rows import Account, Claim, Plan
from .sender import Sender
from .state import State
from .transactions import Advance, ConfirmPayment, Pay, PayFee, PayRefund, RefundSurplus, SponsorPayment

ORDER: Final = ("claims", "refunds", "advance", "fee")
"""Liabilities in the order in which cash serves them."""


def pay(state: State, body: Pay, sender: Sender) -> tuple[int, ...]:
    """SETTLED -> PAYING: the order went out; or a new order after the last one bounced."""
    claim = state.need(Claim, body.claim, "UNKNOWN_CLAIM")
    target(claim.state, Event.PAY)
    if claim.state == ClaimState.PAYING and claim.reference:
        raise TransactionRejected("NO_SUCH_TRANSITION", "an order is out already")
    if body.amount_fen != claim.amount_fen:
        raise TransactionRejected("WRONG_AMOUNT", f"{claim.amount_fen} fen are due")
    use(state, body.reference, PaymentKind.AID, body.claim, body.amount_fen)
    claims.move(state, body.claim, claim, Event.PAY, state.block.ledger_time_ms, reference=body.reference)
    return (body.claim,)


def confirm_payment(state: State, body: ConfirmPayment, sender: Sender) -> tuple[int, ...]:
    """PAYING -> PAID, or the order bounced and the claim waits for a new one. Returns (claim id, fen paid)."""
    claim = state.need(Claim, body.claim, "UNKNOWN_CLAIM")
    event = Event.CONFIRM if body.paid else Event.BOUNCE
    target(claim.state, event)
    if not claim.reference or body.reference != claim.reference:
        raise TransactionRejected("UNKNOWN_REFERENCE", body.reference.hex())
    if not body.paid:
        claims.stay(state, body.claim, claim, event, reference=b"")
        return body.claim, 0
    _spend(state, claim.plan, "claims", claim.amount_fen)
    claims.move(state, body.claim, claim, event, state.block.ledger_time_ms)
    return body.claim, claim.amount_fen


def pay_fee(state: State, body: PayFee, sender: Sender) -> tuple[int, ...]:
    """The platform's fee, last in the order."""
    return _pay_out(state, body, "fee", PaymentKind.FEE)


def pay_refund(state: State, body: PayRefund, sender: Sender) -> tuple[int, ...]:
    """Refunds owed to former members: not what is kept for whom a period's surplus belongs to."""
    plan = state.need(Plan, body.plan, "UNKNOWN_PLAN")
    kept = sum(fen for _, fen in plan.surplus)
    if body.amount_fen > state.get(Account, body.plan).refunds - kept:
        raise TransactionRejected("WRONG_AMOUNT", f"more than the plan owes, {kept} fen are kept as surplus")
    return _pay_out(state, body, "refunds", PaymentKind.REFUND)


def refund_surplus(state: State, body: RefundSurplus, sender: Sender) -> tuple[int, ...]:
    """Part of a period's surplus went back to whom it belongs to. Raises UNKNOWN_PLAN, WRONG_AMOUNT and the usual."""
    plan = state.need(Plan, body.plan, "UNKNOWN_PLAN")
    kept = dict(plan.surplus)
    if body.amount_fen > kept.get(body.period, 0):
        raise TransactionRejected("WRONG_AMOUNT", f"{kept.get(body.period, 0)} fen are kept of period {body.period}")
    detail = _pay_out(state, body, "refunds", PaymentKind.REFUND)
    kept[body.period] -= body.amount_fen
    surplus = tuple((period, fen) for period, fen in sorted(kept.items()) if fen)
    state.put(body.plan, replace(plan, surplus=surplus))
    return detail


def advance(state: State, body: Advance, sender: Sender) -> tuple[int, ...]:
    """The platform advanced cash to the plan, or was repaid."""
    if body.repay:
        return _pay_out(state, body, "advance", PaymentKind.REPAYMENT)
    return _pay_in(state, body, "advance", PaymentKind.ADVANCE)


def sponsor_payment(state: State, body: SponsorPayment, sender: Sender) -> tuple[int, ...]:
    """The sponsor's money arrived; never more than he owes."""
    _need_plan(state, body.plan)
    if body.amount_fen > state.get(Account, body.plan).sponsor:
        raise TransactionRejected("WRONG_AMOUNT", "more than the sponsor owes")
    return _pay_in(state, body, "sponsor", PaymentKind.SPONSOR)


def _pay_in(state: State, body: Advance | SponsorPayment, credit: str, kind: PaymentKind) -> tuple[int, ...]:
    _need_plan(state, body.plan)
    _need_amount(body.amount_fen)
    payment = use(state, body.reference, kind, body.plan, body.amount_fen)
    journal.post(state, body.plan, "cash", credit, body.amount_fen)
    return (payment,)


def _pay_out(
    state: State, body: PayFee | PayRefund | RefundSurplus | Advance, debit: str, kind: PaymentKind
) -> tuple[int, ...]:
    _need_plan(state, body.plan)
    _need_amount(body.amount_fen)
    payment = use(state, body.reference, kind, body.plan, body.amount_fen)
    _spend(state, body.plan, debit, body.amount_fen)
    return (payment,)


def _spend(state: State, plan_id: int, debit: str, amount_fen: int) -> None:
    """Pay ``amount_fen`` of a liability in cash, leaving what the liabilities before it need."""
    account = state.get(Account, plan_id)
    if amount_fen > getattr(account, debit):
        raise TransactionRejected("WRONG_AMOUNT", f"more than the plan owes for {debit}")
    reserved = sum(getattr(account, name) for name in ORDER[: ORDER.index(debit)])
    if account.cash - reserved < amount_fen:
        raise TransactionRejected("INSUFFICIENT_CASH", f"{account.cash} fen, {reserved} of them reserved")
    journal.post(state, plan_id, debit, "cash", amount_fen)


def _need_plan(state: State, plan_id: int) -> None:
    state.need(Plan, plan_id, "UNKNOWN_PLAN")


def _need_amount(amount_fen: int) -> None:
    if amount_fen <= 0:
        raise TransactionRejected("BAD_FIELD", f"an amount of {amount_fen} fen")
