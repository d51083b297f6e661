"""A bundle holds or is refused: whole, signed, with all founders, of a protocol that is spoken, with f + 1 peers."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger.codec import encode
from ledger.errors import OperatorError
from ledger.genesis import sign_genesis
from ledger.protocol import NEWEST, OLDEST
from ledger.signing import Domain, sign, signing_digest
from node.bundle import Bundle, BundlePeer, SignedBundle, read_bundle, write_bundle
from tests.ledger.chain import Chain, key, seed

GENESIS = Chain().genesis
SIGNATURES = "".join(sign_genesis(item.name, seed(item.name), GENESIS.chain_id) for item in GENESIS.organisations)
PEERS = tuple(BundlePeer(f"org {at}", bytes((at,)) * 32, f"127.0.0.1:{7000 + at}", at < 2) for at in range(3))
GOOD = Bundle(
    version=1,
    chain_id=GENESIS.chain_id,
    genesis=GENESIS.raw,
    signatures=SIGNATURES,
    protocol_min=OLDEST,
    protocol_max=NEWEST,
    faults=1,
    peers=PEERS,
    height=7,
    block_hash=bytes(32),
    issued_ms=1,
)


def signed(bundle: Bundle, name: str = "platform") -> bytes:
    """As somebody with another program may sign it."""
    content = encode(bundle)
    digest = signing_digest(Domain.BUNDLE, bundle.chain_id, 0, content)
    return encode(SignedBundle(content, key(name), sign(seed(name), digest)))


def code(raw: bytes) -> str:
    with pytest.raises(OperatorError) as refused:
        read_bundle(raw)
    assert refused.value.next
    return refused.value.code


def test_a_bundle_says_who_signed_it_and_what_the_chain_is() -> None:
    read = read_bundle(write_bundle(GOOD, seed("bank")))
    assert (read.bundle, read.founder, read.genesis.chain_id) == (GOOD, "bank", GENESIS.chain_id)
    assert read_bundle(signed(GOOD, "stranger")).founder is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"version": 2}, "BUNDLE_INVALID"),
        ({"genesis": GENESIS.raw + b"\n"}, "BUNDLE_INVALID"),
        ({"signatures": "\n".join(SIGNATURES.splitlines()[1:])}, "GENESIS_UNSIGNED"),
        ({"signatures": SIGNATURES.replace("platform ", "platform 0", 1)}, "GENESIS_SIGNATURE_INVALID"),
        ({"protocol_min": NEWEST + 1, "protocol_max": NEWEST + 1}, "PROTOCOL_TOO_OLD"),
        ({"protocol_min": OLDEST - 1, "protocol_max": OLDEST - 1}, "PROTOCOL_TOO_NEW"),
        ({"peers": PEERS[1:]}, "BUNDLE_PEERS"),
        ({"peers": (PEERS[0], replace(PEERS[1], node_key=PEERS[0].node_key))}, "BUNDLE_PEERS"),
        ({"faults": 2}, "BUNDLE_PEERS"),
        ({"faults": -1}, "BUNDLE_INVALID"),
        ({"block_hash": bytes(31)}, "BUNDLE_INVALID"),
        ({"peers": (*PEERS, replace(PEERS[0], address="nowhere"))}, "BUNDLE_INVALID"),
        ({"peers": (*PEERS, replace(PEERS[0], address="host:0"))}, "BUNDLE_INVALID"),
        ({"peers": (*PEERS, replace(PEERS[0], node_key=bytes(31)))}, "BUNDLE_INVALID"),
        ({"peers": PEERS * 171}, "BUNDLE_INVALID"),
    ],
)
def test_what_does_not_hold_is_refused_with_its_own_code(changes: dict[str, Any], expected: str) -> None:
    bundle = replace(GOOD, **changes)
    assert code(signed(bundle)) == expected
    with pytest.raises(OperatorError):
        write_bundle(bundle, seed("platform"))


@given(st.integers(0, len(signed(GOOD)) - 1), st.integers(1, 255))
def test_a_changed_byte_is_found(at: int, change: int) -> None:
    raw = bytearray(signed(GOOD))
    raw[at] ^= change
    assert code(bytes(raw)) == "BUNDLE_INVALID"


@given(st.binary(max_size=200))
def test_rubbish_is_no_bundle(raw: bytes) -> None:
    assert code(raw) == "BUNDLE_INVALID"
