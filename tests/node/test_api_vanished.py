"""A client that goes away in the middle of an answer is nobody's error: no traceback, and the node goes on."""

import logging
from contextlib import suppress

import pytest
from aiohttp import ClientConnectionResetError, ClientError, web

from node.api.operating import Operating
from tests.node.api_kit import FakeNode
from tests.node.test_api import get, serving


async def _gone(self: Operating, request: web.Request) -> web.StreamResponse:
    """A part of the answer is out when the connection turns out to be closed."""
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"a part")
    raise ClientConnectionResetError("Cannot write to closing transport")


@pytest.mark.asyncio
async def test_a_client_that_vanishes_leaves_no_traceback(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Operating, "status", _gone)
    node = FakeNode()
    async with serving(node) as client:
        with caplog.at_level(logging.WARNING):
            with suppress(ClientError):
                await (await client.get("/v1/status")).read()
            text = await (await client.get("/metrics")).text()
        assert [record.getMessage() for record in caplog.records] == []
        assert 'huzhu_http_requests_total{route="/v1/status",status="499"} 1.0' in text
        await get(client, "/livez")
