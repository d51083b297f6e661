"""``huzhu testnet``: networks of real ``huzhu start`` processes on this machine; nothing outlives ``down``.

Every verb speaks for scripts: ``--output json``, stable exit codes, several networks at once by ``--dir``. A verb that
changes which processes run has the network for itself meanwhile.
"""

import asyncio
import shutil
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from ledger import transactions as tx
from ledger.calendar import day_from_civil, start_of_day
from ledger.errors import OperatorError
from ledger.genesis import SIGNATURES_FILE
from node.keys import read_key

from .. import links
from .. import network as nets
from ..client import NodeClient, ask
from ..network import CLOCK_KEY, Network
from ..output import Exit, console, output_option, table
from ..processes import end, ended_by_signals, strays
from ..sender import send
from .bringup import bring_up, consortium, default_params, default_plan
from .choosing import directory_option, finished, first_running

PROXIED_NODES_MAX: Final = 16
"""Each of n (n - 1) links has a port of its own."""


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


@click.group()
def testnet() -> None:
    """Networks of real nodes on this machine."""


@testnet.command()
@directory_option
@click.option("-n", "--validators", type=click.IntRange(1, 32), default=4, show_default=True)
@click.option("--observers", type=click.IntRange(0, 8), default=0, show_default=True)
@click.option("--clock", type=click.Choice(["real", "stepped"]), default="real", show_default=True)
@click.option("--begin", default=None, metavar="DATE", help="First day of a stepped clock; default: today.")
@click.option("--direct", is_flag=True, help="Nodes dial each other directly: for measuring. Links cannot be cut then.")
@output_option
def up(directory: Path, validators: int, observers: int, clock: str, begin: str | None, direct: bool) -> None:
    """Found a network, start it, return when every node is ready. One kept by `down --keep` is started again."""
    start_ms = None
    if clock == "stepped":
        start_ms = time.time_ns() // 1_000_000 if begin is None else parse_time(begin)
    elif begin is not None:
        raise click.UsageError("--begin needs --clock stepped")
    directory.mkdir(parents=True, exist_ok=True)
    with nets.alone(directory), ended_by_signals():
        network = _kept(directory)
        if network is None:
            founders = consortium(validators, observers)
            network = nets.found(
                directory,
                founders,
                [default_plan()],
                default_params(),
                name="testnet",
                clock_start_ms=start_ms,
                proxied=not direct and validators + observers <= PROXIED_NODES_MAX,
            )
        running = bring_up(network)
    console().result(_describe(running), _welcome(running))


def _kept(directory: Path) -> Network | None:
    """The network that lies in the directory and does not run."""
    try:
        network = finished(directory)
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
    """End every process of the network and remove its directory. A network that is not there is fine."""
    with nets.alone(directory):
        try:
            network = nets.load(directory)
        except OperatorError as error:
            if error.code != "NO_NETWORK":
                raise
            end(strays(directory.expanduser().absolute()))
            console().result({"ended": [], "removed": None}, f"there is no network in {directory}")
            return
        running = [node.name for node in network.nodes if node.running]
        nets.stop(network)
        if not keep:
            _remove(network)
    removed = None if keep else str(network.directory)
    console().result({"ended": running, "removed": removed}, f"ended: {', '.join(running) or 'nothing ran'}")


def _remove(network: Network) -> None:
    """Everything that ``up`` has made; what lies beside it is somebody else's."""
    for node in network.nodes:
        shutil.rmtree(node.home, ignore_errors=True)
    shutil.rmtree(network.directory / nets.KEYS, ignore_errors=True)
    for name in (nets.GENESIS_FILE, SIGNATURES_FILE, links.SOCKET, links.LOG, nets.NETWORK_FILE):
        (network.directory / name).unlink(missing_ok=True)
    with suppress(OSError):
        network.directory.rmdir()


@testnet.command()
@directory_option
@output_option
def status(directory: Path) -> int:
    """Every node's height and state; fails when one does not run."""
    network = finished(directory)
    found = asyncio.run(_statuses(network))
    cut = links.change_links(network.directory) if network.proxy_running else []
    rows = [(name, entry["process"], entry.get("height", "-"), entry["api"]) for name, entry in found.items()]
    shown = [table(("node", "process", "height", "api"), rows), *(f"cut: {a} -> {b}" for a, b in cut)]
    console().result({"nodes": found, "cut": cut}, "\n".join(shown))
    return Exit.OK.value if all(entry["running"] for entry in found.values()) else Exit.NOT_READY.value


@testnet.command()
@directory_option
@click.option("--to", "to", required=True, metavar="DATE", help="A date, an ISO time, or milliseconds.")
@output_option
def advance(directory: Path, to: str) -> None:
    """Step the ledger's clock of a stepped network."""
    network, to_ms = finished(directory), parse_time(to)
    if not network.stepped:
        raise OperatorError(
            "CLOCK_NOT_STEPPED", "this network's clock is real", "", "huzhu testnet up --clock stepped", exit_code=1
        )
    key = read_key(network.key_file(CLOCK_KEY))

    done = ask(first_running(network).api, lambda client: send(client, tx.AdvanceClock(to_ms), key))
    data = {"ledger_time_ms": to_ms, "height": done.height}
    console().result(data, f"from block {done.height + 1} on the ledger's clock continues from {to}")


async def _statuses(network: Network) -> dict[str, dict[str, Any]]:
    async def one(node: nets.NetworkNode) -> dict[str, Any]:
        process = "paused" if node.paused else "running" if node.running else "stopped"
        entry: dict[str, Any] = {"running": node.running, "process": process, "api": node.api}
        if process == "running":
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
        "links": "proxied" if network.routes else "direct",
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
