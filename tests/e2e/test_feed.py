"""The websocket feed over kill -9: a client resumes with its cursor, at the same and at another node (issue 6, §9).

What the client has put together from several connections must be what one whole feed of another node says: no event
missing, none twice, in the same order.
"""

import asyncio
import json
from typing import Any, Final

import pytest
from aiohttp import ClientSession, WSMsgType, WSServerHandshakeError

from .load import Load
from .network import COMMIT_SECONDS, EndToEndError, LiveNetwork, LiveNode

pytestmark = pytest.mark.e2e

MORE: Final = 20
EVENTS: Final = 60
"""Read before the next thing happens; several blocks, and seldom at the end of one."""
READ_SECONDS: Final = 40.0
RETRY_SECONDS: Final = 0.1
NOT_HERE_YET: Final = 404
"""A node that is behind refuses a cursor above its head."""


class Client:
    """Reads a feed over as many connections as it takes; ``events`` in the order in which they came."""

    def __init__(self, first: int) -> None:
        self.events: list[dict[str, Any]] = []
        self._first = first

    @property
    def _where(self) -> str:
        return f"after={self.events[-1]['cursor']}" if self.events else f"from={self._first}"

    async def read(self, node: LiveNode, count: int, *, killing: LiveNode | None = None) -> None:
        """Take ``count`` more events from ``node``; then kill a node, and take what still comes."""
        goal = len(self.events) + count
        async with asyncio.timeout(READ_SECONDS), ClientSession() as session:
            while len(self.events) < goal:
                try:
                    async with session.ws_connect(f"{node.api.url}/v1/feed?{self._where}") as socket:
                        async for message in socket:
                            if message.type is not WSMsgType.TEXT:
                                raise EndToEndError(f"{message.type} in a feed")
                            self.events.append(json.loads(message.data))
                            if len(self.events) == goal:
                                if killing is None:
                                    return
                                killing.kill()
                except WSServerHandshakeError as error:
                    if error.status != NOT_HERE_YET:
                        raise
                    await asyncio.sleep(RETRY_SECONDS)


def until_block(node: LiveNode, first: int, last: int) -> list[dict[str, Any]]:
    """One whole feed of a node, from block ``first`` to the end of block ``last``."""

    async def read() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        async with (
            asyncio.timeout(READ_SECONDS),
            ClientSession() as session,
            session.ws_connect(f"{node.api.url}/v1/feed?from={first}") as socket,
        ):
            async for message in socket:
                event = json.loads(message.data)
                if event["height"] > last:
                    return found
                found.append(event)
        raise EndToEndError(f"the feed of {node.name} ended at {found[-1:]}")

    return asyncio.run(read())


def test_a_client_whose_node_is_killed_resumes_at_the_same_and_at_another_without_gap_or_duplicate(
    four: LiveNetwork,
) -> None:
    node, other, witness = (four.nodes[name] for name in ("bank", "assessor-east", "platform"))
    first = node.height
    client = Client(first)
    with Load(four) as load:
        load.await_more(MORE, COMMIT_SECONDS)
        asyncio.run(client.read(node, EVENTS, killing=node))
        seen = client.events[-1]["height"]
        load.await_more(MORE, COMMIT_SECONDS)
        node.start()
        four.await_ready(node)
        asyncio.run(client.read(node, EVENTS, killing=node))  # the same node, with the cursor
        asyncio.run(client.read(other, EVENTS))  # another one, which this client has never spoken to
        node.start()
        four.await_ready(node)
        load.await_more(MORE, COMMIT_SECONDS)
        asyncio.run(client.read(node, EVENTS))
    last = client.events[-1]["height"]
    assert last > seen
    four.await_height(last + 1)
    whole = until_block(witness, first, last)
    cursors = [event["cursor"] for event in client.events]
    assert len(set(cursors)) == len(cursors), "nothing came twice"
    assert client.events == whole[: len(client.events)]
