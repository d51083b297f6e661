"""What is durable before what is sent, seen by the kernel: one real validator under ``strace`` (CONSENSUS §3).

Three validators run in this process and note every frame that they hear with the message it carries; the fourth is
``huzhu start`` under strace. So each message is found in the trace by its own ciphertext, and the call that sent it is
compared with the calls that made durable what had to be: the vote's record in the signing log, and the batch of the
block before. The signing log and LevelDB's log are read by hand, from the bytes that the kernel was given.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import msgpack
import pytest

import p2p.link
from cli.client import NodeClient
from cli.sender import submit
from consensus.messages import (
    CommitCertificate,
    Message,
    SignedCommit,
    SignedPrepare,
    SignedProposal,
    SignedRoundChange,
    Status,
    decode_framed,
)
from ledger.blocks import header_hash
from ledger.codec import encode
from ledger.transactions import Enrol, transaction_id
from node.keys import load_node_keys
from node.wire import Head, decode_head
from p2p.frames import Assembler, FrameReader
from p2p.frames import Message as Carried
from p2p.limits import Channel
from p2p.noise import CipherState
from tests.e2e.votes import promises, records
from tests.interop import tools
from tests.interop.strace import OPTIONS, Call, Trace, batches, read
from tests.node.network import Network, running

pytestmark = pytest.mark.interop

TRACED: Final = "platform"
OTHERS: Final = ("bank", "firm-a", "firm-b")
TRANSACTIONS_MIN: Final = 6
TRANSACTIONS_MAX: Final = 60
"""Before so many blocks the traced node has proposed one, but for a chance of (3/4)^60."""
START_SECONDS: Final = 60
LOCK_RECORD: Final = 5
WHOLE: Final = "from cli.main import main; raise SystemExit(main())"
MUTANTS: Final = {
    "no fsync of the signing log": (
        "import node.files; node.files.SystemFiles.fsync = lambda self, descriptor: None;",
        "nothing syncs .*signing.log",
    ),
    "an fsync that comes too late": (
        "import node.files, os, threading;"
        "node.files.SystemFiles.fsync = lambda self, fd: threading.Timer(0.3, os.fsync, (fd,)).start();",
        "sent too early|nothing syncs .*signing.log",
    ),
    "a batch that is not synced": (
        "import node.storage as s, pathlib;"
        "exec(pathlib.Path(s.__file__).read_text().replace('sync=True', 'sync=False'), s.__dict__);",
        "nothing syncs .*/ledger/",
    ),
}


# ---- what the others hear --------------------------------------------------------------------------------------------


@dataclass
class Heard:
    """One message, and the last frame of its ciphertext as it was on the wire."""

    frame: bytes
    carried: Carried


@dataclass
class Ears:
    """Everything that the three validators heard."""

    heard: list[Heard] = field(default_factory=list)

    def reader(self, cipher: CipherState, assembler: Assembler) -> FrameReader:
        """In the place of ``p2p.link.FrameReader``."""
        return _ListeningReader(cipher, assembler, self.heard)

    def messages(self) -> Iterator[tuple[Heard, Message]]:
        """Those of the agreement."""
        for heard in self.heard:
            if heard.carried.channel is Channel.CONSENSUS:
                yield heard, decode_framed(heard.carried.payload)[1]


class _ListeningCipher:
    def __init__(self, cipher: CipherState) -> None:
        self._cipher = cipher
        self.frame = b""

    def decrypt(self, sealed: bytes) -> bytes:
        self.frame = sealed
        return self._cipher.decrypt(sealed)


class _ListeningReader(FrameReader):
    def __init__(self, cipher: CipherState, assembler: Assembler, heard: list[Heard]) -> None:
        self._listening = _ListeningCipher(cipher)
        self._heard = heard
        super().__init__(cast(CipherState, self._listening), assembler)

    def feed(self, data: bytes) -> Iterator[Carried]:
        for message in super().feed(data):
            self._heard.append(Heard(self._listening.frame, message))
            yield message


# ---- the run ---------------------------------------------------------------------------------------------------------


@dataclass
class Run:
    """What is known after it."""

    trace: Trace
    ears: Ears
    home: Path
    first: bytes
    """The signing log before the process began."""
    index: int
    """The traced validator's position."""
    hashes: dict[int, bytes]
    committed: dict[bytes, int]
    """Height by id of every transaction that the traced node's API reported as committed."""


