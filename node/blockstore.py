"""Where blocks, receipts and the node's own facts lie in the store: keys, values, and reading them back.

Rules of this file

* Everything of a block is put into the block's one batch (``node.chain``); nothing here writes by itself.
* The head record names the newest block, its results, and where the signing log stood: all of one batch, so a crash
  leaves either all of a block or nothing.
* Headers, bodies and certificates are kept as the exact bytes that were decided, validator sets by their hash.
* One index of transactions answers clients and decides what is a duplicate: whoever prunes, or fetches a snapshot,
  keeps it for every block of the validity window (``node.pruning``, ``node.snapshot_blocks``), and what is older than
  that can stand in no block any more.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from ledger.blocks import Body, Header, Receipt, RecoveryRecord
from ledger.codec import Wire, decode_own, digest, encode
from ledger.errors import InvariantViolation
from ledger.limits import VALIDITY_WINDOW_MS
from ledger.store import BLOCKS, META, UNDO, Batch, Reader, prefix_stop
from ledger.transactions import transaction_id
from ledger.undo import Undo
from ledger.votes import Certificate, ValidatorEntry

HEAD_KEY: Final = META + b"head"
RECOVERY_KEY: Final = META + b"recovery"
_BEGUN: Final = META + b"begun"
_HEADER: Final = BLOCKS + b"h"
_BODY: Final = BLOCKS + b"b"
_CERTIFICATE: Final = BLOCKS + b"c"
_RECEIPTS: Final = BLOCKS + b"r"
_VALIDATORS: Final = BLOCKS + b"v"
_HEIGHT_OF: Final = BLOCKS + b"H"
_TRANSACTION: Final = BLOCKS + b"t"
_TRANSITION: Final = BLOCKS + b"T"


class HeadRecord(Wire, frozen=True):
    """The newest block of this store and what its execution gave."""

    height: int
    hash: bytes
    state_root: bytes
    receipts_root: bytes
    log_sequence: int
    """Where the signing log stood, durable, when this batch was made; 0 for a node that never signed."""
    log_crc: int


class Place(Wire, frozen=True):
    """Where a transaction was committed."""

    height: int
    position: int
    """In the body, from 0."""


class StoredTransition(Wire, frozen=True):
    """A header that announces another validator set for the next height, and a certificate of it, as exact bytes."""

    header: bytes
    certificate: bytes


class StoredUndo(Wire, frozen=True):
    """What a block overwrote, see ``ledger.undo``."""

    changes: tuple[tuple[bytes, bytes | None], ...]
    """Key and old value, None where there was none."""
    splices: tuple[tuple[bytes, bytes], ...] = ()
    """Key and what was replaced in its value."""


def _at(space: bytes, height: int) -> bytes:
    return space + height.to_bytes(8, "big")


class BlockReader:
    """Blocks of any reader: the store, or a snapshot of it."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def head(self) -> HeadRecord | None:
        """The newest block's record; None in an empty store."""
        raw = self._reader.get(HEAD_KEY)
        return None if raw is None else decode_own(HeadRecord, raw)

    def recovery(self) -> RecoveryRecord | None:
        """The recovery record applied last on this node; of no meaning once its epoch has begun."""
        raw = self._reader.get(RECOVERY_KEY)
        return None if raw is None else decode_own(RecoveryRecord, raw)

    def header_raw(self, height: int) -> bytes | None:
        """The exact bytes of a header."""
        return self._reader.get(_at(_HEADER, height))

    def header(self, height: int) -> Header | None:
        """A decoded header."""
        raw = self.header_raw(height)
        return None if raw is None else decode_own(Header, raw)

    def body_raw(self, height: int) -> bytes | None:
        """The exact bytes of a body; height 0 has none."""
        return self._reader.get(_at(_BODY, height))

    def certificate_raw(self, height: int) -> bytes | None:
        """A valid certificate of the block, as this node decided it."""
        return self._reader.get(_at(_CERTIFICATE, height))

    def receipts(self, height: int) -> tuple[Receipt, ...] | None:
        """The receipts of a block: deadlines first, then transactions in body order."""
        raw = self._reader.get(_at(_RECEIPTS, height))
        return None if raw is None else decode_own(tuple[Receipt, ...], raw)

    def height_of(self, block_hash: bytes) -> int | None:
        """The height of a block hash."""
        raw = self._reader.get(_HEIGHT_OF + block_hash)
        return None if raw is None else int.from_bytes(raw, "big")

    def place_of(self, tx_id: bytes) -> Place | None:
        """Where a transaction was committed."""
        raw = self._reader.get(_TRANSACTION + tx_id)
        return None if raw is None else Place(int.from_bytes(raw[:8], "big"), int.from_bytes(raw[8:], "big"))

    def validators(self, validators_hash: bytes) -> tuple[ValidatorEntry, ...] | None:
        """A validator set by its hash."""
        raw = self._reader.get(_VALIDATORS + validators_hash)
        return None if raw is None else decode_own(tuple[ValidatorEntry, ...], raw)

    def transitions(self, above: int = 0) -> Iterator[StoredTransition]:
        """Those of the heights above ``above``, ascending; they are never pruned."""
        for _, raw in self._reader.scan(_at(_TRANSITION, above + 1), prefix_stop(_TRANSITION)):
            yield decode_own(StoredTransition, raw)

    def recent_ids(self, height: int) -> Iterator[bytes]:
        """The ids that the blocks up to ``height`` hold and that may still be valid in a later one, newest first.

        Of what may still be valid no body is missing: pruning and snapshots keep the window below their head. Where a
        roll-back has moved the head to below that of a pruning, it ends at the first body that is gone; nothing is
        then judged wrongly, for the blocks that come again are decided, and a new epoch invalidates what is signed.
        """
        newest = self.header(height)
        while newest is not None and height > 0:
            header, body = self.header(height), self.body_raw(height)
            if header is None or body is None or header.time_ms + VALIDITY_WINDOW_MS < newest.time_ms:
                return
            yield from map(transaction_id, decode_own(Body, body).transactions)
            height -= 1

    def epoch_begun(self, height: int) -> RecoveryRecord | None:
        """The recovery record by which block ``height`` began an epoch, pruned or not; ``None`` when it began none."""
        body, kept = self.body_raw(height), self._reader.get(_at(_BEGUN, height))
        if body is not None:
            return decode_own(Body, body).recovery
        return None if kept is None else decode_own(RecoveryRecord, kept)

    def content_heights(self, below: int | None = None) -> Iterator[int]:
        """Heights, under ``below``, whose body is still here, ascending."""
        stop = prefix_stop(_BODY) if below is None else _at(_BODY, below)
        for key, _ in self._reader.scan(_at(_BODY, 0), stop):
            yield int.from_bytes(key[len(_BODY) :], "big")

    def undo(self, height: int) -> Batch | None:
        """The batch that takes block ``height`` back; the reader's state must be the one right after that block."""
        raw = self._reader.get(_at(UNDO, height))
        if raw is None:
            return None
        stored = decode_own(StoredUndo, raw)
        return Undo(dict(stored.changes), dict(stored.splices)).batch(self._reader)


