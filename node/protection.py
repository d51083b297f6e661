"""A secret encrypted at rest: argon2id makes a key of the passphrase, SecretBox encrypts with it (NODE §2; issue 6).

Rules of this file

* The kind of the key is encrypted together with the secret, so a file cannot be relabelled by who cannot open it.
* The cost stands beside the ciphertext and has bounds: a file made by a stranger cannot make us fill the memory.
* A wrong passphrase and an altered file look alike (the box is authenticated): both are ``WrongPassphraseError``.
"""

from dataclasses import dataclass
from typing import Final

from nacl.exceptions import CryptoError
from nacl.pwhash import argon2id
from nacl.secret import SecretBox
from nacl.utils import random

METHOD: Final = "argon2id"
"""The value of ``protection`` in a key file."""
PASSPHRASE_BYTES_MAX: Final = 1_024
SALT_BYTES: Final = argon2id.SALTBYTES


@dataclass(frozen=True, slots=True)
class Cost:
    """What one guess at the passphrase costs: passes over the memory, and its size in bytes."""

    passes: int
    memory_bytes: int

    @property
    def allowed(self) -> bool:
        """Whether we are willing to pay it."""
        return 1 <= self.passes <= PASSES_MAX and MEMORY_BYTES_MIN <= self.memory_bytes <= MEMORY_BYTES_MAX


MODERATE: Final = Cost(argon2id.OPSLIMIT_MODERATE, argon2id.MEMLIMIT_MODERATE)
"""libsodium's recommendation for keys that are opened now and then: 3 passes over 256 MiB, under a second."""
LEAST: Final = Cost(argon2id.OPSLIMIT_MIN, argon2id.MEMLIMIT_MIN)
"""As cheap as argon2id can be: for tests and test networks, not for a passphrase that a person can remember."""
PASSES_MAX: Final = 16
MEMORY_BYTES_MIN: Final = argon2id.MEMLIMIT_MIN
MEMORY_BYTES_MAX: Final = 1 << 30


class WrongPassphraseError(Exception):
    """The box does not open: another passphrase, or not the bytes that were sealed."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """An encrypted secret and what is needed, besides the passphrase, to open it."""

    salt: bytes
    cost: Cost
    box: bytes
    """24 bytes of nonce, 16 of authentication, then the label and the secret, encrypted."""


def seal(secret: bytes, label: str, passphrase: bytes, cost: Cost = MODERATE) -> Sealed:
    """Encrypt ``secret`` with a fresh salt and nonce. Raises ``ValueError`` for a cost out of bounds."""
    if not cost.allowed:
        raise ValueError(f"{cost} is out of bounds")
    salt = random(SALT_BYTES)
    return Sealed(salt, cost, bytes(_box(passphrase, salt, cost).encrypt(_labelled(label, secret))))


def unseal(sealed: Sealed, label: str, passphrase: bytes) -> bytes:
    """The secret. Raises ``WrongPassphraseError``, and ``ValueError`` for a cost or salt out of bounds."""
    if not sealed.cost.allowed or len(sealed.salt) != SALT_BYTES:
        raise ValueError(f"{sealed.cost} with {len(sealed.salt)} bytes of salt is out of bounds")
    try:
        plain = _box(passphrase, sealed.salt, sealed.cost).decrypt(sealed.box)
    except (CryptoError, ValueError) as error:
        raise WrongPassphraseError from error
    head = _labelled(label, b"")
    if not plain.startswith(head):
        raise WrongPassphraseError
    return plain[len(head) :]


def _labelled(label: str, secret: bytes) -> bytes:
    return label.encode("ascii") + b"\x00" + secret


def _box(passphrase: bytes, salt: bytes, cost: Cost) -> SecretBox:
    key = argon2id.kdf(SecretBox.KEY_SIZE, passphrase, salt, opslimit=cost.passes, memlimit=cost.memory_bytes)
    return SecretBox(key)
