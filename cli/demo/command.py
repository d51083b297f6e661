"""``huzhu demo``: the main job. Five real processes, three years of half-months, one report."""

import asyncio
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

import click
import msgpack

from ledger.blocks import decode_body, decode_header
from ledger.calendar import next_notice_period
from ledger.errors import OperatorError
from node.keys import KeyKind, read_key

from .. import network as nets
from ..network import Network
from ..output import Exit, console, output_option, rmb
from ..processes import ended_by_signals
from ..testnet import bring_up
from . import report as reports
from .client import HttpLedger
from .consortium import BEGIN_MS, FOUNDERS, chain_params, plan, table
from .ledger import CLOCK, REGULATOR, DemoError, Settled
from .operations import Operations
from .progress import Steps
from .run import Demo
from .script import Scale, ScriptError, Step, make_steps

NETWORK_DIRECTORY: Final = "network"
BILLS: Final = 250
"""Members at random whose bills are asked of every node and recomputed by the slow oracle."""


@click.command()
@click.option("--rows", type=click.IntRange(1), default=None, help="Only the first ROWS half-months.")
@click.option(
    "--scale", "members_scale", type=click.IntRange(1), default=1000, show_default=True, help="Divides members and aid."
)
@click.option("--case-scale", type=click.IntRange(1), default=20, show_default=True, help="Divides cases.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of every choice the demo makes.")
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("build/demo"),
    show_default=True,
)
@click.option("--keep", is_flag=True, help="Keep the nodes' homes.")
@output_option
def demo(rows: int | None, members_scale: int, case_scale: int, seed: int, directory: Path, keep: bool) -> int:
    """Replay Xiang Hu Bao's half-months on a consortium of five real nodes; fails when anything differs."""
    begun = time.monotonic()
    try:
        scale = Scale(members_scale, case_scale)
        steps = make_steps(table()[:rows], scale)
    except ScriptError as error:
        raise OperatorError(
            "DEMO_IMPOSSIBLE", str(error), "", "huzhu demo --help", exit_code=Exit.USAGE.value
        ) from error
    directory = directory.expanduser().absolute()
    network = _found(directory, scale)
    quiet = console().mode != "text"
    with ended_by_signals():
        try:
            network = bring_up(network, [founder.name for founder in FOUNDERS if founder.validator])
            report, faults = _run(network, directory, steps, scale, seed, quiet)
        finally:
            nets.stop(nets.load(network.directory))
    report["seconds"] = round(time.monotonic() - begun, 1)
    reports.write_json(directory / reports.REPORT_FILE, report)
    if not keep and not faults:
        shutil.rmtree(network.directory)
    if not faults or not quiet:
        console().result(report, reports.text(report))
    if faults:
        raise OperatorError(
            "DEMO_DIFFERS", faults[0], "; ".join(faults[1:]), f"the logs are in {network.directory}", exit_code=1
        )
    return Exit.OK.value


def _found(directory: Path, scale: Scale) -> Network:
    """A new network below ``directory``; what an earlier run left there is ended and removed."""
    place = directory / NETWORK_DIRECTORY
    if (place / nets.NETWORK_FILE).exists():
        nets.stop(nets.load(place))
        shutil.rmtree(place)
    directory.mkdir(parents=True, exist_ok=True)
    network = nets.found(place, FOUNDERS, [plan(scale)], chain_params(), name="demo", clock_start_ms=BEGIN_MS)
    shutil.copy(network.genesis_path, directory / reports.GENESIS_FILE)
    return network


def _run(
    network: Network, directory: Path, steps: Sequence[Step], scale: Scale, seed: int, quiet: bool
) -> tuple[dict[str, Any], list[str]]:
    failures: list[BaseException] = []
    result: tuple[dict[str, Any], list[str]] = ({}, [])
    try:
        result = asyncio.run(_replay(network, directory, steps, scale, seed, quiet))
    except* (DemoError, ScriptError, OperatorError) as group:
        failures.extend(_leaves(group))
    if failures:
        first = failures[0]
        if isinstance(first, OperatorError):
            raise first
        raise OperatorError(
            "DEMO_FAILED", str(first), "", f"the logs are in {network.directory}", exit_code=Exit.FAILURE.value
        ) from first
    return result


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


async def _replay(
    network: Network, directory: Path, steps: Sequence[Step], scale: Scale, seed: int, quiet: bool
) -> tuple[dict[str, Any], list[str]]:
    keys = {founder.name: read_key(network.key_file(founder.name), KeyKind.ORGANISATION) for founder in FOUNDERS}
    keys[CLOCK] = read_key(network.key_file(nets.CLOCK_KEY), KeyKind.CLOCK)
    periods: list[dict[str, Any]] = []
    random = Random(seed)
    async with HttpLedger({node.name: node.api for node in network.nodes}, keys, network.chain_id) as ledger:
        with Steps(len(steps), quiet=quiet) as progress:
            operations = Operations(network, ledger, steps, progress.note)

            def after(step: Step, settled: Settled) -> None:
                operations.check_running()
                if step.settle_date:
                    periods.append(reports.period_entry(step, settled))
                    progress.done(step.settle_date, f"{settled.members:,} members, share {rmb(settled.share_fen)} RMB")

            run = Demo(
                ledger=ledger,
                params=plan(scale).params,
                aid_fen=(scale.aid_fen(0), scale.aid_fen(1), scale.aid_fen(2)),
                steps=steps,
                begin_period=next_notice_period(BEGIN_MS),
                random=random,
                before=operations.before,
                after=after,
            )
            await run.run()
            await operations.finish()
        nodes = await ledger.agreement()
        differences = await _bills(ledger, directory, len(run.people.birth_months), random)
        reports.write_json(directory / reports.ACCOUNTS_FILE, await ledger.accounts())
        await ledger.export(REGULATOR, directory / reports.BLOCKS_FILE)
    totals = count(directory / reports.BLOCKS_FILE)
    report = {
        "periods": periods,
        "published_error_max": reports.published_error_max(periods),
        "nodes_agree": reports.nodes_agree(nodes, len(network.nodes)),
        "nodes": [{"name": node.node, "height": node.height, "state_root": node.state_root} for node in nodes],
        "blocks": totals.blocks,
        "transactions": totals.transactions,
        "rounds_above_zero": totals.rounds_above_zero,
        "restarts": operations.restarts,
        "scale": scale.members,
        "case_scale": scale.cases,
        "seed": seed,
    }
    return report, reports.faults(report, differences)


async def _bills(ledger: HttpLedger, directory: Path, members: int, random: Random) -> list[str]:
    """Write a sample of bills as the nodes report them; a sentence for every one on which they differ."""
    sample = sorted(random.sample(range(members), min(BILLS, members)))
    by_node = await ledger.bills(sample)
    figures = list(zip(*by_node.values(), strict=True))
    bills = [{"member": member, "billed_fen": seen[0]} for member, seen in zip(sample, figures, strict=True)]
    reports.write_json(directory / reports.BILLS_FILE, bills)
    return [
        f"the nodes report different bills of member {member}: {seen}"
        for member, seen in zip(sample, figures, strict=True)
        if len(set(seen)) > 1
    ]


def count(blocks: Path) -> reports.Totals:
    """Blocks, transactions and rounds of the exported chain."""
    heights = transactions = above = 0
    with blocks.open("rb") as file:
        for header_raw, body_raw, _certificate, _receipts in msgpack.Unpacker(file, max_buffer_size=2**31 - 1):
            heights += 1
            transactions += decode_header(header_raw).tx_count
            above += decode_body(body_raw).parent_certificate.round > 0
    return reports.Totals(heights, transactions, above)
