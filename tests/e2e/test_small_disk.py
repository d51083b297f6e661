"""The real LevelDB on a real small disk: what it was told before the disk was full is there, and nothing behind it.

LevelDB itself would go on after a refused write, and lose or damage what it then acknowledges (docs/decisions/0015).
"""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from .small_disk import MIB, SmallDisk

pytestmark = pytest.mark.e2e

SCRIPT: Final = """
import os, sys
from pathlib import Path
from ledger.errors import OperatorError
from ledger.store import Batch
from node.storage import open_store

home, ballast = Path(sys.argv[1]), Path(sys.argv[1]) / "ballast"
store = open_store(home / "db", create=True, chain_id=bytes(32))
kept, refused = {}, 0

def write(name):
    global refused
    change = {b"zz" + name: os.urandom(20_000)}
    try:
        store.write(Batch(change))
    except OperatorError as error:
        assert error.code == "DISK_FULL", error
        refused += 1
    else:
        kept.update(change)

for number in range(20):
    write(b"before %d" % number)
file = os.open(ballast, os.O_WRONLY | os.O_CREAT)
try:
    while os.write(file, bytes(4_096)):
        pass
except OSError:
    os.close(file)
for number in range(5):
    write(b"full %d" % number)
ballast.unlink()
for number in range(30):
    write(b"after %d" % number)
store.close()
store = open_store(home / "db", create=False, chain_id=bytes(32))
assert all(store.get(key) == value for key, value in kept.items())
found = sum(1 for _ in store.scan(b"zz", b"zzz"))
write(b"again")
store.close()
print(len(kept), refused, found)
"""


def test_after_a_refused_write_leveldb_is_closed_and_opened_and_has_lost_nothing(tmp_path: Path) -> None:
    place = tmp_path / "data"
    place.mkdir()
    with SmallDisk(place, 4 * MIB) as disk:
        done = subprocess.run(
            [*disk.prefix, sys.executable, "-c", SCRIPT, str(place)], capture_output=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        kept, refused, found = map(int, done.stdout.split())
    assert refused >= 30, "nothing is written behind a refused batch, also when there is room again"
    assert kept == found + 1 >= 20
