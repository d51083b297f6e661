"""The signed question of a claimant who wants the proof of his claim's row (LEDGER §6)."""

from typing import Final

from .codec import encode
from .signing import Domain, signing_digest

ASKED_WITHIN_MS: Final = 60_000
"""How far a question's time may be from the clock of the node that is asked."""


def question_digest(chain_id: bytes, claim_id: int, asked_ms: int) -> bytes:
    """What is signed. It is no object of the chain: the epoch is 0 in every epoch."""
    return signing_digest(Domain.QUESTION, chain_id, 0, encode(("claim", claim_id, asked_ms)))
