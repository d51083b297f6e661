"""A period's three deadlines: notice, settlement, close. Exact, and as fast for 10^8 members as for 10^3 (LEDGER §8).

Rules of this file
- The notice freezes who shares the period; from then on N, W, every charge and every statement of the period read the
  frozen rows only. It publishes an upper bound of the share; the settlement may only be lower.
- ``need = A + F + B; use = min(CARRY, need); G = need - use; u[c] = ceil(G·w[c] / W); over = Σ u[c]·N[c] - G``. What
  rounding up collects goes to CARRY and is used first next time. W = 0: the plan pauses, nothing is shared.
- What a member would pay above the year's cap the sponsor pays. It is added up cohort by cohort, never as a remainder:
  a remainder would hide a misbilled member.
- A sponsored period: G is the sponsor's, the shares are 0, what they would have been is published; nothing is
  collected.
- At the close what was expected and is not there is owed by the reporter (SPONSOR), and published. What is there and
  was not expected is refunded to whom it belongs to (``refund_surplus``); what is unknown after a year is everybody's.

These functions return the new ``Plan`` row, but for ``due_ms``, which the caller (``deadlines``) sets before it stores
it.
"""

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from . import cohorts, journal
from .bills import RunningSums, settlement_of
from .calendar import PERIODS_PER_YEAR, year_of
from .deadlines import opened
from .errors import InvariantViolation, TransactionRejected
from .limits import FEN_MAX
from .params import PlanParams
from .plans import (
    BPS,
    STAGE_CLOSE,
    STAGE_NOTICE,
    STAGE_SETTLE,
    case_aid_max,
    class_of,
    minimum_weight,
    need_plan,
    next_unnoticed,
    notice_day,
    total_weight,
    version_at,
)
from .rows import NONE, Account, Claim, Frozen, Plan, PlanVersion, Settlement
from .state import Index, State, StateReader, u32
from .transactions import SponsorPeriod

NOTICED: Final = 1
SETTLED: Final = 2
CLOSED: Final = 3
SPONSORED_AHEAD_MAX: Final = 24
"""A period may be sponsored at most so many periods before its notice."""

ByClass = tuple[tuple[int, int], ...]
"""(class id, number), ascending by class."""


# ---- notice --------------------------------------------------------------------------------------------------------


def notice(state: State, plan_id: int, plan: Plan) -> Plan:
    """Freeze who shares ``plan.period`` and open its settlement row.

    Then the caller chooses claims with ``capacity`` and publishes them with ``announce``.
    """
    _expect(plan, STAGE_NOTICE)
    period, year = plan.period, year_of(plan.period)
    if year != plan.year:
        cohorts.collapse(state, plan_id, year)
        plan = replace(plan, year=year, year_index=plan.index)
    plan = _forget_surplus(state, plan_id, plan)
    first = state.length(Frozen)
    frozen = cohorts.freeze(state, plan_id, period)
    version_id, version = version_at(state, plan_id, notice_day(period))
    row = Settlement(
        plan=plan_id,
        period=period,
        stage=NOTICED,
        version=version_id,
        noticed_ms=_opened(state, plan),
        settled_ms=0,
        closed_ms=0,
        sponsored=period in plan.sponsored or (plan.ends_day > 0 and not frozen),
        counts=_count_classes(version.params, period, frozen),
        claims=0,
        upper_bound=(),
        bad_debt_noticed=state.get(Account, plan_id).bad_debt,
        aid_fen=0,
        fee_fen=0,
        bad_debt_fen=0,
        carry_used_fen=0,
        over_fen=0,
        goal_fen=0,
        shares=(),
        would_be=(),
        index=plan.index,
        charged_fen=0,
        excess_fen=0,
        due_fen=0,
        singles_fen=0,
        leavers_fen=0,
        arrears_debited_fen=0,
        failures=0,
        failed_due_fen=0,
        failed_arrears_fen=0,
        written_off_fen=0,
        struck=(),
        struck_fen=0,
        collected_fen=0,
        short_fen=0,
        surplus_fen=0,
        frozen_first=first,
        frozen_count=len(frozen),
    )
    row_id = state.append(row)
    state.index_put(Index.SETTLEMENT, u32(plan_id, period), row_id)
    plan = replace(
        plan,
        stage=STAGE_SETTLE,
        settlement=row_id,
        sponsored=tuple(later for later in plan.sponsored if later != period),
    )
    announce(state, plan_id, plan, ())
    return plan


