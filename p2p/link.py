"""One authenticated link over an asyncio transport: queues served by priority on the way out, a metered way in.

Rules of this file:

* ``send`` never blocks, so the consensus engine is never held. What a full queue does: ``limits.CHANNEL_LIMITS``.
* Every end has a reason both sides learn (``Bye``); what arrives after our own ``Bye`` is dropped, except on DUPLICATE,
  where the peer may not have seen the other link yet.
* What arrives is delivered in order, in the turn of the loop in which it arrives. A receiver that wants to be waited
  for stops the reading: a slow receiver slows its peer down (TCP), nothing is buffered.
* What is sent while one event is handled (``Turn``), or in one turn of the loop, leaves at its end, in one write. Only
  a transport that is full, and the end of the link, are the writing task's business.
* ``run`` owns the link's tasks and leaves none behind.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Literal, cast

from ledger.errors import MalformedBytes, PeerError

from .clock import Alarm, Clock, TimerHandle
from .frames import Assembler, FrameReader, Message, OutQueue, seal
from .handshake import Bye, Established, Ping, Pong, bye, control_message, parse_control
from .limits import (
    CHANNEL_LIMITS,
    FRAME_PAYLOAD_BYTES_MAX,
    IDLE_TIMEOUT_S,
    LINGER_S,
    PING_INTERVAL_S,
    READER_BYTES,
    SOCKET_BUFFER_BYTES,
    WRITE_BUFFER_BYTES,
    Channel,
    ChannelLimits,
)
from .meter import NO_METER, Meter
from .rate import InboundLimits
from .reasons import CloseReason, told
from .turn import Turn

Direction = Literal["in", "out"]
Deliver = Callable[["Link", Message], Awaitable[None] | None]
_CLOCK_SAMPLES = 8
_CHANNELS = tuple(Channel)


@dataclass
class Traffic:
    """Payload bytes and whole messages by class."""

    bytes_in: dict[Channel, int] = field(default_factory=lambda: dict.fromkeys(Channel, 0))
    bytes_out: dict[Channel, int] = field(default_factory=lambda: dict.fromkeys(Channel, 0))
    drops: dict[Channel, int] = field(default_factory=lambda: dict.fromkeys(Channel, 0))

    def add(self, other: "Traffic") -> None:
        """Count what ``other`` counted, too."""
        for mine, theirs in (
            (self.bytes_in, other.bytes_in),
            (self.bytes_out, other.bytes_out),
            (self.drops, other.drops),
        ):
            for channel, count in theirs.items():
                mine[channel] += count


def tune_socket(writer: asyncio.StreamWriter) -> None:
    """No delay, and buffers small enough that priority is decided here and not in the kernel."""
    sock = writer.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
    writer.transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)


class _Inward(asyncio.Protocol):
    """Hands what arrives to the link at once; everything else goes on to the streams' own protocol."""

    def __init__(
        self, streams: asyncio.BaseProtocol, arrived: Callable[[bytes], None], lost: Callable[[], None]
    ) -> None:
        self._streams = streams
        self._arrived = arrived
        self._lost = lost

    def data_received(self, data: bytes) -> None:
        self._arrived(data)

    def pause_writing(self) -> None:
        self._streams.pause_writing()

    def resume_writing(self) -> None:
        self._streams.resume_writing()

    def eof_received(self) -> bool:
        self._lost()
        return True  # our side may still be written: the link ends it

    def connection_lost(self, error: Exception | None) -> None:
        self._lost()
        self._streams.connection_lost(error)


class _Kept:
    """``with`` it around a callback: what is raised within is kept for the task that owns the link."""

    def __init__(self, keep: Callable[[BaseException], None]) -> None:
        self._keep = keep

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is not None:
            self._keep(error)
        return True


