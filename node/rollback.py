"""Taking the newest blocks of a stopped node back, by the undo pages that each batch kept (LEDGER §1).

Rules of this file

* One synced batch takes back everything: state, indexes, blocks and the head record. What no page reaches any
  more is refused; nothing is taken back half.
* A decided block stays decided: ``huzhu rollback`` makes one node forget it, and it comes again from the peers. Only
  ``huzhu recover`` puts another one in its place, in a new epoch. The signing record goes back in neither.
"""

from dataclasses import dataclass

from msgspec.structs import replace

from ledger.blocks import decode_body, header_hash
from ledger.errors import InvariantViolation, OperatorError
from ledger.store import Batch, Overlay, Reader, Store
from ledger.tables import TableReader
from ledger.transactions import transaction_id

from . import blockstore
from .blockstore import BlockReader


@dataclass(frozen=True, slots=True)
class DroppedBlock:
    """A block that a roll-back takes from this node."""

    height: int
    hash: bytes
    time_ms: int
    transactions: int


def above(reader: Reader, height: int) -> list[DroppedBlock]:
    """The blocks above ``height``, ascending."""
    blocks = BlockReader(reader)
    head = blocks.head()
    found = []
    for number in range(height + 1, (head.height if head is not None else 0) + 1):
        header, raw = blocks.header(number), blocks.header_raw(number)
        if header is None or raw is None:
            raise InvariantViolation(f"header {number} is not in the store")
        found.append(DroppedBlock(number, header_hash(raw), header.time_ms, header.tx_count))
    return found


def roll_back(store: Reader, height: int) -> Batch:
    """The batch that makes block ``height`` the head of a stopped node's store.

    Raises ``OperatorError`` TOO_DEEP when the undo pages do not reach so far.
    """
    blocks = BlockReader(store)
    head = blocks.head()
    if head is None or not 0 <= height <= head.height:
        raise OperatorError("TOO_DEEP", f"there is no block {height} to go back to", "", "see `huzhu status`")
    batch = Batch()
    if height == head.height:
        return batch
    before = Overlay(store)
    for number in range(head.height, height, -1):
        undo, following = BlockReader(before).undo(number), blocks.header(number)
        if undo is None or following is None:
            raise OperatorError(
                "TOO_DEEP",
                f"block {number} cannot be taken back",
                "a node remembers how for its newest blocks only",
                "`huzhu reset`, then fetch the blocks from a node that has the head that is kept",
                exit_code=1,
            )
        batch.update(undo)
        before.apply(undo)
        blockstore.delete_block(batch, store, number, _ids(blocks, number))
        batch.delete(blockstore.undo_key(number))
    certified = blocks.header(height + 1)
    raw = blocks.header_raw(height)
    if certified is None or raw is None:
        raise InvariantViolation(f"header {height} is not in the store")
    record = replace(
        head,
        height=height,
        hash=header_hash(raw),
        state_root=certified.state_root,
        receipts_root=certified.receipts_root,
    )
    blockstore.put_head(batch, record)
    return batch


def _ids(blocks: BlockReader, height: int) -> list[bytes]:
    raw = blocks.body_raw(height)
    if raw is None:
        raise InvariantViolation(f"body {height} is not in the store")
    return [transaction_id(item) for item in decode_body(raw).transactions]


def take_back(store: Store, height: int) -> list[DroppedBlock]:
    """Make block ``height`` the head of a stopped node's store; what was taken back, ascending.

    The state that the undo pages give is compared with what the next header certifies before anything is written.
    Raises ``OperatorError`` TOO_DEEP, BELOW_RECOVERY, UNDO_DIFFERS.
    """
    record, dropped = BlockReader(store).recovery(), above(store, height)
    if record is not None and height < record.head_height:
        raise OperatorError(
            "BELOW_RECOVERY",
            f"epoch {record.epoch} goes on from block {record.head_height}, which would be taken back",
            "the organisations agreed on that block: what is below it stays",
            f"name no height below {record.head_height}, or `huzhu reset`",
            exit_code=1,
        )
    batch = roll_back(store, height)
    there = Overlay(store)
    there.apply(batch)
    head, root = BlockReader(there).head(), TableReader(there).root()
    if head is None or root != head.state_root:
        raise OperatorError(
            "UNDO_DIFFERS",
            f"the state before block {height + 1} cannot be made again",
            f"the undo pages give {root.hex()}, header {height + 1} certifies another root",
            "`huzhu doctor`, then `huzhu reset`: the chain comes back from the peers",
            exit_code=6,
        )
    if dropped:
        store.write(batch)
    return dropped
