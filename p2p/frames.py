"""Messages cut into frames and put together again, sans-I/O (NODE §1).

On the wire: ``length(2, big-endian) ‖ Noise transport message``; its plaintext is ``head(1) ‖ payload``. The head holds
the channel (bits 0-1), the kind (bits 2-3) and whether the message ends here (bit 7); other bits are zero. A frame that
does not end its message is full, so a message has one cutting only and empty frames cannot be used to burn time.

The sender always takes the next frame from the first channel in order that has one: a vote waits for one frame of a
block at most. Channels are reassembled independently, each up to the limit of its class.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from ledger.errors import PeerError

from .limits import (
    CHANNEL_LIMITS,
    FRAME_PAYLOAD_BYTES_MAX,
    TAG_BYTES,
    Channel,
    ChannelLimits,
    WhenFull,
)
from .noise import CipherState

_FINAL: Final = 0x80
_LENGTH_BYTES: Final = 2


class Kind(IntEnum):
    """What a message is on its channel; questions and answers begin with the question's number (``requests``)."""

    MESSAGE = 0
    REQUEST = 1
    RESPONSE = 2
    REFUSAL = 3


@dataclass(frozen=True, slots=True)
class Message:
    """One whole message."""

    channel: Channel
    kind: Kind
    payload: bytes


_HEADS: Final = {(c, k, f): bytes([c | k << 2 | f]) for c in Channel for k in Kind for f in (0, _FINAL)}
_BY_HEAD: Final = {head[0]: (c, k, bool(f)) for (c, k, f), head in _HEADS.items()}


class OutQueue:
    """What is to be sent on one link, by class, bounded in count and bytes; the owner of every drop counter."""

    def __init__(self, limits: dict[Channel, ChannelLimits] = CHANNEL_LIMITS) -> None:
        self._limits = limits
        self._queues: tuple[deque[Message], ...] = tuple(deque() for _ in Channel)
        self._by_priority = tuple(zip(Channel, self._queues, strict=True))
        self._bytes = [0 for _ in Channel]
        self._offset = [0 for _ in Channel]
        self.drops: dict[Channel, int] = dict.fromkeys(Channel, 0)

    def push(self, message: Message) -> bool:
        """Queue ``message``; false when it was refused (too large, or full: ``WhenFull`` of its class)."""
        channel, size = message.channel, len(message.payload)
        limits = self._limits[channel]
        if size > limits.message_bytes_max:
            self.drops[channel] += 1
            return False
        while not self._has_room(channel, size):
            if limits.when_full is not WhenFull.DROP_OLDEST or not self._drop_oldest(channel):
                if limits.when_full is not WhenFull.WAIT:
                    self.drops[channel] += 1
                return False
        self._queues[channel].append(message)
        self._bytes[channel] += size
        return True

    def _has_room(self, channel: Channel, size: int) -> bool:
        limits, queue = self._limits[channel], self._queues[channel]
        return len(queue) < limits.queue_messages_max and self._bytes[channel] + size <= limits.queue_bytes_max

    def _drop_oldest(self, channel: Channel) -> bool:
        queue = self._queues[channel]
        index = 1 if self._offset[channel] else 0  # a message whose first frames are out must be finished
        if len(queue) <= index:
            return False
        self._bytes[channel] -= len(queue[index].payload)
        del queue[index]
        self.drops[channel] += 1
        return True

    def next_frame(self) -> bytes | None:
        """The plaintext of the next frame by strict priority, or none when nothing waits."""
        for channel, queue in self._by_priority:
            if queue:
                return self._cut(channel, queue)
        return None

    def _cut(self, channel: Channel, queue: deque[Message]) -> bytes:
        message, begin = queue[0], self._offset[channel]
        end = begin + FRAME_PAYLOAD_BYTES_MAX
        if end < len(message.payload):
            self._offset[channel] = end
            return _HEADS[channel, message.kind, 0] + message.payload[begin:end]
        queue.popleft()
        self._bytes[channel] -= len(message.payload)
        self._offset[channel] = 0
        return _HEADS[channel, message.kind, _FINAL] + (message.payload[begin:] if begin else message.payload)

    def absorb(self, other: "OutQueue") -> None:
        """Take over what ``other``, of a link given up, has not finished; begun messages start again.

        Control messages belong to their link and stay behind."""
        for channel in list(Channel)[1:]:
            for message in other._queues[channel]:
                self.push(message)
            other._queues[channel].clear()
            other._bytes[channel] = other._offset[channel] = 0
            self.drops[channel] += other.drops[channel]
            other.drops[channel] = 0

    def clear(self) -> None:
        """Forget everything queued; a message begun is never finished."""
        for channel in Channel:
            self._queues[channel].clear()
            self._bytes[channel] = self._offset[channel] = 0

    def pending_bytes(self, channel: Channel) -> int:
        """Bytes of the messages of ``channel`` not yet wholly sent."""
        return self._bytes[channel]

    def __bool__(self) -> bool:
        return any(self._queues)


