"""``huzhu status``: where a node and its chain stand; with ``--watch``, the picture an operator keeps open."""

import asyncio
import sys
from typing import Any, Final

import click
from rich.console import Console as Terminal
from rich.console import Group
from rich.live import Live
from rich.table import Table

from .client import NodeClient, ask, node_option
from .output import JSON, Exit, console, listing, output_option

WATCH_SECONDS: Final = 1.0
KEY_DIGITS: Final = 12


@click.command()
@node_option
@click.option("--watch", is_flag=True, help="Say it again every second, until Ctrl-C.")
@output_option
def status(node: str, watch: bool) -> int:
    """Where the node and its chain stand; exit code 5 while it is not ready.

    With --watch: proposer and voters of this round, age of the last commit, peers with lag and clock, mempool, sync.
    """
    code: int = ask(node, _watch if watch else _once)
    return code


async def _once(client: NodeClient) -> int:
    answer: dict[str, Any] = await client.get("/v1/status")
    console().result(answer, listing(flat(answer)))
    return Exit.NOT_READY.value if answer.get("syncing") else Exit.OK.value


async def _watch(client: NodeClient) -> int:
    if console().mode == JSON or not sys.stdout.isatty():
        while True:
            answer = await client.get("/v1/status")
            peers = (await client.get("/v1/peers"))["peers"]
            console().result(answer | {"peers": peers}, "\n".join(picture_lines(answer, peers)))
            await asyncio.sleep(WATCH_SECONDS)
    with Live(console=Terminal(), auto_refresh=False, screen=False) as live:
        while True:
            answer = await client.get("/v1/status")
            peers = (await client.get("/v1/peers"))["peers"]
            live.update(Group(*picture_lines(answer, peers), _peers(peers)), refresh=True)
            await asyncio.sleep(WATCH_SECONDS)


def picture_lines(status: dict[str, Any], peers: list[dict[str, Any]]) -> list[str]:
    """The picture without the table of peers: moving? behind? who is missing? proposer? disk?"""
    height, open_ = status["height"], status.get("agreement") or {}
    age = status.get("last_commit_age_s")
    lines = [
        f"{status['name']} of {status['network']}: height {height:,}, "
        f"last commit {'not seen yet' if age is None else f'{age:,.1f} s ago'}, {status['step']}",
    ]
    if status["behind"]:
        eta = status.get("eta_seconds")
        lines.append(f"behind by {status['behind']:,} blocks" + ("" if eta is None else f", {eta:,.0f} s left"))
    if open_:
        voted, missing = ", ".join(open_["voted"]) or "nobody yet", ", ".join(open_["missing"]) or "nobody"
        proposed = "has proposed" if open_["proposed"] else "is to propose"
        lines.append(f"height {open_['height']:,} round {open_['round']}: {open_['proposer']} {proposed}")
        lines.append(f"voted: {voted}; not yet: {missing}")
    if status["role"] == "validator" and not status["signing"]:
        lines.append(f"NOT SIGNING: {status.get('not_signing_because') or 'unknown'}")
    protocol = status.get("protocol") or {}
    if status.get("reset_needed"):
        lines.append(f"RESET NEEDED: {status['reset_needed']}")
    if protocol.get("upgrade_needed"):
        lines.append(f"UPGRADE NEEDED: {protocol['upgrade_needed']}")
    elif protocol.get("upgrade") and protocol["upgrade"]["height"] > height:
        lines.append(f"protocol {protocol['upgrade']['version']} from height {protocol['upgrade']['height']:,} on")
    pool, offset = status["mempool"], status.get("clock_offset_ms")
    connected = sum(bool(peer["connected"]) for peer in peers)
    lines.append(
        f"mempool {pool['transactions']:,} ({pool['bytes']:,} bytes), {connected} of {len(peers)} peers, clock "
        f"{'unknown' if offset is None else f'{offset:+,.0f} ms'}, {status['disk_free_bytes'] / 1e9:,.1f} GB free"
    )
    return lines


def _peers(peers: list[dict[str, Any]]) -> Table:
    shown = Table("peer", "link", "round trip", "clock", "last error", box=None, pad_edge=False)
    for peer in peers:
        rtt, offset = peer.get("rtt_ms"), peer.get("clock_offset_ms")
        shown.add_row(
            peer["key"][:KEY_DIGITS],
            str(peer.get("direction") or "up") if peer["connected"] else "down",
            "-" if rtt is None else f"{rtt:,.1f} ms",
            "-" if offset is None else f"{offset:+,.0f} ms",
            str(peer.get("last_error") or ""),
        )
    return shown


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
