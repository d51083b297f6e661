"""Peers that hold a chain and serve snapshots of it, in memory; and a node that joins from them."""

import asyncio
import secrets
import tempfile
from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from ledger.errors import PeerError
from ledger.store import Batch, MemoryStore, Store
from ledger.transactions import Enrol, EnrolBatch
from node.applicants import Applicants
from node.chain import Chain as NodeChain
from node.questions import Questions
from node.snapshot_progress import Progress
from node.snapshot_serve import SnapshotServer
from node.snapshot_sync import SnapshotSync
from node.sync import Sync
from p2p.clock import SystemClock, TimerHandle
from p2p.requests import PeerGone
from tests.ledger.chain import Chain
from tests.node.chains import open_chain, raw

MEMBERS = 5_000
"""More than 4,096, so that the tree of members has nodes above the pieces."""


class FastClock(SystemClock):
    """Timers come a hundred times sooner."""

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> TimerHandle:
        return super().call_later(delay_s / 100, callback)


def grown(members: int = MEMBERS, more: int = 6) -> Chain:
    """A chain with members, and blocks after them."""
    source = Chain()
    people = [(sha256(b"%d" % number).digest(), 1990 * 12 + number % 100) for number in range(members)]
    source.ok("platform", EnrolBatch(0, tuple(people)))
    for number in range(more):
        source.ok("platform", Enrol(0, sha256(b"single %d" % number).digest(), 1990 * 12, b""))
    return source


class Holder:
    """A peer that has the whole chain of ``source`` and follows it."""

    def __init__(self, source: Chain, chain: NodeChain | None = None) -> None:
        self.source = source
        self.clock = FastClock()
        self.chain: NodeChain = open_chain(source.genesis) if chain is None else chain
        self.server = SnapshotServer(self.chain, self.clock)
        self.chain.listen(self.server.committed)
        self.sync = sync = Sync(
            chain=self.chain,
            links=Links(),
            clock=self.clock,
            seat_of=lambda peer: None,
            votes=lambda: False,
            refuted=lambda peer: None,
        )
        self.questions = Questions(sync, self.server, Applicants(self.chain), lambda peer: False)

    async def follow(self, height: int | None = None) -> "Holder":
        """Commit what the source has, up to ``height``."""
        for block in self.source.blocks[self.chain.height : height]:
            await self.chain.import_block(raw(block))
        return self

    async def answer(self, payload: bytes) -> bytes:
        """As over a link."""
        return await self.questions.answer(b"joiner", payload)


class Links:
    """Peers as functions from question to answer."""

    def __init__(self) -> None:
        self.peers: dict[bytes, Callable[[bytes], Awaitable[bytes]]] = {}
        self.asked: dict[bytes, int] = {}
        self.penalized: list[tuple[bytes, str]] = []
        self.reserve: dict[bytes, Callable[[bytes], Awaitable[bytes]]] = {}
        """Peers that come once somebody was penalized."""

    def connected(self) -> list[bytes]:
        return sorted(self.peers)

    def send(self, *_: Any) -> bool:
        return True

    async def request(self, peer: bytes, payload: bytes, *, timeout_s: float) -> bytes:
        self.asked[peer] = self.asked.get(peer, 0) + 1
        await asyncio.sleep(0)
        if peer not in self.peers:
            raise PeerGone(peer, "no link")
        return await self.peers[peer](payload)

    def penalize(self, peer: bytes, error: PeerError) -> None:
        self.penalized.append((peer, error.code))
        self.peers.pop(peer, None)
        self.peers |= self.reserve


class Log:
    """What was said."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []
        self._waited: dict[str, asyncio.Event] = {}

    def info(self, event: str, **values: Any) -> None:
        self.lines.append((event, values))
        self._waited.setdefault(event, asyncio.Event()).set()

    async def said(self, event: str) -> None:
        """Wait until it is said."""
        await self._waited.setdefault(event, asyncio.Event()).wait()

    debug = warning = error = info


class Joiner:
    """A node with an empty store."""

    def __init__(self, source: Chain, store: Store | None = None) -> None:
        self.source = source
        self.store = store if store is not None else MemoryStore()
        self.links = Links()
        self.clock = FastClock()
        self.progress = Progress(self.clock)
        self.log: Any = Log()
        self.writes = 0
        self.writes_max: int | None = None
        """After so many the process is killed."""
        self.head = len(source.blocks)
        self.floor = 0

    async def write(self, batch: Batch) -> None:
        if self.writes == self.writes_max:
            raise KilledError
        self.writes += 1
        await asyncio.sleep(0)
        self.store.write(batch)

    def sync(self) -> SnapshotSync:
        return SnapshotSync(
            genesis=self.source.genesis,
            store=self.store,
            scratch=Path(tempfile.gettempdir()) / f"huzhu-sorting-{secrets.token_hex(8)}",
            write=self.write,
            links=self.links,
            clock=self.clock,
            head=lambda: self.head,
            progress=self.progress,
            log=self.log,
            floor=self.floor,
        )


class KilledError(Exception):
    """The process ends here."""
