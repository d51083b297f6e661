"""The blocks that a snapshot needs beside its tables: all of the last validity window, and the headers that name the
validators of the last evidence age (NODE §2).

Rules of this file

* From the certified header downwards: each header names its parent by its hash, each body stands under its header's
  roots, each certificate but the newest is the canonical one of the next body, receipts stand under the next header's
  root. So nothing needs a signature, and whoever lies is found with the answer in which he did.
"""

from collections.abc import Callable
from typing import Final

from ledger.blocks import (
    ZERO_HASH,
    Body,
    Header,
    Receipt,
    certificate_hash,
    decode_body,
    decode_header,
    evidence_root,
    genesis_certificate,
    header_hash,
    receipts_root,
    txs_root,
)
from ledger.codec import decode, encode
from ledger.errors import MalformedBytes, PeerError, TransactionRejected
from ledger.evidence import AGE_BLOCKS_MAX
from ledger.limits import VALIDITY_WINDOW_MS
from ledger.store import Batch
from ledger.transactions import decode_transaction, transaction_id
from ledger.votes import Certificate

from . import blockstore
from .snapshot_offer import Target
from .snapshot_progress import Progress
from .snapshot_sources import Sources
from .snapshot_tables import Write
from .snapshot_wire import (
    HEADERS_MAX,
    RECEIPTS_BYTES,
    RECEIPTS_MAX,
    GetHeaders,
    GetReceipts,
    decode_headers,
    decode_receipt_lists,
)
from .wire import BLOCKS_PER_ANSWER_MAX, GetBlocks, RawBlock, decode_answer

BLOCKS_PER_QUESTION: Final = 16


