"""The jury: who is drawn, hidden ballots, and the quorum, which stands in code (LEDGER §7).

Rules of this file
- The seed of a dispute is ``SHA-256(running ‖ claim)`` of its draw, fixed by blocks after the one that opened it.
  Jurors are drawn by hash counter, at most ``TRIES_PER_SEAT`` tries a seat, then by a scan from a seeded place. Whoever
  is hit and may not judge is rejected with a reason; both lists stand in the dispute's row, so ``recompute_draw`` gives
  the same panel from the row alone.
- The panel is ``min(jury_panel, eligible)``. With fewer than ``jury_quorum`` the claim goes to the experts at once.
- Ballots are committed for ``jury_commit_hours``, then opened for ``jury_reveal_hours``; only opened ones are valid.
- With ``jury_quorum`` valid ballots and more than half of them on one side, that is the outcome; otherwise EXPERT.
"""

from collections.abc import Callable, Mapping
from enum import IntEnum
from hashlib import sha256
from typing import Final

from msgspec.structs import replace

from . import claims, draws
from .beacon import Drawer
from .bills import is_pending, live_arrears
from .calendar import MS_PER_HOUR, day_of
from .claim_table import ClaimState, Event, Judge, target
from .disputes import Exclusion, Outcome, Stage, end
from .errors import TransactionRejected
from .member_keys import key_of
from .params import PlanParams
from .rows import Ballot, Claim, Dispute, Juror, Member, Plan
from .sender import Sender
from .standing import MemberState
from .state import Index, State, StateReader, u64
from .transactions import CommitBallot, PassExam, RevealBallot

TRIES_PER_SEAT: Final = 64
OPEN_CASES_MAX: Final = 3
"""Whoever sits on so many juries is not drawn for another."""
REFUSED_BY_JURY: Final = 11
"""The coded reason of a claim that a jury refused."""
_BALLOT: Final = b"huzhu ballot v1"


class Vote(IntEnum):
    """What a ballot says. Numbers are in rows and commitments: append only."""

    CLEAR = 1
    REFUSE = 2


# ---- jurors ----------------------------------------------------------------------------------------------------------


def pass_exam(state: State, body: PassExam, sender: Sender) -> tuple[int, ...]:
    """A member with his own key is a juror from ``jury_exam_days`` after today on. Detail: (juror id,)."""
    member = state.need(Member, body.member, "UNKNOWN_MEMBER")
    if member.state != MemberState.ACTIVE:
        raise TransactionRejected("NOT_A_CURRENT_MEMBER", f"member {body.member}")
    if key_of(state, body.member, state.block.ledger_time_ms) is None:
        raise TransactionRejected("NO_OWN_KEY", f"member {body.member}")
    today = day_of(state.block.ledger_time_ms)
    known = state.index_id(Index.JUROR, u64(body.member))
    if known is not None:
        state.put(known, replace(state.get(Juror, known), exam_day=today))
        return (known,)
    juror = state.append(Juror(body.member, today, 0))
    state.index_put(Index.JUROR, u64(body.member), juror)
    return (juror,)


# ---- the draw --------------------------------------------------------------------------------------------------------


def named(state: State, claim_id: int, seed: bytes) -> None:
    """A draw has closed: it names the jury, or the firm, of a claim that waits for it."""
    if state.get(Claim, claim_id).state == ClaimState.JURY:
        _name_panel(state, claim_id, seed)
    else:
        claims.name_firm(state, claim_id, seed)


def _name_panel(state: State, claim_id: int, seed: bytes) -> None:
    claim = state.get(Claim, claim_id)
    dispute, params = state.get(Dispute, claim.dispute), claims.params_of(state, claim)
    own_seed = draws.seed_of(seed, claim_id)
    declared = {juror: reason for juror, reason, _ in dispute.excluded}
    plan = state.get(Plan, claim.plan)

    def unfit(juror_id: int) -> int:
        return declared.get(juror_id, 0) or _unfit(state, juror_id, claim, dispute, plan, params)

    drawn, rejected = draw_panel(own_seed, dispute.jurors, dispute.panel, unfit)
    dispute = replace(dispute, stage=int(Stage.COMMIT), seed=own_seed, drawn=drawn, rejected=rejected)
    for juror_id in drawn:
        juror = state.get(Juror, juror_id)
        state.put(juror_id, replace(juror, open_cases=juror.open_cases + 1))
    state.put(claim.dispute, dispute)
    now = state.block.ledger_time_ms
    if len(drawn) < params.jury_quorum:
        end(state, claim.dispute, Outcome.NO_PANEL)
        claims.move(state, claim_id, claim, Event.JURY_FAILS, now)
        return
    due_ms = now + params.jury_commit_hours * MS_PER_HOUR
    claims.write(state, claim_id, claim, replace(claim, opened_ms=now, due_ms=due_ms))


