"""ECVRF against RFC 9381's vectors, its refusals, and draws."""

import json
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl import bindings

from ledger import beacon
from ledger.errors import InvariantViolation

VECTORS = [
    {name: bytes.fromhex(value) for name, value in vector.items()}
    for vector in json.loads(
        (Path(__file__).parents[1] / "data" / "vrf_rfc9381_ed25519_sha512_tai.json").read_text(encoding="utf-8")
    )["vectors"]
]
ORDER = 2**252 + 27742317777372353535851937790883648493
FIELD = 2**255 - 19
IDENTITY = b"\x01" + bytes(31)
ORDER_TWO = (FIELD - 1).to_bytes(32, "little")
"""The point (0, -1)."""
ORDER_EIGHT = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")
SEED = bytes(range(32))
PUBLIC = beacon.public_key(SEED)
ALPHA = b"alpha"
PROOF = beacon.prove(SEED, ALPHA)


@pytest.mark.parametrize("vector", VECTORS, ids=["example 16", "example 17", "example 18"])
def test_the_vectors_of_rfc_9381(vector: dict[str, bytes]) -> None:
    assert beacon.public_key(vector["sk"]) == vector["pk"]
    assert beacon.prove(vector["sk"], vector["alpha"]) == vector["pi"]
    assert beacon.proof_to_hash(vector["pi"]) == vector["beta"]
    assert beacon.verify(vector["pk"], vector["alpha"], vector["pi"]) == vector["beta"]


def test_there_are_vectors() -> None:
    assert len(VECTORS) == 3


@settings(max_examples=25, deadline=None)
@given(seed=st.binary(min_size=32, max_size=32), alpha=st.binary(max_size=80))
def test_a_proof_verifies_for_its_key_and_alpha_only(seed: bytes, alpha: bytes) -> None:
    public, proof = beacon.public_key(seed), beacon.prove(seed, alpha)
    assert len(proof) == beacon.PROOF_BYTES
    output = beacon.verify(public, alpha, proof)
    assert output == beacon.proof_to_hash(proof)
    assert output is not None
    assert len(output) == beacon.BEACON_BYTES
    assert beacon.verify(public, alpha + b"x", proof) is None
    if public != PUBLIC:
        assert beacon.verify(PUBLIC, alpha, proof) is None


@pytest.mark.parametrize("byte", range(80))
def test_one_changed_bit_anywhere_is_refused(byte: int) -> None:
    changed = bytearray(PROOF)
    changed[byte] ^= 0x10
    assert beacon.verify(PUBLIC, ALPHA, bytes(changed)) is None


@settings(max_examples=100, deadline=None)
@given(
    public=st.binary(max_size=40) | st.just(PUBLIC),
    alpha=st.binary(max_size=8),
    proof=st.binary(max_size=90) | st.binary(min_size=80, max_size=80),
)
def test_no_bytes_make_verify_raise(public: bytes, alpha: bytes, proof: bytes) -> None:
    assert beacon.verify(public, alpha, proof) is None


def test_a_response_of_the_group_order_or_more_is_refused() -> None:
    """s + q would verify too: without the check every proof had a twin."""
    twin = (int.from_bytes(PROOF[48:], "little") + ORDER).to_bytes(32, "little")
    assert beacon.verify(PUBLIC, ALPHA, PROOF[:48] + twin) is None


@pytest.mark.parametrize("point", [IDENTITY, ORDER_TWO, ORDER_EIGHT, bytes(32)], ids=["1", "2", "8", "4"])
def test_small_order_keys_and_gammas_are_refused(point: bytes) -> None:
    assert beacon.verify(point, ALPHA, PROOF) is None
    assert beacon.verify(PUBLIC, ALPHA, point + PROOF[32:]) is None
    with pytest.raises(InvariantViolation):
        beacon.proof_to_hash(point + PROOF[32:])


def test_a_gamma_or_key_with_a_small_order_part_is_refused() -> None:
    """Stricter than the RFC, which cannot see it whenever the challenge is a multiple of 8."""
    gamma = bindings.crypto_core_ed25519_add(PROOF[:32], ORDER_EIGHT)
    assert beacon.verify(PUBLIC, ALPHA, gamma + PROOF[32:]) is None
    public = bindings.crypto_core_ed25519_add(PUBLIC, ORDER_EIGHT)
    assert beacon.verify(public, ALPHA, PROOF) is None


