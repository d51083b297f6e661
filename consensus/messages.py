"""What validators say to each other (CONSENSUS §2), as canonical MessagePack, and the limits on it.

Rules of this file:

* A signed message names its chain and epoch through its signature's digest, and its signer by the index in V(height).
  On a link its sender's epoch stands before it: nobody is blamed for a signature of another epoch (decision 0028).
* ``decode_message`` refuses everything that is not canonical, is too large, or has a field out of range; what it
  returns may be handled without checking lengths again. Signatures are *not* verified here.
* Repair is by pull: Status says what one has, Get* asks for the rest.
"""

from typing import Final

from ledger.blocks import Body, Evidence, RecoveryRecord, SignedVote
from ledger.codec import Wire, decode, encode
from ledger.errors import MalformedBytes
from ledger.limits import (
    BLOCK_BODY_BYTES_MAX,
    BLOCK_TRANSACTIONS_MAX,
    EVIDENCE_ITEMS_MAX,
    HEADER_BYTES_MAX,
    VALIDATORS_MAX,
)
from ledger.signing import PUBLIC_KEY_BYTES, SIGNATURE_BYTES
from ledger.votes import Certificate, Commit, Prepare, Proposal, RoundChange

HASH_BYTES: Final = 32
NONCE_BYTES: Final = 32
ROUND_MAX: Final = 2**31 - 1
HEIGHT_MAX: Final = 2**63 - 1
MESSAGE_BYTES_MAX: Final = BLOCK_BODY_BYTES_MAX + 1_048_576
"""Largest encoded message: a full body, ids, justification."""
RECENT_BYTES_MAX: Final = 524_288
"""Transactions a proposer may put beside its proposal, in all; the rest are fetched by id."""
EPOCH_BYTES: Final = 4
"""Of the sender's epoch, big-endian, before a message on a link."""
LAST_SEEN_VOTES_MAX: Final = 256
"""Most messages of the asking key one LastSeen answer carries: of each kind the newest."""


class SignedPrepare(Wire, frozen=True, tag="prepare"):
    """A Prepare and its signer's index."""

    message: Prepare
    index: int
    signature: bytes


class SignedCommit(Wire, frozen=True, tag="commit"):
    """A Commit; its signature is a seal of the certificate."""

    message: Commit
    index: int
    signature: bytes


class SignedRoundChange(Wire, frozen=True, tag="round_change"):
    """A RoundChange without its prepares, as all receive it."""

    message: RoundChange
    index: int
    signature: bytes


class PreparedRoundChange(Wire, frozen=True, tag="prepared_round_change"):
    """A RoundChange with the q Prepares of its prepared value, as the next proposer receives it."""

    change: SignedRoundChange
    prepares: tuple[SignedPrepare, ...]


class CompactBlock(Wire, frozen=True):
    """A block without its transactions; what cannot be fetched by id is here in full."""

    header: bytes
    """The exact bytes whose SHA-256 is the block's hash."""
    ids: bytes
    """The 32-byte transaction ids in body order, concatenated."""
    evidence: tuple[Evidence, ...]
    parent_certificate: Certificate
    recovery: RecoveryRecord | None

    def id_list(self) -> tuple[bytes, ...]:
        """The ids one by one."""
        ids = self.ids
        return tuple(ids[at : at + HASH_BYTES] for at in range(0, len(ids), HASH_BYTES))

    def body_bytes(self, transactions: tuple[bytes, ...]) -> bytes:
        """The canonical body made of this block and its ``transactions``."""
        return encode(Body(transactions, self.evidence, self.parent_certificate, self.recovery))


class SignedProposal(Wire, frozen=True, tag="proposal"):
    """A Proposal, its block, and for round > 0 what justifies it (``consensus.justify``)."""

    message: Proposal
    index: int
    signature: bytes
    block: CompactBlock
    recent: tuple[bytes, ...]
    """Transactions the proposer thinks others lack; any subset of the block's, in any order."""
    round_changes: tuple[SignedRoundChange, ...]
    prepares: tuple[SignedPrepare, ...]


class CommitCertificate(Wire, frozen=True, tag="commit_certificate"):
    """The decision of a height, for those who miss Commits."""

    certificate: Certificate


class Status(Wire, frozen=True, tag="status"):
    """What the sender has at its open height: for each validator the highest round of each kind (−1: none)."""

    height: int
    round: int
    head_hash: bytes
    """Hash of block height − 1."""
    proposal_round: int
    prepares: tuple[int, ...]
    commits: tuple[int, ...]
    round_changes: tuple[int, ...]