class BlockFetch:
    """See the head of this file. ``run`` it once."""

    def __init__(self, write: Write, target: Target, sources: Sources, progress: Progress) -> None:
        self._write = write
        self._target = target
        self._sources = sources
        self._progress = progress
        self._headers: dict[int, tuple[bytes, Header]] = {target.height: (target.header_raw, target.header)}

    async def run(self) -> None:
        """Fetch headers, then blocks; all is durable when this returns. Raises ``NoSource``."""
        head = self._target.height - 1
        await self._fetch_headers(max(0, head - AGE_BLOCKS_MAX), head)
        first = self._window_from(head)
        self._progress.begin(self._progress.phase, head - first + 1)
        batch = Batch()
        for height, (raw, _) in self._headers.items():
            if height <= head:
                blockstore.put_header(batch, height, header_hash(raw), raw)
        await self._write(batch)
        certificate = await self._head_certificate()
        last = head
        while last >= first and last > 0:
            low = max(first, 1, last - BLOCKS_PER_QUESTION + 1)
            certificate = await self._blocks(low, last, certificate)
            last = low - 1
        if first == 0:
            await self._genesis_block()

    # ---- headers ----

    async def _fetch_headers(self, first: int, last: int) -> None:
        while last >= first:
            low = max(first, last - HEADERS_MAX + 1)
            question = GetHeaders(low, last)
            for height, raw, header in await self._sources.fetch(question, self._check_headers(question)):
                self._headers[height] = (raw, header)
            last = low - 1

    def _check_headers(self, question: GetHeaders) -> Callable[[bytes], list[tuple[int, bytes, Header]]]:
        def check(answer: bytes) -> list[tuple[int, bytes, Header]]:
            found = []
            expected = self._headers[question.last + 1][1].parent
            for raw in reversed(decode_headers(answer, question)):
                if header_hash(raw) != expected:
                    raise PeerError("BAD_HEADER", "it is not the parent of the header above it")
                header = _decoded(raw)
                found.append((header.height, raw, header))
                expected = header.parent
            return found

        return check

    def _window_from(self, head: int) -> int:
        """The lowest block whose transactions may still be valid after ``head``; its headers are all there."""
        horizon_ms = self._headers[head][1].time_ms - VALIDITY_WINDOW_MS
        height = head
        while height - 1 in self._headers and self._headers[height - 1][1].time_ms >= horizon_ms:
            height -= 1
        return height

    # ---- blocks ----

    async def _head_certificate(self) -> Certificate:
        """That of the block before the certifying header: it stands in the body which that header binds."""
        question = GetBlocks(self._target.height, self._target.height)

        def check(raw: bytes) -> Certificate:
            (block,) = decode_answer(raw, question)
            if block.header != self._target.header_raw:
                raise PeerError("WRONG_BLOCK", f"not block {question.first}")
            return _body(self._target.header, block).parent_certificate

        return await self._sources.fetch(question, check)

    async def _blocks(self, first: int, last: int, certificate: Certificate) -> Certificate:
        """Fetch and write the blocks from ``last`` down to ``first``; the certificate of the block below."""
        bodies: dict[int, tuple[bytes, Body]] = {}
        wanted = first
        while wanted <= last:
            question = GetBlocks(wanted, min(last, wanted + BLOCKS_PER_ANSWER_MAX - 1))
            for height, raw, body in await self._sources.fetch(question, self._check_blocks(question)):
                bodies[height] = (raw, body)
            wanted = max(bodies) + 1
        receipts: dict[int, tuple[Receipt, ...]] = {}
        wanted = first
        while wanted <= last:
            asked = GetReceipts(wanted, min(last, wanted + RECEIPTS_MAX - 1))
            receipts |= await self._sources.fetch(asked, self._check_receipts(asked))
            wanted = max(receipts) + 1
        batch = Batch()
        for height in range(last, first - 1, -1):
            body_raw, body = bodies[height]
            header_raw, _ = self._headers[height]
            blockstore.put_block(
                batch,
                height=height,
                block_hash=header_hash(header_raw),
                header=header_raw,
                body=body_raw,
                certificate=certificate,
                receipts=receipts[height],
                ids=[transaction_id(raw) for raw in body.transactions],
            )
            certificate = body.parent_certificate
        await self._write(batch)
        self._progress.fetched(last - first + 1, sum(len(raw) for raw, _ in bodies.values()))
        return certificate

    def _check_blocks(self, question: GetBlocks) -> Callable[[bytes], list[tuple[int, bytes, Body]]]:
        def check(answer: bytes) -> list[tuple[int, bytes, Body]]:
            found = []
            for height, block in enumerate(decode_answer(answer, question), start=question.first):
                raw, header = self._headers[height]
                if block.header != raw:
                    raise PeerError("WRONG_BLOCK", f"not block {height}")
                found.append((height, block.body, _body(header, block)))
            return found

        return check

    def _check_receipts(self, question: GetReceipts) -> Callable[[bytes], dict[int, tuple[Receipt, ...]]]:
        def check(answer: bytes) -> dict[int, tuple[Receipt, ...]]:
            found = {}
            for height, raw in enumerate(decode_receipt_lists(answer, question), start=question.first):
                try:
                    receipts = decode(tuple[Receipt, ...], raw, bytes_max=4 * RECEIPTS_BYTES)
                except MalformedBytes as error:
                    raise PeerError("MALFORMED", f"receipts of {height}: {error.detail}") from error
                if receipts_root(list(receipts)) != self._headers[height + 1][1].receipts_root:
                    raise PeerError("WRONG_RECEIPTS", f"of block {height}")
                found[height] = receipts
            return found

        return check

    async def _genesis_block(self) -> None:
        batch = Batch()
        raw, _ = self._headers[0]
        blockstore.put_block(
            batch,
            height=0,
            block_hash=header_hash(raw),
            header=raw,
            body=None,
            certificate=genesis_certificate(header_hash(raw)),
            receipts=(),
            ids=(),
        )
        await self._write(batch)


def _decoded(raw: bytes) -> Header:
    try:
        return decode_header(raw)
    except MalformedBytes as error:
        raise PeerError("MALFORMED", f"header: {error.detail}") from error


def _body(header: Header, block: RawBlock) -> Body:
    """The body, found to be the one of ``header``. Raises ``PeerError``."""
    try:
        body = decode_body(block.body)
        for raw in body.transactions:
            decode_transaction(raw)
    except MalformedBytes as error:
        raise PeerError("MALFORMED", f"body: {error.detail}") from error
    except TransactionRejected as error:
        raise PeerError("WRONG_BODY", str(error)) from error
    same = (
        txs_root([transaction_id(raw) for raw in body.transactions]) == header.txs_root
        and evidence_root(body.evidence) == header.evidence_root
        and (certificate_hash(body.parent_certificate) if header.height > 1 else ZERO_HASH)
        == header.parent_certificate_hash
        and body.parent_certificate.height == header.height - 1
    )
    if not same or encode(body) != block.body:
        raise PeerError("WRONG_BODY", f"height {header.height}")
    return body
