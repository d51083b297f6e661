"""What a run of ``huzhu bench ledger`` has measured so far; kept beside the chain, so that a killed run goes on."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from ledger.errors import OperatorError
from ledger.limits import BATCH_ITEMS_MAX

from . import usage
from .ledger_probe import Appended
from .ledger_walk import Phase, Stepped

FILE: Final = "figures.json"


@dataclass(slots=True)
class Spent:
    """Blocks of one kind."""

    blocks: int = 0
    items: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    slowest_s: float = 0.0
    thread_s: float = 0.0

    def add(self, stepped: Stepped) -> None:
        """One more block."""
        self.blocks += 1
        self.items += stepped.items
        self.seconds += stepped.decided.seconds
        self.cpu_s += stepped.decided.cpu_s
        self.thread_s += stepped.decided.thread_s
        self.slowest_s = max(self.slowest_s, stepped.decided.seconds)


@dataclass(slots=True)
class Tally:
    """Everything measured, by kind of block and by period; one file, replaced whole."""

    members: int
    phases: dict[str, Spent] = field(default_factory=dict)
    periods: dict[str, dict[str, float]] = field(default_factory=dict)
    """Seconds by period number and kind: ``settle``, ``small_settle``, and what makes up ``collect_s``."""
    appended: list[Appended] = field(default_factory=list)
    memory_tenth_bytes: int = 0
    """Most anonymous memory while the first tenth was enrolled."""
    memory_enrol_bytes: int = 0
    """... while everybody was."""
    memory_bytes: int = 0
    """... at any time."""
    results: dict[str, Any] = field(default_factory=dict)
    """Figures of phases that are over."""

    def add(self, stepped: Stepped) -> None:
        """One block of the measured chain."""
        name = stepped.phase.value
        self.phases.setdefault(name, Spent()).add(stepped)
        if stepped.phase is not Phase.ENROL:
            self.period(stepped.number, name, stepped.decided.seconds)

    def period(self, number: int, name: str, seconds: float) -> None:
        """Seconds of a kind of work in a period; more blocks of a kind add up."""
        spent = self.periods.setdefault(str(number), {})
        spent[name] = spent.get(name, 0.0) + seconds

    def remember_memory(self, enrolled: int, enrolling: bool) -> None:
        """Sample this process's anonymous memory."""
        now = usage.memory_bytes([os.getpid()], "RssAnon")
        self.memory_bytes = max(self.memory_bytes, now)
        if enrolling:
            self.memory_enrol_bytes = max(self.memory_enrol_bytes, now)
            if enrolled <= max(self.members // 10, BATCH_ITEMS_MAX):
                self.memory_tenth_bytes = max(self.memory_tenth_bytes, now)

    def save(self, directory: Path) -> None:
        """Replace the file."""
        fresh = directory / (FILE + ".new")
        fresh.write_text(json.dumps(asdict(self), indent=1))
        os.replace(fresh, directory / FILE)


def load(directory: Path, members: int) -> Tally:
    """The tally of an earlier run over ``directory``; raises ``OperatorError`` BENCH_DIRECTORY for another's."""
    path = directory / FILE
    try:
        raw = json.loads(path.read_text())
        tally = Tally(**raw)
        tally.phases = {name: Spent(**spent) for name, spent in raw["phases"].items()}
        tally.appended = [Appended(**probe) for probe in raw["appended"]]
    except FileNotFoundError:
        raise _foreign(f"there is no {FILE} in {directory}") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _foreign(f"{path} is not a tally of this program: {error}") from error
    if tally.members != members:
        raise _foreign(f"{directory} is a run with {tally.members} members, not {members}")
    return tally


def _foreign(what: str) -> OperatorError:
    return OperatorError("BENCH_DIRECTORY", what, "", "choose the directory of the run, or another without --resume")
