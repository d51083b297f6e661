"""Views for people: rows with names instead of numbers, ready to become JSON (``dataclasses.asdict``).

Pure reads of one state, each bounded by what it returns; lists take ``start`` and ``limit``. Keys, hashes and
references are lower-case hexadecimal, amounts fen, days of UTC+8 ISO dates, times milliseconds.
Privacy (LEDGER §6): a ``ClaimView`` is for consortium nodes and the claimant; ``NoticeView`` is what may be published.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from . import bills, cohorts, members, plans
from .calendar import age_on, civil_from_day, day_of, settle_ms, year_of
from .claim_table import DEADLINES, REASONS, ClaimState, Judge
from .fingerprints import same_event
from .organisations import OrganisationState, name_of
from .params import ACCIDENT
from .roles import Role
from .rows import (
    NO_END,
    NONE,
    Account,
    Claim,
    Collection,
    Member,
    Organisation,
    Payment,
    Plan,
    PlanVersion,
    Settlement,
    Validator,
)
from .state import Index, StateReader, u32, u64

LIMIT_MAX: Final = 1_000
"""Most items of one list."""

STAGES: Final = {plans.STAGE_NOTICE: "NOTICE", plans.STAGE_SETTLE: "SETTLE", plans.STAGE_CLOSE: "CLOSE"}
SETTLEMENT_STAGES: Final = {1: "NOTICED", 2: "SETTLED", 3: "CLOSED"}


def iso_date(day: int) -> str:
    """A day as YYYY-MM-DD."""
    year, month, date = civil_from_day(day)
    return f"{year:04}-{month:02}-{date:02}"


def settle_date(period: int) -> str:
    """The calendar day on which a period is settled, as YYYY-MM-DD."""
    return iso_date(day_of(settle_ms(period)))


# ---- plans -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PlanView:
    """A plan, its accounts, and what comes next."""

    id: int
    name: str
    version: int
    first_period: int
    period: int
    next_stage: str
    """Which deadline comes next: NOTICE, SETTLE or CLOSE of ``period``."""
    due_ms: int
    members: int
    """Counted by the live cohorts: those the next notice will charge, were it now."""
    sponsored: list[int]
    accounts: dict[str, int]
    params: dict[str, object]


def plan_view(state: StateReader, plan_id: int, day: int) -> PlanView | None:
    """A plan with the version in force on ``day``; ``None`` when there is none."""
    plan = state.find(Plan, plan_id)
    if plan is None:
        return None
    _, version = plans.version_at(state, plan_id, day)
    account = state.get(Account, plan_id)
    return PlanView(
        id=plan_id,
        name=plan.name,
        version=version.version,
        first_period=plan.first_period,
        period=plan.period,
        next_stage=STAGES[plan.stage],
        due_ms=plan.due_ms,
        members=members_counted(state, plan_id),
        sponsored=list(plan.sponsored),
        accounts={name: getattr(account, name) for name in Account.__struct_fields__},
        params=_params(version),
    )


def plan_views(state: StateReader, day: int) -> list[PlanView]:
    """All plans."""
    found = (plan_view(state, plan_id, day) for plan_id in range(state.length(Plan)))
    return [view for view in found if view is not None]


def members_counted(state: StateReader, plan_id: int) -> int:
    """How many members the live cohorts of a plan count."""
    return sum(count for _, row in cohorts.rows(state, plan_id) for _, _, count in row.counts)


def _params(version: PlanVersion) -> dict[str, object]:
    params = version.params
    plain: dict[str, object] = {}
    for name in params.__struct_fields__:
        value = getattr(params, name)
        if isinstance(value, tuple):
            plain[name] = [{key: getattr(band, key) for key in band.__struct_fields__} for band in value]
        else:
            plain[name] = value
    return plain


# ---- settlements -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SettlementView:
    """One period of one plan: what was shared, by how many, and how much each paid."""

    id: int
    plan: int
    period: int
    year: int
    settle_date: str
    stage: str
    sponsored: bool
    noticed_ms: int
    settled_ms: int
    closed_ms: int
    members: int
    counts: dict[int, int]
    claims: int
    aid_fen: int
    fee_fen: int
    bad_debt_fen: int
    carry_used_fen: int
    goal_fen: int
    over_fen: int
    shares_fen: dict[int, int]
    would_be_fen: dict[int, int]
    upper_bound_fen: dict[int, int]
    charged_fen: int
    excess_fen: int
    due_fen: int
    failures: int
    collected_fen: int
    short_fen: int
    surplus_fen: int


def settlement_view(state: StateReader, plan_id: int, period: int) -> SettlementView | None:
    """A noticed period, or ``None``."""
    row_id = bills.settlement_id(state, plan_id, period)
    return None if row_id is None else _settlement(row_id, state.get(Settlement, row_id))


def settlement_views(state: StateReader, plan_id: int, start: int = 0, limit: int = 100) -> list[SettlementView]:
    """Noticed periods of a plan from period ``start`` on, ascending."""
    found = state.index_scan(Index.SETTLEMENT, u32(plan_id), start=u32(max(start, 0)))
    ids = [int.from_bytes(value, "big") for _, value in islice(found, _bounded(limit))]
    return [_settlement(row_id, state.get(Settlement, row_id)) for row_id in ids]


def _settlement(row_id: int, row: Settlement) -> SettlementView:
    return SettlementView(
        id=row_id,
        plan=row.plan,
        period=row.period,
        year=year_of(row.period),
        settle_date=settle_date(row.period),
        stage=SETTLEMENT_STAGES[row.stage],
        sponsored=row.sponsored,
        noticed_ms=row.noticed_ms,
        settled_ms=row.settled_ms,
        closed_ms=row.closed_ms,
        members=sum(count for _, count in row.counts),
        counts=dict(row.counts),
        claims=row.claims,
        aid_fen=row.aid_fen,
        fee_fen=row.fee_fen,
        bad_debt_fen=row.bad_debt_fen,
        carry_used_fen=row.carry_used_fen,
        goal_fen=row.goal_fen,
        over_fen=row.over_fen,
        shares_fen=dict(row.shares),
        would_be_fen=dict(row.would_be),
        upper_bound_fen=dict(row.upper_bound),
        charged_fen=row.charged_fen,
        excess_fen=row.excess_fen,
        due_fen=row.due_fen,
        failures=row.failures,
        collected_fen=row.collected_fen,
        short_fen=row.short_fen,
        surplus_fen=row.surplus_fen,
    )


# ---- claims ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ClaimView:
    """A claim as the consortium and the claimant see it."""

    id: int
    plan: int
    member: int
    state: str
    tier: int
    illness: int
    cause: str
    diagnosis_date: str
    region: int
    amount_fen: int
    opened_ms: int
    due_ms: int
    waits_for: str
    """The deadline that ends the state by itself; empty when there is none."""
    investigator: str
    reviewer: str
    hospital: str
    diagnosis: str
    report: str
    reason: int
    reason_text: str
    period: int
    """Noticed for this period, or -1."""
    reference: str
    draw: int
    same_event: list[int]
    """Claims of other plans for the same event (``fingerprints``)."""


def claim_view(state: StateReader, claim_id: int) -> ClaimView | None:
    """A claim, or ``None``."""
    row = state.find(Claim, claim_id)
    if row is None:
        return None
    claim_state = ClaimState(row.state)
    judged = row.reviewer != NONE or row.reason != 0 or row.judge != Judge.FIRM
    return ClaimView(
        id=claim_id,
        plan=row.plan,
        member=row.member,
        state=claim_state.name,
        tier=row.tier,
        illness=row.illness,
        cause="ACCIDENT" if row.cause == ACCIDENT else "ILLNESS",
        diagnosis_date=iso_date(row.diagnosis_day),
        region=row.region,
        amount_fen=row.amount_fen,
        opened_ms=row.opened_ms,
        due_ms=row.due_ms,
        waits_for=DEADLINES[claim_state].name if row.due_ms else "",
        investigator=name_of(state, row.investigator),
        reviewer=name_of(state, row.reviewer),
        hospital=name_of(state, row.hospital),
        diagnosis=row.diagnosis.hex(),
        report=row.report.hex(),
        reason=row.reason,
        reason_text=REASONS[row.reason] if judged else "",
        period=row.period,
        reference=row.reference.hex(),
        draw=row.draw,
        same_event=list(same_event(state, claim_id, row)),
    )


def claim_views(state: StateReader, start: int = 0, limit: int = 100) -> list[ClaimView]:
    """Claims with ids from ``start`` on, ascending."""
    stop = min(max(start, 0) + _bounded(limit), state.length(Claim))
    found = (claim_view(state, claim_id) for claim_id in range(max(start, 0), stop))
    return [view for view in found if view is not None]


def claims_of_period(state: StateReader, plan_id: int, period: int) -> Iterator[int]:
    """Ids of the claims noticed for a period, ascending."""
    for key, _ in state.index_scan(Index.PERIOD_CLAIMS, u32(plan_id, period)):
        yield int.from_bytes(key[8:], "big")


def claim_of_member(state: StateReader, member_id: int) -> int | None:
    """The member's newest claim that did not end in vain, or ``None``."""
    return state.index_id(Index.OPEN_CLAIM, u64(member_id))


