"""Claims from filing to the review: the guards of LEDGER §5 beside what each step does.

``move`` is the only writer of claim rows after ``file``; it asks ``claim_table`` for the target and keeps every derived
index equal to ``entries(row)``, so that indexes can be rebuilt from rows. Windows count from ``opened_ms``, which a
deadline inherits from its due time (``deadlines.opened``).
"""

from collections.abc import Iterator
from typing import Any, Final

from msgspec.structs import replace

from . import draws, endings, fingerprints, members, plans
from .calendar import MS_PER_DAY, MS_PER_HOUR, age_on, day_of
from .claim_table import (
    DEADLINES,
    ENTRY,
    HELPED,
    LEAVES_BATCH,
    REASONS,
    WITHOUT_CLAIM,
    ClaimState,
    Event,
    Judge,
    target,
)
from .deadlines import DeadlineKind, deadline_key
from .errors import TransactionRejected
from .organisations import with_role
from .params import ACCIDENT, ILLNESS, PlanParams
from .roles import Role
from .rows import NONE, Claim, Member, Plan
from .sender import Sender
from .state import Index, State, StateReader, u32, u64
from .transactions import Assess, Diagnose, FileClaim, Review

HASH_BYTES: Final = 32
SALT_BYTES: Final = 16
CODE_MAX: Final = 2**31
"""Illness and region codes are from 0 to below this; their catalogues are not the ledger's."""

_WINDOWS: Final[dict[ClaimState, tuple[str, int]]] = {
    ClaimState.FILED: ("investigate_after_days", MS_PER_DAY),
    ClaimState.INVESTIGATING: ("investigate_days", MS_PER_DAY),
    ClaimState.ASSESSED: ("review_days", MS_PER_DAY),
    ClaimState.REFUSED: ("appeal_days", MS_PER_DAY),
    ClaimState.NOTICED: ("notice_days", MS_PER_DAY),
    ClaimState.DOCS_PENDING: ("docs_days_max", MS_PER_DAY),
    ClaimState.DISPUTED: ("notice_days", MS_PER_DAY),
    ClaimState.EXPERT: ("expert_days", MS_PER_DAY),
    ClaimState.JURY: ("jury_reveal_hours", MS_PER_HOUR),
}
"""How long a state with a deadline lasts: the name of the plan parameter, and its unit."""

UNCLAIMED_DAYS: Final = 730
"""After so many days without a word about the money, aid that was settled goes back to CARRY."""
FIRMS_MIN: Final = 2
"""Independent firms that a claim needs: one investigates, another reviews."""


# ---- filing and the steps that organisations take --------------------------------------------------------------------


def file(state: State, body: FileClaim, sender: Sender) -> tuple[int, ...]:
    """– -> FILED. Returns (claim id, amount in fen, claims of other plans for the same event...).

    A filing that the cover refuses *with consequences* (``endings``) is recorded: – -> REFUSED_FINAL, and 0 fen.
    """
    member = state.need(Member, body.member, "UNKNOWN_MEMBER")
    today = day_of(state.block.ledger_time_ms)
    _check_form(body, today)
    params = plans.version_at(state, member.plan, body.diagnosis_day)[1].params
    if today - body.diagnosis_day > params.file_days:
        raise TransactionRejected("FILED_TOO_LATE", f"{today - body.diagnosis_day} days")
    check_no_other(state, body.member)
    ends_day = state.get(Plan, member.plan).ends_day
    if ends_day and body.diagnosis_day > ends_day:
        raise TransactionRejected("PLAN_CLOSED", f"cover ended on day {ends_day}")
    refusal = members.covered(state, body.member, member, body.diagnosis_day, body.cause, params)
    reason = 0
    if refusal is not None:
        reason = endings.consequence(state, body.member, member, body.diagnosis_day, body.cause, refusal)
        if not reason:
            raise TransactionRejected(refusal)
    entered = ClaimState.REFUSED_FINAL if reason else ENTRY
    claim = Claim(
        plan=member.plan,
        member=body.member,
        tier=body.tier,
        illness=body.illness,
        cause=body.cause,
        diagnosis_day=body.diagnosis_day,
        region=body.region,
        fingerprint=body.fingerprint,
        salt=body.salt,
        state=int(entered),
        held_from=NONE,
        held_opened_ms=0,
        held_due_ms=0,
        opened_ms=state.block.ledger_time_ms,
        due_ms=0 if reason else _due(ENTRY, params, state.block.ledger_time_ms),
        draw=NONE,
        investigator=NONE,
        review_draw=NONE,
        reviewer=NONE,
        passed_over=(),
        report=b"",
        hospital=NONE,
        diagnosis=b"",
        reason=reason,
        documents_asked=0,
        documents_days=0,
        consents=(),
        dispute=NONE,
        objected=False,
        judge=int(Judge.FIRM),
        judgment=b"",
        helped_from=NONE,
        helped_to_day=0,
        recovered_fen=0,
        period=NONE,
        amount_fen=aid(params, body.tier, age_on(member.birth_month, body.diagnosis_day)),
        reference=b"",
    )
    claim_id = state.append(claim)
    for index, key, value in entries(claim_id, claim):
        state.index_put(index, key, value)
    same_event = fingerprints.remember(state, claim_id, claim)
    return claim_id, 0 if reason else claim.amount_fen, *same_event


