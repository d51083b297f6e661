"""Noise XX against the official vector, and against every wrong byte."""

import json
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from ledger.errors import InvariantViolation, PeerError
from p2p.limits import TAG_BYTES
from p2p.noise import NONCE_MAX, CipherState, Handshake, NodeKey, Session, dh

VECTOR: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "data" / "noise_xx_25519_chachapoly_sha256.json").read_text()
)["vectors"][0]
SMALL_ORDER = [
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]


def raw(name: str) -> bytes:
    return bytes.fromhex(VECTOR[name])


def vector_pair() -> tuple[Handshake, Handshake]:
    pair = [
        Handshake(
            NodeKey(raw(f"{side}_static")),
            initiator=side == "init",
            prologue=raw(f"{side}_prologue"),
            ephemeral=NodeKey(raw(f"{side}_ephemeral")),
        )
        for side in ("init", "resp")
    ]
    return pair[0], pair[1]


def run(initiator: Handshake, responder: Handshake) -> tuple[Session, Session]:
    responder.read(initiator.write())
    initiator.read(responder.write())
    responder.read(initiator.write())
    return initiator.session(), responder.session()


def fresh_pair(prologues: tuple[bytes, bytes] = (b"p", b"p")) -> tuple[Handshake, Handshake]:
    first, second = NodeKey.generate(), NodeKey.generate()
    return (
        Handshake(first, initiator=True, prologue=prologues[0]),
        Handshake(second, initiator=False, prologue=prologues[1]),
    )


def test_every_byte_is_that_of_the_official_vector() -> None:
    initiator, responder = vector_pair()
    messages = [(bytes.fromhex(m["payload"]), bytes.fromhex(m["ciphertext"])) for m in VECTOR["messages"]]
    sides = cycle([(initiator, responder), (responder, initiator)])
    for (writer, reader), (payload, ciphertext) in zip(sides, messages[:3], strict=False):
        assert writer.write(payload) == ciphertext
        assert reader.read(ciphertext) == payload
    one, two = initiator.session(), responder.session()
    assert one.handshake_hash == two.handshake_hash == raw("handshake_hash")
    assert one.remote == NodeKey(raw("resp_static")).public
    assert two.remote == NodeKey(raw("init_static")).public
    # The vector goes on in turns: the fourth message is the responder's.
    turns = cycle([(two.send, one.receive), (one.send, two.receive)])
    for (sender, receiver), (payload, ciphertext) in zip(turns, messages[3:], strict=False):
        assert sender.encrypt(payload) == ciphertext
        assert receiver.decrypt(ciphertext) == payload
    assert len(messages) > 4


def test_messages_with_empty_payload_have_the_lengths_the_reader_expects() -> None:
    initiator, responder = fresh_pair()
    first = initiator.write()
    responder.read(first)
    second = responder.write()
    initiator.read(second)
    assert (len(first), len(second), len(initiator.write())) == Handshake.LENGTHS


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_changed_byte_anywhere_in_the_handshake_is_found(index: int) -> None:
    length = Handshake.LENGTHS[index]
    for position in range(length):
        initiator, responder = fresh_pair()
        with pytest.raises(PeerError) as caught:
            for turn in range(3):
                writer, reader = (initiator, responder) if turn % 2 == 0 else (responder, initiator)
                message = bytearray(writer.write())
                if turn == index:
                    message[position] ^= 0x01
                reader.read(bytes(message))
        assert caught.value.code == "HANDSHAKE_FAILED"


def test_a_truncated_handshake_message_is_refused() -> None:
    for cut in range(Handshake.LENGTHS[1]):
        initiator, responder = fresh_pair()
        responder.read(initiator.write())
        with pytest.raises(PeerError, match="HANDSHAKE_FAILED"):
            initiator.read(responder.write()[:cut])


def test_different_prologues_do_not_shake_hands() -> None:
    with pytest.raises(PeerError, match="HANDSHAKE_FAILED"):
        run(*fresh_pair((b"ours", b"theirs")))


@pytest.mark.parametrize("point", SMALL_ORDER, ids=lambda p: p.hex()[:8])
def test_a_public_key_of_small_order_is_refused(point: bytes) -> None:
    with pytest.raises(PeerError, match="small order"):
        dh(NodeKey.generate(), point)
    responder = fresh_pair()[1]
    responder.read(point)
    with pytest.raises(PeerError, match="small order"):
        responder.write()


def test_a_turn_out_of_order_is_our_bug() -> None:
    initiator, responder = fresh_pair()
    with pytest.raises(InvariantViolation):
        responder.write()
    with pytest.raises(InvariantViolation):
        initiator.read(b"")
    with pytest.raises(InvariantViolation):
        initiator.session()


def test_a_failed_handshake_is_dead() -> None:
    initiator, responder = fresh_pair()
    responder.read(initiator.write())
    with pytest.raises(PeerError):
        initiator.read(bytes(Handshake.LENGTHS[1]))
    with pytest.raises(InvariantViolation):
        initiator.write()


def test_the_last_nonce_is_never_used() -> None:
    sender, receiver = CipherState(bytes(32), NONCE_MAX - 1), CipherState(bytes(32), NONCE_MAX - 1)
    assert receiver.decrypt(sender.encrypt(b"last")) == b"last"
    for use in (sender.encrypt, receiver.decrypt):
        with pytest.raises(PeerError, match="NONCES_EXHAUSTED"):
            use(bytes(TAG_BYTES))


def test_a_replayed_reordered_or_short_message_is_not_authentic() -> None:
    one, two = run(*fresh_pair())
    first, second = one.send.encrypt(b"1"), one.send.encrypt(b"2")
    with pytest.raises(PeerError, match="BAD_FRAME"):
        two.receive.decrypt(second)
    one, two = run(*fresh_pair())
    first = one.send.encrypt(b"1")
    assert two.receive.decrypt(first) == b"1"
    with pytest.raises(PeerError, match="BAD_FRAME"):
        two.receive.decrypt(first)
    for length in range(TAG_BYTES):
        with pytest.raises(PeerError, match="shorter"):
            two.receive.decrypt(bytes(length))


def test_the_private_key_does_not_show() -> None:
    key = NodeKey(b"\x41" * 32)
    assert "AAAA" not in repr(key)
    with pytest.raises(ValueError, match="32 bytes"):
        NodeKey(b"\x41" * 31)
