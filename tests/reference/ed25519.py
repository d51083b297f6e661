"""Ed25519 from RFC 8032 §5.1 and §6 and from ZIP 215, with whole numbers: slow, plain, and of nobody's library.

It also makes what no honest signer makes: keys and nonces with a part of small order.
"""

from dataclasses import dataclass
from hashlib import sha512

P = 2**255 - 19
Q = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P


@dataclass(frozen=True)
class Point:
    """x and y on -x² + y² = 1 + d·x²·y²; sums by the curve's complete law of addition (RFC 8032 §5.1)."""

    x: int
    y: int

    def __add__(self, other: "Point") -> "Point":
        both = D * self.x * other.x * self.y * other.y % P
        x = (self.x * other.y + other.x * self.y) * pow(1 + both, -1, P)
        y = (self.y * other.y + self.x * other.x) * pow(1 - both, -1, P)
        return Point(x % P, y % P)

    def times(self, scalar: int) -> "Point":
        """Double and add, from the lowest bit."""
        found, double = NEUTRAL, self
        while scalar:
            if scalar & 1:
                found += double
            double += double
            scalar >>= 1
        return found

    def encoded(self) -> bytes:
        """The one encoding that RFC 8032 §5.1.2 makes."""
        return (self.y | (self.x & 1) << 255).to_bytes(32, "little")


NEUTRAL = Point(0, 1)


def decoded(encoding: bytes) -> Point | None:
    """The point of 32 bytes as ZIP 215 reads them: y need not be reduced, and x = 0 may bear either sign."""
    number = int.from_bytes(encoding, "little")
    y, sign = number % 2**255 % P, number >> 255
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    if x * x % P != square:
        return None
    return Point(-x % P if x & 1 != sign else x, y)


BASE = decoded((4 * pow(5, -1, P) % P).to_bytes(32, "little")) or NEUTRAL


def _small_generator() -> Point:
    """A point of order 8: q times any point whose part of small order has that order."""
    for y in range(2, 100):
        point = decoded(y.to_bytes(32, "little"))
        if point is not None and (small := point.times(Q)).times(4) != NEUTRAL:
            return small
    raise AssertionError("one point in two has such a part")


SMALL = [_small_generator().times(number) for number in range(8)]
"""The eight points of small order."""


def small_encodings() -> set[bytes]:
    """Every 32 bytes that ``decoded`` reads as a point of small order: all y that fit, under both signs."""
    found = set()
    for y in {point.y for point in SMALL}:
        for number in (y, y + P):
            if number < 2**255:
                found |= {(number | sign << 255).to_bytes(32, "little") for sign in (0, 1)}
    return {encoding for encoding in found if decoded(encoding) in SMALL}


def challenge(nonce: bytes, public: bytes, message: bytes) -> int:
    """k of RFC 8032 §5.1.7, from the bytes as they are."""
    return int.from_bytes(sha512(nonce + public + message).digest(), "little") % Q


def is_valid(public: bytes, message: bytes, signature: bytes) -> bool:
    """The rule of ``ledger.ed25519``, step by step."""
    if len(public) != 32 or len(signature) != 64:
        return False
    key, nonce, scalar = decoded(public), decoded(signature[:32]), int.from_bytes(signature[32:], "little")
    if scalar >= Q or key is None or nonce is None or key in SMALL or nonce in SMALL:
        return False
    sum_ = nonce + key.times(challenge(signature[:32], public, message))
    return BASE.times(scalar).times(8) == sum_.times(8)


def signed(secret: int, nonce: int, message: bytes, key_part: int = 0, nonce_part: int = 0) -> tuple[bytes, bytes]:
    """Key and signature from two scalars, with the parts of small order of the given numbers added to either."""
    public = (BASE.times(secret) + SMALL[key_part]).encoded()
    first = (BASE.times(nonce) + SMALL[nonce_part]).encoded()
    scalar = (nonce + challenge(first, public, message) * secret) % Q
    return public, first + scalar.to_bytes(32, "little")
