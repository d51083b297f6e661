"""The chain of a plan's deadlines: notice p -> settle p -> close p -> notice p + 1 (LEDGER §5).

Each is due at ``max(calendar, opening + window)``: the settlement ``SETTLE_AFTER_DAYS`` after the notice opened,
the close ``pay_days`` after the settlement opened, the next notice at the close. So a late period keeps its number and
its year, and no outage shortens a window. The money is ``settlement``'s; here claims follow it, and the next deadline
is scheduled. ``Plan.stage`` and ``Plan.due_ms`` always name the one deadline of the plan that is in the queue.
"""

from typing import Final

from msgspec.structs import replace

from . import claims, members, plans, proposals, run_off, settlement
from .calendar import MS_PER_DAY, day_of, next_notice_period, notice_ms, settle_ms
from .claim_table import ClaimState, Event
from .deadlines import DeadlineKind, schedule
from .params import PlanParams
from .rows import Claim, Member, Plan, PlanVersion, Settlement
from .state import Index, State, u32

SETTLE_AFTER_DAYS: Final = 7
STAGE_KINDS: Final = {
    plans.STAGE_NOTICE: DeadlineKind.NOTICE,
    plans.STAGE_SETTLE: DeadlineKind.SETTLE,
    plans.STAGE_CLOSE: DeadlineKind.CLOSE,
}


def open_plan(state: State, name: str, params: PlanParams) -> int:
    """A new plan from this block on; its first notice is the next one of the calendar. Returns its id."""
    now = state.block.ledger_time_ms
    first = next_notice_period(now)
    plan_id = plans.create(state, name, params, first, notice_ms(first), day_of(now))
    schedule(state, DeadlineKind.NOTICE, notice_ms(first), plan_id)
    return plan_id


def notice(state: State, plan_id: int, opened_ms: int) -> tuple[int, ...]:
    """Freeze the counts, notice every cleared claim that fits. Returns (period, claims noticed, their aid in fen)."""
    plan = settlement.notice(state, plan_id, state.get(Plan, plan_id))
    noticed = _notice_claims(state, plan_id, plan, opened_ms)
    if settlement.fell_below(state, plan):
        proposals.open_run_off_vote(state, plan_id, opened_ms)
    settlement.announce(state, plan_id, plan, noticed)
    _next(state, plan_id, plan, max(settle_ms(plan.period), opened_ms + SETTLE_AFTER_DAYS * MS_PER_DAY))
    return plan.period, len(noticed), sum(claim.amount_fen for _, claim in noticed)


def settle(state: State, plan_id: int, opened_ms: int) -> tuple[int, ...]:
    """Divide the approved aid of the period. Returns (period, claims settled, their aid in fen)."""
    plan = state.get(Plan, plan_id)
    approved = [(claim_id, claim) for claim_id, claim in _of_period(state, plan_id, plan) if _is_approved(claim)]
    settled = settlement.settle(state, plan_id, plan, approved)
    params = state.get(PlanVersion, state.get(Settlement, plan.settlement).version).params
    _next(state, plan_id, settled, opened_ms + params.pay_days * MS_PER_DAY)
    for claim_id, claim in approved:
        before = state.get(Member, claim.member)
        was, until = before.state, before.to_day
        claims.move(state, claim_id, claim, Event.SETTLE, opened_ms, helped_from=was, helped_to_day=until)
        members.benefit(state, claim.member, plan.period)
    return plan.period, len(approved), sum(claim.amount_fen for _, claim in approved)


def close(state: State, plan_id: int, opened_ms: int) -> tuple[int, ...]:
    """Close the collection of the period; the next notice is due by the calendar, at the earliest now.

    A plan that has run off ends here.
    """
    closed = settlement.close(state, plan_id, state.get(Plan, plan_id))
    if run_off.may_end(state, plan_id, closed, day_of(opened_ms)):
        state.put(plan_id, run_off.end(state, plan_id, closed))
        return (closed.period - 1,)
    _next(state, plan_id, closed, max(notice_ms(closed.period), opened_ms))
    return (closed.period - 1,)


def _notice_claims(state: State, plan_id: int, plan: Plan, opened_ms: int) -> list[tuple[int, Claim]]:
    """CLEARED -> NOTICED for all that keep within the case cap; the others wait for the next notice."""
    row = state.get(Settlement, plan.settlement)
    params = state.get(PlanVersion, row.version).params
    most_fen = settlement.capacity(state, plan_id, plan, row.counts, params)
    noticed: list[tuple[int, Claim]] = []
    for key, _ in state.index_scan(Index.CLEARED, u32(plan_id)):
        claim_id = int.from_bytes(key[4:], "big")
        claim = state.get(Claim, claim_id)
        if claim.amount_fen <= most_fen:
            moved = claims.move(state, claim_id, claim, Event.NOTICE, opened_ms, params, period=plan.period)
            noticed.append((claim_id, moved))
    return noticed


def _of_period(state: State, plan_id: int, plan: Plan) -> list[tuple[int, Claim]]:
    """Claims noticed for the plan's present period, ascending by id."""
    keys = [key for key, _ in state.index_scan(Index.PERIOD_CLAIMS, u32(plan_id, plan.period))]
    ids = [int.from_bytes(key[8:], "big") for key in keys]
    return [(claim_id, state.get(Claim, claim_id)) for claim_id in ids]


def _is_approved(claim: Claim) -> bool:
    return claim.state == ClaimState.APPROVED


def _next(state: State, plan_id: int, plan: Plan, due_ms: int) -> None:
    """Store the plan's row, now at its next stage, and schedule that stage's deadline."""
    state.put(plan_id, replace(plan, due_ms=due_ms))
    schedule(state, STAGE_KINDS[plan.stage], due_ms, plan_id)
