"""The beacon: ECVRF-EDWARDS25519-SHA512-TAI (RFC 9381 §5), and draws from a seed by hash counter (DESIGN §2).

Each block's creator proves over `alpha(previous beacon, height)`. Nobody can predict the output without the creator's
seed, and the creator has exactly one output to give: he can withhold it, not choose it.

Group operations are libsodium's, through PyNaCl. Where libsodium is narrower than the RFC:
- A noclamp multiplication refuses a zero scalar and every result that is the identity. All our points are in the
  subgroup of prime order q and all scalars are below q, so only scalar 0 gives the identity; `_times` answers that.
- It also refuses a point outside that subgroup. So `verify` refuses a Gamma or a public key with a small-order part,
  which the RFC's verification might let pass (with the same output). No honest prover makes one.
- The point hashed from alpha is *not* in the subgroup yet; it is multiplied by the cofactor 8 with three additions,
  which take every point of the curve, and non-canonical encodings too, which RFC 8032 §5.1.3 does not: `_is_canonical`.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256, sha512
from typing import NamedTuple

from nacl import bindings
from nacl.exceptions import RuntimeError as SodiumError

from .errors import InvariantViolation

SEED_BYTES = 32
PUBLIC_BYTES = 32
PROOF_BYTES = 80
BEACON_BYTES = 64
DRAW_SPACE = 1 << 64
"""A draw is taken from the 2**64 values of 8 bytes; a range is from 1 to this."""

SECRETS_MAX = 8
"""Seeds whose scalar is remembered: a process proves with one key, or with two around a rotation."""
KEYS_MAX = 256
"""Public keys whose order is remembered."""
_SUITE = b"\x03"
_POINT_BYTES = 32
_CHALLENGE_BYTES = 16
_IDENTITY = b"\x01" + bytes(31)
_FIELD_PRIME = 2**255 - 19
_GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493


def alpha(previous_beacon: bytes, height: int) -> bytes:
    """The VRF input of the block at `height`: previous beacon (64 bytes) ‖ height (8, big-endian)."""
    return previous_beacon + height.to_bytes(8, "big")


def public_key(seed: bytes) -> bytes:
    """The public beacon key of a seed: that of Ed25519 (RFC 8032 §5.1.5)."""
    return _secret(seed).public


def prove(seed: bytes, alpha: bytes) -> bytes:
    """The proof for `alpha` (RFC 9381 §5.1), 80 bytes, deterministic: Gamma ‖ c ‖ s."""
    secret = _secret(seed)
    point = _hash_to_curve(secret.public, alpha)
    gamma = _times(secret.scalar, point)
    nonce = bindings.crypto_core_ed25519_scalar_reduce(sha512(secret.prefix + point).digest())
    challenge = _challenge(secret.public, point, gamma, _times_base(nonce), _times(nonce, point))
    product = bindings.crypto_core_ed25519_scalar_mul(_scalar(challenge), secret.scalar)
    return gamma + challenge + bindings.crypto_core_ed25519_scalar_add(nonce, product)


def verify(public: bytes, alpha: bytes, proof: bytes) -> bytes | None:
    """The beacon (64 bytes) if `proof` is `public`'s proof for `alpha` (RFC 9381 §5.3), else None. Never raises."""
    if len(proof) != PROOF_BYTES or len(public) != PUBLIC_BYTES:
        return None
    gamma, challenge, response = proof[:32], proof[32:48], proof[48:]
    if int.from_bytes(response, "little") >= _GROUP_ORDER or not (_is_key(public) and _is_canonical(gamma)):
        return None
    scalar = _scalar(challenge)
    try:
        multiple = _times(scalar, gamma)  # which looks at its order as well, but for a scalar that is zero
    except SodiumError:
        return None
    if not any(challenge) and not _is_prime_order(gamma):
        return None
    point = _hash_to_curve(public, alpha)
    u = bindings.crypto_core_ed25519_sub(_times_base(response), _times(scalar, public))
    v = bindings.crypto_core_ed25519_sub(_times(response, point), multiple)
    if _challenge(public, point, gamma, u, v) != challenge:
        return None
    return _output(gamma)


def proof_to_hash(proof: bytes) -> bytes:
    """The output of a proof (RFC 9381 §5.2), 64 bytes. It says nothing about validity: that is `verify`'s.

    Raises `InvariantViolation` for bytes that `verify` would never have accepted.
    """
    gamma = proof[:_POINT_BYTES]
    if len(proof) != PROOF_BYTES or not _is_prime_order(gamma):
        raise InvariantViolation("the hash of a proof that was not verified")
    return _output(gamma)


def _output(gamma: bytes) -> bytes:
    """RFC 9381 §5.2, steps 4 to 6, of a point of prime order."""
    return sha512(_SUITE + b"\x03" + _times_cofactor(gamma) + b"\x00").digest()


