"""Transactions: pushed once, told after a while, asked for when missing, and never more than the bounds."""

import asyncio
from collections.abc import Iterable, Sequence
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.codec import encode
from ledger.errors import PeerError
from p2p import gossip
from p2p.clock import SystemClock
from p2p.gossip import (
    Announce,
    Get,
    GossipMessage,
    GossipPolicy,
    Outgoing,
    Push,
    TransactionGossip,
    parse_gossip,
    push_batches,
)
from p2p.limits import (
    ANNOUNCE_DELAY_S,
    IDS_PER_MESSAGE_MAX,
    PULL_ATTEMPTS_MAX,
    PULL_TIMEOUT_S,
    PUSH_BYTES,
    PUSH_DELAY_S,
    PUSH_ITEMS_MAX,
    Channel,
)
from tests.p2p.harness import Node, node_keys, running

TAGS = st.sampled_from(["push", "announce", "get", "ping", ""])
A, B, C = b"a" * 32, b"b" * 32, b"c" * 32


def tx(number: int) -> tuple[bytes, bytes]:
    raw = b"transaction %d" % number
    return sha256(raw).digest(), raw


X, RAW = tx(1)
Y, RAW_Y = tx(2)
Z = tx(3)[0]


class FakePool:
    """A mempool that admits everything."""

    def __init__(self) -> None:
        self.pending: dict[bytes, bytes] = {}
        self.decided: set[bytes] = set()
        self.delivered: list[tuple[bytes, bytes]] = []

    def lookup(self, transaction_id: bytes) -> bytes | None:
        return self.pending.get(transaction_id)

    def is_known(self, transaction_id: bytes) -> bool:
        return transaction_id in self.pending or transaction_id in self.decided

    def pending_ids(self) -> Iterable[bytes]:
        return self.pending

    def deliver(self, peer: bytes, transactions: Sequence[bytes]) -> None:
        self.delivered += [(peer, raw) for raw in transactions]


def policy(*peers: bytes) -> tuple[GossipPolicy, FakePool]:
    pool = FakePool()
    made = GossipPolicy(pool)
    for peer in peers:
        assert made.peer_up(peer) == []
    return made, pool


def read(outgoing: list[Outgoing]) -> list[tuple[tuple[bytes, ...], GossipMessage]]:
    return [(out.peers, parse_gossip(out.payload)) for out in outgoing]


def test_a_quiet_node_pushes_at_once_to_all_and_after_a_push_gathers_for_a_moment() -> None:
    node, _ = policy(A, B)
    node.submit([(X, RAW)], 1.0)
    assert node.next_due_s() == 1.0
    assert read(node.poll(1.0)) == [((A, B), Push((RAW,)))]
    node.submit([(Y, RAW_Y)], 1.001)
    node.submit([(Z, RAW)], 1.003)
    assert node.next_due_s() == 1.0 + PUSH_DELAY_S
    assert node.poll(1.004) == []
    assert read(node.poll(1.0 + PUSH_DELAY_S)) == [((A, B), Push((RAW_Y, RAW)))]
    assert node.holders(X) == node.holders(Z) == {A, B}
    assert node.next_due_s() is None
    assert node.poll(1_000.0) == []


def test_a_full_batch_is_pushed_at_once_and_cut_at_the_limits() -> None:
    node, _ = policy(A)
    node.submit([(Z, b"0")], 1.0)
    assert len(node.poll(1.0)) == 1
    node.submit([(X, bytes(PUSH_BYTES - 1))], 1.0)
    assert node.poll(1.0) == []
    node.submit([(Y, b"1")], 1.0)
    assert len(node.poll(1.0)) == 1
    for count, batches in ((PUSH_ITEMS_MAX, 1), (PUSH_ITEMS_MAX + 1, 2)):
        assert len(list(push_batches([b""] * count))) == batches


def test_what_was_received_is_told_later_to_all_but_its_source_while_it_is_pending() -> None:
    node, pool = policy(A, B, C)
    pool.pending[X] = RAW
    node.admitted(A, [X, Y], 1.0)  # Y is decided before it is told
    assert node.poll(1.0 + ANNOUNCE_DELAY_S - 0.01) == []
    assert read(node.poll(1.0 + ANNOUNCE_DELAY_S)) == [((B, C), Announce(X))]
    assert node.poll(100.0) == []
    assert node.holders(X) == {A}


