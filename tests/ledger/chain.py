"""A chain in memory for the tests of the rules: real keys, signatures, beacons and certificates, no network.

Every block is checked by ``validity`` before it is applied, as a node would, so that each test also shows that what
it builds is valid; and what a block has not touched is read all the same, and must be as it was. Ledger time is stepped
by the clock key.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from msgspec.structs import replace

import configs
from ledger import beacon, calendar, journal
from ledger.apply import Applied, apply_block
from ledger.blocks import Body, Evidence, Header, Receipt, RecoveryRecord, genesis_certificate, header_hash
from ledger.codec import encode
from ledger.genesis import (
    Genesis,
    GenesisOrganisation,
    GenesisPlan,
    GenesisValidator,
    GenesisValues,
    initial_batch,
    parse_genesis,
    parse_plan,
    render_genesis,
)
from ledger.params import ChainParams, TierBand
from ledger.proposers import proposer
from ledger.roles import Role
from ledger.signing import public_key, sign
from ledger.state import StateReader
from ledger.store import Batch, MemoryStore
from ledger.transactions import AdvanceClock, Transaction, decode_transaction, sign_transaction, transaction_id
from ledger.validity import (
    HeightView,
    assemble_header,
    check_body,
    check_header,
    derived,
    recovered_view,
    view_at_genesis,
)
from ledger.votes import Certificate, Commit, Seal, quorum

GENESIS_MS = 1_790_000_000_000
START_DAY = calendar.day_from_civil(2018, 10, 16)
START_MS = calendar.start_of_day(START_DAY) + 1

CHAIN_PARAMS = ChainParams(
    timeout_ms=1_000,
    timeout_ms_max=30_000,
    certify_wait_ms=50,
    announce_bound_ms=1_000,
    heartbeat_ms=600_000,
    skip_blocks=4,
    draw_blocks=3,
    block_bytes_max=2_097_152,
)

PLAN_PARAMS = replace(
    parse_plan(configs.text("plan_main.toml")).params,
    tiers=(TierBand(1, 0, 30_000), TierBand(1, 40, 10_000), TierBand(2, 0, 5_000)),
    case_cap_fen=2_000_000,
    year_cap_fen=18_800_000,
)
"""The main plan with a thousandth of the aid, and caps that few members do not reach."""


def seed(name: str) -> bytes:
    """The private seed of a named key of the tests."""
    return sha256(b"test key " + name.encode()).digest()


def key(name: str) -> bytes:
    """Its public key."""
    return public_key(seed(name))


def organisation(name: str, roles: Role, *, validates: bool = False) -> GenesisOrganisation:
    validator = GenesisValidator(key(f"{name} validator"), key(f"{name} beacon")) if validates else None
    node_keys = (sha256(f"{name} node".encode()).digest(),) if validates else ()
    return GenesisOrganisation(name, roles, key(name), node_keys, "", validator)


ORGANISATIONS = (
    organisation("platform", Role.PLATFORM, validates=True),
    organisation("bank", Role.BANK, validates=True),
    organisation("firm-a", Role.ASSESSOR, validates=True),
    organisation("firm-b", Role.ASSESSOR, validates=True),
    organisation("hospital", Role.HOSPITAL),
    organisation("regulator", Role.REGULATOR),
)


def genesis_values(**changes: Any) -> GenesisValues:
    """The values of the tests' genesis: four validators, a hospital, a regulator, one plan, a stepped clock."""
    values: dict[str, Any] = {
        "name": "tests",
        "time_ms": GENESIS_MS,
        "clock": "stepped",
        "clock_key": key("clock"),
        "clock_start_ms": START_MS,
        "params": CHAIN_PARAMS,
        "organisations": ORGANISATIONS,
        "plans": (GenesisPlan("main", PLAN_PARAMS),),
    }
    return GenesisValues(**(values | changes))


@dataclass
class Block:
    """A decided block."""

    header: Header
    body: Body
    certificate: Certificate
    applied: Applied

    @property
    def codes(self) -> list[str]:
        """Codes of the receipts of the transactions."""
        return [receipt.code for receipt in self.transaction_receipts]

    @property
    def transaction_receipts(self) -> list[Receipt]:
        return [receipt for receipt in self.applied.receipts if isinstance(receipt.subject, bytes)]

    @property
    def deadline_receipts(self) -> list[Receipt]:
        return [receipt for receipt in self.applied.receipts if not isinstance(receipt.subject, bytes)]


