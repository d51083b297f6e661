"""Connections of the API are bounded: silent strangers make room, those who are served do not."""

import asyncio
import logging
import resource
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from ledger.errors import OperatorError
from node import file_limit
from node.api import connections as module
from node.api.connections import Connections
from node.api.server import ApiServer, tls_context
from node.config import load, render_default
from node.doctor import examine
from node.storage import FILES_MAX

ASK = b"GET /now HTTP/1.1\r\nHost: x\r\n\r\n"
WAIT = b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n"
MOST = 8
PATIENCE_S = 20
FILES = Path(__file__).parent / "tls"
Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Server:
    """Answers at /now, and at /wait when it is told to."""

    trust: ssl.SSLContext | None = None

    def __init__(self, address: tuple[str, int], dropped: Counter[str], go: asyncio.Event) -> None:
        self.address, self.dropped, self.go = address, dropped, go
        self.waiting = asyncio.Semaphore(0)
        self._writers: list[asyncio.StreamWriter] = []

    async def opened(self, said: bytes = b"", *, plain: bool = False) -> Pair:
        reader, writer = await asyncio.open_connection(*self.address, ssl=None if plain else self.trust)
        self._writers.append(writer)
        writer.write(said)
        return reader, writer

    async def close(self) -> None:
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    dropped: Counter[str] = Counter()
    go = asyncio.Event()

    async def now(request: web.Request) -> web.Response:
        return web.Response(text="now")

    async def wait(request: web.Request) -> web.Response:
        found.waiting.release()
        await go.wait()
        return web.Response(text="waited")

    async def body(request: web.Request) -> web.Response:
        found.waiting.release()
        await request.read()
        return web.Response(text="read")

    app = web.Application()
    app.router.add_post("/body", body)
    app.router.add_get("/now", now)
    app.router.add_get("/wait", wait)
    connections = Connections(MOST, lambda why, count: dropped.update({why: count}), tls=tls)
    server = ApiServer(app, "127.0.0.1:0", connections=connections, logger=logging.getLogger("test"))
    found = Server(await server.start(), dropped, go)
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield found
    finally:
        await found.close()
        await server.stop()


async def status(pair: Pair) -> bytes:
    """The status of the answer; nothing when the other side hung up."""
    line = await pair[0].readline()
    if line:
        await pair[0].readuntil(b"\r\n\r\n")
    return line[9:12]


@pytest.mark.asyncio
async def test_up_to_the_limit_nobody_is_closed_and_one_more_closes_the_oldest_that_is_idle() -> None:
    async with serving() as server:
        pairs = []
        for _ in range(MOST):
            pairs.append(await server.opened(ASK))
            assert await status(pairs[-1]) == b"200"
            await pairs[-1][0].readexactly(3)
        assert not server.dropped
        assert await status(await server.opened(ASK)) == b"200"
        assert await pairs[0][0].read() == b"", "the oldest is closed"
        pairs[1][1].write(ASK)
        assert await status(pairs[1]) == b"200", "the next is not"
        assert server.dropped == {"idle": 1}


@pytest.mark.asyncio
async def test_a_crowd_that_says_nothing_keeps_nobody_out_and_takes_nothing_from_those_who_wait() -> None:
    async with serving() as server:
        waiter = await server.opened(WAIT)
        await server.waiting.acquire()
        for _ in range(5 * MOST):
            await server.opened(b"GET /now HTTP/1.1\r\nHo")
        assert await status(await server.opened(ASK)) == b"200"
        server.go.set()
        assert await status(waiter) == b"200"
        assert set(server.dropped) == {"idle"}


@pytest.mark.asyncio
async def test_a_burst_within_one_turn_of_the_loop_is_counted_to_the_last() -> None:
    async with serving() as server:
        burst = [socket.create_connection(server.address) for _ in range(10 * MOST)]  # nothing is accepted meanwhile
        late = await server.opened(ASK)
        assert await status(late) == b"200"
        assert server.dropped == {"idle": 9 * MOST + 1}
        for connection in burst:
            connection.close()


