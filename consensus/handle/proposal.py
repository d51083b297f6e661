"""Input: a Proposal (CONSENSUS §2). QBFT ``UponProposal``; PBFT §4.2 (pre-prepare) and §4.4 (new-view)."""

from ledger.blocks import header_hash

from ..admit import admit, admit_prepares, blame, is_later, report
from ..candidates import Candidate
from ..evidence import evidence_of
from ..justify import is_by_the_proposer, is_fresh, proposal_fault
from ..messages import SignedProposal
from ..state import Accepted, Core


def handle(core: Core, peer: bytes, index: int | None, proposal: SignedProposal) -> None:
    """Accept the one justified proposal of a round not past; a second, different one is evidence."""
    height = core.open
    message = proposal.message
    if is_later(core, peer, index, proposal) or message.height != height.context.height:
        return
    accepted = height.accepted.get(message.round)
    if accepted is not None and accepted.hash == message.hash:
        return
    if not is_by_the_proposer(height.context, proposal) or not core.verified(proposal):
        blame(core, peer, "proposal", "not by the proposer of its round")
        return
    height.tally.raise_highest(proposal.index, message.round)
    if accepted is not None:
        if accepted.signed is not None:
            report(core, evidence_of(height.context.epoch, accepted.signed, proposal))
        return
    if message.round >= height.round:
        _accept(core, peer, proposal)


def _accept(core: Core, peer: bytes, proposal: SignedProposal) -> None:
    height = core.open
    message = proposal.message
    candidate = _justified(core, peer, proposal)
    if candidate is None:
        return
    if not all(admit(core, peer, change) for change in proposal.round_changes):
        return
    if not admit_prepares(core, peer, proposal.prepares):
        return
    height.candidates.keep(candidate, core.record.locked_hash)
    candidate.take(proposal.recent)
    height.accepted[message.round] = Accepted(message.round, message.hash, is_fresh(proposal), proposal)


def _justified(core: Core, peer: bytes, proposal: SignedProposal) -> Candidate | None:
    height = core.open
    if header_hash(proposal.block.header) != proposal.message.hash:
        blame(core, peer, "proposal", "the header is not the proposed one")
        return None
    candidate = height.candidates.examine(proposal.block)
    if isinstance(candidate, str):
        blame(core, peer, "proposal", candidate)
        return None
    fault = proposal_fault(height.context, proposal, candidate.header)
    if fault is not None:
        blame(core, peer, "justification", fault)
        return None
    return candidate
