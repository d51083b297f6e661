"""Which Ed25519 signatures are valid: ZIP 215 without points of small order (DESIGN §2, decision 0027).

A signature R ‖ S of the bytes M under the key A is valid if, and only if,

- S, read little-endian, is below the group's order q;
- A and R are encodings of points of the curve, and none of the fourteen encodings of the eight points of small order;
- 8·S·B = 8·R + 8·k·A, with k = SHA-512(R ‖ A ‖ M) mod q and B the base point (RFC 8032 §5.1.7).

Nodes that judge one signature differently part for ever, so the rule is written down; it is no library's version's. The
equation is ZIP 215's, which ``ed25519-zebra`` (the Zcash Foundation's) implements and CometBFT has too. Whatever
libsodium makes or accepts is valid. Beyond that only somebody with a part of small order in his own key or nonce can
make a valid signature, and he needs his own secret as everybody does: nothing is gained by it.

Of the package this module imports nothing, so that a verifier process starts with it alone.
"""

from typing import Final

from ed25519_zebra import ed_verify

POINT_BYTES: Final = 32
_TOP: Final = 1 << 255
"""The bit of x's sign in an encoding."""
_PRIME: Final = _TOP - 19
_ORDER_8: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
"""The y of the four points of order 8 with its negative; the points of order 1, 2 and 4 have 1, -1 and 0."""
_SMALL_Y: Final = (0, 1, _PRIME - 1, _PRIME, _PRIME + 1, _ORDER_8, _PRIME - _ORDER_8)
"""With the two that are not reduced and yet fit into 255 bits."""
SMALL_ORDER: Final = frozenset([(y | sign).to_bytes(POINT_BYTES, "little") for y in _SMALL_Y for sign in (0, _TOP)])
"""All encodings of points of small order."""


def is_valid(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether ``signature`` (64 bytes) is valid for ``message`` under ``public`` (32 bytes); no other length is."""
    if public in SMALL_ORDER or signature[:POINT_BYTES] in SMALL_ORDER:
        return False
    return bool(ed_verify(signature, message, public))
