"""Binary Merkle trees of RFC 6962 (§2.1), for `txs_root` and `receipts_root`.

    root of nothing   = H("")
    leaf              = H(0x00 ‖ leaf)
    inner             = H(0x01 ‖ left ‖ right), the left side holding the largest power of two below the size

The two prefixes keep a leaf from passing as an inner node. Verification follows RFC 9162 §2.1.3.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from .errors import InvariantViolation

EMPTY_ROOT = sha256(b"").digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """The Merkle tree hash of `leaves` (in order), 32 bytes."""
    level = _leaf_hashes(leaves)
    if not level:
        return EMPTY_ROOT
    while len(level) > 1:
        level = _parents(level)
    return level[0]


def prove(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The inclusion path of leaf `index`: sibling hashes from the leaf's level upwards."""
    if not 0 <= index < len(leaves):
        raise InvariantViolation(f"leaf {index} of {len(leaves)} leaves")
    level = _leaf_hashes(leaves)
    path: list[bytes] = []
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        level = _parents(level)
        index >>= 1
    return path


def verify(root: bytes, leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bool:
    """Whether `path` shows that `leaf` is number `index` of the `size` leaves under `root`. Never raises."""
    if not 0 <= index < size or any(len(sibling) != 32 for sibling in path):
        return False
    position, last = index, size - 1
    value = sha256(b"\x00" + leaf).digest()
    for sibling in path:
        if last == 0:
            return False
        if position & 1 or position == last:
            value = sha256(b"\x01" + sibling + value).digest()
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            value = sha256(b"\x01" + value + sibling).digest()
        position >>= 1
        last >>= 1
    return last == 0 and value == root


def _leaf_hashes(leaves: Sequence[bytes]) -> list[bytes]:
    return [sha256(b"\x00" + leaf).digest() for leaf in leaves]


def _parents(level: list[bytes]) -> list[bytes]:
    """The level above. A node without a right sibling rises unchanged: the split of RFC 6962, seen from below."""
    above = [sha256(b"\x01" + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)]
    if len(level) & 1:
        above.append(level[-1])
    return above