def put_block(
    batch: Batch,
    *,
    height: int,
    block_hash: bytes,
    header: bytes,
    body: bytes | None,
    certificate: Certificate,
    receipts: Sequence[Receipt],
    ids: Sequence[bytes],
) -> None:
    """Add a block to its batch. ``ids`` are its transactions' in body order; only height 0 has no body."""
    if (body is None) != (height == 0):
        raise InvariantViolation(f"block {height} with the wrong body")
    number = height.to_bytes(8, "big")
    put_header(batch, height, block_hash, header)
    if body is not None:
        batch.put(_at(_BODY, height), body)
    batch.put(_at(_CERTIFICATE, height), encode(certificate))
    batch.put(_at(_RECEIPTS, height), encode(tuple(receipts)))
    changes = batch.changes
    for position, tx_id in enumerate(ids):
        changes[_TRANSACTION + tx_id] = number + position.to_bytes(4, "big")


def put_header(batch: Batch, height: int, block_hash: bytes, header: bytes) -> None:
    """Add a header alone: of a block from before the window that a snapshot brings in full."""
    batch.put(_at(_HEADER, height), header)
    batch.put(_HEIGHT_OF + block_hash, height.to_bytes(8, "big"))


def body_space() -> tuple[bytes, bytes]:
    """The range of keys of everything kept by height."""
    return BLOCKS, prefix_stop(BLOCKS)


def delete_content(batch: Batch, reader: Reader, height: int) -> None:
    """Give up body, receipts and the index of transactions of a block (``prune``).

    Header and certificate stay, and so does a recovery record: light clients need it to follow into its epoch.
    """
    raw = BlockReader(reader).body_raw(height)
    body = None if raw is None else decode_own(Body, raw)
    for transaction in () if body is None else body.transactions:
        batch.delete(_TRANSACTION + transaction_id(transaction))
    if body is not None and body.recovery is not None:
        put_epoch_begun(batch, height, body.recovery)
    batch.delete(_at(_BODY, height))
    batch.delete(_at(_RECEIPTS, height))


def put_epoch_begun(batch: Batch, height: int, record: RecoveryRecord) -> None:
    """Keep the record by which block ``height`` began an epoch, where its body is not."""
    batch.put(_at(_BEGUN, height), encode(record))


def put_transition(batch: Batch, height: int, transition: StoredTransition) -> None:
    """Keep the header by which the validator set changes: a node that joins follows these from the genesis."""
    batch.put(_at(_TRANSITION, height), encode(transition))


def put_validators(batch: Batch, *sets: tuple[ValidatorEntry, ...]) -> None:
    """Keep validator sets under their hashes."""
    for entries in sets:
        raw = encode(entries)
        batch.put(_VALIDATORS + digest(raw), raw)


def delete_block(batch: Batch, reader: Reader, height: int, ids: Sequence[bytes]) -> None:
    """Take a whole block away; ``ids`` are those of its body's transactions."""
    raw = BlockReader(reader).header_raw(height)
    if raw is not None:
        batch.delete(_HEIGHT_OF + digest(raw))
    for space in (_HEADER, _BODY, _CERTIFICATE, _RECEIPTS, _TRANSITION, _BEGUN):
        batch.delete(_at(space, height))
    for tx_id in ids:
        batch.delete(_TRANSACTION + tx_id)


def undo_key(height: int) -> bytes:
    """Where the undo page of a block lies."""
    return _at(UNDO, height)


def put_recovery(batch: Batch, record: RecoveryRecord) -> None:
    """The record by which the next block begins a new epoch."""
    batch.put(RECOVERY_KEY, encode(record))


def put_head(batch: Batch, record: HeadRecord) -> None:
    """The block of this batch is the newest."""
    batch.put(HEAD_KEY, encode(record))


def put_undo(batch: Batch, height: int, undo: Undo, keep: int) -> None:
    """Keep what block ``height`` overwrote, and forget it of the block ``keep`` below."""
    batch.put(_at(UNDO, height), encode(StoredUndo(tuple(undo.changes.items()), tuple(undo.splices.items()))))
    if height > keep:
        batch.delete(_at(UNDO, height - keep))
