"""ICS-23 existence proofs: their data, their protobuf bytes, and a verifier that knows nothing of the tables.

A proof says: under this state root lies a row with this key and this value. Its bytes are a `CommitmentProof` of
cosmos/ics23 with the field `exist`, so that the public verifiers (JavaScript, Go, Rust) check it with `PROOF_SPEC`.
The encoder is written by hand (five tiny messages) and canonical: fields ascending, defaults left out.

    leaf  = H(0x00 ‖ varint(len key) ‖ key ‖ varint(len value) ‖ value)      key = table tag (1) ‖ id (8, big-endian)
    inner = H(0x01 ‖ 16 × 32 bytes)                                          an empty child is 32 zero bytes

`verify` here is *stricter* than ICS-23: every inner node has exactly 16 children, and the path must lead to the place
that the key names (its tag in the two fixed upper levels, its id below). A row at a place not its own is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from .errors import MalformedBytes

HASH_BYTES = 32
CHILDREN = 16
KEY_BYTES = 9
EMPTY_CHILD = bytes(HASH_BYTES)
LEAF_PREFIX = b"\x00"
INNER_PREFIX = b"\x01"
STATE_LEVELS = 2
"""Fixed levels from the table roots to the state root: 16 × 16 = 256 slots, one for each table tag."""
DEPTH_MIN = 1 + STATE_LEVELS
DEPTH_MAX = 16 + STATE_LEVELS
"""An id of 64 bits is 16 digits of 4 bits."""
VALUE_BYTES_MAX = 1 << 20
PROOF_BYTES_MAX = VALUE_BYTES_MAX + 16_384

_SHA256 = 1
_VAR_PROTO = 1
_LEAF_OP = {"hash": _SHA256, "prehash_key": 0, "prehash_value": 0, "length": _VAR_PROTO, "prefix": LEAF_PREFIX}

PROOF_SPEC: dict[str, object] = {
    "leaf_spec": _LEAF_OP,
    "inner_spec": {
        "child_order": tuple(range(CHILDREN)),
        "child_size": HASH_BYTES,
        "min_prefix_length": len(INNER_PREFIX),
        "max_prefix_length": len(INNER_PREFIX),
        "empty_child": EMPTY_CHILD,
        "hash": _SHA256,
    },
    "max_depth": DEPTH_MAX,
    "min_depth": DEPTH_MIN,
}
"""The ICS-23 `ProofSpec` as data, named as in its proofs.proto (hash 1 = SHA256, length 1 = VAR_PROTO)."""


@dataclass(frozen=True, slots=True)
class Inner:
    """One step upwards: the node's bytes before and after the child we come from."""

    prefix: bytes
    suffix: bytes


@dataclass(frozen=True, slots=True)
class Proof:
    """An existence proof: the row's key and value, and the path from its leaf to the state root."""

    key: bytes
    value: bytes
    path: tuple[Inner, ...]

    def root(self) -> bytes:
        """The root that this proof leads to."""
        return _climb(leaf_hash(self.key, self.value), self.path)

    def encode(self) -> bytes:
        """The protobuf bytes of `CommitmentProof{exist: ExistenceProof}`."""
        leaf = _number(1, _SHA256) + _number(4, _VAR_PROTO) + _bytes(5, LEAF_PREFIX)
        steps = b"".join(
            _bytes(4, _number(1, _SHA256) + _bytes(2, step.prefix) + (_bytes(3, step.suffix) if step.suffix else b""))
            for step in self.path
        )
        exist = _bytes(1, self.key) + _bytes(2, self.value) + _bytes(3, leaf) + steps
        return _bytes(1, exist)


