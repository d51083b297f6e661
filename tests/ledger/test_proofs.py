"""ICS-23 proof bytes: a vector checked by the public verifier, and everything that must be refused."""

from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import proofs
from ledger.errors import MalformedBytes
from ledger.proofs import Inner, Proof, varint
from ledger.store import MemoryStore, Overlay
from ledger.table_writer import Tables
from ledger.tables import Table

# The proof of `sample` below. `@confio/ics23` 0.6.8, the public JavaScript verifier, accepts it with PROOF_SPEC,
# refuses it with one bit of the value changed, and re-encodes it to the same bytes.
GOLDEN_ROOT = "75c7c26c3bcb8498cdac465b12058c01fe73c32884c472a08be71b4e7ebb95a2"
GOLDEN_SHA256 = "04e76759094bdb6a7f38765e2c6bec35fbcc7fce7af9fb2e14758d8a62f77194"


def sample() -> tuple[bytes, Proof]:
    """Row 17 of 20 members: a path with full, partly empty and fixed nodes."""
    tables = Tables(Overlay(MemoryStore()))
    tables.append_many(Table.MEMBERS, [b"member %d" % i for i in range(20)])
    return tables.root(), tables.prove(Table.MEMBERS, 17)


ROOT, PROOF = sample()
RAW = PROOF.encode()


def test_the_bytes_are_those_that_the_public_verifier_accepted() -> None:
    assert ROOT.hex() == GOLDEN_ROOT
    assert sha256(RAW).hexdigest() == GOLDEN_SHA256


def test_the_spec_is_that_of_ledger_1() -> None:
    assert proofs.PROOF_SPEC["leaf_spec"] == {
        "hash": 1, "prehash_key": 0, "prehash_value": 0, "length": 1, "prefix": b"\x00",
    }  # fmt: skip
    assert proofs.PROOF_SPEC["inner_spec"] == {
        "child_order": tuple(range(16)), "child_size": 32, "min_prefix_length": 1, "max_prefix_length": 1,
        "empty_child": bytes(32), "hash": 1,
    }  # fmt: skip
    assert (proofs.PROOF_SPEC["min_depth"], proofs.PROOF_SPEC["max_depth"]) == (3, 18)


def test_a_proof_shows_its_row_and_nothing_else() -> None:
    key, value = PROOF.key, PROOF.value
    assert proofs.verify(ROOT, key, value, RAW)
    assert proofs.decode(RAW) == PROOF
    assert not proofs.verify(sha256(b"").digest(), key, value, RAW)
    assert not proofs.verify(ROOT, key, value + b"x", RAW)
    assert not proofs.verify(ROOT, key[:-1] + b"\x10", value, RAW)
    assert not proofs.verify(ROOT, b"\x07" + key[1:], value, RAW)


def test_the_hash_is_that_of_ledger_1() -> None:
    key = b"\x06" + (17).to_bytes(8, "big")
    value = bytes(range(200))
    assert proofs.leaf_hash(key, value) == sha256(b"\x00\x09" + key + b"\xc8\x01" + value).digest()
    children = bytes(range(256)) * 2
    step = proofs.inner_step(children, 3)
    assert (step.prefix, step.suffix) == (b"\x01" + children[:96], children[128:])


@pytest.mark.parametrize("at", range(0, len(RAW), 7))
def test_one_changed_byte_is_refused(at: int) -> None:
    changed = bytearray(RAW)
    changed[at] ^= 1
    assert not proofs.verify(ROOT, PROOF.key, PROOF.value, bytes(changed))


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 10, 100, len(RAW) - 1])
def test_a_truncated_proof_is_refused(cut: int) -> None:
    with pytest.raises(MalformedBytes):
        proofs.decode(RAW[:cut])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80) | st.builds(lambda at, cut, new: RAW[:at] + new + RAW[at + cut :],
       st.integers(0, 60), st.integers(0, 6), st.binary(max_size=6)))  # fmt: skip
def test_any_bytes_are_decoded_canonically_or_refused_as_malformed(raw: bytes) -> None:
    try:
        proof = proofs.decode(raw)
    except MalformedBytes:
        return
    assert proof.encode() == raw


