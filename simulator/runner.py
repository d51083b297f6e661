"""Running seeds: one, or a range over several processes; ``huzhu simulate`` is a thin shell around this.

A seed that fails is repeated with its log kept: the same seed gives the same trace, so the log is of the same run.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from os import cpu_count
from pathlib import Path
from typing import Any, Final, NamedTuple

from ledger.errors import HuzhuError

from .boundaries import BoundaryRun, boundaries
from .bugs import BUGS, planted
from .healing import healed_run, healings
from .invariants import Violation
from .marks import Marks
from .progress import work_off
from .simulation import Simulation

CHUNK: Final = 25
"""Seeds that a worker takes at a time."""


@dataclass(frozen=True, slots=True)
class Result:
    """What one seed did."""

    seed: int
    violation: str | None
    """``invariant: detail``, or None."""
    trace_hash: str
    heights: int
    """Blocks decided."""
    events: int
    recovery_ms: int
    """Virtual time from the heal to recovery."""
    marks: dict[str, int]
    log: tuple[str, ...] = ()
    """Of a failing seed, one line an event; columns as in ``simulator.world``."""

    @property
    def invariant(self) -> str | None:
        """The name of what was violated."""
        return None if self.violation is None else self.violation.partition(":")[0]


class Failure(NamedTuple):
    """A seed that violated something."""

    seed: int
    violation: str


@dataclass(slots=True)
class Report:
    """What a range of seeds did. Reports of parts add up, in any order, to that of the whole."""

    seeds: int = 0
    violations: list[Failure] = field(default_factory=list)
    heights: int = 0
    events: int = 0
    seconds: float = 0.0
    """Of the workers, added up."""
    recovery_ms_max: int = 0
    marks: Marks = field(default_factory=Marks)
    traces: int = 0
    """Sum of the hashes of (seed, trace), modulo 2^256: equal when every seed ran the same way."""

    def add(self, result: Result) -> None:
        """Count one more seed."""
        traced = sha256(f"{result.seed} {result.trace_hash}".encode()).digest()
        self.seeds += 1
        self.heights += result.heights
        self.events += result.events
        self.recovery_ms_max = max(self.recovery_ms_max, result.recovery_ms)
        self.marks.update(result.marks)
        self.traces = (self.traces + int.from_bytes(traced, "big")) % 2**256
        if result.violation is not None:
            self.violations.append(Failure(result.seed, result.violation))

    def merge(self, other: "Report") -> None:
        """Count another part."""
        self.seeds += other.seeds
        self.violations += other.violations
        self.heights += other.heights
        self.events += other.events
        self.seconds += other.seconds
        self.recovery_ms_max = max(self.recovery_ms_max, other.recovery_ms_max)
        self.marks.update(other.marks)
        self.traces = (self.traces + other.traces) % 2**256

    def values(self) -> dict[str, Any]:
        """For a progress file; ``report_of`` is the reverse."""
        return {
            "seeds": self.seeds,
            "violations": [list(failure) for failure in self.violations],
            "heights": self.heights,
            "events": self.events,
            "seconds": round(self.seconds, 3),
            "recovery_ms_max": self.recovery_ms_max,
            "marks": dict(self.marks),
            "traces": f"{self.traces:064x}",
        }


def report_of(values: Mapping[str, Any]) -> Report:
    """What ``Report.values`` said."""
    return Report(
        seeds=values["seeds"],
        violations=[Failure(seed, violation) for seed, violation in values["violations"]],
        heights=values["heights"],
        events=values["events"],
        seconds=values["seconds"],
        recovery_ms_max=values["recovery_ms_max"],
        marks=Marks(values["marks"]),
        traces=int(values["traces"], 16),
    )


def run_seed(seed: int, nodes: int | None = None, *, keep_log: bool = False) -> Result:
    """Run one seed to its end or its first violation."""
    return outcome(seed, Simulation(seed, nodes, keep_log=keep_log))


def run_boundary(number: int, nodes: int | None = None, *, keep_log: bool = False) -> Result:
    """Restart everybody at one effect boundary (``simulator.boundaries``)."""
    return outcome(number, BoundaryRun(number, nodes, keep_log=keep_log))


def run_healing(number: int, nodes: int | None = None, *, keep_log: bool = False) -> Result:
    """One healed network, f dead (``simulator.healing``)."""
    return outcome(number, healed_run(number, nodes, keep_log=keep_log))


@dataclass(frozen=True, slots=True)
class Scenario:
    """What can be run by numbers."""

    run: Callable[..., Result]
    """(number, nodes, keep_log=)"""
    numbers: Callable[[int | None], Sequence[int]]
    """All of it, for so many validators; of seeds, which have no end, the first hundred."""
    chunk: int
    """Numbers that a worker takes at a time."""


SCENARIOS: Final = {
    "seeds": Scenario(run_seed, lambda _: range(100), CHUNK),
    "boundaries": Scenario(run_boundary, lambda nodes: range(1, boundaries(nodes) + 1), CHUNK),
    "healing": Scenario(run_healing, lambda nodes: range(healings(nodes)), 1),
}


def outcome(number: int, simulation: Simulation) -> Result:
    """Run it; a product's own error counts as a violation, by the name ``stopped``."""
    violation: str | None = None
    try:
        simulation.run()
    except Violation as broken:
        violation = str(broken)
    except HuzhuError as error:
        violation = f"stopped: a node ended itself: {type(error).__name__}: {error}"
    world = simulation.world
    return Result(
        seed=number,
        violation=violation,
        trace_hash=world.trace_hash,
        heights=simulation.head,
        events=world.events,
        recovery_ms=simulation.recovery_ms,
        marks=dict(simulation.marks),
        log=tuple(world.log),
    )


