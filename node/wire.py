"""What nodes say to each other beside the agreement: who is where, and blocks for those behind (NODE §1, CONSENSUS §3).

On the SYNC channel travel ``Head`` (told when a link comes up, and at each block to all who do not vote), ``Found``
(evidence that waits for a block, told to all) and
the question ``GetBlocks`` with its answer ``Blocks``. Votes are ``consensus.messages`` on the CONSENSUS channel,
transactions ``p2p.gossip`` on TRANSACTIONS.

Every length is limited before anything is handled; what ``decode_*`` returns needs no second check of sizes. Nothing
here is verified: a certificate is checked where the validator set of its height is known.
"""

from typing import Final, TypeVar

from ledger.blocks import Evidence
from ledger.codec import Wire, decode, encode
from ledger.errors import MalformedBytes, PeerError
from ledger.limits import BLOCK_BODY_BYTES_MAX, CERTIFICATE_BYTES_MAX, EVIDENCE_BYTES_MAX, HEADER_BYTES_MAX
from ledger.votes import Certificate

M = TypeVar("M")

HEAD_BYTES_MAX: Final = CERTIFICATE_BYTES_MAX + 128
FOUND_BYTES_MAX: Final = EVIDENCE_BYTES_MAX + 16
QUESTION_BYTES_MAX: Final = 64
BLOCKS_PER_ANSWER_MAX: Final = 64
ANSWER_BYTES: Final = 4 << 20
"""An answer is closed once it has so many bytes; one block is always sent."""
ANSWER_BYTES_MAX: Final = ANSWER_BYTES + BLOCK_BODY_BYTES_MAX + 2 * (HEADER_BYTES_MAX + CERTIFICATE_BYTES_MAX)
HEIGHT_MAX: Final = 2**63 - 1
_FOUND: Final = b"\x92\xa5found"
"""How the array of a ``Found`` begins: two items, the tag first."""


class Head(Wire, frozen=True, tag="head"):
    """The sender's newest block, durable there, with the certificate that proves it."""

    height: int
    hash: bytes
    certificate: Certificate


class Found(Wire, frozen=True, tag="found"):
    """Evidence that is new to the sender, who has verified it."""

    evidence: Evidence


class GetBlocks(Wire, frozen=True, tag="get_blocks"):
    """Ask for the blocks from ``first`` to ``last`` inclusive; the answer may be shorter, never empty."""

    first: int
    last: int


class RawBlock(Wire, frozen=True):
    """One block as it is stored: the exact bytes of header and body, and a certificate of it."""

    header: bytes
    body: bytes
    certificate: bytes

    @property
    def size(self) -> int:
        """Bytes it takes in an answer, but for a few of framing."""
        return len(self.header) + len(self.body) + len(self.certificate)


class Blocks(Wire, frozen=True, tag="blocks"):
    """The blocks asked for, ascending from ``first``."""

    blocks: tuple[RawBlock, ...]


def encode_wire(message: Head | Found | GetBlocks | Blocks) -> bytes:
    """The bytes of a message."""
    return encode(message)


def is_found(raw: bytes) -> bool:
    """Whether the message is a ``Found``, if it is anything."""
    return raw.startswith(_FOUND)


def decode_found(raw: bytes) -> Found:
    """A ``Found``. Raises ``PeerError`` MALFORMED."""
    return decode_wire(Found, raw, FOUND_BYTES_MAX)


def decode_head(raw: bytes) -> Head:
    """A ``Head``. Raises ``PeerError`` MALFORMED."""
    head = decode_wire(Head, raw, HEAD_BYTES_MAX)
    if not 0 <= head.height <= HEIGHT_MAX or len(head.hash) != 32:
        raise PeerError("MALFORMED", "a head out of range")
    if head.certificate.height != head.height or head.certificate.block_hash != head.hash:
        raise PeerError("MALFORMED", "a head with the certificate of another block")
    return head


def decode_question(raw: bytes) -> GetBlocks:
    """A ``GetBlocks``. Raises ``PeerError`` MALFORMED."""
    question = decode_wire(GetBlocks, raw, QUESTION_BYTES_MAX)
    if not 1 <= question.first <= question.last <= HEIGHT_MAX:
        raise PeerError("MALFORMED", f"blocks {question.first} to {question.last}")
    return question


def decode_answer(raw: bytes, question: GetBlocks) -> tuple[RawBlock, ...]:
    """The blocks of the answer to ``question``. Raises ``PeerError`` MALFORMED."""
    blocks = decode_wire(Blocks, raw, ANSWER_BYTES_MAX).blocks
    if not 1 <= len(blocks) <= min(BLOCKS_PER_ANSWER_MAX, question.last - question.first + 1):
        raise PeerError("MALFORMED", f"{len(blocks)} blocks for {question.first} to {question.last}")
    for block in blocks:
        if len(block.header) > HEADER_BYTES_MAX or len(block.certificate) > CERTIFICATE_BYTES_MAX:
            raise PeerError("MALFORMED", "a header or certificate that is too large")
        if len(block.body) > BLOCK_BODY_BYTES_MAX:
            raise PeerError("MALFORMED", "a body that is too large")
    return blocks


def decode_wire(kind: type[M], raw: bytes, bytes_max: int) -> M:
    """What a peer sent, as ``kind``; no range is checked here. Raises ``PeerError`` MALFORMED."""
    try:
        return decode(kind, raw, bytes_max=bytes_max)
    except MalformedBytes as error:
        raise PeerError("MALFORMED", f"{kind.__name__}: {error.detail}") from error
