"""The websocket feed: every event once and in order, from a cursor on, whatever the client did before."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType, WSServerHandshakeError
from aiohttp.test_utils import TestClient, TestServer

from ledger.errors import TransactionRejected
from node.api import feed
from node.api.feed import HASH_DIGITS, Cursor, parse_cursor
from tests.node.api_kit import FakeNode
from tests.node.test_api import with_members


@asynccontextmanager
async def client_of(node: FakeNode) -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(node.app())) as client:
        yield client


async def take(socket: ClientWebSocketResponse, count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(5):
        return [await socket.receive_json() for _ in range(count)]


def everything(node: FakeNode) -> list[dict[str, Any]]:
    """What a feed from the genesis must say, read from the blocks."""
    found = []
    for height in range(node.current.height + 1):
        found += [{"cursor": str(cursor), **event} for cursor, event in feed.events(node.current.blocks, height)]
    return found


def comparable(sent: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(event["cursor"], event["type"], event.get("transaction"), event.get("code")) for event in sent]


@pytest.mark.asyncio
async def test_a_feed_from_the_genesis_says_everything_once_and_in_order() -> None:
    node = with_members()
    expected = everything(node)
    assert {event["type"] for event in expected} == {"block", "receipt"}
    async with client_of(node) as client, client.ws_connect("/v1/feed?from=0") as socket:
        assert comparable(await take(socket, len(expected))) == comparable(expected)


@pytest.mark.asyncio
async def test_from_every_cursor_the_rest_follows_without_gap_or_duplicate() -> None:
    node = with_members()
    expected = everything(node)
    async with client_of(node) as client:
        for at, event in enumerate(expected[:-1]):
            async with client.ws_connect(f"/v1/feed?after={event['cursor']}") as socket:
                rest = expected[at + 1 :]
                assert comparable(await take(socket, len(rest))) == comparable(rest)


@pytest.mark.asyncio
async def test_blocks_arrive_as_they_are_committed() -> None:
    node = with_members()
    async with client_of(node) as client, client.ws_connect("/v1/feed?types=block") as socket:
        for _ in range(3):
            height = node.current.height
            node.step_to_day(2019, 1, 2 + height)
            heights = [event["height"] for event in await take(socket, node.current.height - height)]
            assert heights == list(range(height + 1, node.current.height + 1))


async def refused(client: TestClient[Any, Any], path: str) -> int:
    with pytest.raises(WSServerHandshakeError) as caught:
        await client.ws_connect(path)
    return caught.value.status


@pytest.mark.asyncio
async def test_a_start_that_is_not_here_is_refused_before_the_upgrade() -> None:
    node = with_members()
    head = node.current.height
    async with client_of(node) as client:
        assert await refused(client, f"/v1/feed?from={head + 2}") == 400
        assert await refused(client, f"/v1/feed?after={head + 1}-0-{'0' * HASH_DIGITS}") == 404
        assert (
            await refused(client, f"/v1/feed?after={head}-0-{'0' * HASH_DIGITS}") == 404
        )  # another block: rolled back
        assert await refused(client, "/v1/feed?after=nonsense") == 400
        assert await refused(client, "/v1/feed?types=block,blob") == 400
        async with client.get("/v1/feed") as plain:
            assert plain.status == 400
        async with client.ws_connect(f"/v1/feed?from={head + 1}") as waiting:
            assert not waiting.closed


@pytest.mark.asyncio
async def test_the_number_of_feeds_is_bounded_and_a_closed_one_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed.Feeds.__init__, "__defaults__", (1,))
    node = with_members()
    async with client_of(node) as client:
        async with client.ws_connect("/v1/feed?from=0") as socket:
            await take(socket, 1)
            assert await refused(client, "/v1/feed") == 503
        async with asyncio.timeout(5):
            while await _status(client) == 503:
                pass


async def _status(client: TestClient[Any, Any]) -> int:
    try:
        async with client.ws_connect("/v1/feed"):
            return 101
    except WSServerHandshakeError as error:
        return error.status


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [1, feed.CLIENT_BYTES_MAX + 1])
async def test_a_client_that_speaks_is_disconnected(size: int) -> None:
    node = with_members()
    async with client_of(node) as client, client.ws_connect("/v1/feed") as socket:
        await socket.send_str("x" * size)
        async with asyncio.timeout(5):
            assert (await socket.receive()).type is WSMsgType.CLOSE
        assert socket.close_code in (1008, 1009)
    assert not node.bugs


@pytest.mark.asyncio
async def test_a_feed_that_comes_to_a_pruned_block_says_so_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    node = with_members()
    real = feed.events

    def pruned(blocks: Any, height: int) -> Any:
        if height == 1:
            raise feed.PrunedError("block 1 is not kept here any more")
        return real(blocks, height)

    monkeypatch.setattr(feed, "events", pruned)
    async with client_of(node) as client, client.ws_connect("/v1/feed?from=0&types=block") as socket:
        await take(socket, 1)
        async with asyncio.timeout(5):
            message = await socket.receive()
        assert (message.type, message.extra) == (WSMsgType.CLOSE, "block 1 is not kept here any more")


@pytest.mark.parametrize(
    "text", ["", "1-2", "1-2-3", "-1-0-" + "0" * 16, "1-0-" + "G" * 16, "9" * 19 + "-0-" + "0" * 16]
)
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(TransactionRejected):
        parse_cursor(text)


def test_a_cursor_reads_back() -> None:
    cursor = Cursor(12, 3, "0123456789abcdef")
    assert parse_cursor(str(cursor)) == cursor
