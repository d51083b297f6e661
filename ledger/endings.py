"""How a membership ends without the member's doing: voided, late death, suspension, expulsion (LEDGER §4, §9).

Rules of this file
- ``_undo`` takes charges back exactly: the span ends before them, so the closed formula of the bill no longer counts
  them; what he had paid of them goes to REFUNDS, what he had not is written off, both against BAD_DEBT. The open period
  is first closed for him as a failure: his charge leaves DUE, and nobody may report him any more.
- Who was counted by a notice that is not settled yet stays in N and is charged; the settlement writes that charge off
  (``Settlement.struck``). So N never changes after its notice.
- VOIDED: ill while waiting. The filing succeeds: a claim's row says REFUSED_FINAL and why, its receipt promises 0 fen,
  and everything charged since the waiting began is undone. A diagnosis in a gap of the cover costs the right to be
  reinstated, or, learned of later, the waiting that the reinstatement had spared.
- A death counts from its day: whoever was noticed on a later day is undone. The dead owe nothing more.
- A suspended member is neither charged nor covered from now on. Lifted, he goes on without a new waiting.
"""

from typing import Final

from msgspec.structs import replace

from . import cohorts, journal
from .bills import chargeable, live_arrears, spans, written_off
from .calendar import day_of
from .errors import TransactionRejected
from .members import Lives, covered_until, left, lives, reinstatable, restore
from .params import ILLNESS
from .plans import STAGE_SETTLE, need_open_plan, next_unnoticed, notice_day
from .rows import NONE, Member, Plan, Settlement
from .standing import Changes, MemberState, normal
from .state import State
from .transactions import ExpelMember, ReportDeath, SuspendMember

ILL_WHILE_WAITING: Final = 8
DIAGNOSED_IN_A_GAP: Final = 9
"""Reasons (``claim_table.REASONS``) of a filing that is refused at once and has consequences."""

_MAY_DIE: Final = frozenset({MemberState.ACTIVE, MemberState.LAPSED, MemberState.EXITED, MemberState.SUSPENDED})
_MAY_BE_EXPELLED: Final = frozenset({MemberState.ACTIVE, MemberState.LAPSED, MemberState.SUSPENDED})


# ---- what a refused filing does -------------------------------------------------------------------------------------


def consequence(state: State, member_id: int, member: Member, day: int, cause: int, refusal: str) -> int:
    """What a filing that the cover refuses does to the member; the reason of the claim's row, 0: nothing at all.

    ``refusal`` is ``members.covered``'s, ``day`` the diagnosis day.
    """
    known = lives(state, member_id, member)
    if refusal == "WAITING_ILL":
        return _void(state, member_id, member, day, known)
    if refusal == "NOT_COVERED" and cause == ILLNESS:
        return _fell_into_gap(state, member_id, member, day, known)
    return 0


def _void(state: State, member_id: int, member: Member, day: int, known: list[Lives]) -> int:
    """Undo every charge since the waiting began, when it was the present one."""
    if not any(life.start < day < life.stop and life.waits_from == known[0].waits_from for life in known):
        return 0
    if MemberState(member.state) not in _MAY_DIE:
        return 0
    changes = Changes(state, member.plan, state.get(Plan, member.plan))
    earlier = 0
    for (span_id, span), life in zip(reversed(spans(state, member)), known[1:], strict=True):
        if life.waits_from == known[0].waits_from:
            earlier += changes.sums.span_bill(member.birth_month, span.from_period, span.to_period, span.base_fen)
            state.put(span_id, replace(span, to_period=span.from_period, to_day=span.from_day + 1))
    ended = replace(
        member,
        state=int(MemberState.VOIDED),
        to_period=member.from_period,
        to_day=known[0].waits_from + 1,
        billed_fen=member.billed_fen - earlier,
    )
    _undo(state, changes, member_id, member, ended, earlier)
    return ILL_WHILE_WAITING


def _fell_into_gap(state: State, member_id: int, member: Member, day: int, known: list[Lives]) -> int:
    if reinstatable(state, member) and covered_until(state, member) <= day:
        changes = Changes(state, member.plan, state.get(Plan, member.plan))
        after = replace(member, state=int(MemberState.EXITED), to_day=covered_until(state, member))
        changes.put(member_id, member, after)
        changes.flush()
        return DIAGNOSED_IN_A_GAP
    for later, (span_id, span) in zip(known, reversed(spans(state, member)), strict=False):
        if span.continued and span.to_day <= day <= later.start:
            state.put(span_id, replace(span, continued=False))
            return DIAGNOSED_IN_A_GAP
    return 0


# ---- what organisations report --------------------------------------------------------------------------------------


