"""The cryptography, injected: real Ed25519 and ECVRF in the node, a fast stand-in in most simulator seeds (CONSENSUS
§7).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ledger import beacon, signing


@dataclass(frozen=True, slots=True)
class Scheme:
    """Four pure, deterministic functions."""

    public_key: Callable[[bytes], bytes]
    """public_key(32-byte seed) -> 32 bytes."""
    sign: Callable[[bytes, bytes], bytes]
    """sign(seed, 32-byte digest) -> 64-byte signature."""
    verify: Callable[[bytes, bytes, bytes], bool]
    """verify(public key, digest, signature)."""
    prove: Callable[[bytes, bytes], bytes]
    """prove(beacon seed, alpha) -> 80-byte ECVRF proof."""


ED25519: Final = Scheme(signing.public_key, signing.sign, signing.verify, beacon.prove)
