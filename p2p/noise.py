"""Noise_XX_25519_ChaChaPoly_SHA256, sans-I/O, on libsodium's primitives (the Noise Protocol Framework, revision 34).

Rules of this file:

* The names are the specification's (§5: CipherState, SymmetricState, HandshakeState); the pattern is a table (§7.5).
* An all-zero DH result is refused (§12.1 allows it; accepting one lets a peer force a known key).
* The nonce 2^64 - 1 is never used (§5.1): the link ends before, as NONCES_EXHAUSTED.
* A failure is always a ``PeerError``, and the state is dead after it.

Checked byte for byte against ``tests/data/noise_xx_25519_chachapoly_sha256.json``.
"""

import hmac
import secrets
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from nacl.bindings import (
    crypto_aead_chacha20poly1305_ietf_decrypt,
    crypto_aead_chacha20poly1305_ietf_encrypt,
    crypto_scalarmult,
    crypto_scalarmult_base,
)
from nacl.exceptions import CryptoError
from nacl.exceptions import RuntimeError as SodiumError

from ledger.errors import InvariantViolation, PeerError

from .limits import KEY_BYTES, NOISE_MESSAGE_BYTES_MAX, TAG_BYTES

PROTOCOL_NAME: Final = b"Noise_XX_25519_ChaChaPoly_SHA256"
NONCE_MAX: Final = 2**64 - 1
"""Reserved by §5.1; the last nonce used is one below."""

# §7.5: XX = -> e, <- e ee s es, -> s se.
XX: Final = (("e",), ("e", "ee", "s", "es"), ("s", "se"))


@dataclass(frozen=True)
class NodeKey:
    """A node's X25519 key pair (DESIGN §3): the identity of its links, of no use for votes."""

    private: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.private) != KEY_BYTES:
            raise ValueError(f"an X25519 private key is {KEY_BYTES} bytes, got {len(self.private)}")
        object.__setattr__(self, "_public", crypto_scalarmult_base(self.private))

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes: how peers name this node."""
        public: bytes = self.__dict__["_public"]
        return public

    @staticmethod
    def generate() -> "NodeKey":
        """A fresh key from the system's randomness."""
        return NodeKey(secrets.token_bytes(KEY_BYTES))


def dh(key: NodeKey, public: bytes) -> bytes:
    """X25519; raises ``PeerError`` HANDSHAKE_FAILED for a point of small order (libsodium refuses the zero result)."""
    try:
        return crypto_scalarmult(key.private, public)
    except SodiumError as error:
        raise PeerError("HANDSHAKE_FAILED", "a public key of small order") from error


def hkdf(chaining_key: bytes, material: bytes) -> tuple[bytes, bytes]:
    """HKDF of §4.3 with two outputs."""
    temporary = hmac.digest(chaining_key, material, "sha256")
    first = hmac.digest(temporary, b"\x01", "sha256")
    return first, hmac.digest(temporary, first + b"\x02", "sha256")


class CipherState:
    """A key and its counter of nonces (§5.1)."""

    def __init__(self, key: bytes, nonce: int = 0) -> None:
        self._key = key
        self._nonce = nonce

    def _next_nonce(self) -> bytes:
        if self._nonce >= NONCE_MAX:
            raise PeerError("NONCES_EXHAUSTED")
        raw = b"\x00\x00\x00\x00" + self._nonce.to_bytes(8, "little")
        self._nonce += 1
        return raw

    def encrypt(self, plaintext: bytes, associated: bytes = b"") -> bytes:
        """Ciphertext with its 16-byte tag. Raises ``PeerError`` NONCES_EXHAUSTED after 2^64 - 1 messages."""
        return crypto_aead_chacha20poly1305_ietf_encrypt(plaintext, associated, self._next_nonce(), self._key)

    def decrypt(self, ciphertext: bytes, associated: bytes = b"") -> bytes:
        """The plaintext. Raises ``PeerError`` BAD_FRAME for anything that is not the next message under this key."""
        if len(ciphertext) < TAG_BYTES:
            raise PeerError("BAD_FRAME", "shorter than its tag")
        try:
            return crypto_aead_chacha20poly1305_ietf_decrypt(ciphertext, associated, self._next_nonce(), self._key)
        except CryptoError as error:
            raise PeerError("BAD_FRAME", "not authentic") from error


