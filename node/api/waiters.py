"""Who waits for a block: requests for their transactions, bounded, for each holds a connection; feeds for any."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from ledger.errors import TransactionRejected


class _Waiter:
    __slots__ = ("done", "open")

    def __init__(self, ids: set[bytes]) -> None:
        self.open = ids
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

    def settled(self, ids: Iterable[bytes]) -> None:
        """A block is committed durably, and with it these transactions are committed or expired."""
        self._next_block.set()
        self._next_block = asyncio.Event()
        if not self._of:
            return
        for tx_id in ids:
            for waiter in self._of.pop(tx_id, ()):
                waiter.open.discard(tx_id)
                if not waiter.open:
                    waiter.done.set()

    def next_block(self) -> asyncio.Event:
        """Set as soon as one more block is committed. Take it *before* looking at the present head."""
        return self._next_block

    async def wait(self, ids: Iterable[bytes], timeout_s: float) -> bool:
        """Wait until all are settled, at most ``timeout_s``; returns whether they are. Unsettled ids only.

        Raises ``TransactionRejected`` TOO_MANY_WAITERS.
        """
        waiter = _Waiter(set(ids))
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
