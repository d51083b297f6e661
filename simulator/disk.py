"""A signing log on a disk that forgets (CONSENSUS §3, §7): the bytes are the real ones of ``consensus.log``.

What was written but not synced is, after a crash, there, gone, cut off in the middle, or has a hole in it: pages
reach a disk in any order. Opening it goes by the rules of ``node.votelog``: a torn tail is cut off; damage, and a log
that lacks what the database remembers, is an ``OperatorError``. Rotation too is that adapter's.
"""

from collections.abc import Iterable
from random import Random
from typing import Final

from consensus.log import START, Decoded, Position, carried, decode_log, encode_batch
from consensus.records import DecidedRecord, FirstRecord, Record
from ledger.errors import OperatorError

ROTATE_BYTES: Final = 8_192


class LogDisk:
    """One validator's log. ``append`` writes, ``sync`` makes durable, ``crash`` forgets, ``open`` reads."""

    def __init__(self, first: FirstRecord) -> None:
        self.replace(first)

    def replace(self, first: FirstRecord) -> None:
        """A new log that holds only ``first``, whole and durable."""
        raw, self.end = encode_batch([first], START, START.sequence)
        self.durable = self.batched = self.end
        self.records: list[Record] = [first]
        """What the adapter would carry over a rotation, newest included."""
        self.synced = raw
        self._unsynced: list[tuple[Position, bytes, tuple[Record, ...]]] = []
        self.durable_records: list[Record] = [first]
        """Everything synced to this file, in order."""

    def append(self, records: Iterable[Record]) -> Position:
        """Write the records; durable once ``sync`` reached the position returned."""
        new = tuple(records)
        raw, self.end = encode_batch(new, self.end, self.durable.sequence)
        self._unsynced.append((self.end, raw, new))
        self.records.extend(new)
        return self.end

    def sync(self, position: Position) -> None:
        """fsync has returned behind everything up to ``position``."""
        while self._unsynced and self._unsynced[0][0].sequence <= position.sequence:
            self.durable, raw, new = self._unsynced.pop(0)
            self.synced += raw
            self.durable_records.extend(new)

    def compact(self, epoch: int, height: int) -> bool:
        """Everything up to ``height`` is in the database: forget it at the next rotation; whether that was now."""
        self.records = carried(self.records, DecidedRecord(epoch, height))
        if len(self.synced) < ROTATE_BYTES or not self.end == self.durable == self.batched:
            return False
        self.synced, self.end = encode_batch(self.records, self.end, self.durable.sequence)
        self.durable = self.end
        self.durable_records = list(self.records)
        return True

    def crash(self, random: Random) -> str:
        """The power is cut: what was not synced is there, gone, torn or holed. Says which."""
        tail = b"".join(raw for _, raw, _ in self._unsynced)
        self._unsynced.clear()
        fate = random.choice(("kept", "gone", "cut", "holed")) if tail else "none"
        if fate == "gone":
            tail = b""
        elif fate == "cut":
            tail = tail[: random.randrange(len(tail))]
        elif fate == "holed":
            start = random.randrange(len(tail))
            end = min(len(tail), start + random.randint(1, 512))
            tail = tail[:start] + bytes(end - start) + tail[end:]
        self.synced += tail
        return fate

    def roll_back(self, synced: bytes) -> None:
        """An old copy of the file is put back."""
        self.synced = synced
        self.durable_records = decode_log(synced).records

    def open(self, known: Position) -> Decoded:
        """Read the log after a crash. ``known`` is the position the database's newest batch names.

        Raises ``OperatorError`` LOG_DAMAGED, LOG_ROLLED_BACK.
        """
        decoded = decode_log(self.synced)
        if known != START and not decoded.holds(known):
            raise OperatorError("LOG_ROLLED_BACK", "the simulated log", f"record {known.sequence} is not in it")
        self.synced = self.synced[: decoded.offset]
        self.end = self.durable = decoded.end
        self.batched = known
        self.records = list(decoded.records)
        self.durable_records = list(decoded.records)
        return decoded
