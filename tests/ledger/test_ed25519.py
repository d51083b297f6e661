"""The rule of valid signatures against a slow reference, public edge cases, and libsodium."""

import json
from pathlib import Path

import ed25519_zebra
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import CryptoError

from ledger.ed25519 import SMALL_ORDER, is_valid
from tests.reference import ed25519 as reference

CASES = json.loads((Path(__file__).parents[1] / "data" / "ed25519_speccheck_cases.json").read_text())
SCALARS = st.integers(1, reference.Q - 1)
PARTS = st.integers(0, 7)


def _libsodium(public: bytes, message: bytes, signature: bytes) -> bool:
    try:
        crypto_sign_open(signature + message, public)
    except (CryptoError, ValueError):
        return False
    return True


def test_the_first_vector_of_rfc_8032_is_valid_for_its_message_alone() -> None:
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    signature = bytes.fromhex(
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
    )
    assert is_valid(public, b"", signature)
    assert reference.is_valid(public, b"", signature)
    assert not is_valid(public, b"\0", signature)


@pytest.mark.parametrize("number", range(len(CASES["cases"])))
def test_each_public_edge_case_is_judged_as_the_rule_says(number: int) -> None:
    case = CASES["cases"][number]
    public, message, signature = (bytes.fromhex(case[part]) for part in ("pub_key", "message", "signature"))
    assert is_valid(public, message, signature) is case["valid"], case["why"]
    assert reference.is_valid(public, message, signature) is case["valid"]


def test_the_points_of_small_order_are_those_that_eight_times_are_nothing() -> None:
    assert {point.times(8) for point in reference.SMALL} == {reference.NEUTRAL}
    assert len(set(reference.SMALL)) == 8
    assert reference.small_encodings() == SMALL_ORDER
    assert len(SMALL_ORDER) == 14


def test_no_key_or_nonce_of_small_order_is_valid_although_the_equation_holds() -> None:
    usual, message = crypto_sign_seed_keypair(bytes(32))[0], b"to whom it may concern"
    for small in SMALL_ORDER:
        for other in SMALL_ORDER:
            signature = other + bytes(32)
            assert ed25519_zebra.ed_verify(signature, message, small)  # without a secret: this is what is refused
            assert not is_valid(small, message, signature)
            assert not reference.is_valid(small, message, signature)
        assert not is_valid(usual, message, small + bytes(32))


def test_a_nonce_of_small_order_is_refused_under_a_usual_key() -> None:
    secret, message = 12345, b"signed without a nonce"
    public, signature = reference.signed(secret, 0, message, nonce_part=3)
    assert ed25519_zebra.ed_verify(signature, message, public)
    assert not is_valid(public, message, signature)
    assert not reference.is_valid(public, message, signature)


@settings(max_examples=60, deadline=None)
@given(SCALARS, SCALARS, st.binary(max_size=40), PARTS, PARTS)
@example(secret=1, nonce=1, message=b"", key_part=0, nonce_part=0)
@example(secret=5, nonce=7, message=b"\0", key_part=1, nonce_part=7)
def test_parts_of_small_order_make_no_difference(
    secret: int, nonce: int, message: bytes, key_part: int, nonce_part: int
) -> None:
    public, signature = reference.signed(secret, nonce, message, key_part, nonce_part)
    assert is_valid(public, message, signature)
    assert reference.is_valid(public, message, signature)
    above = (int.from_bytes(signature[32:], "little") + reference.Q).to_bytes(32, "little")
    assert not is_valid(public, message, signature[:32] + above)


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=64), st.integers(0, 8 * 96 - 1))
def test_what_libsodium_signs_is_valid_and_one_bit_further_it_is_not(seed: bytes, message: bytes, bit: int) -> None:
    public, secret = crypto_sign_seed_keypair(seed)
    signature = crypto_sign(message, secret)[:64]
    assert is_valid(public, message, signature)
    changed = bytearray(public + signature)
    changed[bit // 8] ^= 1 << bit % 8
    case = bytes(changed[:32]), message, bytes(changed[32:])
    assert not is_valid(*case)
    assert not _libsodium(*case)
    assert not reference.is_valid(*case)


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=80), st.binary(max_size=40), st.binary(max_size=160))
def test_bytes_of_any_length_are_refused_and_raise_nothing(public: bytes, message: bytes, signature: bytes) -> None:
    assert not is_valid(public, message, signature)


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(min_size=64, max_size=64))
def test_random_bytes_are_judged_as_the_reference_judges_them(public: bytes, signature: bytes) -> None:
    assert is_valid(public, b"m", signature) is reference.is_valid(public, b"m", signature)


@pytest.mark.parametrize("length", [31, 33])
def test_a_key_or_signature_of_one_byte_less_or_more_is_refused(length: int) -> None:
    public, secret = crypto_sign_seed_keypair(bytes(32))
    signature = crypto_sign(b"m", secret)[:64]
    assert is_valid(public, b"m", signature)
    assert not is_valid((public + b"\0")[:length], b"m", signature)
    assert not is_valid(public, b"m", (signature + b"\0")[: length + 32])
