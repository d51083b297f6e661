"""Governance: organisations decide together, the regulator may object, then it happens by itself (LEDGER §2).

Rules of this file
- Every active organisation that is PLATFORM, BANK or ASSESSOR has one vote. A proposal passes with 2/3 of them, counted
  anew at every vote and once more when it is enacted; open for ``proposals.VOTE_DAYS``.
- From then on the regulator has ``OBJECTION_DAYS`` to object; while it is open to votes as well. An objection ends it.
- Then a deadline enacts it. What can no longer be done by then fails, with the code why; nothing of it is done.
- Of actions that change validators one is enacted in a block (CONSENSUS §5); the next waits for a later block.
- ``freeze`` is the regulator's alone, at once: a frozen plan's deadlines stand still and nobody joins it or is paid by
  it; who wants to leave leaves, who wants to pay pays. Unfrozen, a late period keeps its number and its windows.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

from msgspec.structs import replace

from . import enactment, plans
from . import transactions as tx
from .actions import VALIDATOR_ACTIONS, Action
from .calendar import MS_PER_DAY
from .deadlines import DeadlineKind, cancel, deadline_key, schedule
from .errors import OK, TransactionRejected
from .organisations import OrganisationState
from .plan_cycle import STAGE_KINDS
from .proposals import UNDECIDED, ProposalState, open_proposal, undecided
from .protocol import rules_of
from .roles import Role
from .rows import Claim, Organisation, Plan, Proposal
from .state import Index, State, StateReader

OBJECTION_DAYS: Final = 7
VOTERS: Final = Role.PLATFORM | Role.BANK | Role.ASSESSOR
_RETRY_MS: Final = 1


# ---- proposals ------------------------------------------------------------------------------------------------------


def propose(state: State, body: tx.Propose, organisation: int) -> tuple[int, ...]:
    """A proposal with its proposer's vote; detail: (proposal, state).

    Raises ``TransactionRejected``: whatever would refuse it if it were enacted now.
    """
    if not rules_of(state.block.version).same_proposal_twice:
        _check_new(state, body.action)
    with state.rehearsal():
        enactment.enact(state, body.action)
    proposal_id, row = open_proposal(state, body.action, organisation, state.block.ledger_time_ms)
    return proposal_id, _count(state, proposal_id, row, organisation).state


def _check_new(state: StateReader, action: Action) -> None:
    """Of the same action at most one proposal is undecided. Raises PROPOSAL_OPEN."""
    same = next((at for at in undecided(state) if state.get(Proposal, at).action == action), None)
    if same is not None:
        raise TransactionRejected("PROPOSAL_OPEN", f"proposal {same} is the same: vote for it")


def vote(state: State, body: tx.VoteFor, organisation: int) -> tuple[int, ...]:
    """One more in favour; detail: (proposal, state). Raises UNKNOWN_PROPOSAL, PROPOSAL_DECIDED, ALREADY_CONSENTED."""
    row = state.need(Proposal, body.proposal, "UNKNOWN_PROPOSAL")
    if row.state not in UNDECIDED:
        raise TransactionRejected("PROPOSAL_DECIDED", ProposalState(row.state).name)
    if organisation in row.in_favour:
        raise TransactionRejected("ALREADY_CONSENTED", f"organisation {organisation}")
    return body.proposal, _count(state, body.proposal, row, organisation).state


def veto(state: State, body: tx.Veto) -> tuple[int, ...]:
    """The regulator objects; detail: (proposal,). Raises UNKNOWN_PROPOSAL, PROPOSAL_DECIDED."""
    row = state.need(Proposal, body.proposal, "UNKNOWN_PROPOSAL")
    if row.state not in UNDECIDED:
        raise TransactionRejected("PROPOSAL_DECIDED", ProposalState(row.state).name)
    _write(state, body.proposal, row, replace(row, state=int(ProposalState.OBJECTED), due_ms=0))
    return (body.proposal,)


def due(state: State, proposal_id: int, opened_ms: int) -> tuple[int, ...]:
    """The deadline of a proposal: votes are over, or it is enacted. Returns (state,)."""
    row = state.get(Proposal, proposal_id)
    if row.state == ProposalState.OPEN:
        after = replace(row, state=int(ProposalState.EXPIRED), due_ms=0)
    elif isinstance(row.action, VALIDATOR_ACTIONS) and _changed_validators(state):
        after = replace(row, due_ms=state.block.ledger_time_ms + _RETRY_MS)
        schedule(state, DeadlineKind.PROPOSAL, after.due_ms, proposal_id)
    else:
        code = _enact(state, row)
        done = ProposalState.ENACTED if code == OK else ProposalState.FAILED
        after = replace(row, state=int(done), due_ms=0, enacted_height=state.block.height, code=code)
    state.put(proposal_id, after)
    return (after.state,)


def entries(row_id: int, row: Proposal) -> Iterator[tuple[Index, bytes, bytes]]:
    """The index entries of a proposal's row."""
    if row.due_ms:
        yield Index.DEADLINE, deadline_key(row.due_ms, DeadlineKind.PROPOSAL, row_id), b""