class Link:
    """A link that is up. ``run`` it once; it is over when ``run`` returns."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        established: Established,
        *,
        direction: Direction,
        address: tuple[str, int],
        clock: Clock,
        limits: dict[Channel, ChannelLimits] = CHANNEL_LIMITS,
        meter: Meter = NO_METER,
        turn: Turn | None = None,
    ) -> None:
        self.peer = established.session.remote
        self.version = established.version
        self.agent = established.hello.agent
        self.admitted = established.admitted
        self.full = established.full
        self.direction: Direction = direction
        self.address = address
        self.connected_ms = clock.time_ms()
        self.rtt_ms: float | None = None
        self.queue = OutQueue(limits)
        self.reason: CloseReason | None = None
        self._reader = reader
        self._writer = writer
        self._transport = cast(asyncio.Transport, writer.transport)
        self._cipher = established.session.send
        self._frames = FrameReader(established.session.receive, Assembler(limits))
        self._clock = clock
        self._limits = limits
        self._rates = InboundLimits(limits, clock.monotonic_s())
        self._traffic = Traffic()
        self._receiving, self._sending = meter.of("receive"), meter.of("send")
        self._turn = turn if turn is not None else Turn()
        self._wake = Alarm(clock)
        self._parked = False
        """Whether the writing task has nothing to do: then whoever sends sees to the writing."""
        self._flushing = False
        """Whether what is queued will be written when this event is handled."""
        self._stirred = Alarm(clock)
        self._held: tuple[Iterator[Message], Awaitable[None]] | None = None
        """A receiver that wants to be waited for, and what is to be delivered after it."""
        self._failure: BaseException | None = None
        self._gone = False
        """Whether nothing will arrive any more."""
        self._room: deque[asyncio.Future[None]] = deque()
        self._dead = False
        self._over = False
        self._heard_s = clock.monotonic_s()
        self._delivering = False
        self._writing_since_s: float | None = None
        self._ping_number = 0
        self._ping_sent: tuple[float, int] = (0.0, 0)
        self._samples: deque[tuple[float, float]] = deque(maxlen=_CLOCK_SAMPLES)
        self._timer: TimerHandle | None = None
        self._linger: TimerHandle | None = None

    @property
    def closing(self) -> bool:
        """Whether the link takes no more messages."""
        return self.reason is not None or self._over

    @property
    def clock_offset_ms(self) -> float | None:
        """The peer's clock minus ours, from the quickest of the last exchanges; none before the first."""
        return min(self._samples)[1] if self._samples else None

    @property
    def traffic(self) -> Traffic:
        """What passed on this link so far."""
        return Traffic(dict(self._traffic.bytes_in), dict(self._traffic.bytes_out), dict(self.queue.drops))

    def send(self, message: Message) -> bool:
        """Queue ``message`` and return at once; false when the link is closing or the queue refused it."""
        if self.closing or not self.queue.push(message):
            return False
        if self._parked and not self._flushing:
            self._flushing = True
            self._turn.at_the_end(self._flush)
        return True

    async def send_when_room(self, message: Message) -> bool:
        """Queue ``message`` once there is room; false when the link closes first or the message is too large."""
        if len(message.payload) > self._limits[message.channel].message_bytes_max:
            return False
        while not self.send(message):
            if self.closing:
                return False
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._room.append(waiter)
            await waiter
        return True

    def probe(self) -> None:
        """Ask for a sign of life now; a connection that is gone shows it at once."""
        self._ping_number += 1
        self._ping_sent = (self._clock.monotonic_s(), self._clock.time_ms())
        self.send(control_message(Ping(self._ping_number)))

    def close(self, code: str, detail: str = "") -> None:
        """End the link and tell the peer why; the first reason counts. ``run`` returns soon after."""
        if not self.closing:
            self.queue.clear()
            self.queue.push(bye(code, detail))
            self._close(CloseReason(code, detail, "us"))

    def _close(self, reason: CloseReason) -> None:
        self.reason = reason
        self._dead = reason.code != "DUPLICATE"
        self._linger = self._clock.call_later(LINGER_S, self._transport.abort)
        self._wake.ring()
        self._release_waiters()

    async def run(self, deliver: Deliver) -> CloseReason:
        """Carry messages until the link ends; the reason. A ``PeerError`` that ``deliver`` raises ends the link."""
        self._timer = self._clock.call_later(PING_INTERVAL_S, self._tick)
        self.probe()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._write())
                await self._read(deliver)
                self._finish()
        finally:
            self._finish()
            for timer in (self._timer, self._linger):
                if timer is not None:
                    timer.cancel()
        return self.reason or CloseReason("CONNECTION_LOST", "", "network")

    def _finish(self) -> None:
        self._over = True
        self._transport.abort()
        self._wake.ring()
        self._release_waiters()

    # Writing.

    def _flush(self) -> None:
        """Write what is queued; what the transport has no room for is left to the task."""
        self._flushing = False
        if not self._parked or self.closing:
            return
        try:
            while self._transport.get_write_buffer_size() <= WRITE_BUFFER_BYTES:
                if not self._put():
                    break
            else:
                self._wake.ring()
        except PeerError as error:
            self._broken(error)
        self._release_waiters()

    async def _write(self) -> None:
        try:
            while not self._over:
                await self._drained()
                if (self.reason is None or self.reason.by == "us") and self._put():
                    continue
                if self.reason is not None:
                    self._writer.write_eof()
                    return
                self._parked = True
                await self._wake.wait()
                self._parked = False
        except OSError:
            # The reader sees the same end and tells the reason.
            self._transport.abort()
        except PeerError as error:
            self._broken(error)

    def _broken(self, error: PeerError) -> None:
        self._close(CloseReason(error.code, error.detail, "us"))
        self._transport.abort()

    async def _drained(self) -> None:
        self._writing_since_s = self._clock.monotonic_s()
        await self._writer.drain()
        self._writing_since_s = None
        self._release_waiters()

    def _put(self) -> bool:
        """Write one batch, if anything waits; whether it did."""
        with self._sending:
            batch = self._next_batch()
            if batch:
                self._writer.write(batch)
        return bool(batch)

    def _next_batch(self) -> bytes:
        # Small messages share one write; a large one is cut so that priority is decided again after each frame.
        parts: list[bytes] = []
        size = 0
        while size < FRAME_PAYLOAD_BYTES_MAX:
            frame = self.queue.next_frame()
            if frame is None:
                break
            self._traffic.bytes_out[_CHANNELS[frame[0] & 3]] += len(frame) - 1
            parts.append(seal(self._cipher, frame))
            size += len(frame)
        return b"".join(parts)

    def _release_waiters(self) -> None:
        while self._room:
            waiter = self._room.popleft()
            if not waiter.done():
                waiter.set_result(None)

    # Reading.

    async def _read(self, deliver: Deliver) -> None:
        try:
            first = await self._reader.read(READER_BYTES)
            while len(first) >= READER_BYTES:  # more may lie in the stream
                self._arrived(first, deliver)
                await self._serve(deliver)
                first = await self._reader.read(READER_BYTES)
        except OSError:
            return
        if not first or self._reader.at_eof():
            self._arrived(first, deliver)
            await self._serve(deliver)
            return
        # The stream is empty: from here on what arrives is taken without it, and without a task to wake.
        streams = self._transport.get_protocol()
        self._transport.set_protocol(_Inward(streams, partial(self._arrived, deliver=deliver), self._lost))
        self._arrived(first, deliver)
        while not self._gone or self._held is not None:
            await self._serve(deliver)
            if not self._gone:
                await self._stirred.wait()
        await self._serve(deliver)

    def _lost(self) -> None:
        self._gone = True
        self._stirred.ring()

    def _arrived(self, data: bytes, deliver: Deliver) -> None:
        self._heard_s = self._clock.monotonic_s()
        if not self._dead:
            with self._turn, _Kept(self._failed):
                self._feed(self._frames.feed(data), deliver)

    def _failed(self, error: BaseException) -> None:
        """What our own receiver raised: the task that owns the link raises it."""
        self._failure = error
        self._dead = True
        self._stirred.ring()

    def _feed(self, messages: Iterator[Message], deliver: Deliver) -> None:
        try:
            pending = self._take(messages, deliver)
            if pending is not None:
                self._held = (messages, pending)
                self._transport.pause_reading()
                self._stirred.ring()
        except PeerError as error:
            self.close(error.code, error.detail)
            self._dead = True
        except MalformedBytes as error:
            self.close("MALFORMED", error.detail)
            self._dead = True

    async def _serve(self, deliver: Deliver) -> None:
        """Wait for the receiver that wants it, deliver on, and let the peer go on."""
        while self._held is not None:
            messages, pending = self._held
            await self._wait_for(pending)
            self._held = None
            self._feed(messages, deliver)
            if self._held is None:
                self._transport.resume_reading()
        if self._failure is not None:
            raise self._failure

    def _take(self, messages: Iterator[Message], deliver: Deliver) -> Awaitable[None] | None:
        """Deliver until a receiver wants to be waited for (what to await), or nothing is left to deliver."""
        with self._receiving:
            while not self._dead and (message := next(messages, None)) is not None:
                pending = self._receive(message, deliver)
                if pending is not None:
                    return pending
        return None

    def _receive(self, message: Message, deliver: Deliver) -> Awaitable[None] | None:
        channel, size = message.channel, len(message.payload)
        self._traffic.bytes_in[channel] += size
        if not self._rates.allow(channel, size, self._clock.monotonic_s()):
            raise PeerError("FLOOD", f"{channel.name.lower()} messages over the limit")
        if channel is Channel.CONTROL:
            self._control(message)
            return None
        return deliver(self, message)

    async def _wait_for(self, pending: Awaitable[None]) -> None:
        self._delivering = True
        try:
            await pending
        finally:
            self._delivering = False
            self._heard_s = self._clock.monotonic_s()

    def _control(self, message: Message) -> None:
        value = parse_control(message)
        if isinstance(value, Ping):
            self.send(control_message(Pong(value.number, self._clock.time_ms())))
        elif isinstance(value, Pong):
            self._measure(value)
        elif isinstance(value, Bye):
            if self.reason is None:
                self._close(told(value.code, value.detail))
            self._dead = True
        else:
            raise PeerError("MALFORMED", "a second verdict")

    def _measure(self, pong: Pong) -> None:
        # Cristian's method: the answer was written half a round trip ago; quick exchanges are the exact ones.
        if pong.number != self._ping_number:
            return
        sent_s, sent_ms = self._ping_sent
        rtt_ms = (self._clock.monotonic_s() - sent_s) * 1_000
        self.rtt_ms = rtt_ms
        self._samples.append((rtt_ms, pong.time_ms - (sent_ms + rtt_ms / 2)))

    def _tick(self) -> None:
        now_s = self._clock.monotonic_s()
        self._timer = self._clock.call_later(PING_INTERVAL_S, self._tick)
        if self._writing_since_s is not None and now_s - self._writing_since_s >= IDLE_TIMEOUT_S:
            self.close("STALLED", f"a write has waited for {now_s - self._writing_since_s:.0f} s")
        elif not self._delivering and now_s - self._heard_s >= IDLE_TIMEOUT_S:
            self.close("IDLE", f"nothing was heard for {now_s - self._heard_s:.0f} s")
        else:
            self.probe()
