"""How far a node that joins by snapshot has come: percent, rate and remaining time, for terminal and status."""

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from p2p.clock import Clock

RATE_WINDOW_S: Final = 1.0


class Phase(Enum):
    """What is being done. Names are shown."""

    WAITING = "waiting for peers"
    TABLES = "fetching tables"
    BLOCKS = "fetching blocks"
    INDEXES = "rebuilding indexes"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Shown:
    """The progress as a value."""

    phase: str
    height: int | None
    """Of the snapshot, once one is chosen."""
    done: int
    total: int
    """Rows while tables and indexes are worked on, else blocks."""
    percent: float
    per_second: float
    eta_seconds: float | None
    bytes: int
    """Fetched so far, all phases."""
    peers: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


class Progress:
    """The counters of one joining; one owner writes them, everybody reads ``shown``."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.phase = Phase.WAITING
        self.height: int | None = None
        self.peers = 0
        self._done = 0
        self._total = 0
        self._bytes = 0
        self._per_s = 0.0
        self._since = (clock.monotonic_s(), 0)

    def begin(self, phase: Phase, total: int) -> None:
        """A phase begins, with so much to do."""
        self.phase, self._done, self._total, self._per_s = phase, 0, total, 0.0
        self._since = (self._clock.monotonic_s(), 0)

    def found(self, count: int) -> None:
        """So much was there already: it counts, but says nothing of the rate."""
        self._done += count
        self._since = (self._since[0], self._since[1] + count)

    def fetched(self, count: int, size: int = 0) -> None:
        """So much was done, of so many bytes."""
        self._done += count
        self._bytes += size
        now_s, (then_s, then) = self._clock.monotonic_s(), self._since
        if now_s - then_s >= RATE_WINDOW_S:
            fresh = (self._done - then) / (now_s - then_s)
            self._per_s = fresh if not self._per_s else 0.7 * self._per_s + 0.3 * fresh
            self._since = (now_s, self._done)

    @property
    def shown(self) -> Shown:
        """As it is now."""
        left = max(0, self._total - self._done)
        return Shown(
            phase=self.phase.value,
            height=self.height,
            done=self._done,
            total=self._total,
            percent=round(100 * self._done / self._total, 1) if self._total else 0.0,
            per_second=round(self._per_s, 1),
            eta_seconds=round(left / self._per_s, 1) if self._per_s else None,
            bytes=self._bytes,
            peers=self.peers,
        )
