"""``huzhu simulate``: whole networks in virtual time, from seeds; what must hold is checked at every event."""

import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click

from simulator.bugs import rule_of
from simulator.latency import SIZES, SOURCE, LatencyRun, Row
from simulator.runner import SCENARIOS, Report, Result, run_bugs, run_seeds
from simulator.twins.choices import ROUNDS_MAX
from simulator.twins.search import KINDS, Search, search

from .output import Exit, F, console, listing, output_option, table

LOG_LINES_MAX: Final = 400
BUG_SEEDS: Final = 700
"""Within so many seeds every seeded bug must be noticed."""
NOTE_S: Final = 30.0
MARKED_SEEDS_MIN: Final = 500
"""From so many seeds on, a rare path that none of them reached fails the run."""


class SeedRange(click.ParamType[Sequence[int]]):
    """``A..B``, both included, or one seed."""

    name = "A..B"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Sequence[int]:
        match = re.fullmatch(r"(\d+)(?:\.\.(\d+))?", str(value))
        if match is None:
            self.fail(f"{value!r} is not A..B", param, ctx)
        first = int(match[1])
        last = int(match[2]) if match[2] is not None else first
        if last < first:
            self.fail(f"{value!r} ends before it begins", param, ctx)
        return range(first, last + 1)


def _one_of(name: str, choices: Iterable[str], default: str, about: str) -> Callable[[F], F]:
    return click.option(name, type=click.Choice(tuple(choices)), default=default, show_default=True, help=about)


@click.command()
@_one_of("--scenario", SCENARIOS, "seeds", "Random faults by seed, or all cases of a scripted run.")
@click.option(
    "--seeds", type=SeedRange(), help="Which numbers, inclusive; seeds 0 to 99, of a script all, unless given."
)
@click.option("--nodes", type=click.IntRange(1, 128), help="Validators; 4 to 7, by the seed, unless given.")
@click.option("--processes", type=click.IntRange(1, 256), help="Worker processes; one a core unless given.")
@click.option(
    "--resume",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Note what is done in FILE, and do not do again what it holds already.",
)
@click.option("--bugs", is_flag=True, help="Plant each seeded bug in turn and look for the first seed that notices it.")
@click.option(
    "--twins",
    "twins_rounds",
    type=click.IntRange(1, ROUNDS_MAX),
    help="Every schedule of a network with a validator that runs twice, up to so many rounds.",
)
@_one_of(
    "--twins-network",
    KINDS,
    "in-step",
    "Of --twins: rounds in step; groups that stay behind; votes sent again late; votes that one process hears.",
)
@click.option("--latency", is_flag=True, help="Model blocks over real distances, for 4 to 100 validators.")
@output_option
def simulate(
    scenario: str,
    seeds: Sequence[int] | None,
    nodes: int | None,
    processes: int | None,
    resume: Path | None,
    bugs: bool,
    twins_rounds: int | None,
    twins_network: str,
    latency: bool,
) -> int:
    """Run seeds of the simulator, or the cases of a scripted run.

    Exit code 6 when an invariant was violated, or with --bugs when a bug was missed; 1 when none was, but 500 seeds or
    more left a coverage mark unreached.
    """
    if bugs:
        return _bugs(run_bugs(seeds or range(BUG_SEEDS), nodes, processes=processes))
    if twins_rounds is not None:
        return _twins(search(twins_rounds, KINDS[twins_network], processes=processes, resume=resume))
    if latency:
        return _latency(SIZES if nodes is None else (nodes,))
    begun_s = time.perf_counter()
    seeds = seeds or SCENARIOS[scenario].numbers(nodes)
    notes = _notes(len(seeds))
    report = run_seeds(seeds, nodes, scenario=scenario, processes=processes, resume=resume, progress=notes)
    unreached = report.marks.unreached() if scenario == "seeds" else []
    data = {
        "seeds": report.seeds,
        "violations": [{"seed": failed.seed, "violation": failed.violation} for failed in report.violations],
        "marks_unreached": unreached,
        "heights": report.heights,
        "events": report.events,
        "seconds": round(time.perf_counter() - begun_s, 3),
        "worker_seconds": round(report.seconds, 3),
        "recovery_ms_max": report.recovery_ms_max,
        "traces": f"{report.traces:064x}",
        "marks": dict(sorted(report.marks.items())),
    }
    console().result(data, _text(report, unreached, _log_of(report, scenario, nodes)))
    if report.violations:
        return Exit.INTEGRITY.value
    return Exit.FAILURE.value if unreached and report.seeds >= MARKED_SEEDS_MIN else Exit.OK.value


