"""Cutting and joining: every message arrives whole, votes first, and no bytes but valid ones pass."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import PeerError
from p2p.frames import Assembler, FrameReader, Kind, Message, OutQueue, seal
from p2p.limits import (
    CHANNEL_LIMITS,
    FRAME_PAYLOAD_BYTES_MAX,
    FRAME_PLAINTEXT_BYTES_MAX,
    NOISE_MESSAGE_BYTES_MAX,
    Channel,
)
from tests.p2p.harness import sessions, wrap

VOTE, BLOCK, TX = b"vote", b"b" * (3 * FRAME_PAYLOAD_BYTES_MAX + 5), b"t" * (2 * FRAME_PAYLOAD_BYTES_MAX)
SIZES = st.sampled_from(
    [0, 1, 5, FRAME_PAYLOAD_BYTES_MAX - 1, FRAME_PAYLOAD_BYTES_MAX, FRAME_PAYLOAD_BYTES_MAX + 1, 150_000]
)
DATA_CHANNELS = [Channel.CONSENSUS, Channel.SYNC, Channel.TRANSACTIONS]


def frames_of(queue: OutQueue) -> list[bytes]:
    out = []
    while (frame := queue.next_frame()) is not None:
        out.append(frame)
    return out


def join(frames: list[bytes]) -> list[Message]:
    assembler = Assembler()
    return [message for frame in frames if (message := assembler.feed(frame)) is not None]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(DATA_CHANNELS), st.sampled_from(Kind), SIZES), max_size=8),
    st.integers(997, 70_000),
)
def test_messages_survive_cutting_sealing_and_any_split_of_the_stream(
    shapes: list[tuple[Channel, Kind, int]], step: int
) -> None:
    one, two = sessions()
    queue, reader = OutQueue(), FrameReader(two.receive, Assembler())
    sent = [Message(channel, kind, bytes([i]) * size) for i, (channel, kind, size) in enumerate(shapes)]
    assert all(queue.push(message) for message in sent)
    wire = b"".join(seal(one.send, frame) for frame in frames_of(queue))
    got = [message for at in range(0, len(wire), step) for message in reader.feed(wire[at : at + step])]
    assert got == sorted(sent, key=lambda message: message.channel)
    assert not queue


def test_a_stream_that_comes_byte_by_byte_is_read_all_the_same() -> None:
    one, two = sessions()
    reader = FrameReader(two.receive, Assembler())
    wire = seal(one.send, b"\x81vote") + seal(one.send, b"\x82") + seal(one.send, b"\x83tx")
    got = [message.payload for at in range(len(wire)) for message in reader.feed(wire[at : at + 1])]
    assert got == [b"vote", b"", b"tx"]


def test_no_frame_is_longer_than_a_noise_message() -> None:
    one, _ = sessions()
    queue = OutQueue()
    queue.push(wrap(BLOCK))
    frames = frames_of(queue)
    assert max(map(len, frames)) == FRAME_PLAINTEXT_BYTES_MAX
    assert len(seal(one.send, frames[0])) == 2 + NOISE_MESSAGE_BYTES_MAX


def test_a_vote_waits_for_one_frame_of_a_block_at_most() -> None:
    queue = OutQueue()
    queue.push(wrap(TX, Channel.TRANSACTIONS))
    queue.push(wrap(BLOCK, Channel.SYNC))
    first = queue.next_frame()
    assert first is not None
    queue.push(wrap(VOTE))
    second = queue.next_frame()
    assert second is not None
    assert [m.payload for m in join([first, second])] == [VOTE]
    assert [m.payload for m in join([first, second, *frames_of(queue)])] == [VOTE, BLOCK, TX]


@pytest.mark.parametrize("channel", Channel)
def test_a_message_may_be_as_large_as_the_limit_of_its_class_and_no_larger(channel: Channel) -> None:
    limit = CHANNEL_LIMITS[channel].message_bytes_max
    queue = OutQueue()
    assert not queue.push(wrap(bytes(limit + 1), channel))
    assert queue.push(wrap(bytes(limit), channel))
    assert len(join(frames_of(queue))[0].payload) == limit
    generous = {c: replace(limits, message_bytes_max=2**30) for c, limits in CHANNEL_LIMITS.items()}
    hostile = OutQueue({c: replace(limits, queue_bytes_max=2**30) for c, limits in generous.items()})
    hostile.push(wrap(bytes(limit + 1), channel))
    with pytest.raises(PeerError) as caught:
        join(frames_of(hostile))
    assert caught.value.code == "TOO_LARGE"


def test_a_changed_byte_anywhere_in_a_frame_is_found() -> None:
    one, _ = sessions()
    length = len(seal(one.send, b"\x81vote"))
    for position in range(length):
        one, two = sessions()
        wire = bytearray(seal(one.send, b"\x81vote") + seal(one.send, b"\x81more"))
        wire[position] ^= 0x01
        with pytest.raises(PeerError) as caught:
            list(FrameReader(two.receive, Assembler()).feed(bytes(wire)))
            # A longer length waits for bytes that must come sooner or later.
            raise PeerError("BAD_FRAME", "waits") if position < 2 else AssertionError(position)
        assert caught.value.code == "BAD_FRAME"


def test_a_frame_dropped_or_played_again_is_found() -> None:
    one, two = sessions()
    first, second = seal(one.send, b"\x811"), seal(one.send, b"\x812")
    with pytest.raises(PeerError, match="BAD_FRAME"):
        list(FrameReader(two.receive, Assembler()).feed(second))
    one, two = sessions()
    first = seal(one.send, b"\x811")
    with pytest.raises(PeerError, match="BAD_FRAME"):
        list(FrameReader(two.receive, Assembler()).feed(first + first))


@pytest.mark.parametrize(
    ("frames", "why"),
    [
        ([b""], "head"),
        ([b"\x11x"], "head"),
        ([b"\xc1x"], "head"),
        ([b"\x01"], "unfinished"),
        ([b"\x01" + bytes(FRAME_PAYLOAD_BYTES_MAX - 1)], "unfinished"),
        ([b"\x01" + bytes(FRAME_PAYLOAD_BYTES_MAX + 1)], "unfinished"),
        ([b"\x01" + bytes(FRAME_PAYLOAD_BYTES_MAX), b"\x85x"], "kind"),
        ([b"\x01" + bytes(FRAME_PAYLOAD_BYTES_MAX), b"\x81"], "empty"),
    ],
)
def test_a_frame_that_breaks_the_framing_is_refused(frames: list[bytes], why: str) -> None:
    with pytest.raises(PeerError, match=why) as caught:
        join(frames)
    assert caught.value.code == "BAD_FRAME"


def test_a_record_too_short_to_hold_anything_is_refused() -> None:
    for length in range(17):
        _, two = sessions()
        with pytest.raises(PeerError, match="BAD_FRAME"):
            list(FrameReader(two.receive, Assembler()).feed(length.to_bytes(2, "big") + bytes(length)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=20))
def test_any_plaintext_is_a_message_or_a_peer_error(frames: list[bytes]) -> None:
    assembler = Assembler()
    try:
        for frame in frames:
            assembler.feed(frame)
    except PeerError as error:
        assert error.code in {"BAD_FRAME", "TOO_LARGE"}


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_from_the_wire_wait_or_are_a_peer_error(wire: bytes) -> None:
    _, two = sessions()
    try:
        assert list(FrameReader(two.receive, Assembler()).feed(wire)) == []
    except PeerError as error:
        assert error.code == "BAD_FRAME"


def small(messages: int = 100, size: int = 10**6) -> OutQueue:
    return OutQueue(
        {c: replace(limits, queue_messages_max=messages, queue_bytes_max=size) for c, limits in CHANNEL_LIMITS.items()}
    )


def payloads(queue: OutQueue) -> list[bytes]:
    return [message.payload for message in join(frames_of(queue))]


@pytest.mark.parametrize("changes", [{"messages": 2}, {"size": 2}])
def test_a_full_consensus_queue_forgets_the_oldest(changes: dict[str, int]) -> None:
    queue = small(**changes)
    assert all(queue.push(wrap(p)) for p in (b"1", b"2", b"3"))
    assert queue.drops[Channel.CONSENSUS] == 1
    assert payloads(queue) == [b"2", b"3"]


def test_a_message_begun_is_finished_even_in_a_full_queue() -> None:
    queue = small(messages=2)
    queue.push(wrap(BLOCK))
    first = queue.next_frame()
    assert first is not None
    assert all(queue.push(wrap(p)) for p in (b"2", b"3"))
    assert [m.payload for m in join([first, *frames_of(queue)])] == [BLOCK, b"3"]
    alone = small(messages=1)
    alone.push(wrap(BLOCK))
    alone.next_frame()
    assert not alone.push(wrap(b"2"))
    assert alone.drops[Channel.CONSENSUS] == 1


@pytest.mark.parametrize("changes", [{"messages": 2}, {"size": 2}])
def test_a_full_transaction_queue_refuses_the_newest_and_counts_it(changes: dict[str, int]) -> None:
    queue = small(**changes)
    assert [queue.push(wrap(p, Channel.TRANSACTIONS)) for p in (b"1", b"2", b"3")] == [True, True, False]
    assert queue.drops[Channel.TRANSACTIONS] == 1
    assert payloads(queue) == [b"1", b"2"]


def test_a_full_sync_queue_refuses_and_has_room_again_once_sent() -> None:
    queue = small(messages=1)
    assert [queue.push(wrap(p, Channel.SYNC)) for p in (b"1", b"2")] == [True, False]
    queue.next_frame()
    assert queue.push(wrap(b"2", Channel.SYNC))


def test_the_survivor_takes_over_what_the_other_link_had_not_finished() -> None:
    loser, winner = OutQueue(), OutQueue()
    loser.push(wrap(b"bye", Channel.CONTROL))
    loser.push(wrap(TX, Channel.TRANSACTIONS))
    loser.push(wrap(VOTE))
    for _ in range(3):
        loser.next_frame()
    loser.push(wrap(BLOCK, Channel.SYNC))
    winner.absorb(loser)
    assert payloads(winner) == [BLOCK, TX]
    assert not loser
    assert loser.pending_bytes(Channel.SYNC) == 0
