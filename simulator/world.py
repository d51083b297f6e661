"""The world of one seed: a virtual clock, a heap of events, one seeded random source, a trace (CONSENSUS §7).

Rules of this file:

* Everything that happens is an action at a virtual millisecond; equal times keep the order in which they were asked
  for. Nothing reads a real clock. So the same seed gives the same trace, and its hash says so.
* One line is traced for each event. Columns: virtual milliseconds, who (``node.life``), what, checksum of the bytes
  involved, and, only when the log is kept, a description. The description is not hashed, so that a run without a log
  and its repetition with one have the same hash.
"""

import heapq
import zlib
from collections.abc import Callable
from hashlib import sha256
from random import Random

Action = Callable[[], None]


class World:
    """Clock, events, chance and trace of one run."""

    def __init__(self, seed: int, *, keep_log: bool = False) -> None:
        self.random = Random(seed)
        self.now_ms = 0
        self.events = 0
        self.keep_log = keep_log
        self.log: list[str] = []
        self._heap: list[tuple[int, int, Action]] = []
        self._asked = 0
        self._hash = sha256()

    def at(self, time_ms: int, action: Action) -> None:
        """Do ``action`` at ``time_ms`` (never before now)."""
        self._asked += 1
        heapq.heappush(self._heap, (max(time_ms, self.now_ms), self._asked, action))

    def later(self, delay_ms: int, action: Action) -> None:
        """Do ``action`` after ``delay_ms``."""
        self.at(self.now_ms + delay_ms, action)

    def chance(self, probability: float) -> bool:
        """True with this probability; draws nothing at 0."""
        return probability > 0 and self.random.random() < probability

    def trace(self, who: str, what: str, raw: bytes = b"", described: object = "") -> None:
        """One line of the trace."""
        line = f"{self.now_ms} {who} {what} {zlib.crc32(raw):08x}"
        self._hash.update(line.encode())
        if self.keep_log:
            self.log.append(f"{line} {described}")

    @property
    def trace_hash(self) -> str:
        """Hash of all lines so far."""
        return self._hash.hexdigest()

    def run(self, until: Callable[[], bool], limit_ms: int) -> bool:
        """Let events happen until the condition holds; false when the limit, or the end of all events, came first."""
        heap = self._heap
        while not until():
            if not heap or heap[0][0] > limit_ms:
                self.now_ms = max(self.now_ms, limit_ms)
                return False
            self.now_ms, _, action = heapq.heappop(heap)
            self.events += 1
            action()
        return True

    def run_for(self, duration_ms: int) -> None:
        """Let everything of the next ``duration_ms`` happen."""
        self.run(lambda: False, self.now_ms + duration_ms)
