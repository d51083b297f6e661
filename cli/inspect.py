"""``huzhu inspect``: what is stored, read without any knowledge of types (NODE §3).

Values are taken apart by a plain MessagePack reader, not by the program's own types; so this shows what a damaged or a
future database holds as well. Byte strings are hexadecimal. The database is read while the node is stopped; single
blocks also come from a running node, as the raw bytes it serves.
"""

import asyncio
import json
from itertools import islice
from pathlib import Path
from typing import Any, Final

import click
import msgpack

from ledger.errors import OperatorError
from ledger.store import AMENDMENTS, BLOCKS, INDEXES, LENGTHS, META, NODES, ROWS, UNDO, Reader, prefix_stop
from ledger.tables import Table, TableReader
from node.api.blocks import raw_block
from node.blockstore import BlockReader
from node.config import load

from .client import DEFAULT_NODE, NodeClient
from .init import home_option
from .output import Exit, console, listing, output_option, table
from .stopped import stopped_database

SPACES: Final[dict[str, bytes]] = {
    "meta": META,
    "rows": ROWS,
    "amendments": AMENDMENTS,
    "nodes": NODES,
    "lengths": LENGTHS,
    "indexes": INDEXES,
    "undo": UNDO,
    "blocks": BLOCKS,
}
DEPTH_MAX: Final = 64
limit_option = click.option("--limit", type=click.IntRange(1, 100_000), default=20, show_default=True)


def readable(raw: bytes) -> Any:
    """A value as JSON can show it: MessagePack taken apart, anything else in hexadecimal."""
    try:
        return plain(msgpack.unpackb(raw, raw=False, strict_map_key=False))
    except (ValueError, msgpack.UnpackException, RecursionError):
        return raw.hex()


def plain(value: Any, depth: int = 0) -> Any:
    """Bytes in hexadecimal, everything else as it is."""
    if depth > DEPTH_MAX:
        raise RecursionError("nested too deeply")
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | tuple):
        return [plain(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {str(plain(key, depth + 1)): plain(item, depth + 1) for key, item in value.items()}
    return value if isinstance(value, int | float | str | bool | None) else repr(value)


@click.group()
def inspect() -> None:
    """Look into a database or a block without knowing its types."""


@inspect.command()
@home_option
@output_option
def spaces(home: Path) -> None:
    """How many entries each space of the stopped node's database has, and how large they are."""
    with stopped_database(load(home)) as (store, _):
        found = {name: _measure(store, prefix) for name, prefix in SPACES.items()}
    rows = [(name, entry["entries"], entry["bytes"]) for name, entry in found.items()]
    console().result({"spaces": found}, table(("space", "entries", "bytes"), rows))


def _measure(store: Reader, prefix: bytes) -> dict[str, int]:
    entries = size = 0
    for key, value in store.scan(prefix, prefix_stop(prefix)):
        entries += 1
        size += len(key) + len(value)
    return {"entries": entries, "bytes": size}


@inspect.command()
@home_option
@click.argument("space", type=click.Choice(list(SPACES)))
@click.option("--prefix", default="", metavar="HEX", help="Only keys that begin so, after the space's byte.")
@limit_option
@output_option
def entries(home: Path, space: str, prefix: str, limit: int) -> None:
    """Keys and values of a space of the stopped node's database, in key order."""
    try:
        start = SPACES[space] + bytes.fromhex(prefix)
    except ValueError as error:
        raise click.BadParameter(f"{prefix!r} is not hexadecimal", param_hint="--prefix") from error
    with stopped_database(load(home)) as (store, _):
        found = [
            {"key": key[1:].hex(), "bytes": len(value), "value": readable(value)}
            for key, value in islice(store.scan(start, prefix_stop(start)), limit)
        ]
    lines = [f"{item['key']}  {json.dumps(item['value'], ensure_ascii=False)}" for item in found]
    console().result({"space": space, "entries": found}, "\n".join(lines) or "nothing")


@inspect.command()
@home_option
@click.argument("name", metavar="TABLE", type=click.Choice([item.name.lower() for item in Table]))
@click.option("--from", "first", type=click.IntRange(min=0), default=0, show_default=True, help="The first row's id.")
@limit_option
@output_option
def rows(home: Path, name: str, first: int, limit: int) -> None:
    """Rows of a table of the stopped node's state, as arrays."""
    kind = Table[name.upper()]
    with stopped_database(load(home)) as (store, _):
        reader = TableReader(store)
        length = reader.length(kind)
        found = [{"id": row_id, "row": readable(raw)} for row_id, raw in reader.scan(kind, first, first + limit)]
    lines = [f"{item['id']}  {json.dumps(item['row'], ensure_ascii=False)}" for item in found]
    console().result({"table": name, "length": length, "rows": found}, "\n".join([f"{length} rows", *lines]))


@inspect.command()
@click.argument("ref", metavar="BLOCK")
@click.option("--home", type=click.Path(path_type=Path, file_okay=False), help="Read a stopped node's database.")
@click.option("--node", envvar="HUZHU_NODE", help=f"Ask a running node.  [default: {DEFAULT_NODE}]")
@output_option
def block(ref: str, home: Path | None, node: str | None) -> None:
    """A block by height (or, of a running node, by hash or `latest`): header, body, certificate, receipts as arrays."""
    raw = asyncio.run(_ask_block(node or DEFAULT_NODE, ref)) if home is None else _stored_block(home, ref)
    header, body, certificate, receipts = msgpack.unpackb(raw, raw=False)
    data = {
        "header": readable(header),
        "body": None if body is None else readable(body),
        "certificate": readable(certificate),
        "receipts": plain(receipts),
    }
    lines = {name: json.dumps(value, ensure_ascii=False) for name, value in data.items()}
    console().result(data, listing(dict(lines)))


async def _ask_block(node: str, ref: str) -> bytes:
    async with NodeClient(node) as client:
        return await client.get_bytes(f"/v1/blocks/{ref}", raw="true")


def _stored_block(home: Path, ref: str) -> bytes:
    if not (ref.isascii() and ref.isdigit() and len(ref) <= 18):
        raise click.BadParameter(f"{ref!r} is no height; a stopped node's blocks are named by height")
    with stopped_database(load(home)) as (store, _):
        raw = raw_block(BlockReader(store), int(ref))
    if raw is None:
        raise OperatorError("NO_SUCH_BLOCK", f"there is no block {ref} in {home}", exit_code=Exit.FAILURE.value)
    return raw
