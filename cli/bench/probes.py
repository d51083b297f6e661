"""The measures that every figure is a ratio to, taken in the same run: a signature, a bare agreement, bare enrolment.

Rules of this file

* ``verify_us``, with ``own_verify_us`` beside it, is *CPU* time of one verification in a tight loop, the median of
  short chunks: on a shared machine the wall time of the same loop says how many others want the processor, and would
  move the ceiling, not the result.
* ``floor_ms`` is wall time: three loopback round trips of one leader and n - 1 bare processes with frames of the sizes
  of a proposal, prepares and commits, and on the way the four synced writes in a row of CONSENSUS §3: the proposal, the
  prepare, the commit with its prepares, the block's batch.
"""

import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair

from ledger.ed25519 import is_valid

from . import bare

MESSAGE_BYTES: Final = 200
CHUNK: Final = 25
CHUNKS: Final = 12
UNSTABLE: Final = 0.2
"""Probes that differ by more make a run unstable."""
FLOOR_REPEATS: Final = 40
CONNECT_S: Final = 20.0

_ROUNDS: Final = ((1_100, 1_300, 1_300, 190), (570, 900, 0, 190), (570, 8_192, 0, 64))
"""(frame, written by the follower, written by the leader before, answer): proposal and prepare; prepares and commit;
certificate and the block's batch. Sizes of a block with one contribution, measured at a node's log and links."""


def verify_us() -> float:
    """Microseconds of CPU of one verification of a message of 200 bytes by PyNaCl."""
    public, secret = crypto_sign_seed_keypair(bytes(32))
    signed = crypto_sign(bytes(MESSAGE_BYTES), secret)
    return _chunk_us(lambda: crypto_sign_open(signed, public))


def own_verify_us() -> float:
    """The same by the rule of this network (``ledger.ed25519``), whose library is a quicker one."""
    public, secret = crypto_sign_seed_keypair(bytes(32))
    message = bytes(MESSAGE_BYTES)
    signature = crypto_sign(message, secret)[:-MESSAGE_BYTES]
    return _chunk_us(lambda: is_valid(public, message, signature))


def _chunk_us(step: Callable[[], object]) -> float:
    """Microseconds of CPU of one step in a tight loop: the median of the chunks."""
    chunks = []
    for _ in range(CHUNKS):
        since_s = time.thread_time()
        for _ in range(CHUNK):
            step()
        chunks.append(time.thread_time() - since_s)
    return statistics.median(chunks) / CHUNK * 1e6


def spread(probes: Sequence[float]) -> float:
    """How far probes differ: the largest over the smallest, minus 1."""
    return max(probes) / min(probes) - 1 if probes else 0.0


def floor_ms(directory: Path, processes: int, repeats: int = FLOOR_REPEATS) -> float:
    """Milliseconds of a bare agreement of so many processes, whose files are in ``directory``; the median."""
    with _bare_processes(directory, processes - 1) as links:
        path = directory / "floor-leader"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            times = []
            for _ in range(repeats):
                since_s = time.perf_counter()
                for frame, theirs, ours, answer in _ROUNDS:
                    _round(links, descriptor, frame, theirs, ours, answer)
                times.append(time.perf_counter() - since_s)
        finally:
            os.close(descriptor)
            path.unlink()
    return statistics.median(times) * 1_000


def _round(links: Sequence[socket.socket], descriptor: int, frame: int, theirs: int, ours: int, answer: int) -> None:
    if ours:
        os.write(descriptor, bytes(ours))
        os.fsync(descriptor)
    question = bare.HEAD.pack(theirs, answer, frame) + bytes(frame)
    for link in links:
        link.sendall(question)
    for link in links:
        bare.receive(link, answer)


@contextmanager
def _bare_processes(directory: Path, count: int) -> Iterator[list[socket.socket]]:
    """So many bare processes, connected; ended, and their files removed, at the end."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.settimeout(CONNECT_S)
        port = listener.getsockname()[1]
        links = []
        for number in range(count):
            path = directory / f"floor-{number}"
            process = subprocess.Popen([sys.executable, "-I", str(Path(bare.__file__)), str(port), str(path)])
            stack.callback(_end, process, path)
        for _ in range(count):
            link, _ = listener.accept()
            link.settimeout(CONNECT_S)
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            links.append(stack.enter_context(link))
        yield links


def _end(process: "subprocess.Popen[bytes]", path: Path) -> None:
    process.kill()
    process.wait()
    path.unlink(missing_ok=True)


def import_s() -> float:
    """Seconds to start Python and import the node's *dependencies*: what no node can be ready before."""
    since_s = time.perf_counter()
    subprocess.run([sys.executable, "-c", _DEPENDENCIES], check=True)
    return time.perf_counter() - since_s


_DEPENDENCIES: Final = (
    "import aiohttp.web, nacl.bindings, ed25519_zebra, plyvel, click, msgspec, structlog, prometheus_client"
)
