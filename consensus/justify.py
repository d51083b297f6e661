"""What justifies a proposal: each clause a named predicate (CONSENSUS §2).

Sources: the QBFT specification of ConsenSys (Dafny, ``dafny/spec/L1``): ``validRoundChange``, ``isHighestPrepared``,
``isProposalJustification``, ``validateNonPreparedBlock``; PBFT (Castro, Liskov 1999) §4.4, whose new-view
message this is; here the certificate is q *distinct current validators*. Signatures are verified by the caller,
once, through the tally. Each clause is violated alone in ``tests/consensus/test_justify.py``.
"""

from typing import Final

from ledger.blocks import Header
from ledger.votes import Prepare, Proposal

from .context import HeightContext
from .messages import SignedPrepare, SignedProposal, SignedRoundChange
from .quorum import is_quorum, quorum

NOT_PREPARED: Final = -1


def is_by_the_proposer(context: HeightContext, proposal: SignedProposal) -> bool:
    """The signer is proposer(h, r) (QBFT ``isProposer``; PBFT §4.2: the primary of the view)."""
    return proposal.index == context.proposer(proposal.message.round)


def is_of_the_height(context: HeightContext, proposal: SignedProposal) -> bool:
    """It proposes at the open height (QBFT ``receiveProposal``: ``proposalPayload.height == |blockchain|``)."""
    return proposal.message.height == context.height


def is_unjustified(proposal: SignedProposal) -> bool:
    """Round 0 needs no justification and may carry none (QBFT ``isProposalJustification``, first case)."""
    return not proposal.round_changes and not proposal.prepares


def target_exactly(changes: tuple[SignedRoundChange, ...], message: Proposal) -> bool:
    """Every round change targets exactly (h, r) (QBFT ``validRoundChange``: ``payload.round == round``)."""
    return all((c.message.height, c.message.round) == (message.height, message.round) for c in changes)


def are_distinct(votes: tuple[SignedRoundChange, ...] | tuple[SignedPrepare, ...]) -> bool:
    """No validator is named twice (QBFT: the justification is a *set*, quorums count distinct authors)."""
    return len({vote.index for vote in votes}) == len(votes)


def are_a_quorum(context: HeightContext, votes: tuple[SignedRoundChange, ...] | tuple[SignedPrepare, ...]) -> bool:
    """q distinct current validators (QBFT ``isProposalJustification``: ``|getSetOfRoundChangeSenders| >= quorum``)."""
    return is_quorum([vote.index for vote in votes], len(context.validators))


def prepared_below(changes: tuple[SignedRoundChange, ...]) -> bool:
    """Each pr < r (QBFT ``validRoundChange``: ``preparedRound < round``)."""
    return all(c.message.prepared_round < c.message.round for c in changes)


def highest_prepared(changes: tuple[SignedRoundChange, ...]) -> int:
    """m = max pr; ``NOT_PREPARED`` when all are without a prepared value (QBFT ``isHighestPrepared``)."""
    return max((c.message.prepared_round for c in changes), default=NOT_PREPARED)


def proposes_the_prepared(changes: tuple[SignedRoundChange, ...], hash: bytes) -> bool:
    """hash = pv of a round change with pr = m (QBFT ``isHighestPrepared``; PBFT §4.4: the highest numbered prepare)."""
    m = highest_prepared(changes)
    return any((c.message.prepared_round, c.message.prepared_hash) == (m, hash) for c in changes)


def prepares_match(
    changes: tuple[SignedRoundChange, ...], message: Proposal, prepares: tuple[SignedPrepare, ...]
) -> bool:
    """Every prepare is Prepare(h, m, hash) (QBFT ``validSignedPrepareForHeightRoundAndDigest``)."""
    wanted = Prepare(message.height, highest_prepared(changes), message.hash)
    return all(prepare.message == wanted for prepare in prepares)


def is_created_by_the_proposer(context: HeightContext, proposal: SignedProposal, header: Header) -> bool:
    """A fresh block's creator is proposer(h, r) (QBFT ``validateNonPreparedBlock``:
    ``block.header.proposer``).
    """
    return header.creator == context.key(context.proposer(proposal.message.round))


def is_created_by_a_validator(context: HeightContext, header: Header) -> bool:
    """A block proposed again was created by a member of V(h)."""
    return any(header.creator == entry.validator_key for entry in context.validators)


def is_fresh(proposal: SignedProposal) -> bool:
    """Round 0, or all round changes are without a prepared value: the block is new and its time is checked."""
    return highest_prepared(proposal.round_changes) == NOT_PREPARED


def proposal_fault(context: HeightContext, proposal: SignedProposal, header: Header) -> str | None:
    """The first clause that the proposal violates, or None: it is justified, if its signatures verify."""
    if not is_of_the_height(context, proposal):
        return "is_of_the_height"
    if not is_by_the_proposer(context, proposal):
        return "is_by_the_proposer"
    if proposal.message.round == 0:
        if not is_unjustified(proposal):
            return "is_unjustified"
    else:
        fault = _round_change_fault(context, proposal)
        if fault is not None:
            return fault
    if is_fresh(proposal):
        return None if is_created_by_the_proposer(context, proposal, header) else "is_created_by_the_proposer"
    return None if is_created_by_a_validator(context, header) else "is_created_by_a_validator"


def _round_change_fault(context: HeightContext, proposal: SignedProposal) -> str | None:
    message, changes, prepares = proposal.message, proposal.round_changes, proposal.prepares
    if not target_exactly(changes, message):
        return "target_exactly"
    if not are_distinct(changes) or not are_distinct(prepares):
        return "are_distinct"
    if not are_a_quorum(context, changes):
        return "are_a_quorum"
    if not prepared_below(changes):
        return "prepared_below"
    if is_fresh(proposal):
        return None if not prepares else "no_prepares_for_a_fresh_block"
    if not proposes_the_prepared(changes, message.hash):
        return "proposes_the_prepared"
    if not prepares_match(changes, message, prepares):
        return "prepares_match"
    return None if are_a_quorum(context, prepares) else "prepares_are_a_quorum"


def choose(
    context: HeightContext,
    changes: list[SignedRoundChange],
    prepares_of: dict[tuple[int, bytes], tuple[SignedPrepare, ...]],
) -> tuple[tuple[SignedRoundChange, ...], tuple[SignedPrepare, ...]] | None:
    """q of the *usable* ``changes`` (of one round) and the prepares of their highest value, or None when too few are.

    A prepared round change is usable once its q prepares are in ``prepares_of`` (the caller puts them there only
    when the body is here too). *Why:* a Byzantine who holds prepares for a body nobody else kept would stall every
    round. The highest prepared ones are taken first: any q would be safe, these lose no work.
    """
    usable = [
        c
        for c in changes
        if c.message.prepared_round < c.message.round
        and (
            c.message.prepared_round == NOT_PREPARED
            or (c.message.prepared_round, c.message.prepared_hash) in prepares_of
        )
    ]
    usable.sort(key=lambda c: (-c.message.prepared_round, c.index))
    q = quorum(len(context.validators))
    if len(usable) < q:
        return None
    chosen = usable[:q]
    top = chosen[0].message
    prepares = () if top.prepared_round == NOT_PREPARED else prepares_of[top.prepared_round, top.prepared_hash]
    return tuple(sorted(chosen, key=lambda c: c.index)), prepares
