"""A node's process: what it cannot start with has a code, what breaks ends it, stopping leaves nothing behind."""

import asyncio
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import aiohttp
import pytest

from ledger.calendar import MS_PER_DAY
from ledger.errors import InvariantViolation, OperatorError
from ledger.signing import public_key, sign
from ledger.transactions import AdvanceClock, transaction_id
from node.admission import Source
from node.app import Node, Started
from node.config import load
from node.verified import Item, TransactionVerifier
from node.verifier import record
from node.votelog import LOG_FILE
from tests.node.network import Network, running
from tests.node.snapshots import Log


async def code_of_start(home: Path, **overrides: object) -> str:
    node = Node(load(home, overrides, environ={}))
    with pytest.raises(OperatorError) as error:
        async with asyncio.timeout(10):
            await node.run()
    return error.value.code


def taken_port() -> socket.socket:
    holder = socket.socket()
    holder.bind(("127.0.0.1", 0))
    holder.listen()
    return holder


@pytest.mark.asyncio
@pytest.mark.parametrize(("key", "code"), [("p2p.listen", "CANNOT_LISTEN"), ("api.listen", "API_PORT_IN_USE")])
async def test_a_used_port_is_told_and_the_home_is_free_again(tmp_path: Path, key: str, code: str) -> None:
    network = Network(tmp_path, observers=0)
    with taken_port() as holder:
        address = "{}:{}".format(*holder.getsockname())
        assert await code_of_start(network.members["bank"].home, **{key: address}) == code
    async with running(network, "bank"):
        assert network.nodes["bank"].chain.height == 0


@pytest.mark.asyncio
async def test_a_second_node_on_the_same_home_is_refused_and_the_first_lives_on(tmp_path: Path) -> None:
    network = Network(tmp_path, observers=0)
    async with running(network, "bank") as up:
        assert await code_of_start(network.members["bank"].home) == "LOCKED_DATABASE"
        assert up.nodes["bank"].driver.height == 1


@pytest.mark.asyncio
async def test_a_validator_without_its_signing_log_does_not_start(tmp_path: Path) -> None:
    home = Network(tmp_path, observers=0).members["bank"].home
    (home / "data" / LOG_FILE).unlink()
    assert await code_of_start(home) == "LOG_MISSING"


@pytest.mark.asyncio
async def test_a_database_of_another_chain_is_refused(tmp_path: Path) -> None:
    one, other = Network(tmp_path / "one", observers=1), Network(tmp_path / "other", observers=1)
    async with running(one, "observer-0"):
        pass
    home = one.members["observer-0"].home
    (home / "genesis.toml").write_bytes(other.genesis.raw)
    (home / "genesis.sigs").write_text(other.signatures)
    assert await code_of_start(home) == "FOREIGN_DATABASE"


def test_a_node_is_not_even_made_with_a_genesis_that_one_founder_has_not_signed(tmp_path: Path) -> None:
    network = Network(tmp_path, observers=0)
    home = network.members["bank"].home
    wanted = {
        network.signatures.rpartition("firm-b ")[0]: "GENESIS_UNSIGNED",
        network.signatures.replace("platform ", "firm-c ", 1): "GENESIS_SIGNATURE_INVALID",
    }
    for text, code in wanted.items():
        (home / "genesis.sigs").write_text(text)
        with pytest.raises(OperatorError) as error:
            Node(load(home, environ={}))
        assert error.value.code == code


@pytest.mark.asyncio
async def test_an_invariant_violation_in_a_callback_ends_the_node(tmp_path: Path) -> None:
    network = Network(tmp_path, observers=0)
    node = Node(load(network.members["bank"].home, environ={}))

    def broken() -> None:
        raise InvariantViolation("for the test")

    def ready(started: Started) -> None:
        asyncio.get_running_loop().call_soon(broken)

    with pytest.raises(InvariantViolation, match="for the test"):
        async with asyncio.timeout(10):
            await node.run(ready)


@pytest.mark.asyncio
async def test_a_verifier_process_that_died_is_told_to_the_log_and_the_node_lives_on(tmp_path: Path) -> None:
    network, log = Network(tmp_path, observers=0), Log()
    node = Node(load(network.members["bank"].home, {"verifier.workers": 1}, environ={}), log=log)
    async with asyncio.TaskGroup() as tasks, asyncio.timeout(20):
        tasks.create_task(node.run())
        await log.said("started")
        digest = bytes(32)
        item = record(public_key(digest), digest, sign(digest, digest))
        assert await node.verifier.verify([item] * 10) == [True] * 10
        os.kill(node.verifier.pids[0], signal.SIGKILL)
        await log.said("verifier replaced")
        assert await node.verifier.verify([item] * 10) == [True] * 10
        node.stop()


@pytest.mark.asyncio
async def test_a_stopped_node_leaves_no_task_behind(tmp_path: Path) -> None:
    network = Network(tmp_path, observers=0)
    async with running(network, "bank", "platform"):
        pass
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.asyncio
async def test_the_api_says_where_the_node_is(tmp_path: Path) -> None:
    network = Network(tmp_path)
    async with running(network) as up:
        await up.until(lambda node: node.driver.signing or node.driver.own_index is None)
        started = up.members["observer-0"].started
        assert started is not None
        url = "http://{}:{}".format(*started.api)
        async with aiohttp.ClientSession() as session, session.get(f"{url}/v1/status") as answer:
            status = await answer.json()
        assert (status["role"], status["height"], status["behind"]) == ("observer", 0, 0)
        async with aiohttp.ClientSession() as session, session.get(f"{url}/readyz?min_peers=4") as answer:
            assert answer.status == 200


class Held:
    """Signatures whose verdicts come when they are let go."""

    def __init__(self, signatures: TransactionVerifier) -> None:
        self._signatures = signatures
        self.gate = asyncio.Event()

    async def verify(self, items: Sequence[Item], epoch: int, *, urgent: bool = False) -> list[bool]:
        await self.gate.wait()
        return await self._signatures.verify(items, epoch, urgent=urgent)


@pytest.mark.asyncio
async def test_what_a_block_brings_while_it_is_verified_here_does_not_wait_for_another_block(tmp_path: Path) -> None:
    network = Network(tmp_path)
    async with running(network) as up:
        node = up.nodes["observer-0"]
        held = Held(node.admission._signatures)
        node.admission._signatures = cast(TransactionVerifier, held)
        raw = up.transaction("clock", AdvanceClock(1_539_619_200_000 + MS_PER_DAY))
        async with asyncio.TaskGroup() as tasks:
            here = tasks.create_task(node.admission.submit([raw], Source.CLIENT))
            assert [outcome.code for outcome in await up.nodes["bank"].admission.submit([raw], Source.CLIENT)] == ["OK"]
            await up.until(lambda node: node.chain.seen(transaction_id(raw)))
            held.gate.set()
        assert [outcome.code for outcome in here.result()] == ["DUPLICATE"]
        assert not len(node.mempool)


@pytest.mark.asyncio
async def test_a_block_that_changes_the_validators_has_the_announcements_counted_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Network(tmp_path, observers=0)
    changed = {"bank": True, "platform": False}
    told: list[str] = []
    async with running(network):
        for name, answer in changed.items():
            node = network.nodes[name]
            monkeypatch.setattr(node.neighbours, "refresh", lambda touched, answer=answer: answer)
            monkeypatch.setattr(node.peer_pool, "validators_changed", lambda name=name: told.append(name))
        await network.submit("firm-a", ("clock", AdvanceClock(1_539_619_200_000 + MS_PER_DAY)))
        await network.until_height(1)
    assert set(told) == {"bank"}
