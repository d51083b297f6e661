"""Questions and answers between nodes: ``Requests`` owns the numbers, the open questions and the answers being made.

A question and its answer travel on the channel the caller chooses, as ``number(4, big-endian) ‖ payload``. Own
questions to one peer are bounded, the next one waits within its own timeout; questions served are bounded too, one more
is refused as BUSY. An answer nobody asked for is a breach; one that comes after its timeout is not.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Protocol

from ledger.codec import Wire, decode, encode
from ledger.errors import HuzhuError, MalformedBytes, PeerError

from .clock import Clock, time_limit
from .frames import Kind, Message
from .limits import (
    REASON_CODE_BYTES_MAX,
    REASON_DETAIL_BYTES_MAX,
    REQUESTS_IN_FLIGHT_PER_PEER_MAX,
    REQUESTS_SERVED_MAX,
    REQUESTS_SERVED_PER_PEER_MAX,
    REQUESTS_WAITING_PER_PEER_MAX,
    Channel,
)

_NUMBER_BYTES: Final = 4
_REFUSAL_BYTES_MAX: Final = REASON_CODE_BYTES_MAX + REASON_DETAIL_BYTES_MAX + 16
_LATE_MAX: Final = 1_024

Handler = Callable[[bytes, Channel, bytes], Awaitable[bytes]]
"""``handler(peer, channel, payload) -> answer``; raises ``RequestRefused`` to refuse, ``PeerError`` for a breach."""


class RequestFailed(HuzhuError):
    """A question without an answer. Not a breach by itself: ask somebody else."""

    def __init__(self, peer: bytes, detail: str) -> None:
        super().__init__(f"{peer.hex()[:8]}: {detail}")
        self.peer = peer
        self.detail = detail


class RequestTimeout(RequestFailed):
    """No answer within the time given."""


class PeerGone(RequestFailed):
    """There is no link to the peer, or it ended before the answer."""


class RequestRefused(RequestFailed):
    """The peer answered with a refusal; raised by a handler, it becomes one. ``code`` is BUSY, NOT_FOUND, ..."""

    def __init__(self, code: str, detail: str = "", *, peer: bytes = b"") -> None:
        super().__init__(peer, f"{code}: {detail}" if detail else code)
        self.code = code
        self.why = detail


class Refusal(Wire, frozen=True):
    """A refusal on the wire."""

    code: str
    detail: str


class Carrier(Protocol):
    """What ``Requests`` needs of the network."""

    async def carry(self, peer: bytes, message: Message) -> bool:
        """Queue ``message`` for ``peer`` once there is room; false when there is no link."""
        ...

    def put(self, peer: bytes, message: Message) -> bool:
        """Queue ``message`` for ``peer`` now; false when there is no link or no room."""
        ...

    def spawn(self, work: Coroutine[Any, Any, None]) -> object:
        """Run ``work`` as a task that the network owns."""
        ...

    def penalize(self, peer: bytes, error: PeerError) -> None:
        """``peer`` broke the protocol."""
        ...


class Requests:
    """All questions of one node, asked and served."""

    def __init__(self, carrier: Carrier, handler: Handler | None, clock: Clock) -> None:
        self._carrier = carrier
        self._handler = handler
        self._clock = clock
        self._number = 0
        self._open: dict[tuple[bytes, int], asyncio.Future[bytes]] = {}
        self._late: OrderedDict[tuple[bytes, int], None] = OrderedDict()
        self._places: dict[bytes, asyncio.Semaphore] = {}
        self._waiting: dict[bytes, int] = {}
        self._served: dict[bytes, int] = {}

    async def ask(self, peer: bytes, channel: Channel, payload: bytes, timeout_s: float) -> bytes:
        """The peer's answer. Raises ``RequestTimeout``, ``PeerGone`` or ``RequestRefused``."""
        if self._waiting.get(peer, 0) >= REQUESTS_WAITING_PER_PEER_MAX:
            raise RequestRefused("BUSY", "too many questions wait for this peer", peer=peer)
        places = self._places.setdefault(peer, asyncio.Semaphore(REQUESTS_IN_FLIGHT_PER_PEER_MAX))
        self._waiting[peer] = self._waiting.get(peer, 0) + 1
        try:
            async with time_limit(self._clock, timeout_s), places:
                return await self._ask(peer, channel, payload)
        except TimeoutError as error:
            raise RequestTimeout(peer, f"no answer within {timeout_s} s") from error
        finally:
            self._waiting[peer] -= 1
            if not self._waiting[peer]:
                del self._waiting[peer], self._places[peer]

    async def _ask(self, peer: bytes, channel: Channel, payload: bytes) -> bytes:
        self._number = (self._number + 1) % 2 ** (8 * _NUMBER_BYTES)
        key = (peer, self._number)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._open[key] = answer
        try:
            numbered = self._number.to_bytes(_NUMBER_BYTES, "big") + payload
            if not await self._carrier.carry(peer, Message(channel, Kind.REQUEST, numbered)):
                raise PeerGone(peer, "no link")
            return await answer
        finally:
            del self._open[key]
            if answer.cancelled() or not answer.done():
                self._late[key] = None
                if len(self._late) > _LATE_MAX:
                    self._late.popitem(last=False)

    def peer_gone(self, peer: bytes) -> None:
        """Fail what is open to ``peer``: its last link ended."""
        for (other, _), answer in self._open.items():
            if other == peer and not answer.done():
                answer.set_exception(PeerGone(peer, "the link ended before the answer"))

    def received(self, peer: bytes, message: Message) -> None:
        """A question or an answer from ``peer``. Raises ``PeerError`` for an answer to nothing or no number."""
        if len(message.payload) < _NUMBER_BYTES:
            raise PeerError("MALFORMED", "a question or answer without a number")
        head, payload = message.payload[:_NUMBER_BYTES], message.payload[_NUMBER_BYTES:]
        if message.kind is Kind.REQUEST:
            if self._handler is None or not self._admit(peer):
                self._refuse(peer, message.channel, head, "BUSY", "")
            else:
                self._carrier.spawn(self._serve(peer, message.channel, head, payload, self._handler))
            return
        key = (peer, int.from_bytes(head, "big"))
        answer = self._open.get(key)
        if answer is None or answer.done():
            if key not in self._late:
                raise PeerError("UNSOLICITED", f"answer {key[1]}")
            del self._late[key]
        elif message.kind is Kind.RESPONSE:
            answer.set_result(payload)
        else:
            answer.set_exception(_parse_refusal(peer, payload))

    def _admit(self, peer: bytes) -> bool:
        busy = self._served.get(peer, 0) >= REQUESTS_SERVED_PER_PEER_MAX
        if busy or sum(self._served.values()) >= REQUESTS_SERVED_MAX:
            return False
        self._served[peer] = self._served.get(peer, 0) + 1
        return True

    async def _serve(self, peer: bytes, channel: Channel, head: bytes, payload: bytes, handler: Handler) -> None:
        try:
            answer = await handler(peer, channel, payload)
            await self._carrier.carry(peer, Message(channel, Kind.RESPONSE, head + answer))
        except RequestRefused as refusal:
            self._refuse(peer, channel, head, refusal.code, refusal.why)
        except MalformedBytes as error:
            self._carrier.penalize(peer, PeerError("MALFORMED", error.detail))
        except PeerError as error:
            self._carrier.penalize(peer, error)
        finally:
            self._served[peer] -= 1
            if not self._served[peer]:
                del self._served[peer]

    def _refuse(self, peer: bytes, channel: Channel, head: bytes, code: str, detail: str) -> None:
        refusal = encode(Refusal(code[:REASON_CODE_BYTES_MAX], detail[: REASON_DETAIL_BYTES_MAX // 4]))
        self._carrier.put(peer, Message(channel, Kind.REFUSAL, head + refusal))


def _parse_refusal(peer: bytes, payload: bytes) -> RequestRefused:
    try:
        refusal = decode(Refusal, payload, bytes_max=_REFUSAL_BYTES_MAX)
    except MalformedBytes as error:
        raise PeerError("MALFORMED", f"refusal: {error.detail}") from error
    return RequestRefused(refusal.code, refusal.detail, peer=peer)
