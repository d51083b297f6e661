"""Signatures for the simulation: a keyed hash that is two hundred times cheaper than Ed25519 (CONSENSUS §7).

Anybody could forge it; the simulated Byzantine nodes are written not to, they sign with the keys they own only. Some
seeds use real Ed25519; verifying is a pure function, so there each (key, digest, signature) is verified once.
"""

from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from typing import Final

from consensus.scheme import ED25519, Scheme


def _public(seed: bytes) -> bytes:
    return sha256(b"public" + seed).digest()


def _tag(public: bytes, digest: bytes) -> bytes:
    half = sha256(public + digest).digest()
    return half + half


def _sign(seed: bytes, digest: bytes) -> bytes:
    return _tag(_public(seed), digest)


def _verify(public: bytes, digest: bytes, signature: bytes) -> bool:
    return signature == _tag(public, digest)


def _prove(seed: bytes, alpha: bytes) -> bytes:
    return sha256(b"beacon" + seed + alpha).digest() * 2 + bytes(16)


CHEAP: Final = Scheme(lru_cache(4_096)(_public), _sign, _verify, _prove)
REAL: Final = replace(
    ED25519,
    public_key=lru_cache(4_096)(ED25519.public_key),
    verify=lru_cache(8_192)(ED25519.verify),
    prove=lru_cache(1_024)(ED25519.prove),
)


def named_seed(name: str) -> bytes:
    """The private seed of an organisation or of the clock key."""
    return sha256(b"simulated key " + name.encode()).digest()
