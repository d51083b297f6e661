"""The journal of a plan: every amount is posted on both sides, and the equation of LEDGER §9 holds after each posting.

``CASH + ΣDUE + ARREARS + SPONSOR + BAD_DEBT = CLAIMS + FEE + CARRY + ADVANCE + REFUNDS + CLEARING``

Rules of this file
- The left accounts grow by a debit, the right ones by a credit. No account is ever negative: an account that would be
  is our bug, for every rule asks before it posts.
- DUE is kept twice, as Σ here and by period in ``settlements``; the end of every block compares them.
"""

from typing import Final

from msgspec.structs import replace

from .errors import InvariantViolation
from .rows import NONE, Account, Plan, Settlement
from .state import State, StateReader

DEBIT_ACCOUNTS: Final = ("cash", "due", "arrears", "sponsor", "bad_debt")
CREDIT_ACCOUNTS: Final = ("claims", "fee", "carry", "advance", "refunds", "clearing")
_SIGN_OF_DEBIT: Final = dict.fromkeys(DEBIT_ACCOUNTS, 1) | dict.fromkeys(CREDIT_ACCOUNTS, -1)


def open_account(state: State, plan_id: int) -> None:
    """The empty account of a new plan. Its id is the plan's."""
    row_id = state.append(Account(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
    if row_id != plan_id:
        raise InvariantViolation(f"account {row_id} was opened for plan {plan_id}: plans and accounts go in step")


def check(account: Account) -> None:
    """Raises ``InvariantViolation`` when the equation does not hold or an account is negative."""
    left = account.cash + account.due + account.arrears + account.sponsor + account.bad_debt
    right = account.claims + account.fee + account.carry + account.advance + account.refunds + account.clearing
    if left != right:
        raise InvariantViolation(f"the journal is off by {left - right} fen: {account}")
    for name in _SIGN_OF_DEBIT:
        if getattr(account, name) < 0:
            raise InvariantViolation(f"account {name} is negative: {account}")


def post(state: State, plan_id: int, debit: str, credit: str, amount: int) -> None:
    """Post ``amount`` fen (0 or more; 0 does nothing) from one account of the plan to another.

    Raises ``InvariantViolation`` for a negative amount, an unknown account, or one that would become negative.
    """
    if amount == 0:
        return
    if amount < 0 or debit == credit:
        raise InvariantViolation(f"a posting of {amount} fen from {debit} to {credit}")
    account = state.get(Account, plan_id)
    changed = {
        debit: getattr(account, debit) + amount * _SIGN_OF_DEBIT[debit],
        credit: getattr(account, credit) - amount * _SIGN_OF_DEBIT[credit],
    }
    account = replace(account, **changed)
    check(account)
    state.put(plan_id, account)


def check_touched(state: State) -> None:
    """The end of every block: each plan's equation, and ΣDUE against the period that is open.

    Where no such row was touched they hold as they did after the block before.
    """
    if state.touched(Account, Plan, Settlement):
        check_all(state)


def check_all(state: StateReader) -> None:
    """Every plan's equation, and its ΣDUE against the period that is open. Raises ``InvariantViolation``."""
    for plan_id, account in state.rows(Account):
        check(account)
        open_period = state.get(Plan, plan_id).settlement
        due = 0 if open_period == NONE else state.get(Settlement, open_period).due_fen
        if account.due != due:
            raise InvariantViolation(f"plan {plan_id}: DUE is {account.due} fen, the open period says {due}")
