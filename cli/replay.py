"""``huzhu replay``: execute a stopped node's chain again from its genesis and compare everything (NODE §3)."""

import tempfile
import time
from pathlib import Path
from typing import Any, Final

import click

from node.config import load
from node.replay import Difference, Progress, Replayed, replay
from node.storage import open_store

from .init import home_option
from .inspect import readable
from .output import Exit, console, listing, output_option
from .stopped import stopped_database

LINE_SECONDS: Final = 5.0


@click.command("replay")
@home_option
@click.option(
    "--to", type=click.IntRange(min=1), default=None, help="The last block to execute.  [default: the newest]"
)
@click.option(
    "--work",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=None,
    help="Where the fresh database is made, and removed afterwards.  [default: the home]",
)
@output_option
def replay_(home: Path, to: int | None, work: Path | None) -> int:
    """Execute all blocks of the stopped node in HOME in a fresh database; exit code 6 at the first difference."""
    config = load(home)
    with (
        stopped_database(config) as (source, genesis),
        tempfile.TemporaryDirectory(prefix=".replay-", dir=work or config.home) as place,
    ):
        fresh = open_store(Path(place) / "ledger", create=True, chain_id=genesis.chain_id)
        try:
            found = replay(source, genesis, fresh, to=to, progress=_lines())
        finally:
            fresh.close()
    console().result(_data(found), _text(found))
    return Exit.OK.value if found.difference is None else Exit.INTEGRITY.value


def _lines() -> Progress:
    """A line with rate and remaining time every few seconds, on stderr."""
    begun = said = time.monotonic()

    def tell(height: int, last: int) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= LINE_SECONDS:
            said = now
            rate = height / (now - begun)
            console().note(f"block {height:,} of {last:,}, {rate:,.0f} blocks/s, {(last - height) / rate:,.0f} s left")

    return tell


def _data(found: Replayed) -> dict[str, Any]:
    data: dict[str, Any] = {
        "same": found.difference is None,
        "height": found.height,
        "transactions": found.transactions,
        "seconds": round(found.seconds, 3),
        "state_root": found.state_root.hex(),
        "difference": None,
    }
    if found.difference is not None:
        data["difference"] = _difference(found.difference)
    return data


def _difference(found: Difference) -> dict[str, Any]:
    row = None
    if found.row is not None:
        row = {
            "table": found.row.table.name.lower(),
            "id": found.row.row_id,
            "stored": None if found.row.stored is None else readable(found.row.stored),
            "computed": None if found.row.computed is None else readable(found.row.computed),
        }
    return {
        "height": found.height,
        "what": found.what,
        "stored": found.stored,
        "computed": found.computed,
        "row": row,
    }


def _text(found: Replayed) -> str:
    lines: dict[str, object] = {
        "executed": f"{found.height:,} blocks with {found.transactions:,} transactions in {found.seconds:.1f} s",
        "state root": found.state_root.hex(),
    }
    if found.difference is None:
        return listing(lines | {"result": "every root, receipt and row is the same"})
    data = _difference(found.difference)
    lines |= {
        "result": f"block {data['height']} differs: {data['what']}",
        "stored": data["stored"],
        "computed": data["computed"],
    }
    row = data["row"]
    if row is not None:
        lines |= {
            "first row": f"{row['table']} {row['id']}",
            "row stored": row["stored"],
            "row computed": row["computed"],
        }
    return listing(lines)
