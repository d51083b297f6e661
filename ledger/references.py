"""References of payments and receipts: each is used once on a chain, whoever brought it (LEDGER §5, §8).

Every reference has a ``Payment`` row, also those of orders that bounced: an index alone would be lost with a snapshot,
and two nodes would then differ on what is a duplicate. ``use`` is the only writer of ``Index.REFERENCE``.
"""

from enum import IntEnum

from .errors import TransactionRejected
from .limits import FEN_MAX, REFERENCE_BYTES_MAX
from .rows import Payment
from .state import Index, State


class PaymentKind(IntEnum):
    """Which transaction a reference came with, and so what ``Payment.subject`` is."""

    AID = 1
    """``pay``: the claim."""
    COLLECTION = 2
    """``confirm_collection``: the collection."""
    CONTRIBUTION = 3
    """``contribution``: the member."""
    SPONSOR = 4
    """``sponsor_payment``: the plan."""
    FEE = 5
    """``pay_fee``: the plan."""
    ADVANCE = 6
    """``advance``: the plan."""
    REPAYMENT = 7
    """``advance`` with ``repay``: the plan."""
    REFUND = 8
    """``pay_refund``: the plan."""
    RECOVERY = 9
    """``recover_aid``: the claim."""


def use(state: State, reference: bytes, kind: PaymentKind, subject: int, amount_fen: int) -> int:
    """Use up ``reference`` (1 to 64 bytes) for ``amount_fen`` (from 0); returns the id of its row.

    Raises BAD_FIELD or DUPLICATE_REFERENCE.
    """
    if not 0 < len(reference) <= REFERENCE_BYTES_MAX:
        raise TransactionRejected("BAD_FIELD", f"a reference has 1 to {REFERENCE_BYTES_MAX} bytes")
    if not 0 <= amount_fen <= FEN_MAX:
        raise TransactionRejected("BAD_FIELD", f"an amount of {amount_fen} fen")
    if state.index_get(Index.REFERENCE, reference) is not None:
        raise TransactionRejected("DUPLICATE_REFERENCE", reference.hex())
    payment_id = state.append(Payment(kind=int(kind), subject=subject, amount_fen=amount_fen, reference=reference))
    state.index_put(Index.REFERENCE, reference, payment_id)
    return payment_id
