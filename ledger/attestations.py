"""Bank attestations: what the bank says a plan's account holds, beside what the journal says (LEDGER §9).

Each is a row of its own with the difference, published and never corrected: a difference is explained by payments that
are still on their way, or it is a question for the regulator.
"""

from .calendar import day_of
from .errors import TransactionRejected
from .limits import FEN_MAX
from .plans import need_plan
from .rows import Account, BankAttestation
from .state import State
from .transactions import AttestBalance


def attest(state: State, body: AttestBalance, bank: int) -> tuple[int, ...]:
    """Publish the bank's balance; detail: (attestation, |difference| in fen, 1 if the bank holds less, else 0).

    Raises ``TransactionRejected``: UNKNOWN_PLAN, BAD_FIELD (a balance below 0 or beyond ``FEN_MAX``, a day to come).
    """
    need_plan(state, body.plan)
    if not 0 <= body.balance_fen <= FEN_MAX:
        raise TransactionRejected("BAD_FIELD", f"a balance of {body.balance_fen} fen")
    if not 0 <= body.day <= day_of(state.block.ledger_time_ms):
        raise TransactionRejected("BAD_FIELD", f"day {body.day}")
    cash = state.get(Account, body.plan).cash
    difference = body.balance_fen - cash
    row = state.append(
        BankAttestation(
            plan=body.plan,
            bank=bank,
            day=body.day,
            balance_fen=body.balance_fen,
            cash_fen=cash,
            difference_fen=difference,
        )
    )
    return row, abs(difference), int(difference < 0)