def report_death(state: State, body: ReportDeath) -> tuple[int, ...]:
    """DECEASED since ``body.day``; detail: (first period no longer charged, fen to be refunded).

    Raises ``TransactionRejected``: UNKNOWN_MEMBER, BAD_FIELD (a day to come, or before the span began),
    NOT_A_CURRENT_MEMBER.
    """
    member = state.need(Member, body.member, "UNKNOWN_MEMBER")
    if MemberState(member.state) not in _MAY_DIE:
        raise TransactionRejected("NOT_A_CURRENT_MEMBER", f"member {body.member}")
    if not member.join_day <= body.day <= day_of(state.block.ledger_time_ms):
        raise TransactionRejected("BAD_FIELD", f"day {body.day}")
    changes = Changes(state, member.plan, state.get(Plan, member.plan))
    end = member.from_period
    while end < min(member.to_period, next_unnoticed(changes.plan)) and notice_day(end) <= body.day:
        end += 1
    to_day = min(body.day + 1, covered_until(state, member))
    ended = replace(member, state=int(MemberState.DECEASED), to_period=end, to_day=to_day)
    return end, _undo(state, changes, body.member, member, ended, 0)


def suspend_member(state: State, body: SuspendMember) -> tuple[int, ...]:
    """Suspend a current member, or lift it; detail: (first period no longer charged, or charged again).

    Raises ``TransactionRejected``: UNKNOWN_MEMBER, NOT_A_CURRENT_MEMBER, PLAN_CLOSED, ARREARS_UNPAID.
    """
    member = state.need(Member, body.member, "UNKNOWN_MEMBER")
    required = MemberState.ACTIVE if body.suspended else MemberState.SUSPENDED
    changes = Changes(state, member.plan, state.get(Plan, member.plan))
    if changes.lift(member).state != required:
        raise TransactionRejected("NOT_A_CURRENT_MEMBER", f"member {body.member}")
    if not body.suspended:
        need_open_plan(state, member.plan)
        return (restore(state, changes, body.member, member, continued=True).from_period,)
    after = left(changes, member, MemberState.SUSPENDED) or member
    changes.put(body.member, member, after)
    changes.flush()
    return (after.to_period,)


def expel_member(state: State, body: ExpelMember) -> tuple[int, ...]:
    """EXPELLED for good; detail: (first period no longer charged,).

    Raises ``TransactionRejected``: UNKNOWN_MEMBER, NOT_A_CURRENT_MEMBER.
    """
    member = state.need(Member, body.member, "UNKNOWN_MEMBER")
    if MemberState(member.state) not in _MAY_BE_EXPELLED:
        raise TransactionRejected("NOT_A_CURRENT_MEMBER", f"member {body.member}")
    changes = Changes(state, member.plan, state.get(Plan, member.plan))
    after = left(changes, member, MemberState.EXPELLED)
    if after is None:
        after = replace(member, state=int(MemberState.EXPELLED), to_day=covered_until(state, member))
    changes.put(body.member, member, after)
    changes.flush()
    return (after.to_period,)


# ---- the money ------------------------------------------------------------------------------------------------------


def _undo(state: State, changes: Changes, member_id: int, member: Member, ended: Member, earlier_fen: int) -> int:
    """Store ``ended``, whose span ends earlier than ``member``'s, and post what that undoes; fen to be refunded.

    ``earlier_fen``: charges of spans before this one that are undone with it.
    """
    plan, sums = changes.plan, changes.sums
    standing = changes.lift(member)
    if standing.to_period > plan.period:
        standing = normal(standing, plan)
    lost, live, due = written_off(state, standing, plan), live_arrears(standing, plan), changes.due(standing)
    undone = (
        earlier_fen
        + sums.span_bill(member.birth_month, member.from_period, standing.to_period, member.base_fen)
        - sums.span_bill(member.birth_month, member.from_period, ended.to_period, member.base_fen)
    )
    if plan.stage == STAGE_SETTLE and chargeable(standing, plan.period) and not chargeable(ended, plan.period):
        _strike(state, plan, member)
    cleared = replace(
        standing,
        fail_period=NONE,
        fails=0,
        arrears_fen=0,
        paid_period=plan.period if due else standing.paid_period,
    )
    changes.put(member_id, member, cleared)
    after = replace(
        cleared,
        state=ended.state,
        to_period=ended.to_period,
        to_day=ended.to_day,
        billed_fen=ended.billed_fen,
    )
    changes.put(member_id, cleared, after)
    changes.flush(struck_due=due)
    journal.post(state, member.plan, "arrears", "due", due)
    journal.post(state, member.plan, "bad_debt", "arrears", live + due)
    refund = max(0, undone - lost - live - due)
    journal.post(state, member.plan, "bad_debt", "refunds", refund)
    return refund


def _strike(state: State, plan: Plan, member: Member) -> None:
    """He was counted by the notice that is out: its settlement will write off what it charges him."""
    row = state.get(Settlement, plan.settlement)
    counts = {(month, start, base): count for month, start, base, count in row.struck}
    key = (member.birth_month, *cohorts.key_of(member, plan.year))
    counts[key] = counts.get(key, 0) + 1
    struck = tuple((*each, count) for each, count in sorted(counts.items()))
    state.put(plan.settlement, replace(row, struck=struck))
