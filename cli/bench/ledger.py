"""``huzhu bench ledger``: the ledger at the size of the real thing, on disk, without a network (issue 3, "Size").

One chain of one validator gets ``--members`` custodial members; then five half-months are noticed, settled, collected
with 1 % failures and closed. What each figure is and must reach stands in ``TARGETS``. The small chain of a hundredth
of the members settles each period right before the large one.

The ceiling of the enrolment is a bare loop that fills a store of its own with as many rows: LevelDB's random inserts
cost more the larger the store. Short bare loops before, amid and after only tell whether the machine kept its speed.
"""

import gc
import math
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click

from ledger.errors import OperatorError
from ledger.rows import Member
from ledger.store import BLOCKS, prefix_stop
from node.app import GC_THRESHOLD

from ..output import Exit, console, listing, output_option
from ..processes import ended_by_signals
from . import ledger_bills, ledger_open, ledger_probe, ledger_tally, probes
from .ledger_chain import SoloChain
from .ledger_probe import Appended
from .ledger_script import PERIODS, Script
from .ledger_tally import Spent, Tally
from .ledger_walk import Phase, Stepped, Walk

MEMBERS_MIN: Final = 1_000
MEMBERS_MAX: Final = 200_000_000
TARGETS: Final[dict[str, tuple[str, float]]] = {
    "enrol_per_s": (">=", 50_000),
    "enrol_share": (">=", 0.6),
    "settle_ratio": ("<=", 1.5),
    "bill_proof_ms_p99": ("<=", 2.0),
    "collect_s": ("<=", 2.5),
    "contributions_per_s": (">=", 20_000),
    "bytes_per_member": ("<=", 130),
    "rss_bytes": ("<=", 500_000_000),
    "rss_ratio": ("<=", 1.3),
    "open_s": ("<=", 2.0),
}
"""What each key must reach at 5,000,000 members."""
CEILING_ROWS_MAX: Final = 5_000_000
"""The bare loop of the ceiling appends as many rows as there are members, but no more than these."""
PROBE_SHARE: Final = 20
"""A short bare loop appends one row in so many members ..."""
PROBE_ROWS_MIN: Final = 1_000
PROBE_ROWS_MAX: Final = 250_000
_SAVE_BLOCKS: Final = 20
_NOTE_BLOCKS: Final = 100


@click.command()
@click.option(
    "--members", type=click.IntRange(MEMBERS_MIN, MEMBERS_MAX), default=5_000_000, show_default=True, help="N."
)
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Make the chain here and keep it; about 220 bytes a member. Default: a temporary directory.",
)
@click.option("--resume", is_flag=True, help="Go on with the run in --dir from its last block.")
@output_option
def ledger(members: int, directory: Path | None, resume: bool) -> int:
    """Enrol, settle and collect at size, on disk, without a network; ratios to bare loops of the same run."""
    if resume and directory is None:
        raise click.UsageError("--resume goes on with the run in --dir")
    with ended_by_signals(), _collecting_like_a_node(), _place(directory, resume) as home:
        tally = ledger_tally.load(home, members) if resume else Tally(members)
        _Run(home, tally).measure()
        figures = result(tally)
    console().result(figures, listing(figures))
    return Exit.NOT_READY.value if figures["unstable"] else Exit.OK.value


@contextmanager
def _collecting_like_a_node() -> Iterator[None]:
    """Python's garbage collector as ``node.app`` sets it: a block's objects are looked at less often."""
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 50)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


@contextmanager
def _place(directory: Path | None, resume: bool) -> Iterator[Path]:
    """Where the chain lies; a temporary one goes away."""
    if directory is None:
        home = Path(tempfile.mkdtemp(prefix="huzhu-bench-"))
        try:
            yield home
        finally:
            shutil.rmtree(home, ignore_errors=True)
        return
    if not resume and directory.is_dir() and any(directory.iterdir()):
        what = f"{directory} is not empty"
        raise OperatorError("BENCH_DIRECTORY", what, "", "--resume goes on with the run there; or choose another")
    directory.mkdir(parents=True, exist_ok=True)
    yield directory


def enrol_per_s(directory: Path, members: int) -> float:
    """``enrol_per_s`` of a new chain of so many members in ``directory``."""
    with _collecting_like_a_node(), closing(SoloChain(directory)) as chain:
        walk, seconds = Walk(chain, Script(members)), 0.0
        while walk.enrolled < members:
            seconds += walk.step().decided.seconds
    return members / seconds


