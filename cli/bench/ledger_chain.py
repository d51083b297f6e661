"""A chain of one validator on disk, for measuring the ledger: production's blocks and batches, no network.

Rules of this file

* A block is what a node makes of it: header, beacon proof, certificate, ``apply_block``, and *one* synced batch with
  state, indexes, undo pages, block, receipts, index and head record. Signing and assembling are not timed, nor
  are signatures of transactions verified: ``Decided.seconds`` is from decoded transactions to the durable batch.
* Everything is taken up from the store: the process may be killed between any two blocks.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace

from ledger import beacon, validity
from ledger.apply import Applied, apply_block
from ledger.blocks import Body, Header, Receipt, header_hash
from ledger.calendar import day_from_civil, start_of_day
from ledger.codec import decode_own, digest, encode
from ledger.errors import OK, OperatorError
from ledger.genesis import (
    Genesis,
    GenesisOrganisation,
    GenesisPlan,
    GenesisValidator,
    GenesisValues,
    parse_chain_params,
    parse_genesis,
    parse_plan,
    render_genesis,
    sign_genesis,
)
from ledger.limits import FEN_MAX
from ledger.roles import Role
from ledger.signing import public_key, sign
from ledger.state import StateReader
from ledger.store import Batch
from ledger.tables import TableReader
from ledger.transactions import Transaction, decode_transaction, sign_transaction, transaction_id
from ledger.votes import Certificate, Commit, Seal
from node import blockstore
from node.blockstore import BlockReader, HeadRecord
from node.chain import UNDO_BLOCKS
from node.resume import load_view
from node.storage import LevelStore, open_store

PLAN: Final = 0
PLATFORM: Final = "platform"
BANK: Final = "bank"
ASSESSORS: Final = ("assessor-one", "assessor-two")
HOSPITAL: Final = "hospital"
CLOCK: Final = "clock"
BEGIN_MS: Final = start_of_day(day_from_civil(2018, 10, 16))
GENESIS_MS: Final = 1_767_225_600_000
STEP_MS: Final = 1_000
"""Consensus time from block to block."""
VALID_MS: Final = 60_000
ORGANISATIONS: Final = (
    (PLATFORM, Role.PLATFORM),
    (BANK, Role.BANK),
    (ASSESSORS[0], Role.ASSESSOR),
    (ASSESSORS[1], Role.ASSESSOR),
    (HOSPITAL, Role.HOSPITAL),
)
"""Names and roles; ids are positions."""
Sent = tuple[str, Any]
"""(who signs, body)."""


def _seed(name: str) -> bytes:
    return digest(b"bench ledger key " + name.encode())


def _configuration(name: str) -> str:
    return files("configs").joinpath(name).read_text("utf-8")


def founding() -> Genesis:
    """One plan, one validator, a stepped clock. The plan is the main one without caps, so that few can carry a case."""
    main = parse_plan(_configuration("plan_main.toml"))
    cap = FEN_MAX // 1_000
    plan = GenesisPlan(main.name, replace(main.params, case_cap_fen=cap, year_cap_fen=cap))
    seat = GenesisValidator(public_key(_seed("validator")), beacon.public_key(_seed("beacon")))
    organisations = tuple(
        GenesisOrganisation(name, role, public_key(_seed(name)), (), "", None) for name, role in ORGANISATIONS[1:]
    )
    first = GenesisOrganisation(PLATFORM, Role.PLATFORM, public_key(_seed(PLATFORM)), (bytes(32),), "", seat)
    values = GenesisValues(
        name="bench-ledger",
        time_ms=GENESIS_MS,
        clock="stepped",
        clock_key=public_key(_seed(CLOCK)),
        clock_start_ms=BEGIN_MS,
        params=parse_chain_params(_configuration("chain_main.toml")),
        organisations=(first, *organisations),
        plans=(plan,),
    )
    return parse_genesis(render_genesis(values).encode())


def signatures(genesis: Genesis) -> str:
    """What every founder of ``founding()`` has signed."""
    return "".join(sign_genesis(item.name, _seed(item.name), genesis.chain_id) for item in genesis.organisations)


@dataclass(frozen=True, slots=True)
class Decided:
    """What one block did and took."""

    receipts: tuple[Receipt, ...]
    """Of the transactions, in order."""
    deadlines: int
    seconds: float
    """Wall time from decoded transactions to the durable batch."""
    cpu_s: float
    """CPU of the whole process meanwhile, LevelDB's own thread included."""
    thread_s: float
    """CPU of this thread alone: what it would take, were nobody else there."""


