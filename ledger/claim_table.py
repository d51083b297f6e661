"""The life of a claim as data: what is not in this table is refused (LEDGER §5).

A transition is named by (state, event). ``by`` says who causes it; the guards stand beside what the step does: in
``claims``, ``documents``, ``disputes``, ``jury``, ``experts``, ``holds``, ``remedies``, ``payouts`` and ``plan_cycle``.
``DEADLINES`` says which states end by themselves. ``docs/claims.md`` is drawn from these tables.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from .deadlines import DeadlineKind
from .errors import TransactionRejected


class ClaimState(IntEnum):
    """Where a claim stands. Numbers are in rows: append only."""

    FILED = 1
    INVESTIGATING = 2
    ASSESSED = 3
    CLEARED = 4
    REFUSED = 5
    NOTICED = 6
    APPROVED = 7
    SETTLED = 8
    PAYING = 9
    PAID = 10
    REFUSED_FINAL = 11
    WITHDRAWN = 12
    DOCS_PENDING = 13
    EXPIRED = 14
    DISPUTED = 15
    JURY = 16
    EXPERT = 17
    STOPPED = 18
    FRAUD_HOLD = 19
    CLAWBACK = 20
    RECOVERED = 21
    WRITTEN_OFF = 22
    UNCLAIMED = 23


class Event(IntEnum):
    """What moves a claim. Numbers stand in ``Claim.consents``: append only."""

    FILE = 1
    DIAGNOSE = 2
    INVESTIGATE = 3
    REDRAW = 4
    ASSESS = 5
    CLEAR = 6
    REFUSE = 7
    REVIEW_OVERDUE = 8
    NOTICE = 9
    APPROVE = 10
    SETTLE = 11
    PAY = 12
    BOUNCE = 13
    CONFIRM = 14
    APPEAL_OVER = 15
    ASK_DOCUMENTS = 16
    GIVE_DOCUMENTS = 17
    DOCUMENTS_OVERDUE = 18
    WITHDRAW = 19
    APPEAL = 20
    NO_FIRM = 21
    EXPERTS_CLEAR = 22
    EXPERTS_REFUSE = 23
    HOLD = 24
    RELEASE = 25
    REJECT = 26
    STOP = 27
    RESUME = 28
    TWO_YEARS = 29
    CLAW_BACK = 30
    RECOVER_PART = 31
    RECOVER = 32
    WRITE_OFF = 33
    COURT_ORDER = 34
    OBJECT = 35
    CALL_JURY = 36
    COMMITS_OVER = 37
    JURY_CLEARS = 38
    JURY_REFUSES = 39
    JURY_FAILS = 40


@dataclass(frozen=True, slots=True)
class Transition:
    """One row of the table."""

    source: ClaimState
    event: Event
    target: ClaimState
    by: str


_S, _E = ClaimState, Event
_BOTH: Final = "assessor and regulator"

_MAIN: Final = (
    Transition(_S.FILED, _E.DIAGNOSE, _S.FILED, "hospital"),
    Transition(_S.FILED, _E.INVESTIGATE, _S.INVESTIGATING, "deadline"),
    Transition(_S.INVESTIGATING, _E.DIAGNOSE, _S.INVESTIGATING, "hospital"),
    Transition(_S.INVESTIGATING, _E.REDRAW, _S.INVESTIGATING, "deadline"),
    Transition(_S.INVESTIGATING, _E.ASSESS, _S.ASSESSED, "drawn assessor"),
    Transition(_S.ASSESSED, _E.CLEAR, _S.CLEARED, "second assessor"),
    Transition(_S.ASSESSED, _E.REFUSE, _S.REFUSED, "second assessor"),
    Transition(_S.ASSESSED, _E.REVIEW_OVERDUE, _S.ASSESSED, "deadline"),
    Transition(_S.CLEARED, _E.NOTICE, _S.NOTICED, "plan's notice"),
    Transition(_S.REFUSED, _E.APPEAL_OVER, _S.REFUSED_FINAL, "deadline"),
    Transition(_S.NOTICED, _E.APPROVE, _S.APPROVED, "deadline"),
    Transition(_S.APPROVED, _E.SETTLE, _S.SETTLED, "plan's settlement"),
    Transition(_S.SETTLED, _E.PAY, _S.PAYING, "bank"),
    Transition(_S.PAYING, _E.PAY, _S.PAYING, "bank"),
    Transition(_S.PAYING, _E.BOUNCE, _S.PAYING, "bank"),
    Transition(_S.PAYING, _E.CONFIRM, _S.PAID, "bank"),
)
_DOCUMENTS: Final = (
    Transition(_S.FILED, _E.ASK_DOCUMENTS, _S.DOCS_PENDING, "assessor"),
    Transition(_S.DOCS_PENDING, _E.GIVE_DOCUMENTS, _S.FILED, "claimant"),
    Transition(_S.DOCS_PENDING, _E.DOCUMENTS_OVERDUE, _S.EXPIRED, "deadline"),
)
WITHDRAWABLE: Final = (
    _S.FILED,
    _S.DOCS_PENDING,
    _S.INVESTIGATING,
    _S.ASSESSED,
    _S.CLEARED,
    _S.REFUSED,
    _S.NOTICED,
    _S.DISPUTED,
)
_WITHDRAWALS: Final = tuple(Transition(state, _E.WITHDRAW, _S.WITHDRAWN, "claimant") for state in WITHDRAWABLE)
_DISPUTES: Final = (
    Transition(_S.REFUSED, _E.APPEAL, _S.DISPUTED, "claimant"),
    Transition(_S.NOTICED, _E.OBJECT, _S.DISPUTED, "objectors"),
    Transition(_S.DISPUTED, _E.CALL_JURY, _S.JURY, "deadline"),
    Transition(_S.JURY, _E.COMMITS_OVER, _S.JURY, "deadline"),
    Transition(_S.JURY, _E.JURY_CLEARS, _S.CLEARED, "deadline"),
    Transition(_S.JURY, _E.JURY_REFUSES, _S.REFUSED_FINAL, "deadline"),
    Transition(_S.JURY, _E.JURY_FAILS, _S.EXPERT, "deadline"),
)
_EXPERTS: Final = (
    Transition(_S.FILED, _E.NO_FIRM, _S.EXPERT, "deadline"),
    Transition(_S.INVESTIGATING, _E.NO_FIRM, _S.EXPERT, "deadline"),
    Transition(_S.ASSESSED, _E.NO_FIRM, _S.EXPERT, "deadline"),
    Transition(_S.EXPERT, _E.EXPERTS_CLEAR, _S.CLEARED, "experts and regulator, or deadline"),
    Transition(_S.EXPERT, _E.EXPERTS_REFUSE, _S.REFUSED_FINAL, "experts and regulator, or deadline"),
)
HOLDABLE: Final = (*WITHDRAWABLE, _S.JURY, _S.EXPERT)
"""All states before APPROVED."""
_HOLDS: Final = (
    *(Transition(state, _E.HOLD, _S.FRAUD_HOLD, _BOTH) for state in HOLDABLE),
    *(Transition(_S.FRAUD_HOLD, _E.RELEASE, state, _BOTH) for state in HOLDABLE),
    Transition(_S.FRAUD_HOLD, _E.REJECT, _S.REFUSED_FINAL, _BOTH),
    Transition(_S.SETTLED, _E.STOP, _S.STOPPED, _BOTH),
    Transition(_S.PAYING, _E.STOP, _S.STOPPED, _BOTH),
    Transition(_S.STOPPED, _E.RESUME, _S.PAYING, _BOTH),
    Transition(_S.STOPPED, _E.REJECT, _S.REFUSED_FINAL, _BOTH),
)
_AFTERWARDS: Final = (
    Transition(_S.SETTLED, _E.TWO_YEARS, _S.UNCLAIMED, "deadline"),
    Transition(_S.PAYING, _E.TWO_YEARS, _S.UNCLAIMED, "deadline"),
    Transition(_S.PAID, _E.CLAW_BACK, _S.CLAWBACK, "governance or court"),
    Transition(_S.CLAWBACK, _E.RECOVER_PART, _S.CLAWBACK, "bank"),
    Transition(_S.CLAWBACK, _E.RECOVER, _S.RECOVERED, "bank"),
    Transition(_S.CLAWBACK, _E.WRITE_OFF, _S.WRITTEN_OFF, "governance or court"),
    Transition(_S.REFUSED_FINAL, _E.COURT_ORDER, _S.CLEARED, "court"),
    Transition(_S.EXPIRED, _E.COURT_ORDER, _S.CLEARED, "court"),
)
TABLE: Final[tuple[Transition, ...]] = (
    *_MAIN,
    *_DOCUMENTS,
    *_WITHDRAWALS,
    *_DISPUTES,
    *_EXPERTS,
    *_HOLDS,
    *_AFTERWARDS,
)
"""Everything that can happen to a claim. RELEASE alone has several targets: the one it was held from is taken."""


def _targets() -> dict[tuple[ClaimState, Event], tuple[ClaimState, ...]]:
    found: dict[tuple[ClaimState, Event], tuple[ClaimState, ...]] = {}
    for row in TABLE:
        found[row.source, row.event] = (*found.get((row.source, row.event), ()), row.target)
    return found


_TARGETS: Final = _targets()

ENTRY: Final = ClaimState.FILED
"""The state of a claim just filed."""

DEADLINES: Final[dict[ClaimState, DeadlineKind]] = {
    ClaimState.FILED: DeadlineKind.INVESTIGATE,
    ClaimState.INVESTIGATING: DeadlineKind.INVESTIGATION_OVERDUE,
    ClaimState.ASSESSED: DeadlineKind.REVIEW_OVERDUE,
    ClaimState.REFUSED: DeadlineKind.APPEAL_OVER,
    ClaimState.NOTICED: DeadlineKind.APPROVE,
    ClaimState.DOCS_PENDING: DeadlineKind.DOCUMENTS_OVERDUE,
    ClaimState.DISPUTED: DeadlineKind.CALL_JURY,
    ClaimState.JURY: DeadlineKind.BALLOTS,
    ClaimState.EXPERT: DeadlineKind.EXPERTS_OVERDUE,
    ClaimState.SETTLED: DeadlineKind.UNCLAIMED,
    ClaimState.PAYING: DeadlineKind.UNCLAIMED,
}
"""Which deadline a claim in this state waits for; ``Claim.due_ms`` says when (0: none, a jury is being drawn)."""

WITHOUT_CLAIM: Final = frozenset({ClaimState.REFUSED_FINAL, ClaimState.EXPIRED, ClaimState.WITHDRAWN})
"""A member whose newest claim ended so may file again."""

HELPED: Final = frozenset({_S.PAID, _S.CLAWBACK, _S.RECOVERED, _S.WRITTEN_OFF, _S.UNCLAIMED})
"""The plan helped this member; nobody is helped twice."""

LEAVES_BATCH: Final = frozenset({ClaimState.CLEARED, ClaimState.DISPUTED, ClaimState.WITHDRAWN})
"""Whoever enters one of these is in no noticed batch (any more)."""


class Judge(IntEnum):
    """Who had the last word on a claim. Numbers are in rows: append only."""

    FIRM = 0
    JURY = 1
    EXPERTS = 2
    COURT = 3


REASONS: Final[dict[int, str]] = {
    0: "cleared",
    1: "the illness is not in the catalogue of the plan",
    2: "the diagnosis does not meet the catalogue's definition",
    3: "the illness began before joining or while waiting",
    4: "the health declaration was untrue",
    5: "the documents are incomplete or contradict each other",
    6: "the person is not the member",
    7: "an exclusion of the plan applies",
    8: "ill while waiting: the membership is void, its charges are refunded",
    9: "diagnosed in a gap of the cover: reinstatement does not spare the waiting",
    10: "nobody who may judge it gave an opinion in time",
    11: "a jury refused it",
    12: "fraud",
}
"""Coded reasons of a review; 0 clears."""


def target(state: int, event: Event, chosen: int | None = None) -> ClaimState:
    """The state after ``event``; ``chosen`` among several. Raises NO_SUCH_TRANSITION."""
    found = _TARGETS.get((ClaimState(state), event), ())
    if chosen is None:
        if found:
            return found[0]
    elif chosen in found:
        return ClaimState(chosen)
    raise TransactionRejected("NO_SUCH_TRANSITION", f"{ClaimState(state).name} has no {event.name}")
