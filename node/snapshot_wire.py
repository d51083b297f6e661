"""Questions and answers of a snapshot on the SYNC class: what state is offered, its nodes, rows, headers, receipts.

A snapshot is named by the height of the header that certifies it: header h holds the state root after h - 1. Everything
but the table lengths is bound by that header; the lengths are bound by row 0 of ``meta``, which comes first.

Every length is limited before anything is handled, as in ``node.wire``; nothing here is verified.
"""

from typing import Any, Final

from ledger.blocks import RecoveryRecord
from ledger.codec import Wire, decode, encode
from ledger.errors import MalformedBytes, PeerError
from ledger.limits import CERTIFICATE_BYTES_MAX, HEADER_BYTES_MAX, RECOVERY_SIGNATURES_MAX, VALIDATORS_MAX
from ledger.pages import NODE_BYTES, WIDTH
from ledger.proofs import HASH_BYTES
from ledger.subtrees import Subtree
from ledger.tables import ROW_BYTES_MAX, TABLES, Table
from ledger.votes import ValidatorEntry

from .wire import HEIGHT_MAX, QUESTION_BYTES_MAX, GetBlocks, decode_wire

LEVEL_MAX: Final = 15
PIECE_LEVEL: Final = 2
"""A table is fetched in subtrees of this level: 4,096 rows, half a megabyte of members."""
ROWS_BYTES: Final = 4 << 20
"""A piece with more bytes of rows is refused as TOO_LARGE, and asked for by its children; a page never is."""
ROWS_ANSWER_BYTES_MAX: Final = WIDTH * (ROW_BYTES_MAX + 8) + ROWS_BYTES + 65_536
NODES_MAX: Final = 1_024
HEADERS_MAX: Final = 256
RECEIPTS_MAX: Final = 16
RECEIPTS_BYTES: Final = 4 << 20
TRANSITIONS_MAX: Final = 4_096
OFFER_BYTES_MAX: Final = 8 << 20


class GetSnapshot(Wire, frozen=True, tag="get_snapshot"):
    """Offer me a snapshot: that of ``height`` if it can be had soon, else another one."""

    height: int


class GetNodes(Wire, frozen=True, tag="get_nodes"):
    """Inner nodes of one level of a table, from ``first`` on."""

    height: int
    table: int
    level: int
    first: int
    count: int


class GetRows(Wire, frozen=True, tag="get_rows"):
    """The rows of a subtree."""

    height: int
    table: int
    level: int
    index: int


class GetHeaders(Wire, frozen=True, tag="get_headers"):
    """Headers from ``first`` to ``last`` inclusive; the answer has all of them."""

    first: int
    last: int


class GetReceipts(Wire, frozen=True, tag="get_receipts"):
    """Receipts of the blocks from ``first`` to ``last``; the answer may be shorter, never empty."""

    first: int
    last: int


class GetAdmission(Wire, frozen=True, tag="get_admission"):
    """What has become of my organisation's application? The only question of a status-only link."""


Question = GetBlocks | GetSnapshot | GetNodes | GetRows | GetHeaders | GetReceipts | GetAdmission


class Transition(Wire, frozen=True):
    """A certified header that announces another validator set for the next height, and that set.

    A new epoch takes two: the head that was kept, and the block above it, which the set of ``recovery`` has signed."""

    header: bytes
    certificate: bytes
    following: tuple[ValidatorEntry, ...]
    recovery: RecoveryRecord | None
    """The record by which this header begins an epoch."""


class Snapshot(Wire, frozen=True, tag="snapshot"):
    """What is offered: the certifying header, how the validators came to sign it, and the tables."""

    height: int
    header: bytes
    certificate: bytes
    transitions: tuple[Transition, ...]
    """All since height 0, ascending."""
    lengths: tuple[int, ...]
    """Of the tables, by tag - 1."""
    roots: tuple[bytes, ...]


class Nodes(Wire, frozen=True, tag="nodes"):
    """The nodes asked for."""

    nodes: tuple[bytes, ...]


class Rows(Wire, frozen=True, tag="rows"):
    """The rows of the subtree, ascending by id."""

    rows: tuple[bytes, ...]


class Headers(Wire, frozen=True, tag="headers"):
    """The exact bytes of the headers asked for."""

    headers: tuple[bytes, ...]


class ReceiptLists(Wire, frozen=True, tag="receipts"):
    """For each block the canonical array of its receipts."""

    lists: tuple[bytes, ...]


class Admission(Wire, frozen=True, tag="admission"):
    """How far the application of the asking node's organisation has come."""

    state: str
    """``unknown`` (no proposal names this node), a ``ProposalState`` in lower case, or ``admitted``."""
    proposal: int
    """-1: none."""
    in_favour: int
    needed: int
    due_ms: int
    """Ledger time at which the votes end, or it is enacted; 0 when neither."""
    height: int
    """Of the answering node."""


Answer = Snapshot | Nodes | Rows | Headers | ReceiptLists | Admission


