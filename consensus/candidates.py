"""Blocks known at the open height, by hash: their compact form, their transactions, the node's verdict (CONSENSUS §2).

A body fetch or check is not cancelled by a round change: its result is kept here by block hash. Bodies we proposed or
prepared are *pinned* until the height is decided. A peer cannot fill this: a block enters only as the accepted
proposal of our round, or because q signed messages name it; at most ``CANDIDATES_MAX`` are kept, pinned ones
longest, the locked one always.
"""

from collections.abc import Iterable
from typing import Final

from ledger.blocks import Header, RecoveryRecord, certificate_hash, decode_header, evidence_root, header_hash, txs_root
from ledger.codec import digest
from ledger.errors import MalformedBytes
from ledger.recovery import same_record

from .context import HeightContext
from .events import Verdict
from .messages import CompactBlock

CANDIDATES_MAX: Final = 32


class Candidate:
    """One block: ``block`` never changes; transactions come in, then a verdict."""

    def __init__(self, hash: bytes, header: Header, block: CompactBlock) -> None:
        self.hash = hash
        self.header = header
        self.block = block
        self.ids = block.id_list()
        self.verdict: Verdict | None = None
        self.check_asked = False
        self.fetch_asked = False
        self.fetch_answered = False
        self.pinned = False
        self._found: list[bytes | None] = [None] * len(self.ids)
        self._missing = len(self.ids)
        self._positions: dict[bytes, int] | None = None

    @property
    def complete(self) -> bool:
        """Whether every transaction body is here."""
        return self._missing == 0

    @property
    def transactions(self) -> tuple[bytes, ...]:
        """In body order; only those found."""
        return tuple(raw for raw in self._found if raw is not None)

    def fill(self, transactions: Iterable[bytes | None]) -> None:
        """Take transactions aligned with the ids; their ids were checked by whoever found them."""
        for position, raw in enumerate(transactions):
            if raw is not None and position < len(self._found):
                self._put(position, raw)

    def take(self, transactions: Iterable[bytes]) -> int:
        """Take transactions from a peer, by their ids; how many belong here."""
        if self._positions is None:
            self._positions = {id: position for position, id in enumerate(self.ids)}
        taken = 0
        for raw in transactions:
            position = self._positions.get(digest(raw))
            if position is not None:
                self._put(position, raw)
                taken += 1
        return taken

    def missing_bitmap(self) -> bytes:
        """Bit i, least significant first, is position i."""
        bits = bytearray(-(-len(self._found) // 8))
        for position, raw in enumerate(self._found):
            if raw is None:
                bits[position >> 3] |= 1 << (position & 7)
        return bytes(bits)

    def wanted_of(self, bitmap: bytes) -> tuple[bytes, ...]:
        """The transactions held at the positions of ``bitmap``."""
        return tuple(
            raw
            for position, raw in enumerate(self._found)
            if raw is not None and position >> 3 < len(bitmap) and bitmap[position >> 3] >> (position & 7) & 1
        )

    def _put(self, position: int, raw: bytes) -> None:
        if self._found[position] is None:
            self._found[position] = raw
            self._missing -= 1


class Candidates:
    """The candidates of one height."""

    def __init__(self, context: HeightContext) -> None:
        self._context = context
        self._by_hash: dict[bytes, Candidate] = {}

    def get(self, hash: bytes) -> Candidate | None:
        """The candidate of this hash."""
        return self._by_hash.get(hash)

    def examine(self, block: CompactBlock) -> Candidate | str:
        """The candidate of this block, held or *not kept yet*; or what is wrong with the block."""
        hash = header_hash(block.header)
        held = self._by_hash.get(hash)
        if held is not None:
            return held
        try:
            header = decode_header(block.header)
        except MalformedBytes as error:
            return f"the header is malformed: {error.detail}"
        candidate = Candidate(hash, header, block)
        return block_fault(self._context, candidate) or candidate

    def keep(self, candidate: Candidate, locked: bytes = b"") -> None:
        """Keep it; the caller knows that it is justified or asked for. ``locked`` is never evicted."""
        if candidate.hash not in self._by_hash:
            self._make_room(locked)
            self._by_hash[candidate.hash] = candidate

    def add(self, block: CompactBlock, locked: bytes = b"") -> Candidate | str:
        """``examine``, then ``keep``."""
        candidate = self.examine(block)
        if isinstance(candidate, Candidate):
            self.keep(candidate, locked)
        return candidate

    def __len__(self) -> int:
        return len(self._by_hash)

    def _make_room(self, locked: bytes) -> None:
        if len(self._by_hash) >= CANDIDATES_MAX:
            others = [candidate for candidate in self._by_hash.values() if candidate.hash != locked]
            del self._by_hash[min(others, key=lambda candidate: candidate.pinned).hash]


def block_fault(context: HeightContext, candidate: Candidate) -> str | None:
    """What is wrong with a block that the header and the open height tell; None when the node may check the rest.

    The ids are checked against ``txs_root`` here, *before any fetch*.
    """
    header, block = candidate.header, candidate.block
    if (header.version, header.epoch, header.height) != (context.version, context.epoch, context.height):
        return "version, epoch or height of the header"
    if header.parent != context.parent_hash:
        return "the parent is not our head"
    if len(candidate.ids) != header.tx_count or len(set(candidate.ids)) != header.tx_count:
        return "tx_count, or an id twice"
    if txs_root(list(candidate.ids)) != header.txs_root:
        return "txs_root"
    if certificate_hash(block.parent_certificate) != header.parent_certificate_hash:
        return "parent_certificate_hash"
    if evidence_root(block.evidence) != header.evidence_root:
        return "evidence_root"
    return None if _recovers_alike(context.recovery, block.recovery) else "recovery"


def _recovers_alike(ours: RecoveryRecord | None, theirs: RecoveryRecord | None) -> bool:
    """Whether the body holds the record that begins this epoch. The header does not bind it: without this anybody who
    passes the block on could put a false one beside it, and its verdict would be kept by the block's hash.
    """
    if ours is None or theirs is None:
        return ours is theirs
    return same_record(ours, theirs)
