"""Steps that an assessor and the regulator take together: fraud hold, stop, and what follows (LEDGER §5).

Rules of this file
- Each step needs the word of one active assessor and of one active regulator, two organisations. The first word is kept
  in the claim's row and counts while the claim stays in its state; the second takes the step.
- A fraud hold stops the clock: a released claim has as much time left as when it was held. Held in a noticed batch, it
  comes back to it only if its window ends before the batch is settled; else it is CLEARED and waits for the next
  notice. A draw that was under way is opened again.
- A stop waits while a payment order is out: the bank's word comes first.
- STOPPED -> REFUSED_FINAL gives back what the settlement did: the aid and its fee (as far as it is unpaid) go to CARRY,
  and the member's span is reopened.
"""

from typing import Any, Final

from msgspec.structs import replace

from . import disputes, draws, journal
from .bills import settlement_of
from .claim_table import ClaimState, Event, target
from .claims import check_reason, move, write
from .errors import TransactionRejected
from .organisations import with_role
from .plans import BPS, STAGE_SETTLE
from .reopening import reopen
from .roles import Role
from .rows import NONE, Account, Claim, Dispute, Plan, PlanVersion
from .sender import Sender
from .state import State
from .transactions import FreeClaim, HoldClaim, RejectClaim

_NOT_HELD: Final[dict[str, Any]] = {"held_from": NONE, "held_opened_ms": 0, "held_due_ms": 0}
_PAYABLE: Final = (ClaimState.SETTLED, ClaimState.PAYING)


def hold(state: State, body: HoldClaim, sender: Sender) -> tuple[int, ...]:
    """-> FRAUD_HOLD, or SETTLED, PAYING -> STOPPED. Detail: (claim id, 1 if the step is taken)."""
    claim = state.need(Claim, body.claim, "UNKNOWN_CLAIM")
    event = Event.STOP if claim.state in _PAYABLE else Event.HOLD
    target(claim.state, event)
    if event == Event.STOP and claim.state == ClaimState.PAYING and claim.reference:
        raise TransactionRejected("ORDER_OUT", claim.reference.hex())
    if not _agreed(state, body.claim, claim, event, 0, sender):
        return body.claim, 0
    now = state.block.ledger_time_ms
    changes: dict[str, Any] = {}
    if event == Event.HOLD:
        changes = {"held_from": claim.state, "held_opened_ms": claim.opened_ms, "held_due_ms": claim.due_ms}
    move(state, body.claim, claim, event, now, **changes)
    return body.claim, 1


def free(state: State, body: FreeClaim, sender: Sender) -> tuple[int, ...]:
    """FRAUD_HOLD -> where it was held, STOPPED -> PAYING. Detail: (claim id, 1 if the step is taken)."""
    claim = state.need(Claim, body.claim, "UNKNOWN_CLAIM")
    event = Event.RELEASE if claim.state == ClaimState.FRAUD_HOLD else Event.RESUME
    target(claim.state, event)
    if not _agreed(state, body.claim, claim, event, 0, sender):
        return body.claim, 0
    if event == Event.RESUME:
        move(state, body.claim, claim, event, state.block.ledger_time_ms)
    else:
        _release(state, body.claim, claim)
    return body.claim, 1


def reject(state: State, body: RejectClaim, sender: Sender) -> tuple[int, ...]:
    """FRAUD_HOLD, STOPPED -> REFUSED_FINAL, both for the same coded reason. Detail: (claim id, 1 if it is taken)."""
    claim = state.need(Claim, body.claim, "UNKNOWN_CLAIM")
    target(claim.state, Event.REJECT)
    check_reason(body.reason)
    if body.reason == 0:
        raise TransactionRejected("UNKNOWN_REASON", "0 clears")
    if not _agreed(state, body.claim, claim, Event.REJECT, body.reason, sender):
        return body.claim, 0
    now = state.block.ledger_time_ms
    if claim.state == ClaimState.STOPPED:
        _give_back(state, claim)
        move(state, body.claim, claim, Event.REJECT, now, reason=body.reason, helped_from=NONE, helped_to_day=0)
    else:
        disputes.abandon(state, claim)
        move(state, body.claim, claim, Event.REJECT, now, reason=body.reason, period=NONE, **_NOT_HELD)
    return body.claim, 1


def _agreed(state: State, claim_id: int, claim: Claim, event: Event, reason: int, sender: Sender) -> bool:
    """Whether with this word an assessor and a regulator agree on the step; else the word is kept."""
    word = (int(event), sender.organisation, reason)
    if word in claim.consents:
        raise TransactionRejected("ALREADY_CONSENTED")
    said = {organisation for of, organisation, why in claim.consents if (of, why) == (int(event), reason)}
    said.add(sender.organisation)
    firms, watching = said & set(with_role(state, Role.ASSESSOR)), said & set(with_role(state, Role.REGULATOR))
    if firms and watching and len(firms | watching) > 1:
        return True
    write(state, claim_id, claim, replace(claim, consents=(*claim.consents, word)))
    return False


def _release(state: State, claim_id: int, claim: Claim) -> None:
    """Back to where it was held, with the time that was left then."""
    now = state.block.ledger_time_ms
    stopped_ms = now - claim.opened_ms
    opened_ms = claim.held_opened_ms + stopped_ms
    due_ms = claim.held_due_ms + stopped_ms if claim.held_due_ms else 0
    chosen = ClaimState(claim.held_from)
    changes: dict[str, Any] = {**_NOT_HELD, "due_ms": due_ms}
    if chosen == ClaimState.NOTICED and not _batch_is_open(state.get(Plan, claim.plan), claim, due_ms):
        chosen, opened_ms, changes["due_ms"] = ClaimState.CLEARED, now, 0
        disputes.abandon(state, claim)
    changes |= _draws_again(state, claim, chosen)
    move(state, claim_id, claim, Event.RELEASE, opened_ms, chosen=chosen, **changes)


def _batch_is_open(plan: Plan, claim: Claim, due_ms: int) -> bool:
    """Whether a noticed claim whose window ends at ``due_ms`` is still settled with its own period."""
    return plan.period == claim.period and plan.stage == STAGE_SETTLE and due_ms < plan.due_ms


def _draws_again(state: State, claim: Claim, chosen: ClaimState) -> dict[str, int]:
    """A draw that closed while the claim was held named nobody: it is opened again."""
    if chosen == ClaimState.INVESTIGATING and claim.investigator == NONE:
        return {"draw": draws.request(state)}
    if chosen == ClaimState.ASSESSED and claim.review_draw != NONE and claim.reviewer == NONE:
        return {"review_draw": draws.request(state)}
    if chosen == ClaimState.JURY and claim.held_due_ms == 0:
        draw = draws.request(state)
        state.put(claim.dispute, replace(state.get(Dispute, claim.dispute), draw=draw))
        return {"draw": draw}
    return {}


def _give_back(state: State, claim: Claim) -> None:
    """Undo what the settlement did for a claim: its aid, its fee as far as it is unpaid, and the member's span."""
    journal.post(state, claim.plan, "claims", "carry", claim.amount_fen)
    settlement = settlement_of(state, claim.plan, claim.period)
    if settlement is not None:
        fee_bps = state.get(PlanVersion, settlement.version).params.fee_bps
        fee = min(claim.amount_fen * fee_bps // BPS, state.get(Account, claim.plan).fee)
        journal.post(state, claim.plan, "fee", "carry", fee)
    reopen(state, claim)
