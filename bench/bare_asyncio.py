"""What four asyncio processes cost that agree on a block and have no rules: a lower bound for ``idle`` and ``open``.

    python -m bench.bare_asyncio                       # idle: one transaction after the other
    python -m bench.bare_asyncio --rate 200            # open: so many a second, to the four in turn, whatever happens
    python -m bench.bare_asyncio --http [--rate 200]   # they come and are answered by aiohttp, timed at the client
    python -m bench.bare_asyncio --rules-ms 1.5 ...    # how much CPU a node and block may be spent on rules

They send the frames that a block of one transaction makes four nodes send (the transaction, proposal and prepare,
prepares, commits), sealed with the same cipher, make and verify the same signatures and the same beacon proof, and
write and sync as many bytes as often, in a thread, before what CONSENSUS §3 says. There is no mempool, no agreement but
counting to q, no ledger, no database, no limit and no counter, and without ``--http`` no client. What is left is
asyncio, libsodium, ed25519-zebra, the kernel and, when asked for, aiohttp at both ends.

Rules of this file
- Times: CPU a block of each process, all threads; milliseconds from the moment a transaction was due until the process
  that got it has synced its block; and their ratio to ``floor_ms`` of `huzhu bench network`, taken before and after.
  What was due in the first seventh is left out, as there.
- Whatever is simplified makes it cheaper: one leader for ever, who knows its proof; no block certifies another.
- ``--rules-ms`` spends so much CPU a node and block, half before the Prepare and half before the batch, in a loop so
  small that it is never cold: the same work of real rules, whose code and data are found cold, takes longer.
- Nothing here is used by the product.
"""

import asyncio
import json
import os
import queue
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Final

import aiohttp
import click
import msgspec
from aiohttp import web
from nacl.bindings import (
    crypto_aead_chacha20poly1305_ietf_decrypt,
    crypto_aead_chacha20poly1305_ietf_encrypt,
    crypto_sign,
    crypto_sign_seed_keypair,
)

from cli.bench import probes
from cli.bench.scenarios import WARM_UP_SHARE
from ledger import beacon
from ledger.ed25519 import is_valid
from ledger.votes import quorum

VALIDATORS: Final = 4
LEADER: Final = 0
SUBMITTER: Final = 1
SECONDS: Final = 15.0
PAUSE_S: Final = 0.1
PROPOSAL_BYTES: Final = 1_100
VOTE_BYTES: Final = 190
TRANSACTION_BYTES: Final = 250
PREPARE_WRITES: Final = 1_300
COMMIT_WRITES: Final = 900
BATCH_WRITES: Final = 8_192
_HEAD_BYTES: Final = 6
_SIGNATURE_BYTES: Final = 64
_SIGNED: Final = 96
"""A signature and the 32 bytes it is over."""
_ID_BYTES: Final = 32
_KEYS: Final = [crypto_sign_seed_keypair(bytes([number]) * 32) for number in range(VALIDATORS)]
_CIPHER_KEY: Final = bytes(32)
_BEACON_SEED: Final = bytes(32)


def _check(number: int, signed: bytes) -> None:
    """The signature before the 32 bytes that it is over."""
    if not is_valid(_KEYS[number][0], signed[_SIGNATURE_BYTES:_SIGNED], signed[:_SIGNATURE_BYTES]):
        raise ValueError("the signature does not verify")


def _spend(seconds: float) -> None:
    """CPU of this thread."""
    end_s = time.thread_time() + seconds
    while time.thread_time() < end_s:
        pass