def decode_any_question(raw: bytes) -> Any:
    """A question of the sync class, its numbers in range. Raises ``PeerError`` MALFORMED."""
    try:
        question = decode(Question, raw, bytes_max=QUESTION_BYTES_MAX)
    except MalformedBytes as error:
        raise PeerError("MALFORMED", f"question: {error.detail}") from error
    numbers = [getattr(question, name) for name in question.__struct_fields__]
    if not all(0 <= number <= HEIGHT_MAX for number in numbers):
        raise PeerError("MALFORMED", "a number out of range")
    if isinstance(question, GetBlocks | GetHeaders | GetReceipts) and not question.first <= question.last:
        raise PeerError("MALFORMED", f"from {question.first} to {question.last}")
    if isinstance(question, GetHeaders) and question.last - question.first >= HEADERS_MAX:
        raise PeerError("MALFORMED", f"{question.last - question.first + 1} headers")
    if isinstance(question, GetNodes | GetRows) and not (1 <= question.table <= TABLES and question.level <= LEVEL_MAX):
        raise PeerError("MALFORMED", f"table {question.table}, level {question.level}")
    if isinstance(question, GetNodes) and not (1 <= question.count <= NODES_MAX and question.level):
        raise PeerError("MALFORMED", f"{question.count} nodes of level {question.level}")
    return question


def rows_question(height: int, where: Subtree) -> GetRows:
    """Ask for a subtree of the snapshot ``height``."""
    return GetRows(height, int(where.table), where.level, where.index)


def subtree_of(question: GetRows) -> Subtree:
    """The subtree that is asked for."""
    return Subtree(Table(question.table), question.level, question.index)


def decode_offer(raw: bytes) -> Snapshot:
    """A ``Snapshot``. Raises ``PeerError`` MALFORMED."""
    offer = decode_wire(Snapshot, raw, OFFER_BYTES_MAX)
    fine = (
        1 <= offer.height <= HEIGHT_MAX
        and len(offer.header) <= HEADER_BYTES_MAX
        and len(offer.certificate) <= CERTIFICATE_BYTES_MAX
        and len(offer.lengths) == len(offer.roots) == TABLES
        and all(0 <= length <= HEIGHT_MAX for length in offer.lengths)
        and all(len(root) == HASH_BYTES for root in offer.roots)
        and len(offer.transitions) <= TRANSITIONS_MAX
        and all(1 <= len(item.following) <= VALIDATORS_MAX for item in offer.transitions)
        and all(
            len(item.recovery.signatures) <= RECOVERY_SIGNATURES_MAX
            for item in offer.transitions
            if item.recovery is not None
        )
    )
    if not fine:
        raise PeerError("MALFORMED", "an offer out of range")
    return offer


def decode_nodes(raw: bytes, question: GetNodes) -> tuple[bytes, ...]:
    """The nodes asked for. Raises ``PeerError`` MALFORMED."""
    nodes = decode_wire(Nodes, raw, NODES_MAX * (NODE_BYTES + 8) + 64).nodes
    if len(nodes) != question.count or any(len(node) != NODE_BYTES for node in nodes):
        raise PeerError("MALFORMED", f"{len(nodes)} nodes for {question.count}")
    return nodes


def decode_rows(raw: bytes) -> tuple[bytes, ...]:
    """The rows of a subtree. Raises ``PeerError`` MALFORMED."""
    return decode_wire(Rows, raw, ROWS_ANSWER_BYTES_MAX).rows


def decode_headers(raw: bytes, question: GetHeaders) -> tuple[bytes, ...]:
    """The headers asked for. Raises ``PeerError`` MALFORMED."""
    headers = decode_wire(Headers, raw, HEADERS_MAX * (HEADER_BYTES_MAX + 8) + 64).headers
    if len(headers) != question.last - question.first + 1 or any(len(item) > HEADER_BYTES_MAX for item in headers):
        raise PeerError("MALFORMED", f"{len(headers)} headers for {question.first} to {question.last}")
    return headers


def decode_receipt_lists(raw: bytes, question: GetReceipts) -> tuple[bytes, ...]:
    """Receipts of at least the first block asked for. Raises ``PeerError`` MALFORMED."""
    lists = decode_wire(ReceiptLists, raw, 4 * RECEIPTS_BYTES).lists
    if not 1 <= len(lists) <= min(RECEIPTS_MAX, question.last - question.first + 1):
        raise PeerError("MALFORMED", f"receipts of {len(lists)} blocks")
    return lists


def decode_admission(raw: bytes) -> Admission:
    """An ``Admission``. Raises ``PeerError`` MALFORMED."""
    found = decode_wire(Admission, raw, 256)
    if not (found.state.isascii() and found.state.isalpha() and len(found.state) <= 32):
        raise PeerError("MALFORMED", "the state of an application is one word")
    return found


def encode_answer(answer: Answer | Question) -> bytes:
    """The bytes of an answer, or of a question."""
    return encode(answer)
