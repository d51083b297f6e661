"""What a transaction and a height cost, counted where the work is done; read by the metrics.

Each node has its own objects, nothing is global. Times are CPU of the event loop's thread, so a machine that others
keep busy does not make a step dearer; what the verifier's processes and the writers' threads do is not in them. A step
inside another one is charged to the inner one alone: the steps add up to what the loop spends on the node's own work.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Final

STEPS: Final = (
    "receive",
    "consensus",
    "hash",
    "decode",
    "admit",
    "verify",
    "enter",
    "gossip",
    "propose",
    "check",
    "execute",
    "tree",
    "batch",
    "commit",
    "answer",
    "send",
)
"""receive: decrypt, frames; consensus: votes and their signatures; hash, decode, admit (window, seen, room), verify
(records for the pool), enter (mempool), gossip: of a transaction on its way in; propose, check: a block built, a
proposal checked; execute, tree, batch, commit (pool, listeners): of a block; answer: HTTP bodies read and written;
send: seal, write."""


PHASES: Final = ("due", "proposed", "checked", "prepared", "committed", "applied")
"""What a height passes through, in this order."""


class Section:
    """One step's time: ``with`` it around work that does not wait. Entered again inside itself it is harmless."""

    __slots__ = ("_outer", "_steps", "seconds")

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._outer: list[Section | None] = []
        self.seconds = 0.0

    def __enter__(self) -> None:
        self._outer.append(self._steps.switch(self))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._steps.switch(self._outer.pop())


class Steps:
    """Seconds and times of each kind of work since the start."""

    def __init__(self, cpu_s: Callable[[], float] = time.thread_time) -> None:
        """``cpu_s`` is the calling thread's CPU time; everything here is called in one thread."""
        self._cpu_s = cpu_s
        self._since_s = 0.0
        self._current: Section | None = None
        self._sections = {step: Section(self) for step in STEPS}
        self.work: Counter[str] = Counter()
        """How many transactions were hashed, decoded, executed."""

    @property
    def seconds(self) -> dict[str, float]:
        """By step; those never taken are left out."""
        return {step: section.seconds for step, section in self._sections.items() if section.seconds}

    def of(self, step: str) -> Section:
        """The section of one of ``STEPS``."""
        return self._sections[step]

    def switch(self, to: Section | None) -> Section | None:
        """Charge the time since the last switch to the present section; ``to`` is the present one now, the old one is
        returned.
        """
        before = self._current
        if before is to:
            return before  # the clock is read for a change only: it is a system call
        now_s = self._cpu_s()
        if before is not None:
            before.seconds += now_s - self._since_s
        self._since_s, self._current = now_s, to
        return before

    def count(self, work: str, times: int) -> None:
        """This was done to so many transactions."""
        self.work[work] += times


class Phases:
    """How long a height takes from phase to phase (``PHASES``)."""

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
