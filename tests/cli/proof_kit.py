"""A node of the told chain that serves in a thread of its own, so that commands can be run as they are."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiohttp import web

from tests.node.api_kit import FakeNode
from tests.node.test_api_light import told_node


@contextmanager
def serving(node: FakeNode) -> Iterator[str]:
    """The address of ``node``'s API."""
    started, stop, addresses = threading.Event(), asyncio.Event(), list[str]()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        runner = web.AppRunner(node.app(), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        addresses.append(f"http://{host}:{port}")
        started.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert started.wait(10)
        yield addresses[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


@contextmanager
def told_network(tmp: Path) -> Iterator[tuple[FakeNode, str, Path]]:
    """(a node of the told chain, its address, the genesis file)."""
    node = told_node()
    genesis = tmp / "genesis.toml"
    genesis.write_bytes(node.genesis_raw)
    with serving(node) as url:
        yield node, url, genesis
