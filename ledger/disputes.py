"""How a claim comes before a jury: the claimant's appeal, or objections of other members (LEDGER §5, §7).

Rules of this file
- A refused claimant appeals once, within ``appeal_days``. Members with their own keys object to a noticed claim within
  ``notice_days``; with the last of ``objectors_min`` the claim is disputed, leaves its batch, and is never objected to
  again. What a jury or a court cleared is noticed, but not disputable.
- A dispute is open for ``notice_days`` before its jury is drawn: time to withdraw, and for organisations to name
  members who may not judge it. Objections that stay too few lapse with the notice's window.
- A dispute's row is the only place of its counters: whoever ends it gives its jurors back (``end``).
"""

from enum import IntEnum
from typing import Final

from msgspec.structs import replace

from . import draws
from .bills import chargeable
from .calendar import day_of
from .claim_table import Event, Judge, target
from .claims import SALT_BYTES, check_claimant, check_size, move, params_of, write
from .errors import InvariantViolation, TransactionRejected
from .rows import NONE, Claim, Dispute, Juror, Member
from .sender import Sender
from .standing import MemberState
from .state import Index, State, u64
from .transactions import Appeal, ExcludeJuror, ObjectTo


class Kind(IntEnum):
    """Who brought a dispute. Numbers are in rows: append only."""

    APPEAL = 1
    OBJECTION = 2


class Stage(IntEnum):
    """Where a dispute stands. Numbers are in rows: append only."""

    GATHERING = 1
    """Objections come in; the claim is NOTICED."""
    OPEN = 2
    """The claim is DISPUTED."""
    DRAWING = 3
    """The claim is in JURY: beacons are collected."""
    COMMIT = 4
    REVEAL = 5
    ENDED = 6


class Outcome(IntEnum):
    """How a dispute ended. Numbers are in rows: append only."""

    NONE = 0
    CLEARED = 1
    REFUSED = 2
    NO_QUORUM = 3
    """Fewer valid ballots than the quorum, or no majority: EXPERT."""
    NO_PANEL = 4
    """Fewer eligible jurors than the quorum: EXPERT."""
    TOO_FEW_OBJECTIONS = 5
    ABANDONED = 6
    """Withdrawn, or refused for fraud."""


EXCLUSIONS_MAX: Final = 256
"""Most jurors that organisations may exclude from one dispute."""


def appeal(state: State, body: Appeal, sender: Sender) -> tuple[int, ...]:
    """REFUSED -> DISPUTED by the claimant, once. Detail: (dispute id,)."""
    claim = state.need(Claim, body.claim, "UNKNOWN_CLAIM")
    target(claim.state, Event.APPEAL)
    check_claimant(claim, body.member)
    check_size(body.salt, SALT_BYTES)
    dispute = _open(state, body.claim, Kind.APPEAL, Stage.OPEN, body.salt, ())
    move(state, body.claim, claim, Event.APPEAL, state.block.ledger_time_ms, dispute=dispute)
    return (dispute,)


def object_to(state: State, body: ObjectTo, sender: Sender) -> tuple[int, ...]:
    """One more objection; with the last that is needed NOTICED -> DISPUTED. Detail: (dispute id, objections)."""
    claim = state.need(Claim, body.claim, "UNKNOWN_CLAIM")
    target(claim.state, Event.OBJECT)
    check_size(body.salt, SALT_BYTES)
    _check_disputable(claim)
    _check_objector(state, claim, body.member)
    dispute_id, dispute = _gathering(state, body, claim)
    if body.member in dispute.objectors:
        raise TransactionRejected("ALREADY_OBJECTED", f"member {body.member}")
    dispute = replace(dispute, objectors=(*dispute.objectors, body.member))
    enough = len(dispute.objectors) >= params_of(state, claim).objectors_min
    state.put(dispute_id, replace(dispute, stage=int(Stage.OPEN)) if enough else dispute)
    if enough:
        now = state.block.ledger_time_ms
        move(state, body.claim, claim, Event.OBJECT, now, dispute=dispute_id, objected=True)
    elif claim.dispute != dispute_id:
        write(state, body.claim, claim, replace(claim, dispute=dispute_id))
    return dispute_id, len(dispute.objectors)


def _check_disputable(claim: Claim) -> None:
    if claim.objected or claim.judge in (Judge.JURY, Judge.COURT):
        raise TransactionRejected("NOT_DISPUTABLE")


def _check_objector(state: State, claim: Claim, member_id: int) -> None:
    if member_id == claim.member:
        raise TransactionRejected("OWN_CLAIM")
    member = state.need(Member, member_id, "UNKNOWN_MEMBER")
    shares = member.plan == claim.plan and chargeable(member, claim.period)
    if not shares or member.state != MemberState.ACTIVE:
        raise TransactionRejected("NOT_IN_THE_NOTICE", f"member {member_id}")


