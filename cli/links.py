"""The links of a test network, carried by one process that can cut them: each pair, each direction (NODE §3, testnet).

A node of a proxied network dials, for each other node, a port that only it was told. So the proxy knows who is at both
ends, though it cannot read a byte. A cut is what a network does that loses every packet of one direction: bytes wait,
nobody is told, new connections are accepted and stay silent; after the heal what waited goes on.

The process is started with the network and ended with it. It is asked over a Unix socket in the network's directory:
one JSON object a line, ``{"cut": [[from, to], ...]}`` or ``{"heal": [[from, to], ...]}``; the answer, given once it is
done, names what is cut. Nothing is polled, and every connection belongs to one task group.
"""

import asyncio
import json
import os
import socket
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from ledger.errors import OperatorError

from .ports import HOST
from .processes import ProcessId, end, identify, last_lines, reap, spawn

NETWORK_FILE: Final = "testnet.json"
SOCKET: Final = "links.sock"
LOG: Final = "links.log"
PIECE_BYTES: Final = 65_536
CONNECTIONS_MAX: Final = 32
"""Of one pair at once; a long cut makes nodes dial again and again."""
REQUEST_BYTES_MAX: Final = 1 << 20
ANSWER_SECONDS: Final = 10.0
READY: Final = b"ready\n"

Pair = tuple[str, str]
"""Bytes from the first to the second."""


# ---- the process -----------------------------------------------------------------------------------------------------


class Proxy:
    """The carried links. ``run`` it until it is cancelled or killed."""

    def __init__(self, routes: Iterable[tuple[str, str, int]], addresses: dict[str, tuple[str, int]]) -> None:
        self._routes = tuple(routes)
        self._addresses = addresses
        names = sorted(addresses)
        self._open: dict[Pair, asyncio.Event] = {(a, b): asyncio.Event() for a in names for b in names if a != b}
        for event in self._open.values():
            event.set()
        self._servers: list[asyncio.Server] = []
        self._connections: dict[Pair, int] = dict.fromkeys(self._open, 0)

    @property
    def cut(self) -> list[Pair]:
        """The directions in which nothing passes."""
        return [pair for pair, event in self._open.items() if not event.is_set()]

    def change(self, request: dict[str, Any]) -> dict[str, Any]:
        """Cut and heal what ``request`` names. Raises ``KeyError`` for a pair that is not of this network."""
        cut, heal = (
            [self._open[str(a), str(b)] for a, b in request.get("cut", ())],
            [self._open[str(a), str(b)] for a, b in request.get("heal", ())],
        )
        for event in cut:
            event.clear()
        for event in heal:
            event.set()
        return {"cut": self.cut}

    async def run(self, tasks: asyncio.TaskGroup) -> None:
        """Listen for every route."""
        for dialler, target, port in self._routes:
            self._servers.append(await asyncio.start_server(self._accept(tasks, dialler, target), HOST, port))

    def close(self) -> None:
        """Take no more connections; those that are there end by themselves."""
        for server in self._servers:
            server.close()

    def _accept(self, tasks: asyncio.TaskGroup, dialler: str, target: str) -> Any:
        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if self._connections[dialler, target] >= CONNECTIONS_MAX:
                writer.transport.abort()
            else:
                tasks.create_task(self._carry(dialler, target, reader, writer))

        return accepted

    async def _carry(
        self, dialler: str, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._connections[dialler, target] += 1
        try:
            there_reader, there = await asyncio.open_connection(*self._addresses[target])
        except OSError:  # nobody listens there now
            writer.transport.abort()
        else:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass(reader, there, self._open[dialler, target]))
                both.create_task(self._pass(there_reader, writer, self._open[target, dialler]))
        finally:
            self._connections[dialler, target] -= 1

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passes: asyncio.Event) -> None:
        """Hand bytes on while nothing is cut; that one side has ended is told as late as its last byte would be."""
        try:
            while data := await reader.read(PIECE_BYTES):
                await passes.wait()
                writer.write(data)
                await writer.drain()
                await passes.wait()  # while it is cut no more is taken from the sender than the kernel takes
        except OSError:
            pass
        await passes.wait()
        writer.close()


def _proxy_of(directory: Path) -> Proxy:
    content = json.loads((directory / NETWORK_FILE).read_text())
    addresses = {entry["name"]: _address(entry["p2p"]) for entry in content["nodes"]}
    return Proxy([(a, b, int(port)) for a, b, port in content["routes"]], addresses)


async def _serve(proxy: Proxy) -> None:
    """Carry the links and answer on the socket in the present directory, until killed."""

    async def asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            try:
                answer = proxy.change(json.loads(line))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                answer = {"error": repr(error)}
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        writer.close()

    async with asyncio.TaskGroup() as tasks:
        await proxy.run(tasks)
        control = await asyncio.start_unix_server(asked, SOCKET, limit=REQUEST_BYTES_MAX)
        os.write(1, READY)
        os.close(1)
        await control.serve_forever()


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


# ---- whoever starts and asks it --------------------------------------------------------------------------------------


def start_proxy(directory: Path) -> ProcessId:
    """Start the proxy of the network in ``directory``; it listens when this returns. Raises ``OperatorError``."""
    reading, writing = os.pipe()
    try:
        arguments = [sys.executable, "-m", "cli.links", str(directory)]
        pid = spawn(arguments, directory / LOG, directory, stdout=writing)
    finally:
        os.close(writing)
    process = identify(pid)
    with os.fdopen(reading, "rb") as ready:
        if process is None or ready.read(len(READY)) != READY:
            if process is not None:
                end([process])
            reap(pid)
            why = last_lines(directory / LOG)
            raise OperatorError(
                "LINKS_FAILED", "the network's links cannot be carried", why, "huzhu testnet up --direct", exit_code=1
            )
    return process


def change_links(directory: Path, *, cut: Sequence[Pair] = (), heal: Sequence[Pair] = ()) -> list[Pair]:
    """Cut and heal directions of the running network in ``directory``; what is cut now. Raises ``OperatorError``."""
    try:
        place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(ANSWER_SECONDS)
                connection.connect(f"/proc/self/fd/{place}/{SOCKET}")
                connection.sendall(json.dumps({"cut": cut, "heal": heal}).encode() + b"\n")
                with connection.makefile("rb") as answers:
                    answer = json.loads(answers.readline())
        finally:
            os.close(place)
    except (OSError, ValueError) as error:
        raise OperatorError(
            "LINKS_SILENT", "the process that carries the links does not answer", str(error), "huzhu testnet up"
        ) from error
    if "error" in answer:
        raise OperatorError("LINKS_SILENT", "the links were not changed", answer["error"], "", exit_code=1)
    return [(a, b) for a, b in answer["cut"]]


if __name__ == "__main__":
    os.chdir(sys.argv[1])  # the name of a Unix socket is short
    Path(SOCKET).unlink(missing_ok=True)
    asyncio.run(_serve(_proxy_of(Path())))