def diagnose(state: State, body: Diagnose, sender: Sender) -> tuple[int, ...]:
    """A hospital's salted commitment to its diagnosis, once, before the assessment."""
    claim = state.need(Claim, body.claim, "UNKNOWN_CLAIM")
    target(claim.state, Event.DIAGNOSE)
    check_size(body.commitment, HASH_BYTES)
    if claim.hospital != NONE:
        raise TransactionRejected("DUPLICATE_DIAGNOSIS")
    if claim.investigator == sender.organisation:
        raise TransactionRejected("NOT_INDEPENDENT", "the investigator does not diagnose")
    stay(state, body.claim, claim, Event.DIAGNOSE, hospital=sender.organisation, diagnosis=body.commitment)
    return (body.claim,)


def assess(state: State, body: Assess, sender: Sender) -> tuple[int, ...]:
    """INVESTIGATING -> ASSESSED by the drawn firm, once the hospital's diagnosis is there."""
    claim = state.need(Claim, body.claim, "UNKNOWN_CLAIM")
    target(claim.state, Event.ASSESS)
    check_size(body.commitment, HASH_BYTES)
    if claim.investigator != sender.organisation:
        raise TransactionRejected("NOT_THE_DRAWN_FIRM", f"drawn: {claim.investigator}")
    if claim.hospital == NONE:
        raise TransactionRejected("NO_DIAGNOSIS")
    now = state.block.ledger_time_ms
    move(state, body.claim, claim, Event.ASSESS, now, report=body.commitment, passed_over=())
    return (body.claim,)


def review(state: State, body: Review, sender: Sender) -> tuple[int, ...]:
    """ASSESSED -> CLEARED or REFUSED by a *second* firm; by the drawn one, after an overdue review."""
    claim = state.need(Claim, body.claim, "UNKNOWN_CLAIM")
    event = Event.CLEAR if body.reason == 0 else Event.REFUSE
    target(claim.state, event)
    check_reason(body.reason)
    if claim.investigator == sender.organisation:
        raise TransactionRejected("SAME_FIRM")
    if sender.organisation not in independent_firms(state, claim):
        raise TransactionRejected("NOT_INDEPENDENT")
    if claim.review_draw != NONE and claim.reviewer == NONE:
        raise TransactionRejected("NO_REVIEWER")
    if claim.reviewer not in (NONE, sender.organisation):
        raise TransactionRejected("NOT_THE_DRAWN_FIRM", f"drawn: {claim.reviewer}")
    now = state.block.ledger_time_ms
    move(state, body.claim, claim, event, now, reviewer=sender.organisation, reason=body.reason)
    return (body.claim,)


# ---- deadlines -------------------------------------------------------------------------------------------------------


def investigate(state: State, claim_id: int, opened_ms: int) -> tuple[int, ...]:
    """FILED -> INVESTIGATING: a firm is drawn; without a second one to review: EXPERT."""
    return _draw_investigator(state, claim_id, Event.INVESTIGATE, opened_ms, ())


def investigation_overdue(state: State, claim_id: int, opened_ms: int) -> tuple[int, ...]:
    """The drawn firm let its time run out: another is drawn, in a new window."""
    claim = state.get(Claim, claim_id)
    return _draw_investigator(state, claim_id, Event.REDRAW, opened_ms, _also(claim.passed_over, claim.investigator))


def _draw_investigator(
    state: State, claim_id: int, event: Event, opened_ms: int, passed_over: tuple[int, ...]
) -> tuple[int, ...]:
    claim = replace(state.get(Claim, claim_id), passed_over=passed_over, investigator=NONE)
    if len(independent_firms(state, claim)) < FIRMS_MIN:
        return _to_experts(state, claim_id, claim, opened_ms)
    draw = draws.request(state)
    move(state, claim_id, claim, event, opened_ms, draw=draw)
    return (draw,)


