"""Options of the commands that sign: which key, and where to send."""

from pathlib import Path
from typing import Any

import click

from node.keys import read_key

from .client import ask
from .output import console, listing
from .sender import Committed, send

key_option = click.option(
    "--key",
    "key_path",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    envvar="HUZHU_KEY",
    help="Key file of the organisation or member who signs; also HUZHU_KEY.",
)


def send_one(node: str, key_path: Path, body: Any) -> Committed:
    """Sign one body, return when it is executed. Raises ``OperatorError``."""
    key = read_key(key_path)
    return ask(node, lambda client: send(client, body, key))


def say_executed(done: Committed, **found: object) -> None:
    """The result of a command that sent one transaction."""
    data = {"transaction": done.id, "height": done.height, **found}
    console().result(data, listing({name.replace("_", " "): value for name, value in data.items()}))


def parse_hex(text: str, name: str, size: int) -> bytes:
    """``size`` bytes in hexadecimal; raises ``click.BadParameter``."""
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != size:
        raise click.BadParameter(f"{text[:80]!r} is not {2 * size} hexadecimal digits", param_hint=name)
    return raw
