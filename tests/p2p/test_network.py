"""Networks on loopback: they find each other, keep one link, refuse strangers, and come back."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from ledger.errors import InvariantViolation, OperatorError, PeerError
from p2p.frames import Kind, Message
from p2p.limits import BAN_FIRST_S, HANDOVER_S, HANDSHAKE_TIMEOUT_S, PENDING_HANDSHAKES_PER_HOST_MAX, Channel
from p2p.link import Direction, Link
from p2p.network import Network
from p2p.noise import NodeKey
from p2p.peers import PeerInfo
from p2p.reasons import CloseReason
from p2p.requests import PeerGone
from tests.p2p.harness import HELLO, ManualClock, Node, linked, node_keys, running

pytestmark = pytest.mark.asyncio
LOW, HIGH, THIRD = node_keys(3)


def info(node: Node, peer: Node) -> PeerInfo:
    return next(info for info in node.network.peers() if info.key == peer.key)


async def test_five_nodes_that_know_each_other_become_a_full_mesh() -> None:
    nodes = [Node(key) for key in node_keys(5)]
    async with running(*nodes):
        for node in nodes:
            node.knows(*nodes)
        for node in nodes:
            await node.connected(*(other.key for other in nodes if other is not node))
        for node in nodes:
            assert node.network.broadcast(Channel.CONSENSUS, b"vote") == {n.key for n in nodes if n is not node}
        for node in nodes:
            await node.until(lambda node=node: len(node.messages) == 4)  # type: ignore[misc]
            assert {peer for peer, _, _ in node.messages} == {n.key for n in nodes if n is not node}


async def settle(one: Node, two: Node) -> None:
    """Talk both ways until both use the same link and have no other."""
    while len(one.network._links) + len(two.network._links) > 2 or info(one, two).direction == info(two, one).direction:
        for sender, receiver in ((one, two), (two, one)):
            before = len(receiver.messages)
            sender.network.send(receiver.key, Channel.CONSENSUS, b"?")
            await receiver.until(lambda r=receiver, n=before: len(r.messages) > n)  # type: ignore[misc]


@pytest.mark.parametrize("attempt", range(5))
async def test_of_a_simultaneous_dial_the_link_dialled_by_the_lower_key_survives_without_flapping(attempt: int) -> None:
    low, high = Node(LOW), Node(HIGH)
    async with running(low, high):
        # Neither dialler has run yet, so both connect before either handshake is over.
        first, second = (low, high) if attempt % 2 else (high, low)
        first.knows(second)
        second.knows(first)
        await low.connected(high.key)
        await high.connected(low.key)
        await settle(low, high)
        assert (info(low, high).direction, info(high, low).direction) == ("out", "in")
        assert low.events == [(high.key, True)]
        assert high.events == [(low.key, True)]


async def test_nothing_queued_is_lost_when_one_of_two_links_is_given_up() -> None:
    low, high = Node(LOW), Node(HIGH)
    async with running(low, high):
        for node, other in ((low, high), (high, low)):
            node.knows(other)
        sent = 0
        await asyncio.gather(low.connected(high.key), high.connected(low.key))
        for number in range(50):
            sent += high.network.send(low.key, Channel.CONSENSUS, bytes([number]))
        assert sent == 50
        await low.until(lambda: len([m for m in low.messages if m[2] != b"?"]) == 50)
        await settle(low, high)


async def test_a_peer_that_comes_back_is_found_again() -> None:
    low, high = Node(LOW), Node(HIGH)
    async with running(low):
        async with running(high):
            low.knows(high)
            await low.connected(high.key)
            address = high.address
        await low.disconnected(high.key)
        why = low.why(high.key)
        assert why is not None
        await low.until(lambda: low.why(high.key).code == "UNREACHABLE")  # type: ignore[union-attr]
        assert not info(low, high).connected
        again = Node(HIGH, listen=address)
        async with running(again):
            await low.connected(high.key)
            await again.connected(low.key)
            assert info(low, high).last_error is not None


async def test_a_stopping_node_tells_its_peers() -> None:
    low, high = Node(LOW), Node(HIGH)
    async with running(high):
        async with running(low):
            low.knows(high)
            await asyncio.gather(low.connected(high.key), high.connected(low.key))
        await high.disconnected(low.key)
        why = high.why(low.key)
        assert why is not None
        assert (why.code, why.by) == ("SHUTDOWN", "peer")


async def test_a_stranger_is_refused_and_both_sides_can_say_why() -> None:
    low, high = Node(LOW), Node(HIGH)
    low.denied.add(high.key)
    async with running(low, high):
        high.knows(low)
        await high.until(lambda: high.why(low.key) is not None)
        why = high.why(low.key)
        assert why is not None
        assert (why.code, why.by) == ("UNKNOWN_PEER", "peer")
        await low.until(lambda: low.network.refused["UNKNOWN_PEER"] >= 1)
        assert low.events == high.events == []


async def test_a_dialler_refuses_too_what_it_no_longer_allows() -> None:
    low, high = Node(LOW), Node(HIGH)
    async with running(low, high):
        low.denied.add(high.key)
        low.knows(high)
        high.knows(low)
        await high.until(lambda: high.why(low.key) is not None)
        assert low.network.refused["UNREACHABLE"] == 0
        assert low.network.connected() == []


async def test_a_change_of_the_allow_list_ends_links_and_begins_them() -> None:
    low, high = Node(LOW), Node(HIGH)
    async with running(low, high):
        low.knows(high)
        await asyncio.gather(low.connected(high.key), high.connected(low.key))
        low.denied.add(high.key)
        low.network.refresh_allowed()
        await high.disconnected(low.key)
        why = high.why(low.key)
        assert why is not None
        assert (why.code, why.by) == ("NO_LONGER_ALLOWED", "peer")
        await low.disconnected(high.key)
        low.denied.clear()
        low.network.refresh_allowed()
        await low.connected(high.key)


async def test_another_key_at_the_address_is_not_taken_for_the_peer() -> None:
    low, high = Node(LOW), Node(HIGH)
    async with running(low, high):
        low.network.set_addresses(THIRD.public, [high.address])
        await low.until(lambda: low.why(THIRD.public) is not None)
        why = low.why(THIRD.public)
        assert why is not None
        assert (why.code, why.by) == ("WRONG_PEER", "us")
        low.network.set_addresses(THIRD.public, [low.address])
        await low.until(lambda: low.why(THIRD.public).code != "WRONG_PEER")  # type: ignore[union-attr]
        assert low.why(THIRD.public).code == "SELF"  # type: ignore[union-attr]


async def test_a_node_of_another_chain_is_named_on_both_sides() -> None:
    low, high = Node(LOW), Node(HIGH, hello=replace(HELLO, chain_id=bytes(32)))
    async with running(low, high):
        low.knows(high)
        await low.until(lambda: low.why(high.key) is not None)
        assert low.why(high.key).code == "WRONG_CHAIN"  # type: ignore[union-attr]
        await high.until(lambda: high.network.refused["WRONG_CHAIN"] == 1)


async def test_who_breaks_the_protocol_is_banned_for_a_bounded_time() -> None:
    clock = ManualClock()
    low, high = Node(LOW, clock=clock), Node(HIGH)

    def refuse(peer: bytes, channel: Channel, payload: bytes) -> None:
        raise PeerError("BAD_VOTE", "signed by nobody")

    low.hook = refuse
    async with running(low, high):
        low.knows(high)
        high.knows(low)
        await asyncio.gather(low.connected(high.key), high.connected(low.key))
        high.network.send(low.key, Channel.CONSENSUS, b"bad")
        await low.disconnected(high.key)
        assert info(low, high).banned_for_s == BAN_FIRST_S
        assert low.why(high.key).code == "BAD_VOTE"  # type: ignore[union-attr]
        await high.until(lambda: high.why(low.key).code == "BANNED")  # type: ignore[union-attr]
        clock.advance(BAN_FIRST_S)
        low.events.clear()
        await low.connected(high.key)


async def test_an_upper_layer_can_have_a_peer_banned() -> None:
    low, high = Node(LOW), Node(HIGH)
    async with running(low, high):
        low.knows(high)
        await asyncio.gather(low.connected(high.key), high.connected(low.key))
        low.network.penalize(high.key, PeerError("BAD_TRANSACTIONS", "unsigned"))
        await low.disconnected(high.key)
        await high.disconnected(low.key)
        assert high.why(low.key).detail == "BAD_TRANSACTIONS: unsigned"  # type: ignore[union-attr]
        assert info(low, high).banned_for_s > 0
        low.network.penalize(bytes(32), PeerError("WHO"))


async def test_our_own_bug_in_a_callback_ends_the_group() -> None:
    low, high = Node(LOW), Node(HIGH)

    def broken(peer: bytes, channel: Channel, payload: bytes) -> None:
        raise InvariantViolation("bug")

    low.hook = broken
    with pytest.raises(ExceptionGroup) as caught:
        async with running(high), running(low):
            low.knows(high)
            await asyncio.gather(low.connected(high.key), high.connected(low.key))
            high.network.send(low.key, Channel.CONSENSUS, b"x")
            await asyncio.Event().wait()
    assert caught.value.split(InvariantViolation)[0] is not None


async def test_a_newer_link_from_the_same_side_replaces_the_older() -> None:
    low, high, reborn = Node(LOW), Node(HIGH, clock=ManualClock(), listen=None), Node(HIGH, listen=None)
    async with running(low, high, reborn):
        high.knows(low)
        await low.connected(high.key)
        await high.connected(low.key)
        reborn.knows(low)
        await reborn.connected(low.key)
        await high.until(lambda: not high.network.connected())
        low.network.send(high.key, Channel.SYNC, b"to the newer")
        await reborn.until(lambda: reborn.messages == [(low.key, Channel.SYNC, b"to the newer")])
        assert low.events == [(high.key, True)]


async def test_an_accepted_connection_that_says_nothing_is_closed_in_time() -> None:
    clock = ManualClock()
    low = Node(LOW, clock=clock)
    async with running(low):
        reader, writer = await asyncio.open_connection(*low.address)
        await reader.readexactly(8)
        clock.advance(HANDSHAKE_TIMEOUT_S)
        await reader.read()
        assert low.network.refused["HANDSHAKE_TIMEOUT"] == 1
        writer.transport.abort()


async def test_garbage_before_the_handshake_is_refused_and_the_node_lives_on() -> None:
    low, high = Node(LOW), Node(HIGH)
    async with running(low, high):
        reader, writer = await asyncio.open_connection(*low.address)
        writer.write(bytes(100_000))
        writer.write_eof()
        await reader.read()
        writer.transport.abort()
        assert low.network.refused["NOT_HUZHU"] == 1
        high.knows(low)
        await low.connected(high.key)


async def test_one_host_cannot_hold_every_place_for_a_handshake() -> None:
    low = Node(LOW)
    async with running(low):
        held = [await asyncio.open_connection(*low.address) for _ in range(PENDING_HANDSHAKES_PER_HOST_MAX)]
        for reader, _ in held:
            await reader.readexactly(8)  # its hello: the place is taken
        reader, writer = await asyncio.open_connection(*low.address)
        with pytest.raises((asyncio.IncompleteReadError, OSError)):
            await reader.readexactly(1)
        assert low.network.refused["BUSY"] == 1
        for _, open_writer in [*held, (reader, writer)]:
            open_writer.transport.abort()


async def test_a_burst_from_one_host_takes_no_more_places_than_there_are() -> None:
    low = Node(LOW)
    async with running(low):
        many = PENDING_HANDSHAKES_PER_HOST_MAX + 20
        burst = await asyncio.gather(*(asyncio.open_connection(*low.address) for _ in range(many)))
        heard = await asyncio.gather(*(reader.read(8) for reader, _ in burst), return_exceptions=True)
        assert sum(isinstance(said, bytes) and len(said) == 8 for said in heard) == PENDING_HANDSHAKES_PER_HOST_MAX
        assert low.network.refused["BUSY"] == 20
        for _, writer in burst:
            writer.transport.abort()


async def test_an_address_in_use_is_the_operators_to_mend() -> None:
    low = Node(LOW)
    async with running(low):
        high = Node(HIGH, listen=low.address)
        async with asyncio.TaskGroup() as tasks:
            with pytest.raises(OperatorError) as caught:
                await high.network.start(tasks)
        assert caught.value.code == "CANNOT_LISTEN"


async def test_what_cannot_be_sent_is_answered_false() -> None:
    low, high = Node(LOW), Node(HIGH)
    async with running(low, high):
        assert not low.network.send(high.key, Channel.CONSENSUS, b"x")
        assert not await low.network.send_when_room(high.key, Channel.SYNC, b"x")
        assert low.network.broadcast(Channel.CONSENSUS, b"x", to={high.key}) == set()
        low.knows(high)
        await asyncio.gather(low.connected(high.key), high.connected(low.key))
        assert await low.network.send_when_room(high.key, Channel.SYNC, b"x")
        assert low.network.broadcast(Channel.CONSENSUS, b"y", to={high.key, THIRD.public}) == {high.key}
        await high.until(lambda: len(high.messages) == 2)


async def test_a_connected_peer_shows_what_an_operator_wants_to_know() -> None:
    low, high = Node(LOW), Node(HIGH)
    async with running(low, high):
        low.knows(high)
        await asyncio.gather(low.connected(high.key), high.connected(low.key))
        low.network.send(high.key, Channel.CONSENSUS, b"12345")
        await high.until(lambda: bool(high.messages))
        seen, mirrored = info(low, high), info(high, low)
        assert seen.connected and seen.address == high.address and seen.direction == "out"
        assert (seen.version, seen.agent) == (1, "test")
        assert mirrored.bytes_in[Channel.CONSENSUS] == seen.bytes_out[Channel.CONSENSUS] == 5
        assert seen.connected_since_ms is not None
        assert seen.drops[Channel.CONSENSUS] == 0


async def test_static_addresses_are_dialled_and_a_node_never_dials_itself() -> None:
    high = Node(HIGH)
    async with running(high):
        low = Node(LOW, listen=None, peers={high.key: [high.address], LOW.public: [high.address]})
        assert low.network.address is None
        async with running(low):
            await low.connected(high.key)
            assert [info.key for info in low.network.peers()] == [high.key]


async def test_a_network_not_started_has_no_tasks_to_give() -> None:
    async def nothing() -> None: ...

    network = Network(
        NodeKey.generate(),
        HELLO,
        listen=None,
        peers={},
        allow=lambda key: True,
        on_message=lambda *args: None,
        on_peer=lambda *args: None,
    )
    with pytest.raises(InvariantViolation):
        network.spawn(nothing())


async def status(peer: bytes, channel: Channel, payload: bytes) -> bytes:
    return b"height 7"


def applicant_and_member() -> tuple[Node, Node]:
    member, applicant = Node(LOW, handler=status), Node(HIGH, handler=status)
    member.denied.add(applicant.key)
    member.applicants.add(applicant.key)
    return member, applicant


async def test_an_applicant_may_ask_for_status_and_is_no_peer_to_either_side() -> None:
    member, applicant = applicant_and_member()
    async with running(member, applicant):
        applicant.knows(member)
        await applicant.until(lambda: applicant.network.status_only(member.key))
        assert await applicant.network.request(member.key, b"status", timeout_s=10) == b"height 7"
        for node, other in ((member, applicant), (applicant, member)):
            assert node.network.connected() == []
            assert node.network.broadcast(Channel.CONSENSUS, b"x") == set()
            assert not node.network.send(other.key, Channel.TRANSACTIONS, b"x")
            assert info(node, other).status_only
        with pytest.raises(PeerGone):
            await applicant.network.request(member.key, b"x", timeout_s=10, channel=Channel.CONSENSUS)
        assert member.events == applicant.events == []


async def test_an_applicant_that_sends_more_is_cut_off_and_banned() -> None:
    member, applicant = applicant_and_member()
    async with running(member, applicant):
        applicant.knows(member)
        await applicant.until(lambda: applicant.network.status_only(member.key))
        (link,) = applicant.network._links
        link.send(Message(Channel.SYNC, Kind.MESSAGE, b"x"))
        await applicant.until(lambda: applicant.why(member.key) is not None)
        assert applicant.why(member.key).code == "NOT_PERMITTED"  # type: ignore[union-attr]
        await member.until(lambda: info(member, applicant).banned_for_s > 0)


async def test_an_applicant_that_is_approved_becomes_a_peer() -> None:
    member, applicant = applicant_and_member()
    async with running(member, applicant):
        applicant.knows(member)
        await applicant.until(lambda: applicant.network.status_only(member.key))
        await applicant.network.request(member.key, b"status", timeout_s=10)
        member.denied.clear()
        member.network.refresh_allowed()
        await asyncio.gather(applicant.connected(member.key), member.connected(applicant.key))
        assert member.events == [(applicant.key, True)]
        assert applicant.events == [(member.key, True)]
        assert applicant.why(member.key).code == "ACCESS_CHANGED"  # type: ignore[union-attr]


async def test_who_leaves_the_allow_list_while_shaking_hands_gets_no_link() -> None:
    answers = iter([True])
    high = Node(HIGH)
    low = Node(LOW, allow=lambda key: next(answers, False))
    async with running(low, high):
        high.knows(low)
        await high.until(lambda: high.why(low.key) is not None)
        assert high.why(low.key).code == "UNKNOWN_PEER"  # type: ignore[union-attr]
        assert low.events == []


# The rule of two links, step by step: the links are real, the network is told of them by hand.


@asynccontextmanager
async def two_links(first: Direction, second: Direction) -> AsyncIterator[tuple[Node, ManualClock, Link, Link]]:
    """Two links that lead from the lower to the higher node, dialled as said."""
    clock = ManualClock()
    async with asyncio.timeout(10), linked() as (one, _), linked() as (two, _):
        for end, direction in ((one, first), (two, second)):
            end.link.peer, end.link.direction = HIGH.public, direction
        yield Node(LOW, clock=clock), clock, one.link, two.link


@pytest.mark.parametrize(
    ("first", "second", "newer_wins"),
    [("in", "out", True), ("out", "in", False), ("in", "in", True), ("out", "out", True)],
)
async def test_which_of_two_links_is_kept(first: Direction, second: Direction, newer_wins: bool) -> None:
    async with two_links(first, second) as (low, _, older, newer):
        winner, loser = (newer, older) if newer_wins else (older, newer)
        message = Message(Channel.SYNC, Kind.MESSAGE, b"queued")
        loser.queue.push(message)
        pings = older._ping_number
        for link in (older, newer):
            low.network._register(link)
        assert loser.reason == CloseReason("DUPLICATE", "", "us")
        assert not winner.closing
        assert winner.queue.pending_bytes(Channel.SYNC) == len(b"queued")
        assert newer_wins or older._ping_number == pings + 1  # is the one we keep alive at all?
        assert low.events == [(HIGH.public, True)]


async def test_a_peer_is_not_down_between_the_links_of_a_simultaneous_dial() -> None:
    async with two_links("in", "out") as (low, clock, loser, survivor):
        low.network._register(loser)
        loser.queue.push(Message(Channel.SYNC, Kind.MESSAGE, b"queued"))
        low.network._ended(loser, CloseReason("DUPLICATE", "", "peer"))
        clock.advance(HANDOVER_S - 0.1)
        low.network._register(survivor)
        assert survivor.queue.pending_bytes(Channel.SYNC) == len(b"queued")
        clock.advance(10 * HANDOVER_S)
        assert low.events == [(HIGH.public, True)]


async def test_a_peer_whose_other_link_never_comes_is_down_after_the_handover() -> None:
    async with two_links("in", "out") as (low, clock, loser, _):
        low.network._register(loser)
        low.network._ended(loser, CloseReason("DUPLICATE", "", "peer"))
        clock.advance(HANDOVER_S - 0.1)
        assert low.events == [(HIGH.public, True)]
        clock.advance(0.1)
        assert low.events == [(HIGH.public, True), (HIGH.public, False)]


async def test_a_connection_whose_task_never_began_is_closed_all_the_same() -> None:
    low = Node(LOW)
    async with running(low):
        there, here = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=here)
        low.network._accepted(reader, writer)
        for task in list(low.network._tasks):
            task.cancel()  # as a stop in this very moment does
        async with asyncio.timeout(10):
            await asyncio.get_running_loop().run_in_executor(None, there.recv, 1)
        assert writer.transport.is_closing()
        there.close()
