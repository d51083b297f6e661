"""What the allocator is told: a large block that is freed goes back to the system, also after larger ones."""

import subprocess
import sys

import pytest

_MAPPED = """
import ctypes, sys
from node.allocator import LARGE_BYTES, give_large_blocks_back
names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
Info = type("Info", (ctypes.Structure,), {"_fields_": [(name, ctypes.c_size_t) for name in names]})
mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = Info
if sys.argv[1] == "told":
    give_large_blocks_back()
del [bytes(8 * LARGE_BYTES)][:]  # glibc raises its threshold above this
before = mallinfo().hblkhd
kept = bytes(2 * LARGE_BYTES)
print(mallinfo().hblkhd - before >= len(kept))
"""


@pytest.mark.parametrize(("how", "mapped"), [("told", "True"), ("untold", "False")])
def test_a_large_block_is_the_systems_own_whatever_was_freed_before(how: str, mapped: str) -> None:
    done = subprocess.run([sys.executable, "-c", _MAPPED, how], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == mapped