class SoloChain:
    """The chain in a directory; ``close`` it."""

    def __init__(self, directory: Path) -> None:
        self._genesis = founding()
        self.store: LevelStore = open_store(directory / "ledger", create=True, chain_id=self._genesis.chain_id)
        self.view, _ = load_view(self.store, self._genesis)
        self._blocks = BlockReader(self.store)
        self._certificate = decode_own(Certificate, self._blocks.certificate_raw(self.view.height) or b"")

    @property
    def state(self) -> StateReader:
        """The state after the newest block."""
        return StateReader(self.store)

    def store_tables(self) -> TableReader:
        """The tables after the newest block."""
        return TableReader(self.store)

    @property
    def now_ms(self) -> int:
        """Ledger time of the next block."""
        return self.view.ledger_time(self._next_ms)

    @property
    def _next_ms(self) -> int:
        return self.view.header.time_ms + STEP_MS

    def close(self) -> None:
        """Give the store back."""
        self.store.close()

    def decide(self, *sent: Sent) -> Decided:
        """Propose, apply and write a block; raises ``OperatorError`` BENCH_FAILED when a transaction is refused."""
        raws = tuple(self._signed(*item) for item in sent)
        transactions = [(transaction_id(raw), decode_transaction(raw)) for raw in raws]
        header = self._header([tx_id for tx_id, _ in transactions])
        body = Body(raws, (), self._certificate, None)
        hash_ = header_hash(encode(header))
        certificate = self._certify(header.height, hash_)
        since_s, since_cpu_s, since_thread_s = time.perf_counter(), time.process_time(), time.thread_time()
        applied = apply_block(self.store, self.view, header, self._certificate, transactions)
        batch = self._batch(header, hash_, body, certificate, transactions, applied)
        self.store.write(batch)
        seconds, cpu_s = time.perf_counter() - since_s, time.process_time() - since_cpu_s
        thread_s = time.thread_time() - since_thread_s
        self.view, self._certificate = applied.view, certificate
        deadlines = len(applied.receipts) - len(raws)
        receipts = applied.receipts[deadlines:]
        refused = next((receipt for receipt in receipts if receipt.code != OK), None)
        if refused is not None:
            raise failed(f"a transaction of block {header.height} was refused", refused.code)
        return Decided(receipts, deadlines, seconds, cpu_s, thread_s)

    def _signed(self, name: str, body: Any) -> bytes:
        seed = _seed(name)
        return sign_transaction(
            body,
            seed=seed,
            signer=public_key(seed),
            valid_until_ms=self._next_ms + VALID_MS,
            salt=bytes(16),
            chain_id=self._genesis.chain_id,
            epoch=0,
        )

    def _header(self, ids: Sequence[bytes]) -> Header:
        proof = beacon.prove(_seed("beacon"), beacon.alpha(self.view.header.beacon, self.view.height + 1))
        return validity.assemble_header(
            self.view,
            time_ms=self._next_ms,
            transaction_ids=ids,
            creator=public_key(_seed("validator")),
            beacon_output=beacon.proof_to_hash(proof),
            beacon_proof=proof,
            parent_certificate=self._certificate,
        )

    def _certify(self, height: int, hash_: bytes) -> Certificate:
        message = Commit(height, 0, hash_).signing_digest(self._genesis.chain_id, 0)
        return Certificate(height, 0, hash_, (Seal(0, sign(_seed("validator"), message)),))

    def _batch(
        self,
        header: Header,
        hash_: bytes,
        body: Body,
        certificate: Certificate,
        transactions: Sequence[tuple[bytes, Transaction]],
        applied: Applied,
    ) -> Batch:
        """Everything of the block, as ``node.chain`` writes it."""
        batch, height = applied.batch, header.height
        blockstore.put_undo(batch, height, applied.undo, UNDO_BLOCKS)
        blockstore.put_block(
            batch,
            height=height,
            block_hash=hash_,
            header=encode(header),
            body=encode(body),
            certificate=certificate,
            receipts=applied.receipts,
            ids=[tx_id for tx_id, _ in transactions],
        )
        record = HeadRecord(height, hash_, applied.state_root, applied.receipts_root, 0, 0)
        blockstore.put_head(batch, record)
        return batch


def failed(what: str, why: str) -> OperatorError:
    """The bench found the ledger doing something else than the rules say."""
    return OperatorError("BENCH_FAILED", what, why, "a fault of the program: report it", exit_code=1)
