"""``huzhu snapshot``: the tables of one certified state in a directory that proves itself (issue 6, sync).

Made while the node runs, of a state that is held meanwhile, by the code with which nodes join; checked offline from
every row up to the founders' signatures.
"""

import asyncio
import time
from pathlib import Path
from typing import Any, Final

import aiohttp
import click

from ledger.errors import OperatorError
from node.admin import SOCKET_NAME
from node.api.answers import plain
from node.config import Config, load
from node.founding import read_signatures, read_signed_genesis
from node.snapshot_file import OFFER_FILE, Found, create, describe, verify
from node.snapshot_progress import Progress
from node.unix_socket import short_path
from p2p.clock import SystemClock
from p2p.requests import RequestFailed, RequestRefused

from .admin import node_runs
from .init import home_option
from .output import Exit, console, listing, output_option, table

LINE_SECONDS: Final = 2.0
_DIRECTORY: Final = click.Path(path_type=Path, file_okay=False)


@click.group()
def snapshot() -> None:
    """Snapshots in directories: create, list, verify."""


@snapshot.command("create")
@click.argument("target", type=_DIRECTORY)
@home_option
@output_option
def create_(target: Path, home: Path) -> None:
    """Write a snapshot of the running node in HOME to the new directory TARGET. Votes are not delayed."""
    config = load(home)
    if not node_runs(config):
        raise OperatorError(
            "NODE_NOT_RUNNING",
            f"no node of {home} runs",
            "a snapshot is made of a state that its newest header certifies",
            f"huzhu start --home {home}; or huzhu backup",
            exit_code=Exit.NOT_REACHABLE.value,
        )
    began = time.monotonic()
    found = asyncio.run(_create(config, target.absolute()))
    data = _data(found) | {"seconds": round(time.monotonic() - began, 1)}
    console().result(data, listing(data))


async def _create(config: Config, target: Path) -> Found:
    genesis = read_signed_genesis(config.genesis_path)
    progress = Progress(SystemClock())
    with short_path(config.data_path / SOCKET_NAME) as name:
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=name)) as session:

            async def ask(payload: bytes) -> bytes:
                try:
                    async with session.post("http://node/question", data=payload) as response:
                        raw = await response.read()
                        if response.status != 200:
                            raise RequestRefused(str((await response.json())["code"]))
                        return raw
                except aiohttp.ClientError as error:
                    raise RequestFailed(b"", str(error)) from error

            signatures = read_signatures(config.genesis_path)
            try:
                async with asyncio.TaskGroup() as tasks:
                    making = tasks.create_task(create(genesis, signatures, ask, target, progress))
                    while not making.done():
                        await asyncio.wait((making,), timeout=LINE_SECONDS)
                        shown = progress.shown
                        if not making.done():
                            console().note(f"{shown.phase}: {shown.percent:.1f} %, {shown.per_second:.0f}/s")
            except BaseExceptionGroup as group:
                raise group.exceptions[0] from group
            return making.result()


@snapshot.command("list")
@click.argument("directory", type=_DIRECTORY)
@output_option
def list_(directory: Path) -> None:
    """The snapshots in DIRECTORY, each with its height and size; their headers are checked, their rows are not."""
    places = sorted(path.parent for path in directory.glob(f"*/{OFFER_FILE}"))
    if (directory / OFFER_FILE).is_file():
        places = [directory]
    found = [_data(describe(place)) for place in places]
    names = ("path", "chain", "height", "rows", "database_bytes")
    rows = [tuple(item[name] for name in names) for item in found]
    console().result({"snapshots": found}, table(("path", "chain", "height", "rows", "bytes"), rows))


@snapshot.command("verify")
@click.argument("directory", type=_DIRECTORY)
@output_option
def verify_(directory: Path) -> None:
    """Hash every row of the snapshot in DIRECTORY up to its certified header, and that down to the genesis."""
    began = said = time.monotonic()
    total = describe(directory).rows
    done = 0

    def tell(rows: int) -> None:
        nonlocal done, said
        done += rows
        if time.monotonic() - said >= LINE_SECONDS:
            said = time.monotonic()
            console().note(f"{done} of {total} rows, {done / (said - began):.0f}/s")

    data = _data(verify(directory, tell)) | {"verified": True}
    console().result(data, listing(data))


def _data(found: Found) -> dict[str, Any]:
    data: dict[str, Any] = plain(found)
    return data | {"path": str(found.path)}
