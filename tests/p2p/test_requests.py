"""Questions and answers: numbered, bounded on both sides, and every failure has its type."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.codec import encode
from ledger.errors import MalformedBytes, PeerError
from p2p.frames import Kind, Message
from p2p.limits import (
    REQUESTS_IN_FLIGHT_PER_PEER_MAX,
    REQUESTS_SERVED_PER_PEER_MAX,
    REQUESTS_WAITING_PER_PEER_MAX,
    Channel,
)
from p2p.requests import Handler, PeerGone, Refusal, RequestRefused, Requests, RequestTimeout
from tests.p2p.harness import ManualClock, Node, node_keys, running

PEER = b"p" * 32


class FakeNetwork:
    """Carries nothing: notes what would be sent, and runs what is spawned."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self.tasks = tasks
        self.sent: list[Message] = []
        self.blamed: list[PeerError] = []
        self.linked = True

    async def carry(self, peer: bytes, message: Message) -> bool:
        return self.put(peer, message)

    def put(self, peer: bytes, message: Message) -> bool:
        if self.linked:
            self.sent.append(message)
        return self.linked

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.create_task(work)

    def penalize(self, peer: bytes, error: PeerError) -> None:
        self.blamed.append(error)


class Bench:
    """One node's requests over a network that a test plays."""

    def __init__(self, tasks: asyncio.TaskGroup, handler: Handler | None) -> None:
        self.clock = ManualClock()
        self.network = FakeNetwork(tasks)
        self.requests = Requests(self.network, handler, self.clock)
        self._tasks = tasks

    async def ask(self, payload: bytes = b"q", timeout_s: float = 1.0) -> "asyncio.Future[bytes]":
        """A question under way."""
        future = asyncio.ensure_future(self.requests.ask(PEER, Channel.SYNC, payload, timeout_s))
        await turns()
        return future

    def answer(self, index: int, payload: bytes, kind: Kind = Kind.RESPONSE) -> None:
        """The peer answers the question sent as number ``index``."""
        head = self.network.sent[index].payload[:4]
        self.requests.received(PEER, Message(Channel.SYNC, kind, head + payload))


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@asynccontextmanager
async def bench(handler: Handler | None = None) -> AsyncIterator[Bench]:
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        yield Bench(tasks, handler)


@pytest.mark.asyncio
async def test_answers_find_their_questions_in_any_order() -> None:
    async with bench() as b:
        questions = [await b.ask(bytes([i])) for i in range(5)]
        for i in (3, 0, 4, 1, 2):
            b.answer(i, b"answer" + b.network.sent[i].payload[4:])
        assert await asyncio.gather(*questions) == [b"answer" + bytes([i]) for i in range(5)]


@pytest.mark.asyncio
async def test_no_answer_in_time_is_a_timeout_and_a_late_one_no_breach_but_only_once() -> None:
    async with bench() as b:
        question = await b.ask(timeout_s=3.0)
        b.clock.advance(2.9)
        await turns()
        assert not question.done()
        b.clock.advance(0.1)
        with pytest.raises(RequestTimeout) as caught:
            await question
        assert caught.value.peer == PEER
        b.answer(0, b"late")
        with pytest.raises(PeerError, match="UNSOLICITED"):
            b.answer(0, b"late")


@pytest.mark.asyncio
async def test_an_answer_to_nothing_or_a_second_answer_is_a_breach() -> None:
    async with bench() as b:
        with pytest.raises(PeerError, match="UNSOLICITED"):
            b.requests.received(PEER, Message(Channel.SYNC, Kind.RESPONSE, bytes(4)))
        question = await b.ask()
        b.answer(0, b"yes")
        with pytest.raises(PeerError, match="UNSOLICITED"):
            b.answer(0, b"no")
        assert await question == b"yes"


@pytest.mark.asyncio
async def test_one_peer_cannot_answer_what_another_was_asked() -> None:
    async with bench() as b:
        question = await b.ask()
        head = b.network.sent[0].payload[:4]
        with pytest.raises(PeerError, match="UNSOLICITED"):
            b.requests.received(b"o" * 32, Message(Channel.SYNC, Kind.RESPONSE, head))
        b.answer(0, b"")
        assert await question == b""


@pytest.mark.asyncio
async def test_a_refusal_has_the_code_of_the_peer() -> None:
    async with bench() as b:
        question = await b.ask()
        b.answer(0, encode(Refusal("PRUNED", "below 100")), Kind.REFUSAL)
        with pytest.raises(RequestRefused) as caught:
            await question
        assert (caught.value.code, caught.value.why, caught.value.peer) == ("PRUNED", "below 100", PEER)


@pytest.mark.asyncio
async def test_without_a_link_or_when_it_ends_the_peer_is_gone() -> None:
    async with bench() as b:
        question = await b.ask()
        b.requests.peer_gone(b"o" * 32)
        assert not question.done()
        b.requests.peer_gone(PEER)
        with pytest.raises(PeerGone):
            await question
        b.network.linked = False
        with pytest.raises(PeerGone):
            await b.requests.ask(PEER, Channel.SYNC, b"", 1.0)


