"""Plans: their versions, the class a birth month belongs to, and what the case cap demands of the membership.

Rules of this file (LEDGER §3)
- A version is in force from 00:00 of its effective day. A claim is judged by the version of its diagnosis day, a notice
  by that of its *calendar* day, so a late notice does not change whose rules apply.
- ``year_cap`` starts on 1 January only: the cap of a year is that of the version in force on its first day (of the
  first version, for the year in which the plan began).
- A birthday counts on the 1st of the month after the birth month; so the class of a birth month at a period is a
  function of (version, birth month, notice day), never of a member.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from .calendar import age_on, day_from_civil, day_of, notice_ms, year_of
from .errors import InvariantViolation, TransactionRejected
from .journal import open_account
from .params import ClassBand, PlanParams
from .rows import NONE, Plan, PlanVersion
from .state import Index, State, StateReader, u32, u64

STAGE_NOTICE: Final = 0
STAGE_SETTLE: Final = 1
STAGE_CLOSE: Final = 2
BPS: Final = 10_000


def create(state: State, name: str, params: PlanParams, first_period: int, due_ms: int, effective_day: int) -> int:
    """A new plan with its first version and its account; returns its id. ``due_ms``: when its first notice is due."""
    plan = Plan(
        name=name,
        first_period=first_period,
        period=first_period,
        stage=STAGE_NOTICE,
        due_ms=due_ms,
        settlement=NONE,
        year=year_of(first_period),
        index=(),
        year_index=(),
        last_charged=NONE,
        sponsored=(),
        surplus=(),
        ends_day=0,
        closed=False,
        frozen=False,
    )
    plan_id = state.append(plan)
    open_account(state, plan_id)
    add_version(state, plan_id, effective_day, params)
    return plan_id


def add_version(state: State, plan_id: int, effective_day: int, params: PlanParams) -> int:
    """Append a version in force from ``effective_day``; returns its row id. Who may do so is governance's."""
    number = len(versions(state, plan_id))
    row_id = state.append(PlanVersion(plan_id, number, effective_day, params))
    packed = state.index_get(Index.VERSION, u32(plan_id)) or b""
    state.index_put(Index.VERSION, u32(plan_id), packed + u64(row_id))
    return row_id


def versions(state: StateReader, plan_id: int) -> list[tuple[int, PlanVersion]]:
    """(row id, version) ascending by effective day; of two of one day the later decision stands last."""
    if not isinstance(state, State):
        return _read_versions(state, plan_id)
    key, length = ("versions", plan_id), state.length(PlanVersion)
    known = state.memo.get(key)
    if known is None or known[0] != length:  # versions are only ever appended
        known = state.memo[key] = (length, _read_versions(state, plan_id))
    found: list[tuple[int, PlanVersion]] = known[1]
    return found


def _read_versions(state: StateReader, plan_id: int) -> list[tuple[int, PlanVersion]]:
    packed = state.index_get(Index.VERSION, u32(plan_id)) or b""
    ids = [int.from_bytes(packed[at : at + 8], "big") for at in range(0, len(packed), 8)]
    found = [(row_id, state.get(PlanVersion, row_id)) for row_id in ids]
    found.sort(key=lambda entry: (entry[1].effective_day, entry[1].version))
    return found


def version_on(found: Sequence[tuple[int, PlanVersion]], day: int) -> tuple[int, PlanVersion]:
    """The one of ``found`` (as ``versions`` returns them) in force on ``day``; before the first, the first."""
    if not found:
        raise InvariantViolation("a plan without a version")
    chosen = found[0]
    for entry in found:
        if entry[1].effective_day > day:
            break
        chosen = entry
    return chosen


def version_at(state: StateReader, plan_id: int, day: int) -> tuple[int, PlanVersion]:
    """(row id, version) of the plan in force on ``day``; before its first version, the first."""
    return version_on(versions(state, plan_id), day)


def need_plan(state: StateReader, plan_id: int) -> Plan:
    """The plan; raises ``TransactionRejected("UNKNOWN_PLAN")``."""
    return state.need(Plan, plan_id, "UNKNOWN_PLAN")


