"""Certificates at their limits, and one past: what a quorum of seals is, and what each vote signs."""

import pytest

from ledger import votes
from ledger.signing import Domain, public_key, sign
from ledger.votes import Certificate, Commit, Seal, ValidatorEntry, certificate_fault

CHAIN = bytes(32)
HASH = bytes([7]) * 32
SEEDS = [bytes([number + 1]) * 32 for number in range(4)]
VALIDATORS = tuple(ValidatorEntry(at, at, bytes(32), public_key(seed), bytes(32)) for at, seed in enumerate(SEEDS))


def fault(*indexes: int, height: int = 5, round_: int = 0) -> str | None:
    """Of a certificate whose seals are what they say: index -1 is signed by the last validator."""
    message = Commit(height, round_, HASH).signing_digest(CHAIN, 0)
    seals = tuple(Seal(index, sign(SEEDS[index % 4], message)) for index in indexes)
    return certificate_fault(Certificate(height, round_, HASH, seals), VALIDATORS, CHAIN, 0)


@pytest.mark.parametrize("indexes", [(0, 1, 2), (1, 2, 3), (0, 2, 3), (0, 1, 2, 3)])
def test_three_of_four_and_all_four_are_a_certificate(indexes: tuple[int, ...]) -> None:
    assert fault(*indexes) is None


@pytest.mark.parametrize(
    ("indexes", "words"),
    [
        ((0, 1), "2 seals, a quorum is 3 of 4"),
        ((0, 1, 2, 3, 4), "5 seals"),
        ((0, 1, 1), "ascending"),
        ((2, 1, 3), "ascending"),
        ((-1, 1, 2), "outside"),
        ((-1, 0, 1, 2), "outside"),
        ((1, 2, 4), "outside"),
    ],
)
def test_anything_else_is_not(indexes: tuple[int, ...], words: str) -> None:
    assert words in (fault(*indexes) or "")


def test_a_seal_that_does_not_verify_is_named() -> None:
    good = Commit(5, 0, HASH).signing_digest(CHAIN, 0)
    seals = tuple(Seal(index, sign(SEEDS[index], good if index else HASH)) for index in range(3))
    assert (
        certificate_fault(Certificate(5, 0, HASH, seals), VALIDATORS, CHAIN, 0) == "the seal of index 0 does not verify"
    )


def test_the_certificate_of_the_genesis_is_empty_and_of_round_0() -> None:
    assert fault(height=0) is None
    for faulty in (fault(0, 1, 2, height=0), fault(height=0, round_=1), fault(0, 1, 2, height=0, round_=1)):
        assert faulty == "the genesis certificate must be empty"


def test_every_kind_of_vote_signs_in_its_own_domain() -> None:
    domains = {kind.__name__: kind.domain for kind in (votes.Proposal, votes.Prepare, Commit, votes.RoundChange)}
    assert domains == {
        "Proposal": Domain.PROPOSAL,
        "Prepare": Domain.PREPARE,
        "Commit": Domain.COMMIT,
        "RoundChange": Domain.ROUND_CHANGE,
    }


def test_who_verifies_the_seals_may_be_somebody_else_and_is_asked_for_each() -> None:
    message = Commit(5, 0, HASH).signing_digest(CHAIN, 0)
    certificate = Certificate(5, 0, HASH, tuple(Seal(index, b"%d" % index) for index in range(3)))
    asked: list[tuple[bytes, bytes, bytes]] = []

    def verifies(public: bytes, digest: bytes, signature: bytes) -> bool:
        asked.append((public, digest, signature))
        return signature != b"2"

    fault = certificate_fault(certificate, VALIDATORS, CHAIN, 0, verifies)
    assert fault == "the seal of index 2 does not verify"
    assert asked == [(VALIDATORS[index].validator_key, message, b"%d" % index) for index in range(3)]
    assert votes.sealed_digest(certificate, CHAIN, 0) == message
