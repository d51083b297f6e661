"""Two ends of a connection become a link, or both know why not."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.codec import encode
from ledger.errors import PeerError
from p2p.frames import Kind, Message
from p2p.handshake import Bye, Established, bye, close_gently, parse_control, shake
from p2p.hello import Hello
from p2p.limits import REASON_DETAIL_BYTES_MAX, Channel
from p2p.noise import Handshake, NodeKey
from p2p.reasons import LinkRefused
from tests.p2p.harness import HELLO, ManualClock, Streams, connection

OTHER_CHAIN = replace(HELLO, chain_id=bytes(32))
Verdict = PeerError | bool
CONTROL_FIELDS = (
    st.sampled_from(["welcome", "ping", "pong", "bye"]) | st.integers(-1, 2**63) | st.text(max_size=9) | st.booleans()
)


async def outcome(
    streams: Streams, *, initiator: bool, key: NodeKey, hello: Hello = HELLO, verdict: Verdict = True
) -> Established | LinkRefused:
    """One side's handshake: what it got, or why not; the connection is closed properly after a refusal."""
    try:
        return await shake(*streams, initiator=initiator, identity=key, hello=hello, admit=lambda other: verdict)
    except LinkRefused as refused:
        await close_gently(*streams, ManualClock())
        return refused


async def both(
    hellos: tuple[Hello, Hello] = (HELLO, HELLO), verdicts: tuple[Verdict, Verdict] = (True, True)
) -> tuple[Established | LinkRefused, Established | LinkRefused]:
    keys = NodeKey(b"\x01" * 32), NodeKey(b"\x02" * 32)
    async with asyncio.timeout(10), connection() as (one, two):
        return await asyncio.gather(
            outcome(one, initiator=True, key=keys[0], hello=hellos[0], verdict=verdicts[0]),
            outcome(two, initiator=False, key=keys[1], hello=hellos[1], verdict=verdicts[1]),
        )


@pytest.mark.asyncio
async def test_both_sides_prove_their_keys_and_agree_on_version_and_transcript() -> None:
    one, two = await both((Hello(HELLO.chain_id, 1, 3, "left"), Hello(HELLO.chain_id, 2, 5, "right")))
    assert isinstance(one, Established) and isinstance(two, Established)
    assert one.version == two.version == 3
    assert one.session.remote == NodeKey(b"\x02" * 32).public
    assert two.session.remote == NodeKey(b"\x01" * 32).public
    assert one.session.handshake_hash == two.session.handshake_hash
    assert (one.hello.agent, two.hello.agent) == ("right", "left")


@pytest.mark.asyncio
async def test_nodes_of_two_chains_both_read_what_differs() -> None:
    one, two = await both((HELLO, OTHER_CHAIN))
    assert isinstance(one, LinkRefused) and isinstance(two, LinkRefused)
    assert (one.code, two.code) == ("WRONG_CHAIN", "WRONG_CHAIN")
    assert one.detail == f"ours {HELLO.chain_id.hex()}, theirs {OTHER_CHAIN.chain_id.hex()}"
    assert two.detail == f"ours {OTHER_CHAIN.chain_id.hex()}, theirs {HELLO.chain_id.hex()}"


@pytest.mark.asyncio
async def test_nodes_without_a_common_version_both_read_the_ranges() -> None:
    one, two = await both((HELLO, replace(HELLO, protocol_min=2, protocol_max=4)))
    assert isinstance(one, LinkRefused) and isinstance(two, LinkRefused)
    assert (one.code, one.detail) == ("PROTOCOL_MISMATCH", "ours 1..1, theirs 2..4")
    assert (two.code, two.detail) == ("PROTOCOL_MISMATCH", "ours 2..4, theirs 1..1")


@pytest.mark.asyncio
@pytest.mark.parametrize("refusing", [0, 1])
async def test_an_unknown_key_is_refused_and_told_so(refusing: int) -> None:
    unknown = LinkRefused("UNKNOWN_PEER", "who are you")
    outcomes = await both(verdicts=(unknown, True) if refusing == 0 else (True, unknown))
    ours, theirs = outcomes[refusing], outcomes[1 - refusing]
    assert isinstance(ours, LinkRefused) and isinstance(theirs, LinkRefused)
    assert (ours.code, ours.detail, ours.by) == ("UNKNOWN_PEER", "who are you", "us")
    assert (theirs.code, theirs.detail, theirs.by) == ("UNKNOWN_PEER", "who are you", "peer")


