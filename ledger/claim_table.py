"""The life of a claim as data: what is not in this table is refused (LEDGER §5).

A transition is named by (state, event). ``by`` says who causes it; the guards are in ``claims``, ``payouts`` and
``plan_cycle``, beside what the step does. ``DEADLINES`` says which states end by themselves. Rows that later issues
add (documents, disputes, holds) extend the tables and nothing else.
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
    """What moves a claim."""

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


@dataclass(frozen=True, slots=True)
class Transition:
    """One row of the table."""

    source: ClaimState
    event: Event
    target: ClaimState
    by: str


_S, _E = ClaimState, Event
TABLE: Final[tuple[Transition, ...]] = (
    Transition(_S.FILED, _E.DIAGNOSE, _S.FILED, "hospital"),
    Transition(_S.FILED, _E.INVESTIGATE, _S.INVESTIGATING, "deadline"),
    Transition(_S.INVESTIGATING, _E.DIAGNOSE, _S.INVESTIGATING, "hospital"),
    Transition(_S.INVESTIGATING, _E.REDRAW, _S.INVESTIGATING, "deadline"),
    Transition(_S.INVESTIGATING, _E.ASSESS, _S.ASSESSED, "drawn assessor"),
    Transition(_S.ASSESSED, _E.CLEAR, _S.CLEARED, "second assessor"),
    Transition(_S.ASSESSED, _E.REFUSE, _S.REFUSED, "second assessor"),
    Transition(_S.ASSESSED, _E.REVIEW_OVERDUE, _S.ASSESSED, "deadline"),
    Transition(_S.CLEARED, _E.NOTICE, _S.NOTICED, "deadline"),
    Transition(_S.REFUSED, _E.APPEAL_OVER, _S.REFUSED_FINAL, "deadline"),
    Transition(_S.NOTICED, _E.APPROVE, _S.APPROVED, "deadline"),
    Transition(_S.APPROVED, _E.SETTLE, _S.SETTLED, "deadline"),
    Transition(_S.SETTLED, _E.PAY, _S.PAYING, "bank"),
    Transition(_S.PAYING, _E.PAY, _S.PAYING, "bank"),
    Transition(_S.PAYING, _E.BOUNCE, _S.PAYING, "bank"),
    Transition(_S.PAYING, _E.CONFIRM, _S.PAID, "bank"),
)

_TARGETS: Final = {(row.source, row.event): row.target for row in TABLE}

ENTRY: Final = ClaimState.FILED
"""The state of a claim just filed."""

DEADLINES: Final[dict[ClaimState, DeadlineKind]] = {
    ClaimState.FILED: DeadlineKind.INVESTIGATE,
    ClaimState.INVESTIGATING: DeadlineKind.INVESTIGATION_OVERDUE,
    ClaimState.ASSESSED: DeadlineKind.REVIEW_OVERDUE,
    ClaimState.REFUSED: DeadlineKind.APPEAL_OVER,
    ClaimState.NOTICED: DeadlineKind.APPROVE,
}
"""Which deadline a claim in this state waits for; ``Claim.due_ms`` says when."""

WITHOUT_CLAIM: Final = frozenset({ClaimState.REFUSED_FINAL, ClaimState.EXPIRED, ClaimState.WITHDRAWN})
"""A member whose newest claim ended so may file again."""

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
}
"""Coded reasons of a review; 0 clears."""


def target(state: int, event: Event) -> ClaimState:
    """The state after ``event``. Raises NO_SUCH_TRANSITION."""
    found = _TARGETS.get((ClaimState(state), event))
    if found is None:
        raise TransactionRejected("NO_SUCH_TRANSITION", f"{ClaimState(state).name} has no {event.name}")
    return found
