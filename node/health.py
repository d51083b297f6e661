"""The event loop's heartbeat: what ``/livez`` answers from, and how late the loop runs (NODE §2)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

BEAT_S: Final = 0.25
STALE_AFTER_S: Final = 5.0
"""A loop that has not run its heartbeat for so long does nothing else either."""


class Heartbeat:
    """Beats on the event loop. ``now_s`` is a monotonic clock; ``on_lag`` gets how late each beat was, seconds."""

    def __init__(self, now_s: Callable[[], float], on_lag: Callable[[float], None] = lambda lag_s: None) -> None:
        self._now_s = now_s
        self._on_lag = on_lag
        self._last_s = now_s()
        self.lag_max_s = 0.0
        """The latest beat since the start."""

    @property
    def age_s(self) -> float:
        """Seconds since the last beat."""
        return self._now_s() - self._last_s

    @property
    def alive(self) -> bool:
        """Whether the loop has run recently."""
        return self.age_s <= STALE_AFTER_S

    def beat(self) -> None:
        """Note that the loop runs."""
        lag_s = max(0.0, self.age_s - BEAT_S)
        self._last_s = self._now_s()
        self.lag_max_s = max(self.lag_max_s, lag_s)
        self._on_lag(lag_s)

    async def run(self) -> None:
        """Beat until cancelled."""
        self._last_s = self._now_s()
        while True:
            await asyncio.sleep(BEAT_S)
            self.beat()
