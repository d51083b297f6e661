"""The scenarios of ``huzhu bench network``: what is done to the network, and which figures come of it.

Each figure is a ratio to a probe of the same run (``probes``). A run is five windows after a warm-up; the figure is
their median, and its range is given with it. Only a running network is needed; scenarios do not start or end it.
"""

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

from ledger.errors import OK, OperatorError
from ledger.limits import BATCH_ITEMS_MAX

from .. import network as nets
from .. import processes
from ..client import NodeClient
from . import prepare, probes, usage
from .ledger import enrol_per_s
from .load import Generator, Supply, Tally, percentiles

WINDOWS: Final = 5
WARM_UP_SHARE: Final = 0.15
LISTS_A_NODE: Final = 4
LIST_SIZE: Final = 250
OVERLOAD: Final = 3.0
IDLE_TRANSACTIONS: Final = 60
OPEN_RATE: Final = 200.0
ENROL_IN_FLIGHT_A_NODE: Final = 3
"""A block takes two or three; the next ones have reached every node by then."""
ENROL_SIGNED_MAX: Final = 300
"""Batches signed beforehand, 0.4 MB each; those beyond are signed as they are sent."""
ENROL_BATCHES_MAX: Final = 2**40
ENROL_ALONE_PER_SECOND: Final = 65_000
"""So many members for each second of the load the ledger without a network enrols, before and after: about as many as
four validators. The store grows by them in both, and with it what the next ones cost."""
SAMPLE_S: Final = 1.0
SOAK_FROM_SHARE: Final = 0.3
"""Memory's slope is taken over the rest: minutes 3 to 10 of ten."""


@dataclass(slots=True)
class Bench:
    """One run: the network, the work, what was measured so far."""

    network: nets.Network
    seconds: float
    rate: float | None
    directory: Path
    signed: list[bytes]
    """Contributions signed beforehand; when they are used up (``signed_left`` 0), enrolments are signed as they are
    sent."""
    verify_us: list[float] = field(default_factory=list)
    own_verify_us: list[float] = field(default_factory=list)
    floor_ms: list[float] = field(default_factory=list)
    series: int = 0

    @property
    def urls(self) -> list[str]:
        """Of all nodes."""
        return [node.api for node in self.network.nodes]

    def pids(self) -> dict[str, list[int]]:
        """The processes of each node that runs."""
        return {node.name: usage.tree(node.process.pid) for node in self.network.nodes if node.process is not None}

    @property
    def validators(self) -> int:
        """Of the network; every node of a bench network is one."""
        return sum(not node.observer for node in self.network.nodes)

    @property
    def cores(self) -> int:
        """This program may use."""
        return len(os.sched_getaffinity(0))

    @property
    def ceiling_tps(self) -> float:
        """What verifying alone would allow: cores / (validators × verify)."""
        return self._ceiling(self.verify_us)

    @property
    def own_ceiling_tps(self) -> float:
        """The same with what one verification takes by the network's own rule."""
        return self._ceiling(self.own_verify_us)

    def _ceiling(self, verify_us: list[float]) -> float:
        return self.cores / (self.validators * statistics.median(verify_us) * 1e-6)

    def probe(self) -> None:
        """Measure a signature now."""
        self.verify_us.append(probes.verify_us())
        self.own_verify_us.append(probes.own_verify_us())

    async def probe_floor(self) -> None:
        """Measure a bare agreement now."""
        floor = await asyncio.to_thread(probes.floor_ms, self.directory, self.validators)
        self.floor_ms.append(floor)

    def supply(self) -> Supply:
        """The signed transactions, then enrolments without end."""
        return Supply(self._fresh())

    def _fresh(self) -> Any:
        while self.signed:
            yield self.signed.pop()
        self.series += 1
        series = b"single-%d-%d" % (time.time_ns(), self.series)
        yield from prepare.single_enrolments(self.network, series, 2**40)


@dataclass(slots=True)
class _Usage:
    """CPU between two moments."""

    nodes_s: float
    own_s: float
    machine_s: float
    at_s: float


def _usage(bench: Bench) -> _Usage:
    nodes_s = sum(usage.cpu_s(pids) for pids in bench.pids().values())
    return _Usage(nodes_s, usage.own_cpu_s(), usage.machine_busy_s(), time.monotonic())


