"""Signing logs read by hand: frames and MessagePack, sharing no code with the product (CONSENSUS §3).

A frame is ``"HZL1", length, previous CRC, CRC, durable (8), sequence (8), type (1), payload``, big-endian. A payload is
an array that begins with the record's tag. What is read here is what a validator has promised to sign; the rules
checked are those of a validator that nobody trusts: one message for each (epoch, height, round, kind), and nothing for
a round below one it has left.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgpack

FRAME: Final = struct.Struct(">4sIIIQQB")
MARKER: Final = b"HZL1"
PROPOSAL_RECORD: Final = 3
VOTE_RECORD: Final = 4


@dataclass(frozen=True)
class Promise:
    """One message that a validator has made durable before it signed it. ``end``: offset behind its record."""

    epoch: int
    kind: str
    height: int
    round: int
    content: bytes
    end: int


def records(data: bytes) -> Iterator[tuple[int, Any, int]]:
    """Type, payload and the offset behind it of every whole frame, in order."""
    at = 0
    while at + FRAME.size <= len(data):
        marker, length, _previous, _crc, _durable, _sequence, kind = FRAME.unpack_from(data, at)
        if marker != MARKER:
            raise AssertionError(f"no frame at byte {at}")
        end = at + FRAME.size + length
        if end > len(data):
            return
        yield kind, msgpack.unpackb(data[at + FRAME.size : end], strict_map_key=False), end
        at = end


def promises(data: bytes) -> Iterator[Promise]:
    """What the bytes of a signing log promise, in order."""
    for kind, value, end in records(data):
        if kind not in (PROPOSAL_RECORD, VOTE_RECORD):
            continue
        _tag, epoch, message = value[:3]
        what, height, round_ = message[0], message[1], message[2]
        yield Promise(epoch, what, height, round_, msgpack.packb(message), end)


@dataclass
class Watch:
    """What one validator's log has said so far; a log that is rotated forgets, this does not."""

    name: str
    path: Path
    seen: dict[tuple[int, int, int, str], bytes] = field(default_factory=dict)

    def look(self) -> None:
        """Read the log as it is now. Raises ``AssertionError`` when it contradicts anything read before."""
        left: dict[tuple[int, int], int] = {}
        for promise in promises(self.path.read_bytes()):
            place = (promise.epoch, promise.height, promise.round, promise.kind)
            before = self.seen.setdefault(place, promise.content)
            assert before == promise.content, f"{self.name} signed twice at {place}: {before!r} {promise.content!r}"
            here = (promise.epoch, promise.height)
            assert promise.round >= left.get(here, 0), f"{self.name} went back to round {promise.round} at {here}"
            left[here] = max(left.get(here, 0), promise.round)