def capacity(state: StateReader, plan_id: int, plan: Plan, counts: ByClass, params: PlanParams) -> int:
    """The greatest aid of *one* claim that may be noticed, fen: its own share keeps within ``case_cap_fen``.

    It limits each claim by itself, not their sum. ``counts`` is N by class, ``params`` the version of the notice. 0
    while the plan is below its minimum membership, also for small aids: then notices are held (LEDGER §3). A plan
    that runs off holds nothing back (``run_off``).
    """
    if plan.ends_day:
        return FEN_MAX
    weight = total_weight(params, dict(counts))
    return case_aid_max(params, weight) if weight >= minimum_weight(params) else 0


def fell_below(state: StateReader, plan: Plan) -> bool:
    """Whether the open notice counts fewer than the minimum membership, and the notice before it did not.

    Then the organisations vote on running the plan off (LEDGER §3). A plan that has not grown so far yet, or whose
    vote came to nothing, is not asked again until it was above once more.
    """
    row = state.get(Settlement, plan.settlement)
    before = settlement_of(state, row.plan, plan.period - 1)
    was_enough = before is not None and _is_enough(state, before)
    return was_enough and not _is_enough(state, row) and not plan.ends_day


def _is_enough(state: StateReader, row: Settlement) -> bool:
    params = state.get(PlanVersion, row.version).params
    return total_weight(params, dict(row.counts)) >= minimum_weight(params)


def announce(state: State, plan_id: int, plan: Plan, claims: Sequence[tuple[int, Claim]]) -> None:
    """Publish the claims noticed with the period, and with them the most that each class may be asked for."""
    row = state.get(Settlement, plan.settlement)
    params = state.get(PlanVersion, row.version).params
    largest = max((claim.amount_fen for _, claim in claims), default=0)
    if largest > 0 and largest > capacity(state, plan_id, plan, row.counts, params):
        raise InvariantViolation(f"a claim of {largest} fen was noticed above the case cap")
    aid = sum(claim.amount_fen for _, claim in claims)
    parts = _share(state.get(Account, plan_id), row, params, aid)
    state.put(plan.settlement, replace(row, claims=len(claims), upper_bound=parts.shares))


def _count_classes(params: PlanParams, period: int, frozen: Sequence[Frozen]) -> ByClass:
    day = notice_day(period)
    counts: dict[int, int] = {}
    for row in frozen:
        class_id = class_of(params, row.birth_month, day).class_id
        counts[class_id] = counts.get(class_id, 0) + sum(count for _, _, count in row.counts)
    return tuple(sorted(counts.items()))


# ---- settlement ----------------------------------------------------------------------------------------------------


