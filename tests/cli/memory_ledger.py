"""The demo's port over a ledger in memory: no node, no network, the real rules.

Every ``send`` is one block; what waits for a later block (a draw, a settlement) is driven by empty blocks, as the due
rule would. Blocks are a fixed time apart, so a run depends on nothing but its seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha512
from typing import Any

from cli.demo.ledger import CLOCK, PLAN, DemoError, Settled
from ledger.apply import apply_block
from ledger.blocks import Header, Receipt
from ledger.errors import OK
from ledger.genesis import Genesis, initial_batch
from ledger.rows import Account, Claim, Organisation, Settlement
from ledger.state import Index, StateReader, u32
from ledger.store import MemoryStore
from ledger.transactions import Transaction, decode_transaction, sign_transaction, transaction_id
from ledger.validity import HeightView, assemble_header, view_at_genesis
from ledger.votes import Certificate

BLOCK_MS = 100
"""Consensus time between blocks."""
DRAW_BLOCKS_MAX = 100


@dataclass(slots=True)
class MemoryLedger:
    """One chain in memory; ``seeds`` are the organisations' private keys and the clock's, by name."""

    genesis: Genesis
    seeds: dict[str, bytes]
    store: MemoryStore = field(default_factory=MemoryStore)
    view: HeightView = field(init=False)
    blocks: int = 0
    transactions: int = 0
    history: list[tuple[Header, Sequence[tuple[bytes, Transaction]], tuple[Receipt, ...]]] = field(default_factory=list)
    """Every block since genesis, with its receipts."""
    _salt: int = 0
    _ledger_ms: int = 0

    def __post_init__(self) -> None:
        batch, header, root = initial_batch(self.genesis)
        self.store.write(batch)
        self.view = view_at_genesis(
            self.store, chain_id=self.genesis.chain_id, params=self.genesis.params, header=header, state_root=root
        )
        self._ledger_ms = self.genesis.values.clock_start_ms

    @property
    def state(self) -> StateReader:
        """The state after the newest block."""
        return StateReader(self.store)

    def block(self, transactions: Sequence[tuple[bytes, Transaction]] = ()) -> tuple[Receipt, ...]:
        """Decide one block; the creators take turns."""
        creator = self.view.next_validators[self.view.height % len(self.view.next_validators)]
        certificate = Certificate(self.view.height, 0, self.view.header_hash, ())
        header = assemble_header(
            self.view,
            time_ms=self.view.header.time_ms + BLOCK_MS,
            transaction_ids=[transaction_id for transaction_id, _ in transactions],
            creator=creator.validator_key,
            beacon_output=sha512(self.view.header.beacon).digest(),
            beacon_proof=bytes(80),
            parent_certificate=certificate,
        )
        applied = apply_block(self.store, self.view, header, certificate, transactions)
        self.store.write(applied.batch)
        self.view = applied.view
        self.blocks += 1
        self.transactions += len(transactions)
        self._ledger_ms = applied.ledger_time_ms
        self.history.append((header, transactions, applied.receipts))
        return applied.receipts

    async def send(self, sender: str, bodies: Sequence[Any]) -> list[tuple[int, ...]]:
        while self.view.leaves_deadlines(self.view.header.time_ms + BLOCK_MS):
            self.block()
        raws = [self._signed(sender, body) for body in bodies]
        transactions = [(transaction_id(raw), decode_transaction(raw)) for raw in raws]
        receipts = self.block(transactions)[-len(bodies) :]
        for body, receipt in zip(bodies, receipts, strict=True):
            if receipt.code != OK:
                raise DemoError(f"{sender}: {body!r:.300} was refused: {receipt.code}")
        return [receipt.detail for receipt in receipts]

    def _signed(self, sender: str, body: Any) -> bytes:
        self._salt += 1
        return sign_transaction(
            body,
            seed=self.seeds[sender],
            signer=self._public(sender),
            valid_until_ms=self.view.header.time_ms + 300_000,
            salt=self._salt.to_bytes(16, "big"),
            chain_id=self.genesis.chain_id,
            epoch=0,
        )

    def _public(self, sender: str) -> bytes:
        if sender == CLOCK:
            return self.genesis.values.clock_key
        return next(org.key for org in self.genesis.organisations if org.name == sender)

    async def time_ms(self) -> int:
        return self._ledger_ms

    async def settled(self, period: int) -> Settled:
        return self._settled(self._settlement(period, 2))

    async def closed(self, period: int) -> None:
        self._settlement(period, 3)

    def _settlement(self, period: int, stage: int) -> Settlement:
        for _ in range(2):
            row_id = self.state.index_id(Index.SETTLEMENT, u32(PLAN, period))
            row = self.state.get(Settlement, row_id) if row_id is not None else None
            if row is not None and row.stage >= stage:
                return row
            self.block()
        raise DemoError(f"period {period} did not come to stage {stage}")

    def _settled(self, row: Settlement) -> Settled:
        (_, members), *_ = row.counts
        shares = row.would_be if row.sponsored else row.shares
        return Settled(
            period=row.period,
            members=members,
            claims=row.claims,
            aid_fen=row.aid_fen,
            fee_fen=row.fee_fen,
            goal_fen=row.goal_fen,
            share_fen=shares[0][1] if shares else 0,
            sponsored=row.sponsored,
            carry_fen=self.state.get(Account, PLAN).carry,
        )

    async def investigators(self, claims: Sequence[int]) -> list[str]:
        for _ in range(DRAW_BLOCKS_MAX):
            rows = [self.state.get(Claim, claim) for claim in claims]
            if all(row.investigator >= 0 for row in rows):
                return [self.state.get(Organisation, row.investigator).name for row in rows]
            self.block()
        raise DemoError("the draw does not close")

    async def accounts(self) -> dict[str, int]:
        row = self.state.get(Account, PLAN)
        return {name: getattr(row, name) for name in row.__struct_fields__}
