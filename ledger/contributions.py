"""Single contributions: one member pays by himself what he owes, outside a collection (LEDGER §8).

Rules of this file
- A contribution pays exactly what is owed, oldest first: the arrears of the newest failed period, then the open period.
  If his debit had been reported as failed, the failure is taken back first.
- Contributions that follow one another in a block are one *run*: each is judged by the rows as the ones before have
  left them and changes the member's row at once; what they add to cohorts, settlement and journal is put there once,
  when the run ends. These sums judge no contribution, so a run does what its contributions would do one by one.
- Everything is checked before the first change: a refused contribution needs nothing taken back.
"""

from collections import Counter
from typing import NamedTuple

from msgspec.structs import replace

from . import journal
from .bills import live_arrears, written_off
from .errors import TransactionRejected
from .plans import STAGE_CLOSE, next_unnoticed
from .references import PaymentKind, use
from .rows import NONE, Member, Plan
from .standing import Changes, normal
from .state import State, StateReader
from .transactions import Contribution


class Debt(NamedTuple):
    """One thing a member owes: the period it is named by, fen, and the account it is credited to."""

    period: int
    amount_fen: int
    account: str


def debts(state: StateReader, changes: Changes, member: Member) -> list[Debt]:
    """What a member without a pending failure owes, oldest first."""
    plan = changes.plan
    found = []
    if member.arrears_fen:
        if lost := written_off(state, member, plan):
            found.append(Debt(member.fail_period, lost, "carry"))
        elif arrears := live_arrears(member, plan):
            found.append(Debt(member.fail_period, arrears, "arrears"))
    if due := changes.due(member):
        found.append(Debt(plan.period, due, "due"))
    return found


class Contributions:
    """A run of contributions; ``close`` it before anything else happens to the state."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._books: dict[int, _Book] = {}

    def add(self, body: Contribution) -> tuple[int, ...]:
        """The next member pays; detail: (fen to DUE, to ARREARS, to CARRY after a write-off).

        Raises ``TransactionRejected``: UNKNOWN_MEMBER, UNKNOWN_PERIOD, PERIOD_NOT_SETTLED, NOTHING_OWED (a period he
        owes nothing for, or not the oldest), WRONG_AMOUNT, BAD_FIELD, DUPLICATE_REFERENCE, PLAN_CLOSED.
        """
        member = self._state.find(Member, body.member)
        if member is None:
            raise TransactionRejected("UNKNOWN_MEMBER", f"id {body.member}")
        book = self._books.get(member.plan)
        if book is None:
            book = self._books[member.plan] = _Book(self._state, member.plan)
        return book.pay(body, member)

    def close(self) -> None:
        """Put the sums of the run where they belong."""
        for book in self._books.values():
            book.close()
        self._books.clear()


class _Book:
    """What the contributions of one plan have in common."""

    def __init__(self, state: State, plan_id: int) -> None:
        self._state = state
        self._plan_id = plan_id
        self._plan = state.get(Plan, plan_id)
        self._changes = Changes(state, plan_id, self._plan)
        self._closing = self._plan.stage == STAGE_CLOSE
        """Whether the open period is settled. Nothing in a run changes the plan."""
        self._following = next_unnoticed(self._plan)
        self._paid: Counter[str] = Counter()
        """Fen, by the account they are credited to."""

    def pay(self, body: Contribution, before: Member) -> tuple[int, ...]:
        plan, changes = self._plan, self._changes
        if plan.closed:
            raise TransactionRejected("PLAN_CLOSED", "run off")
        pending = self._closing and before.fail_period == plan.period
        member = changes.lift(before) if pending else before
        accounts = {account: amount_fen for _, amount_fen, account in self._check(body, member)}
        use(self._state, body.reference, PaymentKind.CONTRIBUTION, body.member, body.amount_fen)
        for account, amount_fen in accounts.items():
            self._paid[account] += amount_fen
        changes.put(body.member, before, self._after(member, accounts, pending))
        return accounts.get("due", 0), accounts.get("arrears", 0), accounts.get("carry", 0)

    def _check(self, body: Contribution, member: Member) -> list[Debt]:
        """The debts that ``body`` pays."""
        plan = self._plan
        for period in body.periods:
            if not plan.first_period <= period < self._following:
                raise TransactionRejected("UNKNOWN_PERIOD", f"period {period}")
            if period == plan.period and not self._closing:
                raise TransactionRejected("PERIOD_NOT_SETTLED", f"period {period}")
        owed = debts(self._state, self._changes, member)
        paid = owed[: len(body.periods)]
        if not paid or tuple([debt.period for debt in paid]) != body.periods:
            raise TransactionRejected("NOTHING_OWED", f"owed are the periods {[debt.period for debt in owed]}")
        amount_fen = sum([debt.amount_fen for debt in paid])
        if amount_fen != body.amount_fen:
            raise TransactionRejected("WRONG_AMOUNT", f"{body.amount_fen} fen, owed are {amount_fen}")
        return paid

    def _after(self, member: Member, accounts: dict[str, int], pending: bool) -> Member:
        """The row after what he owes to ``accounts`` was paid; ``pending``: a failure was taken back for it."""
        plan, changes = self._plan, self._changes
        if member.to_period > plan.period:
            member = normal(member, plan)
        if "arrears" in accounts or "carry" in accounts:
            member = replace(member, fail_period=NONE, fails=0, arrears_fen=0)
        if "due" in accounts:
            return replace(member, paid_period=plan.period)
        if pending and (live_arrears(member, plan) or changes.due(member)):
            return changes.fail(member, changes.lapse_fails())
        return member

    def close(self) -> None:
        for account, amount_fen in self._paid.items():
            journal.post(self._state, self._plan_id, "cash", account, amount_fen)
        self._changes.flush(paid_due=self._paid["due"])


def contribution(state: State, body: Contribution) -> tuple[int, ...]:
    """One contribution alone: a run of one; see ``Contributions.add``."""
    run = Contributions(state)
    detail = run.add(body)
    run.close()
    return detail
