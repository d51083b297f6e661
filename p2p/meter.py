"""Where the links' own work is timed: a port, so that whoever owns the clock of the loop's CPU sees their share."""

from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol


class Meter(Protocol):
    """Gives a section for each kind of work: ``receive``, ``gossip``, ``send``."""

    def of(self, step: str) -> AbstractContextManager[None]:
        """The section; ``with`` it around work that does not wait."""
        ...


class _NoMeter:
    _section: AbstractContextManager[None] = nullcontext()

    def of(self, step: str) -> AbstractContextManager[None]:
        return self._section


NO_METER: Final[Meter] = _NoMeter()