def review_overdue(state: State, claim_id: int, opened_ms: int) -> tuple[int, ...]:
    """No second firm reviewed in time: an independent reviewer is drawn, in a new window; none is left: EXPERT."""
    claim = state.get(Claim, claim_id)
    claim = replace(claim, passed_over=_also(claim.passed_over, claim.reviewer), reviewer=NONE)
    if not candidates(state, claim, reviewing=True):
        return _to_experts(state, claim_id, claim, opened_ms)
    draw = draws.request(state)
    move(state, claim_id, claim, Event.REVIEW_OVERDUE, opened_ms, review_draw=draw)
    return (draw,)


def _to_experts(state: State, claim_id: int, claim: Claim, opened_ms: int) -> tuple[int, ...]:
    """No second independent firm: the organisations that are not involved judge, and the regulator."""
    move(state, claim_id, claim, Event.NO_FIRM, opened_ms)
    return ()


def appeal_over(state: State, claim_id: int, opened_ms: int) -> tuple[int, ...]:
    """REFUSED -> REFUSED_FINAL: the claimant did not appeal in time."""
    move(state, claim_id, state.get(Claim, claim_id), Event.APPEAL_OVER, opened_ms)
    return ()


def name_firm(state: State, claim_id: int, seed: bytes) -> None:
    """A draw has closed: it names the investigator, or the reviewer, of a claim that waits for it."""
    claim = state.get(Claim, claim_id)
    reviewing = claim.state == ClaimState.ASSESSED
    firms = candidates(state, claim, reviewing)
    if not firms:
        return  # Nobody is admitted as assessor: the next overdue deadline draws again.
    firm = draws.pick(seed, claim_id, firms)
    changes = {"reviewer" if reviewing else "investigator": firm}
    write(state, claim_id, claim, replace(claim, **changes))


def independent_firms(state: StateReader, claim: Claim) -> list[int]:
    """Active ASSESSOR organisations, ascending, that are neither the platform nor the hospital of the claim."""
    platforms = with_role(state, Role.PLATFORM)
    return [firm for firm in with_role(state, Role.ASSESSOR) if firm not in platforms and firm != claim.hospital]


def candidates(state: StateReader, claim: Claim, reviewing: bool) -> list[int]:
    """Independent firms, ascending, that may be drawn. Of reviewers those whose time ran out are not drawn again.

    An investigator whose time ran out is drawn again only when no other is left.
    """
    firms = independent_firms(state, claim)
    fresh = [firm for firm in firms if firm not in claim.passed_over]
    return [firm for firm in fresh if firm != claim.investigator] if reviewing else fresh or firms


# ---- rows and indexes ------------------------------------------------------------------------------------------------


def move(
    state: State,
    claim_id: int,
    claim: Claim,
    event: Event,
    opened_ms: int,
    params: PlanParams | None = None,
    chosen: int | None = None,
    **changes: Any,
) -> Claim:
    """Take the transition of ``event``: a new state, entered at ``opened_ms``, and its deadline. Returns the row.

    ``params`` sets the window; by default the version of the diagnosis day, which judges the claim. ``chosen`` is the
    target when the table has several. Consents count for the state in which they were given; whoever leaves a noticed
    batch loses its period.
    """
    entered = target(claim.state, event, chosen)
    window = params or params_of(state, claim)
    fresh = {"state": int(entered), "opened_ms": opened_ms, "due_ms": _due(entered, window, opened_ms), "consents": ()}
    if entered in LEAVES_BATCH:
        fresh["period"] = NONE
    moved: Claim = replace(claim, **(fresh | changes))
    write(state, claim_id, state.get(Claim, claim_id), moved)
    return moved


def stay(state: State, claim_id: int, claim: Claim, event: Event, **changes: Any) -> None:
    """Take a transition that leaves the state, its opening time and its deadline as they are."""
    if target(claim.state, event) != claim.state:
        raise TransactionRejected("NO_SUCH_TRANSITION", f"{event.name} does not stay")
    write(state, claim_id, claim, replace(claim, **changes))


def params_of(state: StateReader, claim: Claim) -> PlanParams:
    """The version that judges a claim: that of its diagnosis day (LEDGER §3)."""
    return plans.version_at(state, claim.plan, claim.diagnosis_day)[1].params