class LastSeenQuestion(Wire, frozen=True, tag="last_seen_question"):
    """Before its first signature: what do you know of messages signed by ``key``? (CONSENSUS §3)"""

    height: int
    """head + 1 of the asker."""
    key: bytes
    nonce: bytes


class Lock(Wire, frozen=True):
    """A value prepared at (height, round): its q Prepares."""

    height: int
    round: int
    hash: bytes
    prepares: tuple[SignedPrepare, ...]


class LastSeenAnswer(Wire, frozen=True, tag="last_seen_answer"):
    """The certified head, every known message of the asking key above it, the responder's own lock."""

    nonce: bytes
    head_height: int
    head_hash: bytes
    head_certificate: Certificate
    votes: tuple[SignedVote, ...]
    lock: Lock | None


class GetBlock(Wire, frozen=True, tag="get_block"):
    """Ask for the compact form of block ``hash``."""

    height: int
    hash: bytes


class Block(Wire, frozen=True, tag="block"):
    """The compact form asked for."""

    height: int
    block: CompactBlock


class GetBodies(Wire, frozen=True, tag="get_bodies"):
    """Ask for transactions of block ``hash``; bit i (least significant first) of ``missing`` is position i."""

    height: int
    hash: bytes
    missing: bytes


class Bodies(Wire, frozen=True, tag="bodies"):
    """The transactions asked for, in body order."""

    height: int
    hash: bytes
    transactions: tuple[bytes, ...]


class GetPrepares(Wire, frozen=True, tag="get_prepares"):
    """Ask for Prepare(height, round, hash) of anybody, the responder's own first of all."""

    height: int
    round: int
    hash: bytes


class Prepares(Wire, frozen=True, tag="prepares"):
    """The Prepares asked for, as many as the responder has."""

    votes: tuple[SignedPrepare, ...]


class GetCertificate(Wire, frozen=True, tag="get_certificate"):
    """Ask for the CommitCertificate of ``height``, the responder's newest decided one."""

    height: int


Signed = SignedPrepare | SignedCommit | SignedRoundChange
Message = (
    SignedProposal
    | SignedPrepare
    | SignedCommit
    | SignedRoundChange
    | PreparedRoundChange
    | CommitCertificate
    | Status
    | LastSeenQuestion
    | LastSeenAnswer
    | GetBlock
    | Block
    | GetBodies
    | Bodies
    | GetPrepares
    | Prepares
    | GetCertificate
)


def encode_message(message: Message) -> bytes:
    """The wire bytes; an honest node never makes one above ``MESSAGE_BYTES_MAX``."""
    return encode(message)


def decode_message(raw: bytes) -> Message:
    """Decode and check every length and range. Raises ``MalformedBytes``."""
    message: Message = decode(Message, raw, bytes_max=MESSAGE_BYTES_MAX)
    fault = shape_fault(message)
    if fault is not None:
        raise MalformedBytes(fault)
    return message


def encode_framed(epoch: int, message: Message) -> bytes:
    """What goes over a link: the sender's epoch and the message."""
    return epoch.to_bytes(EPOCH_BYTES, "big") + encode_message(message)


def decode_framed(raw: bytes) -> tuple[int, Message]:
    """The sender's epoch and its message. Raises ``MalformedBytes``."""
    return int.from_bytes(raw[:EPOCH_BYTES], "big"), decode_message(raw[EPOCH_BYTES:])


def shape_fault(message: Message) -> str | None:
    """Which field is out of range, or None."""
    match message:
        case SignedPrepare() | SignedCommit() | SignedRoundChange():
            return signed_fault(message)
        case PreparedRoundChange():
            return signed_fault(message.change) or _votes_fault(message.prepares)
        case SignedProposal():
            return (
                signed_fault(message)
                or block_fault(message.block)
                or _transactions_fault(message.recent, RECENT_BYTES_MAX)
                or _votes_fault(message.round_changes)
                or _votes_fault(message.prepares)
            )
        case CommitCertificate():
            return _certificate_fault(message.certificate)
        case Status():
            return _status_fault(message)
        case LastSeenQuestion():
            sizes = len(message.key) == PUBLIC_KEY_BYTES and len(message.nonce) == NONCE_BYTES
            return None if sizes and _number(message.height) else "a field of the question is out of range"
        case LastSeenAnswer():
            return _answer_fault(message)
        case Block():
            return block_fault(message.block) if _number(message.height) else "height is out of range"
        case Bodies():
            return _transactions_fault(message.transactions, BLOCK_BODY_BYTES_MAX)
        case Prepares():
            return _votes_fault(message.votes)
        case GetBodies():
            sizes = len(message.hash) == HASH_BYTES and len(message.missing) * 8 < BLOCK_TRANSACTIONS_MAX + 8
            return None if sizes and _number(message.height) else "a field of the request is out of range"
        case GetBlock() | GetPrepares():
            sizes = len(message.hash) == HASH_BYTES and _number(message.height)
            return None if sizes else "a field of the request is out of range"
        case GetCertificate():
            return None if _number(message.height) else "height is out of range"