class _Writer:
    """A thread that writes and syncs, and then calls back in the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, path: Path) -> None:
        self._loop = loop
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._jobs: queue.SimpleQueue[tuple[int, Callable[[], None]]] = queue.SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    def then(self, size: int, follows: Callable[[], None]) -> None:
        self._jobs.put((size, follows))

    def _run(self) -> None:
        while True:
            size, follows = self._jobs.get()
            os.write(self._descriptor, bytes(size))
            os.fsync(self._descriptor)
            self._loop.call_soon_threadsafe(follows)


class _Link(asyncio.Protocol):
    """Sealed frames to and from one process."""

    def __init__(self, node: "_Bare") -> None:
        self._node = node
        self._buffer = b""
        self._sent = self._received = 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, plain: bytes) -> None:
        sealed = crypto_aead_chacha20poly1305_ietf_encrypt(plain, b"", self._sent.to_bytes(12, "little"), _CIPHER_KEY)
        self._sent += 1
        self._transport.write(len(sealed).to_bytes(2, "big") + sealed)

    def data_received(self, data: bytes) -> None:
        buffer, at = self._buffer + data, 0
        while len(buffer) - at >= 2:
            end = at + 2 + int.from_bytes(buffer[at : at + 2], "big")
            if end > len(buffer):
                break
            nonce = self._received.to_bytes(12, "little")
            self._received += 1
            plain = crypto_aead_chacha20poly1305_ietf_decrypt(buffer[at + 2 : end], b"", nonce, _CIPHER_KEY)
            at = end
            self._node.got(self, plain)
        self._buffer = buffer[at:]


class _Bare:
    """One process: kinds of messages are b"H" (who am I), b"T", b"B" (proposal), b"P", b"C"."""

    def __init__(self, number: int, path: Path, rules_s: float) -> None:
        self.number = number
        self._rules_s = rules_s
        self._links: dict[int, _Link] = {}
        self.linked = asyncio.Event()
        self.height = 0
        self._waiters: dict[bytes, Callable[[], None]] = {}
        self._waiting: list[bytes] = []
        self._block: list[bytes] = []
        self._busy = False
        self._writer = _Writer(asyncio.get_running_loop(), path)
        self._early: list[tuple[_Link, bytes]] = []
        self._proof = b""
        self._votes: dict[bytes, set[int]] = {}
        self._steps_done: set[bytes] = set()
        self._open()

    def know(self, other: int, link: _Link) -> None:
        self._links[other] = link
        if len(self._links) == VALIDATORS - 1:
            self.linked.set()

    def _open(self) -> None:
        self._votes = {b"P": set(), b"C": set()}
        self._steps_done = set()
        if self.number == LEADER:
            self._proof = beacon.prove(_BEACON_SEED, self._alpha())

    def _alpha(self) -> bytes:
        return self.height.to_bytes(8, "big")

    def tell(self, kind: bytes, body: bytes = b"") -> None:
        message = kind + bytes([self.number]) + self.height.to_bytes(4, "big") + body
        for link in self._links.values():
            link.send(message)

    def submit(self, signed: bytes, follows: Callable[[], None]) -> None:
        """A transaction, signed by its client: verified here, pushed to all; ``follows`` when its block is synced."""
        _check(LEADER, signed)
        name = signed[_SIGNED : _SIGNED + _ID_BYTES]
        self._waiters[name] = follows
        self.tell(b"T", signed)
        self._offer(name)

    def _signed(self) -> bytes:
        return crypto_sign(bytes(32), _KEYS[self.number][1])

    def got(self, link: _Link, message: bytes) -> None:
        kind, sender, height = message[:1], message[1], int.from_bytes(message[2:_HEAD_BYTES], "big")
        body = message[_HEAD_BYTES:]
        if kind == b"H":
            self.know(sender, link)
        elif kind == b"T":
            _check(LEADER, body)
            self._offer(body[_SIGNED : _SIGNED + _ID_BYTES])
        elif height > self.height:
            self._early.append((link, message))
        elif height == self.height and len(self._votes.get(kind, ())) < quorum(VALIDATORS):
            _check(sender, body)
            self._take(kind, sender, body[_SIGNED:])

    def _take(self, kind: bytes, sender: int, rest: bytes) -> None:
        if kind == b"B":
            if beacon.verify(beacon.public_key(_BEACON_SEED), self._alpha(), rest[: beacon.PROOF_BYTES]) is None:
                raise ValueError("the proof does not verify")
            names = rest[beacon.PROOF_BYTES : len(rest) - (PROPOSAL_BYTES - _SIGNED - beacon.PROOF_BYTES)]
            self._block = [names[at : at + _ID_BYTES] for at in range(0, len(names), _ID_BYTES)]
            _spend(self._rules_s / 2)
            self._writer.then(PREPARE_WRITES, lambda: self._vote(b"P"))
        else:
            self._votes[kind].add(sender)
            self._go_on()

    def _offer(self, name: bytes | None = None) -> None:
        if self.number != LEADER:
            return
        if name is not None:
            self._waiting.append(name)
        if self._waiting and not self._busy:
            self._busy, self._block, self._waiting = True, self._waiting, []
            _spend(self._rules_s / 2)
            self._writer.then(PREPARE_WRITES, self._propose)

    def _propose(self) -> None:
        filling = bytes(PROPOSAL_BYTES - _SIGNED - beacon.PROOF_BYTES)
        self.tell(b"B", self._signed() + self._proof + b"".join(self._block) + filling)
        self._vote(b"P")

    def _vote(self, kind: bytes) -> None:
        self.tell(kind, self._signed().ljust(VOTE_BYTES, b"\0"))
        self._votes[kind].add(self.number)
        self._go_on()

    def _go_on(self) -> None:
        for kind, size, follows in (
            (b"P", COMMIT_WRITES, lambda: self._vote(b"C")),
            (b"C", BATCH_WRITES, self._commit),
        ):
            whole = len(self._votes[kind]) >= quorum(VALIDATORS) and self.number in self._votes[kind]
            if whole and kind not in self._steps_done:
                self._steps_done.add(kind)
                if kind == b"C":
                    _spend(self._rules_s / 2)
                self._writer.then(size, follows)

    def _commit(self) -> None:
        self.height += 1
        for name in self._block:
            if follows := self._waiters.pop(name, None):
                follows()
        self._open()
        self._busy = False
        self._offer()
        early, self._early = self._early, []
        for link, message in early:
            self.got(link, message)


def _transaction() -> bytes:
    return (crypto_sign(bytes(32), _KEYS[LEADER][1]) + os.urandom(_ID_BYTES)).ljust(TRANSACTION_BYTES, b"\0")


Send = Callable[[bytes], Awaitable[None]]


async def _load(sends: Sequence[Send], seconds: float, rate: float) -> list[float]:
    """Seconds of each transaction. ``rate`` a second to all ``sends`` in turn, or, for 0, one after the other."""
    loop = asyncio.get_running_loop()
    times_s: list[float] = []

    async def timed(send: Send, due_s: float) -> None:
        await send(_transaction())
        if due_s > begun_s + seconds * WARM_UP_SHARE:
            times_s.append(loop.time() - due_s)

    begun_s = loop.time()
    async with asyncio.TaskGroup() as group:
        for number in range(int(seconds * (rate or 1 / PAUSE_S))):
            due_s = begun_s + number / rate if rate else loop.time()
            await asyncio.sleep(max(0.0, due_s - loop.time()))
            send = sends[number % len(sends)]
            if rate:
                group.create_task(timed(send, due_s))
            else:
                await timed(send, due_s)
                await asyncio.sleep(PAUSE_S)
    return times_s


async def _load_by_http(ports: Sequence[int], seconds: float, rate: float) -> list[float]:
    """As ``_load``, by aiohttp's client: a list of one transaction each, as `huzhu bench network` sends it."""
    async with aiohttp.ClientSession() as session:

        def to(port: int) -> Send:
            async def send(raw: bytes) -> None:
                body = msgspec.msgpack.encode([raw])
                async with session.post(f"http://127.0.0.1:{port}/", data=body) as response:
                    msgspec.json.decode(await response.read())

            return send

        return await _load([to(port) for port in ports], seconds, rate)


