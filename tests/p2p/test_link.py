"""One link: votes before blocks, floods ended, silence noticed, and a reason both sides read."""

import asyncio
from dataclasses import replace

import pytest

from ledger.errors import InvariantViolation, MalformedBytes, PeerError
from p2p.frames import Message
from p2p.handshake import Pong, Welcome, control_message
from p2p.limits import CHANNEL_LIMITS, IDLE_TIMEOUT_S, LINGER_S, MIB, PING_INTERVAL_S, Channel
from p2p.rate import InboundLimits, TokenBucket
from p2p.reasons import CloseReason
from tests.p2p.harness import ManualClock, linked, wrap

pytestmark = pytest.mark.asyncio
TIGHT = {c: replace(limits, messages_per_s=10, bytes_per_s=100) for c, limits in CHANNEL_LIMITS.items()}


async def test_messages_arrive_whole_in_order_and_are_counted() -> None:
    async with asyncio.timeout(10), linked() as (one, two):
        sent = [wrap(bytes([i]) * (i * 30_000), Channel.SYNC) for i in range(10)]
        assert all(one.link.send(message) for message in sent)
        await two.until(10)
        assert two.received == sent
        size = sum(len(message.payload) for message in sent)
        assert one.link.traffic.bytes_out[Channel.SYNC] == two.link.traffic.bytes_in[Channel.SYNC] == size


async def test_a_vote_sent_after_a_large_block_arrives_before_it() -> None:
    async with asyncio.timeout(10), linked() as (one, two):
        one.link.send(wrap(bytes(16 * MIB), Channel.SYNC))
        one.link.send(wrap(bytes(4 * MIB), Channel.TRANSACTIONS))
        # The writer has filled every buffer on the way and waits for the reader.
        await turns(10)
        assert one.link.traffic.bytes_out[Channel.SYNC] > 0
        one.link.send(wrap(b"vote"))
        await two.until(3)
        assert [message.channel for message in two.received] == [Channel.CONSENSUS, Channel.SYNC, Channel.TRANSACTIONS]


async def test_both_sides_learn_why_a_link_was_closed() -> None:
    async with asyncio.timeout(10), linked() as (one, two):
        one.link.close("NO_LONGER_ALLOWED", "left the consortium")
        assert await one.ended == CloseReason("NO_LONGER_ALLOWED", "left the consortium", "us")
        assert await two.ended == CloseReason("NO_LONGER_ALLOWED", "left the consortium", "peer")
        assert not one.link.send(wrap(b"late"))
        assert not two.link.send(wrap(b"late"))


async def test_the_first_reason_counts() -> None:
    async with asyncio.timeout(10), linked() as (one, two):
        one.link.close("SHUTDOWN")
        one.link.close("IDLE")
        assert (await one.ended).code == (await two.ended).code == "SHUTDOWN"


async def test_the_reason_overtakes_what_was_queued() -> None:
    async with asyncio.timeout(10), linked() as (one, two):
        one.link.send(wrap(bytes(16 * MIB), Channel.SYNC))
        one.link.close("SHUTDOWN")
        assert one.link.queue.pending_bytes(Channel.SYNC) == 0
        assert (await two.ended).code == "SHUTDOWN"
        assert two.received == []


async def test_a_connection_that_breaks_without_a_word_is_lost() -> None:
    async with asyncio.timeout(10), linked() as (one, two):
        one.link._writer.transport.abort()
        assert await two.ended == CloseReason("CONNECTION_LOST", "", "network")


@pytest.mark.parametrize("error", [PeerError("BAD_VOTE", "not signed"), MalformedBytes("no vote")])
async def test_what_the_receiver_finds_wrong_ends_the_link_with_its_code(error: PeerError | MalformedBytes) -> None:
    async with asyncio.timeout(10), linked() as (one, two):

        def refuse(message: Message) -> None:
            raise error

        two.on_message = refuse
        one.link.send(wrap(b"1"))
        one.link.send(wrap(b"2"))
        assert await two.ended == CloseReason(error.code, error.detail, "us")
        reason = await one.ended
        assert (reason.code, reason.by) == ("CLOSED_BY_PEER" if error.code == "BAD_VOTE" else error.code, "peer")
        assert error.detail in reason.detail
        assert len(two.received) == 1