@pytest.mark.asyncio
@pytest.mark.parametrize("verdicts", [(True, True), (True, False), (False, True), (False, False)])
async def test_a_link_is_full_only_when_both_sides_say_so(verdicts: tuple[bool, bool]) -> None:
    one, two = await both(verdicts=verdicts)
    assert isinstance(one, Established)
    assert isinstance(two, Established)
    assert (one.admitted, two.admitted) == verdicts
    assert one.full is two.full is all(verdicts)


@pytest.mark.asyncio
async def test_when_both_refuse_each_names_its_own_reason() -> None:
    one, two = await both(verdicts=(LinkRefused("UNKNOWN_PEER"), LinkRefused("BANNED")))
    assert isinstance(one, LinkRefused) and isinstance(two, LinkRefused)
    assert (one.code, one.by, two.code, two.by) == ("UNKNOWN_PEER", "us", "BANNED", "us")


@pytest.mark.asyncio
@pytest.mark.parametrize("direction", ["to the listener", "to the dialler"])
async def test_a_changed_byte_anywhere_on_the_way_ends_the_handshake(direction: str) -> None:
    lengths = {
        "to the listener": len(HELLO.encode()) + Handshake.LENGTHS[0] + Handshake.LENGTHS[2] + 21,
        "to the dialler": len(HELLO.encode()) + Handshake.LENGTHS[1] + 21,
    }
    for position in range(0, lengths[direction], 3):
        one, two = await tampered(direction, position)
        # Only what is changed on the way to one side after the other is done can leave that one satisfied.
        assert isinstance(one, LinkRefused) or isinstance(two, LinkRefused), position
        hurt = two if direction == "to the listener" else one
        assert isinstance(hurt, LinkRefused), position


async def tampered(direction: str, position: int) -> list[Established | LinkRefused]:
    """A handshake through a relay that changes one byte."""
    async with asyncio.timeout(10), connection() as (one, left), connection() as (right, two):

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, change: int | None) -> None:
            seen = 0
            while data := await reader.read(65_536):
                if change is not None and seen <= change < seen + len(data):
                    data = data[: change - seen] + bytes([data[change - seen] ^ 1]) + data[change - seen + 1 :]
                seen += len(data)
                writer.write(data)
            writer.write_eof()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(relay(left[0], right[1], position if direction == "to the listener" else None))
            tasks.create_task(relay(right[0], left[1], position if direction == "to the dialler" else None))
            outcomes = [
                tasks.create_task(finish(streams, initiator)) for streams, initiator in ((one, True), (two, False))
            ]
        return [outcome.result() for outcome in outcomes]


async def finish(streams: Streams, initiator: bool) -> Established | LinkRefused:
    result = await outcome(streams, initiator=initiator, key=NodeKey(bytes([1 + initiator]) * 32))
    if isinstance(result, Established):
        streams[1].write_eof()
        await streams[0].read()
    return result


@pytest.mark.asyncio
async def test_a_connection_that_ends_in_the_middle_is_lost_by_the_network() -> None:
    async with asyncio.timeout(10), connection() as (one, two):
        two[1].write(HELLO.encode())
        two[1].write_eof()
        result = await outcome(one, initiator=True, key=NodeKey.generate())
        assert isinstance(result, LinkRefused)
        assert (result.code, result.by) == ("CONNECTION_LOST", "network")


@pytest.mark.asyncio
async def test_garbage_instead_of_a_hello_is_not_huzhu() -> None:
    async with asyncio.timeout(10), connection() as (one, two):
        two[1].write(b"GET / HTTP/1.1\r\nHost: example\r\n\r\n")
        two[1].write_eof()
        result = await outcome(one, initiator=False, key=NodeKey.generate())
        assert isinstance(result, LinkRefused)
        assert result.code == "NOT_HUZHU"


@pytest.mark.asyncio
async def test_a_closing_connection_is_not_waited_for_longer_than_the_linger() -> None:
    clock = ManualClock()
    async with asyncio.timeout(10), connection() as (one, _):
        asyncio.get_running_loop().call_soon(clock.advance, 2.0)
        await close_gently(*one, clock)


def test_a_detail_is_cut_at_the_limit_without_breaking_a_character() -> None:
    value = parse_control(bye("UNKNOWN_PEER", "帮" * REASON_DETAIL_BYTES_MAX))
    assert isinstance(value, Bye)
    assert value.detail == "帮" * (REASON_DETAIL_BYTES_MAX // 3)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60) | st.builds(encode, st.lists(CONTROL_FIELDS, max_size=4)), st.sampled_from(Kind))
def test_any_bytes_are_a_control_message_or_malformed(payload: bytes, kind: Kind) -> None:
    try:
        parse_control(Message(Channel.CONTROL, kind, payload))
    except PeerError as error:
        assert error.code == "MALFORMED"