def _notes(seeds: int) -> Callable[[Report], None]:
    """Says now and then, on stderr, how far it is."""
    said_s = time.perf_counter()

    def note(report: Report) -> None:
        nonlocal said_s
        now_s = time.perf_counter()
        if now_s - said_s >= NOTE_S:
            said_s = now_s
            console().note(f"{report.seeds} of {seeds} seeds, {len(report.violations)} violations")

    return note


def _bugs(found: dict[str, Result | None]) -> int:
    rows = [
        (name, result.seed if result else "-", (result.invariant or "-") if result else "missed", rule_of(name))
        for name, result in found.items()
    ]
    data = {"bugs": {name: result.seed if result else None for name, result in found.items()}}
    console().result(data, table(("bug", "first seed", "invariant", "rule"), rows))
    return Exit.OK.value if all(found.values()) else Exit.INTEGRITY.value


def _twins(found: Search) -> int:
    data = asdict(found) | {"violations": [{"schedule": s, "violation": v} for s, v in found.violations]}
    lines = [listing({name: str(value) for name, value in asdict(found).items() if name != "violations"})]
    lines += [f"{schedule}: {violation}" for schedule, violation in found.violations]
    console().result(data, "\n".join(lines))
    return Exit.INTEGRITY.value if found.violations else Exit.OK.value


def _latency(sizes: Sequence[int]) -> int:
    rows = [LatencyRun(size).measure() for size in sizes]
    console().result({"source": SOURCE, "rows": [asdict(row) for row in rows]}, _latency_text(rows))
    return Exit.OK.value


def _latency_text(rows: Sequence[Row]) -> str:
    heads = (
        "validators",
        "block interval ms",
        "commit ms",
        "messages",
        "kB",
        "busiest node",
        "prepare us",
        "proposal us",
    )
    lines = [
        (
            row.nodes,
            f"{row.interval_ms:.0f}",
            f"{row.commit_ms:.0f}",
            f"{row.messages:.0f}",
            f"{row.kilobytes:.0f}",
            f"{row.busiest:.1%}",
            f"{row.costs_us['SignedPrepare']:.0f}",
            f"{row.costs_us['SignedProposal']:.0f}",
        )
        for row in rows
    ]
    return table(heads, lines) + f"\n{SOURCE}; messages and kB a block, of the whole network"


def _text(report: Report, unreached: list[str], log: list[str]) -> str:
    lines = [
        listing(
            {
                "seeds": report.seeds,
                "violations": len(report.violations),
                "marks unreached": ", ".join(unreached) or "none",
                "heights": report.heights,
                "events": report.events,
                "worker seconds": f"{report.seconds:.1f}",
                "traces": f"{report.traces:064x}",
                "slowest recovery": f"{report.recovery_ms_max} ms",
            }
        )
    ]
    lines += [f"seed {failed.seed}: {failed.violation}" for failed in report.violations]
    return "\n".join([*lines, *log])


def _log_of(report: Report, scenario: str, nodes: int | None) -> list[str]:
    """The end of the first failing seed's log, by running it again; columns as in ``simulator.world``."""
    if not report.violations:
        return []
    failed = report.violations[0]
    log = SCENARIOS[scenario].run(failed.seed, nodes, keep_log=True).log
    head = "ms node.life what checksum details"
    return [f"the last events of seed {failed.seed}:", head, *log[-LOG_LINES_MAX:]]
