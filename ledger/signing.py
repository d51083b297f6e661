"""Signing domains and Ed25519 (DESIGN §2).

Every signature is over ``SHA-256(domain ‖ chain_id ‖ epoch ‖ bytes)``: a domain per kind of object (ASCII, zero-padded
to 16 bytes), the chain (32 bytes) and the epoch (4 bytes, big-endian). So no signature is valid for another kind of
object, on another chain, or after a recovery. The signed message always has 32 bytes, which lets a verifier process
take fixed-size records of 128 bytes: signature, digest, public key.

Signatures are made by libsodium; which are valid says ``ledger.ed25519``.
"""

from enum import Enum
from functools import lru_cache
from hashlib import sha256
from typing import Final

from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

from .ed25519 import is_valid

SIGNATURE_BYTES: Final = 64
PUBLIC_KEY_BYTES: Final = 32
SEED_BYTES: Final = 32
SECRETS_MAX: Final = 8
"""Seeds whose key pair is remembered: a process signs with one key, or with two around a rotation."""
VERIFIED_MAX: Final = 1_024
"""Answers remembered, some 300 bytes each: the votes of a few heights of a hundred validators."""


class Domain(Enum):
    """What kind of object a signature is for."""

    TRANSACTION = b"huzhu-tx"
    PROPOSAL = b"huzhu-proposal"
    PREPARE = b"huzhu-prepare"
    COMMIT = b"huzhu-commit"
    ROUND_CHANGE = b"huzhu-rndchange"
    GENESIS = b"huzhu-genesis"
    RECOVERY = b"huzhu-recovery"
    LAST_SEEN = b"huzhu-lastseen"
    STATUS = b"huzhu-status"
    CARD = b"huzhu-card"
    BUNDLE = b"huzhu-bundle"
    QUESTION = b"huzhu-question"


def _prefixes() -> dict[Domain, bytes]:
    return {domain: domain.value.ljust(16, b"\0") for domain in Domain}


_PREFIX: Final = _prefixes()


def signing_digest(domain: Domain, chain_id: bytes, epoch: int, payload: bytes) -> bytes:
    """The 32 bytes that are signed for ``payload``."""
    return sha256(signing_prefix(domain, chain_id, epoch) + payload).digest()


def signing_prefix(domain: Domain, chain_id: bytes, epoch: int) -> bytes:
    """What every signed payload of this kind comes after, in this chain and epoch."""
    return _PREFIX[domain] + chain_id + epoch.to_bytes(4, "big")


def public_key(seed: bytes) -> bytes:
    """The Ed25519 public key (32 bytes) of a 32-byte seed."""
    public, _ = crypto_sign_seed_keypair(seed)
    return public


def sign(seed: bytes, message: bytes) -> bytes:
    """The 64-byte Ed25519 signature of ``message`` under the 32-byte ``seed``; deterministic (RFC 8032)."""
    return crypto_sign(message, _secret(seed))[:SIGNATURE_BYTES]


@lru_cache(maxsize=SECRETS_MAX)
def _secret(seed: bytes) -> bytes:
    """The seed with its public key, as libsodium signs with it; deriving it costs as much as the signature."""
    _, secret = crypto_sign_seed_keypair(seed)
    return secret


@lru_cache(maxsize=VERIFIED_MAX)
def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether ``signature`` (64 bytes) is ``public``'s over ``message``. Wrong lengths are simply not valid.

    The newest answers are remembered: a vote is verified when it arrives, and again inside certificates.
    """
    return is_valid(public, message, signature)
