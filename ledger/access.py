"""The access log: which organisation opened a claim's papers, when and what for (LEDGER §1, §6).

The papers themselves are not on the chain. Whoever keeps them hands them out against an entry here; so the entry is
made before they are read, by the organisation that will read them, and it is never changed. The ledger cannot see who
looks at papers without asking for them; it can show who said he would.
"""

from enum import IntEnum

from .errors import TransactionRejected
from .rows import AccessEntry, Claim
from .sender import Sender
from .state import State
from .transactions import NoteAccess


class Purpose(IntEnum):
    """What the papers are wanted for. Numbers are in rows: append only."""

    INVESTIGATION = 1
    REVIEW = 2
    OPINION = 3
    PAYMENT = 4
    SUPERVISION = 5
    CLAIMANT_ASKED = 6


def note(state: State, body: NoteAccess, sender: Sender) -> tuple[int, ...]:
    """One entry; detail: (entry id,). Raises UNKNOWN_CLAIM, UNKNOWN_REASON (no such purpose)."""
    state.need(Claim, body.claim, "UNKNOWN_CLAIM")
    if body.purpose not in tuple(Purpose):
        raise TransactionRejected("UNKNOWN_REASON", f"purpose {body.purpose}")
    entry = AccessEntry(
        claim=body.claim,
        organisation=sender.organisation,
        purpose=body.purpose,
        at_ms=state.block.ledger_time_ms,
    )
    return (state.append(entry),)