async def test_our_own_bug_in_the_receiver_is_not_swallowed() -> None:
    def broken(message: Message) -> None:
        raise InvariantViolation("bug")

    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.timeout(10), linked() as (one, two):
            two.on_message = broken
            one.link.send(wrap(b"1"))
            await one.ended
    assert caught.value.split(InvariantViolation)[0] is not None


async def test_garbage_under_an_authentic_link_ends_it() -> None:
    async with asyncio.timeout(10), linked() as (one, two):
        one.link._writer.write(b"\x00\x20" + bytes(32))
        assert (await two.ended).code == "BAD_FRAME"
        assert (await one.ended).code == "BAD_FRAME"


async def test_a_second_verdict_is_malformed() -> None:
    async with asyncio.timeout(10), linked() as (one, two):
        one.link.send(control_message(Welcome(True)))
        assert (await two.ended).code == "MALFORMED"


@pytest.mark.parametrize(("count", "size", "channel"), [(21, 1, Channel.CONSENSUS), (2, 100, Channel.CONTROL)])
async def test_more_than_the_rate_is_a_flood(count: int, size: int, channel: Channel) -> None:
    clock = ManualClock()
    limits = dict(TIGHT)
    limits[Channel.CONSENSUS] = replace(limits[Channel.CONSENSUS], messages_per_s=10)
    async with asyncio.timeout(10), linked(clock, limits=limits) as (one, two):
        if channel is Channel.CONTROL:
            for number in range(30):
                one.link.send(control_message(Pong(number, 0)))
        else:
            for _ in range(count):
                one.link.send(wrap(bytes(size), channel))
        reason = await two.ended
        assert (reason.code, reason.by) == ("FLOOD", "us")
        assert (await one.ended).code == "FLOOD"


async def test_the_rate_allows_its_burst_and_not_one_more() -> None:
    bucket = TokenBucket(10, 20, 0.0)
    assert all(bucket.take(1, 0.0) for _ in range(20))
    assert not bucket.take(1, 0.0)
    assert bucket.take(1, 0.1)
    assert not bucket.take(1, 0.1)
    assert not bucket.take(21, 1_000.0)
    assert bucket.take(20, 1_000.0)


async def test_bytes_are_limited_beside_messages_and_one_largest_message_always_fits() -> None:
    limits = {Channel.SYNC: replace(TIGHT[Channel.SYNC], message_bytes_max=1_000)}
    rates = InboundLimits(limits, 0.0)
    assert [rates.allow(Channel.SYNC, 1_000, 0.0) for _ in range(3)] == [True, True, False]


