"""Header, body, receipts, evidence and the recovery record (DESIGN §2). These formats can never change.

The header holds *no round and no seals*: a block keeps its hash when it is proposed again. ``state_root`` and
``receipts_root`` are those of the *parent*: header h + 1 certifies the result of h.
"""

from functools import lru_cache
from typing import Final

from . import merkle
from .codec import Wire, decode, digest, encode
from .limits import (
    BLOCK_BODY_BYTES_MAX,
    CERTIFICATE_BYTES_MAX,
    HEADER_BYTES_MAX,
    VALIDATORS_MAX,
)
from .protocol import OLDEST
from .votes import Certificate, Commit, Prepare, Proposal, RoundChange, ValidatorEntry

ZERO_HASH: Final = bytes(32)


class Header(Wire, frozen=True):
    """The hashed part of a block. Block hash = SHA-256 of the header's canonical bytes."""

    version: int
    epoch: int
    height: int
    time_ms: int
    """Consensus time, strictly above the parent's."""
    parent: bytes
    creator: bytes
    """Validator key of the proposer of the *fresh* block; zero at height 0."""
    txs_root: bytes
    tx_count: int
    evidence_root: bytes
    validators_hash: bytes
    """Hash of V(height)."""
    next_validators_hash: bytes
    """Hash of V(height + 1)."""
    params_hash: bytes
    parent_certificate_hash: bytes
    """SHA-256 of the canonical bytes of the parent's certificate in this body; zero in header 1 and header 0."""
    state_root: bytes
    """State root after executing the parent."""
    receipts_root: bytes
    """RFC 6962 root over the parent's receipts."""
    beacon: bytes
    """64-byte VRF output of the creator over ``previous beacon ‖ height``."""
    beacon_proof: bytes
    """80-byte ECVRF proof; empty at height 0."""


class SignedVote(Wire, frozen=True):
    """A vote with the index of its signer in V(height), as evidence carries it."""

    message: Proposal | Prepare | Commit | RoundChange
    index: int
    signature: bytes


class Evidence(Wire, frozen=True):
    """Two contradicting messages of one validator at one height, ``first`` < ``second`` by encoding (CONSENSUS §4)."""

    epoch: int
    first: SignedVote
    second: SignedVote


class RecoveryRecord(Wire, frozen=True):
    """What ``huzhu recover`` signs (CONSENSUS §6); stands only in the body of the first block of an epoch."""

    chain_id: bytes
    epoch: int
    head_height: int
    head_hash: bytes
    validators: tuple[ValidatorEntry, ...]
    signatures: tuple[tuple[bytes, bytes], ...]
    """(organisation key, signature), strictly ascending by key."""


class Body(Wire, frozen=True):
    """What a header stands for. ``transactions`` are the exact bytes received."""

    transactions: tuple[bytes, ...]
    evidence: tuple[Evidence, ...]
    parent_certificate: Certificate
    recovery: RecoveryRecord | None


class DueKey(Wire, frozen=True):
    """Names an executed deadline in its receipt."""

    due_ms: int
    kind: int
    id: int


class Receipt(Wire, frozen=True):
    """The result of a deadline or a transaction; a block's receipts are its deadlines' first, then in body order."""

    subject: bytes | DueKey
    """The transaction's id, or the deadline's key."""
    code: str
    """``OK`` or one of ``errors.CODES``."""
    detail: tuple[int, ...]
    """Ids created (member, claim, first and count of a batch), or numbers the code documents."""


def header_hash(raw: bytes) -> bytes:
    """The block hash: SHA-256 of the header bytes as received."""
    return digest(raw)


def decode_header(raw: bytes) -> Header:
    """Raises ``MalformedBytes``."""
    return decode(Header, raw, bytes_max=HEADER_BYTES_MAX)


def decode_body(raw: bytes) -> Body:
    """Raises ``MalformedBytes``."""
    return decode(Body, raw, bytes_max=BLOCK_BODY_BYTES_MAX)


def decode_certificate(raw: bytes) -> Certificate:
    """Raises ``MalformedBytes``."""
    return decode(Certificate, raw, bytes_max=CERTIFICATE_BYTES_MAX)


def txs_root(ids: list[bytes]) -> bytes:
    """RFC 6962 root whose leaves are the transaction ids."""
    return _txs_root(tuple(ids))


@lru_cache(maxsize=2)
def _txs_root(ids: tuple[bytes, ...]) -> bytes:
    """Asked for twice, before the transactions are fetched and with the rules; the tree is made once."""
    return merkle.root(ids)


def receipts_root(receipts: list[Receipt]) -> bytes:
    """RFC 6962 root whose leaves are the canonical receipts."""
    return merkle.root([encode(receipt) for receipt in receipts])


def evidence_root(evidence: tuple[Evidence, ...]) -> bytes:
    """RFC 6962 root whose leaves are the canonical evidence items."""
    return merkle.root([encode(item) for item in evidence])


def validators_hash(validators: tuple[ValidatorEntry, ...]) -> bytes:
    """SHA-256 of the canonical array, ascending by seat."""
    return digest(encode(validators))


def certificate_hash(certificate: Certificate) -> bytes:
    """SHA-256 of the canonical certificate; zero for the genesis certificate."""
    return ZERO_HASH if certificate.height == 0 else digest(encode(certificate))


def genesis_certificate(block_hash: bytes) -> Certificate:
    """The empty certificate of height 0."""
    return Certificate(0, 0, block_hash, ())


def genesis_header(
    *, time_ms: int, validators: tuple[ValidatorEntry, ...], params_hash: bytes, beacon: bytes
) -> Header:
    """Height 0: a header without a body; hashes and creator zero (DESIGN §2, exact bytes)."""
    if not 1 <= len(validators) <= VALIDATORS_MAX:
        raise ValueError(f"{len(validators)} validators, 1 to {VALIDATORS_MAX} allowed")
    own = validators_hash(validators)
    return Header(
        version=OLDEST,
        epoch=0,
        height=0,
        time_ms=time_ms,
        parent=ZERO_HASH,
        creator=ZERO_HASH,
        txs_root=ZERO_HASH,
        tx_count=0,
        evidence_root=ZERO_HASH,
        validators_hash=own,
        next_validators_hash=own,
        params_hash=params_hash,
        parent_certificate_hash=ZERO_HASH,
        state_root=ZERO_HASH,
        receipts_root=ZERO_HASH,
        beacon=beacon,
        beacon_proof=b"",
    )
