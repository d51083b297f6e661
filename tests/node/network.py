"""Whole nodes in one process: real stores, real signing logs, real links over loopback; ports chosen by the kernel."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from consensus.records import FirstRecord
from ledger.genesis import (
    SIGNATURES_FILE,
    GenesisOrganisation,
    GenesisPlan,
    GenesisValidator,
    GenesisValues,
    parse_chain_params,
    parse_genesis,
    parse_plan,
    render_genesis,
    sign_genesis,
)
from ledger.roles import Role
from ledger.transactions import sign_transaction
from node.admission import Outcome, Source
from node.app import Node, Started
from node.config import load, render_default
from node.keys import KeyKind, KeyPair, create_node_keys, generate, load_node_keys
from node.votelog import create_log

ROOT = Path(__file__).parents[2]
ROLES = {"platform": Role.PLATFORM, "bank": Role.BANK, "firm-a": Role.ASSESSOR, "firm-b": Role.ASSESSOR}


@dataclass
class Member:
    """One node of the network, running or not."""

    name: str
    home: Path
    node: Node | None = None
    started: Started | None = None
    task: "asyncio.Task[None] | None" = None

    @property
    def running(self) -> Node:
        assert self.node is not None
        return self.node


@dataclass
class Network:
    """Four validators and any number of observers, with the keys to sign for everybody."""

    directory: Path
    observers: int = 1
    changes: dict[str, Any] = field(default_factory=dict)
    """Of the chain's parameters."""
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Of a node's constructor, by its name."""
    later: tuple[str, ...] = ()
    """Banks with a node that has a validator's keys and record, and no seat yet."""
    seats: int = len(ROLES)
    """Of the first so many organisations; the others' nodes have keys, and no seat."""
    epoch: int = 0
    """That transactions are signed for."""

    def __post_init__(self) -> None:
        self.keys: dict[str, KeyPair] = {}
        self.members: dict[str, Member] = {}
        seats = [(name, roles, at < self.seats) for at, (name, roles) in enumerate(ROLES.items())]
        organisations = [self._organisation(name, roles, seated=seated) for name, roles, seated in seats]
        watching = [f"observer-{number}" for number in range(self.observers)]
        organisations.extend(self._organisation(name, Role.REGULATOR, observer=True) for name in watching)
        organisations.extend(self._organisation(name, Role.BANK, seated=False) for name in self.later)
        self.keys["clock"] = generate(KeyKind.CLOCK)
        params = parse_chain_params((ROOT / "configs/chain_main.toml").read_text().replace("[consensus]", ""))
        plan: GenesisPlan = parse_plan((ROOT / "configs/plan_main.toml").read_text())
        values = GenesisValues(
            name="test",
            time_ms=int(time.time() * 1_000) - 1_000,
            clock="stepped",
            clock_key=self.keys["clock"].public,
            clock_start_ms=1_539_619_200_000,
            params=replace_params(params, self.changes),
            organisations=tuple(organisations),
            plans=(plan,),
        )
        raw = render_genesis(values).encode()
        self.genesis = parse_genesis(raw)
        self.signatures = "".join(
            sign_genesis(item.name, self.keys[item.name].secret, self.genesis.chain_id) for item in organisations
        )
        for member in self.members.values():
            (member.home / "genesis.toml").write_bytes(raw)
            (member.home / SIGNATURES_FILE).write_text(self.signatures)
            keys = load_node_keys(member.home / "keys")
            if keys.validator is not None:
                first = FirstRecord(self.genesis.chain_id, keys.validator.public, False)
                create_log(member.home / "data", first)

    def _organisation(
        self, name: str, roles: Role, *, observer: bool = False, seated: bool = True
    ) -> GenesisOrganisation:
        home = self.directory / name
        (home / "data").mkdir(parents=True)
        create_node_keys(home / "keys", observer=observer)
        values = {
            "node.name": name,
            "node.observer": observer,
            "p2p.listen": "127.0.0.1:0",
            "api.listen": "127.0.0.1:0",
            "verifier.workers": 0,
            "storage.free_bytes_min": 0,
            "log.level": "debug" if os.environ.get("HUZHU_TEST_LOG") else "error",
        }
        (home / "config.toml").write_text(render_default(values))
        keys = load_node_keys(home / "keys", observer=observer)
        self.keys[name] = generate(KeyKind.ORGANISATION)
        self.members[name] = Member(name, home)
        validator = None
        if seated and keys.validator is not None and keys.beacon is not None:
            validator = GenesisValidator(keys.validator.public, keys.beacon.public)
        return GenesisOrganisation(name, roles, self.keys[name].public, (keys.node.public,), "", validator)

    # ---- life ----

    async def start(self, tasks: asyncio.TaskGroup, *names: str) -> None:
        """Start nodes and tell them of each other."""
        waiting = [self._start(tasks, self.members[name]) for name in names or self.members]
        await asyncio.gather(*waiting)
        for member in self.members.values():
            for other in self.members.values():
                if member.node is not None and other.started is not None and member is not other:
                    member.node.network.set_addresses(other.started.node_key, [other.started.p2p])

    async def _start(self, tasks: asyncio.TaskGroup, member: Member) -> None:
        up: asyncio.Future[Started] = asyncio.get_running_loop().create_future()
        member.node = Node(load(member.home, environ={}), **self.options.get(member.name, {}))
        member.task = tasks.create_task(member.node.run(up.set_result))
        member.task.add_done_callback(lambda task: up.done() or up.cancel())
        try:
            member.started = await up
        except asyncio.CancelledError:
            await member.task
            raise

    async def stop(self, *names: str) -> None:
        """Stop nodes in order."""
        for name in names or self.members:
            member = self.members[name]
            if member.node is not None and member.task is not None:
                member.node.stop()
                await member.task
                member.node = member.started = member.task = None

    # ---- asking ----

    @property
    def nodes(self) -> dict[str, Node]:
        """Those that run."""
        return {name: member.node for name, member in self.members.items() if member.node is not None}

    async def until(self, what: Callable[[Node], bool], *names: str, timeout_s: float = 20.0) -> None:
        """Wait until ``what`` holds of the nodes."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + timeout_s
        while not all(what(self.nodes[name]) for name in names or self.nodes):
            assert loop.time() < end_s, self.describe()
            done: asyncio.Future[None] = loop.create_future()
            loop.call_later(0.005, done.set_result, None)
            await done

    def describe(self) -> dict[str, tuple[int, int, bool]]:
        """Where the nodes are: height, round, whether they sign."""
        return {name: (node.chain.height, node.driver.round, node.driver.signing) for name, node in self.nodes.items()}

    async def until_height(self, height: int, *names: str, timeout_s: float = 20.0) -> None:
        """Wait until the nodes have committed ``height``."""
        await self.until(lambda node: node.chain.height >= height, *names, timeout_s=timeout_s)

    def transaction(self, name: str, body: Any) -> bytes:
        """A signed transaction of the named key."""
        pair = self.keys[name]
        return sign_transaction(
            body,
            seed=pair.secret,
            signer=pair.public,
            valid_until_ms=int(time.time() * 1_000) + 300_000,
            salt=os.urandom(16),
            chain_id=self.genesis.chain_id,
            epoch=self.epoch,
        )

    async def submit(self, at: str, *sent: tuple[str, Any]) -> list[Outcome]:
        """Submit transactions (signer, body) to a node as a client would."""
        raws = [self.transaction(name, body) for name, body in sent]
        return await self.members[at].running.admission.submit(raws, Source.CLIENT)


def replace_params(params: Any, changes: dict[str, Any]) -> Any:
    """Parameters with some of them changed."""
    return type(params)(**{**{name: getattr(params, name) for name in params.__struct_fields__}, **changes})


@asynccontextmanager
async def running(network: Network, *names: str) -> AsyncIterator[Network]:
    """The network, started, and stopped at the end."""
    async with asyncio.TaskGroup() as tasks:
        await network.start(tasks, *names)
        try:
            yield network
        finally:
            await network.stop()
