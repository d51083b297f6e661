"""Running seeds: one, or a range over several processes; ``huzhu simulate`` is a thin shell around this.

A seed that fails is repeated with its log kept: the same seed gives the same trace, so the log is of the same run.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from os import cpu_count
from typing import Final

from ledger.errors import HuzhuError

from .bugs import BUGS, planted
from .invariants import Violation
from .marks import Marks
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


@dataclass(slots=True)
class Report:
    """What a range of seeds did."""

    seeds: int = 0
    violations: list[Result] = field(default_factory=list)
    heights: int = 0
    events: int = 0
    seconds: float = 0.0
    recovery_ms_max: int = 0
    marks: Marks = field(default_factory=Marks)

    def add(self, result: Result) -> None:
        """Count one more seed."""
        self.seeds += 1
        self.heights += result.heights
        self.events += result.events
        self.recovery_ms_max = max(self.recovery_ms_max, result.recovery_ms)
        self.marks.update(result.marks)
        if result.violation is not None:
            self.violations.append(result)


def run_seed(seed: int, nodes: int | None = None, *, keep_log: bool = False) -> Result:
    """Run one seed to its end or its first violation; a product's own error counts as one, by the name ``stopped``."""
    simulation = Simulation(seed, nodes, keep_log=keep_log)
    violation: str | None = None
    try:
        simulation.run()
    except Violation as broken:
        violation = str(broken)
    except HuzhuError as error:
        violation = f"stopped: a node ended itself: {type(error).__name__}: {error}"
    world = simulation.world
    return Result(
        seed=seed,
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
    processes: int | None = None,
    progress: Callable[[Report], None] | None = None,
) -> Report:
    """Run a range of seeds; results are counted in their order, so the report does not depend on the processes."""
    report = Report()
    begun_s = time.perf_counter()
    count = processes or cpu_count() or 1
    if count == 1 or len(seeds) <= CHUNK:
        _collect(report, (run_seed(seed, nodes) for seed in seeds), begun_s, progress)
        return report
    chunks = [seeds[at : at + CHUNK] for at in range(0, len(seeds), CHUNK)]
    with ProcessPoolExecutor(count) as pool:
        done = pool.map(_run_chunk, chunks, [nodes] * len(chunks))
        _collect(report, (result for chunk in done for result in chunk), begun_s, progress)
    return report


def _run_chunk(seeds: Sequence[int], nodes: int | None) -> list[Result]:
    return [run_seed(seed, nodes) for seed in seeds]


def _collect(
    report: Report, results: Iterable[Result], begun_s: float, progress: Callable[[Report], None] | None
) -> None:
    for result in results:
        report.add(result)
        report.seconds = time.perf_counter() - begun_s
        if progress is not None:
            progress(report)


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