def message(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


STEP = b"\x08\x01" + message(2, b"\x01")
LEAF = message(3, b"\x08\x01\x20\x01" + message(5, b"\x00"))
EXIST = message(1, b"k") + message(2, b"v") + LEAF + message(4, STEP)


@pytest.mark.parametrize(
    "raw",
    [
        message(2, EXIST),
        message(1, EXIST) * 2,
        message(1, EXIST + message(5, b"")),
        message(1, message(2, b"v") + message(1, b"k") + LEAF + message(4, STEP)),
        message(1, message(1, b"k") + message(1, b"k") + message(2, b"v") + LEAF),
        message(1, message(1, b"k") + message(2, b"v") + LEAF.replace(b"\x20\x01", b"\x20\x02")),
        message(1, message(1, b"k") + message(2, b"v") + LEAF.replace(b"\x08\x01", b"\x08\x02")),
        message(1, message(1, b"k") + message(2, b"v") + LEAF.replace(b"\x00", b"\x02")),
        message(1, message(1, b"k") + message(2, b"v") + LEAF + message(4, STEP + message(3, b""))),
        message(1, message(1, b"k") + message(2, b"v") + LEAF + message(4, message(2, b"\x01"))),
        message(1, message(1, b"k") + message(2, b"v")),
        message(1, message(2, b"v") + LEAF),
        message(1, message(1, b"k") + LEAF),
        b"\x0a" + varint(len(EXIST) + 1 << 30) + EXIST,
        b"\x8a\x00" + varint(len(EXIST)) + EXIST,
        b"\xff" * 6,
        b"\x0d\x00\x00\x00\x00",
    ],
    ids=[
        "not exist", "two", "unknown field", "order", "key twice", "other length op", "other hash op", "other prefix",
        "empty suffix written", "step without hash", "no leaf", "no key", "no value", "too long", "padded varint",
        "endless varint", "fixed32",
    ],
)  # fmt: skip
def test_only_the_canonical_bytes_of_this_spec_are_a_proof(raw: bytes) -> None:
    assert proofs.decode(message(1, EXIST)) == Proof(b"k", b"v", (Inner(b"\x01", b""),))
    with pytest.raises(MalformedBytes):
        proofs.decode(raw)


def climb(key: bytes, value: bytes, path: tuple[Inner, ...]) -> tuple[bytes, bytes]:
    """A forged root that the given path does lead to, and the proof's bytes."""
    proof = Proof(key, value, path)
    return proof.root(), proof.encode()


def full_path(slots: tuple[int, ...]) -> tuple[Inner, ...]:
    return tuple(proofs.inner_step(bytes(512), slot) for slot in slots)


def test_a_path_must_lead_to_the_place_of_its_key() -> None:
    key = b"\x16" + (0x2A).to_bytes(8, "big")
    for slots, right in (((10, 2, 6, 1), True), ((2, 10, 6, 1), False), ((10, 2, 1, 6), False), ((10, 6, 1), False)):
        root, raw = climb(key, b"v", full_path(slots))
        assert proofs.verify(root, key, b"v", raw) is right


def test_a_path_has_from_3_to_18_steps() -> None:
    key = b"\x01" + bytes(8)
    for steps, right in ((2, False), (3, True), (18, True), (19, False)):
        root, raw = climb(key, b"v", full_path((0,) * (steps - 2) + (1, 0)))
        assert proofs.verify(root, key, b"v", raw) is right


@pytest.mark.parametrize(
    "change",
    [
        {"suffix": bytes(14 * 32)}, {"suffix": bytes(16 * 32)}, {"prefix": b"\x01" + bytes(31)},
        {"prefix": b"\x00"}, {"prefix": b""},
    ],
    ids=["15 children", "17 children", "half a child", "leaf prefix", "no prefix"],
)  # fmt: skip
def test_every_step_is_a_node_of_16_children(change: dict[str, bytes]) -> None:
    key = b"\x01" + bytes(8)
    good = full_path((0, 1, 0))
    for at in (0, 2):
        path = tuple(replace(step, **change) if i == at else step for i, step in enumerate(good))
        root, raw = climb(key, b"v", path)
        assert not proofs.verify(root, key, b"v", raw)


def test_a_key_has_9_bytes() -> None:
    for size, right in ((8, False), (9, True), (10, False)):
        key = bytes(size)
        root, raw = climb(key, b"v", full_path((0, 0, 0)))
        assert proofs.verify(root, key, b"v", raw) is right


def test_a_proof_may_not_exceed_its_limit() -> None:
    key = b"\x01" + bytes(8)
    proof = Proof(key, bytes(proofs.VALUE_BYTES_MAX), full_path((0,) * 16 + (1, 0)))
    raw = proof.encode()
    assert len(raw) <= proofs.PROOF_BYTES_MAX, "the largest row at the greatest depth fits"
    assert proofs.verify(proof.root(), key, proof.value, raw)
    with pytest.raises(MalformedBytes, match="at most"):
        proofs.decode(raw + bytes(proofs.PROOF_BYTES_MAX + 1 - len(raw)))


@given(st.integers(0, 2**35 - 1))
def test_varints_are_read_as_written(number: int) -> None:
    assert proofs._read_varint(varint(number), 0) == (number, len(varint(number)))