def run_seeds(
    seeds: Sequence[int],
    nodes: int | None = None,
    *,
    scenario: str = "seeds",
    processes: int | None = None,
    resume: Path | None = None,
    progress: Callable[[Report], None] | None = None,
) -> Report:
    """Run numbers of one of ``SCENARIOS``; what ``resume`` holds is counted too, and not run again.

    The report does not depend on the processes, its ``seconds`` excepted. Raises ``OperatorError`` SIMULATION_RESUME.
    """
    options = {"run": scenario, "nodes": nodes}
    report = Report()
    for values in work_off(
        _run_share,
        shares(seeds, SCENARIOS[scenario].chunk),
        (scenario, nodes),
        options,
        processes=processes,
        resume=resume,
    ):
        report.merge(report_of(values))
        if progress is not None:
            progress(report)
    report.violations.sort()
    return report


def shares(seeds: Sequence[int], chunk: int = CHUNK) -> dict[str, Sequence[int]]:
    """The range by shares of at most ``chunk``, cut at multiples of it, so that a longer range has the same shares."""
    cut: dict[str, Sequence[int]] = {}
    at = 0
    while at < len(seeds):
        end = at + 1
        while end < len(seeds) and seeds[end] % chunk:
            end += 1
        cut[f"{seeds[at]}..{seeds[end - 1]}"] = seeds[at:end]
        at = end
    return cut


def _run_share(seeds: Sequence[int], option: tuple[str, int | None]) -> dict[str, Any]:
    report, begun_s = Report(), time.perf_counter()
    scenario, nodes = option
    for seed in seeds:
        report.add(SCENARIOS[scenario].run(seed, nodes))
    report.seconds = time.perf_counter() - begun_s
    return report.values()


def first_catch(bug: str, seeds: Sequence[int], nodes: int | None = None) -> Result | None:
    """The first of ``seeds`` that notices the seeded bug; None when none does."""
    with planted(bug):
        for seed in seeds:
            result = run_seed(seed, nodes)
            if result.violation is not None:
                return result
    return None


def run_bugs(
    seeds: Sequence[int], nodes: int | None = None, *, names: Sequence[str] = BUGS, processes: int | None = None
) -> dict[str, Result | None]:
    """For each seeded bug the first catching seed's result. Bugs are planted in worker processes only."""
    count = processes or cpu_count() or 1
    with ProcessPoolExecutor(count) as pool:
        found = pool.map(first_catch, names, [seeds] * len(names), [nodes] * len(names))
        return dict(zip(names, found, strict=True))