def _unfit(state: StateReader, juror_id: int, claim: Claim, dispute: Dispute, plan: Plan, params: PlanParams) -> int:
    """Why a juror may not judge the claim (``Exclusion``), or 0."""
    juror = state.get(Juror, juror_id)
    member = state.get(Member, juror.member)
    excluded = (
        (Exclusion.CLAIMANT, juror.member == claim.member),
        (Exclusion.OBJECTOR, juror.member in dispute.objectors),
        (Exclusion.OTHER_PLAN, member.plan != claim.plan),
        (Exclusion.NOT_ACTIVE, member.state != MemberState.ACTIVE),
        (Exclusion.ARREARS, is_pending(member, plan) or live_arrears(member, plan) > 0),
        (Exclusion.EXAM_TOO_RECENT, juror.exam_day > dispute.day - params.jury_exam_days),
        (Exclusion.OPEN_CASES, juror.open_cases >= OPEN_CASES_MAX),
    )
    return next((int(reason) for reason, applies in excluded if applies), 0)


def draw_panel(
    seed: bytes, jurors: int, panel: int, unfit: Callable[[int], int]
) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
    """(drawn ids, (id, reason) of the rejected), both in the order in which they were hit.

    Ids are below ``jurors``; at most ``panel`` are drawn, fewer when no more are fit. ``unfit`` gives a reason, or 0.
    """
    drawn: dict[int, None] = {}
    rejected: dict[int, int] = {}

    def hit(juror_id: int) -> None:
        if juror_id not in drawn and juror_id not in rejected:
            reason = unfit(juror_id)
            if reason:
                rejected[juror_id] = reason
            else:
                drawn[juror_id] = None

    drawer = Drawer(seed)
    tries = TRIES_PER_SEAT * panel if jurors else 0
    while drawer.index < tries and len(drawn) < panel:
        found = drawer.attempt(jurors)
        if found is not None:
            hit(found)
    if jurors and len(drawn) < panel:
        start = drawer.below(jurors)
        for offset in range(min(jurors, TRIES_PER_SEAT * panel)):
            hit((start + offset) % jurors)
            if len(drawn) == panel:
                break
    return tuple(drawn), tuple(rejected.items())


def recompute_draw(
    seed: bytes, jurors: int, panel: int, rejected: Mapping[int, int]
) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
    """The draw again from public data alone: equal to the ``drawn`` and ``rejected`` of a dispute drawn by the rules.

    ``seed``: ``draws.seed_of(running, claim)``, with ``draws.running_of(beacons)``. Nobody can be left out silently:
    whoever is hit and not in ``rejected`` is drawn.
    """
    return draw_panel(seed, jurors, panel, lambda juror_id: rejected.get(juror_id, 0))


# ---- ballots ---------------------------------------------------------------------------------------------------------


def commitment(dispute: int, juror: int, vote: int, salt: bytes) -> bytes:
    """What a juror commits: SHA-256 of the domain, dispute (8), juror (8), vote (1) and his salt (16 bytes)."""
    return sha256(_BALLOT + u64(dispute, juror) + bytes((vote,)) + salt).digest()


def commit(state: State, body: CommitBallot, sender: Sender) -> tuple[int, ...]:
    """A drawn juror hides his vote. Detail: (ballot id,)."""
    claim, dispute, juror_id = _seat(state, body.claim, body.member, Stage.COMMIT)
    claims.check_size(body.commitment, claims.HASH_BYTES)
    if state.index_id(Index.BALLOT, u64(claim.dispute, juror_id)) is not None:
        raise TransactionRejected("ALREADY_VOTED")
    ballot = state.append(Ballot(claim.dispute, juror_id, body.commitment, 0))
    state.index_put(Index.BALLOT, u64(claim.dispute, juror_id), ballot)
    return (ballot,)


