"""What the link tests share: a clock moved by hand, connected pairs, and networks that note what happens."""

import asyncio
import heapq
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count

from ledger.errors import PeerError
from p2p.clock import Clock, SystemClock, TimerHandle
from p2p.frames import Kind, Message
from p2p.handshake import shake
from p2p.hello import Hello
from p2p.limits import CHANNEL_LIMITS, Channel, ChannelLimits
from p2p.link import Direction, Link, tune_socket
from p2p.network import Network
from p2p.noise import Handshake, NodeKey, Session
from p2p.peers import Address
from p2p.reasons import CloseReason

CHAIN = bytes(range(32))
HELLO = Hello(CHAIN, 1, 1, "test")
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Timer:
    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


class ManualClock:
    """Time passes when a test says so."""

    def __init__(self, start_ms: int = 1_700_000_000_000) -> None:
        self._start_ms = start_ms
        self._now_s = 0.0
        self._order = count()
        self._timers: list[tuple[float, int, _Timer]] = []

    def time_ms(self) -> int:
        return self._start_ms + round(self._now_s * 1_000)

    def monotonic_s(self) -> float:
        return self._now_s

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> TimerHandle:
        timer = _Timer(callback)
        heapq.heappush(self._timers, (self._now_s + delay_s, next(self._order), timer))
        return timer

    def advance(self, delay_s: float) -> None:
        """Let ``delay_s`` seconds pass, firing what falls due in order."""
        end_s = self._now_s + delay_s
        while self._timers and self._timers[0][0] <= end_s:
            self._now_s, _, timer = heapq.heappop(self._timers)
            if timer.callback is not None:
                timer.callback()
        self._now_s = end_s


@asynccontextmanager
async def connection() -> AsyncIterator[tuple[Streams, Streams]]:
    """Both ends of one TCP connection on loopback: the dialler's, the listener's."""
    accepted: asyncio.Future[Streams] = asyncio.get_running_loop().create_future()
    server = await asyncio.start_server(lambda r, w: accepted.set_result((r, w)), "127.0.0.1", 0)
    async with server:
        dialled = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        listened = await accepted
        server.close()
        try:
            yield dialled, listened
        finally:
            dialled[1].transport.abort()
            listened[1].transport.abort()


def shake_side(
    streams: Streams,
    *,
    initiator: bool,
    key: NodeKey | None = None,
    hello: Hello = HELLO,
    admit: Callable[[bytes], PeerError | bool] = lambda key: True,
) -> Awaitable[object]:
    """One side of a handshake, all of it admitted unless the test says otherwise."""
    return shake(*streams, initiator=initiator, identity=key or NodeKey.generate(), hello=hello, admit=admit)


def wrap(message: bytes, channel: Channel = Channel.CONSENSUS) -> Message:
    return Message(channel, Kind.MESSAGE, message)


@dataclass
class End:
    """One end of a pair of links, and what it saw."""

    link: Link
    received: list[Message] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Future[CloseReason] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    on_message: Callable[[Message], Awaitable[None] | None] | None = None

    def deliver(self, link: Link, message: Message) -> Awaitable[None] | None:
        self.received.append(message)
        self.arrived.set()
        return None if self.on_message is None else self.on_message(message)

    async def run(self) -> None:
        self.ended.set_result(await self.link.run(self.deliver))

    async def until(self, messages: int) -> None:
        """Wait until so many messages are here."""
        while len(self.received) < messages:
            self.arrived.clear()
            await self.arrived.wait()


@asynccontextmanager
async def linked(
    clock: Clock | None = None,
    second_clock: Clock | None = None,
    limits: dict[Channel, ChannelLimits] = CHANNEL_LIMITS,
) -> AsyncIterator[tuple[End, End]]:
    """Two links of one connection, up and running; closed at the end."""
    async with connection() as (one, two):
        for _, writer in (one, two):
            tune_socket(writer)
        sides = [
            shake(*streams, initiator=initiator, identity=NodeKey.generate(), hello=HELLO, admit=lambda key: True)
            for streams, initiator in ((one, True), (two, False))
        ]
        established = await asyncio.gather(*sides)
        ends = []
        directions: Sequence[Direction] = ("out", "in")
        clocks = (clock or SystemClock(), second_clock or clock or SystemClock())
        for streams, done, direction, own_clock in zip((one, two), established, directions, clocks, strict=True):
            address = ("127.0.0.1", 0)
            ends.append(End(Link(*streams, done, direction=direction, address=address, clock=own_clock, limits=limits)))
        async with asyncio.TaskGroup() as tasks:
            for end in ends:
                tasks.create_task(end.run())
            yield ends[0], ends[1]
            for end in ends:
                end.link.close("SHUTDOWN")


