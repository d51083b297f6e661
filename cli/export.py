"""``huzhu export``: blocks of a running node as JSON Lines, one block a line, for other programs (NODE §3)."""

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import click
import msgpack

from ledger.blocks import Header, decode_body
from ledger.codec import decode_own, digest
from ledger.errors import OperatorError
from ledger.transactions import decode_transaction, transaction_id
from ledger.votes import Certificate
from node.api.answers import plain
from node.api.withheld import shown_body

from .client import NodeClient, node_option
from .output import console, output_option

ROUTE: Final = "/v1/blocks/export"
BLOCK_BYTES_MAX: Final = 1 << 28


@click.command()
@node_option
@click.option("--from", "first", type=click.IntRange(min=0), default=0, show_default=True, help="The first height.")
@click.option("--to", "last", type=click.IntRange(min=0), default=None, help="The last height.  [default: the newest]")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    required=True,
    help="The file to write; - writes the lines to stdout and nothing else.",
)
@output_option
def export(node: str, first: int, last: int | None, out: Path) -> None:
    """Write blocks as JSON Lines: header, certificate, transactions with their receipts, deadlines.

    Salts and event fingerprints of claims are left out; /v1/blocks/export has the exact bytes.
    """
    count = asyncio.run(_export(node, first, last, out))
    if str(out) != "-":
        console().result({"blocks": count, "file": str(out)}, f"{count:,} blocks written to {out}")


async def _export(node: str, first: int, last: int | None, out: Path) -> int:
    query = {"from": first} if last is None else {"from": first, "to": last}
    unpacker = msgpack.Unpacker(max_buffer_size=BLOCK_BYTES_MAX)
    count = 0
    with _target(out) as file:
        async with NodeClient(node) as client:
            async for chunk in client.stream(ROUTE, **query):
                unpacker.feed(chunk)
                for raw in unpacker:
                    file.write(json.dumps(line(raw), ensure_ascii=False) + "\n")
                    count += 1
    if last is not None and count != last - first + 1:
        what = f"{node} sent {count} blocks, {last - first + 1} were asked for"
        raise OperatorError("INCOMPLETE", what, "", "ask again, or another node", exit_code=1)
    return count


@contextmanager
def _target(out: Path) -> Iterator[IO[str]]:
    """The file, which appears under its name only when it is whole; or stdout."""
    if str(out) == "-":
        yield sys.stdout
        return
    beside = out.with_name(f".{out.name}.new")
    try:
        with beside.open("w", encoding="utf-8") as file:
            yield file
        beside.replace(out)
    except OSError as error:
        raise OperatorError(
            "FILE_UNWRITABLE", f"{out} cannot be written", str(error), "choose another --out"
        ) from error
    finally:
        beside.unlink(missing_ok=True)


def line(raw: Any) -> dict[str, Any]:
    """One block, from [header, body, certificate, receipts] as the node exports them."""
    header_raw, body_raw, certificate_raw, receipts = raw
    header = decode_own(Header, header_raw)
    raws = () if body_raw is None else decode_body(body_raw).transactions
    deadlines = receipts[: len(receipts) - len(raws)]
    return {
        "height": header.height,
        "hash": digest(header_raw).hex(),
        "header": plain(header),
        "certificate": plain(decode_own(Certificate, certificate_raw)),
        "deadlines": [{"due": plain(due), "code": code, "detail": detail} for due, code, detail in deadlines],
        "transactions": [
            _transaction(tx, receipt) for tx, receipt in zip(raws, receipts[len(deadlines) :], strict=True)
        ],
    }


def _transaction(raw: bytes, receipt: Any) -> dict[str, Any]:
    transaction = decode_transaction(raw)
    _, code, detail = receipt
    return {
        "id": transaction_id(raw).hex(),
        "type": transaction.body.__struct_config__.tag,
        "body": shown_body(transaction.body),
        "signer": transaction.signer.hex(),
        "valid_until_ms": transaction.valid_until_ms,
        "code": code,
        "detail": detail,
    }
