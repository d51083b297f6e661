"""Executing a block in slices, so that votes are handled in between (NODE §2).

The rules run in the event loop's thread: they are Python, and a second thread would only fight for the lock. After
each slice of work the loop runs what else is ready. One transaction is never cut: the largest batch takes a few
hundred milliseconds at most, and is rare.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

from ledger.apply import Applied, begin_block
from ledger.blocks import Body, Header
from ledger.store import Reader
from ledger.transactions import Transaction
from ledger.validity import HeightView

SLICE_S: Final = 0.004
"""After so much work the loop gets its turn."""


async def execute(
    reader: Reader,
    view: HeightView,
    header: Header,
    body: Body,
    transactions: Sequence[tuple[bytes, Transaction]],
    *,
    now_s: Callable[[], float] = time.perf_counter,
    spent: Callable[[str, float], None] = lambda step, seconds: None,
) -> Applied:
    """Apply a valid block on top of ``view`` to a reader that holds the state after it. Nothing is written.

    ``spent`` is told the seconds of work by step: execute, tree. What the loop did meanwhile is not in them.
    """
    execution = begin_block(reader, view, header, body.parent_certificate, body.evidence)
    since_s = now_s()
    execution.run_deadlines()
    for tx_id, transaction in transactions:
        if (slice_s := now_s() - since_s) > SLICE_S:
            spent("execute", slice_s)
            await asyncio.sleep(0)
            since_s = now_s()
        execution.deliver(tx_id, transaction)
    slice_s = now_s() - since_s
    spent("execute", slice_s)
    if slice_s > SLICE_S:
        await asyncio.sleep(0)
    since_s = now_s()
    applied = execution.finish()
    spent("tree", now_s() - since_s)
    return applied