def seal(cipher: CipherState, plaintext: bytes) -> bytes:
    """One frame as it goes on the wire."""
    sealed = cipher.encrypt(plaintext)
    return len(sealed).to_bytes(_LENGTH_BYTES, "big") + sealed


class Assembler:
    """Puts plaintext frames together into messages, one unfinished message a channel at most."""

    def __init__(self, limits: dict[Channel, ChannelLimits] = CHANNEL_LIMITS) -> None:
        self._limits = limits
        self._parts: list[list[bytes]] = [[] for _ in Channel]
        self._bytes = [0 for _ in Channel]
        self._kinds = [Kind.MESSAGE for _ in Channel]

    def feed(self, plaintext: bytes) -> Message | None:
        """One frame; the message it ends, if any. Raises ``PeerError`` BAD_FRAME or TOO_LARGE."""
        if not plaintext or plaintext[0] not in _BY_HEAD:
            raise PeerError("BAD_FRAME", f"head {plaintext[:1].hex() or 'missing'}")
        channel, kind, final = _BY_HEAD[plaintext[0]]
        parts, size = self._parts[channel], len(plaintext) - 1
        if not final and size != FRAME_PAYLOAD_BYTES_MAX:
            raise PeerError("BAD_FRAME", f"an unfinished message in a frame of {size} bytes")
        if parts and (kind is not self._kinds[channel] or not size):
            raise PeerError("BAD_FRAME", "a message that changes its kind or ends in an empty frame")
        total = self._bytes[channel] + size
        if total > self._limits[channel].message_bytes_max:
            raise PeerError("TOO_LARGE", f"{channel.name.lower()} message of at least {total} bytes")
        if final and not parts:
            return Message(channel, kind, plaintext[1:])
        parts.append(plaintext[1:])
        self._bytes[channel], self._kinds[channel] = total, kind
        if not final:
            return None
        payload = b"".join(parts)
        parts.clear()
        self._bytes[channel] = 0
        return Message(channel, kind, payload)


class FrameReader:
    """Bytes of the wire in, whole messages out."""

    def __init__(self, cipher: CipherState, assembler: Assembler) -> None:
        self._cipher = cipher
        self._assembler = assembler
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """Messages completed by ``data``. Raises ``PeerError``; the link is dead after it.

        The buffer never holds more than ``data`` and one unfinished frame."""
        self._buffer += data
        position = 0
        try:
            while len(self._buffer) - position >= _LENGTH_BYTES:
                begin = position + _LENGTH_BYTES
                length = int.from_bytes(self._buffer[position:begin], "big")
                if length <= TAG_BYTES:
                    raise PeerError("BAD_FRAME", f"a frame of {length} bytes")
                if len(self._buffer) < begin + length:
                    return
                position = begin + length
                message = self._assembler.feed(self._cipher.decrypt(bytes(self._buffer[begin:position])))
                if message is not None:
                    yield message
        finally:
            del self._buffer[:position]
