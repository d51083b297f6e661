"""Claims from filing to approval: the guards of LEDGER §5 beside what each step does.

``move`` is the only writer of claim rows after ``file``; it asks ``claim_table`` for the target and keeps every derived
index equal to ``entries(row)``, so that indexes can be rebuilt from rows. Windows count from ``opened_ms``, which a
deadline inherits from its due time (``deadlines.opened``).
"""

from collections.abc import Iterator
from typing import Any, Final

from msgspec.structs import replace

from . import draws, endings, members, plans
from .calendar import MS_PER_DAY, age_on, day_of
from .claim_table import DEADLINES, ENTRY, REASONS, WITHOUT_CLAIM, ClaimState, Event, target
from .deadlines import deadline_key
from .errors import TransactionRejected
from .organisations import with_role
from .params import ACCIDENT, ILLNESS, PlanParams
from .roles import Role
from .rows import NONE, Claim, Fingerprint, Member
from .sender import Sender
from .state import Index, State, u32, u64
from .transactions import Assess, Diagnose, FileClaim, Review

HASH_BYTES: Final = 32
SALT_BYTES: Final = 16
CODE_MAX: Final = 2**31
"""Illness and region codes are from 0 to below this; their catalogues are not the ledger's."""

_WINDOWS: Final[dict[ClaimState, str]] = {
    ClaimState.FILED: "investigate_after_days",
    ClaimState.INVESTIGATING: "investigate_days",
    ClaimState.ASSESSED: "review_days",
    ClaimState.REFUSED: "appeal_days",
    ClaimState.NOTICED: "notice_days",
}
"""How long a state with a deadline lasts: the name of the plan parameter."""


# ---- filing and the steps that organisations take --------------------------------------------------------------------


def file(state: State, body: FileClaim, sender: Sender) -> tuple[int, ...]:
    """– -> FILED. Returns (claim id, amount in fen).

    A filing that the cover refuses *with consequences* (``endings``) is recorded: – -> REFUSED_FINAL, and 0 fen.
    """
    member = state.need(Member, body.member, "UNKNOWN_MEMBER")
    today = day_of(state.block.ledger_time_ms)
    _check_form(body, today)
    params = plans.version_at(state, member.plan, body.diagnosis_day)[1].params
    if today - body.diagnosis_day > params.file_days:
        raise TransactionRejected("FILED_TOO_LATE", f"{today - body.diagnosis_day} days")
    _check_no_other(state, body.member)
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
        period=NONE,
        amount_fen=aid(params, body.tier, age_on(member.birth_month, body.diagnosis_day)),
        reference=b"",
    )
    claim_id = state.append(claim)
    for index, key, value in entries(claim_id, claim):
        state.index_put(index, key, value)
    _remember_event(state, claim_id, claim)
    return claim_id, 0 if reason else claim.amount_fen


def diagnose(state: State, body: Diagnose, sender: Sender) -> tuple[int, ...]:
    """A hospital's salted commitment to its diagnosis, once, before the assessment."""
    claim = state.need(Claim, body.claim, "UNKNOWN_CLAIM")
    target(claim.state, Event.DIAGNOSE)
    _check_size(body.commitment, HASH_BYTES)
    if claim.hospital != NONE:
        raise TransactionRejected("DUPLICATE_DIAGNOSIS")
    stay(state, body.claim, claim, Event.DIAGNOSE, hospital=sender.organisation, diagnosis=body.commitment)
    return (body.claim,)


def assess(state: State, body: Assess, sender: Sender) -> tuple[int, ...]:
    """INVESTIGATING -> ASSESSED by the drawn firm, once the hospital's diagnosis is there."""
    claim = state.need(Claim, body.claim, "UNKNOWN_CLAIM")
    target(claim.state, Event.ASSESS)
    _check_size(body.commitment, HASH_BYTES)
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
    if body.reason not in REASONS:
        raise TransactionRejected("UNKNOWN_REASON", str(body.reason))
    if claim.investigator == sender.organisation:
        raise TransactionRejected("SAME_FIRM")
    if claim.review_draw != NONE and claim.reviewer == NONE:
        raise TransactionRejected("NO_REVIEWER")
    if claim.reviewer not in (NONE, sender.organisation):
        raise TransactionRejected("NOT_THE_DRAWN_FIRM", f"drawn: {claim.reviewer}")
    now = state.block.ledger_time_ms
    move(state, body.claim, claim, event, now, reviewer=sender.organisation, reason=body.reason)
    return (body.claim,)


# ---- deadlines -------------------------------------------------------------------------------------------------------


def investigate(state: State, claim_id: int, opened_ms: int) -> tuple[int, ...]:
    """FILED -> INVESTIGATING: a firm is drawn."""
    draw = draws.request(state)
    move(state, claim_id, state.get(Claim, claim_id), Event.INVESTIGATE, opened_ms, draw=draw)
    return (draw,)


def investigation_overdue(state: State, claim_id: int, opened_ms: int) -> tuple[int, ...]:
    """The drawn firm let its time run out: another is drawn, in a new window."""
    claim, draw = state.get(Claim, claim_id), draws.request(state)
    passed_over = _also(claim.passed_over, claim.investigator)
    move(state, claim_id, claim, Event.REDRAW, opened_ms, draw=draw, investigator=NONE, passed_over=passed_over)
    return (draw,)


