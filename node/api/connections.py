"""The API's connections, bounded: whoever opens many and says nothing takes nothing from the others.

Every connection is an open file, and LevelDB needs those too. When there are as many as there may be, the oldest one
that serves no request makes room for the new one, or else the oldest that is still shaking hands; when all serve a
request, the new one is told to come again. A request is served once it is here to its end: who sends a body for ever is
idle. We accept connections ourselves, one by one, so the bound is exact.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from aiohttp import web

BACKLOG: Final = 128
"""Connections that the kernel accepts before this process does."""
HANDSHAKE_S: Final = 5.0
"""For TLS; who takes longer is hung up on."""
ACCEPT_PAUSE_S: Final = 0.1
"""After the kernel could not give us a connection, which is when the whole machine has too many files open."""
_COME_AGAIN: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)


def _raise(task: asyncio.Task[None]) -> None:
    """A bug in accepting is the event loop's to report: it ends the node."""
    if not task.cancelled():
        task.result()


class Connections:
    """Listens for a server of aiohttp. ``listen`` and ``close`` are the API server's to call."""

    def __init__(
        self, connections_max: int, dropped: Callable[[str, int], None], *, tls: ssl.SSLContext | None = None
    ) -> None:
        """``dropped(why, count)`` is told how many had to go: ``idle``, ``handshake``, ``full``, ``system``."""
        self._connections_max = connections_max
        self._dropped = dropped
        self._tls = tls
        self._serving: dict[asyncio.Protocol, web.Request] = {}
        self._shaking: dict[asyncio.Task[None], socket.socket] = {}
        self._listening: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []

    @contextmanager
    def serving(self, request: web.Request) -> Iterator[None]:
        """The request is being answered."""
        self._serving[request.protocol] = request
        try:
            yield
        finally:
            self._serving.pop(request.protocol, None)

    def _is_idle(self, handler: asyncio.Protocol) -> bool:
        request = self._serving.get(handler)
        return request is None or not request.content.is_eof()

    async def listen(self, host: str, port: int, server: web.Server) -> tuple[str, int]:
        """Bind every address of ``host`` and accept; the first address bound. Raises ``OSError``."""
        loop = asyncio.get_running_loop()
        bound = await loop.create_server(server, host, port, start_serving=False)
        self._listening = [socket.socket(fileno=os.dup(each.fileno())) for each in bound.sockets]
        bound.close()
        for each in self._listening:
            each.setblocking(False)
            each.listen(BACKLOG)
            task = loop.create_task(self._accept(each, server))
            task.add_done_callback(_raise)
            self._accepting.append(task)
        address = self._listening[0].getsockname()
        return str(address[0]), int(address[1])

    async def close(self) -> None:
        """Accept nobody any more."""
        tasks = [*self._accepting, *self._shaking]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for each in self._listening:
            each.close()

    async def _accept(self, listening: socket.socket, server: web.Server) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listening)
            except OSError:
                self._dropped("system", 1)
                await asyncio.sleep(ACCEPT_PAUSE_S)
                continue
            if not self._make_room(server):
                self._refuse(connection)
            elif self._tls is None:
                await self._greet(connection, server)
            else:
                task = loop.create_task(self._greet(connection, server))
                self._shaking[task] = connection
                task.add_done_callback(self._shaken)

    async def _greet(self, connection: socket.socket, server: web.Server) -> None:
        timeout_s = HANDSHAKE_S if self._tls is not None else None
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(server, connection, ssl=self._tls, ssl_handshake_timeout=timeout_s)
        except OSError:  # no TLS, none in time, or gone again
            connection.close()

    def _shaken(self, task: asyncio.Task[None]) -> None:
        connection = self._shaking.pop(task)
        if task.cancelled():
            connection.close()
        else:
            task.result()

    def _make_room(self, server: web.Server) -> bool:
        """Close what is too much for one more; false when too much of it serves a request."""
        opened = [each for each in server.connections if each.transport is not None]  # the first is the oldest
        shaking = [each for each in self._shaking if not each.done() and not each.cancelling()]
        too_many = len(opened) + len(shaking) + 1 - self._connections_max
        if too_many <= 0:
            return True
        idle = [each for each in opened if self._is_idle(each)][:too_many]
        for handler in idle:
            handler.force_close()
        late = shaking[: too_many - len(idle)]
        for task in late:
            task.cancel()
        full = too_many - len(idle) - len(late)
        for why, count in (("idle", len(idle)), ("handshake", len(late)), ("full", min(full, 1))):
            if count:
                self._dropped(why, count)
        return not full

    def _refuse(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.setblocking(False)
            if self._tls is None:
                connection.send(_COME_AGAIN)
