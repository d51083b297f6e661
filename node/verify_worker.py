"""A verifier process: reads batches of signatures from stdin, writes bitmaps to stdout (DESIGN §6).

It is started isolated from the environment and the working directory, imports the rule of signatures and nothing else
(so it starts fast and stays small), and lives exactly as long as its pipe: at the end of stdin it ends, so it cannot
outlive the node, however that dies.

    batch   count (2 bytes, big-endian, 1 to 256) ‖ count × (signature 64 ‖ digest 32 ‖ public key 32)
    result  bitmap (32 bytes, little-endian); bit i says whether record i verifies
"""

import os
import signal
import sys
from pathlib import Path
from typing import BinaryIO

import ed25519_zebra

from ledger.ed25519 import is_valid

RECORD_BYTES = 128
_SIGNATURE_END = 64
_DIGEST_END = 96
BATCH_RECORDS_MAX = 256
COUNT_BYTES = 2
RESULT_BYTES = BATCH_RECORDS_MAX // 8
_START = (
    "import sys; sys.path.insert(0, sys.argv[1]); sys.path.append(sys.argv[2]); "
    "from node import verify_worker; verify_worker.main()"
)


def command(python: str) -> tuple[str, ...]:
    """How a process is started: of everything that is ours it imports from the tree that this file is in.

    Isolated, it sees neither PYTHONPATH nor a user's own packages. So it is told where this process found the library;
    that place comes last.
    """
    ours, library = (str(Path(file).parents[1]) for file in (__file__, ed25519_zebra.__file__))
    return python, "-I", "-c", _START, ours, library


def batch_of(records: bytes) -> bytes:
    """The bytes to be sent for 1 to 256 records, one after the other."""
    return (len(records) // RECORD_BYTES).to_bytes(COUNT_BYTES, "big") + records


def verifies(record: bytes) -> bool:
    """Whether the signature of one record is valid."""
    return is_valid(record[_DIGEST_END:], record[_SIGNATURE_END:_DIGEST_END], record[:_SIGNATURE_END])


def bitmap(batch: bytes) -> int:
    """The results of a batch of records, record 0 in the lowest bit."""
    bits = 0
    for number, at in enumerate(range(0, len(batch), RECORD_BYTES)):
        if verifies(batch[at : at + RECORD_BYTES]):
            bits |= 1 << number
    return bits


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer batch after batch until the source ends."""
    while head := source.read(COUNT_BYTES):
        size = int.from_bytes(head, "big") * RECORD_BYTES
        batch = source.read(size)
        if len(batch) != size:  # the node died in the middle of a write
            return
        sink.write(bitmap(batch).to_bytes(RESULT_BYTES, "little"))
        sink.flush()


def main() -> None:
    """Serve stdin and stdout, whoever presses Ctrl-C."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # they reach the whole group; the node decides when we end
    try:
        serve(sys.stdin.buffer, sys.stdout.buffer)
    except BrokenPipeError:  # the node was killed; the answer nobody reads must not be flushed again, nor complained of
        os._exit(0)
