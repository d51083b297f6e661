"""The clock the links are given: one primitive, ``call_later``, from which waiting and time limits follow.

Injected everywhere, so that no test waits for real time and the simulator may own it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol


class TimerHandle(Protocol):
    """A timer that has not fired may be cancelled; cancelling one that has is harmless."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """Real and monotonic time, and timers on the running loop."""

    def time_ms(self) -> int:
        """Wall-clock time, milliseconds since 1970."""
        ...

    def monotonic_s(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> TimerHandle:
        """Call ``callback`` in the loop after ``delay_s`` seconds."""
        ...


class SystemClock:
    """The machine's clocks and the running event loop's timers; ``offset_ms`` makes the time wrong, for tests."""

    def __init__(self, offset_ms: int = 0) -> None:
        self._offset_ms = offset_ms

    def time_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self._offset_ms

    def monotonic_s(self) -> float:
        return time.monotonic()

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> TimerHandle:
        return asyncio.get_running_loop().call_later(delay_s, callback)


class Alarm:
    """Something one task waits for: a ring, or a delay. A ring that nobody waits for is kept for the next wait."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rung = False
        self._waiter: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """Wake the waiter, now or at its next wait."""
        self._rung = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self, delay_s: float | None = None) -> None:
        """Return once rung, or after ``delay_s`` seconds (none: only when rung)."""
        if not self._rung:
            self._waiter = asyncio.get_running_loop().create_future()
            timer = None if delay_s is None else self._clock.call_later(delay_s, self._wake)
            try:
                await self._waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
        self._rung = False


@asynccontextmanager
async def time_limit(clock: Clock, limit_s: float) -> AsyncIterator[None]:
    """Like ``asyncio.timeout``, by the injected clock. Raises ``TimeoutError``."""
    async with asyncio.timeout(None) as scope:
        timer = clock.call_later(limit_s, lambda: scope.reschedule(asyncio.get_running_loop().time()))
        try:
            yield
        finally:
            timer.cancel()
