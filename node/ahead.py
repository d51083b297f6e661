"""Blocks of synchronisation before their turn has come: decoded, hashed, and their signatures verified (NODE §2).

Rules of this file

* ``prepare`` finds what needs no rule of the head: is the body the header's, and what do its transactions say? It is
  done in slices, for votes come in between. ``prove`` has the pool verify all signatures of a block at once: of its
  transactions, and the seals of both certificates in it, under the validators of our present head.
* Nothing is believed of a certificate here, and nobody is blamed for a signature: what was not proven is verified again
  when the block is imported, and there it is found out whose fault that is. A lie costs time, never the truth.
* A block is held by whoever prepared it, nowhere else.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Final

from ledger.blocks import (
    Body,
    Header,
    certificate_hash,
    decode_body,
    decode_certificate,
    decode_header,
    evidence_root,
    header_hash,
    txs_root,
    validators_hash,
)
from ledger.errors import MalformedBytes, PeerError, TransactionRejected
from ledger.signing import SIGNATURE_BYTES, verify
from ledger.transactions import Transaction, decode_transaction, transaction_id
from ledger.validity import HeightView
from ledger.votes import Certificate, sealed_digest

from .executor import SLICE_S
from .mempool import Mempool
from .steps import Steps
from .verified import TransactionVerifier
from .verifier import record
from .wire import RawBlock

SLICE_TRANSACTIONS: Final = 250
"""Decoded before the clock is looked at: about a millisecond."""

Decoded = tuple[tuple[bytes, Transaction], ...]
"""Transactions in body order: id and value."""
Signed = tuple[bytes, bytes, bytes]
"""Public key, signed digest, signature."""


@dataclass(frozen=True, slots=True)
class AheadBlock:
    """A block that a peer sent: its body is the header's."""

    raw: RawBlock
    header: Header
    hash: bytes
    body: Body
    certificate: Certificate
    """Of the block; it names this block, no more is known of it."""
    ids: tuple[bytes, ...]
    transactions: Decoded | None
    """None: one of them cannot be decoded."""
    verified: bool = False
    """Whether the signature of every transaction is valid."""
    proven: frozenset[Signed] = frozenset()
    """Seals that are valid."""

    def verifies(self, public: bytes, digest: bytes, signature: bytes) -> bool:
        """Whether a seal is valid (``ledger.votes.Verifies``): proven here, else verified now."""
        return (public, digest, signature) in self.proven or verify(public, digest, signature)


class Ahead:
    """See the head of this file."""

    def __init__(self, *, mempool: Mempool, signatures: TransactionVerifier, steps: Steps, chain_id: bytes) -> None:
        self._mempool = mempool
        self._signatures = signatures
        self._steps = steps
        self._chain_id = chain_id

    async def prepare(self, block: RawBlock) -> AheadBlock:
        """Decode a block that a peer sent. Raises ``PeerError`` for bytes that no honest node keeps."""
        with self._steps.of("decode"):
            try:
                header, certificate = decode_header(block.header), decode_certificate(block.certificate)
                body = decode_body(block.body)
            except MalformedBytes as error:
                raise PeerError("MALFORMED", error.detail) from error
        hash_ = header_hash(block.header)
        if (certificate.height, certificate.block_hash) != (header.height, hash_):
            raise PeerError("WRONG_BLOCK", f"height {header.height} with the certificate of {certificate.height}")
        ids, transactions = await self._decode(body.transactions)
        if (
            txs_root(list(ids)) != header.txs_root
            or evidence_root(body.evidence) != header.evidence_root
            or certificate_hash(body.parent_certificate) != header.parent_certificate_hash
        ):
            raise PeerError("WRONG_BODY", f"height {header.height}")
        return AheadBlock(block, header, hash_, body, certificate, ids, transactions)

    async def _decode(self, raws: Sequence[bytes]) -> tuple[tuple[bytes, ...], Decoded | None]:
        ids: list[bytes] = []
        decoded: list[tuple[bytes, Transaction]] = []
        since_s = time.perf_counter()
        for start in range(0, len(raws), SLICE_TRANSACTIONS):
            if time.perf_counter() - since_s > SLICE_S:
                await asyncio.sleep(0)
                since_s = time.perf_counter()
            some = raws[start : start + SLICE_TRANSACTIONS]
            with self._steps.of("hash"):
                fresh = [transaction_id(raw) for raw in some]
            ids += fresh
            with self._steps.of("decode"):
                try:
                    decoded += [(tx_id, self._decoded(tx_id, raw)) for tx_id, raw in zip(fresh, some, strict=True)]
                except TransactionRejected:
                    continue  # the ids must be known all the same: they say whether the body is the header's
        self._steps.count("hash", len(ids))
        self._steps.count("decode", len(decoded))
        return tuple(ids), tuple(decoded) if len(decoded) == len(ids) else None

    def _decoded(self, tx_id: bytes, raw: bytes) -> Transaction:
        entry = self._mempool.get(tx_id)
        return decode_transaction(raw) if entry is None else entry.transaction

    async def prove(self, block: AheadBlock, view: HeightView) -> AheadBlock:
        """The block with what could be proven of its signatures; ``view``: our head, at or below the block's parent."""
        if block.transactions is None or block.header.epoch != view.epoch:
            return block  # those of an epoch that has not begun here wait: its word may be a lie
        seals = list(self._seals(block, view))
        raws = zip(block.transactions, block.body.transactions, strict=True)
        verified, valid = await self._signatures.verify_block(
            [(tx_id, raw, transaction) for (tx_id, transaction), raw in raws],
            [record(*seal) for seal in seals],
            block.header.epoch,
        )
        return replace(block, verified=verified, proven=frozenset(compress(seals, valid)))

    def _seals(self, block: AheadBlock, view: HeightView) -> Iterator[Signed]:
        """The seals of both certificates, if the validators of our head have made them."""
        validators = view.next_validators
        if block.header.validators_hash != validators_hash(validators):
            return
        for certificate in (block.certificate, block.body.parent_certificate):
            digest = sealed_digest(certificate, self._chain_id, view.epoch)
            for seal in certificate.seals:
                if 0 <= seal.index < len(validators) and len(seal.signature) == SIGNATURE_BYTES:
                    yield validators[seal.index].validator_key, digest, seal.signature
