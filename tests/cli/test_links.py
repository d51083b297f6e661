"""The proxy of a test network: who is cut from whom, in which direction, and what happens to the bytes."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from cli.links import CONNECTIONS_MAX, Proxy
from cli.network import Founder, alone, found, load, save
from cli.ports import HOST, hold_ports
from cli.testnet import default_params, default_plan
from ledger.roles import Role
from tests.running import run


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(100):
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def proxied() -> AsyncIterator[tuple[Proxy, int]]:
    """A node "b" that says everything back, and the port on which "a" reaches it."""
    with hold_ports(2) as ports:
        pass
    server = await asyncio.start_server(_echo, HOST, ports[0])
    proxy = Proxy([("a", "b", ports[1])], {"a": (HOST, 1), "b": (HOST, ports[0])})
    async with asyncio.TaskGroup() as tasks, server:
        await proxy.run(tasks)
        yield proxy, ports[1]
        proxy.change({"heal": proxy.cut})
        proxy.close()


async def _says(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(5):
        return await reader.read(100)


async def _silent(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(0.1):
            return not await reader.read(100)
    except TimeoutError:
        return True


@pytest.mark.asyncio
@pytest.mark.parametrize("cut", [[("a", "b")], [("b", "a")], [("a", "b"), ("b", "a")]])
async def test_what_is_cut_waits_and_goes_on_after_the_heal(cut: list[tuple[str, str]]) -> None:
    async with proxied() as (proxy, port):
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(b"one")
        assert await _says(reader) == b"one"
        assert proxy.change({"cut": cut}) == {"cut": cut}
        writer.write(b"two")
        assert await _silent(reader)
        assert proxy.change({"heal": cut}) == {"cut": []}
        assert await _says(reader) == b"two", "nothing is lost, nothing is told"
        writer.close()


@pytest.mark.asyncio
async def test_a_connection_made_while_it_is_cut_stays_silent_until_the_heal() -> None:
    async with proxied() as (proxy, port):
        proxy.change({"cut": [("a", "b")]})
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(b"hello")
        assert await _silent(reader)
        proxy.change({"heal": [("a", "b")]})
        assert await _says(reader) == b"hello"
        writer.close()


@pytest.mark.asyncio
async def test_one_pair_has_so_many_connections_and_no_more() -> None:
    async with proxied() as (_, port):
        kept = [await asyncio.open_connection(HOST, port) for _ in range(CONNECTIONS_MAX)]
        for reader, writer in kept:
            writer.write(b"x")
            assert await _says(reader) == b"x"
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(b"x")
        with suppress(ConnectionResetError):
            assert await _says(reader) == b""
        for _, open_ in [*kept, (reader, writer)]:
            open_.close()


@pytest.mark.asyncio
async def test_a_pair_that_is_not_of_the_network_is_refused() -> None:
    async with proxied() as (proxy, _):
        with pytest.raises(KeyError):
            proxy.change({"cut": [("a", "c")]})
        assert proxy.cut == []


# ---- the verbs, without a process ------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> Path:
    founders = [Founder(name, Role.PLATFORM, validator=True) for name in ("one", "two")]
    found(tmp_path / "net", founders, [default_plan()], default_params(), name="t", clock_start_ms=None)
    return tmp_path / "net"


def test_each_node_of_a_proxied_network_is_told_ports_of_its_own(tmp_path: Path) -> None:
    founders = [Founder(name, Role.PLATFORM, validator=True) for name in ("one", "two", "three")]
    made = found(tmp_path, founders, [default_plan()], default_params(), name="t", clock_start_ms=None, proxied=True)
    assert load(tmp_path) == made
    assert len({route.port for route in made.routes}) == 6
    for node in made.nodes:
        config = (node.home / "config.toml").read_text()
        told = [route for route in made.routes if f":{route.port}" in config]
        assert {route.dialler for route in told} == {node.name}
        assert not any(peer.p2p in config for peer in made.nodes if peer is not node)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["cut", "one", "two"], 1),  # links are not proxied
        (["kill", "nobody"], 2),
        (["kill"], 2),
        (["pause", "one", "--all"], 2),
        (["kill", "one"], 0),  # it does not run: so be it
        (["pause", "--all"], 0),
        (["resume", "two"], 0),
        (["load"], 4),
        (["load", "--rate", "1000", "--seconds", "3600"], 2),
        (["logs"], 0),
        (["logs", "nobody"], 2),
        (["advance", "--to", "2019-01-07"], 1),
        (["status"], 5),
    ],
)
def test_verbs_on_a_network_that_does_not_run(place: Path, arguments: list[str], code: int) -> None:
    assert run(["testnet", *arguments, "--dir", str(place)]) == code


def test_a_founding_that_was_cut_short_is_told_and_can_be_removed(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(replace(load(place), chain_id=b""))
    for verb in (["up"], ["status"], ["kill", "one"], ["pause", "one"], ["resume", "one"], ["logs"]):
        assert run(["testnet", *verb, "--dir", str(place), "--output", "json"]) == 3
        assert "NETWORK_UNFINISHED" in capsys.readouterr().out
    assert run(["testnet", "down", "--dir", str(place)]) == 0
    assert not place.exists()


def test_logs_show_the_end_of_each_and_follow_what_is_added(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = load(place).node("one").log
    log.write_text("a\nb\nc\nunfinished")
    assert run(["testnet", "logs", "-n", "2", "--dir", str(place)]) == 0
    assert capsys.readouterr().out.splitlines() == ["one | b", "one | c"]
    assert run(["testnet", "logs", "one", "-n", "1", "--follow", "--seconds", "0.1", "--dir", str(place)]) == 0
    assert capsys.readouterr().out.splitlines() == ["one | c"]


def test_two_commands_do_not_change_a_network_at_once(place: Path) -> None:
    with alone(place):
        other = os.open(place, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(other)
    other = os.open(place, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)
