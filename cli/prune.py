"""``huzhu prune``: give up bodies and receipts of old blocks, while the node runs or stopped (NODE §2)."""

import asyncio
from pathlib import Path

import click

from ledger.store import Batch
from node.api.answers import plain
from node.config import load
from node.pruning import KEEP_BLOCKS_MIN
from node.pruning import prune as give_up
from node.storage import LevelStore

from .admin import ask_node, node_runs
from .init import home_option
from .output import console, listing, output_option
from .stopped import stopped_database


@click.command()
@home_option
@click.option(
    "--keep-blocks",
    type=click.IntRange(min=KEEP_BLOCKS_MIN),
    required=True,
    help="How many of the newest blocks stay in full; those of the last validity window always do.",
)
@output_option
def prune(home: Path, keep_blocks: int) -> None:
    """Give up the content of old blocks and say what it freed. Headers, certificates and the state stay.

    A pruned node cannot serve old blocks to nodes that join, and `huzhu replay` from the genesis is not possible any
    more: at least one member of the consortium should keep everything.
    """
    config = load(home)
    if node_runs(config):
        done = ask_node(config, "POST", "/prune", {"keep_blocks": keep_blocks})
    else:
        with stopped_database(config) as (source, _):
            done = plain(asyncio.run(_stopped(source, keep_blocks)))
    console().result(done, listing({name.replace("_", " "): value for name, value in done.items()}))


async def _stopped(store: LevelStore, keep_blocks: int) -> object:
    async def write(batch: Batch) -> None:
        store.write(batch)

    async def compact(start: bytes, stop: bytes) -> None:
        store.compact(start, stop)

    with store.snapshot() as snapshot:
        return await give_up(snapshot, keep_blocks, write=write, compact=compact, size=store.approximate_size)