class _Run:
    """The phases in order; each is skipped when the tally says that it is over."""

    def __init__(self, home: Path, tally: Tally) -> None:
        self._home = home
        self._tally = tally
        self._script = Script(tally.members)
        self._unsaved = 0

    def measure(self) -> None:
        """Everything that is still to be measured."""
        results = self._tally.results
        self._probe(0)
        if "open_s" not in results:
            self._chain()
            results["open_s"] = ledger_open.ready_s(self._home, self._script)
            self._save()
        if "state_bytes" not in results:
            results["state_bytes"] = self._state_bytes()
        self._probe(2)
        if "ceiling" not in results:  # at the end: a second store would count among the memory of the first
            rows = min(CEILING_ROWS_MAX, self._tally.members)
            results["ceiling"] = asdict(ledger_probe.append(self._home / "bare", rows))
            self._save()

    def _probe(self, number: int) -> None:
        if len(self._tally.appended) == number:
            rows = min(PROBE_ROWS_MAX, max(PROBE_ROWS_MIN, self._tally.members // PROBE_SHARE))
            self._tally.appended.append(ledger_probe.append(self._home / "bare", rows))
            self._save()

    def _chain(self) -> None:
        """Enrolment, the half-months, the bills."""
        walk = Walk(SoloChain(self._home), self._script)
        small = Walk(SoloChain(self._home / "small"), Script(max(10, self._tally.members // 100)))
        try:
            while not walk.done:
                self._settle_small(walk, small)
                self._count(walk, walk.step())
                if walk.enrolled == self._tally.members:
                    self._probe(1)
            self._save()
            if "bill_s" not in self._tally.results:
                self._tally.results["bill_s"] = sorted(ledger_bills.times_s(walk))
                self._tally.results["shares_fen"] = [walk.share_fen(number) for number in range(PERIODS)]
                self._save()
        finally:
            small.chain.close()
            walk.chain.close()

    def _settle_small(self, walk: Walk, small: Walk) -> None:
        """The small chain settles a period when the large one is about to."""
        if not walk.about_to_settle:
            return
        while small.settled <= walk.settled:
            stepped = small.step()
            if stepped.phase is Phase.SETTLE:
                self._tally.period(stepped.number, "small_settle", stepped.decided.seconds)

    def _count(self, walk: Walk, stepped: Stepped) -> None:
        self._tally.add(stepped)
        enrolling = stepped.phase is Phase.ENROL
        self._tally.remember_memory(walk.enrolled, enrolling)
        self._unsaved += 1
        if not enrolling or self._unsaved >= _SAVE_BLOCKS:
            self._save()
        if walk.chain.view.height % _NOTE_BLOCKS == 0:
            spent = self._tally.phases[stepped.phase.value]
            console().note(
                f"block {walk.chain.view.height}, {walk.enrolled:,} members, period {stepped.number}: "
                f"{stepped.phase.value}, {spent.items / spent.seconds:,.0f}/s, "
                f"{self._tally.memory_bytes >> 20} MB"
            )

    def _state_bytes(self) -> int:
        """Of the compacted store, everything but the blocks; the killed process has enrolled some more."""
        chain = SoloChain(self._home)
        try:
            chain.store.compact()
            blocks = chain.store.size_between(BLOCKS, prefix_stop(BLOCKS))
            self._tally.results["block_bytes"] = blocks
            self._tally.results["state_members"] = chain.state.length(Member)
            return chain.store.size_between(b"", b"\xff") - blocks
        finally:
            chain.close()

    def _save(self) -> None:
        self._unsaved = 0
        self._tally.save(self._home)


def result(tally: Tally) -> dict[str, Any]:
    """The figures of a finished run, by key."""
    enrol, singles = tally.phases[Phase.ENROL.value], tally.phases[Phase.SINGLES.value]
    failures = tally.phases.get(Phase.COLLECT.value, Spent())
    rates = [_rate(probe) for probe in tally.appended]
    bare = Appended(**tally.results["ceiling"])
    ceiling = _rate(bare)
    settle, small, collect = (_by_period(tally, *names) for names in (("settle",), ("small_settle",), _COLLECTING))
    bills = tally.results["bill_s"]
    figures: dict[str, Any] = {
        "members": tally.members,
        "append_rows_per_s": round(ceiling),
        "append_rows": bare.rows,
        "append_short_rows_per_s_range": [round(min(rates)), round(max(rates))],
        "enrol_per_s": round(_rate(enrol)),
        "enrol_share": round(_rate(enrol) / ceiling, 3),
        "enrol_cpu_share": round(enrol.items / enrol.cpu_s / (bare.rows / bare.cpu_s), 3),
        "settle_ms": round(statistics.median(settle) * 1e3, 2),
        "settle_ratio": round(statistics.median(settle) / statistics.median(small), 2),
        "bill_proof_ms_p99": _quantile(bills, 0.99),
        "bill_proof_ms_p50": _quantile(bills, 0.5),
        "bill_proof_cpu_ms_p99": _quantile(sorted([cpu_s] for _, cpu_s in bills), 0.99),
        "collect_s": round(statistics.median(collect), 4),
        "collect_s_range": [round(min(collect), 4), round(max(collect), 4)],
        "contributions_per_s": round(_rate(singles)),
        "enrol_thread_us": round(enrol.thread_s / enrol.items * 1e6, 1),
        "failure_thread_us": round(failures.thread_s / max(1, failures.items) * 1e6, 1),
        "contribution_thread_us": round(singles.thread_s / singles.items * 1e6, 1),
        "contribution_cpu_us": round(singles.cpu_s / singles.items * 1e6, 1),
        "bytes_per_member": round(tally.results["state_bytes"] / tally.results["state_members"], 1),
        "block_bytes": tally.results["block_bytes"],
        "rss_bytes": tally.memory_bytes,
        "rss_enrol_bytes": tally.memory_enrol_bytes,
        "rss_ratio": round(tally.memory_enrol_bytes / tally.memory_tenth_bytes, 2),
        "open_s": round(tally.results["open_s"], 3),
        "shares_fen": tally.results["shares_fen"],
        "unstable": probes.spread(rates) > probes.UNSTABLE,
    }
    figures["missed"] = [key for key, (relation, bound) in TARGETS.items() if not _keeps(figures[key], relation, bound)]
    return figures


_COLLECTING: Final = (Phase.COLLECT.value, Phase.CONFIRM.value, Phase.CLOSE.value)


def _rate(spent: Spent | Appended) -> float:
    count = spent.rows if isinstance(spent, Appended) else spent.items
    return count / spent.seconds


def _by_period(tally: Tally, *names: str) -> list[float]:
    return [sum(spent[name] for name in names) for spent in tally.periods.values() if names[0] in spent]


def _quantile(bills: list[list[float]], share: float) -> float:
    """Milliseconds, of the first of each entry's times."""
    return round(bills[math.ceil(share * len(bills)) - 1][0] * 1e3, 3)


def _keeps(value: float, relation: str, bound: float) -> bool:
    return value >= bound if relation == ">=" else value <= bound
