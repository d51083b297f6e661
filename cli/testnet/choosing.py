"""Which network and which of its nodes a verb speaks of."""

from pathlib import Path

import click

from ledger.errors import OperatorError

from .. import network as nets
from ..network import Network, NetworkNode

directory_option = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("build/testnet"),
    show_default=True,
    help="Where the network lives.",
)
names_argument = click.argument("names", nargs=-1, metavar="[NODE]...")
all_option = click.option("--all", "everybody", is_flag=True, help="All nodes.")


def finished(directory: Path) -> Network:
    """The network in ``directory``. Raises ``OperatorError``, also for one whose founding was cut short."""
    network = nets.load(directory)
    if not network.finished:
        raise OperatorError(
            "NETWORK_UNFINISHED",
            f"the founding of the network in {directory} was cut short",
            "",
            f"huzhu testnet down --dir {directory}",
        )
    return network


def chosen(network: Network, names: tuple[str, ...], everybody: bool) -> list[NetworkNode]:
    """The nodes named, each once. Raises ``OperatorError`` NO_SUCH_NODE, ``UsageError`` when nothing is said."""
    if everybody == bool(names):
        raise click.UsageError("name nodes, or say --all")
    return list(network.nodes) if everybody else [network.node(name) for name in dict.fromkeys(names)]


def first_running(network: Network) -> NetworkNode:
    """A node to ask. Raises ``OperatorError`` NOT_REACHABLE."""
    for node in network.nodes:
        if node.running and not node.paused:
            return node
    raise OperatorError("NOT_REACHABLE", "no node of the network runs", "", "huzhu testnet up", exit_code=4)
