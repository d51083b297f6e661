"""The websocket feed: every block and every receipt in order, from a cursor on, without gap or duplicate (NODE §2).

Rules of this file

* The feed is read from the blocks on the disk, never from a queue of our own: a client that reads slowly falls behind
  and holds nothing but its connection, and one that comes back goes on where it was, even at another node.
* A cursor is ``height-index-hash``: the place of an event in its block, and the first 16 digits of the block's hash. A
  block that was rolled back (an agreed recovery) makes its cursors invalid, with a problem that says so.
* Index 0 is the block itself, 1 and above its receipts in the order of the receipts tree: deadlines first.
* At most ``FEEDS_MAX`` feeds; a client that does not answer pings is gone after ``HEARTBEAT_S``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from ledger.blocks import Header, Receipt
from ledger.codec import decode_own, digest
from ledger.errors import TransactionRejected

from ..blockstore import BlockReader
from . import asked
from .answers import bad_request, not_found, plain
from .view import NodeView
from .waiters import CommitWaiters

FEEDS_MAX: Final = 64
HEARTBEAT_S: Final = 30.0
CLIENT_BYTES_MAX: Final = 1_024
"""Of a message from a client, which has nothing to say."""
HASH_DIGITS: Final = 16
TYPES: Final = ("block", "receipt")


@dataclass(frozen=True, slots=True)
class Cursor:
    """The place of one event."""

    height: int
    index: int
    block: str
    """The first ``HASH_DIGITS`` digits of the block's hash."""

    def __str__(self) -> str:
        return f"{self.height}-{self.index}-{self.block}"


def parse_cursor(text: str) -> Cursor:
    """Raises ``TransactionRejected`` BAD_REQUEST."""
    parts = text.split("-")
    if len(parts) == 3:
        height, index, block = parts
        numbers = all(part.isascii() and part.isdigit() and len(part) <= 18 for part in (height, index))
        if numbers and len(block) == HASH_DIGITS and all(digit in "0123456789abcdef" for digit in block):
            return Cursor(int(height), int(index), block)
    raise bad_request(f"after must be a cursor of this feed, height-index-hash, not {text[:60]!r}")


class PrunedError(Exception):
    """A block that the feed has come to is not kept here any more."""


def events(blocks: BlockReader, height: int) -> Iterator[tuple[Cursor, dict[str, Any]]]:
    """The events of one block in order. Raises ``PrunedError``."""
    raw, receipts = blocks.header_raw(height), blocks.receipts(height)
    if raw is None or receipts is None:
        raise PrunedError(f"block {height} is not kept here any more")
    header, hash_ = decode_own(Header, raw), digest(raw).hex()
    yield (
        Cursor(height, 0, hash_[:HASH_DIGITS]),
        {
            "type": "block",
            "height": height,
            "hash": hash_,
            "time_ms": header.time_ms,
            "transactions_count": header.tx_count,
            "receipts_count": len(receipts),
        },
    )
    for index, receipt in enumerate(receipts, start=1):
        yield Cursor(height, index, hash_[:HASH_DIGITS]), _receipt(height, receipt)


def _receipt(height: int, receipt: Receipt) -> dict[str, Any]:
    subject = receipt.subject
    named = {"transaction": subject.hex()} if isinstance(subject, bytes) else {"deadline": plain(subject)}
    return {"type": "receipt", "height": height, **named, "code": receipt.code, "detail": plain(receipt.detail)}


class Feeds:
    """The route, and the feeds that are open."""

    def __init__(self, view: NodeView, waiters: CommitWaiters, feeds_max: int = FEEDS_MAX) -> None:
        self._view = view
        self._waiters = waiters
        self._feeds_max = feeds_max
        self._open: set[web.WebSocketResponse] = set()

    def __len__(self) -> int:
        return len(self._open)

    async def feed(self, request: web.Request) -> web.StreamResponse:
        """Websocket: blocks and receipts from now on, or ?after=cursor, or ?from=height; &types=block,receipt."""
        if request.headers.get("Upgrade", "").lower() != "websocket":
            raise bad_request("this route is a websocket")
        kinds = _types(request.query.get("types", ",".join(TYPES)))
        start = self._start(request)
        if len(self._open) >= self._feeds_max:
            raise TransactionRejected("TOO_MANY_WAITERS", f"{self._feeds_max} feeds are open already")
        socket = web.WebSocketResponse(heartbeat=HEARTBEAT_S, max_msg_size=CLIENT_BYTES_MAX)
        self._open.add(socket)
        try:
            await socket.prepare(request)
            await self._run(socket, start, kinds)
        finally:
            self._open.discard(socket)
        return socket

    async def close(self, _: web.Application) -> None:
        """The node stops: tell every client, who may go on elsewhere."""
        for socket in list(self._open):
            await socket.close(code=WSCloseCode.GOING_AWAY, message=b"the node stops")

    def _start(self, request: web.Request) -> Cursor:
        """The last event *not* to send: before the first asked for, or the newest."""
        at = self._view.current
        after = request.query.get("after")
        if after is None:
            first = asked.integer(request, "from", at.height + 1, high=at.height + 1)
            if first <= at.height and at.blocks.header_raw(first) is None:
                raise not_found(f"block {first} is not kept here any more")
            return Cursor(first, -1, "")
        cursor = parse_cursor(after)
        if cursor.height > at.height:
            raise not_found(f"block {cursor.height} is not here yet; the newest is {at.height}")
        raw = at.blocks.header_raw(cursor.height)
        if raw is None:
            raise not_found(f"block {cursor.height} is not kept here any more")
        if not digest(raw).hex().startswith(cursor.block):
            raise not_found(f"block {cursor.height} of this chain is another one: what came after was rolled back")
        return cursor

    async def _run(self, socket: web.WebSocketResponse, start: Cursor, kinds: frozenset[str]) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                sending = tasks.create_task(self._send(socket, start, kinds))
                await self._listen(socket)
                sending.cancel()
        except BaseExceptionGroup as group:
            error = group.exceptions[0]
            if isinstance(error, PrunedError):
                await socket.close(code=WSCloseCode.POLICY_VIOLATION, message=str(error).encode())
            elif not isinstance(error, ConnectionError):
                raise error from group

    async def _listen(self, socket: web.WebSocketResponse) -> None:
        """Until the client closes; it has nothing to say, so anything it says ends the feed."""
        message = await socket.receive()
        if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
            await socket.close(code=WSCloseCode.POLICY_VIOLATION, message=b"a feed only speaks")

    async def _send(self, socket: web.WebSocketResponse, start: Cursor, kinds: frozenset[str]) -> None:
        async for cursor, event in self._following(start):
            if event["type"] in kinds:
                await socket.send_str(msgspec.json.encode({"cursor": str(cursor), **event}).decode())

    async def _following(self, start: Cursor) -> AsyncIterator[tuple[Cursor, dict[str, Any]]]:
        height, sent = start.height, start.index
        while True:
            coming = self._waiters.next_block()
            at = self._view.current
            while height <= at.height:
                for cursor, event in events(at.blocks, height):
                    if cursor.index > sent:
                        yield cursor, event
                height, sent = height + 1, -1
                await asyncio.sleep(0)
            await coming.wait()


def _types(text: str) -> frozenset[str]:
    kinds = frozenset(text.split(","))
    if not kinds <= frozenset(TYPES):
        raise bad_request(f"types must be of {', '.join(TYPES)}, not {text[:60]!r}")
    return kinds
