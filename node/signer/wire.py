"""What node and signer say to each other: length-prefixed frames, each one canonical MessagePack value.

The node asks, the signer answers. Only ``AskSignature`` and ``AskProof`` have an answer that is waited for; durable
positions are reported as they are reached. One connection is one session: the signer reads its record anew for each.
"""

import struct
from typing import Final

from consensus.records import Record
from ledger.codec import Wire
from ledger.errors import MalformedBytes
from ledger.votes import Commit, Prepare, Proposal, RoundChange

LENGTH: Final = struct.Struct(">I")
FRAME_BYTES_MAX: Final = 256 << 20
"""A record file is rotated at 16 MiB, and one body more may be in it."""


class Hello(Wire, frozen=True, tag=1):
    """Opens a session: the chain, and where the database says that the signing log stood."""

    chain_id: bytes
    sequence: int
    crc: int


class Begin(Wire, frozen=True, tag=2):
    """``SafetyRules.begin``."""

    epoch: int
    height: int
    validator_keys: tuple[bytes, ...]


class Append(Wire, frozen=True, tag=3):
    """Write these records, together and in order; ``Durable`` follows."""

    records: tuple[Record, ...]


class Batched(Wire, frozen=True, tag=4):
    """The newest synced batch of the database names this position."""

    sequence: int
    crc: int


class Compacted(Wire, frozen=True, tag=5):
    """``Log.compact``."""

    epoch: int
    height: int


class Retry(Wire, frozen=True, tag=6):
    """Try again what a full disk has refused."""


class AskSignature(Wire, frozen=True, tag=7):
    """``SafetyRules.sign``; answered by ``Signature`` or ``Refused``."""

    epoch: int
    message: Proposal | Prepare | Commit | RoundChange
    key: bytes


class AskProof(Wire, frozen=True, tag=8):
    """``SafetyRules.beacon_proof``; answered by ``Signature``."""

    alpha: bytes


Ask = Hello | Begin | Append | Batched | Compacted | Retry | AskSignature | AskProof


class Welcome(Wire, frozen=True, tag=1):
    """The session is open: our validator keys, and what the signing log holds."""

    validator_keys: tuple[bytes, ...]
    records: tuple[Record, ...]
    sequence: int
    crc: int


class Durable(Wire, frozen=True, tag=2):
    """The log is on the disk up to this position; the newest fsync took so many microseconds."""

    sequence: int
    crc: int
    sync_us: int


class Fault(Wire, frozen=True, tag=3):
    """An ``OperatorError`` of the signer. DISK_FULL may be retried, every other one ends the session."""

    code: str
    what: str
    why: str
    next: str
    exit_code: int


class Signature(Wire, frozen=True, tag=4):
    """A signature (64 bytes) or a beacon proof (80 bytes)."""

    data: bytes


class Refused(Wire, frozen=True, tag=5):
    """SafetyRules forbid it: the node that asked has a bug, or a changed database."""

    reason: str


Answer = Welcome | Durable | Fault | Signature | Refused


def framed(raw: bytes) -> bytes:
    """The bytes on the socket."""
    return LENGTH.pack(len(raw)) + raw


def frame_length(head: bytes) -> int:
    """The length that the first four bytes of a frame announce. Raises ``MalformedBytes`` above the limit."""
    length: int = LENGTH.unpack(head)[0]
    if length > FRAME_BYTES_MAX:
        raise MalformedBytes(f"a frame of {length} bytes, at most {FRAME_BYTES_MAX} allowed")
    return length
