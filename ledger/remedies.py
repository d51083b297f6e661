"""After the last word: unclaimed aid, clawback, court orders (LEDGER §5, §9).

Rules of this file
- Aid that nobody took goes back to CARRY two years after the settlement, or after the newest payment order or its stop.
- Paid aid is clawed back by a judgment, or by governance (``begin``, ``give_up``). What the bank recovers goes to
  CARRY, never more than the aid. What will not come is written off: it left the accounts when it was paid.
- In a plan that has run off nobody shares CARRY any more: what is recovered then is refunded, like the rest of CARRY at
  its end. A court can order no aid there, for nobody is left to share it.
- A court sends a claim that was refused or expired to the next notice. It is not disputable there.
- The hash of the newest judgment or decision stays in the claim's row.
"""

from . import journal
from .claim_table import Event, Judge, target
from .claims import HASH_BYTES, check_no_other, check_size, move, stay
from .errors import TransactionRejected
from .references import PaymentKind, use
from .rows import Claim, Plan
from .sender import Sender
from .state import State
from .transactions import ClawBack, CourtOrder, RecoverAid, WriteOffAid


def unclaimed(state: State, claim_id: int, opened_ms: int) -> tuple[int, ...]:
    """SETTLED, PAYING -> UNCLAIMED: two years passed. Detail: (fen that went to CARRY,)."""
    claim = state.get(Claim, claim_id)
    journal.post(state, claim.plan, "claims", "carry", claim.amount_fen)
    move(state, claim_id, claim, Event.TWO_YEARS, opened_ms)
    return (claim.amount_fen,)


def claw_back(state: State, body: ClawBack, sender: Sender) -> tuple[int, ...]:
    """PAID -> CLAWBACK by a judgment. Detail: (claim id, fen to be recovered)."""
    return begin(state, body.claim, body.judgment)


def begin(state: State, claim_id: int, judgment: bytes) -> tuple[int, ...]:
    """PAID -> CLAWBACK; ``judgment`` is the 32-byte hash of what decided it. Who may do so is the caller's."""
    claim = state.need(Claim, claim_id, "UNKNOWN_CLAIM")
    target(claim.state, Event.CLAW_BACK)
    check_size(judgment, HASH_BYTES)
    move(state, claim_id, claim, Event.CLAW_BACK, state.block.ledger_time_ms, judgment=judgment)
    return claim_id, claim.amount_fen


def recover(state: State, body: RecoverAid, sender: Sender) -> tuple[int, ...]:
    """CASH to CARRY (REFUNDS once the plan has run off); with the last fen CLAWBACK -> RECOVERED.

    Detail: (claim id, fen recovered so far).
    """
    claim = state.need(Claim, body.claim, "UNKNOWN_CLAIM")
    target(claim.state, Event.RECOVER)
    recovered = claim.recovered_fen + body.amount_fen
    if body.amount_fen <= 0 or recovered > claim.amount_fen:
        raise TransactionRejected("WRONG_AMOUNT", f"{claim.amount_fen - claim.recovered_fen} fen are missing")
    use(state, body.reference, PaymentKind.RECOVERY, body.claim, body.amount_fen)
    closed = state.get(Plan, claim.plan).closed
    journal.post(state, claim.plan, "cash", "refunds" if closed else "carry", body.amount_fen)
    if recovered == claim.amount_fen:
        now = state.block.ledger_time_ms
        move(state, body.claim, claim, Event.RECOVER, now, recovered_fen=recovered)
    else:
        stay(state, body.claim, claim, Event.RECOVER_PART, recovered_fen=recovered)
    return body.claim, recovered


def write_off(state: State, body: WriteOffAid, sender: Sender) -> tuple[int, ...]:
    """CLAWBACK -> WRITTEN_OFF by a judgment. Detail: (claim id, fen that will not come)."""
    return give_up(state, body.claim, body.judgment)


def give_up(state: State, claim_id: int, judgment: bytes) -> tuple[int, ...]:
    """CLAWBACK -> WRITTEN_OFF; as ``begin``. Detail: (claim id, fen that will not come)."""
    claim = state.need(Claim, claim_id, "UNKNOWN_CLAIM")
    target(claim.state, Event.WRITE_OFF)
    check_size(judgment, HASH_BYTES)
    move(state, claim_id, claim, Event.WRITE_OFF, state.block.ledger_time_ms, judgment=judgment)
    return claim_id, claim.amount_fen - claim.recovered_fen


def court_order(state: State, body: CourtOrder, sender: Sender) -> tuple[int, ...]:
    """REFUSED_FINAL, EXPIRED -> CLEARED by a judgment. Detail: (claim id,)."""
    claim = state.need(Claim, body.claim, "UNKNOWN_CLAIM")
    target(claim.state, Event.COURT_ORDER)
    check_size(body.judgment, HASH_BYTES)
    check_no_other(state, claim.member)
    if state.get(Plan, claim.plan).closed:
        raise TransactionRejected("PLAN_CLOSED", "nobody is left to share it")
    now = state.block.ledger_time_ms
    move(
        state,
        body.claim,
        claim,
        Event.COURT_ORDER,
        now,
        reason=0,
        judge=int(Judge.COURT),
        judgment=body.judgment,
        reference=b"",
    )
    return (body.claim,)
