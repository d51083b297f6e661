"""Executing a block in slices, so that votes are handled in between (NODE §2).

The rules run in the event loop's thread: they are Python, and a second thread would only fight for the lock. After
each slice of work the loop runs what else is ready. One transaction is never cut: the largest batch takes a few
hundred milliseconds at most, and is rare.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from ledger.apply import Applied, BlockExecution, begin_block
from ledger.blocks import Body, Header
from ledger.store import Reader
from ledger.transactions import Transaction
from ledger.validity import HeightView

from .steps import Steps

SLICE_S: Final = 0.004
"""After so much work the loop gets its turn."""
EXPECTED: Final = 512
"""So many transactions are announced at a time: their pages are read in a few milliseconds."""


async def execute(
    reader: Reader,
    view: HeightView,
    header: Header,
    body: Body,
    transactions: Sequence[tuple[bytes, Transaction]],
    *,
    now_s: Callable[[], float] = time.perf_counter,
    steps: Steps | None = None,
) -> Applied:
    """Apply a valid block on top of ``view`` to a reader that holds the state after it. Nothing is written.

    ``steps`` is told the work by step: execute, tree. What the loop did meanwhile is not in them.
    """
    steps = steps if steps is not None else Steps()
    working = steps.of("execute")
    since_s = now_s()
    with working:
        execution = begin_block(reader, view, header, body.parent_certificate, body.evidence)
        execution.run_deadlines()
    for first in range(0, len(transactions), EXPECTED):
        following = transactions[first : first + EXPECTED]
        with working:
            execution.expect(following)
        waiting = iter(following)
        done = False
        while not done:
            if now_s() - since_s > SLICE_S:
                await asyncio.sleep(0)
                since_s = now_s()
            with working:
                done = _deliver_slice(execution, waiting, since_s, now_s)
    if now_s() - since_s > SLICE_S:
        await asyncio.sleep(0)
    with steps.of("tree"):
        return execution.finish()


def _deliver_slice(
    execution: BlockExecution,
    waiting: Iterator[tuple[bytes, Transaction]],
    since_s: float,
    now_s: Callable[[], float],
) -> bool:
    """Deliver until the slice that began at ``since_s`` is over; whether nothing is left."""
    for tx_id, transaction in waiting:
        execution.deliver(tx_id, transaction)
        if now_s() - since_s > SLICE_S:
            return False
    return True
