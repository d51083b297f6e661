"""What one member's row adds to the counters, so that any change of a row restores or moves every one of them.

A member row adds to three places: the live cohorts (while he is counted), the failures of the open period (while a
reported failure is pending), and the arrears that leavers take with them. ``Changes`` takes rows before and after a
change, and moves the *difference* of what they add. So no rule can forget a counter, and undoing is changing back.

A failed debit touches the row at once but counts from the close on; before it may be undone (a correction, a single
payment). ``fail`` and ``lift`` are exact inverses for a row whose live arrears are up to date (``normal``).
"""

from dataclasses import dataclass, field
from enum import IntEnum

from msgspec.structs import replace

from . import cohorts, journal
from .bills import RunningSums, due_of, is_pending, live_arrears, sums_of
from .errors import InvariantViolation
from .rows import NO_END, NONE, Member, Plan, PlanVersion, Settlement
from .state import State


class MemberState(IntEnum):
    """States that are fired and stored. WAITING and GRACE are derived (``members.member_state``)."""

    ACTIVE = 0
    LAPSED = 1
    EXITED = 2
    BENEFITED = 3
    VOIDED = 4
    DECEASED = 5
    SUSPENDED = 6
    EXPELLED = 7


def counted(member: Member) -> bool:
    """Whether the live cohorts count him."""
    return member.to_period == NO_END


def normal(member: Member, plan: Plan) -> Member:
    """A current member's row without arrears that were paid since. Pending failures are left alone."""
    if member.fail_period == NONE or is_pending(member, plan) or member.fail_period == plan.last_charged:
        return member
    return replace(member, fail_period=NONE, fails=0, arrears_fen=0)


def fail(member: Member, plan: Plan, due: int, lapse_fails: int) -> Member:
    """The row after his debit for the open period failed. ``due``: his unpaid charge of it, fen.

    ``lapse_fails`` failures in a row (of charged periods) make a member who stays LAPSED, charged no more after it.
    """
    if is_pending(member, plan):
        raise InvariantViolation(f"a second failure in period {plan.period} of {member}")
    member = normal(member, plan)
    arrears = live_arrears(member, plan)
    member = replace(member, fail_period=plan.period, fails=member.fails + 1, arrears_fen=arrears + due)
    if member.state == MemberState.ACTIVE and member.fails >= lapse_fails:
        return replace(member, state=int(MemberState.LAPSED), to_period=plan.period + 1)
    return member


def lift(member: Member, plan: Plan, due: int) -> Member:
    """The row before the pending failure of the open period was reported; the same row when there is none."""
    if not is_pending(member, plan):
        return member
    arrears = member.arrears_fen - due
    if arrears < 0 or (member.fails == 1) != (arrears == 0):
        raise InvariantViolation(f"a failure of {due} fen cannot be taken out of {member}")
    if member.state == MemberState.LAPSED:
        member = replace(member, state=int(MemberState.ACTIVE), to_period=NO_END)
    if arrears == 0:
        return replace(member, fail_period=NONE, fails=0, arrears_fen=0)
    return replace(member, fail_period=plan.last_charged, fails=member.fails - 1, arrears_fen=arrears)


@dataclass(slots=True)
class Changes:
    """Changes of member rows of one plan by one transaction or deadline; ``flush`` moves the counters."""

    state: State
    plan_id: int
    plan: Plan
    sums: RunningSums = field(init=False)
    _cohorts: dict[int, dict[cohorts.Key, int]] = field(default_factory=dict)
    _failures: int = 0
    _failed_due: int = 0
    _failed_arrears: int = 0
    _written_off: int = 0
    _leavers: int = 0
    _lost: int = 0

    def __post_init__(self) -> None:
        self.sums = sums_of(self.state, self.plan_id, self.plan)

    def due(self, member: Member) -> int:
        """His unpaid charge of the settled, open period, fen; 0 when there is none."""
        return due_of(self.sums, member)

    def lift(self, member: Member) -> Member:
        """See ``lift``."""
        return lift(member, self.plan, self.due(member)) if is_pending(member, self.plan) else member

    def fail(self, member: Member, lapse_fails: int) -> Member:
        """See ``fail``."""
        return fail(member, self.plan, self.due(member), lapse_fails)

    def lapse_fails(self) -> int:
        """The parameter of the version that noticed the open period."""
        settlement = self.state.get(Settlement, self.plan.settlement)
        return self.state.get(PlanVersion, settlement.version).params.lapse_fails

    def put(self, member_id: int, before: Member | None, after: Member) -> None:
        """Store a changed row. ``before``: as it stood (``None``: new, and stored already)."""
        if before is not None:
            if before == after:
                return
            self.state.put(member_id, after)
            if self._counts_alike(before, after):
                return
            self._count(before, -1)
            if after.to_period <= self.plan.period < before.to_period:
                self._lost += live_arrears(before, self.plan)
        self._count(after, 1)

    def _counts_alike(self, before: Member, after: Member) -> bool:
        """Whether both rows add the same, one to the same cohort and no more: most changes are only of money."""
        pending = self.plan.period
        return (
            counted(before)
            and counted(after)
            and before.from_period == after.from_period
            and before.base_fen == after.base_fen
            and before.fail_period != pending
            and after.fail_period != pending
        )

    def count_new(self, birth_month: int, from_period: int, members: int) -> None:
        """New members of one birth month, stored already."""
        self._add(birth_month, (from_period, 0), members)

    def _add(self, birth_month: int, key: cohorts.Key, change: int) -> None:
        month = self._cohorts.setdefault(birth_month, {})
        month[key] = month.get(key, 0) + change

    def _count(self, member: Member, sign: int) -> None:
        plan = self.plan
        if counted(member):
            self._add(member.birth_month, cohorts.key_of(member, plan.year), sign)
        leaving = member.to_period == plan.period + 1
        arrears = live_arrears(member, plan)
        if is_pending(member, plan):
            due = self.due(member)
            arrears = member.arrears_fen - due
            self._failures += sign
            self._failed_due += sign * due
            self._failed_arrears += sign * arrears
            if leaving:
                self._written_off += sign * member.arrears_fen
        if leaving and member.state != MemberState.LAPSED:
            self._leavers += sign * arrears

    def flush(self, *, paid_due: int = 0, struck_due: int = 0) -> None:
        """Move the counters. Of DUE, fen: paid by single contribution, written off. The caller posts the money."""
        for birth_month in sorted(self._cohorts):
            changes = {key: change for key, change in self._cohorts[birth_month].items() if change}
            if changes:
                cohorts.adjust(self.state, self.plan_id, birth_month, changes)
        moved = (self._failures, self._failed_due, self._failed_arrears, self._written_off, self._leavers)
        if self.plan.settlement != NONE and any((*moved, paid_due, struck_due)):
            row = self.state.get(Settlement, self.plan.settlement)
            self.state.put(
                self.plan.settlement,
                replace(
                    row,
                    failures=row.failures + self._failures,
                    failed_due_fen=row.failed_due_fen + self._failed_due,
                    failed_arrears_fen=row.failed_arrears_fen + self._failed_arrears,
                    written_off_fen=row.written_off_fen + self._written_off,
                    leavers_fen=row.leavers_fen + self._leavers,
                    due_fen=row.due_fen - paid_due - struck_due,
                    singles_fen=row.singles_fen + paid_due,
                    struck_fen=row.struck_fen + struck_due,
                ),
            )
        journal.post(self.state, self.plan_id, "bad_debt", "arrears", self._lost)
