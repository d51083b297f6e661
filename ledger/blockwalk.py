"""Whole blocks checked one after the other, from the genesis, by somebody who has them in a file.

``BlockWalk`` checks what hangs together by hashes and signatures: headers, certificates, transactions, receipts. Given
``execute``, it also applies every block with the rules themselves, so that each state root is recomputed and nobody's
word is left; it then knows the validator sets too, which a file of blocks does not carry.
"""

from collections.abc import Sequence

from .apply import apply_block
from .blocks import (
    Body,
    Header,
    Receipt,
    certificate_hash,
    decode_body,
    evidence_root,
    genesis_certificate,
    receipts_root,
    txs_root,
    validators_hash,
)
from .codec import encode
from .errors import MalformedBytes, PeerError, ProofFailed, TransactionRejected
from .genesis import Genesis, initial_batch
from .light import HeaderWalk, Link, ValidatorSet, genesis_trust
from .signing import verify
from .store import MemoryStore
from .transactions import Transaction, decode_transaction, signed_digest, transaction_id
from .validity import HeightView, check_body, check_header, view_at_genesis, view_for
from .votes import certificate_fault


class BlockWalk:
    """Checks the blocks of a file upwards from the genesis."""

    def __init__(self, genesis: Genesis, *, execute: bool) -> None:
        self.headers = HeaderWalk(genesis_trust(genesis))
        self.transactions = 0
        self._genesis = genesis
        self._validators = genesis.validators()
        """Those that can be known without execution: the founders, as long as no header announces others."""
        self._receipts: tuple[Receipt, ...] = ()
        """Of the newest block; the next header certifies them."""
        self._rules = _Rules(genesis) if execute else None

    @property
    def height(self) -> int:
        """Of the newest block."""
        return self.headers.header.height

    @property
    def receipts_open(self) -> bool:
        """Whether the newest block's receipts are neither certified yet nor recomputed."""
        return self._rules is None and bool(self._receipts)

    def begin(self, header: bytes, body: bytes | None, certificate: bytes, receipts: Sequence[Receipt]) -> None:
        """Check the record of height 0, which has no body. Raises ``ProofFailed``."""
        trust = self.headers.trust
        own = (encode(trust.header), None, encode(genesis_certificate(trust.header_hash)), ())
        if (header, body, certificate, tuple(receipts)) != own:
            raise ProofFailed("block 0", "not the one that the genesis file makes")

    def step(
        self, header_raw: bytes, body_raw: bytes | None, certificate: bytes, receipts: Sequence[Receipt]
    ) -> Header:
        """Check the block after the newest one. Raises ``ProofFailed``."""
        where = f"block {self.height + 1}"
        parent_validators, parent = self.headers.validators, self.headers.header
        if body_raw is None:
            raise ProofFailed(where, "the file has no body for it")
        try:
            body = decode_body(body_raw)
        except MalformedBytes as error:
            raise ProofFailed(f"{where}, body", error.detail) from error
        link, announced = Link(header_raw, certificate), self._next_validators(where)
        if body.recovery is None:
            header = self.headers.step(link, announced)
        else:
            header = self.headers.step_over(link, body.recovery, announced)
            self._validators = body.recovery.validators
        transactions = self._transactions(where, header, body)
        if header.evidence_root != evidence_root(body.evidence):
            raise ProofFailed(f"{where}, evidence", "not what the header names")
        self._check_parent_certificate(where, header, body, parent_validators, parent)
        if header.receipts_root != receipts_root(list(self._receipts)):
            raise ProofFailed(f"receipts of block {parent.height}", "not what the next header certifies")
        self._receipts = tuple(receipts)
        if self._rules is not None:
            self._rules.apply(where, header, header_raw, body, body_raw, transactions, self._receipts)
        self.transactions += len(transactions)
        return header

    def _next_validators(self, where: str) -> ValidatorSet:
        known = self._validators if self._rules is None else self._rules.view.next_validators
        if validators_hash(known) != self.headers.next_validators_hash:
            raise ProofFailed(where, "the validators changed before it, which only execution can follow")
        return known

    def _transactions(self, where: str, header: Header, body: Body) -> list[tuple[bytes, Transaction]]:
        found = []
        for position, raw in enumerate(body.transactions):
            try:
                transaction = decode_transaction(raw)
            except TransactionRejected as error:
                raise ProofFailed(f"{where}, transaction {position}", str(error)) from error
            message = signed_digest(raw, self._genesis.chain_id, header.epoch)
            if not verify(transaction.signer, message, transaction.signature):
                raise ProofFailed(f"{where}, transaction {position}", "its signature does not verify")
            found.append((transaction_id(raw), transaction))
        if len(found) != header.tx_count or txs_root([name for name, _ in found]) != header.txs_root:
            raise ProofFailed(f"{where}, transactions", "not those that the header names")
        return found

    def _check_parent_certificate(
        self, where: str, header: Header, body: Body, validators: ValidatorSet, parent: Header
    ) -> None:
        certificate = body.parent_certificate
        where = f"{where}, certificate of its parent"
        if header.parent_certificate_hash != certificate_hash(certificate):
            raise ProofFailed(where, "not the one that the header names")
        if certificate.height != parent.height or certificate.block_hash != header.parent:
            raise ProofFailed(where, "it is for another block")
        fault = certificate_fault(certificate, validators, self._genesis.chain_id, parent.epoch)
        if fault is not None:
            raise ProofFailed(where, fault)


class _Rules:
    """The chain executed in memory."""

    def __init__(self, genesis: Genesis) -> None:
        batch, header, root = initial_batch(genesis)
        self._store = MemoryStore()
        self._store.write(batch)
        self.view: HeightView = view_at_genesis(
            self._store, chain_id=genesis.chain_id, params=genesis.params, header=header, state_root=root
        )

    def apply(
        self,
        where: str,
        header: Header,
        header_raw: bytes,
        body: Body,
        body_raw: bytes,
        transactions: list[tuple[bytes, Transaction]],
        receipts: tuple[Receipt, ...],
    ) -> None:
        """Check the block by every rule of validity and execute it. Raises ``ProofFailed``."""
        try:
            view = view_for(self.view, body.recovery)
            check_header(view, header, header_raw)
            check_body(view, header, body, transactions, body_bytes=len(body_raw))
        except PeerError as error:
            raise ProofFailed(where, str(error)) from error
        applied = apply_block(self._store, view, header, body.parent_certificate, transactions, body.evidence)
        if applied.receipts != receipts:
            raise ProofFailed(f"receipts of {where}", "execution gives others")
        self._store.write(applied.batch)
        self.view = applied.view
