"""A node's chain over a store in memory, beside a chain of real certified blocks to feed it with."""

from typing import Any

from consensus.log import Position
from consensus.messages import CompactBlock
from ledger.codec import encode
from ledger.genesis import Genesis
from ledger.store import Batch, MemoryStore, Store
from ledger.transactions import decode_transaction, transaction_id
from node.chain import Chain
from node.mempool import Limits, Mempool, SignerClass
from node.resume import load_view
from node.verified import TransactionVerifier, VerifiedIds
from node.verifier import Verifier
from node.wire import RawBlock
from tests.ledger.chain import Block
from tests.ledger.chain import Chain as Source


class Clock:
    """Consensus time, set by the test."""

    def __init__(self, ms: int) -> None:
        self.ms = ms


def raw(block: Block) -> RawBlock:
    """A block as it is stored and sent."""
    return RawBlock(encode(block.header), encode(block.body), encode(block.certificate))


def compact(block: Block) -> CompactBlock:
    """A block as a proposal carries it."""
    ids = b"".join(transaction_id(raw) for raw in block.body.transactions)
    body = block.body
    return CompactBlock(encode(block.header), ids, body.evidence, body.parent_certificate, body.recovery)


def open_chain(genesis: Genesis, store: Store | None = None, clock: Clock | None = None, **changes: Any) -> Chain:
    """A node's chain, opened on ``store``; signatures are verified in this process."""
    store = store if store is not None else MemoryStore()
    clock = clock or Clock(genesis.time_ms + 1_000)
    view, _ = load_view(store, genesis)

    async def write(batch: Batch) -> None:
        store.write(batch)

    parts: dict[str, Any] = {
        "mempool": Mempool(Limits(), lambda key: SignerClass.ORGANISATION),
        "signatures": TransactionVerifier(Verifier(0), VerifiedIds(4_096), genesis.chain_id),
        "clock_ms": lambda: clock.ms,
        "write": write,
        "log_position": lambda: Position(0, 0),
    }
    return Chain(store, genesis, view, **(parts | changes))


def put(chain: Chain, source: Source, *raws: bytes) -> None:
    """Let transactions wait in the chain's mempool, as if admitted."""
    for item in raws:
        chain.mempool.add(transaction_id(item), item, decode_transaction(item), source.next_time_ms)
