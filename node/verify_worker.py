"""A verifier process: reads batches of signatures from stdin, writes bitmaps to stdout (DESIGN §6).

It is started by path with ``python -I``, imports nothing but libsodium's binding (so it starts fast and stays small),
and lives exactly as long as its pipe: at the end of stdin it ends, so it cannot outlive the node, however that dies.

    batch   count (2 bytes, big-endian, 1 to 256) ‖ count × (signature 64 ‖ digest 32 ‖ public key 32)
    result  bitmap (32 bytes, little-endian); bit i says whether record i verifies
"""

import os
import signal
import sys
from typing import BinaryIO

from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

RECORD_BYTES = 128
SIGNED_BYTES = 96
"""A signature and what it signs, as libsodium takes them."""
BATCH_RECORDS_MAX = 256
COUNT_BYTES = 2
RESULT_BYTES = BATCH_RECORDS_MAX // 8


def batch_of(records: bytes) -> bytes:
    """The bytes to be sent for 1 to 256 records, one after the other."""
    return (len(records) // RECORD_BYTES).to_bytes(COUNT_BYTES, "big") + records


def verifies(record: bytes) -> bool:
    """Whether the signature of one record is valid: the same rule as ``ledger.signing.verify``."""
    try:
        crypto_sign_open(record[:SIGNED_BYTES], record[SIGNED_BYTES:])
    except BadSignatureError:
        return False
    return True


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


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # they reach the whole group; the node decides when we end
    try:
        serve(sys.stdin.buffer, sys.stdout.buffer)
    except BrokenPipeError:  # the node was killed; the answer nobody reads must not be flushed again, nor complained of
        os._exit(0)
