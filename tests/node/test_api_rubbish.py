"""Every route of the API, asked with bytes that nobody should send: each answer is the client's fault, never ours."""

import asyncio
import re
from random import Random
from typing import Any, Final

import pytest
from aiohttp import web

from node.api.connections import Connections
from node.api.feed import Feeds
from node.api.http_log import http_logger
from node.api.server import ApiServer, routes
from tests.node.api_kit import FakeNode

REQUESTS: Final = 2_000
VALUES: Final = [
    *(b"", b"0", b"1", b"-1", b"+1", b"1_0", b"1e3", b"0x1", b"true", b"latest", b"9" * 40, b"a" * 64, b"00" * 32),
    *(
        b"\xff",
        b"\xe4\xba\x92",
        b"\xed\xa0\x80",
        b"\xd9\xa1",
        b"%ff",
        b"%00",
        b"%ED%A0%80",
        b"%C0%80",
        b"%2e%2e",
        b"%2F",
    ),
]
NAMES: Final = [
    *(
        b"access",
        b"after",
        b"before",
        b"claim",
        b"from",
        b"to",
        b"kind",
        b"limit",
        b"member",
        b"period",
        b"plan",
        b"raw",
    ),
    *(b"proposer", b"prove", b"state", b"subject", b"timeout", b"types", b"valid_until_ms", b"wait", b"min_peers"),
]
HEADERS: Final = [b"Content-Type", b"Accept", b"Last-Event-ID", b"If-None-Match", b"Range", b"Cookie", b"Origin"]
TYPES: Final = [
    *(b"application/json", b"application/json; charset=\xff", b"application/json; charset=nope", b"text/event-stream"),
    *(b"application/octet-stream", b"application/msgpack"),
]
BODIES: Final = [
    *(b"", b"{}", b'{"transaction":"\xff"}', b'{"transactions":["\\ud800"]}', b'{"\xff":1}', b'{"transaction":"zz"}'),
    *(b"\x91\xc4\x00", b"\xc1", b"[[[[" * 20_000, bytes(range(256))),
]


class Quiet:
    """A log in which an error is a failure of the test."""

    def __init__(self) -> None:
        self.errors: list[Any] = []

    def __getattr__(self, level: str) -> Any:
        return lambda event, **said: self.errors.append((event, said)) if level in ("warning", "error") else None


def made(random: Random, table: list[tuple[bytes, bytes]]) -> bytes:
    method, path = random.choice(table)
    path = re.sub(rb"\{[^}]*\}", lambda _: random.choice(VALUES), path)
    query = b"&".join(random.choice(NAMES) + b"=" + random.choice(VALUES) for _ in range(random.randint(0, 3)))
    lines = [random.choice(HEADERS) + b": " + random.choice(VALUES + TYPES) for _ in range(random.randint(0, 3))]
    body = random.choice(BODIES) if method == b"POST" else b""
    lines += [b"Host: x", b"Connection: close", b"Content-Length: %d" % len(body)]
    return method + b" " + path + b"?" + query + b" HTTP/1.1\r\n" + b"\r\n".join(lines) + b"\r\n\r\n" + body


async def answered(address: tuple[str, int], raw: bytes) -> bytes:
    """The status, or nothing; a stream that does not end is left."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(raw)
        return (await reader.readline())[9:12]
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.asyncio
async def test_no_request_is_our_fault(seed: int) -> None:
    random, node, log = Random(seed), FakeNode(), Quiet()
    table = [
        (each.method.encode(), each.path.encode()) for each in routes(node, node.waiters, Feeds(node, node.waiters))
    ]
    app: web.Application = node.app()
    server = ApiServer(app, "127.0.0.1:0", connections=Connections(100, lambda *_: None), logger=http_logger(log))
    raised: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: raised.append(context))
    address = await server.start()
    seen: set[bytes] = set()
    try:
        for _ in range(REQUESTS):
            raw = made(random, table)
            status = await answered(address, raw)
            assert not status.startswith(b"5") or status == b"503", raw
            assert (node.bugs, log.errors, raised) == ([], [], []), raw
            seen.add(status)
    finally:
        await server.stop()
    assert seen >= {b"200", b"400", b"404"}
