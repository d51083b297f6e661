"""What the claimant does after filing: documents that a firm asks for, and withdrawal (LEDGER §5).

Rules of this file
- Documents are asked for at most ``docs_times_max`` times, and waited for at most ``docs_days_max`` days in all (each
  begun day counts); then the claim is EXPIRED. Given, the claim is FILED again, and its window begins anew.
- A claimant withdraws until a jury is drawn. A noticed claim leaves its batch: the count stays frozen, the aid falls.
"""

from . import disputes
from .calendar import MS_PER_DAY
from .claim_table import Event, target
from .claims import HASH_BYTES, SALT_BYTES, check_claimant, check_size, independent_firms, move, params_of
from .errors import TransactionRejected
from .rows import Claim, Evidence
from .sender import Sender
from .state import State
from .transactions import AskDocuments, GiveDocuments, Withdraw


def ask(state: State, body: AskDocuments, sender: Sender) -> tuple[int, ...]:
    """FILED -> DOCS_PENDING by an independent firm. Detail: (when the time is over, ms)."""
    claim = state.need(Claim, body.claim, "UNKNOWN_CLAIM")
    target(claim.state, Event.ASK_DOCUMENTS)
    if sender.organisation not in independent_firms(state, claim):
        raise TransactionRejected("NOT_INDEPENDENT")
    params = params_of(state, claim)
    left_days = params.docs_days_max - claim.documents_days
    if claim.documents_asked >= params.docs_times_max or left_days <= 0:
        raise TransactionRejected("DOCUMENTS_EXHAUSTED", f"{claim.documents_asked} times, {left_days} days left")
    now = state.block.ledger_time_ms
    due_ms = now + left_days * MS_PER_DAY
    asked = claim.documents_asked + 1
    move(state, body.claim, claim, Event.ASK_DOCUMENTS, now, due_ms=due_ms, documents_asked=asked)
    return (due_ms,)


def give(state: State, body: GiveDocuments, sender: Sender) -> tuple[int, ...]:
    """DOCS_PENDING -> FILED. Detail: (row of ``evidence``,)."""
    claim = state.need(Claim, body.claim, "UNKNOWN_CLAIM")
    target(claim.state, Event.GIVE_DOCUMENTS)
    check_claimant(claim, body.member)
    check_size(body.commitment, HASH_BYTES)
    check_size(body.salt, SALT_BYTES)
    now = state.block.ledger_time_ms
    evidence = state.append(Evidence(body.claim, now, body.commitment, body.salt))
    used = -(-(now - claim.opened_ms) // MS_PER_DAY)
    move(state, body.claim, claim, Event.GIVE_DOCUMENTS, now, documents_days=claim.documents_days + used)
    return (evidence,)


def overdue(state: State, claim_id: int, opened_ms: int) -> tuple[int, ...]:
    """DOCS_PENDING -> EXPIRED: the documents did not come."""
    move(state, claim_id, state.get(Claim, claim_id), Event.DOCUMENTS_OVERDUE, opened_ms)
    return ()


def withdraw(state: State, body: Withdraw, sender: Sender) -> tuple[int, ...]:
    """-> WITHDRAWN by the claimant. Detail: (claim id,)."""
    claim = state.need(Claim, body.claim, "UNKNOWN_CLAIM")
    target(claim.state, Event.WITHDRAW)
    check_claimant(claim, body.member)
    disputes.abandon(state, claim)
    move(state, body.claim, claim, Event.WITHDRAW, state.block.ledger_time_ms)
    return (body.claim,)
