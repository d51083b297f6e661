"""How long a ledger takes to be ready after kill -9.

Run as a module it is the process that is killed: it enrols batch after batch and tells each block's height, so that the
kill finds a busy store whose log has not been written to tables yet.
"""

import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from ledger import bills
from ledger.tables import Table

from .ledger_chain import PLATFORM, SoloChain, failed
from .ledger_script import Script
from .ledger_walk import Walk

BLOCKS: Final = 12
"""The process is killed after so many."""
_MORE: Final = 10_000_000
"""The killed process enrols at most so many more."""


def ready_s(directory: Path, script: Script) -> float:
    """Kill a process that writes to the chain in ``directory``; seconds from opening it to the first bill and proof."""
    command = [sys.executable, "-m", __name__, str(directory), str(script.members)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        heights: list[int] = []
        try:
            for line in process.stdout or ():
                heights.append(int(line))
                if len(heights) == BLOCKS:
                    break
        finally:
            process.kill()
    since_s = time.perf_counter()
    chain = SoloChain(directory)
    try:
        bills.bill(chain.state, 0)
        chain.store_tables().prove(Table.MEMBERS, 0)
        taken_s = time.perf_counter() - since_s
        if len(heights) < BLOCKS or chain.view.height < heights[-1]:
            raise failed(f"blocks were lost by kill -9: the head is {chain.view.height}", f"told of {heights}")
    finally:
        chain.close()
    return taken_s


def _enrol_until_killed(directory: Path, members: int) -> None:
    walk = Walk(SoloChain(directory), Script(members + _MORE))
    while walk.enrolled < walk.script.members:
        walk.chain.decide((PLATFORM, walk.script.batch(walk.enrolled)))
        sys.stdout.write(f"{walk.chain.view.height}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _enrol_until_killed(Path(sys.argv[1]), int(sys.argv[2]))
