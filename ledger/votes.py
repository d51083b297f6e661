"""The four signed messages of the agreement, and the certificate made of one of them (CONSENSUS §2, DESIGN §2).

They live beside the ledger, not in ``consensus``, because a light client must verify a certificate with the ledger
alone, and evidence carries pairs of them in blocks. A vote signs the canonical array of the message, its tag
first, under its own domain. A certificate's index is the position in the validator set, ascending by seat.
"""

from collections.abc import Callable
from typing import ClassVar

from .codec import Wire, encode
from .signing import Domain, signing_digest, verify

Verifies = Callable[[bytes, bytes, bytes], bool]
"""Whether a signature is valid: public key, signed digest, signature."""


class Vote(Wire, frozen=True):
    """Base of the signed messages; ``domain`` says how they are signed."""

    domain: ClassVar[Domain]

    def signing_digest(self, chain_id: bytes, epoch: int) -> bytes:
        """The 32 bytes that are signed for this message."""
        return signing_digest(self.domain, chain_id, epoch, encode(self))


class Proposal(Vote, frozen=True, tag="proposal"):
    """``proposer(h, r)`` proposes the block ``hash`` in round ``round`` of height ``height``."""

    domain: ClassVar[Domain] = Domain.PROPOSAL
    height: int
    round: int
    hash: bytes


class Prepare(Vote, frozen=True, tag="prepare"):
    """The signer has the whole justified block ``hash`` of this round."""

    domain: ClassVar[Domain] = Domain.PREPARE
    height: int
    round: int
    hash: bytes


class Commit(Vote, frozen=True, tag="commit"):
    """The signer holds q Prepares for ``hash``. This signature *is* the seal."""

    domain: ClassVar[Domain] = Domain.COMMIT
    height: int
    round: int
    hash: bytes


class RoundChange(Vote, frozen=True, tag="round_change"):
    """The signer leaves every round below ``round``; it prepared ``prepared_hash`` in ``prepared_round``, if any.

    Without a prepared value ``prepared_round`` is -1 and ``prepared_hash`` empty.
    """

    domain: ClassVar[Domain] = Domain.ROUND_CHANGE
    height: int
    round: int
    prepared_round: int
    prepared_hash: bytes


class ValidatorEntry(Wire, frozen=True):
    """One member of a validator set; sets are ascending by seat."""

    seat: int
    organisation: int
    organisation_key: bytes
    validator_key: bytes
    beacon_key: bytes


class Seal(Wire, frozen=True):
    """One signature of a certificate: the signer's position in the set, and its Commit signature."""

    index: int
    signature: bytes


class Certificate(Wire, frozen=True):
    """q to n Commits of *one* round for one block, strictly ascending by index.

    The certificate of height 0 is empty: round 0, hash of the genesis header, no seals.
    """

    height: int
    round: int
    block_hash: bytes
    seals: tuple[Seal, ...]


def quorum(n: int) -> int:
    """⌈2n/3⌉, the certificate size for ``n`` validators (CONSENSUS, head of the page)."""
    return -(-2 * n // 3)


def faults(n: int) -> int:
    """⌊(n-1)/3⌋, how many of ``n`` validators may be Byzantine."""
    return (n - 1) // 3


def sealed_digest(certificate: Certificate, chain_id: bytes, epoch: int) -> bytes:
    """The 32 bytes that every seal of ``certificate`` signs; ``epoch`` is that of the certified header."""
    return Commit(certificate.height, certificate.round, certificate.block_hash).signing_digest(chain_id, epoch)


def certificate_fault(
    certificate: Certificate,
    validators: tuple[ValidatorEntry, ...],
    chain_id: bytes,
    epoch: int,
    verifies: Verifies = verify,
) -> str | None:
    """What is wrong with ``certificate`` under ``validators`` in ``epoch``; ``None`` when it is valid.

    ``epoch`` is that of the certified header. ``verifies``: asked for each seal; by default it is verified here.
    """
    if certificate.height == 0:
        return None if not certificate.seals and certificate.round == 0 else "the genesis certificate must be empty"
    indexes = [seal.index for seal in certificate.seals]
    if any(low >= high for low, high in zip(indexes, indexes[1:], strict=False)):
        return "seals are not strictly ascending"
    if not quorum(len(validators)) <= len(indexes) <= len(validators):
        return f"{len(indexes)} seals, a quorum is {quorum(len(validators))} of {len(validators)}"
    if indexes[0] < 0 or indexes[-1] >= len(validators):
        return "a seal's index is outside the validator set"
    message = sealed_digest(certificate, chain_id, epoch)
    for seal in certificate.seals:
        if not verifies(validators[seal.index].validator_key, message, seal.signature):
            return f"the seal of index {seal.index} does not verify"
    return None
