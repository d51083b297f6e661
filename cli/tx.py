"""``huzhu tx``: send, look up and await transactions."""

import json
from pathlib import Path
from typing import Any

import click
import msgspec

from ledger.errors import OperatorError
from ledger.transactions import TransactionBody

from .client import NodeClient, ask, node_option
from .output import Exit, console, listing, output_option
from .sender import ROUTE, WAIT_SECONDS, executed
from .signing import key_option, say_executed, send_one
from .status import flat


@click.group()
def tx() -> None:
    """Send, look up and await transactions."""


@tx.command("send")
@click.argument("body")
@key_option
@node_option
@output_option
def send_(body: str, key_path: Path, node: str) -> None:
    """Sign BODY and return when it is executed.

    BODY is the JSON array of its name and fields, byte strings as "0x...": '["exit", 7]'.
    """
    done = send_one(node, key_path, parse_body(body))
    say_executed(done, detail=list(done.detail))


def parse_body(text: str) -> Any:
    """The transaction body of a JSON array. Raises ``click.BadParameter``."""
    return parse_json(text, TransactionBody, "BODY")


def parse_json(text: str, kind: Any, name: str) -> Any:
    """A tagged value of ``kind`` from the JSON array of its name and fields. Raises ``click.BadParameter``."""
    try:
        return msgspec.convert(_bytes(json.loads(text)), type=kind, builtin_types=(bytes,))
    except (ValueError, RecursionError) as error:
        what = "transaction body" if name == "BODY" else name.lower()
        raise click.BadParameter(f"{text[:80]!r} is no {what}: {error}", param_hint=name) from error


def _bytes(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("0x"):
        return bytes.fromhex(value[2:])
    return [_bytes(item) for item in value] if isinstance(value, list) else value


@tx.command()
@click.argument("transaction_id")
@node_option
@output_option
def show(transaction_id: str, node: str) -> None:
    """Whether the transaction is committed, pending or expired; its receipt and its body."""
    answer = ask(node, lambda client: client.get(f"{ROUTE}/{transaction_id}"))
    console().result(answer, listing(flat(answer)))


@tx.command()
@click.argument("transaction_id")
@node_option
@output_option
def wait(transaction_id: str, node: str) -> None:
    """Return when the transaction is executed; fails when it was refused or has expired."""

    async def answer(client: NodeClient) -> dict[str, Any]:
        raw = await client.get_bytes(f"{ROUTE}/{transaction_id}", raw="true")
        body = msgspec.msgpack.encode([raw])
        found = await client.post(ROUTE, body, "application/msgpack", wait="committed", timeout=WAIT_SECONDS)
        first: dict[str, Any] = found["transactions"][0]
        return first

    try:
        done = executed(ask(node, answer))
    except OperatorError as error:
        if error.code == "NOT_FOUND":
            error.exit_code = Exit.NOT_READY.value
        raise
    say_executed(done, detail=list(done.detail))