def test_a_zero_challenge_and_a_zero_response_are_answered_not_refused_by_libsodium() -> None:
    """libsodium will not multiply by 0; the identity takes the product's place and the comparison decides."""
    assert beacon.verify(PUBLIC, ALPHA, PROOF[:32] + bytes(16) + PROOF[48:]) is None
    assert beacon.verify(PUBLIC, ALPHA, PROOF[:48] + bytes(32)) is None
    assert beacon.verify(PUBLIC, ALPHA, PROOF[:32] + bytes(48)) is None
    assert beacon._times(bytes(32), PUBLIC) == beacon._times_base(bytes(32)) == IDENTITY


def test_a_hashed_candidate_is_decoded_as_rfc_8032_demands() -> None:
    """y below p, and no minus sign on x = 0. libsodium's addition alone would take all of these."""
    assert beacon._is_canonical(PUBLIC)
    assert beacon._is_canonical((FIELD - 1).to_bytes(32, "little"))
    for bad in (FIELD, FIELD + 1, 2**255 - 1, 1 | 1 << 255, FIELD - 1 | 1 << 255):
        assert not beacon._is_canonical(bad.to_bytes(32, "little"))


def test_the_cofactor_clears_every_small_order_part() -> None:
    shifted = bindings.crypto_core_ed25519_add(PUBLIC, ORDER_EIGHT)
    assert not bindings.crypto_core_ed25519_is_valid_point(shifted)
    assert beacon._times_cofactor(shifted) == beacon._times_cofactor(PUBLIC)
    for point in (IDENTITY, ORDER_TWO, ORDER_EIGHT):
        assert beacon._times_cofactor(point) == IDENTITY


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_seed_has_32_bytes(size: int) -> None:
    with pytest.raises(InvariantViolation):
        beacon.prove(bytes(size), ALPHA)


def test_alpha_is_the_previous_beacon_and_the_height() -> None:
    assert beacon.alpha(b"B" * 64, 258) == b"B" * 64 + b"\x00\x00\x00\x00\x00\x00\x01\x02"


# ---- draws


def test_a_draw_is_the_first_8_bytes_of_the_hash_of_seed_and_counter() -> None:
    value = int.from_bytes(sha256(b"seed" + (7).to_bytes(8, "big")).digest()[:8], "big")
    assert beacon.draw(b"seed", 7, 2**64) == value
    assert beacon.draw(b"seed", 7, 1000) == value % 1000


def test_a_value_at_the_largest_multiple_of_the_range_is_refused_and_one_below_it_is_not() -> None:
    value = int.from_bytes(sha256(b"seed" + (2).to_bytes(8, "big")).digest()[:8], "big")
    assert value > 2**63, "a range above the half has one multiple: itself"
    assert beacon.draw(b"seed", 2, value) is None
    assert beacon.draw(b"seed", 2, value + 1) == value


@pytest.mark.parametrize("range_", [0, -1, 2**64 + 1])
def test_a_range_is_from_1_to_2_to_the_64(range_: int) -> None:
    assert beacon.draw(b"", 0, 1) == 0
    with pytest.raises(InvariantViolation):
        beacon.draw(b"", 0, range_)


@given(seed=st.binary(max_size=40), range_=st.integers(1, 2**64))
def test_a_drawer_takes_the_draws_in_order_and_passes_over_refused_ones(seed: bytes, range_: int) -> None:
    drawer = beacon.Drawer(seed)
    index = 0
    for _ in range(5):
        while (expected := beacon.draw(seed, index, range_)) is None:
            index += 1
        index += 1
        assert drawer.below(range_) == expected < range_
        assert drawer.index == index


def test_an_attempt_is_one_draw_refused_or_not() -> None:
    drawer = beacon.Drawer(b"seed")
    drawn = [drawer.attempt(2**63 + 1) for _ in range(40)]
    assert drawn == [beacon.draw(b"seed", i, 2**63 + 1) for i in range(40)]
    assert None in drawn
    assert drawer.index == 40