def test_a_peer_that_comes_up_is_told_what_is_pending() -> None:
    node, pool = policy()
    pool.pending = dict(tx(i) for i in range(IDS_PER_MESSAGE_MAX + 1))
    told = [message for _, message in read(node.peer_up(A)) if isinstance(message, Announce)]
    assert [len(message.ids) // 32 for message in told] == [IDS_PER_MESSAGE_MAX, 1]


def test_an_unknown_id_is_asked_of_who_told_it_and_a_known_one_is_not() -> None:
    node, pool = policy(A, B)
    pool.decided.add(Y)
    assert read(node.received(A, Announce(X + Y), 1.0)) == [((A,), Get(X))]
    assert node.received(B, Announce(X), 1.0) == []
    node.received(A, Push((RAW,)), 1.1)
    assert pool.delivered == [(A, RAW)]
    pool.pending[X] = RAW
    node.admitted(A, [X], 1.2)
    assert node.holders(X) == {A, B}
    assert node.holders(Y) == {A}
    assert node.received(A, Announce(X), 2.0) == []


def test_who_does_not_deliver_in_time_is_followed_by_the_next_who_told() -> None:
    node, _ = policy(A, B)
    node.received(A, Announce(X), 1.0)
    node.received(B, Announce(X), 1.1)
    assert node.poll(1.0 + PULL_TIMEOUT_S - 0.1) == []
    assert node.next_due_s() == 1.0 + PULL_TIMEOUT_S
    assert read(node.poll(1.0 + PULL_TIMEOUT_S)) == [((B,), Get(X))]


def test_a_peer_that_goes_is_not_waited_for() -> None:
    node, _ = policy(A, B)
    node.received(A, Announce(X), 1.0)
    node.received(B, Announce(X), 1.0)
    node.peer_down(A)
    assert read(node.poll(1.0)) == [((B,), Get(X))]
    node.peer_down(B)
    assert node.poll(1.0) == []
    assert node.next_due_s() is None


def test_an_id_nobody_delivers_is_given_up_and_may_be_heard_of_again() -> None:
    node, _ = policy(A)
    asked = len(node.received(A, Announce(X), 0.0))
    for attempt in range(1, 2 * PULL_ATTEMPTS_MAX):
        asked += len(node.poll(attempt * PULL_TIMEOUT_S))
    assert asked == PULL_ATTEMPTS_MAX
    assert node.next_due_s() is None
    assert read(node.received(A, Announce(X), 1_000.0)) == [((A,), Get(X))]


def test_what_was_refused_for_good_is_not_fetched_again() -> None:
    node, _ = policy(A, B)
    node.received(A, Announce(X), 1.0)
    node.refused([X])
    assert node.received(B, Announce(X), 1.0) == []
    assert node.poll(100.0) == []


def test_a_get_is_answered_with_what_is_pending_and_silence_about_the_rest() -> None:
    node, pool = policy(A)
    pool.pending[X] = RAW
    assert read(node.received(A, Get(X + Y), 1.0)) == [((A,), Push((RAW,)))]
    assert node.received(A, Get(Y), 1.0) == []


def test_the_place_of_a_peer_that_left_does_not_pass_its_holdings_on() -> None:
    node, pool = policy(A, B)
    pool.pending[X] = RAW
    node.admitted(A, [X], 1.0)
    node.peer_down(A)
    node.peer_up(C)
    assert node.holders(X) == frozenset()


def test_known_and_wanted_ids_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gossip, "KNOWN_IDS_MAX", 4)
    monkeypatch.setattr(gossip, "WANTED_IDS_MAX", 3)
    monkeypatch.setattr(gossip, "WANTED_PER_PEER_MAX", 2)
    node, _ = policy(A, B)
    ids = [tx(i)[0] for i in range(6)]
    node.admitted(A, ids, 1.0)
    assert [bool(node.holders(i)) for i in ids] == [False, False, True, True, True, True]
    new = [tx(100 + i)[0] for i in range(5)]
    (message,) = [message for _, message in read(node.received(A, Announce(b"".join(new)), 1.0))]
    assert message == Get(b"".join(new[:2]))
    assert node.received(B, Announce(new[3]), 1.0) == []  # no room to want a fourth


@settings(max_examples=100, deadline=None)
@given(
    st.binary(max_size=100)
    | st.builds(lambda t, b: encode([t, b]), TAGS, st.binary(max_size=70) | st.lists(st.binary()))
)
def test_any_bytes_are_gossip_or_malformed(payload: bytes) -> None:
    node, _ = policy(A)
    try:
        node.received(A, parse_gossip(payload), 1.0)
    except PeerError as error:
        assert error.code == "MALFORMED"