def _sent_here(node: _Bare) -> Send:
    def sent(raw: bytes) -> asyncio.Future[None]:
        done = asyncio.get_running_loop().create_future()
        node.submit(raw, partial(done.set_result, None))
        return done

    return sent


async def _serve(send: Send, port: int) -> web.AppRunner:
    async def handle(request: web.Request) -> web.Response:
        (raw,) = msgspec.msgpack.decode(await request.read())
        await send(raw)
        answer = {"accepted": 1, "transactions": [{"id": raw[:_ID_BYTES].hex(), "status": "committed"}]}
        return web.Response(body=msgspec.json.encode(answer), content_type="application/json")

    app = web.Application()
    app.router.add_post("/", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return runner


async def _process(number: int, run: "_Run", path: Path) -> dict[str, Any]:
    loop, node = asyncio.get_running_loop(), _Bare(number, path, run.rules_s)
    server = await loop.create_server(lambda: _Link(node), "127.0.0.1", run.links[number])
    runner = await _serve(_sent_here(node), run.doors[number]) if run.http else None
    await asyncio.sleep(0.5)
    for other in range(number):
        _, link = await loop.create_connection(lambda: _Link(node), "127.0.0.1", run.links[other])
        node.know(other, link)
        link.send(b"H" + bytes([number]) + bytes(4))
    await node.linked.wait()
    await asyncio.sleep(0.5)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    since_s = time.process_time()
    times_s: list[float] = []
    if not run.http and (run.rate or number == SUBMITTER):
        await asyncio.sleep(number / run.rate if run.rate else 0)
        times_s = await _load([_sent_here(node)], run.seconds, run.rate / VALIDATORS)
    await loop.run_in_executor(None, sys.stdin.readline)
    cpu_s = time.process_time() - since_s
    server.close()
    if runner is not None:
        await runner.cleanup()
    return {"cpu_s": cpu_s, "blocks": node.height, "times_s": times_s}


class _Run(msgspec.Struct):
    """What the four processes are told."""

    links: list[int]
    doors: list[int]
    seconds: float
    rate: float
    http: bool
    rules_s: float
    directory: str


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _floor_ms(directory: str) -> float:
    return probes.floor_ms(Path(directory), VALIDATORS)


def measure(seconds: float, rate: float, http: bool, rules_ms: float) -> dict[str, Any]:
    """Run the four processes for so long; what they found. ``rate`` 0: one transaction after the other."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
        floors_ms = [_floor_ms(directory)]
        ports = _free_ports(2 * VALIDATORS)
        run = _Run(ports[:VALIDATORS], ports[VALIDATORS:], seconds, rate, http, rules_ms / 1e3, directory)
        command = [sys.executable, "-m", "bench.bare_asyncio", "--process"]
        said = msgspec.json.encode(run).decode()
        running = [
            subprocess.Popen([*command, str(number), said], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for number in range(VALIDATORS)
        ]
        try:
            found, times_s = _drive(run, running)
        finally:
            for process in running:
                process.kill()
                process.wait()
        floors_ms.append(_floor_ms(directory))
    times_ms = sorted(1e3 * time_s for time_s in chain(times_s, *(each["times_s"] for each in found)))
    floor_ms, blocks = statistics.median(floors_ms), max(each["blocks"] for each in found)
    at_ms = {name: times_ms[int(share * len(times_ms))] for name, share in (("p25", 0.25), ("p50", 0.5), ("p99", 0.99))}
    return {
        "transactions": len(times_ms),
        "blocks": blocks,
        **{f"{name}_ms": round(value, 2) for name, value in at_ms.items()},
        "floor_ms": round(floor_ms, 2),
        **{f"{name}_of_floor": round(at_ms[name] / floor_ms, 2) for name in ("p50", "p99")},
        "cpu_ms_a_node_and_block": [round(each["cpu_s"] / blocks * 1e3, 2) for each in found],
        "share_of_machine": round(sum(each["cpu_s"] for each in found) / seconds / len(os.sched_getaffinity(0)), 2),
    }


def _drive(run: _Run, running: Sequence["subprocess.Popen[str]"]) -> tuple[list[dict[str, Any]], list[float]]:
    """Load the processes, or wait while they load themselves; what they say at their end, and the client's times."""
    for process in running:
        _line(process)
    if run.http:
        times_s = asyncio.run(_load_by_http(run.doors, run.seconds, run.rate))
    else:
        times_s = []
        time.sleep(run.seconds + 10 * PAUSE_S)
    return [json.loads(process.communicate("end\n")[0]) for process in running], times_s


def _line(process: "subprocess.Popen[str]") -> str:
    if process.stdout is None:
        raise RuntimeError("the process has no pipe")
    return process.stdout.readline()


@click.command()
@click.option("--rate", type=float, default=0.0, help="Transactions a second; 0: one after the other.")
@click.option("--seconds", type=float, default=SECONDS, show_default=True)
@click.option("--http", is_flag=True, help="A client sends them by aiohttp.")
@click.option("--rules-ms", type=float, default=0.0, help="CPU a node and block spent on nothing.")
@click.option("--process", type=(int, str), default=None, hidden=True)
def main(rate: float, seconds: float, http: bool, rules_ms: float, process: tuple[int, str] | None) -> None:
    """Four processes without rules: what they cost, and how quick they are."""
    if process is None:
        result = measure(seconds, rate, http, rules_ms)
    else:
        number, run = process[0], msgspec.json.decode(process[1], type=_Run)
        result = asyncio.run(_process(number, run, Path(run.directory) / str(number)))
    click.echo(json.dumps(result))


if __name__ == "__main__":
    main()