@dataclass(frozen=True, slots=True)
class NoticeView:
    """What a notice publishes of a claim: bands only, never age and place and illness together (LEDGER §6)."""

    claim: int
    period: int
    tier: int
    age_band: str
    region: int
    amount_fen: int


def notice_view(state: StateReader, claim_id: int) -> NoticeView | None:
    """The published part of a noticed claim; ``None`` when it was not noticed."""
    row = state.find(Claim, claim_id)
    if row is None or row.period == NONE:
        return None
    age = age_on(state.get(Member, row.member).birth_month, row.diagnosis_day)
    low = age // 10 * 10
    return NoticeView(claim_id, row.period, row.tier, f"{low}-{low + 9}", row.region, row.amount_fen)


# ---- members ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MemberView:
    """A member, what he was charged and what he owes."""

    id: int
    plan: int
    identity: str
    state: str
    join_date: str
    birth_month: str
    age: int
    from_period: int
    to_period: int | None
    bill_fen: int
    owed: dict[str, int]
    claim: int | None


def member_view(state: StateReader, member_id: int, day: int) -> MemberView | None:
    """A member as of ``day``, or ``None``."""
    row = state.find(Member, member_id)
    if row is None:
        return None
    plan = state.get(Plan, row.plan)
    params = plans.version_at(state, row.plan, day)[1].params
    owed = bills.owed(state, row)
    return MemberView(
        id=member_id,
        plan=row.plan,
        identity=row.identity.hex(),
        state=members.member_state(row, day, plan, params, members.waits_from(state, row)),
        join_date=iso_date(row.join_day),
        birth_month=f"{row.birth_month // 12:04}-{row.birth_month % 12 + 1:02}",
        age=age_on(row.birth_month, day),
        from_period=row.from_period,
        to_period=None if row.to_period == NO_END else row.to_period,
        bill_fen=bills.total(state, row),
        owed={
            "due_fen": owed.due_fen,
            "arrears_fen": owed.arrears_fen,
            "written_off_fen": owed.written_off_fen,
            "total_fen": owed.total_fen,
        },
        claim=claim_of_member(state, member_id),
    )


