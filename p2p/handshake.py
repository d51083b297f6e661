"""From a fresh connection to an authenticated one: hellos, Noise XX, and each side's verdict on the other (NODE §1).

The verdict is the first transport message of each direction, ``Welcome`` or ``Bye``: a link counts as up only when both
sides have admitted each other, and a refused node learns why.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

from ledger.codec import Wire, decode, encode
from ledger.errors import MalformedBytes, PeerError

from .clock import Clock, time_limit
from .frames import Assembler, Kind, Message, OutQueue, seal
from .hello import HEAD_BYTES, Hello, agree, body_bytes, parse
from .limits import CHANNEL_LIMITS, LINGER_S, REASON_DETAIL_BYTES_MAX, TAG_BYTES, Channel
from .noise import Handshake, NodeKey, Session
from .reasons import LinkRefused, told


class Welcome(Wire, frozen=True, tag="welcome"):
    """The sender admits the receiver: fully, or (an applicant) to a status-only link."""

    full: bool


class Ping(Wire, frozen=True, tag="ping"):
    """Asks for a ``Pong`` with the same number."""

    number: int


class Pong(Wire, frozen=True, tag="pong"):
    """Answers a ``Ping``; ``time_ms`` is the answering node's wall clock."""

    number: int
    time_ms: int


class Bye(Wire, frozen=True, tag="bye"):
    """The sender ends the link; ``code`` is one of ``reasons.REASONS`` or of a later version."""

    code: str
    detail: str


Control = Welcome | Ping | Pong | Bye
_CONTROL: Final = cast("type[Control]", Control)


def control_message(value: Control) -> Message:
    """``value`` as a message of the control channel."""
    return Message(Channel.CONTROL, Kind.MESSAGE, encode(value))


def bye(code: str, detail: str) -> Message:
    """The message that ends a link, its detail cut to the limit."""
    cut = detail.encode()[:REASON_DETAIL_BYTES_MAX].decode(errors="ignore")
    return control_message(Bye(code, cut))


def parse_control(message: Message) -> Control:
    """The control message in ``message``. Raises ``PeerError`` MALFORMED."""
    limit = CHANNEL_LIMITS[Channel.CONTROL].message_bytes_max
    try:
        value = decode(_CONTROL, message.payload, bytes_max=limit)
    except MalformedBytes as error:
        raise PeerError("MALFORMED", f"control message: {error.detail}") from error
    if message.kind is not Kind.MESSAGE:
        raise PeerError("MALFORMED", "a question on the control channel")
    return value


@dataclass(frozen=True)
class Established:
    """A connection on which both sides know and have admitted each other."""

    session: Session
    version: int
    hello: Hello
    """The other side's."""
    admitted: bool
    """Our own verdict: true for a full link, false for a status-only one."""
    full: bool
    """Both verdicts. False: one side is no more than an applicant to the other, and the link is status-only."""


async def shake(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    *,
    initiator: bool,
    identity: NodeKey,
    hello: Hello,
    admit: Callable[[bytes], PeerError | bool],
) -> Established:
    """Shake hands; ``admit`` gives the verdict on the other side's proved key: why not, or whether fully.

    Raises ``LinkRefused``.

    Time is limited by the caller, who also closes the connection on any error.
    """
    try:
        return await _shake(reader, writer, initiator, identity, hello, admit)
    except LinkRefused:
        raise
    except PeerError as error:
        raise LinkRefused(error.code, error.detail) from error
    except (asyncio.IncompleteReadError, OSError) as error:
        raise LinkRefused("CONNECTION_LOST", "during the handshake", by="network") from error


async def _shake(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    initiator: bool,
    identity: NodeKey,
    hello: Hello,
    admit: Callable[[bytes], PeerError | bool],
) -> Established:
    ours = hello.encode()
    writer.write(ours)
    head = await reader.readexactly(HEAD_BYTES)
    theirs = head + await reader.readexactly(body_bytes(head))
    remote_hello = parse(theirs)
    version = agree(hello, remote_hello)
    noise = Handshake(identity, initiator=initiator, prologue=ours + theirs if initiator else theirs + ours)
    for index, length in enumerate(Handshake.LENGTHS):
        if (index % 2 == 0) == initiator:
            writer.write(noise.write())
        else:
            noise.read(await reader.readexactly(length))
    session = noise.session()
    verdict = admit(session.remote)
    answer = bye(verdict.code, verdict.detail) if isinstance(verdict, PeerError) else control_message(Welcome(verdict))
    writer.write(seal(session.send, _single_frame(answer)))
    theirs_said = await _read_verdict(reader, session)
    if isinstance(verdict, PeerError):
        raise verdict
    if isinstance(theirs_said, Bye):
        refusal = told(theirs_said.code, theirs_said.detail)
        raise LinkRefused(refusal.code, refusal.detail, by=refusal.by)
    return Established(session, version, remote_hello, verdict, verdict and theirs_said.full)


def _single_frame(message: Message) -> bytes:
    queue = OutQueue()
    queue.push(message)
    return queue.next_frame() or b""


async def _read_verdict(reader: asyncio.StreamReader, session: Session) -> Welcome | Bye:
    length = int.from_bytes(await reader.readexactly(2), "big")
    if not TAG_BYTES < length <= CHANNEL_LIMITS[Channel.CONTROL].message_bytes_max + TAG_BYTES + 1:
        raise PeerError("BAD_FRAME", f"a first frame of {length} bytes")
    message = Assembler().feed(session.receive.decrypt(await reader.readexactly(length)))
    if message is None or message.channel is not Channel.CONTROL:
        raise PeerError("BAD_FRAME", "the first message must be a verdict")
    value = parse_control(message)
    if not isinstance(value, Welcome | Bye):
        raise PeerError("BAD_FRAME", "the first message must be a verdict")
    return value


async def close_gently(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, clock: Clock) -> None:
    """End the connection so that what was written still arrives: half-close, read to the end (bounded), close.

    Closing at once with unread bytes would make the system reset the connection, and the other side lose the reason.
    """
    try:
        async with time_limit(clock, LINGER_S):
            if writer.can_write_eof():
                writer.write_eof()
            while await reader.read(65_536):
                pass
    except (OSError, TimeoutError):
        return
    finally:
        writer.transport.abort()