def varint(number: int) -> bytes:
    """A protobuf varint: 7 bits a byte, lowest first."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def leaf_hash(key: bytes, value: bytes) -> bytes:
    """The hash of a row."""
    return sha256(LEAF_PREFIX + varint(len(key)) + key + varint(len(value)) + value).digest()


def inner_step(children: bytes, slot: int) -> Inner:
    """The step through a node, given its 16 × 32 bytes and the slot of the child we come from."""
    at = slot * HASH_BYTES
    return Inner(INNER_PREFIX + children[:at], children[at + HASH_BYTES :])


def verify(root: bytes, key: bytes, value: bytes, proof_bytes: bytes) -> bool:
    """Whether the proof shows that `value` is the row `key` of the state `root`. Never raises, whatever the bytes."""
    try:
        proof = decode(proof_bytes)
    except MalformedBytes:
        return False
    return proof.key == key and proof.value == value and _leads_to_its_key(proof) and proof.root() == root


def decode(proof_bytes: bytes) -> Proof:
    """Read canonical proof bytes. Raises `MalformedBytes` for anything that `Proof.encode` would not have written."""
    if len(proof_bytes) > PROOF_BYTES_MAX:
        raise MalformedBytes(f"a proof of {len(proof_bytes)} bytes, at most {PROOF_BYTES_MAX}")
    key = value = b""
    path: list[Inner] = []
    for field, content in _fields(_only(_fields(proof_bytes))):
        match field:
            case 1:
                key = content
            case 2:
                value = content
            case 3:
                pass  # fixed by the spec; compared below with everything else
            case 4:
                path.append(_decode_step(content))
            case _:
                raise MalformedBytes(f"an existence proof has no field {field}")
        if len(path) > DEPTH_MAX:
            raise MalformedBytes(f"a path of more than {DEPTH_MAX} steps")
    if not key or not value:
        raise MalformedBytes("an existence proof needs a key and a value")
    proof = Proof(key, value, tuple(path))
    if proof.encode() != proof_bytes:
        raise MalformedBytes("not the canonical encoding of a proof of this spec")
    return proof


def _decode_step(raw: bytes) -> Inner:
    prefix = suffix = b""
    for field, content in _fields(raw):
        if field == 2:
            prefix = content
        elif field == 3:
            suffix = content
    return Inner(prefix, suffix)


def _leads_to_its_key(proof: Proof) -> bool:
    """Whether every step is a node of 16 children and the slots, from the top, spell the key's tag and id."""
    if len(proof.key) != KEY_BYTES or not DEPTH_MIN <= len(proof.path) <= DEPTH_MAX:
        return False
    slots = []
    for step in proof.path:
        before = len(step.prefix) - len(INNER_PREFIX)
        if (
            not step.prefix.startswith(INNER_PREFIX)
            or before % HASH_BYTES
            or before + len(step.suffix) != (CHILDREN - 1) * HASH_BYTES
        ):
            return False
        slots.append(before // HASH_BYTES)
    tag = slots[-1] * CHILDREN + slots[-2]
    row_id = sum(slot << (4 * level) for level, slot in enumerate(slots[:-STATE_LEVELS]))
    return proof.key == bytes((tag,)) + row_id.to_bytes(8, "big")


def _climb(value: bytes, path: tuple[Inner, ...]) -> bytes:
    for step in path:
        value = sha256(step.prefix + value + step.suffix).digest()
    return value


def _number(field: int, number: int) -> bytes:
    return varint(field << 3) + varint(number)


def _bytes(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def _only(fields: list[tuple[int, bytes]]) -> bytes:
    if len(fields) != 1 or fields[0][0] != 1:
        raise MalformedBytes("not a commitment proof with the one field `exist`")
    return fields[0][1]


def _fields(raw: bytes) -> list[tuple[int, bytes]]:
    """The fields of a message as they stand in its bytes; a number's content is empty (the spec fixes all numbers)."""
    fields: list[tuple[int, bytes]] = []
    at = 0
    while at < len(raw):
        header, at = _read_varint(raw, at)
        length, at = _read_varint(raw, at)
        if header & 7 == 0:
            fields.append((header >> 3, b""))
            continue
        if header & 7 != 2 or at + length > len(raw):
            raise MalformedBytes("a field that is cut short or of an unknown wire type")
        fields.append((header >> 3, raw[at : at + length]))
        at += length
    return fields


def _read_varint(raw: bytes, at: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 35, 7):
        if at >= len(raw):
            raise MalformedBytes("a varint is cut short")
        byte = raw[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    raise MalformedBytes("a varint of more than 5 bytes")
