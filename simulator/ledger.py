"""A replica with the real rules: the ledger's validity and execution over its key-value port in memory (CONSENSUS §7).

Rules of this file:

* What the node's ``Chain`` asks of ``ledger`` is asked here, in the same order: header, transactions, signatures, body;
  then ``apply_block``, and one write of its batch. Only the disk is missing: a simulated node's chain survives a crash.
* The books are kept a second time, from the transactions that were executed: ``fault`` compares them with the rows.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from msgspec.structs import replace

import configs
from consensus.messages import CompactBlock
from ledger import beacon, calendar
from ledger import transactions as tx
from ledger.apply import apply_block
from ledger.blocks import Body, Header, Receipt
from ledger.codec import encode
from ledger.errors import OK, PeerError
from ledger.genesis import (
    Genesis,
    GenesisOrganisation,
    GenesisPlan,
    GenesisValidator,
    GenesisValues,
    initial_batch,
    parse_plan,
)
from ledger.genesis_file import CLOCK_STEPPED
from ledger.params import ChainParams, TierBand
from ledger.roles import Role
from ledger.rows import Account
from ledger.signing import public_key
from ledger.state import StateReader
from ledger.store import Batch, MemoryStore
from ledger.transactions import Transaction, signed_digest
from ledger.validity import HeightView, check_body, check_header, view_at_genesis

from .oracle import Oracle
from .replica import CHAIN_ID, START_MS, ReplicaBase
from .scheme import REAL, named_seed

START_DAY: Final = calendar.day_from_civil(2018, 10, 16)
CLOCK: Final = "clock"
PLATFORM: Final = "platform"
BANK: Final = "bank"
FIRMS: Final = ("firm-a", "firm-b")
HOSPITAL: Final = "hospital"
FOUNDERS: Final = (
    (PLATFORM, Role.PLATFORM),
    (BANK, Role.BANK),
    (FIRMS[0], Role.ASSESSOR),
    (FIRMS[1], Role.ASSESSOR),
    ("mutual-a", Role.ASSESSOR),
    ("mutual-b", Role.ASSESSOR),
    ("mutual-c", Role.ASSESSOR),
)
"""The owners of the seats, in order; whoever has none is no founder, but for the first four."""
PLAN: Final = replace(
    parse_plan(configs.text("plan_main.toml")).params,
    waiting_days=0,
    tiers=(TierBand(1, 0, 30_000),),
    case_cap_fen=2_000_000,
    year_cap_fen=18_800_000,
    investigate_after_days=0,
)
"""The main plan, with small aid, high caps and nothing to wait for."""


def founded(n: int, params: ChainParams, validators: tuple[GenesisValidator, ...]) -> Genesis:
    """The genesis of a consortium whose first ``n`` organisations validate, under the simulator's chain id."""
    organisations = [
        GenesisOrganisation(
            name, role, public_key(named_seed(name)), (), "", validators[seat] if seat < len(validators) else None
        )
        for seat, (name, role) in enumerate(FOUNDERS[: max(n, 4)])
    ]
    organisations.append(GenesisOrganisation(HOSPITAL, Role.HOSPITAL, public_key(named_seed(HOSPITAL)), (), "", None))
    values = GenesisValues(
        name="simulation",
        time_ms=START_MS,
        clock=CLOCK_STEPPED,
        clock_key=public_key(named_seed(CLOCK)),
        clock_start_ms=calendar.start_of_day(START_DAY) + 1,
        params=params,
        organisations=tuple(organisations),
        plans=(GenesisPlan("main", PLAN),),
    )
    return Genesis(b"", CHAIN_ID, values)


@dataclass(frozen=True, slots=True)
class _Beginning:
    batch: Batch
    header: Header
    root: bytes