@asynccontextmanager
async def _traced(network: Network, output: Path, before: str) -> AsyncIterator[NodeClient]:
    """``huzhu start`` under strace, linked to the validators of this process; its API."""
    home = network.members[TRACED].home
    peers = [
        f"{load_node_keys(network.members[name].home / 'keys').node.public.hex()}@{host}:{port}"
        for name in OTHERS
        if (started := network.members[name].started) is not None
        for host, port in [started.p2p]
    ]
    arguments = ["start", "--home", str(home), "--set", f"p2p.peers={','.join(peers)}", "--set", "log.level=info"]
    node = [sys.executable, "-c", before + WHOLE, *arguments]
    log = output.with_suffix(".log")
    process = _launch([str(tools.strace()), *OPTIONS, "-o", str(output), *node], log)
    try:
        async with asyncio.timeout(START_SECONDS):
            while (address := _api_of(log)) is None:
                assert process.poll() is None, log.read_text()
                await asyncio.sleep(0.05)
        async with NodeClient(f"http://{address}") as client:
            yield client
        os.kill(_child(process.pid), signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 30) == 0, log.read_text()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _launch(arguments: list[str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("wb") as file:
        return subprocess.Popen(arguments, stdout=file, stderr=file, start_new_session=True)


def _api_of(log: Path) -> str | None:
    for line in log.read_text().splitlines():
        if '"event": "started"' in line:
            return str(json.loads(line)["api"])
    return None


def _child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


async def _run(directory: Path, monkeypatch: pytest.MonkeyPatch, before: str = "") -> Run:
    """Four validators decide some blocks, sent to the traced one; until it has proposed."""
    network, ears, output = Network(directory / "net", observers=0), Ears(), directory / "trace"
    monkeypatch.setattr(p2p.link, "FrameReader", ears.reader)
    home = network.members[TRACED].home
    first = (home / "data" / "signing.log").read_bytes()
    committed: dict[bytes, int] = {}
    async with running(network, *OTHERS):
        async with _traced(network, output, before) as client:
            await network.until(partial(_ready), timeout_s=START_SECONDS)
            while len(committed) < TRANSACTIONS_MAX and not _has_proposed(network, ears, len(committed)):
                raw = network.transaction("platform", Enrol(0, os.urandom(32), 1990 * 12, b""))
                (answer,) = await submit(client, [raw])
                if answer["status"] == "committed":
                    committed[transaction_id(raw)] = int(answer["height"])
        seen = network.nodes["bank"].chain
        hashes = {height: header_hash(seen.blocks.header_raw(height) or b"") for height in range(seen.height + 1)}
        index = _index(network)
    return Run(read(output), ears, home, first, index, hashes, committed)


def _ready(node: Any) -> bool:
    return bool(node.driver.signing) and len(node.network.connected()) == len(OTHERS)


def _index(network: Network) -> int:
    own = load_node_keys(network.members[TRACED].home / "keys").validator
    validators = network.nodes["bank"].chain.view.next_validators
    return next(at for at, entry in enumerate(validators) if own is not None and entry.validator_key == own.public)


def _has_proposed(network: Network, ears: Ears, sent: int) -> bool:
    index = _index(network)
    kinds = {type(message) for _, message in ears.messages() if getattr(message, "index", None) == index}
    return sent >= TRANSACTIONS_MIN and {SignedProposal, SignedPrepare, SignedCommit} <= kinds


# ---- what must hold --------------------------------------------------------------------------------------------------


def check(run: Run) -> dict[str, int]:
    """Every message that the traced node sent, and every answer of its API, against the disk. What was looked at."""
    seen = {"votes": 0, "heads": 0, "answers": 0}
    log = next(path for path in run.trace.files if path.endswith("signing.log"))
    durable = _durable_votes(run, log)
    blocks = _durable_blocks(run)
    for heard, message in run.ears.messages():
        if isinstance(message, SignedProposal | SignedPrepare | SignedCommit | SignedRoundChange):
            if message.index == run.index:
                sent = _sent(run, heard)
                vote = message.message
                assert durable[msgpack.packb(msgpack.unpackb(encode(vote)))] < sent.entered, f"sent too early: {vote}"
                assert blocks[vote.height - 1] < sent.entered, f"block {vote.height - 1} is not durable: {vote}"
                seen["votes"] += 1
        elif isinstance(message, Status | CommitCertificate):
            call = run.trace.sending(heard.frame)
            told = message.height - 1 if isinstance(message, Status) else message.certificate.height
            assert call is None or blocks[told] < call.entered, f"tells of {told} too early"
            seen["heads"] += call is not None
    for heard in run.ears.heard:
        call = run.trace.sending(heard.frame) if heard.carried.channel is Channel.SYNC else None
        head = _head(heard.carried) if call is not None else None
        if call is not None and head is not None:
            assert blocks[head.height] < call.entered, f"tells of {head.height} too early"
            seen["heads"] += 1
    for tx_id, height in run.committed.items():
        answer = run.trace.sending(tx_id.hex().encode())
        assert answer is not None and blocks[height] < answer.entered, f"reported {tx_id.hex()} too early"
        seen["answers"] += 1
    return seen


def _sent(run: Run, heard: Heard) -> Call:
    call = run.trace.sending(heard.frame)
    assert call is not None, "a message of the traced node that it did not send"
    return call


def _head(carried: Carried) -> Head | None:
    tag = msgpack.unpackb(carried.payload, strict_map_key=False)[0]
    return decode_head(carried.payload) if tag == "head" else None


def _durable_votes(run: Run, log: str) -> dict[bytes, int]:
    """By content of each promise: the line at which it had become durable. A Commit's lock stands before it."""
    stream = run.trace.files[log]
    data, found = run.first + bytes(stream.data), {}
    locks: list[tuple[int, int]] = []
    ends = {end: kind for kind, _, end in records(data)}
    for promise in promises(data):
        found[promise.content] = (
            -1 if promise.end <= len(run.first) else run.trace.synced(log, stream.taking(promise.end - len(run.first)))
        )
        locks = [(end, kind) for end, kind in ends.items() if end < promise.end and kind == LOCK_RECORD]
        assert promise.kind != "commit" or locks, "a commit without the prepares it rests on"
    return found


def _durable_blocks(run: Run) -> dict[int, int]:
    """By height: the line at which the batch that holds the block had become durable."""
    found = {}
    logs = {path: stream for path, stream in run.trace.files.items() if "/ledger/" in path and path.endswith(".log")}
    for height, hash_ in run.hashes.items():
        for path, stream in logs.items():
            end = next((end for batch, end in batches(bytes(stream.data)) if hash_ in batch), None)
            if end is not None:
                found[height] = run.trace.synced(path, stream.taking(end))
                break
    return found


@pytest.mark.asyncio
async def test_the_kernel_sees_every_promise_durable_before_it_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = check(await _run(tmp_path, monkeypatch))
    assert seen["votes"] >= 4 * TRANSACTIONS_MIN and seen["heads"] and seen["answers"] >= TRANSACTIONS_MIN, seen


@pytest.mark.asyncio
@pytest.mark.parametrize("mutant", MUTANTS)
async def test_without_it_the_trace_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mutant: str) -> None:
    before, fault = MUTANTS[mutant]
    run = await _run(tmp_path, monkeypatch, before)
    with pytest.raises(AssertionError, match=fault):
        check(run)
