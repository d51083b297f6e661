"""What a network must survive, as verbs: kill, pause, resume, cut, heal, restart.

None of them is an error when it is so already: a script may say it again.
"""

import asyncio
from pathlib import Path

import click

from ledger.errors import OperatorError

from .. import network as nets
from .. import processes
from ..links import Pair, change_links
from ..network import Network
from ..output import console, output_option
from .bringup import wait_ready
from .choosing import all_option, chosen, directory_option, finished, names_argument


@click.command()
@names_argument
@all_option
@directory_option
@click.option("--term", is_flag=True, help="SIGTERM, so that the node ends in order; else SIGKILL.")
@output_option
def kill(names: tuple[str, ...], everybody: bool, directory: Path, term: bool) -> None:
    """End nodes at once, as a power cut would."""
    with nets.alone(directory):
        network = finished(directory)
        running = {node.name: node.process for node in chosen(network, names, everybody) if node.running}
        victims = [process for process in running.values() if process is not None]
        if term:
            processes.end(victims)
        else:
            processes.kill_all(victims)
    data = {"killed": list(running), "signal": "SIGTERM" if term else "SIGKILL"}
    console().result(data, f"ended: {', '.join(running) or 'nothing ran'}")


@click.command()
@names_argument
@all_option
@directory_option
@output_option
def pause(names: tuple[str, ...], everybody: bool, directory: Path) -> None:
    """SIGSTOP: the nodes keep their connections and say nothing, until `resume`."""
    network = finished(directory)
    nodes = [node for node in chosen(network, names, everybody) if node.running]
    for node in nodes:
        if node.process is not None:
            processes.pause(node.process)
    found = [node.name for node in nodes]
    console().result({"paused": found}, f"paused: {', '.join(found) or 'nothing ran'}")


@click.command()
@names_argument
@all_option
@directory_option
@output_option
def resume(names: tuple[str, ...], everybody: bool, directory: Path) -> None:
    """Let paused nodes go on."""
    network = finished(directory)
    nodes = [node for node in chosen(network, names, everybody) if node.running]
    for node in nodes:
        if node.process is not None:
            processes.resume(node.process)
    found = [node.name for node in nodes]
    console().result({"resumed": found}, f"resumed: {', '.join(found) or 'nothing ran'}")


@click.command()
@names_argument
@all_option
@directory_option
@click.option("--kill", "killed", is_flag=True, help="SIGKILL first, instead of SIGTERM.")
@click.option("--no-wait", is_flag=True, help="Do not wait until they are ready.")
@output_option
def restart(names: tuple[str, ...], everybody: bool, directory: Path, killed: bool, no_wait: bool) -> None:
    """End nodes, all of them before the first comes back, and start them again. Those that were down start too."""
    with nets.alone(directory):
        network = finished(directory)
        nodes = chosen(network, names, everybody)
        running = [node.process for node in nodes if node.process is not None and node.running]
        if killed:
            processes.kill_all(running)
        else:
            processes.end(running)
        wanted = [node.name for node in nodes]
        network = nets.start(network, wanted)
    if not no_wait:
        asyncio.run(wait_ready(network, wanted))
    pids = {node.name: node.process.pid for node in network.nodes if node.name in wanted and node.process is not None}
    console().result({"restarted": pids}, f"restarted: {', '.join(wanted)}")


# ---- links -----------------------------------------------------------------------------------------------------------

between_argument = click.argument("names", nargs=-1, metavar="[FROM TO | NODE]")
one_way_option = click.option("--one-way", is_flag=True, help="Only what FROM says to TO.")


def _directions(network: Network, names: tuple[str, ...], one_way: bool) -> list[Pair]:
    """One pair, or a node from everybody else; both directions unless ``one_way``."""
    for name in names:
        network.node(name)
    others = [node.name for node in network.nodes if node.name not in names]
    match names:
        case (a, b) if a != b:
            pairs = [(a, b)]
        case (a,):
            pairs = [(a, b) for b in others]
        case _:
            raise click.UsageError("name two nodes, or one that is cut from all others")
    return pairs if one_way else [*pairs, *((b, a) for a, b in pairs)]


def _proxied(directory: Path) -> Network:
    network = finished(directory)
    if not network.routes:
        raise OperatorError(
            "LINKS_NOT_PROXIED",
            "the nodes of this network dial each other directly",
            "it was made with --direct, or has too many nodes",
            "huzhu testnet down, then huzhu testnet up without --direct",
            exit_code=1,
        )
    return network


@click.command()
@between_argument
@one_way_option
@directory_option
@output_option
def cut(names: tuple[str, ...], one_way: bool, directory: Path) -> None:
    """Cut the link between FROM and TO, or of one node to all others: bytes wait, nobody is told."""
    network = _proxied(directory)
    found = change_links(network.directory, cut=_directions(network, names, one_way))
    console().result({"cut": found}, "\n".join(f"cut: {a} -> {b}" for a, b in found))


@click.command()
@between_argument
@one_way_option
@all_option
@directory_option
@output_option
def heal(names: tuple[str, ...], one_way: bool, everybody: bool, directory: Path) -> None:
    """Let what was cut pass again: between FROM and TO, of one node, or --all."""
    network = _proxied(directory)
    everything = everybody and not names
    pairs = change_links(network.directory) if everything else _directions(network, names, one_way)
    found = change_links(network.directory, heal=pairs)
    console().result({"cut": found}, "\n".join(f"cut: {a} -> {b}" for a, b in found) or "nothing is cut")


def register(group: click.Group) -> None:
    """Add the verbs of this file."""
    for verb in (kill, pause, resume, restart, cut, heal):
        group.add_command(verb)
