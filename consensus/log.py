"""The append-only log's bytes: pure encoding and decoding, shared by node, signer and simulator (CONSENSUS §3).

A frame is ``marker, length, previous CRC, CRC, durable, sequence, type, payload``. The CRCs form a chain, so a frame
cannot be taken out or put in; ``durable`` is the last sequence number that was fsynced when the frame was written.
It decides what a broken frame means, without guessing:

* **torn tail**: no intact frame behind says that the broken one was durable. The crash took what nobody was told:
  truncate there. (Pages reach a disk in any order, so intact frames may well follow a torn one.)
* **damage**: an intact frame behind says the broken one was durable. Promises are missing: ``OperatorError``.

A broken frame at the very end that *was* durable cannot be told from a torn one; the batch's (sequence, CRC) in the
database and LastSeen stand behind that. The choice of CRC is ``docs/decisions/0001-log-checksum.md``.
"""

import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from ledger.codec import decode, encode
from ledger.errors import InvariantViolation, MalformedBytes, OperatorError

from .messages import MESSAGE_BYTES_MAX
from .records import (
    RECORD_TYPES,
    AdoptRecord,
    BodyRecord,
    DecidedRecord,
    FirstRecord,
    LockRecord,
    ProposalRecord,
    Record,
    RecoveredRecord,
    VoteRecord,
)

MARKER: Final = b"HZL1"
FRAME: Final = struct.Struct(">4sIIIQQB")
CHECKED: Final = struct.Struct(">IIQQB")
PAYLOAD_BYTES_MAX: Final = MESSAGE_BYTES_MAX + 65_536
_TYPE_NUMBER: Final = {kind: number for number, kind in enumerate(RECORD_TYPES, start=1)}


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the chain: the last record's sequence number (from 1) and CRC; (0, 0) before the first."""

    sequence: int
    crc: int


START: Final = Position(0, 0)


class Log(Protocol):
    """The port. ``append`` begins to write the records, together and in order, and returns the last one's position.

    They are durable once the adapter reports a position at or above it to the callback it was made with, from its
    own thread of control, in order. It reports nothing after an error (CONSENSUS §3: ENOSPC truncates to the last
    durable offset; an fsync error ends the process).
    """

    def append(self, records: Iterable[Record]) -> Position: ...

    def compact(self, epoch: int, height: int) -> None:
        """When the file is next rotated, only ``carried(records + DecidedRecord(epoch, height))`` need be kept."""


@dataclass(slots=True)
class Decoded:
    """What a log file holds."""

    records: list[Record] = field(default_factory=list)
    start: Position = START
    """What the first frame is chained to."""
    end: Position = START
    offset: int = 0
    """Bytes of intact frames; a torn tail is cut here."""
    torn: bool = False
    crcs: dict[int, int] = field(default_factory=dict)
    """CRC of each sequence number, ``start`` included."""

    def holds(self, position: Position) -> bool:
        """Whether the position is on this chain. One that is missing means the log was rolled back (CONSENSUS §3)."""
        return self.crcs.get(position.sequence) == position.crc


def encode_frame(record: Record, previous: Position, durable: int) -> tuple[bytes, Position]:
    """The bytes of ``record`` behind ``previous``, and its position. ``durable`` is a sequence number up to it."""
    if not 0 <= durable <= previous.sequence:
        raise InvariantViolation(f"sequence {durable} cannot be durable before {previous.sequence + 1} is written")
    payload = encode(record)
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise InvariantViolation(f"a record of {len(payload)} bytes, at most {PAYLOAD_BYTES_MAX} allowed")
    sequence, kind = previous.sequence + 1, _TYPE_NUMBER[type(record)]
    crc = _crc(previous.crc, durable, sequence, kind, payload)
    head = FRAME.pack(MARKER, len(payload), previous.crc, crc, durable, sequence, kind)
    return head + payload, Position(sequence, crc)


def encode_batch(records: Iterable[Record], previous: Position, durable: int) -> tuple[bytes, Position]:
    """The frames of ``records`` in order."""
    frames = []
    for record in records:
        frame, previous = encode_frame(record, previous, durable)
        frames.append(frame)
    return b"".join(frames), previous


