"""Who waits for a block: requests for their transactions, bounded, for each holds a connection; feeds for any."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from ledger.blocks import Receipt
from ledger.errors import TransactionRejected

Result = tuple[int, int, Receipt]
"""Of a committed transaction: height, position in the body, receipt."""


class _Waiter:
    __slots__ = ("done", "found", "open")

    def __init__(self, ids: set[bytes], found: dict[bytes, Result]) -> None:
        self.open = ids
        self.found = found
        self.done = asyncio.Event()


class CommitWaiters:
    """Who waits for which ids. The node calls ``settled`` after each block with what it committed or let expire."""

    def __init__(self, count_max: int) -> None:
        self._count_max = count_max
        self._count = 0
        self._of: dict[bytes, list[_Waiter]] = {}
        self._next_block = asyncio.Event()

    def __len__(self) -> int:
        return self._count

    def settled(self, ids: Iterable[bytes], results: Callable[[], Mapping[bytes, Result]] = dict) -> None:
        """A block is committed durably, and with it these transactions are committed or expired.

        ``results`` is asked when anybody waits.
        """
        self._next_block.set()
        self._next_block = asyncio.Event()
        if not self._of:
            return
        found = results()
        for tx_id in ids:
            for waiter in self._of.pop(tx_id, ()):
                waiter.open.discard(tx_id)
                if tx_id in found:
                    waiter.found[tx_id] = found[tx_id]
                if not waiter.open:
                    waiter.done.set()

    def next_block(self) -> asyncio.Event:
        """Set as soon as one more block is committed. Take it *before* looking at the present head."""
        return self._next_block

    async def wait(self, ids: Iterable[bytes], timeout_s: float, found: dict[bytes, Result] | None = None) -> bool:
        """Wait until all are settled, at most ``timeout_s``; returns whether they are. Unsettled ids only.

        What became of them meanwhile is put into ``found``, so that nobody has to read it from the disk.
        Raises ``TransactionRejected`` TOO_MANY_WAITERS.
        """
        waiter = _Waiter(set(ids), {} if found is None else found)
        if not waiter.open:
            return True
        if self._count >= self._count_max:
            raise TransactionRejected("TOO_MANY_WAITERS", f"{self._count} wait already")
        self._count += 1
        for tx_id in waiter.open:
            self._of.setdefault(tx_id, []).append(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter.done.wait()
        except TimeoutError:
            return False
        finally:
            self._count -= 1
            for tx_id in waiter.open:
                others = self._of.get(tx_id, [])
                if waiter in others:
                    others.remove(waiter)
                if not others:
                    self._of.pop(tx_id, None)
        return True