def check_claimant(claim: Claim, member_id: int) -> None:
    """Raises NOT_THE_CLAIMANT."""
    if claim.member != member_id:
        raise TransactionRejected("NOT_THE_CLAIMANT", f"member {member_id}")


def check_reason(reason: int) -> None:
    """Raises UNKNOWN_REASON."""
    if reason not in REASONS:
        raise TransactionRejected("UNKNOWN_REASON", str(reason))


def write(state: State, claim_id: int, old: Claim, fresh: Claim) -> None:
    """Replace a claim's row, and the index entries in which the two differ."""
    state.put(claim_id, fresh)
    before, after = set(entries(claim_id, old)), set(entries(claim_id, fresh))
    for index, key, _ in before - after:
        state.index_delete(index, key)
    for index, key, value in after - before:
        state.index_put(index, key, value)


def entries(claim_id: int, claim: Claim) -> Iterator[tuple[Index, bytes, bytes]]:
    """Every index entry of a claim's row."""
    kind = DEADLINES.get(ClaimState(claim.state))
    if kind is not None and claim.due_ms:
        yield Index.DEADLINE, deadline_key(claim.due_ms, kind, claim_id), b""
    if claim.state not in WITHOUT_CLAIM:
        yield Index.OPEN_CLAIM, u64(claim.member), u64(claim_id)
    if claim.state == ClaimState.CLEARED:
        yield Index.CLEARED, u32(claim.plan) + u64(claim_id), b""
    if claim.period != NONE:
        yield Index.PERIOD_CLAIMS, u32(claim.plan, claim.period) + u64(claim_id), b""
    if claim.state == ClaimState.INVESTIGATING and claim.investigator == NONE:
        yield Index.DRAW, u64(claim.draw, claim_id), b""
    if claim.state == ClaimState.JURY and claim.due_ms == 0:
        yield Index.DRAW, u64(claim.draw, claim_id), b""
    if claim.state == ClaimState.ASSESSED and claim.review_draw != NONE and claim.reviewer == NONE:
        yield Index.DRAW, u64(claim.review_draw, claim_id), b""


# ---- details ---------------------------------------------------------------------------------------------------------


def aid(params: PlanParams, tier: int, age: int) -> int:
    """Fen that ``tier`` pays at ``age`` years on the diagnosis day. Raises UNKNOWN_TIER."""
    amounts = [band.aid_fen for band in params.tiers if band.tier == tier and band.age_from <= age]
    if not amounts:
        raise TransactionRejected("UNKNOWN_TIER", f"tier {tier} at age {age}")
    return amounts[-1]


def _check_form(body: FileClaim, today: int) -> None:
    check_size(body.fingerprint, HASH_BYTES)
    check_size(body.salt, SALT_BYTES)
    if body.cause not in (ILLNESS, ACCIDENT):
        raise TransactionRejected("BAD_FIELD", f"cause {body.cause}")
    if not (0 <= body.illness < CODE_MAX and 0 <= body.region < CODE_MAX):
        raise TransactionRejected("BAD_FIELD", "illness and region are codes from 0")
    if body.diagnosis_day > today:
        raise TransactionRejected("DIAGNOSIS_IN_FUTURE", f"day {body.diagnosis_day}, today {today}")


def check_size(value: bytes, size: int) -> None:
    """Raises BAD_FIELD."""
    if len(value) != size:
        raise TransactionRejected("BAD_FIELD", f"{len(value)} bytes where {size} are due")


def check_no_other(state: State, member_id: int) -> None:
    """One open claim a member, one help. Raises OPEN_CLAIM or ALREADY_HELPED."""
    other = state.index_id(Index.OPEN_CLAIM, u64(member_id))
    if other is not None:
        paid = state.get(Claim, other).state in HELPED
        raise TransactionRejected("ALREADY_HELPED" if paid else "OPEN_CLAIM", f"claim {other}")


def _due(entered: ClaimState, params: PlanParams, opened_ms: int) -> int:
    """When a state entered at ``opened_ms`` ends by itself; 0: it does not."""
    if DEADLINES.get(entered) == DeadlineKind.UNCLAIMED:
        return opened_ms + UNCLAIMED_DAYS * MS_PER_DAY
    if entered not in _WINDOWS:
        return 0
    name, unit_ms = _WINDOWS[entered]
    return opened_ms + int(getattr(params, name)) * unit_ms


def _also(firms: tuple[int, ...], firm: int) -> tuple[int, ...]:
    return firms if firm == NONE or firm in firms else (*firms, firm)
