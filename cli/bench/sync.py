"""``huzhu bench sync``: how fast a node joins, by snapshot and by blocks, on this machine over loopback (issue 6).

Rules of this file

* Real ``huzhu start`` processes, fsync on: one serves a chain that was built beside them, one joins. Both are
  observers of a chain of one validator, whose blocks are production's (``ledger_chain``).
* ``snapshot_s`` is from the start of the process until it is at the head, on the joined database. The blocks of the
  last validity window are empty: their weight is that of the load, not of the members.
* ``sync_share`` = transactions a second while catching up by blocks / (cores / (verify + apply)), verify by a probe of
  this run, apply as CPU time of the very blocks when they were made. The clock runs from the moment the joining node
  knows that it is behind until it is at the head: nothing is fetched or verified before.
* The serving node takes its part of these cores, and so do fetching, decoding and writing. ``blocks_cpu_share`` =
  (verify + apply) / the CPU that both nodes used for a transaction: what ``sync_share`` would be, were no core ever
  idle, nor used by anybody else. On a shared machine it is the figure that can be compared.
"""

import asyncio
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from ledger import transactions as tx
from ledger.codec import digest
from ledger.errors import OperatorError
from ledger.limits import BATCH_ITEMS_MAX, VALIDITY_WINDOW_MS
from ledger.tables import Table
from node.config import CONFIG_FILE
from node.keys import create_node_keys, load_node_keys

from ..client import NodeClient
from ..home import make_home
from ..output import Exit, console, listing, output_option
from ..ports import HOST, hold_ports
from ..processes import ProcessId, end, ended, ended_by_signals, is_running, start_node
from . import probes, usage
from .ledger_chain import PLAN, PLATFORM, STEP_MS, SoloChain, failed, founding, signatures
from .prepare import AGES_MONTHS, BIRTH_MONTH

EMPTY_BLOCKS: Final = VALIDITY_WINDOW_MS // STEP_MS + 8
BLOCK_TRANSACTIONS: Final = 2_000
POLL_S: Final = 0.1
POLL_MAX_S: Final = 1.0
FIRST_POLL_S: Final = 0.02
"""Until there is something to be timed, and when it is nearly over."""
JOIN_S: Final = 3_600.0
TARGETS: Final = {"snapshot_s": ("<=", 240.0), "sync_share": (">=", 0.7)}
"""What must be reached with 5,000,000 members."""


@dataclass(frozen=True, slots=True)
class Running:
    """A node of the bench."""

    home: Path
    api: str
    process: ProcessId

    @property
    def pids(self) -> list[int]:
        return usage.tree(self.process.pid)


@click.command()
@click.option(
    "--members", type=click.IntRange(0, 100_000_000), default=200_000, show_default=True, help="0: no snapshot."
)
@click.option(
    "--transactions",
    type=click.IntRange(0, 10_000_000),
    default=200_000,
    show_default=True,
    help="Signed enrolments that are caught up with by blocks; 0: none.",
)
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Build the chains here, keep them, and take them up again.  [default: a directory that is removed]",
)
@output_option
def sync(members: int, transactions: int, directory: Path | None) -> int:
    """Join by snapshot, and catch up by blocks; the figures of both."""
    with ended_by_signals(), _place(directory) as place:
        before = probes.verify_us()
        figures: dict[str, Any] = {"cores": os.cpu_count(), "members": members, "transactions": transactions}
        if members:
            figures |= _by_snapshot(place / "snapshot", members)
        if transactions:
            figures |= _by_blocks(place / "blocks", transactions)
        after = probes.verify_us()
    figures["verify_us_range"] = [round(min(before, after), 1), round(max(before, after), 1)]
    figures["unstable"] = probes.spread([before, after]) > probes.UNSTABLE
    console().result(figures, listing(figures))
    return Exit.NOT_READY.value if figures["unstable"] else Exit.OK.value


