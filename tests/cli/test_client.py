"""The client side of the HTTP API: errors keep their codes, and nothing that was sent is lost or doubled."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from cli.client import NodeClient
from cli.demo.client import HttpLedger
from cli.demo.ledger import PLATFORM, DemoError
from cli.sender import REQUEST_TRANSACTIONS_MAX, _requests, executed
from ledger.errors import OperatorError
from ledger.transactions import Exit, decode_transaction
from node.keys import KeyKind, generate

Answer = Callable[[list[bytes]], tuple[int, Any]]
KEY = generate(KeyKind.ORGANISATION)
CHAIN = bytes(32)


@asynccontextmanager
async def serving(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


class FakeNode:
    """Answers each submission with the next of ``answers``; keeps what it was sent."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.lists: list[list[bytes]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        raws = msgspec.msgpack.decode(await request.read(), type=list[bytes])
        self.lists.append(raws)
        status, body = self.answers.pop(0)(raws)
        return web.json_response(body, status=status)


def committed(raws: list[bytes]) -> tuple[int, Any]:
    bodies = [decode_transaction(raw).body for raw in raws]
    members = [body.member for body in bodies if isinstance(body, Exit)]
    return 200, {"transactions": [_item("committed", "OK", [member]) for member in members]}


def _item(status: str, code: str, detail: list[int]) -> dict[str, Any]:
    return {"id": "00", "status": status, "code": code, "detail": detail, "height": 1, "message": "why"}


def unready(raws: list[bytes]) -> tuple[int, Any]:
    return 503, {"title": "Service Unavailable", "code": "NOT_READY", "detail": "catching up"}


def half(raws: list[bytes]) -> tuple[int, Any]:
    items = committed(raws)[1]["transactions"]
    return 202, {"transactions": [items[0], *({"id": "00", "status": "pending"} for _ in raws[1:])]}


def refused(raws: list[bytes]) -> tuple[int, Any]:
    return 200, {"transactions": [_item("committed", "UNKNOWN_MEMBER", []) for _ in raws]}


async def send(bodies: list[Any], **nodes: FakeNode) -> list[tuple[int, ...]]:
    async with _running(list(nodes.items())) as urls, HttpLedger(urls, {PLATFORM: KEY}, CHAIN) as ledger:
        return await ledger.send(PLATFORM, bodies)


@asynccontextmanager
async def _running(nodes: list[tuple[str, FakeNode]]) -> AsyncIterator[dict[str, str]]:
    if not nodes:
        yield {}
        return
    (name, node), *rest = nodes
    async with serving(node.handle) as url, _running(rest) as urls:
        yield {name: url, **urls}


def test_a_list_is_executed_in_order_by_the_senders_own_node() -> None:
    other, own = FakeNode(), FakeNode(committed)
    assert asyncio.run(send([Exit(5), Exit(3)], bank=other, platform=own)) == [(5,), (3,)]
    assert other.lists == []


def test_when_a_node_does_not_serve_the_same_bytes_go_to_the_next() -> None:
    own, other = FakeNode(unready), FakeNode(committed)
    assert asyncio.run(send([Exit(5)], platform=own, bank=other)) == [(5,)]
    assert own.lists == other.lists


def test_only_what_is_still_open_is_sent_again() -> None:
    own = FakeNode(half, committed)
    assert asyncio.run(send([Exit(1), Exit(2), Exit(3)], platform=own)) == [(1,), (2,), (3,)]
    assert own.lists[1] == own.lists[0][1:]


def test_a_refused_receipt_ends_the_run() -> None:
    with pytest.raises(DemoError, match="UNKNOWN_MEMBER"):
        asyncio.run(send([Exit(1)], platform=FakeNode(refused)))


def test_a_node_that_is_down_is_not_asked() -> None:
    async def scenario() -> list[tuple[int, ...]]:
        other = FakeNode(committed)
        async with serving(other.handle) as url:
            nodes = {"platform": "http://127.0.0.1:9", "bank": url}
            async with HttpLedger(nodes, {PLATFORM: KEY}, CHAIN) as ledger:
                ledger.down.add("platform")
                return await ledger.send(PLATFORM, [Exit(8)])

    assert asyncio.run(scenario()) == [(8,)]


async def ask(status: int, body: bytes) -> Any:
    async def handle(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body)

    async with serving(handle) as url, NodeClient(url) as client:
        return await client.get("/v1/status")


@pytest.mark.parametrize(
    ("status", "body", "code", "exit_code"),
    [
        (404, {"code": "NOT_FOUND", "title": "Not Found", "detail": "there is no member 9"}, "NOT_FOUND", 1),
        (503, {"code": "NOT_READY", "title": "Service Unavailable"}, "NOT_READY", 5),
        (429, {"code": "RATE_LIMITED", "title": "Too Many Requests"}, "RATE_LIMITED", 5),
        (500, None, "HTTP_500", 1),
    ],
)
def test_a_problem_keeps_the_nodes_code(status: int, body: Any, code: str, exit_code: int) -> None:
    with pytest.raises(OperatorError) as caught:
        asyncio.run(ask(status, json.dumps(body).encode()))
    assert (caught.value.code, caught.value.exit_code) == (code, exit_code)


def test_something_else_than_a_node_is_told_so() -> None:
    with pytest.raises(OperatorError) as caught:
        asyncio.run(ask(200, b"<html>"))
    assert (caught.value.code, caught.value.exit_code) == ("NOT_A_NODE", 4)


def test_a_download_is_written_as_it_comes(tmp_path: Path) -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        return web.Response(body=bytes(range(256)) * 10_000)

    async def scenario() -> None:
        async with serving(handle) as url, NodeClient(url) as client:
            await client.download(tmp_path / "file", "/v1/blocks/export")

    asyncio.run(scenario())
    assert (tmp_path / "file").read_bytes() == bytes(range(256)) * 10_000


def test_lists_are_cut_into_requests_a_node_takes() -> None:
    raws = [bytes(100)] * (REQUEST_TRANSACTIONS_MAX + 1)
    assert [len(part) for part in _requests(raws)] == [REQUEST_TRANSACTIONS_MAX, 1]
    assert [len(part) for part in _requests([bytes(5_000_000)] * 3)] == [1, 1, 1]


def test_pending_is_not_ready_and_says_how_to_wait() -> None:
    with pytest.raises(OperatorError) as caught:
        executed({"id": "ab", "status": "pending"})
    assert (caught.value.code, caught.value.exit_code) == ("PENDING", 5)
    assert "huzhu tx wait ab" in caught.value.next