def _cost(bench: Bench, before: _Usage, after: _Usage, committed: int) -> dict[str, Any]:
    """CPU per transaction over all processes, what share of the machine that is, and what others took."""
    wall_s = after.at_s - before.at_s
    nodes_s, own_s = after.nodes_s - before.nodes_s, after.own_s - before.own_s
    all_s = nodes_s + own_s
    others_s = max(0.0, after.machine_s - before.machine_s - all_s)
    return {
        "cpu_us_per_tx": round(all_s / max(1, committed) * 1e6, 1),
        "cpu_us_per_tx_client": round(own_s / max(1, committed) * 1e6, 1),
        "share_of_cost": round(all_s / (wall_s * bench.cores), 3),
        "others_share_of_machine": round(others_s / (wall_s * bench.cores), 3),
    }


async def _windows(bench: Bench, tally: Tally, begun_s: float, *, probed: bool = True) -> list[float]:
    """Committed a second in each window; a signature is probed at each border.

    Not where single latencies are measured: the 20 ms of a probe would be those of one transaction in a hundred.
    """
    await _until(begun_s + bench.seconds * WARM_UP_SHARE)
    border_s = time.monotonic()
    length_s = (begun_s + bench.seconds - border_s) / WINDOWS
    found = []
    for _ in range(WINDOWS):
        since_s = border_s
        await _until(since_s + length_s)
        border_s = time.monotonic()
        found.append(tally.committed(since_s, border_s) / (border_s - since_s))
        if probed:
            bench.probe()
    return found


async def _until(at_s: float) -> None:
    await asyncio.sleep(max(0.0, at_s - time.monotonic()))


def _load_figures(tally: Tally, since_s: float, until_s: float) -> dict[str, Any]:
    return {
        "offered_tps": round(tally.offered / (until_s - since_s), 1),
        "rejected": sum(tally.refused.values()),
        "rejected_by_code": dict(tally.refused),
        "failed_by_code": dict(tally.failed),
        "not_offered": tally.late,
        "latency_ms": percentiles(tally.latencies_ms(since_s, until_s)),
    }


async def saturate(bench: Bench) -> dict[str, Any]:
    """As many single transactions as the network takes, in lists, a bounded number of them in flight."""
    windows, figures = await _saturated(bench)
    all_tps = (statistics.median(windows), min(windows), max(windows))
    shares = [round(tps / bench.ceiling_tps, 3) for tps in all_tps]
    return figures | {
        "share_of_ceiling": shares[0],
        "share_of_ceiling_range": shares[1:],
        "share_of_own_ceiling": round(all_tps[0] / bench.own_ceiling_tps, 3),
    }


async def _saturated(bench: Bench) -> tuple[list[float], dict[str, Any]]:
    """Committed a second in each window, and everything else that was measured."""
    tally, begun_s = Tally(), time.monotonic()
    async with Generator(bench.urls, bench.supply(), tally) as generator, asyncio.TaskGroup() as group:
        if bench.rate is None:
            load = generator.closed_loop(LISTS_A_NODE, LIST_SIZE, begun_s + bench.seconds)
        else:
            load = generator.open_loop(bench.rate, _list_size(bench.rate), begun_s + bench.seconds)
        group.create_task(load)
        await _until(begun_s + bench.seconds * WARM_UP_SHARE)
        before, counted = _usage(bench), await _scrape(bench.urls[0])
        windows = await _windows(bench, tally, begun_s)
        after, counted_then = _usage(bench), await _scrape(bench.urls[0])
    committed = tally.committed(before.at_s, after.at_s)
    return windows, {
        "committed_tps": round(statistics.median(windows), 1),
        "committed_tps_range": [round(min(windows), 1), round(max(windows), 1)],
        **_cost(bench, before, after, committed),
        **_load_figures(tally, begun_s, time.monotonic()),
        "steps_us_per_tx": steps_us_per_tx(counted, counted_then),
    }


def _list_size(rate: float) -> int:
    """Lists so large that at most a hundred leave in a second; below that rate single transactions."""
    return max(1, int(rate / 200))