def _gathering(state: State, body: ObjectTo, claim: Claim) -> tuple[int, Dispute]:
    """The dispute in which objections to the present notice gather, opened by the first of them."""
    found = state.find(Dispute, claim.dispute)
    if found is not None and found.stage == Stage.GATHERING:
        return claim.dispute, found
    dispute_id = _open(state, body.claim, Kind.OBJECTION, Stage.GATHERING, body.salt, ())
    return dispute_id, state.get(Dispute, dispute_id)


def _open(state: State, claim_id: int, kind: Kind, stage: Stage, salt: bytes, objectors: tuple[int, ...]) -> int:
    return state.append(
        Dispute(
            claim=claim_id,
            kind=int(kind),
            stage=int(stage),
            outcome=int(Outcome.NONE),
            salt=salt,
            opened_ms=state.block.ledger_time_ms,
            objectors=objectors,
            excluded=(),
            draw=NONE,
            day=0,
            jurors=0,
            panel=0,
            seed=b"",
            drawn=(),
            rejected=(),
            clear=0,
            refuse=0,
        )
    )


def approve(state: State, claim_id: int, opened_ms: int) -> tuple[int, ...]:
    """NOTICED -> APPROVED: nobody objected within ``notice_days``, or too few. Detail: (objections,) if there are."""
    claim = state.get(Claim, claim_id)
    dispute = state.find(Dispute, claim.dispute)
    few = len(dispute.objectors) if dispute is not None and dispute.stage == Stage.GATHERING else 0
    if few:
        end(state, claim.dispute, Outcome.TOO_FEW_OBJECTIONS)
    move(state, claim_id, claim, Event.APPROVE, opened_ms)
    return (few,) if few else ()


def exclude(state: State, body: ExcludeJuror, sender: Sender) -> tuple[int, ...]:
    """An organisation names a juror who may not judge a disputed claim, before the draw. Detail: (juror id,)."""
    claim = state.need(Claim, body.claim, "UNKNOWN_CLAIM")
    target(claim.state, Event.CALL_JURY)
    if body.reason not in DECLARED:
        raise TransactionRejected("UNKNOWN_REASON", str(body.reason))
    juror = state.index_id(Index.JUROR, u64(body.member)) if body.member >= 0 else None
    if juror is None:
        raise TransactionRejected("UNKNOWN_JUROR", f"member {body.member}")
    dispute = state.get(Dispute, claim.dispute)
    if any(known == juror for known, _, _ in dispute.excluded):
        raise TransactionRejected("ALREADY_EXCLUDED", f"juror {juror}")
    if len(dispute.excluded) >= EXCLUSIONS_MAX:
        raise TransactionRejected("EXCLUSIONS_FULL", f"{EXCLUSIONS_MAX} jurors")
    entry = (juror, body.reason, sender.organisation)
    state.put(claim.dispute, replace(dispute, excluded=(*dispute.excluded, entry)))
    return (juror,)


def call_jury(state: State, claim_id: int, opened_ms: int) -> tuple[int, ...]:
    """DISPUTED -> JURY: the draw is opened. Whoever registers as a juror from now on is not drawn for this claim."""
    claim = state.get(Claim, claim_id)
    dispute, draw = state.get(Dispute, claim.dispute), draws.request(state)
    panel = params_of(state, claim).jury_panel
    day, jurors = day_of(opened_ms), state.length(Juror)
    drawing = replace(dispute, stage=int(Stage.DRAWING), draw=draw, day=day, jurors=jurors, panel=panel)
    state.put(claim.dispute, drawing)
    move(state, claim_id, claim, Event.CALL_JURY, opened_ms, draw=draw, due_ms=0)
    return (draw,)


def end(state: State, dispute_id: int, outcome: Outcome) -> None:
    """End a dispute, and give its jurors back."""
    dispute = state.get(Dispute, dispute_id)
    if dispute.stage == Stage.ENDED:
        raise InvariantViolation(f"dispute {dispute_id} ended twice")
    for juror_id in dispute.drawn:
        juror = state.get(Juror, juror_id)
        state.put(juror_id, replace(juror, open_cases=juror.open_cases - 1))
    state.put(dispute_id, replace(dispute, stage=int(Stage.ENDED), outcome=int(outcome)))


def abandon(state: State, claim: Claim) -> None:
    """End the claim's dispute if it is still open: the claim goes another way."""
    dispute = state.find(Dispute, claim.dispute)
    if dispute is not None and dispute.stage != Stage.ENDED:
        end(state, claim.dispute, Outcome.ABANDONED)


class Exclusion(IntEnum):
    """Why a juror may not judge a claim. Numbers are in rows: append only."""

    CLAIMANT = 1
    OBJECTOR = 2
    OTHER_PLAN = 3
    NOT_ACTIVE = 4
    """No current member of the plan, or suspended."""
    ARREARS = 5
    EXAM_TOO_RECENT = 6
    OPEN_CASES = 7
    FAMILY = 8
    """Declared: family of the claimant."""
    ORGANISATION = 9
    """Declared: belongs to one of the claim's organisations."""


DECLARED: Final = frozenset({Exclusion.FAMILY, Exclusion.ORGANISATION})
"""What the ledger cannot see: organisations declare it before the draw, and the dispute's row says which one did."""
