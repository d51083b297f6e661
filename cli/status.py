"""``huzhu status``: where a node and its chain stand."""

import asyncio
from typing import Any, Final

import click

from .client import NodeClient, ask, node_option
from .output import Exit, console, listing, output_option

WATCH_SECONDS: Final = 2.0


@click.command()
@node_option
@click.option("--watch", is_flag=True, help="Say it again every two seconds, until Ctrl-C.")
@output_option
def status(node: str, watch: bool) -> int:
    """Where the node and its chain stand; exit code 5 while it is not ready."""
    code: int = ask(node, lambda client: _status(client, watch))
    return code


async def _status(client: NodeClient, watch: bool) -> int:
    while True:
        answer: dict[str, Any] = await client.get("/v1/status")
        console().result(answer, listing(flat(answer)))
        if not watch:
            return Exit.NOT_READY.value if answer.get("syncing") else Exit.OK.value
        click.echo()
        await asyncio.sleep(WATCH_SECONDS)


def flat(value: dict[str, Any], prefix: str = "") -> dict[str, object]:
    """Nested objects as ``outer inner`` names; lists as they are."""
    found: dict[str, object] = {}
    for name, item in value.items():
        full = f"{prefix}{name.replace('_', ' ')}"
        if isinstance(item, dict):
            found |= flat(item, f"{full} ")
        else:
            found[full] = "-" if item is None else item
    return found