@contextmanager
def _place(directory: Path | None) -> Iterator[Path]:
    if directory is not None:
        yield directory
        return
    made = Path(tempfile.mkdtemp(prefix="huzhu-bench-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


# ---- by snapshot -----------------------------------------------------------------------------------------------------


def _by_snapshot(place: Path, members: int) -> dict[str, Any]:
    chain = SoloChain(_data(place))
    begun_s = time.perf_counter()
    have = chain.store_tables().length(Table.MEMBERS)
    for start in range(have, members, BATCH_ITEMS_MAX):
        numbers = range(start, min(start + BATCH_ITEMS_MAX, members))
        people = tuple((digest(b"sync-%d" % n), BIRTH_MONTH - n % AGES_MONTHS) for n in numbers)
        chain.decide((PLATFORM, tx.EnrolBatch(PLAN, people)))
    if have < members:
        for _ in range(EMPTY_BLOCKS):
            chain.decide()
    built_s, height = time.perf_counter() - begun_s, chain.view.height
    rows = sum(chain.store_tables().length(table) for table in Table)
    chain.store.compact()
    chain.close()
    with _nodes(place, "snapshot") as (server, joiner, begun):
        served_s = usage.cpu_s(server.pids)
        progress, anonymous = asyncio.run(_until(joiner, height - 1))
        seconds = time.monotonic() - begun
        used_s = usage.cpu_s(joiner.pids)
        peak = usage.memory_bytes(joiner.pids[:1], "VmHWM")
        server_peak = usage.memory_bytes(server.pids[:1], "VmHWM")
        serving_s = usage.cpu_s(server.pids) - served_s
        size = sum(path.stat().st_size for path in _data(joiner.home).joinpath("ledger").iterdir())
    return {
        "rows": rows,
        "built_s": round(built_s, 1),
        "snapshot_s": round(seconds, 1),
        "snapshot_phases_s": progress,
        "snapshot_rows_per_s": round(rows / seconds),
        "joiner_cpu_s": round(used_s, 1),
        "server_cpu_s": round(serving_s, 1),
        "joiner_peak_rss_bytes": peak,
        "joiner_peak_anonymous_bytes": anonymous,
        "server_peak_rss_bytes": server_peak,
        "database_bytes": size,
    }


# ---- by blocks -------------------------------------------------------------------------------------------------------


def _by_blocks(place: Path, transactions: int) -> dict[str, Any]:
    chain = SoloChain(_data(place))
    apply_s = []
    for start in range(chain.store_tables().length(Table.MEMBERS), transactions, BLOCK_TRANSACTIONS):
        numbers = range(start, min(start + BLOCK_TRANSACTIONS, transactions))
        sent = [(PLATFORM, tx.Enrol(PLAN, digest(b"b-%d" % n), BIRTH_MONTH - n % AGES_MONTHS, b"")) for n in numbers]
        apply_s.append(chain.decide(*sent).cpu_s / len(sent))
    height = chain.view.height
    chain.close()
    if not apply_s:
        raise OperatorError(
            "BENCH_FAILED",
            f"{place} holds its blocks already",
            "their cost is measured when they are made",
            "remove it",
        )
    verify_us = [probes.verify_us()]
    with _nodes(place, "blocks") as (server, joiner, begun):
        spent = asyncio.run(_catching_up(server, joiner, height))
        seconds = time.monotonic() - begun
        peak = usage.memory_bytes(joiner.pids[:1], "VmHWM")
    verify_us.append(probes.verify_us())
    cores, verified_us, apply_us = os.cpu_count() or 1, statistics.median(verify_us), statistics.median(apply_s) * 1e6
    ceiling = cores / (verified_us + apply_us) * 1e6
    count = spent.blocks * BLOCK_TRANSACTIONS
    used_us = {name: used_s / count * 1e6 for name, used_s in spent.cpu_s.items()}
    return {
        "blocks": height,
        "blocks_s": round(seconds, 1),
        "blocks_tps": round(count / spent.seconds, 1),
        "verify_us": round(verified_us, 1),
        "own_verify_us": round(probes.own_verify_us(), 1),
        "apply_us": round(apply_us, 1),
        "blocks_ceiling_tps": round(ceiling, 1),
        "sync_share": round(count / spent.seconds / ceiling, 3),
        "blocks_cpu_us": {name: round(used, 1) for name, used in used_us.items()},
        "blocks_cpu_share": round((verified_us + apply_us) / sum(used_us.values()), 3),
        "blocks_peak_rss_bytes": peak,
    }


@dataclass(frozen=True, slots=True)
class Spent:
    """What catching up took."""

    blocks: int
    seconds: float
    cpu_s: dict[str, float]
    """Of the joining node, its verifiers, and the one that serves."""


async def _catching_up(server: Running, joiner: Running, height: int) -> Spent:
    """From the moment the joining node knows that it is behind until it is at the head."""
    begun: tuple[float, int, dict[str, float]] | None = None
    async with NodeClient(joiner.api) as client:
        while True:
            status = await _status(joiner, client)
            at = int(status.get("height", 0))
            if begun is None and (at or status.get("behind", 0)):
                begun = time.monotonic(), at, _used_s(server, joiner)
            if begun is not None and at >= height:
                since_s, first, before = begun
                used_s = _used_s(server, joiner)
                spent = {name: used_s[name] - before[name] for name in used_s}
                if at == first:
                    raise failed("it had caught up before it was seen to begin", "more --transactions are needed")
                return Spent(at - first, time.monotonic() - since_s, spent)
            if begun is None:
                await asyncio.sleep(FIRST_POLL_S)
            else:
                await asyncio.sleep(pause_s(time.monotonic() - begun[0], at - begun[1], height - at))


def pause_s(spent_s: float, done: int, left: int) -> float:
    """Until it is looked again: half of what is left at the speed so far. A look costs the joining node 2 ms."""
    if not done:
        return POLL_S
    return min(POLL_MAX_S, max(FIRST_POLL_S, spent_s / done * left / 2))


def _used_s(server: Running, joiner: Running) -> dict[str, float]:
    node, *verifiers = joiner.pids
    return {"node": usage.cpu_s([node]), "verifiers": usage.cpu_s(verifiers), "server": usage.cpu_s(server.pids)}


# ---- nodes -----------------------------------------------------------------------------------------------------------


def _data(home: Path) -> Path:
    return home / "data"


@contextmanager
def _nodes(place: Path, mode: str) -> Iterator[tuple[Running, Running, float]]:
    """One node that serves the chain in ``place``, and one that joins now; and when that one was started."""
    joining = place.with_name(f"{place.name}-joining")
    shutil.rmtree(joining, ignore_errors=True)
    with hold_ports(4) as ports:
        (ours, api), (theirs, joining_api) = _pairs([f"{HOST}:{port}" for port in ports])
    _home(place, ours, api, f"{_key(joining)}@{theirs}", mode)
    _home(joining, theirs, joining_api, f"{_key(place)}@{ours}", mode)
    with ExitStack() as stack:
        server = _start(stack, place, api)
        asyncio.run(_until(server, 1))
        begun = time.monotonic()
        yield server, _start(stack, joining, joining_api), begun


def _pairs(addresses: list[str]) -> list[tuple[str, str]]:
    return list(zip(addresses[::2], addresses[1::2], strict=True))


def _key(home: Path) -> str:
    create_node_keys(home / "keys", observer=True)
    return load_node_keys(home / "keys", observer=True).node.public.hex()


def _home(home: Path, p2p: str, api: str, peer: str, mode: str) -> None:
    (home / CONFIG_FILE).unlink(missing_ok=True)
    values = {
        "node.name": home.name,
        "p2p.listen": p2p,
        "p2p.peers": (peer,),
        "api.listen": api,
        "sync.mode": mode,
    }
    genesis = founding()
    make_home(home, genesis=genesis.raw, signatures=signatures(genesis), observer=True, values=values)


def _start(stack: ExitStack, home: Path, api: str) -> Running:
    process = start_node(home, home / "node.log", home)
    stack.callback(end, [process])
    return Running(home, f"http://{api}", process)


async def _until(node: Running, height: int) -> tuple[dict[str, float], int]:
    """Return when it is at ``height``: seconds by phase of joining, and the most anonymous memory that was seen."""
    spent: dict[str, float] = {}
    anonymous = 0
    then_s = deadline_s = time.monotonic()
    deadline_s += JOIN_S
    async with NodeClient(node.api) as client:
        while time.monotonic() < deadline_s:
            status = await _status(node, client)
            if int(status.get("height", 0)) >= height:
                return {name: round(seconds, 1) for name, seconds in spent.items()}, anonymous
            anonymous = max(anonymous, usage.memory_bytes(node.pids[:1], "RssAnon"))
            phase = str(status.get("snapshot", {}).get("phase", "starting"))
            now_s = time.monotonic()
            spent[phase] = spent.get(phase, 0.0) + now_s - then_s
            then_s = now_s
            await asyncio.sleep(POLL_S)
    raise OperatorError("BENCH_FAILED", f"{node.home} did not reach {height}", "", "read its log", exit_code=1)


async def _status(node: Running, client: NodeClient) -> dict[str, Any]:
    """``/v1/status``; empty while it does not answer. Raises ``OperatorError`` NODE_ENDED."""
    try:
        answer: dict[str, Any] = await client.get("/v1/status")
    except OperatorError:
        if not is_running(node.process):
            raise ended(node.home, node.home / "node.log") from None
        return {}
    return answer
