"""The node's links: who is dialled, who is admitted, which of two links survives, who is banned (NODE §1).

Rules of this file:

* ``Network`` is the only owner of peer states; all of it runs in the event loop's thread.
* Every task lives in the ``TaskGroup`` given to ``start``; what our own callbacks raise, other than ``PeerError`` and
  ``MalformedBytes``, ends that group and with it the process.
* Of two links to one peer the one dialled by the lower key survives, on both sides; of two dialled by one side, the
  newer. What the loser had queued moves to the survivor, and the peer is not reported down in between.
* An applicant (``applicant``, not yet ``allow``) gets a status-only link: questions and answers of the sync class,
  small and few. It is no peer to ``connected``, ``broadcast`` and ``on_peer``, on either side.
* Peers are redialled for ever; addresses are hints, resolved at each dial.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any

from ledger.errors import InvariantViolation, OperatorError, PeerError

from .clock import Alarm, Clock, SystemClock, time_limit
from .frames import Kind, Message
from .handshake import Established, close_gently, shake
from .hello import Hello
from .limits import (
    ACCEPTING_TURNS,
    APPLICANTS_MAX,
    CHANNEL_LIMITS,
    DIAL_TIMEOUT_S,
    HANDOVER_S,
    HANDSHAKE_TIMEOUT_S,
    PENDING_HANDSHAKES_MAX,
    PENDING_HANDSHAKES_PER_HOST_MAX,
    READER_BYTES,
    STATUS_ONLY_LIMITS,
    Channel,
)
from .link import Direction, Link, tune_socket
from .meter import NO_METER, Meter
from .noise import NodeKey
from .peers import Address, PeerInfo, PeerState, Stranger, Strangers
from .reasons import CloseReason, LinkRefused, is_fault
from .requests import Handler, Requests
from .turn import Turn

OnMessage = Callable[[bytes, Channel, bytes], Awaitable[None] | None]
"""``on_message(peer, channel, payload)``. Awaited in the order of the link: while it waits, the peer is slowed down."""
OnPeer = Callable[[bytes, bool], None]
"""``on_peer(peer, up)``."""


class Network:
    """All links of one node. ``start`` it in a TaskGroup, ``stop`` it before the group ends."""

    def __init__(
        self,
        identity: NodeKey,
        hello: Hello,
        *,
        listen: Address | None,
        peers: Mapping[bytes, Sequence[Address]],
        allow: Callable[[bytes], bool],
        on_message: OnMessage,
        on_peer: OnPeer,
        on_request: Handler | None = None,
        applicant: Callable[[bytes], bool] = lambda key: False,
        clock: Clock | None = None,
        chance: random.Random | None = None,
        meter: Meter = NO_METER,
    ) -> None:
        """``peers``: static addresses by node public key. ``allow``: whether a node key may have a link now.

        ``applicant``: whether a key that may not gets a status-only link. ``chance`` jitters the redials, no more."""
        self._identity = identity
        self._hello = hello
        self._listen = listen
        self._allow = allow
        self._applicant = applicant
        self._on_message = on_message
        self._on_peer = on_peer
        self._clock: Clock = clock or SystemClock()
        self._chance = chance or random.Random()
        self._meter = meter
        self.turn = Turn()
        """What is sent within it leaves at its end."""
        self._states: dict[bytes, PeerState] = {}
        self._strangers = Strangers()
        self._requests = Requests(self, on_request, self._clock)
        self._group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._dialled: set[bytes] = set()
        self._links: set[Link] = set()
        self._pending: Counter[str] = Counter()
        self._server: asyncio.Server | None = None
        self._stopping = False
        self._quiet = Alarm(self._clock)
        self.refused: Counter[str] = Counter()
        """Handshakes that gave no link, by code (for metrics)."""
        for key, addresses in peers.items():
            if key != identity.public:
                self._state(key).static = tuple(addresses)

    # Life.

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Listen, and dial every known peer; all tasks are created in ``tasks``. Raises ``OperatorError``."""
        self._group = tasks
        if self._listen is not None:
            host, port = self._listen
            try:
                self._server = await asyncio.start_server(self._accepted, host, port, limit=READER_BYTES)
            except (OSError, OverflowError) as error:
                raise OperatorError(
                    "CANNOT_LISTEN",
                    f"cannot listen on {host}:{port}",
                    str(error),
                    "choose a free address in the config",
                    exit_code=1,
                ) from error
        for key in list(self._states):
            self._keep_dialled(key)

    async def stop(self) -> None:
        """Tell every peer SHUTDOWN, wait for the links to end (bounded), and end every task."""
        self._stopping = True
        if self._server is not None:
            await self._stop_accepting(self._server)
        for link in list(self._links):
            link.close("SHUTDOWN")
        while self._links:  # each ends within LINGER_S of its close
            await self._quiet.wait()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks))

    async def _stop_accepting(self, server: asyncio.Server) -> None:
        """Accept nothing more, let what was accepted become a connection (and be refused), then close.

        In the other order asyncio fails to make connections of what it has accepted, and leaves their sockets open.
        """
        for listening in server.sockets:
            asyncio.get_running_loop().remove_reader(listening.fileno())
        for _ in range(ACCEPTING_TURNS):
            await asyncio.sleep(0)
        server.close()

    @property
    def key(self) -> bytes:
        """This node's public key."""
        return self._identity.public

    @property
    def address(self) -> Address | None:
        """Where this node listens, with the port the system chose; none when it only dials, or before ``start``."""
        if self._server is None:
            return None
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    # Sending.

    def send(self, peer: bytes, channel: Channel, payload: bytes) -> bool:
        """Queue ``payload`` for ``peer``, never waiting; false when there is no link or its queue refused it."""
        return self.put(peer, _plain(channel, payload))

    async def send_when_room(self, peer: bytes, channel: Channel, payload: bytes) -> bool:
        """Like ``send``, but wait until the queue has room: for the sync class."""
        return await self.carry(peer, _plain(channel, payload))

    def broadcast(self, channel: Channel, payload: bytes, *, to: Collection[bytes] | None = None) -> set[bytes]:
        """Queue ``payload`` for all connected peers, or for those of ``to``; the peers whose queue took it."""
        message = _plain(channel, payload)
        sent = set()
        for key in self.connected() if to is None else to:
            if self.put(key, message):
                sent.add(key)
        return sent

    async def request(self, peer: bytes, payload: bytes, *, timeout_s: float, channel: Channel = Channel.SYNC) -> bytes:
        """The peer's answer to ``payload``. Raises ``RequestTimeout``, ``PeerGone`` or ``RequestRefused``."""
        return await self._requests.ask(peer, channel, payload, timeout_s)

    def put(self, peer: bytes, message: Message) -> bool:
        """Queue ``message`` now; false when there is no link for it or its queue refused it."""
        link = self._link_for(peer, message)
        return link is not None and link.send(message)

    async def carry(self, peer: bytes, message: Message) -> bool:
        """Queue ``message`` once there is room; false when there is no link or it ends first (for ``Requests``)."""
        link = self._link_for(peer, message)
        return link is not None and await link.send_when_room(message)

    def _link_for(self, peer: bytes, message: Message) -> Link | None:
        state = self._states.get(peer)
        link = None if state is None else state.link
        return link if link is not None and _permitted(link, message) else None

    # Peers.

    def connected(self) -> list[bytes]:
        """Keys of the peers with a full link, ascending."""
        return sorted(key for key, state in self._states.items() if state.link is not None and state.link.full)

    def status_only(self, peer: bytes) -> bool:
        """Whether the link to ``peer`` is an applicant's: a handler answers it with status and nothing else."""
        state = self._states.get(peer)
        return state is not None and state.link is not None and not state.link.full

    def peers(self) -> list[PeerInfo]:
        """All known peers, connected or not, ascending by key."""
        now_s = self._clock.monotonic_s()
        return [self._states[key].info(now_s) for key in sorted(self._states)]

    def strangers(self) -> list[Stranger]:
        """Who dialled lately and got no link, and why; the newest last."""
        return self._strangers.all()

    def set_addresses(self, peer: bytes, addresses: Sequence[Address]) -> None:
        """Hints where ``peer`` may be (from the chain, for instance); they replace earlier ones, static ones stay."""
        if peer == self.key:
            return
        state = self._state(peer)
        if state.tell(addresses):
            state.retry_now(self._clock.monotonic_s())
            state.alarm.ring()
        if self._group is not None:
            self._keep_dialled(peer)

    def refresh_allowed(self) -> None:
        """The allow-list changed: end links no longer allowed, dial at once where only a refusal stood in the way."""
        for key, state in self._states.items():
            allowed = self._allow(key)
            if state.link is not None and state.link.admitted != allowed:
                state.link.close("ACCESS_CHANGED" if allowed else "NO_LONGER_ALLOWED")
            if (
                allowed
                and state.last_error is not None
                and state.last_error.code in {"UNKNOWN_PEER", "NO_LONGER_ALLOWED"}
            ):
                state.retry_now(self._clock.monotonic_s())
            state.alarm.ring()

    def penalize(self, peer: bytes, error: PeerError) -> None:
        """An upper layer found ``peer`` breaking the protocol: end its link, ban it for a bounded time."""
        state = self._states.get(peer)
        if state is None:
            return
        if state.link is not None and not state.link.closing:
            state.link.close(error.code, error.detail)  # the strike is counted when the link is over
        else:
            state.strike(self._clock.monotonic_s())

    def _state(self, key: bytes) -> PeerState:
        state = self._states.get(key)
        if state is None:
            state = self._states[key] = PeerState(key, Alarm(self._clock))
        return state

    # Tasks.

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``work`` as a task of the group given to ``start``, ended by ``stop``."""
        if self._group is None:
            work.close()
            raise InvariantViolation("the network is not started")
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _keep_dialled(self, key: bytes) -> None:
        if key not in self._dialled and self._states[key].addresses and not self._stopping:
            self._dialled.add(key)
            self.spawn(self._dial_for_ever(self._states[key]))

    async def _dial_for_ever(self, state: PeerState) -> None:
        while not self._stopping:
            address = state.address_to_dial()
            if state.up or address is None or not self._allow(state.key):
                await state.alarm.wait()
                continue
            wait_s = max(state.next_dial_s, state.banned_until_s) - self._clock.monotonic_s()
            if wait_s > 0:
                await state.alarm.wait(wait_s)
            else:
                await self._dial(state, address)

    async def _dial(self, state: PeerState, address: Address) -> None:
        try:
            async with time_limit(self._clock, DIAL_TIMEOUT_S):
                reader, writer = await asyncio.open_connection(*address, limit=READER_BYTES)
        except (OSError, TimeoutError, OverflowError, UnicodeError) as error:
            reason = str(error) or type(error).__name__
            self._failed(state, CloseReason("UNREACHABLE", f"{address[0]}:{address[1]}: {reason}", "network"))
            return
        await self._use(reader, writer, "out", address, state)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = (writer.get_extra_info("peername") or ("unknown", 0))[:2]
        full = self._pending.total() >= PENDING_HANDSHAKES_MAX or self._pending[host] >= PENDING_HANDSHAKES_PER_HOST_MAX
        if self._stopping or full:
            self.refused["BUSY"] += 1
            writer.transport.abort()
            return
        self._pending[host] += 1  # here, not when the task runs: a burst is accepted before any of its tasks
        task = self.spawn(self._use(reader, writer, "in", (host, port), None))
        task.add_done_callback(lambda _: writer.transport.abort())  # a task cancelled before it began closes nothing

    # One connection.

    async def _use(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        direction: Direction,
        address: Address,
        dialled: PeerState | None,
    ) -> None:
        """Shake hands, then carry messages until the link is over. ``dialled``: whom we expect to find there."""
        try:
            established = await self._shake(reader, writer, address, dialled)
        except LinkRefused as refused:
            self.refused[refused.code] += 1
            if dialled is not None:
                self._failed(dialled, refused.reason)
            else:
                self._strangers.note(refused.peer, address[0], refused.reason, self._clock.time_ms())
            await close_gently(reader, writer, self._clock)
            return
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
            raise
        link = Link(
            reader,
            writer,
            established,
            direction=direction,
            address=address,
            clock=self._clock,
            limits=CHANNEL_LIMITS if established.full else STATUS_ONLY_LIMITS,
            meter=self._meter,
            turn=self.turn,
        )
        self._links.add(link)
        verdict = self._verdict(link.peer, dialled)
        if verdict is link.admitted:
            self._register(link)
        else:  # what changed since the peer was admitted: the allow-list, a ban, our own end
            changed = verdict if isinstance(verdict, LinkRefused) else LinkRefused("ACCESS_CHANGED")
            link.close(changed.code, changed.detail)
            if dialled is not None:
                self._failed(dialled, changed.reason)
        reason = CloseReason("SHUTDOWN", "", "us")
        try:
            reason = await link.run(self._deliver)
        finally:
            self._ended(link, reason)

    async def _shake(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        address: Address,
        dialled: PeerState | None,
    ) -> Established:
        try:
            tune_socket(writer)
            async with time_limit(self._clock, HANDSHAKE_TIMEOUT_S):
                return await shake(
                    reader,
                    writer,
                    initiator=dialled is not None,
                    identity=self._identity,
                    hello=self._hello,
                    admit=lambda key: self._verdict(key, dialled),
                )
        except TimeoutError as error:
            raise LinkRefused("HANDSHAKE_TIMEOUT", f"not finished in {HANDSHAKE_TIMEOUT_S:.0f} s") from error
        finally:
            if dialled is None:
                self._pending[address[0]] -= 1
                if not self._pending[address[0]]:
                    del self._pending[address[0]]

    def _verdict(self, key: bytes, dialled: PeerState | None) -> LinkRefused | bool:
        verdict = self._judge(key, dialled)
        if isinstance(verdict, LinkRefused):
            verdict.peer = key
        return verdict

    def _judge(self, key: bytes, dialled: PeerState | None) -> LinkRefused | bool:
        state = self._states.get(key)
        if key == self.key:
            return LinkRefused("SELF")
        if dialled is not None and key != dialled.key:
            return LinkRefused("WRONG_PEER", f"dialled {dialled.key.hex()}, found {key.hex()}")
        allowed = self._allow(key)
        if not allowed and not self._applicant(key):
            return LinkRefused("UNKNOWN_PEER", key.hex())
        if not allowed and sum(not link.admitted and link.peer != key for link in self._links) >= APPLICANTS_MAX:
            return LinkRefused("TOO_MANY_APPLICANTS")
        if self._stopping:
            return LinkRefused("SHUTDOWN")
        if state is not None and state.banned_until_s > self._clock.monotonic_s():
            return LinkRefused("BANNED", f"for {state.banned_until_s - self._clock.monotonic_s():.0f} s more")
        return allowed

    def _register(self, link: Link) -> None:
        state = self._state(link.peer)
        self._strangers.forget(link.peer)
        old = state.link
        if state.handover is not None:
            state.handover.cancel()
            state.handover = None
        if old is None:
            state.link = link
        else:
            lower = min(self.key, link.peer)
            newer_wins = link.direction == old.direction or self._dialler(link) == lower
            winner, loser = (link, old) if newer_wins else (old, link)
            winner.queue.absorb(loser.queue)
            loser.close("DUPLICATE")
            state.link = winner
            old.probe()  # if the old one is dead unnoticed (the peer restarted), this shows it at once
        if state.orphan is not None and state.link is not None:
            state.link.queue.absorb(state.orphan)
            state.orphan = None
        state.alarm.ring()
        self._report(state)

    def _dialler(self, link: Link) -> bytes:
        return self.key if link.direction == "out" else link.peer

    def _ended(self, link: Link, reason: CloseReason) -> None:
        state = self._state(link.peer)
        self._links.discard(link)
        state.traffic.add(link.traffic)
        now_s = self._clock.monotonic_s()
        if reason.by == "us" and is_fault(reason.code):
            state.strike(now_s)
        if state.link is link:
            state.link = None
            state.was_good((self._clock.time_ms() - link.connected_ms) / 1_000)
            if reason.code == "DUPLICATE" and not self._stopping:
                state.orphan = link.queue
                state.handover = self._clock.call_later(HANDOVER_S, lambda: self._down(state))
            else:
                self._failed(state, reason)
                self._down(state)
        if not self._links:
            self._quiet.ring()

    def _down(self, state: PeerState) -> None:
        state.orphan = state.handover = None
        self._requests.peer_gone(state.key)
        state.alarm.ring()
        self._report(state)

    def _report(self, state: PeerState) -> None:
        if state.usable != state.reported:
            state.reported = state.usable
            self._on_peer(state.key, state.reported)

    def _failed(self, state: PeerState, reason: CloseReason) -> None:
        state.failed(reason, self._clock.monotonic_s(), self._clock.time_ms(), self._chance)

    def _deliver(self, link: Link, message: Message) -> Awaitable[None] | None:
        if not _permitted(link, message):
            raise PeerError("NOT_PERMITTED", f"{message.channel.name.lower()} message on a status-only link")
        if message.kind is Kind.MESSAGE:
            return self._on_message(link.peer, message.channel, message.payload)
        self._requests.received(link.peer, message)
        return None


def _plain(channel: Channel, payload: bytes) -> Message:
    return Message(channel, Kind.MESSAGE, payload)


def _permitted(link: Link, message: Message) -> bool:
    return link.full or (message.channel is Channel.SYNC and message.kind is not Kind.MESSAGE)
