"""Opening a proposal: its row and the deadline that ends its votes (LEDGER §2).

Organisations open them (``governance``), and so does the ledger itself when a plan falls below its minimum membership
(``plan_cycle``): then nobody has proposed it, and nobody is in favour yet. What becomes of them is ``governance``'s.
"""

from enum import IntEnum
from typing import Final

from .actions import Action, RunOffPlan
from .calendar import MS_PER_DAY
from .deadlines import DeadlineKind, schedule
from .rows import NONE, Proposal
from .state import State, StateReader

VOTE_DAYS: Final = 30


class ProposalState(IntEnum):
    """Where a proposal stands. Numbers are in rows: append only."""

    OPEN = 0
    PASSED = 1
    ENACTED = 2
    OBJECTED = 3
    EXPIRED = 4
    FAILED = 5


UNDECIDED: Final = (ProposalState.OPEN, ProposalState.PASSED)


def open_proposal(state: State, action: Action, proposer: int, opened_ms: int) -> tuple[int, Proposal]:
    """(id, row) of a proposal that is open for ``VOTE_DAYS`` from ``opened_ms``; nobody has voted yet."""
    row = Proposal(
        action=action,
        proposer=proposer,
        state=int(ProposalState.OPEN),
        opened_ms=opened_ms,
        due_ms=opened_ms + VOTE_DAYS * MS_PER_DAY,
        in_favour=(),
        enacted_height=0,
        code="",
    )
    proposal_id = state.append(row)
    schedule(state, DeadlineKind.PROPOSAL, row.due_ms, proposal_id)
    return proposal_id, row


def open_run_off_vote(state: State, plan_id: int, opened_ms: int) -> int | None:
    """The vote on running a plan off, opened by the rules; ``None`` when one is undecided. Returns its id."""
    action = RunOffPlan(plan_id)
    if any(_undecided(row) and row.action == action for _, row in state.rows(Proposal)):
        return None
    return open_proposal(state, action, NONE, opened_ms)[0]


def undecided(state: StateReader) -> list[int]:
    """Ids of the proposals that may still be voted on, ascending."""
    return [row_id for row_id, row in state.rows(Proposal) if _undecided(row)]


def _undecided(row: Proposal) -> bool:
    return row.state in UNDECIDED