def signed_fault(signed: Signed | SignedProposal | SignedVote) -> str | None:
    """Which field of a signed vote is out of range, or None."""
    message = signed.message
    if not 0 <= signed.index < VALIDATORS_MAX or len(signed.signature) != SIGNATURE_BYTES:
        return "index or signature is out of range"
    if not _number(message.height) or not 0 <= message.round <= ROUND_MAX:
        return "height or round is out of range"
    if isinstance(message, RoundChange):
        if message.prepared_round == -1:
            return None if not message.prepared_hash else "a prepared hash without a round"
        prepared = 0 <= message.prepared_round <= ROUND_MAX and len(message.prepared_hash) == HASH_BYTES
        return None if prepared else "the prepared value is out of range"
    return None if len(message.hash) == HASH_BYTES else "the hash is not 32 bytes"


def block_fault(block: CompactBlock) -> str | None:
    """Which length of a compact block is out of range, or None."""
    if len(block.header) > HEADER_BYTES_MAX:
        return "the header is too large"
    if len(block.ids) % HASH_BYTES or len(block.ids) > BLOCK_TRANSACTIONS_MAX * HASH_BYTES:
        return "the ids are not a list of at most 10,000 hashes"
    if len(block.evidence) > EVIDENCE_ITEMS_MAX:
        return "too many items of evidence"
    return _certificate_fault(block.parent_certificate)


def _number(height: int) -> bool:
    return 0 <= height <= HEIGHT_MAX


def _votes_fault(votes: tuple[SignedPrepare, ...] | tuple[SignedRoundChange, ...]) -> str | None:
    if len(votes) > VALIDATORS_MAX:
        return "more votes than validators"
    return next((fault for vote in votes if (fault := signed_fault(vote))), None)


def _transactions_fault(transactions: tuple[bytes, ...], bytes_max: int) -> str | None:
    if len(transactions) > BLOCK_TRANSACTIONS_MAX or sum(map(len, transactions)) > bytes_max:
        return "too many transactions"
    return None


def _certificate_fault(certificate: Certificate) -> str | None:
    if len(certificate.seals) > VALIDATORS_MAX or len(certificate.block_hash) != HASH_BYTES:
        return "the certificate is out of range"
    if not _number(certificate.height) or not 0 <= certificate.round <= ROUND_MAX:
        return "height or round is out of range"
    return None


def _status_fault(status: Status) -> str | None:
    rounds = (*status.prepares, *status.commits, *status.round_changes, status.proposal_round)
    lists = (status.prepares, status.commits, status.round_changes)
    if any(len(kind) > VALIDATORS_MAX for kind in lists) or not all(-1 <= round <= ROUND_MAX for round in rounds):
        return "a round of the status is out of range"
    sizes = len(status.head_hash) == HASH_BYTES and 0 <= status.round <= ROUND_MAX
    return None if sizes and _number(status.height) else "a field of the status is out of range"


def _answer_fault(answer: LastSeenAnswer) -> str | None:
    if len(answer.nonce) != NONCE_BYTES or len(answer.head_hash) != HASH_BYTES or not _number(answer.head_height):
        return "a field of the answer is out of range"
    if len(answer.votes) > LAST_SEEN_VOTES_MAX:
        return "more votes than an answer may carry"
    fault = next((fault for vote in answer.votes if (fault := signed_fault(vote))), None)
    lock = answer.lock
    if fault is None and lock is not None:
        sizes = len(lock.hash) == HASH_BYTES and _number(lock.height) and 0 <= lock.round <= ROUND_MAX
        fault = _votes_fault(lock.prepares) if sizes else "the lock is out of range"
    return fault or _certificate_fault(answer.head_certificate)