@dataclass
class Chain:
    """A chain that grows block by block."""

    values: GenesisValues = field(default_factory=genesis_values)

    def __post_init__(self) -> None:
        self.genesis: Genesis = parse_genesis(render_genesis(self.values).encode())
        batch, header, root = initial_batch(self.genesis)
        self.store = MemoryStore()
        self.store.write(batch)
        self.view: HeightView = view_at_genesis(
            self.store, chain_id=self.genesis.chain_id, params=self.genesis.params, header=header, state_root=root
        )
        self.certificate = genesis_certificate(self.view.header_hash)
        self.blocks: list[Block] = []
        self._salt = 0
        self._seeds = {
            item.validator.validator_key: (seed(f"{item.name} validator"), seed(f"{item.name} beacon"))
            for item in self.values.organisations
            if item.validator is not None
        }

    def learn(self, validator: str, beacon_name: str) -> None:
        """Sign for a seat that gets the keys of these names."""
        self._seeds[key(validator)] = (seed(validator), seed(beacon_name))

    def recover(self, record: RecoveryRecord) -> None:
        """The next block begins the record's epoch."""
        self.view = recovered_view(self.view, record)

    def fork(self) -> "Chain":
        """Another chain with the same past."""
        other = copy(self)
        other.store, other.blocks = MemoryStore(), list(self.blocks)
        other.store.write(Batch(dict(self.store.scan(b"", b"\xff"))))
        return other

    @property
    def state(self) -> StateReader:
        return StateReader(self.store)

    @property
    def now_ms(self) -> int:
        """Ledger time of the next block."""
        return self.view.ledger_time(self.next_time_ms)

    @property
    def next_time_ms(self) -> int:
        return self.view.header.time_ms + 1_000

    def transaction(self, name: str, body: Any, *, valid_until_ms: int | None = None) -> bytes:
        """A signed transaction of the named key."""
        self._salt += 1
        return sign_transaction(
            body,
            seed=seed(name),
            signer=key(name),
            valid_until_ms=self.next_time_ms + 60_000 if valid_until_ms is None else valid_until_ms,
            salt=self._salt.to_bytes(16, "big"),
            chain_id=self.genesis.chain_id,
            epoch=self.view.epoch,
        )

    def propose(
        self,
        raws: Sequence[bytes] = (),
        *,
        round_: int = 0,
        time_ms: int | None = None,
        evidence: tuple[Evidence, ...] = (),
    ) -> tuple[Header, Body, list[tuple[bytes, Transaction]]]:
        """The block that the proposer of ``round_`` would propose."""
        creator = proposer(self.view.proposers(), round_)
        _, beacon_seed = self._seeds[creator.validator_key]
        proof = beacon.prove(beacon_seed, beacon.alpha(self.view.header.beacon, self.view.height + 1))
        header = assemble_header(
            self.view,
            time_ms=self.next_time_ms if time_ms is None else time_ms,
            transaction_ids=[transaction_id(raw) for raw in raws],
            creator=creator.validator_key,
            beacon_output=beacon.proof_to_hash(proof),
            beacon_proof=proof,
            parent_certificate=self.certificate,
            evidence=evidence,
        )
        body = Body(tuple(raws), evidence, self.certificate, self.view.recovery)
        return header, body, [(transaction_id(raw), decode_transaction(raw)) for raw in raws]

    def certify(self, header: Header, round_: int = 0) -> Certificate:
        """A certificate of q validators."""
        block_hash = header_hash(encode(header))
        message = Commit(header.height, round_, block_hash).signing_digest(self.genesis.chain_id, header.epoch)
        validators = self.view.next_validators
        seals = tuple(
            Seal(index, sign(self._seeds[entry.validator_key][0], message))
            for index, entry in enumerate(validators[: quorum(len(validators))])
        )
        return Certificate(header.height, round_, block_hash, seals)

    def block(self, *sent: tuple[str, Any], round_: int = 0, time_ms: int | None = None) -> Block:
        """Decide a block with the transactions (name, body)."""
        return self.raw_block([self.transaction(name, body) for name, body in sent], round_=round_, time_ms=time_ms)

    def raw_block(
        self,
        raws: Sequence[bytes] = (),
        *,
        round_: int = 0,
        time_ms: int | None = None,
        evidence: tuple[Evidence, ...] = (),
    ) -> Block:
        header, body, transactions = self.propose(raws, round_=round_, time_ms=time_ms, evidence=evidence)
        check_header(self.view, header, encode(header))
        check_body(self.view, header, body, transactions, body_bytes=len(encode(body)))
        applied = apply_block(self.store, self.view, header, body.parent_certificate, transactions, evidence)
        certificate = self.certify(header, round_)
        self.store.write(applied.batch)
        self.view, self.certificate = applied.view, certificate
        assert derived(self.store, self.view) == self.view, "the block kept of the view before what it had changed"
        journal.check_all(self.state)
        block = Block(header, body, certificate, applied)
        self.blocks.append(block)
        return block

    def ok(self, name: str, body: Any) -> tuple[int, ...]:
        """Decide a block with one transaction that must succeed; returns its receipt's detail."""
        receipt = self.block((name, body)).transaction_receipts[0]
        assert receipt.code == "OK", receipt
        return receipt.detail

    def refused(self, name: str, body: Any) -> str:
        """Decide a block with one transaction that must be refused; returns the code."""
        before = self.view.state_root
        block = self.block((name, body))
        receipt = block.transaction_receipts[0]
        assert receipt.code != "OK", receipt
        if not block.deadline_receipts:
            assert block.applied.state_root == before, "a refused transaction changed the state"
        return receipt.code

    def step_to(self, ledger_ms: int) -> list[Block]:
        """Step the clock from deadline to deadline up to ``ledger_ms``, and settle until no block is due."""
        done = []
        while (due := self.view.next_due_ms) is not None and due <= ledger_ms:
            if due > self.now_ms:
                done.append(self.block(("clock", AdvanceClock(due))))
            done += self.quiet()
        if ledger_ms > self.now_ms:
            done.append(self.block(("clock", AdvanceClock(ledger_ms))))
            done += self.quiet()
        return done

    def step_to_day(self, year: int, month: int, day: int) -> list[Block]:
        return self.step_to(calendar.start_of_day(calendar.day_from_civil(year, month, day)))

    def quiet(self) -> list[Block]:
        """Empty blocks until none is due."""
        done = []
        while self.view.certifying_due or (self.view.next_due_ms is not None and self.view.next_due_ms <= self.now_ms):
            done.append(self.block())
            assert len(done) < 100, "blocks are due for ever"
        return done
