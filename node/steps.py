"""What a transaction and a height cost, counted where the work is done; read by the metrics.

Each node has its own objects, nothing is global. Times are of the event loop's thread: what the verifier's processes
and the writer's thread do meanwhile is not in them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable


class Steps:
    """Seconds and times of each kind of work since the start."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        """By step of a transaction: admit (hash, decode, window, room), enter, execute, tree, batch."""
        self.work: Counter[str] = Counter()
        """How many transactions were hashed, decoded, executed."""

    def add(self, step: str, seconds: float) -> None:
        """So many seconds were spent in this step."""
        self.seconds[step] = self.seconds.get(step, 0.0) + seconds

    def count(self, work: str, times: int) -> None:
        """This was done to so many transactions."""
        self.work[work] += times


class Phases:
    """How long a height takes from phase to phase: due, proposed, checked, prepared, committed, applied."""

    def __init__(self, now_s: Callable[[], float], observe: Callable[[str, float], None]) -> None:
        """``observe(phase, seconds since the phase before)`` is called once for each phase of a height."""
        self._now_s = now_s
        self._observe = observe
        self._since_s = now_s()
        self._passed: set[str] = set()

    def begin(self) -> None:
        """A height is open."""
        self._since_s = self._now_s()
        self._passed.clear()

    def reached(self, phase: str) -> None:
        """The open height is in this phase; a second time (a later round) does not count."""
        if phase in self._passed:
            return
        self._passed.add(phase)
        now_s = self._now_s()
        self._observe(phase, now_s - self._since_s)
        self._since_s = now_s
