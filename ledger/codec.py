"""Canonical MessagePack: one value, one encoding (DESIGN §2).

Rules of this file:

* Every hashed or signed type is a frozen, array-like msgspec ``Struct`` deriving from ``Wire``: fields are positional,
  unknown fields are refused, signed types have no defaults.
* A size limit is checked before the decoder sees a byte.
* ``decode`` refuses bytes that do not re-encode to themselves, for msgspec accepts non-minimal integers and missing
  trailing fields. What is hashed and verified afterwards are the bytes *received*.
"""

from hashlib import sha256
from types import UnionType
from typing import Any, TypeVar, overload

import msgspec

from .errors import MalformedBytes

T = TypeVar("T")


class Wire(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Base of everything that is encoded into hashes, signatures or messages."""


_ENCODER = msgspec.msgpack.Encoder()


def encode(value: Any) -> bytes:
    """The canonical encoding of ``value`` (integers minimal, binary as bin, text as str)."""
    return _ENCODER.encode(value)


_DECODERS: dict[Any, msgspec.msgpack.Decoder[Any]] = {}


def _decoder(kind: Any) -> msgspec.msgpack.Decoder[Any]:
    decoder = _DECODERS.get(kind)
    if decoder is None:
        decoder = _DECODERS[kind] = msgspec.msgpack.Decoder(kind)
    return decoder


@overload
def decode(kind: type[T], raw: bytes, *, bytes_max: int) -> T: ...
@overload
def decode(kind: UnionType, raw: bytes, *, bytes_max: int) -> Any: ...
def decode(kind: Any, raw: bytes, *, bytes_max: int) -> Any:
    """Decode ``raw`` as ``kind``: a type, or a union of tagged types.

    Raises ``MalformedBytes`` when it is longer than ``bytes_max``, is no such value, or is not canonical.
    """
    if len(raw) > bytes_max:
        raise MalformedBytes(f"{len(raw)} bytes, at most {bytes_max} allowed")
    try:
        value = _decoder(kind).decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedBytes(str(error)) from error
    if _ENCODER.encode(value) != raw:
        raise MalformedBytes("not the canonical encoding")
    return value


def decode_own(kind: type[T], raw: bytes) -> T:
    """Decode bytes this node encoded itself (rows, log records): no size limit, no canonical check."""
    value: T = _decoder(kind).decode(raw)
    return value


def digest(raw: bytes) -> bytes:
    """SHA-256 of ``raw``, 32 bytes: the one hash of the system."""
    return sha256(raw).digest()