async def _scrape(url: str) -> dict[str, float]:
    """A node's metrics: sample name with its labels' values -> value."""
    async with NodeClient(url) as client:
        text = (await client.get_bytes("/metrics")).decode()
    return {
        " ".join((sample.name, *(sample.labels[name] for name in sorted(sample.labels)))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


STEP_SECONDS: Final = "huzhu_transaction_step_seconds_total "
LOOP_SECONDS: Final = "huzhu_loop_cpu_seconds_total"
ROUNDS: Final = "huzhu_rounds_above_zero_total"


def steps_us_per_tx(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Microseconds of the event loop's CPU that one node spent on a transaction, by step; ``rest`` is in none of them.

    ``before`` and ``after`` are one node's metrics; nothing when it committed no transaction in between.
    """

    def spent(name: str) -> float:
        return after.get(name, 0.0) - before.get(name, 0.0)

    done = sum(spent(name) for name in after if name.startswith("huzhu_transactions_total "))
    if not done:
        return {}
    steps = {name.removeprefix(STEP_SECONDS): spent(name) for name in after if name.startswith(STEP_SECONDS)}
    steps["rest"] = spent(LOOP_SECONDS) - sum(steps.values())
    return {name: round(value / done * 1e6, 1) for name, value in steps.items()}


async def idle(bench: Bench) -> dict[str, Any]:
    """A quiet time, in which a node's CPU is measured; then one transaction after the other, on a quiet network."""
    await bench.probe_floor()
    pids = bench.pids()
    before = {name: usage.cpu_s(own) for name, own in pids.items()}
    begun_s = time.monotonic()
    await _until(begun_s + bench.seconds)
    quiet_s = time.monotonic() - begun_s
    shares = [(usage.cpu_s(own) - before[name]) / quiet_s for name, own in pids.items()]
    bench.probe()
    tally, since_s = Tally(), time.monotonic()
    supply = bench.supply()
    async with Generator(bench.urls, supply, tally) as generator:
        for number in range(IDLE_TRANSACTIONS):
            await generator.send(bench.urls[number % len(bench.urls)], supply.take(1), time.monotonic())
            await _settled(bench)
    await bench.probe_floor()
    bench.probe()
    figures = _load_figures(tally, since_s, time.monotonic())
    floor = statistics.median(bench.floor_ms)
    p50 = figures["latency_ms"].get("p50", 0.0)
    return figures | {
        "idle_p50_ms": p50,
        "idle_p50_of_floor": round(p50 / floor, 2),
        "idle_cpu_share": round(statistics.median(shares), 4),
        "committed_tps": round(len(tally.done) / (time.monotonic() - since_s), 1),
    }


async def _settled(bench: Bench) -> None:
    """Wait until the chain rests: the height has stayed the same for as long as a certifying block waits."""
    async with NodeClient(bench.urls[0]) as client:
        height = -1
        while (now := int((await client.get("/v1/status"))["height"])) != height:
            height = now
            await asyncio.sleep(0.15)


async def open_loop(bench: Bench) -> dict[str, Any]:
    """A steady stream of single transactions, each timed from the moment it was due."""
    await bench.probe_floor()
    rate = bench.rate or OPEN_RATE
    tally, begun_s = Tally(), time.monotonic()
    async with Generator(bench.urls, bench.supply(), tally) as generator, asyncio.TaskGroup() as group:
        group.create_task(generator.open_loop(rate, 1, begun_s + bench.seconds))
        await _until(begun_s + bench.seconds * WARM_UP_SHARE)
        before = _usage(bench)
        windows = await _windows(bench, tally, begun_s, probed=False)
        after = _usage(bench)
    await bench.probe_floor()
    figures = _load_figures(tally, begun_s, time.monotonic())
    figures["latency_ms"] = percentiles(tally.latencies_ms(before.at_s, time.monotonic()))
    floor, latency = statistics.median(bench.floor_ms), figures["latency_ms"]
    return figures | {
        "committed_tps": round(statistics.median(windows), 1),
        "open_p50_of_floor": round(latency.get("p50", 0.0) / floor, 2),
        "open_p99_of_floor": round(latency.get("p99", 0.0) / floor, 2),
        **_cost(bench, before, after, tally.committed(before.at_s, after.at_s)),
    }


async def enrol(bench: Bench) -> dict[str, Any]:
    """Batches of 10,000 members through consensus, against the enrolment of ``bench ledger`` before and after."""
    bench.probe()
    alone = [await asyncio.to_thread(_enrol_alone, bench)]
    series = b"enrol-%d" % time.time_ns()
    signed = list(prepare.signed_batches(bench.network, series, 0, min(ENROL_SIGNED_MAX, int(bench.seconds * 10))))
    supply = Supply(chain(signed, prepare.signed_batches(bench.network, series, len(signed), ENROL_BATCHES_MAX)))
    tally, begun_s = Tally(), time.monotonic()
    async with Generator(bench.urls, supply, tally) as generator, asyncio.TaskGroup() as group:
        group.create_task(generator.closed_loop(ENROL_IN_FLIGHT_A_NODE, 1, begun_s + bench.seconds))
        await _until(begun_s + bench.seconds * WARM_UP_SHARE)
        before, counted = _usage(bench), await _scrape(bench.urls[0])
        windows = await _windows(bench, tally, begun_s)
        after, counted_then = _usage(bench), await _scrape(bench.urls[0])
    alone.append(await asyncio.to_thread(_enrol_alone, bench))
    bench.probe()
    per_s = statistics.median(windows) * BATCH_ITEMS_MAX
    cost = _cost(bench, before, after, tally.committed(before.at_s, after.at_s))
    return {
        "enrol_per_s": round(per_s),
        "enrol_per_s_range": [round(window * BATCH_ITEMS_MAX) for window in (min(windows), max(windows))],
        "ledger_enrol_per_s": [round(value) for value in alone],
        "share_of_ledger": round(per_s / (statistics.median(alone) * bench.cores / bench.validators), 3),
        "cpu_us_per_member": round(cost["cpu_us_per_tx"] / BATCH_ITEMS_MAX, 2),
        **cost,
        **_load_figures(tally, begun_s, time.monotonic()),
        "steps_us_per_tx": steps_us_per_tx(counted, counted_then),
    }


def _enrol_alone(bench: Bench) -> float:
    with tempfile.TemporaryDirectory(dir=bench.directory) as directory:
        return enrol_per_s(Path(directory), int(bench.seconds * ENROL_ALONE_PER_SECOND))


async def overload(bench: Bench) -> dict[str, Any]:
    """Three times the peak, whatever the answers say; the peak is measured before *and* after.

    A machine that others use, or that slows down while it is hot, would make whatever comes second look worse. Lists,
    windows and kinds of transactions are the same in all three parts.
    """
    windows, peak = await _saturated(bench)
    rate = OVERLOAD * peak["committed_tps"]
    memory_before = sum(usage.memory_bytes(pids, "RssAnon") for pids in bench.pids().values())
    tally, begun_s = Tally(), time.monotonic()
    async with Generator(bench.urls, bench.supply(), tally) as generator, asyncio.TaskGroup() as group:
        group.create_task(generator.open_loop(rate, LIST_SIZE, begun_s + bench.seconds, wait="checked"))
        await _until(begun_s + bench.seconds * WARM_UP_SHARE)
        before, counted = _usage(bench), await _scrape(bench.urls[0])
        overloaded = await _committed_windows(bench, begun_s)
        after, counted_then = _usage(bench), await _scrape(bench.urls[0])
    memory = sum(usage.memory_bytes(own, "RssAnon") for own in bench.pids().values())
    load = _load_figures(tally, begun_s, time.monotonic())
    windows_after, peak_after = await _saturated(bench)
    goodput, peak_tps = statistics.median(overloaded), statistics.median(windows + windows_after)
    return {
        **load,
        **_cost(bench, before, after, int(_committed(counted_then) - _committed(counted))),
        "steps_us_per_tx": steps_us_per_tx(counted, counted_then),
        "peak_tps": round(peak_tps, 1),
        "peak_tps_before_and_after": [peak["committed_tps"], peak_after["committed_tps"]],
        "peak_cpu_us_per_tx": [peak["cpu_us_per_tx"], peak_after["cpu_us_per_tx"]],
        "committed_tps": round(goodput, 1),
        "committed_tps_range": [round(min(overloaded), 1), round(max(overloaded), 1)],
        "goodput_ratio": round(goodput / peak_tps, 3) if peak_tps else 0.0,
        "rounds_above_zero": counted_then.get(ROUNDS, 0.0) - counted.get(ROUNDS, 0.0),
        "memory_bytes": [memory_before, memory],
    }


async def _committed_windows(bench: Bench, begun_s: float) -> list[float]:
    """As ``_windows``, by a node's own count: under overload the client does not wait to be told."""
    length_s = (begun_s + bench.seconds - time.monotonic()) / WINDOWS
    found = []
    at_s, done = time.monotonic(), _committed(await _scrape(bench.urls[0]))
    for _ in range(WINDOWS):
        since_s, before = at_s, done
        await _until(since_s + length_s)
        at_s, done = time.monotonic(), _committed(await _scrape(bench.urls[0]))
        found.append((done - before) / (at_s - since_s))
        bench.probe()
    return found


def _committed(metrics: Mapping[str, float]) -> float:
    return metrics.get(f"huzhu_transactions_total {OK}", 0.0)


async def soak(bench: Bench) -> dict[str, Any]:
    """Saturation for long; the memory of every node is sampled."""
    samples: list[tuple[float, dict[str, int]]] = []

    async def sample() -> None:
        since_s = time.monotonic()
        while True:
            used = {name: usage.memory_bytes(pids, "RssAnon") for name, pids in bench.pids().items()}
            samples.append((time.monotonic() - since_s, used))
            await asyncio.sleep(SAMPLE_S)

    async with asyncio.TaskGroup() as tasks:  # a sampler that fails ends the run: no figures from half a memory curve
        sampling = tasks.create_task(sample())
        figures = await saturate(bench)
        sampling.cancel()
    late = [(at_s, used) for at_s, used in samples if at_s >= bench.seconds * SOAK_FROM_SHARE]
    slopes = {name: _slope([(at_s / 60, used[name]) for at_s, used in late]) for name in late[0][1]}
    return figures | {
        "memory_slope_percent_per_minute": {name: round(slope, 2) for name, slope in slopes.items()},
        "memory_anonymous_bytes": late[-1][1],
    }


def _slope(points: list[tuple[float, int]]) -> float:
    """Percent of the mean a unit of x, by least squares; 0 for fewer than two points."""
    if len(points) < 2:
        return 0.0
    slope = statistics.linear_regression([x for x, _ in points], [float(y) for _, y in points]).slope
    return slope / statistics.fmean(y for _, y in points) * 100


async def start(bench: Bench) -> dict[str, Any]:
    """One node ends and starts again: from its start to its ``/readyz``, beyond the time of importing its code."""
    name = bench.network.nodes[-1].name
    ready, imports = [], []
    for _ in range(3):
        imports.append(await asyncio.to_thread(probes.import_s))
        node = bench.network.node(name)
        if node.process is not None:
            await asyncio.to_thread(processes.end, [node.process])
        since_s = time.monotonic()
        bench.network = await asyncio.to_thread(nets.start, bench.network, [name])
        await _ready(bench.network.node(name))
        ready.append(time.monotonic() - since_s)
    whole, importing = statistics.median(ready), statistics.median(imports)
    return {
        "ready_s": round(whole - importing, 3),
        "ready_whole_s": [round(value, 3) for value in ready],
        "import_s": round(importing, 3),
    }


async def _ready(node: nets.NetworkNode) -> None:
    deadline_s = time.monotonic() + 60
    async with NodeClient(node.api) as client:
        while time.monotonic() < deadline_s:
            try:
                await client.get("/readyz")
                return
            except OperatorError:
                await asyncio.sleep(0.01)
    raise OperatorError("NOT_READY", f"{node.name} is not ready after 60 s", "", f"read {node.log}", exit_code=5)


SCENARIOS: Final[dict[str, Callable[[Bench], Awaitable[dict[str, Any]]]]] = {
    "saturate": saturate,
    "idle": idle,
    "open": open_loop,
    "enrol": enrol,
    "overload": overload,
    "soak": soak,
    "start": start,
}
