"""What four asyncio processes cost that agree on a block and have no rules: a lower bound for ``idle`` and ``open``.

    python -m bench.bare_asyncio [ROUNDS]          # JSON: p25_ms, p50_ms, cpu_ms_a_node

They send the frames that a block of one transaction makes four nodes send (the transaction, proposal and prepare,
prepares, commits), sealed with the same cipher, make and verify the same signatures and the same beacon proof, and
write and sync as many bytes as often, in a thread, before what CONSENSUS §3 says. There is no HTTP, no mempool, no
agreement but counting to q, no ledger, no database, no limit and no counter. What is left is asyncio, libsodium and the
kernel.

Rules of this file
- Times: CPU a round of each process, all threads; milliseconds from a transaction's signature at process 1 until
  process 1 has synced the block.
- Nothing here is used by the product.
"""

import asyncio
import json
import os
import queue
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from nacl.bindings import (
    crypto_aead_chacha20poly1305_ietf_decrypt,
    crypto_aead_chacha20poly1305_ietf_encrypt,
    crypto_sign,
    crypto_sign_open,
    crypto_sign_seed_keypair,
)

from ledger import beacon
from ledger.votes import quorum

VALIDATORS: Final = 4
LEADER: Final = 0
SUBMITTER: Final = 1
ROUNDS: Final = 40
PAUSE_S: Final = 0.1
PROPOSAL_BYTES: Final = 1_100
VOTE_BYTES: Final = 190
TRANSACTION_BYTES: Final = 250
PREPARE_WRITES: Final = 1_300
COMMIT_WRITES: Final = 900
BATCH_WRITES: Final = 8_192
_HEAD_BYTES: Final = 6
_SIGNED: Final = 96
"""A signature and the 32 bytes it is over."""
_KEYS: Final = [crypto_sign_seed_keypair(bytes([number]) * 32) for number in range(VALIDATORS)]
_CIPHER_KEY: Final = bytes(32)
_BEACON_SEED: Final = bytes(32)


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

    def __init__(self, number: int, path: Path) -> None:
        self.number = number
        self._links: dict[int, _Link] = {}
        self.linked = asyncio.Event()
        self.height = 0
        self.committed = asyncio.Event()
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

    def submit(self) -> None:
        """A transaction: signed by its client, verified here, pushed to all."""
        signed = self._signed()
        crypto_sign_open(signed, _KEYS[self.number][0])
        self.tell(b"T", signed + bytes(TRANSACTION_BYTES - _SIGNED))

    def _signed(self) -> bytes:
        return crypto_sign(bytes(32), _KEYS[self.number][1])

    def got(self, link: _Link, message: bytes) -> None:
        kind, sender, height = message[:1], message[1], int.from_bytes(message[2:_HEAD_BYTES], "big")
        body = message[_HEAD_BYTES:]
        if kind == b"H":
            self.know(sender, link)
        elif height > self.height:
            self._early.append((link, message))
        elif height == self.height and len(self._votes.get(kind, ())) < quorum(VALIDATORS):
            crypto_sign_open(body[:_SIGNED], _KEYS[sender][0])
            self._take(kind, sender, body[_SIGNED:])

    def _take(self, kind: bytes, sender: int, rest: bytes) -> None:
        if kind == b"T":
            if self.number == LEADER:
                self._writer.then(PREPARE_WRITES, self._propose)
        elif kind == b"B":
            if beacon.verify(beacon.public_key(_BEACON_SEED), self._alpha(), rest[: beacon.PROOF_BYTES]) is None:
                raise ValueError("the proof does not verify")
            self._writer.then(PREPARE_WRITES, lambda: self._vote(b"P"))
        else:
            self._votes[kind].add(sender)
            self._go_on()

    def _propose(self) -> None:
        self.tell(b"B", (self._signed() + self._proof).ljust(PROPOSAL_BYTES, b"\0"))
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
                self._writer.then(size, follows)

    def _commit(self) -> None:
        self.height += 1
        self.committed.set()
        self._open()
        early, self._early = self._early, []
        for link, message in early:
            self.got(link, message)


async def _process(number: int, ports: list[int], rounds: int, path: Path) -> dict[str, Any]:
    loop, node = asyncio.get_running_loop(), _Bare(number, path)
    server = await loop.create_server(lambda: _Link(node), "127.0.0.1", ports[number])
    await asyncio.sleep(0.5)
    for other in range(number):
        _, link = await loop.create_connection(lambda: _Link(node), "127.0.0.1", ports[other])
        node.know(other, link)
        link.send(b"H" + bytes([number]) + bytes(4))
    await node.linked.wait()
    await asyncio.sleep(0.5)
    since_s, times = time.process_time(), []
    while node.height < rounds:
        if number == SUBMITTER:
            node.committed.clear()
            begun_s = time.perf_counter()
            node.submit()
            await node.committed.wait()
            times.append(time.perf_counter() - begun_s)
        await asyncio.sleep(PAUSE_S)
    await asyncio.sleep(2 * PAUSE_S)
    server.close()
    return {"cpu_ms": (time.process_time() - since_s) / rounds * 1e3, "times_ms": sorted(1e3 * each for each in times)}


def main(rounds: int) -> dict[str, Any]:
    """Run the four processes; what they found."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(VALIDATORS)]
        ports = [each.getsockname()[1] for each in sockets]
        for each in sockets:
            each.close()
        arguments = [json.dumps(ports), str(rounds), directory]
        command = [sys.executable, "-m", "bench.bare_asyncio"]
        running = [
            subprocess.Popen([*command, str(number), *arguments], stdout=subprocess.PIPE)
            for number in range(VALIDATORS)
        ]
        found = [json.loads(process.communicate()[0]) for process in running]
    times = found[SUBMITTER]["times_ms"]
    return {
        "p25_ms": round(times[len(times) // 4], 2),
        "p50_ms": round(times[len(times) // 2], 2),
        "cpu_ms_a_node": [round(each["cpu_ms"], 2) for each in found],
    }


if __name__ == "__main__":
    if len(sys.argv) <= 2:
        result = main(int(sys.argv[1]) if len(sys.argv) == 2 else ROUNDS)
    else:
        own, known, count, place = sys.argv[1:]
        result = asyncio.run(_process(int(own), json.loads(known), int(count), Path(place) / own))
    sys.stdout.write(json.dumps(result) + "\n")
