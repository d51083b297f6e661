"""What ends a connection is one event of the node's log, and no stranger can write into it."""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from node.api.http_log import http_logger

OK = b"GET /ok HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class Heard:
    """A log that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, dict[str, Any]]] = []
        self.malformed = 0

    def __getattr__(self, level: str) -> Any:
        return lambda event, **particulars: self.events.append((level, event, particulars))

    def count(self) -> None:
        self.malformed += 1


async def asked(heard: Heard, said: bytes) -> bytes:
    """The answer of a server whose disk is broken at /broken."""

    async def fine(request: web.Request) -> web.Response:
        return web.Response(text="fine")

    async def broken(request: web.Request) -> web.Response:
        raise OSError(5, "Input/output\nerror")

    app = web.Application()
    app.router.add_route("*", "/ok", fine)
    app.router.add_get("/broken", broken)
    runner = web.AppRunner(app, access_log=None, logger=http_logger(heard, heard.count))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        reader, writer = await asyncio.open_connection(*runner.addresses[0][:2])
        writer.write(said)
        answer = await reader.read()
        writer.close()
        return answer
    finally:
        await runner.cleanup()


@pytest.mark.asyncio
async def test_a_good_request_leaves_no_word() -> None:
    heard = Heard()
    assert (await asked(heard, OK)).startswith(b"HTTP/1.1 200")
    assert (heard.events, heard.malformed) == ([], 0)


@pytest.mark.parametrize(
    "said",
    [
        OK.replace(b"Host", b"Content-Length: 5\r\nContent-Length: 6\r\nHost"),
        OK.replace(b"GET", b"POST").replace(b"Host", b"Transfer-Encoding: chunked\r\nHost") + b"-5\r\nhello\r\n",
        OK + b"\x00\x01\r\n\r\n",
        OK.replace(b"HTTP/1.1", b"HTTP/one"),
        OK.replace(b"Host", b"Expect: \xff\r\nHost"),
    ],
)
@pytest.mark.asyncio
async def test_what_is_not_http_is_counted_and_said_in_one_line_to_the_curious(said: bytes) -> None:
    heard = Heard()
    await asked(heard, said)
    assert {(level, event) for level, event, _ in heard.events} <= {("debug", "not HTTP")}
    assert heard.malformed == len(heard.events)
    assert all("\n" not in str(value) for _, _, particulars in heard.events for value in particulars.values())
    if b"Content-Length" in said or b"Expect" in said:
        assert heard.malformed == 1


@pytest.mark.asyncio
async def test_what_is_not_the_clients_fault_is_an_error_with_its_reason() -> None:
    heard = Heard()
    assert (await asked(heard, OK.replace(b"/ok", b"/broken"))).startswith(b"HTTP/1.1 500")
    ((level, event, particulars),) = heard.events
    assert (level, event, particulars["error"]) == (
        "error",
        "a request failed",
        "OSError: [Errno 5] Input/output error",
    )
    assert heard.malformed == 0