@pytest.mark.asyncio
async def test_who_sends_a_body_for_ever_is_idle() -> None:
    async with serving() as server:
        for _ in range(MOST):
            await server.opened(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
            await server.waiting.acquire()
        assert await status(await server.opened(ASK)) == b"200"
        assert server.dropped == {"idle": 1}


@pytest.mark.asyncio
async def test_a_machine_without_files_is_waited_for_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ACCEPT_PAUSE_S", 0)
    loop, faults = asyncio.get_running_loop(), [OSError(24, "Too many open files")]
    accept = loop.sock_accept

    async def failing(listening: socket.socket) -> tuple[socket.socket, object]:
        if faults:
            raise faults.pop()
        return await accept(listening)

    monkeypatch.setattr(loop, "sock_accept", failing)
    async with serving() as server:
        assert await status(await server.opened(ASK)) == b"200"
        assert server.dropped == {"system": 1}


@pytest.mark.asyncio
async def test_when_all_are_served_a_new_one_is_told_to_come_again() -> None:
    async with serving() as server:
        waiters = [await server.opened(WAIT) for _ in range(MOST)]
        for _ in waiters:
            await server.waiting.acquire()
        late = await server.opened()
        assert await late[0].read() == (
            b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        assert server.dropped == {"full": 1}
        server.go.set()
        assert [await status(waiter) for waiter in waiters] == [b"200"] * MOST
        assert await status(await server.opened(ASK)) == b"200"


@pytest.mark.asyncio
async def test_who_never_ends_the_handshake_makes_room_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HANDSHAKE_S", 2.0 * PATIENCE_S)
    async with serving(tls_context(FILES / "certificate.pem", FILES / "key.pem")) as server:
        server.trust = ssl.create_default_context(cafile=str(FILES / "certificate.pem"))
        waiter = await server.opened(WAIT)
        await server.waiting.acquire()
        silent = [await server.opened(plain=True) for _ in range(5 * MOST)]
        assert await status(await server.opened(ASK)) == b"200"
        assert set(server.dropped) == {"handshake"}
        assert await silent[0][0].read() == b""
        server.go.set()
        assert await status(waiter) == b"200"


@pytest.mark.asyncio
async def test_what_is_no_handshake_is_hung_up_on_and_harms_nobody() -> None:
    async with serving(tls_context(FILES / "certificate.pem", FILES / "key.pem")) as server:
        server.trust = ssl.create_default_context(cafile=str(FILES / "certificate.pem"))
        stranger = await server.opened(ASK, plain=True)
        await stranger[0].read()
        assert await status(await server.opened(ASK)) == b"200"
        assert not server.dropped


# ---- and the files they are ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("more", "refused"), [(0, False), (-1, True)])
def test_a_process_that_may_not_have_as_many_files_as_it_may_need_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: int, refused: bool
) -> None:
    (tmp_path / "config.toml").write_text(render_default({"api.connections_max": 100}))
    config = load(tmp_path, environ={})
    most = FILES_MAX + 100 + file_limit.OTHERS_MAX + more
    made: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda which: (50, most))
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: made.append(limits))
    assert ("FILE_LIMIT" in {finding.code for finding in examine(config)}) == refused
    if refused:
        with pytest.raises(OperatorError) as caught:
            file_limit.raise_file_limit(config)
        assert (caught.value.code, made) == ("FILE_LIMIT", [])
    else:
        file_limit.raise_file_limit(config)
        assert made == [(most, most)]


def test_a_limit_that_is_high_enough_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.toml").write_text(render_default({}))
    config = load(tmp_path, environ={})
    for soft in (resource.RLIM_INFINITY, file_limit.needed(config)):
        monkeypatch.setattr(resource, "getrlimit", lambda which, soft=soft: (soft, resource.RLIM_INFINITY))
        monkeypatch.setattr(resource, "setrlimit", lambda which, limits: pytest.fail("not needed"))
        file_limit.raise_file_limit(config)