def decode_log(raw: bytes, start: Position | None = None) -> Decoded:
    """Read a file's frames. ``start`` is where the file before ended (None: the first frame says).

    Raises ``OperatorError`` when a record that was durable is damaged, or the chain is broken.
    """
    decoded = Decoded()
    if start is not None:
        decoded.start = decoded.end = start
    while decoded.offset < len(raw):
        frame = _frame_at(raw, decoded.offset)
        if frame is None:
            _refuse_damage(raw, decoded)
            decoded.torn = True
            break
        if (start is not None or decoded.records) and not _continues(decoded.end, frame):
            raise _damaged(decoded, "the next record is intact but does not belong behind this one")
        if not decoded.records and start is None:
            decoded.start = Position(frame.sequence - 1, frame.previous_crc)
        decoded.records.append(frame.record)
        decoded.end = Position(frame.sequence, frame.crc)
        decoded.crcs[frame.sequence] = frame.crc
        decoded.offset = frame.end
    decoded.crcs[decoded.start.sequence] = decoded.start.crc
    return decoded


def carried(records: Sequence[Record], decided: DecidedRecord) -> list[Record]:
    """What a rotation copies into the new file when everything up to ``decided`` is decided and synced.

    The first record, the decided mark, and every record above it, in their order. What is left out is only what no rule
    asks for: nothing is ever signed at a decided height, and its body is in the database.
    """
    first = [record for record in records if isinstance(record, FirstRecord)][-1:]
    kept = [
        record
        for record in records
        if not isinstance(record, FirstRecord | DecidedRecord) and height_of(record) > decided.height
    ]
    return [*first, decided, *kept]


def height_of(record: Record) -> int:
    """The height a record speaks of; 0 for the first record, the highest named for an adoption."""
    match record:
        case FirstRecord():
            return 0
        case RecoveredRecord():
            return record.recovery.head_height + 1
        case ProposalRecord() | VoteRecord():
            return record.message.height
        case LockRecord():
            return record.lock.height
        case AdoptRecord():
            heights = [vote.message.height for vote in record.votes]
            return max([*heights, height_of(record.lock) if record.lock is not None else 0])
        case BodyRecord() | DecidedRecord():
            return record.height


@dataclass(frozen=True, slots=True)
class _Frame:
    record: Record
    previous_crc: int
    crc: int
    durable: int
    sequence: int
    end: int


def _crc(previous: int, durable: int, sequence: int, kind: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(CHECKED.pack(previous, len(payload), durable, sequence, kind)))


def _frame_at(raw: bytes, offset: int) -> _Frame | None:
    """The intact frame that begins at ``offset``, or None."""
    if len(raw) - offset < FRAME.size:
        return None
    marker, length, previous_crc, crc, durable, sequence, kind = FRAME.unpack_from(raw, offset)
    end = offset + FRAME.size + length
    if marker != MARKER or length > PAYLOAD_BYTES_MAX or end > len(raw) or not 1 <= kind <= len(RECORD_TYPES):
        return None
    payload = raw[offset + FRAME.size : end]
    if _crc(previous_crc, durable, sequence, kind, payload) != crc:
        return None
    try:
        record: Record = decode(Record, payload, bytes_max=PAYLOAD_BYTES_MAX)
    except MalformedBytes:
        return None
    if _TYPE_NUMBER[type(record)] != kind:
        return None
    return _Frame(record, previous_crc, crc, durable, sequence, end)


def _continues(end: Position, frame: _Frame) -> bool:
    return (frame.sequence, frame.previous_crc) == (end.sequence + 1, end.crc)


def _refuse_damage(raw: bytes, decoded: Decoded) -> None:
    """Raise when an intact frame behind the broken one says that it was durable."""
    at = raw.find(MARKER, decoded.offset)
    while at != -1:
        frame = _frame_at(raw, at)
        if frame is not None and frame.durable > decoded.end.sequence:
            raise _damaged(decoded, f"record {frame.sequence} behind it says that {frame.durable} was safely on disk")
        at = raw.find(MARKER, at + 1)


def _damaged(decoded: Decoded, why: str) -> OperatorError:
    return OperatorError(
        "LOG_DAMAGED",
        f"the signing log is damaged at byte {decoded.offset}, after record {decoded.end.sequence}",
        why,
        "do not start this validator from this file; repair the disk, then `huzhu start --record-lost`",
        exit_code=6,
    )
