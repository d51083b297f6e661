"""``python -m tests.reference.sabotage DIR``: shows that the audit can fail.

Alters, each in a copy of DIR of its own, one byte of a block, one bill and one account, and demands that the audit of
the copy fails; then audits an unaltered copy, which must pass. Exits 1 if any of the four comes out otherwise.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from .audit import audit


def _block_byte(directory: Path) -> str:
    path = directory / "blocks.msgpack"
    raw = bytearray(path.read_bytes())
    position = len(raw) // 2
    raw[position] ^= 0x01
    path.write_bytes(raw)
    return f"byte {position} of the blocks"


def _bill(directory: Path) -> str:
    path = directory / "bills.json"
    bills = json.loads(path.read_text())
    bills[len(bills) // 2]["billed_fen"] += 1
    path.write_text(json.dumps(bills))
    return f"the bill of member {bills[len(bills) // 2]['member']}"


def _account(directory: Path) -> str:
    path = directory / "accounts.json"
    accounts = json.loads(path.read_text())
    accounts["carry"] += 1
    path.write_text(json.dumps(accounts))
    return "the account carry"


def _nothing(_directory: Path) -> str:
    return "nothing"


def _audit_copy(directory: Path, alter: Callable[[Path], str], must_pass: bool) -> bool:
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / "copy"
        shutil.copytree(directory, copy, ignore=shutil.ignore_patterns("nodes"))
        what = alter(copy)
        _, faults = audit(copy)
    right = (not faults) == must_pass
    found = faults[0] if faults else "no fault found"
    sys.stdout.write(f"{'ok ' if right else 'BAD'} altered {what}: {found}\n")
    return right


def main(arguments: list[str]) -> int:
    """Sabotage the directory named by the only argument; returns the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m tests.reference.sabotage DIR\n")
        return 2
    directory = Path(arguments[0])
    attempts = [(_block_byte, False), (_bill, False), (_account, False), (_nothing, True)]
    results = [_audit_copy(directory, alter, must_pass) for alter, must_pass in attempts]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