@pytest.mark.parametrize("kind", [Announce, Get])
def test_ids_and_pushes_may_be_as_many_as_the_limit_and_no_more(kind: type[Announce] | type[Get]) -> None:
    parse_gossip(encode(kind(bytes(32 * IDS_PER_MESSAGE_MAX))))
    parse_gossip(encode(Push((b"",) * PUSH_ITEMS_MAX)))
    for message in (kind(bytes(32 * IDS_PER_MESSAGE_MAX + 32)), kind(bytes(33)), Push((b"",) * (PUSH_ITEMS_MAX + 1))):
        with pytest.raises(PeerError, match="MALFORMED"):
            parse_gossip(encode(message))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3), st.integers(0, 5)), max_size=60))
def test_whatever_happens_no_wanted_id_is_forgotten_by_its_peer_count(steps: list[tuple[int, int, int]]) -> None:
    """After everything was delivered or given up, nothing is counted as asked any more."""
    node, pool = policy()
    peers = [A, B, C, b"d" * 32]
    now_s = 0.0
    for action, who, what in steps:
        now_s += 0.7
        peer, (transaction_id, raw) = peers[who], tx(what)
        if action == 0:
            node.peer_up(peer)
        elif action == 1:
            node.peer_down(peer)
        elif action == 2:
            node.received(peer, Announce(transaction_id), now_s)
        elif action == 3:
            pool.pending[transaction_id] = raw
            node.admitted(peer, [transaction_id], now_s)
        elif action == 4:
            node.refused([transaction_id])
        elif action == 5:
            node.submit([(transaction_id, raw)], now_s)
        else:
            node.poll(now_s)
    for round_ in range(2 * PULL_ATTEMPTS_MAX):
        node.poll(now_s + (round_ + 1) * PULL_TIMEOUT_S)
    assert node._asked == {}
    assert node.next_due_s() is None


class Admitting(FakePool):
    """A pool that admits what it is given and tells its gossip."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.node = node
        self.announced: list[tuple[bytes, bytes]] = []
        self.gossip = TransactionGossip(node.network, self, SystemClock())
        node.hook = self._message

    def _message(self, peer: bytes, channel: Channel, payload: bytes) -> None:
        assert channel is Channel.TRANSACTIONS
        self.announced += [(peer, i) for i in self.gossip.on_message(peer, payload)]

    def deliver(self, peer: bytes, transactions: Sequence[bytes]) -> None:
        super().deliver(peer, transactions)
        new = {sha256(raw).digest(): raw for raw in transactions}
        self.pending.update(new)
        self.gossip.admitted(peer, list(new))


@pytest.mark.asyncio
async def test_on_real_links_a_transaction_reaches_all_and_a_late_peer_fetches_it() -> None:
    nodes = [Node(key) for key in node_keys(3)]
    pools = [Admitting(node) for node in nodes]
    one, two, late = nodes
    async with running(*nodes):
        one.knows(two)
        await asyncio.gather(one.connected(two.key), two.connected(one.key))
        pools[0].gossip.on_peer(two.key, True)
        pools[0].pending[X] = RAW
        pools[0].gossip.submit([(X, RAW)])
        await two.until(lambda: X in pools[1].pending)
        assert pools[0].gossip.holders(X) == {two.key}
        two.knows(late)
        await asyncio.gather(two.connected(late.key), late.connected(two.key))
        pools[2].gossip.on_peer(two.key, True)
        pools[1].gossip.on_peer(late.key, True)
        await late.until(lambda: X in pools[2].pending)
        assert pools[2].announced == [(two.key, X)]
        for pool in pools:
            pool.gossip.stop()


@pytest.mark.asyncio
async def test_a_stopped_gossip_sends_nothing_on_time() -> None:
    node = Node(node_keys(1)[0])
    pool = Admitting(node)
    pool.gossip.stop()
    pool.pending[X] = RAW
    pool.gossip.submit([(X, RAW)])
    assert pool.gossip.holders(X) == frozenset()
    assert pool.gossip._timer is None


def test_what_lies_in_the_inbox_is_not_asked_for_again() -> None:
    coming: set[bytes] = {bytes(32)}
    made = GossipPolicy(FakePool(), coming.__contains__)
    made.peer_up(b"a")
    announced = Announce(bytes(32) + b"\x01" * 32)
    assert made.received(b"a", announced, 0.0) == [Outgoing((b"a",), encode(Get(b"\x01" * 32)))]
    coming.clear()  # it was refused for lack of room: the next announcement counts
    assert made.received(b"a", announced, 0.1) == [Outgoing((b"a",), encode(Get(bytes(32))))]