def review_overdue(state: State, claim_id: int, opened_ms: int) -> tuple[int, ...]:
    """No second firm reviewed in time: an independent reviewer is drawn, in a new window."""
    claim, draw = state.get(Claim, claim_id), draws.request(state)
    passed_over = _also(claim.passed_over, claim.reviewer)
    move(
        state,
        claim_id,
        claim,
        Event.REVIEW_OVERDUE,
        opened_ms,
        review_draw=draw,
        reviewer=NONE,
        passed_over=passed_over,
    )
    return (draw,)


def appeal_over(state: State, claim_id: int, opened_ms: int) -> tuple[int, ...]:
    """REFUSED -> REFUSED_FINAL: the claimant did not appeal in time."""
    move(state, claim_id, state.get(Claim, claim_id), Event.APPEAL_OVER, opened_ms)
    return ()


def approve(state: State, claim_id: int, opened_ms: int) -> tuple[int, ...]:
    """NOTICED -> APPROVED: nobody objected within ``notice_days``."""
    move(state, claim_id, state.get(Claim, claim_id), Event.APPROVE, opened_ms)
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


def candidates(state: State, claim: Claim, reviewing: bool) -> list[int]:
    """Active ASSESSOR firms, ascending, that may be drawn: those whose time ran out only when no other is left."""
    firms = [firm for firm in with_role(state, Role.ASSESSOR) if not (reviewing and firm == claim.investigator)]
    return [firm for firm in firms if firm not in claim.passed_over] or firms


# ---- rows and indexes ------------------------------------------------------------------------------------------------


def move(
    state: State,
    claim_id: int,
    claim: Claim,
    event: Event,
    opened_ms: int,
    params: PlanParams | None = None,
    **changes: Any,
) -> Claim:
    """Take the transition of ``event``: a new state, entered at ``opened_ms``, and its deadline. Returns the row.

    ``params`` sets the window; by default the version of the diagnosis day, which judges the claim.
    """
    entered = target(claim.state, event)
    due_ms = 0
    if entered in _WINDOWS:
        window = params or plans.version_at(state, claim.plan, claim.diagnosis_day)[1].params
        due_ms = _due(entered, window, opened_ms)
    fresh: Claim = replace(claim, state=int(entered), opened_ms=opened_ms, due_ms=due_ms, **changes)
    write(state, claim_id, claim, fresh)
    return fresh


def stay(state: State, claim_id: int, claim: Claim, event: Event, **changes: Any) -> Claim:
    """Take a transition that leaves the state, its opening time and its deadline as they are."""
    if target(claim.state, event) != claim.state:
        raise TransactionRejected("NO_SUCH_TRANSITION", f"{event.name} does not stay")
    fresh: Claim = replace(claim, **changes)
    write(state, claim_id, claim, fresh)
    return fresh


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
    if kind is not None:
        yield Index.DEADLINE, deadline_key(claim.due_ms, kind, claim_id), b""
    if claim.state not in WITHOUT_CLAIM:
        yield Index.OPEN_CLAIM, u64(claim.member), u64(claim_id)
    if claim.state == ClaimState.CLEARED:
        yield Index.CLEARED, u32(claim.plan) + u64(claim_id), b""
    if claim.period != NONE:
        yield Index.PERIOD_CLAIMS, u32(claim.plan, claim.period) + u64(claim_id), b""
    if claim.state == ClaimState.INVESTIGATING and claim.investigator == NONE:
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
    _check_size(body.fingerprint, HASH_BYTES)
    _check_size(body.salt, SALT_BYTES)
    if body.cause not in (ILLNESS, ACCIDENT):
        raise TransactionRejected("BAD_FIELD", f"cause {body.cause}")
    if not (0 <= body.illness < CODE_MAX and 0 <= body.region < CODE_MAX):
        raise TransactionRejected("BAD_FIELD", "illness and region are codes from 0")
    if body.diagnosis_day > today:
        raise TransactionRejected("DIAGNOSIS_IN_FUTURE", f"day {body.diagnosis_day}, today {today}")


def _check_size(value: bytes, size: int) -> None:
    if len(value) != size:
        raise TransactionRejected("BAD_FIELD", f"{len(value)} bytes where {size} are due")


def _check_no_other(state: State, member_id: int) -> None:
    other = state.index_id(Index.OPEN_CLAIM, u64(member_id))
    if other is not None:
        paid = state.get(Claim, other).state == ClaimState.PAID
        raise TransactionRejected("ALREADY_HELPED" if paid else "OPEN_CLAIM", f"claim {other}")


def _remember_event(state: State, claim_id: int, claim: Claim) -> None:
    event = state.append(Fingerprint(fingerprint=claim.fingerprint, diagnosis_day=claim.diagnosis_day, claim=claim_id))
    known = state.index_get(Index.FINGERPRINT, claim.fingerprint) or b""
    state.index_put(Index.FINGERPRINT, claim.fingerprint, known + u64(event))


def _due(entered: ClaimState, params: PlanParams, opened_ms: int) -> int:
    return opened_ms + int(getattr(params, _WINDOWS[entered])) * MS_PER_DAY


def _also(firms: tuple[int, ...], firm: int) -> tuple[int, ...]:
    return firms if firm == NONE or firm in firms else (*firms, firm)
