"""What a local network is made of, and bringing it up: who founds it, and when every node of it is ready."""

import asyncio
import time
from collections.abc import Iterable
from importlib.resources import files
from typing import Final

from ledger.errors import OperatorError
from ledger.genesis import GenesisPlan, parse_chain_params, parse_plan
from ledger.params import ChainParams
from ledger.roles import Role

from .. import network as nets
from ..client import NodeClient
from ..network import Founder, Network
from ..output import Exit
from ..processes import ended, last_lines

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


async def wait_ready(network: Network, names: Iterable[str] | None = None, seconds: float = READY_SECONDS) -> None:
    """Return when the nodes of these names (default: every started one) answer ``/readyz``.

    Raises ``OperatorError``: NODE_ENDED for one that has ended, NOT_READY after ``seconds``.
    """
    deadline = time.monotonic() + seconds
    wanted = {node.name for node in network.nodes} if names is None else set(names)
    failures: list[BaseException] = []
    try:
        async with asyncio.TaskGroup() as group:
            for node in network.nodes:
                if node.process is not None and node.name in wanted:
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