def electorate(state: StateReader) -> set[int]:
    """Organisations with a vote."""
    return {
        organisation_id
        for organisation_id, row in state.rows(Organisation)
        if row.state == OrganisationState.ACTIVE and row.roles & VOTERS
    }


def passes(state: StateReader, row: Proposal) -> bool:
    """Whether 2/3 of those who have a vote now are in favour."""
    able = electorate(state)
    return 3 * len(able.intersection(row.in_favour)) >= 2 * len(able)


def _count(state: State, proposal_id: int, row: Proposal, organisation: int) -> Proposal:
    after = replace(row, in_favour=tuple(sorted((*row.in_favour, organisation))))
    if row.state == ProposalState.OPEN and passes(state, after):
        due_ms = state.block.ledger_time_ms + OBJECTION_DAYS * MS_PER_DAY
        after = replace(after, state=int(ProposalState.PASSED), due_ms=due_ms)
    _write(state, proposal_id, row, after)
    return after


def _write(state: State, proposal_id: int, before: Proposal, after: Proposal) -> None:
    if before.due_ms != after.due_ms:
        cancel(state, DeadlineKind.PROPOSAL, before.due_ms, proposal_id)
        if after.due_ms:
            schedule(state, DeadlineKind.PROPOSAL, after.due_ms, proposal_id)
    state.put(proposal_id, after)


def _enact(state: State, row: Proposal) -> str:
    """Do it, or nothing of it; the code of the refusal, or OK."""
    if not passes(state, row):
        return "NO_MAJORITY"
    try:
        with state.attempt():
            enactment.enact(state, row.action)
    except TransactionRejected as rejected:
        return rejected.code
    return OK


def _changed_validators(state: StateReader) -> bool:
    """Whether a seat was changed in this very block."""
    height = state.block.height if isinstance(state, State) else 0
    return any(
        row.state == ProposalState.ENACTED
        and row.enacted_height == height
        and isinstance(row.action, VALIDATOR_ACTIONS)
        for _, row in state.rows(Proposal)
    )


# ---- the regulator's freeze -----------------------------------------------------------------------------------------


def freeze(state: State, body: tx.FreezePlan) -> tuple[int, ...]:
    """Freeze or unfreeze a plan; detail: (plan,). Raises UNKNOWN_PLAN, PLAN_CLOSED, PLAN_FROZEN (it is so already)."""
    plan = plans.need_plan(state, body.plan)
    if plan.closed:
        raise TransactionRejected("PLAN_CLOSED", "run off")
    if plan.frozen == body.frozen:
        raise TransactionRejected("PLAN_FROZEN", f"plan {body.plan}: {plan.frozen}")
    (cancel if body.frozen else schedule)(state, STAGE_KINDS[plan.stage], plan.due_ms, body.plan)
    state.put(body.plan, replace(plan, frozen=body.frozen))
    return (body.plan,)


def _of_plan(state: StateReader, body: Any) -> int:
    return int(body.plan)


def _of_claim(state: StateReader, body: tx.Pay) -> int:
    return state.need(Claim, body.claim, "UNKNOWN_CLAIM").plan


def _of_repayment(state: StateReader, body: tx.Advance) -> int | None:
    return body.plan if body.repay else None


_HELD: Final[dict[type[Any], Callable[[StateReader, Any], int | None]]] = {
    # What nobody does in a frozen plan, and how to tell the plan.
    tx.Enrol: _of_plan,
    tx.EnrolBatch: _of_plan,
    tx.SponsorPeriod: _of_plan,
    tx.PayFee: _of_plan,
    tx.PayRefund: _of_plan,
    tx.RefundSurplus: _of_plan,
    tx.Pay: _of_claim,
    tx.Advance: _of_repayment,
}


def check_frozen(state: StateReader, body: Any) -> None:
    """Refuse what a frozen plan does not allow. Raises ``TransactionRejected("PLAN_FROZEN")``."""
    plan_of = _HELD.get(type(body))
    if plan_of is None:
        return
    plan_id = plan_of(state, body)
    plan = None if plan_id is None else state.find(Plan, plan_id)
    if plan is not None and plan.frozen:
        raise TransactionRejected("PLAN_FROZEN", f"plan {plan_id}")