class SymmetricState:
    """The chaining key, the transcript hash and, once a key was mixed, a cipher (§5.2)."""

    def __init__(self) -> None:
        self.hash = PROTOCOL_NAME if len(PROTOCOL_NAME) == 32 else sha256(PROTOCOL_NAME).digest()
        self._chaining_key = self.hash
        self._cipher: CipherState | None = None

    def mix_hash(self, data: bytes) -> None:
        self.hash = sha256(self.hash + data).digest()

    def mix_key(self, material: bytes) -> None:
        self._chaining_key, key = hkdf(self._chaining_key, material)
        self._cipher = CipherState(key)

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        out = plaintext if self._cipher is None else self._cipher.encrypt(plaintext, self.hash)
        self.mix_hash(out)
        return out

    def decrypt_and_hash(self, data: bytes) -> bytes:
        plaintext = data if self._cipher is None else self._cipher.decrypt(data, self.hash)
        self.mix_hash(data)
        return plaintext

    @property
    def overhead(self) -> int:
        """Bytes that encryption adds now: none before the first key."""
        return 0 if self._cipher is None else TAG_BYTES

    def split(self) -> tuple[CipherState, CipherState]:
        first, second = hkdf(self._chaining_key, b"")
        return CipherState(first), CipherState(second)


@dataclass(frozen=True)
class Session:
    """What a finished handshake yields."""

    send: CipherState
    receive: CipherState
    remote: bytes
    """The other side's static public key, proved."""
    handshake_hash: bytes


class Handshake:
    """XX, either side: ``write`` and ``read`` alternate, the initiator writes first; after three, ``session``."""

    LENGTHS: Final = (KEY_BYTES, 2 * KEY_BYTES + 2 * TAG_BYTES, KEY_BYTES + 2 * TAG_BYTES)
    """Bytes of the three messages when their payloads are empty."""

    def __init__(self, static: NodeKey, *, initiator: bool, prologue: bytes, ephemeral: NodeKey | None = None) -> None:
        """``ephemeral`` is given by test vectors only; otherwise it is fresh."""
        self._static = static
        self._ephemeral = ephemeral or NodeKey.generate()
        self._initiator = initiator
        self._remote_static = b""
        self._remote_ephemeral = b""
        self._message = 0
        self._state = SymmetricState()
        self._state.mix_hash(prologue)

    def _turn(self, *, writing: bool) -> tuple[str, ...]:
        if self._message >= len(XX) or ((self._message % 2 == 0) == self._initiator) != writing:
            raise InvariantViolation(f"handshake message {self._message} out of turn")
        self._message += 1
        return XX[self._message - 1]

    def _mix_dh(self, token: str) -> None:
        # A token names the initiator's key, then the responder's: "es" is initiator's ephemeral, responder's static.
        own, remote = (token[0], token[1]) if self._initiator else (token[1], token[0])
        key = self._ephemeral if own == "e" else self._static
        self._state.mix_key(dh(key, self._remote_ephemeral if remote == "e" else self._remote_static))

    def write(self, payload: bytes = b"") -> bytes:
        """The next message, at most 65,535 bytes."""
        out = bytearray()
        for token in self._turn(writing=True):
            if token == "e":
                out += self._ephemeral.public
                self._state.mix_hash(self._ephemeral.public)
            elif token == "s":
                out += self._state.encrypt_and_hash(self._static.public)
            else:
                self._mix_dh(token)
        out += self._state.encrypt_and_hash(payload)
        if len(out) > NOISE_MESSAGE_BYTES_MAX:
            raise InvariantViolation("handshake payload too long")
        return bytes(out)

    def read(self, message: bytes) -> bytes:
        """The payload of the other side's next message. Raises ``PeerError`` HANDSHAKE_FAILED if not authentic."""
        try:
            return self._read(message)
        except PeerError as error:
            self._message = len(XX) + 1
            raise PeerError("HANDSHAKE_FAILED", error.detail) from error

    def _read(self, message: bytes) -> bytes:
        rest = message
        for token in self._turn(writing=False):
            if token == "e":
                self._remote_ephemeral, rest = _take(rest, KEY_BYTES)
                self._state.mix_hash(self._remote_ephemeral)
            elif token == "s":
                sealed, rest = _take(rest, KEY_BYTES + self._state.overhead)
                self._remote_static = self._state.decrypt_and_hash(sealed)
            else:
                self._mix_dh(token)
        return self._state.decrypt_and_hash(rest)

    def session(self) -> Session:
        """The transport keys, once all three messages have passed."""
        if self._message != len(XX):
            raise InvariantViolation("the handshake is not finished")
        first, second = self._state.split()
        send, receive = (first, second) if self._initiator else (second, first)
        return Session(send, receive, self._remote_static, self._state.hash)


def _take(data: bytes, count: int) -> tuple[bytes, bytes]:
    if len(data) < count:
        raise PeerError("HANDSHAKE_FAILED", "message too short")
    return data[:count], data[count:]