async def turns(count: int = 50) -> None:
    """Let what is on the way on loopback arrive; nothing more is sent unless the clock moves."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_silent_peer_is_given_up_after_the_idle_time_and_not_before() -> None:
    clock, frozen = ManualClock(), ManualClock()
    async with asyncio.timeout(10), linked(clock, frozen) as (one, two):
        await turns()
        clock.advance(IDLE_TIMEOUT_S - 0.001)  # the loop does not run: nothing is heard
        assert not one.link.closing
        clock.advance(0.001)
        assert one.link.reason is not None
        assert one.link.reason.code == "IDLE"
        assert (await two.ended).code == "IDLE"


async def test_answered_pings_keep_a_link_without_messages() -> None:
    clock = ManualClock()
    async with asyncio.timeout(10), linked(clock) as (one, two):
        for _ in range(int(3 * IDLE_TIMEOUT_S / PING_INTERVAL_S)):
            await turns()
            clock.advance(PING_INTERVAL_S)
        assert not one.link.closing
        assert not two.link.closing


async def test_the_offset_of_the_other_clock_is_measured_from_both_sides() -> None:
    early, late = ManualClock(), ManualClock(ManualClock().time_ms() + 1_500)
    async with asyncio.timeout(10), linked(early, late) as (one, two):
        await turns()
        assert (one.link.rtt_ms, one.link.clock_offset_ms) == (0.0, 1_500.0)
        assert two.link.clock_offset_ms == -1_500.0


async def test_a_peer_that_does_not_read_stalls_the_link_and_not_the_sender() -> None:
    clock, hold = ManualClock(), asyncio.Event()
    async with asyncio.timeout(10), linked(clock, ManualClock()) as (one, two):

        async def wait(message: Message) -> None:
            await hold.wait()

        two.on_message = wait
        for _ in range(3):
            one.link.send(wrap(bytes(16 * MIB), Channel.SYNC))
        await two.until(1)
        await turns()
        assert one.link.send(wrap(b"vote"))
        two_heard = PING_INTERVAL_S
        while two_heard <= IDLE_TIMEOUT_S + PING_INTERVAL_S and not one.link.closing:
            two.link.probe()  # it still talks, it only does not read
            await turns()
            clock.advance(PING_INTERVAL_S)
            two_heard += PING_INTERVAL_S
        assert one.link.reason is not None
        assert one.link.reason.code in {"STALLED", "IDLE"}
        clock.advance(LINGER_S)  # the reason cannot get through: the connection is cut
        assert (await one.ended).by == "us"
        hold.set()
        assert (await two.ended).by == "network" or two.link.reason is not None


async def test_a_slow_receiver_is_not_taken_for_a_silent_peer() -> None:
    clock, hold = ManualClock(), asyncio.Event()
    async with asyncio.timeout(10), linked(ManualClock(), clock) as (one, two):

        async def wait(message: Message) -> None:
            await hold.wait()

        two.on_message = wait
        one.link.send(wrap(b"1"))
        await two.until(1)
        clock.advance(2 * IDLE_TIMEOUT_S)
        assert not two.link.closing
        hold.set()
        one.link.send(wrap(b"2"))
        await two.until(2)


async def test_who_can_wait_gets_room_in_the_end() -> None:
    limits = dict(CHANNEL_LIMITS)
    limits[Channel.SYNC] = replace(limits[Channel.SYNC], queue_messages_max=1)
    async with asyncio.timeout(10), linked(limits=limits) as (one, two):
        messages = [wrap(bytes([i]) * MIB, Channel.SYNC) for i in range(8)]
        assert all(await asyncio.gather(*(one.link.send_when_room(message) for message in messages)))
        await two.until(8)
        assert sorted(message.payload for message in two.received) == [message.payload for message in messages]


async def test_who_waits_for_room_is_told_when_the_link_ends() -> None:
    limits = dict(CHANNEL_LIMITS)
    limits[Channel.SYNC] = replace(limits[Channel.SYNC], queue_messages_max=1)
    async with asyncio.timeout(10), linked(limits=limits) as (one, _):
        assert one.link.send(wrap(bytes(16 * MIB), Channel.SYNC))
        waiting = asyncio.ensure_future(one.link.send_when_room(wrap(b"", Channel.SYNC)))
        await asyncio.sleep(0)
        one.link.close("SHUTDOWN")
        assert await waiting is False
        assert await one.link.send_when_room(wrap(bytes(16 * MIB + 1), Channel.SYNC)) is False


async def test_messages_after_our_own_goodbye_are_dropped_except_on_a_duplicate() -> None:
    for code, delivered in (("SHUTDOWN", 0), ("DUPLICATE", 1)):
        async with asyncio.timeout(10), linked() as (one, two):
            two.link.send(wrap(b"vote"))
            one.link.close(code)
            await one.ended
            assert len(one.received) == delivered
