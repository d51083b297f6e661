"""Local networks of real nodes: their homes, genesis and ports, starting, ending, and the file that remembers them.

``<dir>/testnet.json`` names every node with its home, addresses and process; the organisations' keys lie in
``<dir>/keys``. A network is described by ``Founder``s, written once by ``found``, and run by ``start``.

With *proxied* links a process of the network carries every link (``cli.links``): a node is told a port of its own for
each other node, so a link can be cut in either direction without touching a node.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from typing import Any, Final

from ledger.codec import digest
from ledger.errors import OperatorError
from ledger.genesis import (
    SIGNATURES_FILE,
    GenesisOrganisation,
    GenesisPlan,
    GenesisValidator,
    GenesisValues,
    render_genesis,
    sign_genesis,
)
from ledger.genesis_file import CLOCK_REAL, CLOCK_STEPPED
from ledger.params import ChainParams
from ledger.roles import Role
from node.config import CONFIG_FILE
from node.founding import read_signatures
from node.keys import KeyKind, create_node_keys, generate, key_path, load_node_keys, read_key, write_key

from .home import make_home
from .links import NETWORK_FILE as NETWORK_FILE
from .links import start_proxy
from .ports import HOST, hold_ports
from .processes import ProcessId, end, is_paused, is_running, start_node, strays

GENESIS_FILE: Final = "genesis.toml"
KEYS: Final = "keys"
CLOCK_KEY: Final = "clock"


@dataclass(frozen=True, slots=True)
class Founder:
    """A founding organisation: validators vote, observers only follow, others have no node."""

    name: str
    roles: Role
    validator: bool = False
    observer: bool = False

    @property
    def has_node(self) -> bool:
        return self.validator or self.observer


@dataclass(frozen=True, slots=True)
class NetworkNode:
    """One node of the network. ``process`` is ``None`` while it was never started or was ended."""

    name: str
    home: Path
    api: str
    p2p: str
    observer: bool
    process: ProcessId | None = None

    @property
    def log(self) -> Path:
        return self.home / "node.log"

    @property
    def paused(self) -> bool:
        return self.process is not None and is_paused(self.process)

    @property
    def running(self) -> bool:
        return self.process is not None and is_running(self.process)


@dataclass(frozen=True, slots=True)
class Route:
    """Where the proxy listens for the links that ``dialler`` opens to ``target``."""

    dialler: str
    target: str
    port: int


@dataclass(frozen=True, slots=True)
class Network:
    """A founded network. ``routes`` is empty when nodes dial each other directly."""

    directory: Path
    chain_id: bytes
    stepped: bool
    nodes: tuple[NetworkNode, ...]
    routes: tuple[Route, ...] = ()
    proxy: ProcessId | None = None

    @property
    def finished(self) -> bool:
        """Whether its founding came to its end."""
        return bool(self.chain_id)

    @property
    def proxy_running(self) -> bool:
        return self.proxy is not None and is_running(self.proxy)

    @property
    def genesis_path(self) -> Path:
        return self.directory / GENESIS_FILE

    def node(self, name: str) -> NetworkNode:
        """The node of this name. Raises ``OperatorError`` NO_SUCH_NODE."""
        for node in self.nodes:
            if node.name == name:
                return node
        names = ", ".join(node.name for node in self.nodes)
        raise OperatorError("NO_SUCH_NODE", f"there is no node {name!r}", f"there are {names}", "", exit_code=2)

    def key_file(self, name: str) -> Path:
        """The key file of an organisation, or of the clock."""
        return key_path(self.directory / KEYS, KeyKind.ORGANISATION, name)


# ---- founding --------------------------------------------------------------------------------------------------------


def found(
    directory: Path,
    founders: Sequence[Founder],
    plans: Iterable[GenesisPlan],
    params: ChainParams,
    *,
    name: str,
    clock_start_ms: int | None,
    proxied: bool = False,
) -> Network:
    """Make keys, genesis and homes of a new network below ``directory``. ``clock_start_ms``: None for a real clock.

    The network's file is written first, so that what was cut short can be removed. Raises ``OperatorError``
    NETWORK_EXISTS when there is one already.
    """
    directory = directory.expanduser().absolute()
    if (directory / NETWORK_FILE).exists():
        raise OperatorError(
            "NETWORK_EXISTS",
            f"there is a network in {directory} already",
            "",
            "end and remove it first (`huzhu testnet down`), or choose another --dir",
        )
    with_nodes = [founder for founder in founders if founder.has_node]
    homes = {founder.name: directory / founder.name for founder in with_nodes}
    nodes = tuple(NetworkNode(founder.name, homes[founder.name], "", "", founder.observer) for founder in with_nodes)
    directory.mkdir(parents=True, exist_ok=True)
    save(Network(directory, b"", clock_start_ms is not None, nodes))
    for founder in founders:
        write_key(key_path(directory / KEYS, KeyKind.ORGANISATION, founder.name), generate(KeyKind.ORGANISATION))
    for founder in with_nodes:
        create_node_keys(homes[founder.name] / KEYS, observer=founder.observer)
    clock_key = b""
    if clock_start_ms is not None:
        pair = generate(KeyKind.CLOCK)
        write_key(key_path(directory / KEYS, KeyKind.CLOCK), pair)
        clock_key = pair.public
    time_ms = time.time_ns() // 1_000_000
    values = GenesisValues(
        name=name,
        time_ms=time_ms,
        clock=CLOCK_REAL if clock_start_ms is None else CLOCK_STEPPED,
        clock_key=clock_key,
        clock_start_ms=time_ms if clock_start_ms is None else clock_start_ms,
        params=params,
        organisations=tuple(_organisation(directory, founder) for founder in founders),
        plans=tuple(plans),
    )
    genesis = render_genesis(values).encode()
    chain_id = digest(genesis)
    (directory / GENESIS_FILE).write_bytes(genesis)
    (directory / SIGNATURES_FILE).write_text("".join(_signature(directory, founder, chain_id) for founder in founders))
    network = _on_free_ports(Network(directory, chain_id, clock_start_ms is not None, nodes), proxied)
    _write_homes(network)
    save(network)
    return network


def _signature(directory: Path, founder: Founder, chain_id: bytes) -> str:
    pair = read_key(key_path(directory / KEYS, KeyKind.ORGANISATION, founder.name))
    return sign_genesis(founder.name, pair.secret, chain_id)


def _organisation(directory: Path, founder: Founder) -> GenesisOrganisation:
    key = read_key(key_path(directory / KEYS, KeyKind.ORGANISATION, founder.name)).public
    if not founder.has_node:
        return GenesisOrganisation(founder.name, founder.roles, key)
    own = load_node_keys(directory / founder.name / KEYS, observer=founder.observer)
    validator = None
    if own.validator is not None and own.beacon is not None:
        validator = GenesisValidator(own.validator.public, own.beacon.public)
    return GenesisOrganisation(founder.name, founder.roles, key, (own.node.public,), "", validator)


def move_ports(network: Network) -> Network:
    """The same stopped network on other free ports: somebody else has taken one of its own."""
    moved = _on_free_ports(network, bool(network.routes))
    for node in moved.nodes:
        (node.home / CONFIG_FILE).unlink()
    _write_homes(moved)
    save(moved)
    return moved


def _on_free_ports(network: Network, proxied: bool) -> Network:
    nodes = network.nodes
    pairs = [(a.name, b.name) for a in nodes for b in nodes if a is not b] if proxied else []
    with hold_ports(2 * len(nodes) + len(pairs)) as ports:
        own = zip(nodes, ports[: len(nodes)], ports[len(nodes) :], strict=False)
        placed = tuple(replace(node, api=f"http://{HOST}:{api}", p2p=f"{HOST}:{p2p}") for node, api, p2p in own)
        between = zip(pairs, ports[2 * len(nodes) :], strict=True)
        routes = tuple(Route(dialler, target, port) for (dialler, target), port in between)
    return replace(network, nodes=placed, routes=routes)


def _write_homes(network: Network) -> None:
    """Configuration, genesis with its signatures, and signing record of every node."""
    nodes, genesis = network.nodes, network.genesis_path.read_bytes()
    signatures = read_signatures(network.genesis_path)
    keys = {node.name: load_node_keys(node.home / KEYS, observer=node.observer).node.public for node in nodes}
    ports = {(route.dialler, route.target): f"{HOST}:{route.port}" for route in network.routes}
    for node in nodes:
        dialled = [(peer.name, ports.get((node.name, peer.name), peer.p2p)) for peer in nodes if peer is not node]
        peers = tuple(f"{keys[name].hex()}@{address}" for name, address in dialled)
        values: dict[str, Any] = {
            "node.name": node.name,
            "api.listen": node.api.removeprefix("http://"),
            "api.requests_per_second": 0,
            "p2p.listen": node.p2p,
            "p2p.peers": peers,
            "verifier.workers": 1,
            "log.format": "json",
        }
        make_home(node.home, genesis=genesis, signatures=signatures, observer=node.observer, values=values)


# ---- the file --------------------------------------------------------------------------------------------------------


def save(network: Network) -> None:
    """Write ``testnet.json``."""
    nodes = [asdict(node) | {"home": str(node.home)} for node in network.nodes]
    content = {
        "chain_id": network.chain_id.hex(),
        "stepped": network.stepped,
        "nodes": nodes,
        "routes": [astuple(route) for route in network.routes],
        "proxy": None if network.proxy is None else asdict(network.proxy),
    }
    beside = network.directory / f".{NETWORK_FILE}"
    beside.write_text(json.dumps(content, indent=1) + "\n")
    beside.replace(network.directory / NETWORK_FILE)


def load(directory: Path) -> Network:
    """The network in ``directory``. Raises ``OperatorError`` NO_NETWORK or NETWORK_UNREADABLE."""
    directory = directory.expanduser().absolute()
    path = directory / NETWORK_FILE
    try:
        content = json.loads(path.read_text())
        nodes = tuple(_node(entry) for entry in content["nodes"])
        routes = tuple(Route(str(a), str(b), int(port)) for a, b, port in content["routes"])
        chain_id, stepped = bytes.fromhex(content["chain_id"]), bool(content["stepped"])
        return Network(directory, chain_id, stepped, nodes, routes, _process(content["proxy"]))
    except FileNotFoundError as error:
        raise OperatorError(
            "NO_NETWORK", f"there is no network in {directory}", "", f"huzhu testnet up --dir {directory}"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OperatorError(
            "NETWORK_UNREADABLE", f"{path} cannot be used", repr(error), "end its nodes by hand and remove it"
        ) from error


def _node(entry: dict[str, Any]) -> NetworkNode:
    name, home, process = str(entry["name"]), Path(entry["home"]), _process(entry["process"])
    return NetworkNode(name, home, str(entry["api"]), str(entry["p2p"]), bool(entry["observer"]), process)


def _process(entry: dict[str, Any] | None) -> ProcessId | None:
    return None if entry is None else ProcessId(int(entry["pid"]), int(entry["started"]))


# ---- running ---------------------------------------------------------------------------------------------------------


def start(network: Network, names: Iterable[str] | None = None) -> Network:
    """Start the nodes of these names (default: all) that do not run; their processes are remembered at once.

    The file is written after each start: should this program be killed, ``stop`` still knows every node.
    """
    wanted = {node.name for node in network.nodes} if names is None else set(names)
    if network.routes and not network.proxy_running:
        network = replace(network, proxy=start_proxy(network.directory))
        save(network)
    for at, node in enumerate(network.nodes):
        if node.name in wanted and not node.running:
            started = replace(node, process=start_node(node.home, node.log, network.directory))
            network = replace(network, nodes=(*network.nodes[:at], started, *network.nodes[at + 1 :]))
            save(network)
    return network


def stop(network: Network) -> Network:
    """End every node and the proxy. Idempotent; afterwards nothing that ``start`` began is left, recorded or not."""
    recorded = [node.process for node in network.nodes if node.process is not None]
    proxy = [network.proxy] if network.proxy is not None else []
    end(list(dict.fromkeys([*recorded, *proxy, *strays(network.directory)])))
    end(strays(network.directory))  # what a node was just about to start
    ended = replace(network, nodes=tuple(replace(node, process=None) for node in network.nodes), proxy=None)
    save(ended)
    return ended


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Within the block no other command changes the network in ``directory``; one that ends anyhow lets go."""
    try:
        descriptor = os.open(directory.expanduser().absolute(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
