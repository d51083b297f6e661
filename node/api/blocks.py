"""Routes that show blocks: one, several, as JSON or as the exact bytes that were decided."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aiohttp import web

from ledger.blocks import Body, Header, Receipt, decode_body
from ledger.codec import decode_own, digest, encode
from ledger.transactions import decode_transaction, transaction_id
from ledger.votes import Certificate

from ..blockstore import BlockReader
from . import asked
from .answers import answer, bad_request, not_found, plain
from .view import NodeView

EXPORT_BLOCKS_MAX: Final = 1_000_000
MSGPACK: Final = "application/msgpack"


class Blocks:
    """Routes under ``/v1/blocks``."""

    def __init__(self, view: NodeView) -> None:
        self._view = view

    async def listing(self, request: web.Request) -> web.StreamResponse:
        """Newest blocks first: ?before=height &limit=."""
        at = self._view.current
        newest = asked.integer(request, "before", at.height + 1) - 1
        newest = min(newest, at.height)
        oldest = max(-1, newest - asked.limit(request))
        found = [_summary(at.blocks, height) for height in range(newest, oldest, -1)]
        return answer({"height": at.height, "blocks": [item for item in found if item is not None]})

    async def show(self, request: web.Request) -> web.StreamResponse:
        """One block by height, hash or `latest`; ?raw=true: MessagePack [header, body, certificate, receipts]."""
        blocks = self._view.current.blocks
        height = self._height(request.match_info["ref"])
        if asked.flag(request, "raw"):
            raw = raw_block(blocks, height)
            if raw is None:
                raise not_found(f"there is no block {height} here")
            return web.Response(body=raw, content_type=MSGPACK)
        found = _summary(blocks, height)
        if found is None:
            raise not_found(f"there is no block {height} here")
        return answer(found | _content(blocks, height))

    def _height(self, ref: str) -> int:
        at = self._view.current
        if ref == "latest":
            return at.height
        if ref.isascii() and ref.isdigit() and len(ref) <= 18:
            height: int | None = int(ref)
        elif len(ref) == 64:
            height = at.blocks.height_of(asked.digest(ref, "the block hash"))
        else:
            raise bad_request("a block is named by its height, its hash or `latest`")
        if height is None or height > at.height:
            raise not_found("there is no such block here yet")
        return height

    async def export(self, request: web.Request) -> web.StreamResponse:
        """Blocks ?from= &to= (inclusive) as a sequence of MessagePack [header, body, certificate, receipts]."""
        at = self._view.current
        first = asked.integer(request, "from", 0)
        last = asked.integer(request, "to", at.height)
        if not first <= last <= at.height:
            raise bad_request(f"from {first} to {last}: at most up to the newest block, {at.height}")
        if last - first >= EXPORT_BLOCKS_MAX:
            raise bad_request(f"at most {EXPORT_BLOCKS_MAX} blocks at once")
        # The snapshot `at` is held, so the blocks are one consistent chain whatever happens meanwhile.
        first_raw = raw_block(at.blocks, first)
        if first_raw is None:
            raise not_found(f"block {first} is not kept here any more")
        response = web.StreamResponse(headers={"Content-Type": MSGPACK})
        await response.prepare(request)
        await response.write(first_raw)
        for height in range(first + 1, last + 1):
            raw = raw_block(at.blocks, height)
            if raw is None:
                break
            await response.write(raw)
            await asyncio.sleep(0)
        await response.write_eof()
        return response


def raw_block(blocks: BlockReader, height: int) -> bytes | None:
    """MessagePack [header, body or nil, certificate, receipts]: the first three as bin with the exact bytes."""
    header, body, receipts = blocks.header_raw(height), blocks.body_raw(height), blocks.receipts(height)
    if header is None or receipts is None or (body is None) != (height == 0):
        return None  # unknown here, or pruned
    return encode((header, body, blocks.certificate_raw(height), receipts))


def body_transactions(body_raw: bytes) -> tuple[bytes, ...]:
    """The transactions of a stored body."""
    return decode_own(Body, body_raw).transactions


def _summary(blocks: BlockReader, height: int) -> dict[str, Any] | None:
    raw = blocks.header_raw(height)
    if raw is None:
        return None
    header = decode_own(Header, raw)
    certificate_raw = blocks.certificate_raw(height)
    certificate = None if certificate_raw is None else decode_own(Certificate, certificate_raw)
    return {
        "height": height,
        "hash": digest(raw).hex(),
        "time_ms": header.time_ms,
        "transactions_count": header.tx_count,
        "round": None if certificate is None else certificate.round,
        "signatures": None if certificate is None else len(certificate.seals),
        "header": plain(header),
    }


def _content(blocks: BlockReader, height: int) -> dict[str, Any]:
    receipts = blocks.receipts(height) or ()
    body_raw = blocks.body_raw(height)
    body = None if body_raw is None else decode_body(body_raw)
    deadlines = [receipt for receipt in receipts if not isinstance(receipt.subject, bytes)]
    raws = () if body is None else body.transactions
    return {
        "deadlines": [plain(receipt) for receipt in deadlines],
        "transactions": [
            _transaction(raw, receipt) for raw, receipt in zip(raws, receipts[len(deadlines) :], strict=True)
        ],
        "evidence": [] if body is None else plain(body.evidence),
        "recovery": None if body is None else plain(body.recovery),
    }


def _transaction(raw: bytes, receipt: Receipt) -> dict[str, Any]:
    transaction = decode_transaction(raw)
    return {
        "id": transaction_id(raw).hex(),
        "type": transaction.body.__struct_config__.tag,
        "signer": transaction.signer.hex(),
        "bytes": len(raw),
        "code": receipt.code,
        "detail": list(receipt.detail),
    }