def need_open_plan(state: StateReader, plan_id: int) -> Plan:
    """A plan that takes members; raises ``TransactionRejected``: UNKNOWN_PLAN, PLAN_CLOSED."""
    plan = need_plan(state, plan_id)
    if plan.ends_day:
        raise TransactionRejected("PLAN_CLOSED", f"it runs off since day {plan.ends_day}")
    return plan


def next_unnoticed(plan: Plan) -> int:
    """The first period whose notice is not out."""
    return plan.period if plan.stage == STAGE_NOTICE else plan.period + 1


def settled_until(plan: Plan) -> int:
    """The first period that is not settled."""
    return plan.period + 1 if plan.stage == STAGE_CLOSE else plan.period


def notice_day(period: int) -> int:
    """The calendar day of a period's notice: its version and its ages are those of 00:00 of this day."""
    return day_of(notice_ms(period))


def year_cap_fen(found: Sequence[tuple[int, PlanVersion]], year: int) -> int:
    """The most a member pays in ``year``; ``found`` as ``versions`` returns them."""
    return version_on(found, day_from_civil(year, 1, 1))[1].params.year_cap_fen


def class_of(params: PlanParams, birth_month: int, day: int) -> ClassBand:
    """The class band of a birth month on ``day``: the last band whose ``age_from`` is reached, at least the first."""
    age = age_on(birth_month, day)
    chosen = params.classes[0]
    for band in params.classes:
        if band.age_from > age:
            break
        chosen = band
    return chosen


def total_weight(params: PlanParams, counts: Mapping[int, int]) -> int:
    """W = Σ w[c]·N[c]; ``counts`` is N by class id."""
    weights = {band.class_id: band.weight for band in params.classes}
    return sum(weights[class_id] * count for class_id, count in counts.items())


def case_aid_max(params: PlanParams, weight: int) -> int:
    """The greatest aid of *one case* whose share stays within ``case_cap_fen`` for every class; ``weight`` is W.

    Largest a with ceil(a·(10000 + fee)·w_max / (10000·W)) <= case_cap (LEDGER §3).
    """
    weight_max = max(band.weight for band in params.classes)
    return params.case_cap_fen * BPS * weight // ((BPS + params.fee_bps) * weight_max)


def minimum_weight(params: PlanParams) -> int:
    """The least W at which the plan's highest aid keeps within the case cap: the minimum membership if all weigh 1."""
    aid = max(band.aid_fen for band in params.tiers)
    weight_max = max(band.weight for band in params.classes)
    return -(-aid * (BPS + params.fee_bps) * weight_max // (params.case_cap_fen * BPS))


def open_settled(plan: Plan, period: int) -> None:
    """Refuse a ``period`` that is not the settled and still open one.

    Raises ``TransactionRejected``: UNKNOWN_PERIOD, PERIOD_NOT_SETTLED or PERIOD_CLOSED.
    """
    if period == plan.period and plan.stage == STAGE_CLOSE:
        return
    if not plan.first_period <= period < next_unnoticed(plan):
        raise TransactionRejected("UNKNOWN_PERIOD", f"period {period}")
    if period == plan.period:
        raise TransactionRejected("PERIOD_NOT_SETTLED", f"period {period}")
    raise TransactionRejected("PERIOD_CLOSED", f"period {period}")


def param_faults(params: PlanParams) -> list[str]:
    """What makes these parameters unusable, as sentences; empty when they are sound."""
    faults = []
    ages = [band.age_from for band in params.classes]
    if not ages or ages[0] != 0 or ages != sorted(set(ages)):
        faults.append("classes must begin at age 0 and ascend")
    weights: dict[int, int] = {}
    faults += [
        f"class {band.class_id} must have one weight of at least 1"
        for band in params.classes
        if band.weight < 1 or weights.setdefault(band.class_id, band.weight) != band.weight
    ]
    if not params.tiers or any(band.aid_fen < 1 for band in params.tiers):
        faults.append("there must be tiers, each with an aid of at least 1 fen")
    if params.case_cap_fen < 1 or params.year_cap_fen < 1:
        faults.append("the caps must be at least 1 fen")
    if not 0 <= params.fee_bps <= BPS:
        faults.append("fee_bps must be 0 to 10000")
    if params.lapse_fails < 1:
        faults.append("lapse_fails must be at least 1")
    return faults
