"""A node without network for the tests of the API: a real chain in memory, a real mempool and admission, no consensus.

``commit`` decides a block of what waits in the mempool, stores it as a node would, and tells the waiters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ledger.blocks import header_hash
from ledger.codec import encode
from ledger.genesis import GenesisValues
from ledger.state import StateReader
from ledger.store import Batch, MemorySnapshot
from ledger.transactions import transaction_id
from node import blockstore
from node.admission import Admission, Source, signer_class
from node.api.server import make_app
from node.api.view import NodeStatus
from node.api.waiters import CommitWaiters
from node.blockstore import BlockReader, HeadRecord
from node.config import ApiSection
from node.mempool import Limits, Mempool
from node.metrics import Metrics
from node.verified import TransactionVerifier, VerifiedIds
from node.verifier import Verifier
from tests.ledger.chain import Block, Chain, genesis_values


class At:
    """A state in a snapshot."""

    def __init__(self, snapshot: MemorySnapshot, height: int) -> None:
        self.height = height
        self.blocks = BlockReader(snapshot)
        self.state = StateReader(snapshot)


@dataclass(frozen=True)
class FakePeer:
    key: bytes
    connected: bool
    last_error: None = None


class FakeNode:
    """Implements ``NodeView`` and ``ChainView`` over the tests' chain."""

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        waiters_max: int = 4,
        inbox_bytes_max: int = 100_000,
        values: GenesisValues | None = None,
    ) -> None:
        self.chain = Chain(values or genesis_values())
        self.epoch = 0
        self.ready = True
        self.loop_alive = True
        self.syncing = False
        self.signing = True
        self.best_height = 0
        self.informed = True
        self.bugs: list[Exception] = []
        self.metrics = Metrics()
        self.waiters = CommitWaiters(waiters_max)
        self.mempool = Mempool(limits or Limits(), lambda key: signer_class(self.current.state, key))
        verified = VerifiedIds(1_000)
        self.signatures = TransactionVerifier(Verifier(0), verified, self.chain_id)
        self.handed: list[bytes] = []
        self.admission = Admission(
            mempool=self.mempool,
            signatures=self.signatures,
            chain=self,
            clock_ms=self.clock_ms,
            hand_off=lambda ids, source: self.handed.extend(ids),
            inbox_bytes_max=inbox_bytes_max,
        )
        genesis = self.chain.view
        batch = Batch()
        blockstore.put_block(
            batch,
            height=0,
            block_hash=genesis.header_hash,
            header=encode(genesis.header),
            body=None,
            certificate=self.chain.certificate,
            receipts=(),
            ids=(),
        )
        blockstore.put_validators(batch, genesis.validators)
        self._write_head(batch)
        self.current = self.certified = At(self.chain.store.snapshot(), 0)

    # ---- ChainView and NodeView ----

    @property
    def chain_id(self) -> bytes:
        return self.chain.genesis.chain_id

    @property
    def genesis_raw(self) -> bytes:
        return self.chain.genesis.raw

    @property
    def head_time_ms(self) -> int:
        return self.chain.view.header.time_ms

    def seen(self, tx_id: bytes) -> bool:
        return self.current.blocks.place_of(tx_id) is not None

    def clock_ms(self) -> int:
        return self.chain.next_time_ms

    def status(self) -> NodeStatus:
        return NodeStatus(
            name="fake",
            version="huzhu/test",
            network="tests",
            node_key=b"\x01" * 32,
            role="validator",
            validator_index=0,
            epoch=0,
            round=0,
            step="waiting",
            signing=self.signing,
            not_signing_because=None if self.signing else "the disk is full",
            syncing=self.syncing,
            informed=self.informed,
            best_height=max(self.best_height, self.current.height),
            eta_seconds=None,
            peers_connected=3,
            clock_offset_ms=0.5,
            disk_free_bytes=10**9,
            uptime_seconds=1.0,
            more={"verifier": {"restarts": 0}},
        )

    def strangers(self) -> Sequence[FakePeer]:
        return []

    def peers(self) -> Sequence[FakePeer]:
        return [FakePeer(b"\x02" * 32, True)]

    def render_metrics(self) -> bytes:
        return self.metrics.render()

    # ---- blocks ----

    def commit(self, *sent: tuple[str, Any]) -> Block:
        """Decide a block of what waits in the mempool and of what is given here."""
        raws = [raw for _, raw in self.mempool.pick(10**6, 10**4, self.chain.next_time_ms)]
        raws += [self.chain.transaction(name, body) for name, body in sent]
        self.store(self.chain.raw_block(raws))
        return self.chain.blocks[-1]

    def store(self, *blocks: Block) -> None:
        """Store blocks of the chain as a node would."""
        for block in blocks:
            raws = block.body.transactions
            ids = [transaction_id(raw) for raw in raws]
            batch = Batch()
            header = encode(block.header)
            blockstore.put_block(
                batch,
                height=block.header.height,
                block_hash=header_hash(header),
                header=header,
                body=encode(block.body),
                certificate=block.certificate,
                receipts=block.applied.receipts,
                ids=ids,
            )
            self._write_head(batch, block)
            expired = self.mempool.remove_committed(ids, block.header.time_ms)
            self.certified, self.current = self.current, At(self.chain.store.snapshot(), block.header.height)
            self.waiters.settled([*ids, *expired])

    def replay(self, *blocks: Block) -> None:
        """Take over blocks that another chain of the same genesis decided."""
        for block in blocks:
            self.chain.store.write(block.applied.batch)
            self.chain.view, self.chain.certificate = block.applied.view, block.certificate
            self.chain.blocks.append(block)
            self.store(block)

    def _write_head(self, batch: Batch, block: Block | None = None) -> None:
        view = self.chain.view if block is None else block.applied.view
        record = HeadRecord(view.height, view.header_hash, view.state_root, view.receipts_root, 0, 0)
        blockstore.put_head(batch, record)
        self.chain.store.write(batch)

    def step_to_day(self, year: int, month: int, day: int) -> None:
        """Step the ledger's clock, block by block, storing each."""
        before = len(self.chain.blocks)
        self.chain.step_to_day(year, month, day)
        # The chain wrote the states already; certified and current follow the last two stored heads.
        self.store(*self.chain.blocks[before:])

    def app(self, section: ApiSection | None = None) -> Any:
        """The aiohttp application over this node."""
        return make_app(
            self,
            section or ApiSection(requests_per_second=0),
            self.metrics,
            self.waiters,
            self.bugs.append,
            now_s=lambda: 0.0,
        )

    async def admit(self, *sent: tuple[str, Any]) -> list[str]:
        """Submit signed bodies; returns the codes."""
        raws = [self.chain.transaction(name, body) for name, body in sent]
        return [outcome.code for outcome in await self.admission.submit(raws, Source.CLIENT)]