class _Parts:
    """The amounts of LEDGER §8's formula."""

    def __init__(
        self, need: int, fee: int, bad_debt: int, carry: int, weights: dict[int, int], counts: ByClass
    ) -> None:
        members = dict(counts)
        weight = sum(weights[class_id] * count for class_id, count in counts)
        self.fee = fee
        self.bad_debt = bad_debt
        self.use = min(carry, need)
        self.goal = need - self.use
        self.shares: ByClass = tuple(
            (class_id, -(-self.goal * weights[class_id] // weight) if weight else 0) for class_id in sorted(members)
        )
        self.asked = sum(share * members[class_id] for class_id, share in self.shares)
        self.over = self.asked - self.goal if counts else 0
        if not 0 <= self.over < max(1, sum(members.values())):
            raise InvariantViolation(f"rounding up {self.goal} fen among {counts} left {self.over} fen")


def _share(account: Account, row: Settlement, params: PlanParams, aid: int) -> _Parts:
    """The formula with the accounts as they are now. Without members nothing is shared, unless a sponsor pays."""
    if not row.counts and not row.sponsored:
        if aid:
            raise InvariantViolation(f"{aid} fen of aid, and nobody to share it")
        return _Parts(0, 0, 0, 0, {}, ())
    fee = aid * params.fee_bps // BPS
    bad_debt = min(row.bad_debt_noticed, account.bad_debt)
    weights = {band.class_id: band.weight for band in params.classes}
    return _Parts(aid + fee + bad_debt, fee, bad_debt, account.carry, weights, row.counts)


def settle(state: State, plan_id: int, plan: Plan, claims: Sequence[tuple[int, Claim]]) -> Plan:
    """Share the aid of the approved ``claims`` of ``plan.period`` among its members, and post it.

    Raises ``InvariantViolation`` when a share is above the notice's upper bound.
    """
    _expect(plan, STAGE_SETTLE)
    row = state.get(Settlement, plan.settlement)
    params = state.get(PlanVersion, row.version).params
    aid = sum(claim.amount_fen for _, claim in claims)
    parts = _share(state.get(Account, plan_id), row, params, aid)
    bound = dict(row.upper_bound)
    if any(share > bound[class_id] for class_id, share in parts.shares):
        raise InvariantViolation(f"period {plan.period}: shares {parts.shares}, the notice promised {row.upper_bound}")
    row = replace(
        row,
        stage=SETTLED,
        settled_ms=_opened(state, plan),
        claims=len(claims),
        aid_fen=aid,
        fee_fen=parts.fee,
        bad_debt_fen=parts.bad_debt,
        carry_used_fen=parts.use,
        goal_fen=parts.goal,
    )
    if row.sponsored:
        row = replace(row, would_be=parts.shares, shares=tuple((class_id, 0) for class_id, _ in parts.shares))
        journal.post(state, plan_id, "sponsor", "carry", parts.goal)
    else:
        charged, excess, struck = _charges(state, plan_id, plan, row, parts)
        row = replace(
            row,
            shares=parts.shares,
            over_fen=parts.over,
            charged_fen=charged,
            excess_fen=excess,
            due_fen=charged - struck,
            struck_fen=struck,
            index=_added(plan.index, parts.shares),
        )
        journal.post(state, plan_id, "due", "carry", charged)
        journal.post(state, plan_id, "sponsor", "carry", excess)
        journal.post(state, plan_id, "arrears", "due", struck)
        journal.post(state, plan_id, "bad_debt", "arrears", struck)
    journal.post(state, plan_id, "carry", "claims", aid)
    journal.post(state, plan_id, "carry", "fee", parts.fee)
    journal.post(state, plan_id, "carry", "bad_debt", parts.bad_debt)
    state.put(plan.settlement, row)
    return replace(plan, stage=STAGE_CLOSE, index=row.index)


def _charges(state: State, plan_id: int, plan: Plan, row: Settlement, parts: _Parts) -> tuple[int, int, int]:
    """(Σ charge, Σ what is above the year's cap, Σ charge of the struck) over the frozen cohorts, fen.

    ``plan`` is not settled for the period yet.
    """
    sums = RunningSums(state, plan_id, plan)
    cap = sums.cap(plan.year)
    share_of = dict(parts.shares)
    gone = {(month, start, base): count for month, start, base, count in row.struck}
    counts: dict[int, int] = {}
    charged = excess = struck = 0
    for _, frozen in state.rows(Frozen, row.frozen_first, row.frozen_first + row.frozen_count):
        class_id = sums.class_at(frozen.birth_month, row.period)
        share = share_of[class_id]
        for start, base, count in frozen.counts:
            before = sums.charged_before(frozen.birth_month, start, base, row.period)
            charge = min(cap, before + share) - min(cap, before)
            charged += charge * count
            excess += (share - charge) * count
            struck += charge * gone.get((frozen.birth_month, start, base), 0)
            counts[class_id] = counts.get(class_id, 0) + count
    if tuple(sorted(counts.items())) != row.counts:
        raise InvariantViolation(f"period {row.period}: the frozen cohorts count {counts}, the notice {row.counts}")
    if charged + excess != parts.asked:
        raise InvariantViolation(f"period {row.period}: {charged} + {excess} fen charged of {parts.asked}")
    return charged, excess, struck


def _added(index: ByClass, shares: ByClass) -> ByClass:
    sums = dict(index)
    for class_id, share in shares:
        sums[class_id] = sums.get(class_id, 0) + share
    return tuple(sorted(sums.items()))


# ---- close ---------------------------------------------------------------------------------------------------------


def close(state: State, plan_id: int, plan: Plan) -> Plan:
    """Book what was collected for ``plan.period``, its failures, what lapsed, and what the reporter owes."""
    _expect(plan, STAGE_CLOSE)
    row = state.get(Settlement, plan.settlement)
    if row.charged_fen:
        row = _collected(state, plan_id, row)
        plan = replace(plan, last_charged=plan.period)
        if row.surplus_fen:
            plan = replace(plan, surplus=(*plan.surplus, (row.period, row.surplus_fen)))
    else:
        journal.post(state, plan_id, "bad_debt", "arrears", row.leavers_fen)
    state.put(plan.settlement, replace(row, stage=CLOSED, closed_ms=_opened(state, plan), due_fen=0))
    return replace(plan, period=plan.period + 1, stage=STAGE_NOTICE, settlement=NONE)


def _forget_surplus(state: State, plan_id: int, plan: Plan) -> Plan:
    """What nobody claimed of a period's surplus within a year is everybody's."""
    old = [entry for entry in plan.surplus if entry[0] + PERIODS_PER_YEAR <= plan.period]
    journal.post(state, plan_id, "refunds", "carry", sum(fen for _, fen in old))
    return replace(plan, surplus=plan.surplus[len(old) :])


def _collected(state: State, plan_id: int, row: Settlement) -> Settlement:
    """The close of a charged period. All live arrears are debited with it: whoever has some shares the period."""
    arrears = state.get(Account, plan_id).arrears
    due_paid = row.due_fen - row.failed_due_fen
    arrears_paid = arrears - row.failed_arrears_fen
    expected = due_paid + arrears_paid
    short, surplus = max(0, expected - row.collected_fen), max(0, row.collected_fen - expected)
    journal.post(state, plan_id, "sponsor", "clearing", short)
    journal.post(state, plan_id, "clearing", "due", due_paid)
    journal.post(state, plan_id, "clearing", "arrears", arrears_paid)
    journal.post(state, plan_id, "clearing", "refunds", surplus)
    journal.post(state, plan_id, "arrears", "due", row.failed_due_fen)
    journal.post(state, plan_id, "bad_debt", "arrears", row.written_off_fen)
    return replace(row, arrears_debited_fen=arrears, short_fen=short, surplus_fen=surplus)


# ---- sponsored periods ---------------------------------------------------------------------------------------------


def sponsor_period(state: State, body: SponsorPeriod) -> tuple[int, ...]:
    """The platform will pay ``period``; irrevocable. Detail: (period,).

    Raises ``TransactionRejected``: UNKNOWN_PLAN, PLAN_CLOSED, PERIOD_NOTICED, UNKNOWN_PERIOD (before the plan's first,
    or more than ``SPONSORED_AHEAD_MAX`` ahead), ALREADY_SPONSORED.
    """
    plan = need_plan(state, body.plan)
    if plan.closed:
        raise TransactionRejected("PLAN_CLOSED", "run off")
    coming = next_unnoticed(plan)
    if not plan.first_period <= body.period < coming + SPONSORED_AHEAD_MAX:
        raise TransactionRejected("UNKNOWN_PERIOD", f"period {body.period}")
    if body.period < coming:
        raise TransactionRejected("PERIOD_NOTICED", f"period {body.period}")
    if body.period in plan.sponsored:
        raise TransactionRejected("ALREADY_SPONSORED", f"period {body.period}")
    state.put(body.plan, replace(plan, sponsored=tuple(sorted((*plan.sponsored, body.period)))))
    return (body.period,)


def _opened(state: State, plan: Plan) -> int:
    return opened(plan.due_ms, state.block.ledger_time_ms)


def _expect(plan: Plan, stage: int) -> None:
    if plan.stage != stage:
        raise InvariantViolation(f"plan {plan.name} is at stage {plan.stage} of period {plan.period}, not {stage}")
