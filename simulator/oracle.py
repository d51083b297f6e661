"""An oracle of the QBFT predicates, written from the paper and sharing no code with ``consensus`` (CONSENSUS §7).

Source: "The Istanbul BFT Consensus Algorithm"/QBFT and its Dafny text, with this protocol's quorum ⌈2n/3⌉ over
*distinct current validators*. Everything is recomputed from the message's values; signatures are verified here too.
"""

from hashlib import sha256

from consensus.messages import SignedPrepare, SignedProposal, SignedRoundChange
from consensus.scheme import Scheme
from ledger.votes import Certificate, Commit, ValidatorEntry


def enough(count: int, n: int) -> bool:
    """Whether ``count`` of ``n`` are a quorum: 3·count ≥ 2·n, which is count ≥ ⌈2n/3⌉."""
    return 3 * count >= 2 * n


class Oracle:
    """The predicates under one signature scheme, chain and epoch."""

    def __init__(self, scheme: Scheme, chain_id: bytes, epoch: int) -> None:
        self.verify = scheme.verify
        self._chain_id = chain_id
        self._epoch = epoch

    def signed(
        self,
        vote: SignedProposal | SignedPrepare | SignedRoundChange,
        validators: tuple[ValidatorEntry, ...],
    ) -> bool:
        """The signature is that of the validator it names."""
        if not 0 <= vote.index < len(validators):
            return False
        digest = vote.message.signing_digest(self._chain_id, self._epoch)
        return self.verify(validators[vote.index].validator_key, digest, vote.signature)

    def certificate_fault(self, certificate: Certificate, validators: tuple[ValidatorEntry, ...]) -> str | None:
        """Why this does not prove that the block was decided; None when it does."""
        commit = Commit(certificate.height, certificate.round, certificate.block_hash)
        digest = commit.signing_digest(self._chain_id, self._epoch)
        signers = set()
        for seal in certificate.seals:
            if not 0 <= seal.index < len(validators):
                return f"index {seal.index} is nobody's"
            if not self.verify(validators[seal.index].validator_key, digest, seal.signature):
                return f"index {seal.index} did not commit this in round {certificate.round}"
            signers.add(seal.index)
        if len(signers) != len(certificate.seals) or not enough(len(signers), len(validators)):
            return f"{len(signers)} distinct signers of {len(validators)}, {len(certificate.seals)} seals"
        return None

    def round_change_fault(self, change: SignedRoundChange, validators: tuple[ValidatorEntry, ...]) -> str | None:
        """Why this round change may not be counted (QBFT ``validRoundChange``)."""
        message = change.message
        if not self.signed(change, validators):
            return "not signed by the validator it names"
        if message.prepared_round >= message.round:
            return "prepared in a round that is not below its target"
        return None

    def proposal_fault(
        self,
        proposal: SignedProposal,
        validators: tuple[ValidatorEntry, ...],
        proposer: int,
        creator: bytes,
    ) -> str | None:
        """Why an honest node may not accept this proposal (QBFT ``isReceivedProposalJustified``)."""
        message, n = proposal.message, len(validators)
        if sha256(proposal.block.header).digest() != message.hash:
            return "the block is not the one proposed"
        if proposal.index != proposer or not self.signed(proposal, validators):
            return "it is not by the proposer of its round"
        changes, prepares = proposal.round_changes, proposal.prepares
        if message.round == 0:
            return None if not changes and creator == validators[proposer].validator_key else "round 0"
        authors = {change.index for change in changes}
        if len(authors) != len(changes) or not enough(len(authors), n):
            return "no quorum of distinct round changes"
        for change in changes:
            wanted = (message.height, message.round)
            if (change.message.height, change.message.round) != wanted or not self.signed(change, validators):
                return f"the round change of {change.index} is not for this round"
            if change.message.prepared_round >= message.round:
                return f"the round change of {change.index} prepared in a later round"
        top = max(change.message.prepared_round for change in changes)
        if top < 0:
            return None if creator == validators[proposer].validator_key else "a fresh block of another creator"
        if not any(
            change.message.prepared_round == top and change.message.prepared_hash == message.hash for change in changes
        ):
            return f"not the value of the highest prepared round {top}"
        voters = {prepare.index for prepare in prepares if self.signed(prepare, validators)}
        exact = all(
            (prepare.message.height, prepare.message.round, prepare.message.hash) == (message.height, top, message.hash)
            for prepare in prepares
        )
        if not exact or not enough(len(voters), n):
            return f"no quorum of prepares for the value of round {top}"
        return None