class LedgerReplica(ReplicaBase):
    """State is the real ledger's."""

    def __init__(self, genesis: Genesis, beginning: _Beginning | None = None) -> None:
        self._genesis_of = genesis
        self._beginning = beginning if beginning is not None else _Beginning(*initial_batch(genesis))
        self.store = MemoryStore()
        self.store.write(self._beginning.batch)
        self.receipts: tuple[Receipt, ...] = ()
        """Of the newest block."""
        self._cash: Counter[int] = Counter()
        """What the bank attested, by plan: what every plan's cash must be."""
        view = view_at_genesis(
            self.store,
            chain_id=CHAIN_ID,
            params=genesis.params,
            header=self._beginning.header,
            state_root=self._beginning.root,
        )
        super().__init__(view, Oracle(REAL, CHAIN_ID, 0))

    def again(self) -> "LedgerReplica":
        """Another node's replica of the same genesis."""
        return LedgerReplica(self._genesis_of, self._beginning)

    def rewound(self, height: int) -> "LedgerReplica":
        """The same chain cut off above ``height``, executed again from the genesis."""
        fresh = self.again()
        for sealed in self.chain[:height]:
            fresh.commit(sealed.block, sealed.transactions, sealed.certificate, sealed.log)
        return fresh

    def snapshot(self) -> "LedgerReplica":
        """Another node's replica that begins with our head's rows, without executing what led to them."""
        fresh = self.again()
        fresh.store = MemoryStore()
        fresh.store.write(Batch(dict(self.store.scan(b"", b"\xff"))))
        fresh.view, fresh.chain, fresh._seen = self.view, list(self.chain), dict(self._seen)
        fresh._cash = self._cash.copy()
        return fresh

    @property
    def state(self) -> StateReader:
        """The rows after the head."""
        return StateReader(self.store)

    def authentic(self, raw: bytes, transaction: Transaction) -> bool:
        """Whether its signer signed it, for this chain."""
        return REAL.verify(transaction.signer, signed_digest(raw, CHAIN_ID, self.view.epoch), transaction.signature)

    def fault(self) -> str | None:
        """What does not add up in the state after the head: money, or a transaction that nobody signed."""
        for raw in self.chain[-1].transactions if self.chain else ():
            if not self.authentic(raw, tx.decode_transaction(raw)):
                return f"a transaction in block {self.view.height} is not signed"
        for plan, account in self.state.rows(Account):
            owned = account.cash + account.due + account.arrears + account.sponsor + account.bad_debt
            owed = account.claims + account.fee + account.carry + account.advance + account.refunds + account.clearing
            if owned != owed:
                return f"plan {plan} has {owned} fen and owes {owed}"
            if account.cash != self._cash[plan]:
                return f"plan {plan} has {account.cash} fen in cash, the bank attested {self._cash[plan]}"
        return None

    @property
    def cash_fen(self) -> int:
        """What the bank attested, over all plans."""
        return self._cash.total()

    def _beacon_output(self, proof: bytes) -> bytes:
        return beacon.proof_to_hash(proof)

    def _check_valid(self, header: Header, block: CompactBlock, decoded: tuple[tuple[bytes, Transaction], ...]) -> None:
        check_header(self.view, header, block.header)
        raws = _raws(decoded)
        body = Body(raws, block.evidence, block.parent_certificate, block.recovery)
        if not all(self.authentic(raw, one) for raw, (_, one) in zip(raws, decoded, strict=True)):
            raise PeerError("BAD_SIGNATURE", "of a transaction")
        check_body(self.view, header, body, decoded, body_bytes=len(encode(body)))

    def _execute(
        self, header: Header, block: CompactBlock, decoded: tuple[tuple[bytes, Transaction], ...]
    ) -> HeightView:
        applied = apply_block(self.store, self.view, header, block.parent_certificate, decoded)
        self.store.write(applied.batch)
        self.receipts = applied.receipts
        executed = {receipt.subject: receipt for receipt in applied.receipts if receipt.code == OK}
        for tx_id, transaction in decoded:
            receipt = executed.get(tx_id)
            flow = CASH_FLOWS.get(type(transaction.body))
            if receipt is not None and flow is not None:
                self._cash[0] += flow(transaction.body, receipt)
        return applied.view


def _raws(decoded: Sequence[tuple[bytes, Transaction]]) -> tuple[bytes, ...]:
    return tuple(encode(transaction) for _, transaction in decoded)


CASH_FLOWS: Final[dict[type[Any], Callable[[Any, Receipt], int]]] = {
    tx.Advance: lambda body, _: -body.amount_fen if body.repay else body.amount_fen,
    tx.SponsorPayment: lambda body, _: body.amount_fen,
    tx.ConfirmCollection: lambda body, _: body.amount_fen,
    tx.Contribution: lambda body, _: body.amount_fen,
    tx.ConfirmPayment: lambda body, receipt: -receipt.detail[1],
    tx.PayFee: lambda body, _: -body.amount_fen,
    tx.PayRefund: lambda body, _: -body.amount_fen,
}
"""What a bank's executed word does to the one plan's cash, in fen."""


@cache
def signer(name: str) -> tuple[bytes, bytes]:
    """(seed, public key) of an organisation or the clock."""
    seed = named_seed(name)
    return seed, public_key(seed)
