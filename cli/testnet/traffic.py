"""``testnet load``: enrolments at a bounded rate for a bounded time, and the ids that a node acknowledged as committed.

A client that gets no answer sends the *same bytes* to the next node, until somebody says what became of them: so what
was executed twice could be seen. Every request in flight belongs to one task group; how many there may be is bounded.
"""

import asyncio
import secrets
import statistics
import time
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from ledger.errors import OK, OperatorError
from ledger.transactions import Enrol, transaction_id
from node.keys import KeyPair, read_key

from ..client import NodeClient
from ..network import Network
from ..output import Exit, console, listing, output_option
from ..sender import MSGPACK, ROUTE, sign
from .choosing import directory_option, finished, first_running

RATE_MAX: Final = 1_000
SECONDS_MAX: Final = 3_600
TOTAL_MAX: Final = 200_000
IN_FLIGHT_MAX: Final = 512
WAIT_SECONDS: Final = 5
SETTLE_SECONDS: Final = 30.0
"""After the last one was sent: how long those without an answer are asked for."""
PAUSE_S: Final = 0.1
"""Before the next node is asked when one did not answer."""
BIRTH_MONTH: Final = 1990 * 12
RETRYABLE: Final = frozenset({"NOT_READY", "MEMPOOL_FULL", "TOO_MANY_WAITERS", "RATE_LIMITED", "QUOTA_EXCEEDED"})


@dataclass
class Tally:
    """What became of the transactions."""

    sent: int = 0
    acknowledged: dict[str, int] = field(default_factory=dict)
    """Height by id of what a node reported as committed and executed."""
    refused: dict[str, str] = field(default_factory=dict)
    """Code by id."""
    waits_s: list[float] = field(default_factory=list)
    retries: int = 0

    @property
    def unknown(self) -> int:
        """Sent, and nobody said what became of it."""
        return self.sent - len(self.acknowledged) - len(self.refused)


@click.command()
@directory_option
@click.option("--rate", type=click.IntRange(1, RATE_MAX), default=20, show_default=True, help="Transactions a second.")
@click.option("--seconds", type=click.IntRange(1, SECONDS_MAX), default=10, show_default=True)
@click.option("--node", "names", multiple=True, metavar="NODE", help="Only to these nodes; may be given again.")
@click.option("--ids", type=click.Path(path_type=Path, dir_okay=False), help="Write `ID HEIGHT` lines to this file.")
@output_option
def load(directory: Path, rate: int, seconds: int, names: tuple[str, ...], ids: Path | None) -> int:
    """Enrol members at a bounded rate; tells which transactions were acknowledged as committed.

    Exit code 5 when nobody said of some what became of them, 1 when some were refused.
    """
    if rate * seconds > TOTAL_MAX:
        raise click.UsageError(f"at most {TOTAL_MAX:,} transactions, this would be {rate * seconds:,}")
    network = finished(directory)
    urls = [network.node(name).api for name in names] or [node.api for node in network.nodes]
    first_running(network)
    key = read_key(network.key_file("platform"))
    tally = asyncio.run(_drive(network, urls, key, rate, seconds))
    if ids is not None:
        ids.write_text("".join(f"{tx_id} {height}\n" for tx_id, height in tally.acknowledged.items()))
    console().result(_described(tally), listing(_summary(tally)))
    if tally.refused:
        return Exit.FAILURE.value
    return Exit.NOT_READY.value if tally.unknown else Exit.OK.value


def _summary(tally: Tally) -> dict[str, object]:
    waits = sorted(tally.waits_s)
    return {
        "sent": tally.sent,
        "acknowledged": len(tally.acknowledged),
        "refused": len(tally.refused),
        "unknown": tally.unknown,
        "retries": tally.retries,
        "wait_ms_p50": round(1_000 * statistics.median(waits)) if waits else None,
        "wait_ms_p99": round(1_000 * waits[int(0.99 * (len(waits) - 1))]) if waits else None,
    }


def _described(tally: Tally) -> dict[str, Any]:
    return {**_summary(tally), "ids": tally.acknowledged, "refusals": tally.refused}


async def _drive(network: Network, urls: list[str], key: KeyPair, rate: int, seconds: int) -> Tally:
    tally, room = Tally(), asyncio.Semaphore(IN_FLIGHT_MAX)
    begun = time.monotonic()
    deadline = begun + seconds + SETTLE_SECONDS
    async with asyncio.TaskGroup() as tasks:
        for at in range(rate * seconds):
            await asyncio.sleep(max(0.0, begun + at / rate - time.monotonic()))
            if time.monotonic() > begun + seconds:
                break  # the network is slower than the rate: the time is what was asked for
            await room.acquire()
            body = Enrol(0, secrets.token_bytes(32), BIRTH_MONTH, b"")
            raw = sign(body, key, network.chain_id)
            tally.sent += 1
            tasks.create_task(_one(urls[at % len(urls) :] + urls[: at % len(urls)], raw, tally, room, deadline))
    return tally


async def _one(urls: list[str], raw: bytes, tally: Tally, room: asyncio.Semaphore, deadline: float) -> None:
    """Send the same bytes to one node after the other until one says what became of them."""
    begun, tx_id = time.monotonic(), transaction_id(raw).hex()
    body = msgspec.msgpack.encode([raw])
    try:
        for url in cycle(urls):
            if time.monotonic() >= deadline:
                return
            async with NodeClient(url, timeout_seconds=WAIT_SECONDS + 2) as client:
                try:
                    answer = await client.post(ROUTE, body, MSGPACK, wait="committed", timeout=WAIT_SECONDS)
                except OperatorError:  # killed, paused, cut off: what became of it is not known
                    answer = None
            if answer is not None and _settled(answer["transactions"][0], tx_id, tally):
                tally.waits_s.append(time.monotonic() - begun)
                return
            tally.retries += 1
            await asyncio.sleep(PAUSE_S)
    finally:
        room.release()


def _settled(item: dict[str, Any], tx_id: str, tally: Tally) -> bool:
    code = str(item.get("code", ""))
    if item["status"] == "committed" and code == OK:
        tally.acknowledged[tx_id] = int(item["height"])
        return True
    if item["status"] == "pending" or code in RETRYABLE:
        return False
    tally.refused[tx_id] = code
    return True
