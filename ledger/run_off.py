"""Running a plan off: from the decision to close it to zero balances (LEDGER §3, §9).

Rules of this file
- From the decision on nobody joins, and diagnoses after its day are not covered. Claims of earlier diagnoses go on;
  notices, settlements and collections go on with those who are members.
- The case cap no longer holds a claim back (a plan below its minimum membership would never end); the year's cap still
  protects every member, and the sponsor pays what is above it. When nobody shares, the period is the sponsor's.
- The plan ends with the close of a period after the last day on which an earlier diagnosis may be filed, once no claim
  is open. Live arrears are written off, BAD_DEBT is set off against CARRY, the sponsor owes the rest of it, and the
  rest of CARRY is refunded. No deadline remains; the bank pays what is owed either way, down to zero.
"""

from typing import Final

from msgspec.structs import replace

from . import journal
from .calendar import day_of
from .claim_table import HELPED, WITHOUT_CLAIM, ClaimState
from .errors import InvariantViolation, TransactionRejected
from .plans import versions
from .rows import NONE, Account, Claim, Plan
from .state import State, StateReader

_OVER: Final = (WITHOUT_CLAIM | HELPED) - {ClaimState.CLAWBACK}
"""Claims in these states move no more money by themselves."""


def begin(state: State, plan_id: int) -> None:
    """Decide that a plan runs off from today. Raises ``TransactionRejected("PLAN_CLOSED")`` when it does already."""
    plan = state.get(Plan, plan_id)
    if plan.ends_day:
        raise TransactionRejected("PLAN_CLOSED", f"since day {plan.ends_day}")
    state.put(plan_id, replace(plan, ends_day=day_of(state.block.ledger_time_ms)))


def may_end(state: StateReader, plan_id: int, plan: Plan, today: int) -> bool:
    """Whether a plan whose period has just closed has nothing left to wait for."""
    if not plan.ends_day:
        return False
    filing_days = max(version.params.file_days for _, version in versions(state, plan_id))
    if today <= plan.ends_day + filing_days:
        return False
    return all(claim.state in _OVER for _, claim in state.rows(Claim) if claim.plan == plan_id)


def end(state: State, plan_id: int, plan: Plan) -> Plan:
    """Bring the plan's inner accounts to zero; returns its row, without a deadline."""
    account = state.get(Account, plan_id)
    journal.post(state, plan_id, "bad_debt", "arrears", account.arrears)
    bad_debt = account.bad_debt + account.arrears
    set_off = min(account.carry, bad_debt)
    journal.post(state, plan_id, "carry", "bad_debt", set_off)
    journal.post(state, plan_id, "sponsor", "bad_debt", bad_debt - set_off)
    journal.post(state, plan_id, "carry", "refunds", account.carry - set_off)
    left = state.get(Account, plan_id)
    if left.due or left.arrears or left.bad_debt or left.carry or left.clearing:
        raise InvariantViolation(f"plan {plan_id} ends with {left}")
    return replace(plan, closed=True, due_ms=0, last_charged=NONE, surplus=(), sponsored=())