# ---- ECVRF's parts -------------------------------------------------------------------------------------------------


class _Secret(NamedTuple):
    scalar: bytes
    prefix: bytes
    public: bytes


@lru_cache(maxsize=SECRETS_MAX)
def _secret(seed: bytes) -> _Secret:
    """RFC 8032 §5.1.5: the clamped scalar (reduced), the prefix of nonces, the public key."""
    if len(seed) != SEED_BYTES:
        raise InvariantViolation(f"a beacon seed has {SEED_BYTES} bytes, not {len(seed)}")
    digest = bytearray(sha512(seed).digest())
    digest[0] &= 248
    digest[31] = digest[31] & 127 | 64
    scalar = bindings.crypto_core_ed25519_scalar_reduce(bytes(digest[:32]) + bytes(32))
    return _Secret(scalar, bytes(digest[32:]), _times_base(scalar))


def _hash_to_curve(public: bytes, alpha: bytes) -> bytes:
    """Try and increment (RFC 9381 §5.4.1.1): a point of prime order. 256 misses in a row happen once in 2**256."""
    for counter in range(256):
        candidate = sha512(_SUITE + b"\x01" + public + alpha + bytes((counter, 0))).digest()[:_POINT_BYTES]
        if _is_canonical(candidate):
            try:
                point = _times_cofactor(candidate)
            except SodiumError:  # not on the curve
                continue
            if point != _IDENTITY:
                return point
    raise InvariantViolation("no point of the curve in 256 tries")


def _challenge(*points: bytes) -> bytes:
    """RFC 9381 §5.4.3: the first 16 bytes of the hash of five points."""
    return sha512(_SUITE + b"\x02" + b"".join(points) + b"\x00").digest()[:_CHALLENGE_BYTES]


def _scalar(challenge: bytes) -> bytes:
    return challenge + bytes(32 - _CHALLENGE_BYTES)


def _times(scalar: bytes, point: bytes) -> bytes:
    """scalar · point, for a point of prime order and a scalar below the order."""
    if not any(scalar):
        return _IDENTITY
    return bindings.crypto_scalarmult_ed25519_noclamp(scalar, point)


def _times_base(scalar: bytes) -> bytes:
    if not any(scalar):
        return _IDENTITY
    return bindings.crypto_scalarmult_ed25519_base_noclamp(scalar)


def _times_cofactor(point: bytes) -> bytes:
    """8 · point, for every point of the curve. Raises `SodiumError` for bytes that are none."""
    for _ in range(3):
        point = bindings.crypto_core_ed25519_add(point, point)
    return point


def _is_prime_order(point: bytes) -> bool:
    """Whether the bytes are the canonical encoding of a point of prime order."""
    return bool(bindings.crypto_core_ed25519_is_valid_point(point)) and _is_canonical(point)


@lru_cache(maxsize=KEYS_MAX)
def _is_key(public: bytes) -> bool:
    """Whether a public key is a point of prime order; each block asks it again of one of few."""
    return _is_prime_order(public)


def _is_canonical(point: bytes) -> bool:
    """RFC 8032 §5.1.3: y below p, and no minus sign on x = 0 (which is where y is 1 or -1)."""
    encoded = int.from_bytes(point, "little")
    y, negative = encoded & ((1 << 255) - 1), encoded >> 255
    return y < _FIELD_PRIME and not (negative and y in (1, _FIELD_PRIME - 1))


# ---- draws ---------------------------------------------------------------------------------------------------------


def draw(seed: bytes, index: int, range_: int) -> int | None:
    """Draw `index`: uniform in [0, range_), or None if this draw is refused (then take the next index).

    The first 8 bytes of SHA-256(seed ‖ index (8, big-endian)), refused at or above the largest multiple of the range:
    taking the remainder of all values would favour the low ones.
    """
    if not 1 <= range_ <= DRAW_SPACE:
        raise InvariantViolation(f"a draw from a range of {range_}")
    value = int.from_bytes(sha256(seed + index.to_bytes(8, "big")).digest()[:8], "big")
    if value >= DRAW_SPACE - DRAW_SPACE % range_:
        return None
    return value % range_


class Drawer:
    """Draws from one seed in order; `index` counts all of them, refused ones too."""

    def __init__(self, seed: bytes, index: int = 0) -> None:
        self.seed = seed
        self.index = index

    def attempt(self, range_: int) -> int | None:
        """One draw: a number in [0, range_), or None if it is refused. Callers bound their attempts."""
        drawn = draw(self.seed, self.index, range_)
        self.index += 1
        return drawn

    def below(self, range_: int) -> int:
        """The next number in [0, range_) that is not refused. Each draw is refused with probability below 1/2."""
        while (drawn := self.attempt(range_)) is None:
            pass
        return drawn
