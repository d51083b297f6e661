"""Evidence: two messages of one validator that no honest one signs both (CONSENSUS §4)."""

from ledger.blocks import Evidence, SignedVote
from ledger.codec import encode

from .messages import Signed, SignedProposal


def evidence_of(epoch: int, one: Signed | SignedProposal, other: Signed | SignedProposal) -> Evidence:
    """The pair in canonical order: ``first`` < ``second`` by encoding."""
    pair = (signed_vote(one), signed_vote(other))
    first, second = sorted(pair, key=encode)
    return Evidence(epoch, first, second)


def signed_vote(signed: Signed | SignedProposal) -> SignedVote:
    """The vote alone, as evidence and LastSeen answers carry it."""
    return SignedVote(signed.message, signed.index, signed.signature)