def member_by_identity(state: StateReader, plan_id: int, identity: bytes) -> int | None:
    """The member id of an identity hash (32 bytes) in a plan, or ``None``."""
    return members.find_identity(state, plan_id, identity)


# ---- the consortium --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OrganisationView:
    """An organisation of the consortium."""

    id: int
    name: str
    roles: list[str]
    state: str
    key: str
    node_keys: list[str]
    address: str
    seat: int | None
    """Its active validator seat, if it has one."""


def organisation_views(state: StateReader) -> list[OrganisationView]:
    """All organisations."""
    seats = {row.organisation: seat for seat, row in state.rows(Validator) if row.active}
    return [
        OrganisationView(
            id=row_id,
            name=row.name,
            roles=[role.name for role in Role if row.roles & role and role.name],
            state=OrganisationState(row.state).name,
            key=row.key.hex(),
            node_keys=[key.hex() for key in row.node_keys],
            address=row.address,
            seat=seats.get(row_id),
        )
        for row_id, row in state.rows(Organisation)
    ]


@dataclass(frozen=True, slots=True)
class ValidatorView:
    """A seat, and how it stands with the skip rule."""

    seat: int
    organisation: str
    validator_key: str
    beacon_key: str
    active: bool
    fails: int
    skipped_until: int


def validator_views(state: StateReader) -> list[ValidatorView]:
    """All seats."""
    return [
        ValidatorView(
            seat=seat,
            organisation=name_of(state, row.organisation),
            validator_key=row.validator_key.hex(),
            beacon_key=row.beacon_key.hex(),
            active=row.active,
            fails=row.fails,
            skipped_until=row.skipped_until,
        )
        for seat, row in state.rows(Validator)
    ]


# ---- the whole -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stats:
    """Sizes, for status and metrics; costs nothing."""

    members: int
    claims: int
    plans: int
    settlements: int
    collections: int
    payments: int
    organisations: int


def stats(state: StateReader) -> Stats:
    """How many rows there are of what people ask for."""
    return Stats(
        members=state.length(Member),
        claims=state.length(Claim),
        plans=state.length(Plan),
        settlements=state.length(Settlement),
        collections=state.length(Collection),
        payments=state.length(Payment),
        organisations=state.length(Organisation),
    )


def _bounded(limit: int) -> int:
    return max(0, min(limit, LIMIT_MAX))
