"""The head of a store at a start: made from the genesis when the store is empty, else taken up where it was left.

What the head record and the headers name must be there; anything missing is an InvariantViolation, for the batch that
wrote the record wrote the rest as well.
"""

from consensus.log import Position
from ledger import validity
from ledger.blocks import Header, genesis_certificate, header_hash, txs_root
from ledger.codec import decode_own, encode
from ledger.errors import InvariantViolation, PeerError
from ledger.evidence import AGE_BLOCKS_MAX, SetSince, sets_with
from ledger.genesis import Genesis, initial_batch
from ledger.store import Reader, Store
from ledger.validity import HeightView

from . import blockstore
from .blockstore import BlockReader, HeadRecord


def load_view(store: Store, genesis: Genesis) -> tuple[HeightView, Position]:
    """The head of the store, which is made from the genesis when it is empty; and the log position it remembers.

    A recovery that ``huzhu recover apply`` left here is in force for the next block.
    """
    if BlockReader(store).head() is None:
        return _begin(store, genesis), Position(0, 0)
    view, position = view_of(store, genesis)
    record = BlockReader(store).recovery()
    if record is None or record.epoch <= view.epoch:
        return view, position
    try:
        return validity.recovered_view(view, record), position
    except PeerError as error:
        raise InvariantViolation(f"the recovery record in the store does not follow its head: {error}") from error


def view_of(store: Reader, genesis: Genesis) -> tuple[HeightView, Position]:
    """The head of a store that has one, whatever recovery waits; and the log position it remembers."""
    blocks = BlockReader(store)
    head = blocks.head()
    if head is None:
        raise InvariantViolation("the store has no head")
    position = Position(head.log_sequence, head.log_crc)
    header_raw = blocks.header_raw(head.height)
    if header_raw is None or header_hash(header_raw) != head.hash:
        raise InvariantViolation(f"the head {head.height} is not in the store")
    header = decode_own(Header, header_raw)
    if head.height == 0:
        view = validity.view_at_genesis(
            store, chain_id=genesis.chain_id, params=genesis.params, header=header, state_root=head.state_root
        )
        return view, position
    parent = blocks.header(head.height - 1)
    own, following = blocks.validators(header.validators_hash), blocks.validators(header.next_validators_hash)
    if parent is None or own is None or following is None:
        raise InvariantViolation(f"the parent or the validators of the head {head.height} are not in the store")
    view = validity.restored_view(
        store,
        chain_id=genesis.chain_id,
        params=genesis.params,
        header=header,
        header_raw=header_raw,
        parent_header=parent,
        validators=own,
        next_validators=following,
        state_root=head.state_root,
        receipts_root=head.receipts_root,
        recent_sets=_recent_sets(blocks, head.height),
    )
    return view, position


def _recent_sets(blocks: BlockReader, head_height: int) -> tuple[SetSince, ...]:
    """The validator sets of the last heights that evidence may name; a pruned store keeps those headers."""
    sets: tuple[SetSince, ...] = ()
    for height in range(max(0, head_height - AGE_BLOCKS_MAX), head_height + 1):
        header = blocks.header(height)
        validators = None if header is None else blocks.validators(header.validators_hash)
        if header is None or validators is None:
            raise InvariantViolation(f"the header or the validators of {height} are not in the store")
        sets = sets_with(sets, SetSince(height, header.epoch, validators))
    return sets


def _begin(store: Store, genesis: Genesis) -> HeightView:
    batch, header, root = initial_batch(genesis)
    raw = encode(header)
    hash_ = header_hash(raw)
    view_root = txs_root([])
    blockstore.put_block(
        batch,
        height=0,
        block_hash=hash_,
        header=raw,
        body=None,
        certificate=genesis_certificate(hash_),
        receipts=(),
        ids=(),
    )
    blockstore.put_validators(batch, genesis.validators())
    blockstore.put_head(batch, HeadRecord(0, hash_, root, view_root, 0, 0))
    store.write(batch)
    return validity.view_at_genesis(
        store, chain_id=genesis.chain_id, params=genesis.params, header=header, state_root=root
    )