@pytest.mark.asyncio
async def test_questions_in_flight_are_bounded_and_the_next_waits_its_turn() -> None:
    async with bench() as b:
        questions = [await b.ask(bytes([i])) for i in range(REQUESTS_IN_FLIGHT_PER_PEER_MAX + 1)]
        assert len(b.network.sent) == REQUESTS_IN_FLIGHT_PER_PEER_MAX
        b.answer(0, b"")
        await questions[0]
        await turns()
        assert len(b.network.sent) == REQUESTS_IN_FLIGHT_PER_PEER_MAX + 1
        b.clock.advance(1.0)
        results = await asyncio.gather(*questions[1:], return_exceptions=True)
        assert all(isinstance(result, RequestTimeout) for result in results)


@pytest.mark.asyncio
async def test_one_question_more_than_may_wait_fails_at_once() -> None:
    async with bench() as b:
        questions = [await b.ask() for _ in range(REQUESTS_WAITING_PER_PEER_MAX)]
        with pytest.raises(RequestRefused, match="BUSY"):
            await b.requests.ask(PEER, Channel.SYNC, b"", 1.0)
        b.requests.peer_gone(PEER)
        b.clock.advance(1.0)
        await asyncio.gather(*questions, return_exceptions=True)


@pytest.mark.asyncio
async def test_questions_served_are_bounded_and_one_more_is_refused_as_busy() -> None:
    hold = asyncio.Event()

    async def slow(peer: bytes, channel: Channel, payload: bytes) -> bytes:
        await hold.wait()
        return payload

    async with bench(slow) as b:
        for number in range(REQUESTS_SERVED_PER_PEER_MAX + 1):
            b.requests.received(PEER, Message(Channel.SYNC, Kind.REQUEST, number.to_bytes(4, "big") + b"?"))
        await turns()
        busy = REQUESTS_SERVED_PER_PEER_MAX.to_bytes(4, "big") + encode(Refusal("BUSY", ""))
        assert b.network.sent == [Message(Channel.SYNC, Kind.REFUSAL, busy)]
        hold.set()
        await turns()
        assert len(b.network.sent) == REQUESTS_SERVED_PER_PEER_MAX + 1
        b.requests.received(PEER, Message(Channel.SYNC, Kind.REQUEST, b"\0\0\1\0again"))
        await turns()
        assert b.network.sent[-1] == Message(Channel.SYNC, Kind.RESPONSE, b"\0\0\1\0again")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("error", "code"), [(PeerError("BAD_RANGE"), "BAD_RANGE"), (MalformedBytes("no question"), "MALFORMED")]
)
async def test_a_question_that_breaks_the_protocol_costs_the_peer(error: Exception, code: str) -> None:
    async def strict(peer: bytes, channel: Channel, payload: bytes) -> bytes:
        raise error

    async with bench(strict) as b:
        b.requests.received(PEER, Message(Channel.SYNC, Kind.REQUEST, bytes(4)))
        await turns()
        assert [blame.code for blame in b.network.blamed] == [code]
        assert b.network.sent == []


@pytest.mark.asyncio
async def test_a_node_without_a_handler_refuses() -> None:
    async with bench() as b:
        b.requests.received(PEER, Message(Channel.SYNC, Kind.REQUEST, bytes(4)))
        assert [message.kind for message in b.network.sent] == [Kind.REFUSAL]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([Kind.RESPONSE, Kind.REFUSAL, Kind.REQUEST]), st.binary(max_size=12))
def test_any_bytes_are_a_question_or_a_peer_error(kind: Kind, payload: bytes) -> None:
    async def feed() -> None:
        async with bench() as b:
            question = await b.ask()
            try:
                b.requests.received(PEER, Message(Channel.SYNC, kind, payload))
            except PeerError as error:
                assert error.code in {"MALFORMED", "UNSOLICITED"}
            b.requests.peer_gone(PEER)
            await asyncio.gather(question, return_exceptions=True)

    asyncio.run(feed())


@pytest.mark.asyncio
async def test_large_questions_and_answers_cross_a_real_link_both_ways() -> None:
    async def twice(peer: bytes, channel: Channel, payload: bytes) -> bytes:
        if payload == b"no":
            raise RequestRefused("NOT_FOUND", "no such block")
        return payload * 2

    low, high = (Node(key, handler=twice) for key in node_keys(2))
    async with running(low, high):
        low.knows(high)
        await asyncio.gather(low.connected(high.key), high.connected(low.key))
        asked = [
            low.network.request(high.key, bytes(1_000_000), timeout_s=10),
            high.network.request(low.key, bytes(2_000_000), timeout_s=10),
            high.network.request(low.key, b"small", timeout_s=10, channel=Channel.CONSENSUS),
        ]
        assert [len(answer) for answer in await asyncio.gather(*asked)] == [2_000_000, 4_000_000, 10]
        with pytest.raises(RequestRefused, match="NOT_FOUND: no such block"):
            await low.network.request(high.key, b"no", timeout_s=10)


@pytest.mark.asyncio
async def test_a_question_open_when_the_peer_stops_fails_as_gone() -> None:
    asked = asyncio.Event()

    async def never(peer: bytes, channel: Channel, payload: bytes) -> bytes:
        asked.set()
        await asyncio.Event().wait()
        return b""

    low, high = (Node(key, handler=never) for key in node_keys(2))
    async with running(low):
        async with running(high):
            low.knows(high)
            await asyncio.gather(low.connected(high.key), high.connected(low.key))
            question = asyncio.ensure_future(low.network.request(high.key, b"?", timeout_s=10))
            await asked.wait()
        with pytest.raises(PeerGone):
            await question
