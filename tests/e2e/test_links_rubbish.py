"""Rubbish over a live node's port for links: the node lives on and its peers stay (NODE §1)."""

import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from ledger.votes import Certificate
from node.keys import load_node_keys
from node.wire import Head, encode_wire
from p2p.handshake import Bye, Ping, Welcome, control_message
from p2p.hello import HEAD_BYTES, MAGIC, Hello
from p2p.limits import CHANNEL_LIMITS, HANDSHAKE_TIMEOUT_S, PENDING_HANDSHAKES_PER_HOST_MAX, Channel
from p2p.noise import NodeKey

from .network import COMMIT_SECONDS, VALIDATORS, LiveNetwork, LiveNode, until
from .wire import Dialler, plain, verdict

pytestmark = pytest.mark.e2e


def links(node: LiveNode, others: set[str]) -> dict[str, Any]:
    """Since when the node has its links to these peers."""
    peers = node.api.get("/v1/peers")["peers"]
    return {peer["key"]: peer["connected_since_ms"] for peer in peers if peer["key"] in others and peer["connected"]}


@pytest.fixture
def node(four: LiveNetwork) -> Iterator[LiveNode]:
    """A validator to be plagued. Afterwards it is the same process, has the same links, and commits."""
    node = four.nodes["bank"]
    keys = {other.status()["node_key"] for other in four.validators if other is not node}
    before = until(lambda: len(found := links(node, keys)) == 3 and found, COMMIT_SECONDS, "three links are up")
    pid = node.pid
    yield node
    assert node.pid == pid
    assert links(node, keys) == before
    four.commit_one(node)


def observer_key(network: LiveNetwork, name: str) -> NodeKey:
    """The node key of an observer that nobody starts: it is on everybody's allow-list."""
    return NodeKey(load_node_keys(network.nodes[name].home / "keys", observer=True).node.secret)


# ---- before there is a link ----------------------------------------------------------------------------------------

HELLO: Final = Hello(bytes(32), 1, 1, "").encode()
NO_HELLO: Final[dict[str, bytes]] = {
    "random bytes": secrets.token_bytes(65_536),
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a hello that announces 64 KiB": MAGIC + b"\xff\xff" + bytes(65_535),
    "a hello that announces nothing": MAGIC + b"\0\0",
    "a hello without a protocol": HELLO[:10] + bytes(4) + HELLO[14:],
    "an agent that does not fit": HELLO[:-1] + b"\xff",
}


@pytest.mark.parametrize("what", NO_HELLO)
def test_what_is_no_hello_is_hung_up_on(node: LiveNode, what: str) -> None:
    with Dialler(node.p2p) as dialler:
        dialler.send(NO_HELLO[what])
        assert dialler.hung_up()


def test_a_hello_of_another_chain_is_answered_with_ours_and_hung_up_on(four: LiveNetwork, node: LiveNode) -> None:
    with Dialler(node.p2p) as dialler:
        dialler.send(Hello(b"\x07" * 32, 1, 1, "other").encode())
        assert four.chain_id in dialler.read(HEAD_BYTES + 37), "the difference is told from the hello"
        assert dialler.hung_up()


def test_a_handshake_that_is_not_authentic_is_hung_up_on(four: LiveNetwork, node: LiveNode) -> None:
    with Dialler(node.p2p) as dialler:
        dialler.send(Hello(four.chain_id, 1, 1, "").encode() + secrets.token_bytes(4_096))
        assert dialler.hung_up()


def test_an_unknown_node_key_is_told_so(four: LiveNetwork, node: LiveNode) -> None:
    key = NodeKey.generate()
    said = verdict(node.p2p, key, four.chain_id)
    assert isinstance(said, Bye)
    assert (said.code, said.detail) == ("UNKNOWN_PEER", key.public.hex())


def test_half_open_connections_are_bounded_and_end_in_time(four: LiveNetwork, node: LiveNode) -> None:
    started = time.monotonic()
    silent = [Dialler(node.p2p) for _ in range(PENDING_HANDSHAKES_PER_HOST_MAX)]
    try:
        for dialler in silent:
            dialler.read(HEAD_BYTES)  # its hello: the place is taken
        with Dialler(node.p2p) as dialler:
            assert dialler.hung_up()
        assert time.monotonic() - started < HANDSHAKE_TIMEOUT_S, "while the others still may speak"
        four.commit_one(node)
        assert all(dialler.hung_up() for dialler in silent)
        assert time.monotonic() - started < HANDSHAKE_TIMEOUT_S + 5
    finally:
        for dialler in silent:
            dialler.socket.close()


def test_a_flood_of_connections_does_not_keep_the_node_from_its_work(four: LiveNetwork, node: LiveNode) -> None:
    for _ in range(300):
        with Dialler(node.p2p) as dialler:
            dialler.send(secrets.token_bytes(100))
    four.commit_one(node, seconds=5)


# ---- on a link that was admitted -----------------------------------------------------------------------------------


def oversized(dialler: Dialler) -> None:
    """A control message of one byte too many."""
    dialler.frame(bytes([Channel.CONTROL | 0x80]) + bytes(CHANNEL_LIMITS[Channel.CONTROL].message_bytes_max + 1))


def forged(dialler: Dialler) -> None:
    """A frame under another key."""
    dialler.send(b"\x00\x40" + secrets.token_bytes(64))


def nonsense(dialler: Dialler) -> None:
    """A consensus message that is none."""
    dialler.say(plain(Channel.CONSENSUS, b"\xc1" * 100))


def flood(dialler: Dialler) -> None:
    """Many times as many messages as the class allows."""
    for number in range(1_000):
        if not dialler.say(control_message(Ping(number))):
            return


MISDEEDS: Final[dict[str, tuple[Callable[[Dialler], None], str]]] = {
    "platform": (oversized, "TOO_LARGE"),
    "bank": (forged, "BAD_FRAME"),
    "assessor-east": (nonsense, "MALFORMED"),
    "assessor-west": (flood, "FLOOD"),
}
"""Each at another node: a breach costs a ban."""


@pytest.mark.parametrize("where", VALIDATORS)
def test_a_breach_by_a_known_peer_ends_its_link_with_the_reason_and_bans_it(
    four: LiveNetwork, node: LiveNode, where: str
) -> None:
    misdeed, code = MISDEEDS[where]
    key, plagued = observer_key(four, "regulator-2"), four.nodes[where]
    with Dialler(plagued.p2p) as dialler:
        assert isinstance(dialler.shake(key, four.chain_id), Welcome)
        misdeed(dialler)
        assert dialler.farewell().code == code
    again = verdict(plagued.p2p, key, four.chain_id)
    assert isinstance(again, Bye)
    assert again.code == "BANNED"
    peers = plagued.api.get("/v1/peers")["peers"]
    banned = next(peer for peer in peers if peer["key"] == key.public.hex())
    assert 0 < banned["banned_for_s"] <= 10
    four.commit_one(plagued)


def test_a_head_that_nobody_certified_does_not_make_a_node_refuse_its_clients(
    four: LiveNetwork, node: LiveNode
) -> None:
    lie = Head(10**9, bytes(32), Certificate(10**9, 0, bytes(32), ()))
    with Dialler(node.p2p) as dialler:
        assert isinstance(dialler.shake(observer_key(four, "regulator-3"), four.chain_id), Welcome)
        for _ in range(5):
            dialler.say(plain(Channel.SYNC, encode_wire(lie)))
            four.commit_one(node, seconds=5)
            assert node.api.request("GET", "/readyz").status == 200