def reveal(state: State, body: RevealBallot, sender: Sender) -> tuple[int, ...]:
    """He opens it: only now is it valid. Detail: (ballots that clear, that refuse)."""
    claim, dispute, juror_id = _seat(state, body.claim, body.member, Stage.REVEAL)
    claims.check_size(body.salt, claims.SALT_BYTES)
    ballot_id = state.index_id(Index.BALLOT, u64(claim.dispute, juror_id))
    if ballot_id is None:
        raise TransactionRejected("NO_BALLOT")
    ballot = state.get(Ballot, ballot_id)
    if ballot.vote:
        raise TransactionRejected("ALREADY_VOTED")
    if body.vote not in (Vote.CLEAR, Vote.REFUSE):
        raise TransactionRejected("BAD_FIELD", f"vote {body.vote}")
    if commitment(claim.dispute, juror_id, body.vote, body.salt) != ballot.commitment:
        raise TransactionRejected("BALLOT_MISMATCH")
    state.put(ballot_id, replace(ballot, vote=body.vote))
    counted = (dispute.clear + (body.vote == Vote.CLEAR), dispute.refuse + (body.vote == Vote.REFUSE))
    state.put(claim.dispute, replace(dispute, clear=counted[0], refuse=counted[1]))
    return counted


def _seat(state: State, claim_id: int, member_id: int, stage: Stage) -> tuple[Claim, Dispute, int]:
    """(claim, dispute, juror id) of a member who sits on the claim's jury, in the right window."""
    claim = state.need(Claim, claim_id, "UNKNOWN_CLAIM")
    target(claim.state, Event.COMMITS_OVER)
    dispute = state.get(Dispute, claim.dispute)
    juror_id = state.index_id(Index.JUROR, u64(member_id))
    if juror_id is None or juror_id not in dispute.drawn:
        raise TransactionRejected("NOT_ON_THE_JURY", f"member {member_id}")
    if dispute.stage != stage:
        raise TransactionRejected("WRONG_WINDOW", Stage(dispute.stage).name)
    return claim, dispute, juror_id


def ballots_over(state: State, claim_id: int, opened_ms: int) -> tuple[int, ...]:
    """The commit window is over, or the reveal window: then the ballots are counted. Detail: (clear, refuse) then."""
    claim = state.get(Claim, claim_id)
    dispute, params = state.get(Dispute, claim.dispute), claims.params_of(state, claim)
    if dispute.stage == Stage.COMMIT:
        state.put(claim.dispute, replace(dispute, stage=int(Stage.REVEAL)))
        claims.move(state, claim_id, claim, Event.COMMITS_OVER, opened_ms)
        return ()
    outcome = verdict(dispute.clear, dispute.refuse, params.jury_quorum)
    end(state, claim.dispute, outcome)
    event, reason, judge = _FOLLOWS[outcome]
    if judge is None:
        claims.move(state, claim_id, claim, event, opened_ms)
    else:
        claims.move(state, claim_id, claim, event, opened_ms, reason=reason, judge=int(judge))
    return dispute.clear, dispute.refuse


_FOLLOWS: Final[dict[Outcome, tuple[Event, int, Judge | None]]] = {
    Outcome.CLEARED: (Event.JURY_CLEARS, 0, Judge.JURY),
    Outcome.REFUSED: (Event.JURY_REFUSES, REFUSED_BY_JURY, Judge.JURY),
    Outcome.NO_QUORUM: (Event.JURY_FAILS, 0, None),
}


def verdict(clear: int, refuse: int, quorum: int) -> Outcome:
    """What so many valid ballots decide: at least ``quorum`` of them, and more than half on one side."""
    valid = clear + refuse
    if valid < quorum or 2 * max(clear, refuse) <= valid:
        return Outcome.NO_QUORUM
    return Outcome.CLEARED if clear > refuse else Outcome.REFUSED
