"""Executing a stored chain again from its genesis, in a fresh store, to compare every root (NODE §3, ``replay``).

Rules of this file

* What is compared: each header with what its parent's execution gives (state root, receipts root and all other fields,
  by ``ledger.validity``), each certificate with the validator set that the execution itself gives, each receipt; at the
  end the head record and, row by row, the tables.
* The first difference ends it and is shown as near to its cause as the store allows: the first receipt that differs,
  and the first row, as long as the undo pages reach back to the block.
* Signatures of transactions are not verified again: the certificate of their block is.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ledger import validity
from ledger.apply import apply_block
from ledger.blocks import Body, Header, Receipt, decode_body, header_hash
from ledger.codec import decode_own
from ledger.errors import InvariantViolation, OperatorError, PeerError
from ledger.genesis import Genesis
from ledger.store import Overlay, Reader, Store
from ledger.tables import Table, TableReader
from ledger.transactions import Transaction, decode_transaction, transaction_id
from ledger.validity import HeightView
from ledger.votes import Certificate, certificate_fault

from .blockstore import BlockReader, HeadRecord
from .resume import load_view

Progress = Callable[[int, int], None]
"""Called after each block with its height and the last one."""


@dataclass(frozen=True, slots=True)
class RowDifference:
    """A row that the store holds otherwise than the execution made it; ``None``: there is none, or it is damaged."""

    table: Table
    row_id: int
    stored: bytes | None
    computed: bytes | None


@dataclass(frozen=True, slots=True)
class Difference:
    """The first thing that is not what the execution gives. ``height``: the block that was executed otherwise."""

    height: int
    what: str
    stored: str
    computed: str
    row: RowDifference | None = None


@dataclass(frozen=True, slots=True)
class Replayed:
    """How far the chain was executed, and what differs."""

    height: int
    transactions: int
    seconds: float
    state_root: bytes
    difference: Difference | None


def replay(source: Store, genesis: Genesis, fresh: Store, *, to: int | None, progress: Progress) -> Replayed:
    """Execute the blocks of ``source`` up to ``to`` (default: the head) in the empty store ``fresh``.

    Raises ``OperatorError`` NO_BLOCKS or BLOCK_MISSING.
    """
    begun_s, blocks = time.perf_counter(), BlockReader(source)
    head = blocks.head()
    if head is None:
        raise OperatorError("NO_BLOCKS", "the database holds no block yet", "", "`huzhu start`", exit_code=1)
    last = head.height if to is None else min(to, head.height)
    view, _ = load_view(fresh, genesis)
    count, difference = 0, None
    for height in range(1, last + 1):
        block = _block(blocks, height)
        header, body = block.header, block.body
        transactions = [(transaction_id(raw), decode_transaction(raw)) for raw in body.transactions]
        try:
            view = validity.view_for(view, body.recovery)
        except PeerError as error:
            difference = Difference(height, error.code, error.detail, "valid")
            break
        difference = _check(view, block, transactions)
        if difference is not None:
            break
        applied = apply_block(fresh, view, header, body.parent_certificate, transactions, body.evidence)
        difference = _receipts(height, blocks.receipts(height) or (), applied.receipts)
        if difference is not None:
            break
        fresh.write(applied.batch)
        view = applied.view
        count += len(transactions)
        progress(height, last)
    if difference is None and last == head.height:
        difference = _head(head, view)
    if difference is not None:
        difference = _with_row(difference, source, fresh, head, view)
    elif last == head.height:
        row = _first_row(source, fresh)
        if row is not None:
            difference = Difference(head.height, "a row", _hex(row.stored), _hex(row.computed), row)
    return Replayed(view.height, count, time.perf_counter() - begun_s, view.state_root, difference)


@dataclass(frozen=True, slots=True)
class _Block:
    header_raw: bytes
    header: Header
    body: Body
    body_bytes: int
    certificate: Certificate


def _block(blocks: BlockReader, height: int) -> _Block:
    header, body, certificate = blocks.header_raw(height), blocks.body_raw(height), blocks.certificate_raw(height)
    if header is None or body is None or certificate is None:
        raise OperatorError(
            "BLOCK_MISSING",
            f"block {height} is not in the database",
            "a chain is replayed from its first block on",
            "use a node that has kept all blocks",
            exit_code=6,
        )
    return _Block(
        header, decode_own(Header, header), decode_body(body), len(body), decode_own(Certificate, certificate)
    )


def _check(view: HeightView, block: _Block, transactions: Sequence[tuple[bytes, Transaction]]) -> Difference | None:
    """Whether the block is valid on ``view``, and decided by the validators that the execution gives."""
    header, certificate = block.header, block.certificate
    if header.state_root != view.state_root:
        return Difference(view.height, "state root", header.state_root.hex(), view.state_root.hex())
    if header.receipts_root != view.receipts_root:
        return Difference(view.height, "receipts root", header.receipts_root.hex(), view.receipts_root.hex())
    hash_ = header_hash(block.header_raw)
    if certificate.block_hash != hash_:
        return Difference(header.height, "block hash", certificate.block_hash.hex(), hash_.hex())
    fault = certificate_fault(certificate, view.next_validators, view.chain_id, view.epoch)
    if fault is not None:
        return Difference(header.height, "certificate", fault, "valid")
    try:
        validity.check_header(view, header, block.header_raw)
        validity.check_body(view, header, block.body, transactions, body_bytes=block.body_bytes)
    except PeerError as error:
        return Difference(header.height, error.code, error.detail, "valid")
    return None


def _receipts(height: int, stored: Sequence[Receipt], computed: Sequence[Receipt]) -> Difference | None:
    for at in range(max(len(stored), len(computed))):
        old = stored[at] if at < len(stored) else None
        new = computed[at] if at < len(computed) else None
        if old != new:
            return Difference(height, f"receipt {at}", _receipt(old), _receipt(new))
    return None


def _receipt(receipt: Receipt | None) -> str:
    if receipt is None:
        return "none"
    subject = receipt.subject.hex() if isinstance(receipt.subject, bytes) else str(receipt.subject)
    return f"{subject} {receipt.code} {list(receipt.detail)}"


def _head(head: HeadRecord, view: HeightView) -> Difference | None:
    for what, stored, computed in (
        ("block hash", head.hash, view.header_hash),
        ("state root", head.state_root, view.state_root),
        ("receipts root", head.receipts_root, view.receipts_root),
    ):
        if stored != computed:
            return Difference(head.height, what, stored.hex(), computed.hex())
    return None


# ---- rows ------------------------------------------------------------------------------------------------------------


def _with_row(found: Difference, source: Store, fresh: Store, head: HeadRecord, view: HeightView) -> Difference:
    """The difference with the first row that differs after its block, as long as the undo pages reach back to it."""
    stored: Overlay = Overlay(source)
    blocks = BlockReader(stored)
    for height in range(head.height, view.height, -1):
        undo = blocks.undo(height)
        if undo is None:
            return found
        stored.apply(undo)
    row = _first_row(stored, fresh)
    return Difference(found.height, found.what, found.stored, found.computed, row)


def _first_row(stored: Reader, computed: Reader) -> RowDifference | None:
    """The first row, in the order of the tables, that is not the same in both."""
    ours, theirs = TableReader(computed), TableReader(stored)
    for table in Table:
        if ours.table_root(table) == theirs.table_root(table) and ours.length(table) == theirs.length(table):
            damaged = _scan(theirs, table, ours)
            if damaged is not None:
                return damaged
            continue
        for row_id in range(max(ours.length(table), theirs.length(table))):
            old, new = _row(theirs, table, row_id), _row(ours, table, row_id)
            if old != new:
                return RowDifference(table, row_id, old, new)
    return None


def _scan(stored: TableReader, table: Table, computed: TableReader) -> RowDifference | None:
    """Rows under equal roots differ only when the store's pages are damaged."""
    for row_id, new in computed.scan(table):
        old = _row(stored, table, row_id)
        if old != new:
            return RowDifference(table, row_id, old, new)
    return None


def _row(reader: TableReader, table: Table, row_id: int) -> bytes | None:
    if row_id >= reader.length(table):
        return None
    try:
        return reader.get(table, row_id)
    except InvariantViolation:
        return None


def _hex(raw: bytes | None) -> str:
    return "none" if raw is None else raw.hex()