def sessions() -> tuple[Session, Session]:
    """The two sessions of a handshake in memory."""
    one = Handshake(NodeKey.generate(), initiator=True, prologue=b"")
    two = Handshake(NodeKey.generate(), initiator=False, prologue=b"")
    two.read(one.write())
    one.read(two.write())
    two.read(one.write())
    return one.session(), two.session()


def node_keys(count: int) -> list[NodeKey]:
    """Fixed keys, ascending by public key, so that who is the lower one is known."""
    return sorted((NodeKey(bytes([i + 1]) * 32) for i in range(count)), key=lambda key: key.public)


class WatchedClock:
    """A clock that tells when somebody sets a timer: what a dialler does after every failure."""

    def __init__(self, clock: Clock, watch: Callable[[], None]) -> None:
        self._clock = clock
        self._watch = watch
        self.time_ms = clock.time_ms
        self.monotonic_s = clock.monotonic_s

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> TimerHandle:
        self._watch()
        return self._clock.call_later(delay_s, callback)


class Node:
    """A network that notes what happens and lets a test wait for it."""

    def __init__(
        self,
        key: NodeKey,
        *,
        hello: Hello = HELLO,
        clock: Clock | None = None,
        listen: Address | None = ("127.0.0.1", 0),
        peers: dict[bytes, Sequence[Address]] | None = None,
        handler: Callable[[bytes, Channel, bytes], Awaitable[bytes]] | None = None,
        allow: Callable[[bytes], bool] | None = None,
    ) -> None:
        self.key = key.public
        self.denied: set[bytes] = set()
        self.applicants: set[bytes] = set()
        self.messages: list[tuple[bytes, Channel, bytes]] = []
        self.events: list[tuple[bytes, bool]] = []
        self.hook: Callable[[bytes, Channel, bytes], Awaitable[None] | None] | None = None
        self._changed = asyncio.Event()
        self.network = Network(
            key,
            hello,
            listen=listen,
            peers=peers or {},
            allow=allow or (lambda other: other not in self.denied),
            on_message=self._message,
            on_peer=self._peer,
            on_request=handler,
            applicant=lambda other: other in self.applicants,
            clock=WatchedClock(clock or SystemClock(), self._changed.set),
            chance=random.Random(0),
        )

    @property
    def address(self) -> Address:
        assert self.network.address is not None
        return self.network.address

    def _message(self, peer: bytes, channel: Channel, payload: bytes) -> Awaitable[None] | None:
        self.messages.append((peer, channel, payload))
        self._changed.set()
        return None if self.hook is None else self.hook(peer, channel, payload)

    def _peer(self, peer: bytes, up: bool) -> None:
        self.events.append((peer, up))
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a message, an event or a failed dial made ``condition`` true."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def connected(self, *peers: bytes) -> None:
        """Wait until there are links to ``peers``."""
        await self.until(lambda: set(peers) <= set(self.network.connected()))

    async def disconnected(self, peer: bytes) -> None:
        """Wait until ``peer`` was reported down."""
        await self.until(lambda: (peer, False) in self.events)

    def knows(self, *others: "Node") -> None:
        """Tell where ``others`` listen."""
        for other in others:
            self.network.set_addresses(other.key, [other.address])

    def why(self, peer: bytes) -> CloseReason | None:
        """The last error noted of ``peer``."""
        return next(info.last_error for info in self.network.peers() if info.key == peer)


@asynccontextmanager
async def running(*nodes: Node) -> AsyncIterator[None]:
    """Networks started, stopped at the end, all within ten seconds."""
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        for node in nodes:
            await node.network.start(tasks)
        try:
            yield
        finally:
            for node in nodes:
                await node.network.stop()
