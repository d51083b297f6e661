"""``huzhu bench``: measurements whose figures are ratios to probes of the same run."""

import asyncio
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import click

from ledger.errors import OperatorError

from .. import network as nets
from ..output import Exit, console, listing, output_option
from ..processes import ended_by_signals
from ..testnet import bring_up
from . import prepare, probes, usage
from .ledger import ledger
from .scenarios import SCENARIOS, Bench
from .sync import sync

SIGNED_PER_SECOND: Final = 20_000
"""So many contributions, divided by the validators, are signed before a saturated run for each of its seconds, of which
``overload`` has three times as many ..."""
SIGNED_MAX: Final = 200_000
"""... and at most so many: each is another member, and they are valid for five minutes."""
_ALWAYS: Final = ("committed_tps", "offered_tps", "rejected", "latency_ms")
"""Keys of every scenario; null where it has no such figure."""
NEED_CONTRIBUTIONS: Final = frozenset({"saturate", "idle", "open", "overload"})


@click.group()
def bench() -> None:
    """Measurements on this machine."""


bench.add_command(ledger)
bench.add_command(sync)


@bench.command()
@click.option("--scenario", type=click.Choice(list(SCENARIOS)), default="saturate", show_default=True)
@click.option("-n", "--validators", type=click.IntRange(1, 32), default=4, show_default=True)
@click.option("--seconds", type=click.FloatRange(2, 3_600), default=30.0, show_default=True, help="Of load.")
@click.option("--rate", type=click.FloatRange(1, 1_000_000), default=None, help="Open loop: transactions a second.")
@click.option(
    "--members", type=click.IntRange(prepare.MEMBERS_MIN, 5_000_000), default=None, help="Members of a new network."
)
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Drive the running network in here, or make the new one here and keep its files.",
)
@output_option
def network(
    scenario: str, validators: int, seconds: float, rate: float | None, members: int | None, directory: Path | None
) -> int:
    """Drive a network of real processes, fsync on; every figure is a ratio to probes of the same run."""
    with ended_by_signals(), _network(directory, validators) as (net, ours):
        run = Bench(net, seconds, rate, net.directory, [])
        figures = asyncio.run(_run(run, scenario, members, ours))
    unstable = _unstable(run, scenario)
    figures["unstable"] = unstable
    console().result(figures, listing(figures))
    return Exit.NOT_READY.value if unstable else Exit.OK.value


@contextmanager
def _network(directory: Path | None, validators: int) -> Iterator[tuple[nets.Network, bool]]:
    """A running network, and whether it is ours to prepare and to end."""
    if directory is not None:
        found = _existing(directory)
        if found is not None:
            yield found, False
            return
    with ExitStack() as stack:
        home = directory if directory is not None else Path(tempfile.mkdtemp(prefix="huzhu-bench-"))
        if directory is None:
            stack.callback(shutil.rmtree, home, ignore_errors=True)
        founded = prepare.found(home, validators)
        stack.callback(lambda: nets.stop(nets.load(founded.directory)))
        yield bring_up(founded), True


def _existing(directory: Path) -> nets.Network | None:
    try:
        found = nets.load(directory)
    except OperatorError as error:
        if error.code == "NO_NETWORK":
            return None
        raise
    if not all(node.running for node in found.nodes):
        raise OperatorError(
            "NOT_REACHABLE",
            f"the network in {directory} does not run",
            "",
            f"huzhu testnet up --dir {directory}",
            exit_code=Exit.NOT_REACHABLE.value,
        )
    return found


async def _run(run: Bench, scenario: str, members: int | None, ours: bool) -> dict[str, Any]:
    begun_s = time.monotonic()
    if ours:
        await _prepare(run, scenario, members)
    prepared_s = time.monotonic() - begun_s
    run.probe()
    figures = await SCENARIOS[scenario](run)
    run.probe()
    memory = {name: usage.memory_bytes(pids) for name, pids in run.pids().items()}
    return {
        "scenario": scenario,
        "validators": run.validators,
        "cores": run.cores,
        "seconds": run.seconds,
        "rate": run.rate,
        "prepared_s": round(prepared_s, 1),
        **dict.fromkeys(_ALWAYS),
        **figures,
        "signed_left": len(run.signed),
        "verify_us": round(statistics.median(run.verify_us), 1),
        "verify_us_range": [round(min(run.verify_us), 1), round(max(run.verify_us), 1)],
        "ceiling_tps": round(run.ceiling_tps, 1),
        "own_verify_us": round(statistics.median(run.own_verify_us), 1),
        "own_ceiling_tps": round(run.own_ceiling_tps, 1),
        "floor_ms": round(statistics.median(run.floor_ms), 2) if run.floor_ms else None,
        "floor_ms_range": [round(min(run.floor_ms), 2), round(max(run.floor_ms), 2)] if run.floor_ms else None,
        "rss_bytes": memory,
    }


async def _prepare(run: Bench, scenario: str, members: int | None) -> None:
    """Members, a settled period, signed transactions: as the scenario needs them."""
    if scenario not in NEED_CONTRIBUTIONS:
        if members:
            async with prepare.client(run.network) as ledger:
                await prepare.enrol(ledger, members)
        return
    seconds = run.seconds * (3 if scenario == "overload" else 1)
    wanted = max(
        prepare.MEMBERS_MIN, members or min(SIGNED_MAX, int(seconds * (run.rate or SIGNED_PER_SECOND / run.validators)))
    )
    async with prepare.client(run.network) as ledger:
        period, share_fen = await prepare.settle(ledger, wanted)
    run.signed.extend(prepare.contributions(run.network, period, share_fen, wanted))


def _unstable(run: Bench, scenario: str) -> bool:
    """Whether the probes that this scenario's figures are ratios to differ by more than a fifth."""
    by_floor = scenario in ("idle", "open")
    before, *amid, after = run.verify_us
    signatures = [before, statistics.median(amid or [before]), after]
    return probes.spread(signatures) > probes.UNSTABLE or (by_floor and probes.spread(run.floor_ms) > probes.UNSTABLE)
