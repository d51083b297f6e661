"""``huzhu testnet``: networks of real ``huzhu start`` processes on this machine; nothing outlives ``down``."""

import asyncio
import shutil
import time
from contextlib import suppress
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import click

from ledger import transactions as tx
from ledger.calendar import day_from_civil, start_of_day
from ledger.errors import OperatorError
from ledger.genesis import SIGNATURES_FILE, GenesisPlan, parse_chain_params, parse_plan
from ledger.params import ChainParams
from ledger.roles import Role
from node.keys import read_key

from . import network as nets
from .client import NodeClient, ask
from .network import CLOCK_KEY, Founder, Network
from .output import Exit, console, output_option, table
from .processes import ended, ended_by_signals, last_lines
from .sender import send

READY_SECONDS: Final = 60.0
STARTS_MAX: Final = 3
"""A port may be lost between choosing it and binding it; then the network starts again on others."""
BASE: Final = (
    Founder("platform", Role.PLATFORM),
    Founder("bank", Role.BANK),
    Founder("assessor-east", Role.ASSESSOR),
    Founder("assessor-west", Role.ASSESSOR),
)
HOSPITAL: Final = Founder("hospital", Role.HOSPITAL)

directory_option = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("build/testnet"),
    show_default=True,
    help="Where the network lives.",
)


def consortium(validators: int, observers: int) -> list[Founder]:
    """Platform, bank, assessors and a hospital; the first ``validators`` vote, regulators observe."""
    voting = [Founder(f.name, f.roles, validator=at < validators) for at, f in enumerate(BASE)]
    voting += [Founder(f"assessor-{at}", Role.ASSESSOR, validator=True) for at in range(len(BASE) + 1, validators + 1)]
    names = ["regulator", *(f"regulator-{at}" for at in range(2, observers + 1))]
    regulators = [Founder(name, Role.REGULATOR, observer=at < observers) for at, name in enumerate(names)]
    return [*voting, HOSPITAL, *regulators]


def default_plan() -> GenesisPlan:
    """The plan of ``configs/plan_main.toml``."""
    return parse_plan(files("configs").joinpath("plan_main.toml").read_text("utf-8"))


def default_params() -> ChainParams:
    """The chain parameters of ``configs/chain_main.toml``."""
    return parse_chain_params(files("configs").joinpath("chain_main.toml").read_text("utf-8"))


def parse_time(text: str) -> int:
    """Milliseconds of a date (00:00 in UTC+8), an ISO time, or a number of milliseconds."""
    if text.isdecimal():
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no date (2019-01-07), time or number of milliseconds") from error
    if len(text) <= len("2019-01-07"):
        return start_of_day(day_from_civil(moment.year, moment.month, moment.day))
    zoned = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return int(zoned.timestamp() * 1000)


async def wait_ready(network: Network, seconds: float = READY_SECONDS) -> None:
    """Return when every started node answers ``/readyz``.

    Raises ``OperatorError``: NODE_ENDED for one that has ended, NOT_READY after ``seconds``.
    """
    deadline = time.monotonic() + seconds
    failures: list[BaseException] = []
    try:
        async with asyncio.TaskGroup() as group:
            for node in network.nodes:
                if node.process is not None:
                    group.create_task(_wait_node(node, deadline))
    except* OperatorError as errors:
        failures.extend(errors.exceptions)
    if failures:
        raise failures[0]


async def _wait_node(node: nets.NetworkNode, deadline: float) -> None:
    last: OperatorError | None = None
    async with NodeClient(node.api) as client:
        while time.monotonic() < deadline:
            try:
                await client.get("/readyz")
                return
            except OperatorError as error:
                last = error
            if not node.running:
                raise ended(node.home, node.log)
            await asyncio.sleep(0.05)
    raise OperatorError(
        "NOT_READY",
        f"{node.name} is not ready after {READY_SECONDS:.0f} s",
        str(last),
        f"read {node.log}",
        exit_code=Exit.NOT_READY.value,
    )


def bring_up(network: Network, names: list[str] | None = None) -> Network:
    """Start the nodes and wait until they are ready; when that fails nothing is left running."""
    for attempt in range(1, STARTS_MAX + 1):
        try:
            network = nets.start(network, names)
            asyncio.run(wait_ready(network))
        except OperatorError:
            lost_port = any("in use" in last_lines(node.log) for node in network.nodes)
            network = nets.stop(nets.load(network.directory))
            if attempt == STARTS_MAX or not lost_port:
                raise
            network = nets.move_ports(network)
        except KeyboardInterrupt:
            nets.stop(nets.load(network.directory))
            raise
        else:
            break
    return network


@click.group()
def testnet() -> None:
    """Networks of real nodes on this machine."""


@testnet.command()
@directory_option
@click.option("-n", "--validators", type=click.IntRange(1, 32), default=4, show_default=True)
@click.option("--observers", type=click.IntRange(0, 8), default=0, show_default=True)
@click.option("--clock", type=click.Choice(["real", "stepped"]), default="real", show_default=True)
@click.option("--begin", default=None, metavar="DATE", help="First day of a stepped clock; default: today.")
@output_option
def up(directory: Path, validators: int, observers: int, clock: str, begin: str | None) -> None:
    """Found a network, start it, return when every node is ready. One kept by `down --keep` is started again."""
    start_ms = None
    if clock == "stepped":
        start_ms = time.time_ns() // 1_000_000 if begin is None else parse_time(begin)
    elif begin is not None:
        raise click.UsageError("--begin needs --clock stepped")
    network = _kept(directory)
    if network is None:
        founders = consortium(validators, observers)
        plans, params = [default_plan()], default_params()
        network = nets.found(directory, founders, plans, params, name="testnet", clock_start_ms=start_ms)
    with ended_by_signals():
        running = bring_up(network)
    console().result(_describe(running), _welcome(running))


