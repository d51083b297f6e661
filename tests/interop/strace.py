"""What ``strace -f -yy -xx`` wrote, read by hand: calls with the order in which they began and ended, and their bytes.

The order is that of the lines. A call stands where it was entered; one that was interrupted by another thread's
(``<unfinished ...>``) ends at its ``resumed`` line. strace holds a thread at the entry of a call until it has handled
what it saw before, so a call whose line comes later also *happened* later.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

CALLS: Final = "write,writev,pwrite64,sendto,sendmsg,fsync,fdatasync"
OPTIONS: Final = ("-f", "--seccomp-bpf", "-yy", "-xx", "-s", "4194304", "-e", f"trace={CALLS}", "-e", "signal=none")
SENT: Final = frozenset({"sendto", "sendmsg"})
WRITTEN: Final = frozenset({"write", "writev", "pwrite64"})
SYNCED: Final = frozenset({"fsync", "fdatasync"})

_BEGUN: Final = re.compile(r"^(?P<pid>\d+) +(?P<name>\w+)\((?P<rest>.*)$")
_RESUMED: Final = re.compile(r"^(?P<pid>\d+) +<\.\.\. (?P<name>\w+) resumed>(?P<rest>.*)$")
_TARGET: Final = re.compile(r"^\d+<(?P<what>(?:\\x[0-9a-f]{2})+|[A-Z0-9-]+:\[.*?\]|[^>]*)>")
_BYTES: Final = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_RESULT: Final = re.compile(r"= (-?\d+)(?: \w+ \(.*\))?$")
_UNFINISHED: Final = "<unfinished ...>"


@dataclass
class Call:
    """One system call. ``entered`` and ``left`` are line numbers; ``left`` is None while it has not returned."""

    name: str
    target: str
    """The file's path, or the connection as strace names it."""
    data: bytes
    entered: int
    left: int | None = None
    result: int = -1

    @property
    def passed(self) -> bytes:
        """The bytes that the kernel took."""
        return self.data[: max(0, self.result)]


def _plain(text: str) -> str:
    return bytes.fromhex(text.replace("\\x", "")).decode() if text.startswith("\\x") else text


def _data(text: str) -> bytes:
    parts = _BYTES.findall(text)
    if any(cut for _, cut in parts):
        raise AssertionError("strace has cut what was written: raise -s")
    return b"".join(bytes.fromhex(part.replace("\\x", "")) for part, _ in parts)


def calls(path: Path) -> Iterator[Call]:
    """Every call of the trace that names a file or a connection, in the order of entry."""
    found: list[Call] = []
    open_: dict[str, Call] = {}
    for number, line in enumerate(path.read_text().splitlines()):
        begun, resumed = _BEGUN.match(line), _RESUMED.match(line)
        if begun is not None:
            target = _TARGET.match(begun["rest"])
            call = Call(begun["name"], _plain(target["what"]) if target else "", _data(begun["rest"]), number)
            found.append(call)
            if line.endswith(_UNFINISHED):
                open_[begun["pid"]] = call
                continue
        elif resumed is not None:
            call = open_.pop(resumed["pid"])
            call.data += _data(resumed["rest"])
        else:
            continue
        result = _RESULT.search(line)
        if result is not None:
            call.left, call.result = number, int(result[1])
    return iter(found)


@dataclass
class Stream:
    """The bytes that went to one file or connection, and which call took them."""

    data: bytearray = field(default_factory=bytearray)
    calls: list[tuple[int, Call]] = field(default_factory=list)
    """Offset behind its bytes, call."""

    def add(self, call: Call) -> None:
        self.data += call.passed
        self.calls.append((len(self.data), call))

    def taking(self, offset: int) -> Call:
        """The call that took the byte before ``offset``."""
        return next(call for end, call in self.calls if end >= offset)


@dataclass
class Trace:
    """Everything of one process, by file and by connection."""

    files: dict[str, Stream] = field(default_factory=dict)
    connections: dict[str, Stream] = field(default_factory=dict)
    syncs: dict[str, list[Call]] = field(default_factory=dict)

    def synced(self, path: str, written: Call) -> int:
        """The line at which the first sync of ``path`` returned that began after ``written`` had."""
        for sync in self.syncs.get(path, ()):
            if written.left is not None and sync.entered > written.left and sync.left is not None and not sync.result:
                return sync.left
        raise AssertionError(f"nothing syncs {path} after line {written.left}")

    def sending(self, piece: bytes) -> Call | None:
        """The call that sent the last byte of ``piece``, whichever connection it was."""
        for stream in self.connections.values():
            at = stream.data.find(piece)
            if at >= 0:
                return stream.taking(at + len(piece))
        return None


def read(path: Path) -> Trace:
    """The trace in ``path``."""
    trace = Trace()
    for call in calls(path):
        if call.name in SYNCED:
            trace.syncs.setdefault(call.target, []).append(call)
        elif ":[" in call.target:
            trace.connections.setdefault(call.target, Stream()).add(call)
        elif call.name in WRITTEN:
            trace.files.setdefault(call.target, Stream()).add(call)
    return trace


# ---- LevelDB's log ---------------------------------------------------------------------------------------------------

BLOCK_BYTES: Final = 32_768
HEAD_BYTES: Final = 7


def batches(data: bytes) -> Iterator[tuple[bytes, int]]:
    """The records of a LevelDB log (its log_format.md), each with the offset behind it."""
    at, parts = 0, b""
    while at + HEAD_BYTES <= len(data):
        if BLOCK_BYTES - at % BLOCK_BYTES < HEAD_BYTES:
            at += BLOCK_BYTES - at % BLOCK_BYTES
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        at += HEAD_BYTES
        parts += data[at : at + length]
        at += length
        if kind in (1, 4):
            yield parts, at
            parts = b""