def _kept(directory: Path) -> Network | None:
    """The network that lies in the directory and does not run."""
    try:
        network = nets.load(directory)
    except OperatorError as error:
        if error.code == "NO_NETWORK":
            return None
        raise
    return None if any(node.running for node in network.nodes) else network


@testnet.command()
@directory_option
@click.option("--keep", is_flag=True, help="Keep the directory with its chain.")
@output_option
def down(directory: Path, keep: bool) -> None:
    """End every node and remove the network's directory. A network that is not there is fine."""
    try:
        network = nets.load(directory)
    except OperatorError as error:
        if error.code != "NO_NETWORK":
            raise
        console().result({"ended": [], "removed": None}, f"there is no network in {directory}")
        return
    running = [node.name for node in network.nodes if node.running]
    nets.stop(network)
    if not keep:
        for node in network.nodes:
            shutil.rmtree(node.home, ignore_errors=True)
        shutil.rmtree(network.directory / nets.KEYS, ignore_errors=True)
        for name in (nets.GENESIS_FILE, SIGNATURES_FILE, nets.NETWORK_FILE):
            (network.directory / name).unlink(missing_ok=True)
        with suppress(OSError):  # somebody else's files are in it
            network.directory.rmdir()
    removed = None if keep else str(network.directory)
    console().result({"ended": running, "removed": removed}, f"ended: {', '.join(running) or 'nothing ran'}")


@testnet.command()
@directory_option
@output_option
def status(directory: Path) -> int:
    """Every node's height and state; fails when one does not run."""
    network = nets.load(directory)
    found = asyncio.run(_statuses(network))
    rows = [
        (name, "running" if entry["running"] else "stopped", entry.get("height", "-"), entry["api"])
        for name, entry in found.items()
    ]
    console().result({"nodes": found}, table(("node", "process", "height", "api"), rows))
    return Exit.OK.value if all(entry["running"] for entry in found.values()) else Exit.NOT_READY.value


@testnet.command()
@directory_option
@click.option("--to", "to", required=True, metavar="DATE", help="A date, an ISO time, or milliseconds.")
@output_option
def advance(directory: Path, to: str) -> None:
    """Step the ledger's clock of a stepped network."""
    network, to_ms = nets.load(directory), parse_time(to)
    if not network.stepped:
        raise OperatorError(
            "CLOCK_NOT_STEPPED", "this network's clock is real", "", "huzhu testnet up --clock stepped", exit_code=1
        )
    key = read_key(network.key_file(CLOCK_KEY))

    done = ask(_first_running(network).api, lambda client: send(client, tx.AdvanceClock(to_ms), key))
    data = {"ledger_time_ms": to_ms, "height": done.height}
    console().result(data, f"from block {done.height + 1} on the ledger's clock continues from {to}")


def _first_running(network: Network) -> nets.NetworkNode:
    for node in network.nodes:
        if node.running:
            return node
    raise OperatorError("NOT_REACHABLE", "no node of the network runs", "", "huzhu testnet up", exit_code=4)


async def _statuses(network: Network) -> dict[str, dict[str, Any]]:
    async def one(node: nets.NetworkNode) -> dict[str, Any]:
        entry: dict[str, Any] = {"running": node.running, "api": node.api}
        if node.running:
            async with NodeClient(node.api, timeout_seconds=5) as client:
                try:
                    entry |= await client.get("/v1/status")
                except OperatorError as error:
                    entry["error"] = error.code
        return entry

    answers = await asyncio.gather(*(one(node) for node in network.nodes))
    return {node.name: answer for node, answer in zip(network.nodes, answers, strict=True)}


def _describe(network: Network) -> dict[str, Any]:
    return {
        "directory": str(network.directory),
        "chain_id": network.chain_id.hex(),
        "genesis": str(network.genesis_path),
        "clock": "stepped" if network.stepped else "real",
        "nodes": [
            {
                "name": node.name,
                "api": node.api,
                "p2p": node.p2p,
                "pid": node.process.pid if node.process is not None else None,
                "home": str(node.home),
                "observer": node.observer,
            }
            for node in network.nodes
        ],
        "keys": str(network.directory / nets.KEYS),
    }


def _welcome(network: Network) -> str:
    rows = [
        (node.name, node.api, node.process.pid if node.process is not None else 0, str(node.home))
        for node in network.nodes
    ]
    first, key = network.nodes[0], network.key_file("platform")
    return "\n".join(
        [
            table(("node", "api", "pid", "home"), rows),
            "",
            "try next:",
            f"  curl {first.api}/v1/status",
            f"  huzhu member enrol --node {first.api} --key {key} --birth-month 1990-05",
            f"  huzhu testnet down --dir {network.directory}",
        ]
    )
