"""The load generator: signed transactions in lists, sent to every node in turn, each answer timed at the client.

Rules of this file

* Closed loop: so many lists are in flight at each node, a new one when one is answered. Open loop: a list leaves when
  its time has come, whatever the answers do, and its latency counts from that time, so a stall is not hidden.
* Transactions that a node refused for lack of room are offered again later; every refusal is counted by its code.
* Bounded: lists in flight have a limit; what the generator could not offer in time is counted, not queued.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

import aiohttp
import msgspec

from ledger.errors import OK

from ..sender import MSGPACK, ROUTE

WAIT_S: Final = 30
REQUEST_TIMEOUT_S: Final = 60.0
BACK_OFF_S: Final = 0.1
"""After a list of which nothing was admitted the closed loop waits so long."""
LISTS_OUT_MAX: Final = 1_024
CONNECTIONS_MAX: Final = 2_048
_AGAIN: Final = frozenset({"MEMPOOL_FULL", "QUOTA_EXCEEDED", "NOT_READY", "RATE_LIMITED", "TOO_MANY_WAITERS"})


class Supply:
    """The signed transactions; first those that came back, for a node had no room for them: they cost no signature."""

    def __init__(self, fresh: Iterable[bytes]) -> None:
        self._fresh: Iterator[bytes] = iter(fresh)
        self._again: deque[bytes] = deque()

    def take(self, count: int) -> list[bytes]:
        """Up to ``count``; none when there is nothing left."""
        taken = [self._again.popleft() for _ in range(min(count, len(self._again)))]
        taken.extend(islice(self._fresh, count - len(taken)))
        return taken

    def put_back(self, raws: Iterable[bytes]) -> None:
        """They were not admitted."""
        self._again.extend(raws)


@dataclass(slots=True)
class Tally:
    """What happened, by the generator's monotonic clock."""

    done: list[tuple[float, int, float]] = field(default_factory=list)
    """(seconds, transactions committed, latency in seconds) for each answer."""
    refused: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    """Committed with another code than OK: none of these count."""
    offered: int = 0
    accepted: int = 0
    late: int = 0
    """Transactions the open loop could not offer in time, because too many lists were out."""

    def committed(self, since_s: float, until_s: float) -> int:
        """Transactions whose answers came between two times."""
        return sum(count for at_s, count, _ in self.done if since_s <= at_s < until_s)

    def latencies_ms(self, since_s: float, until_s: float) -> list[float]:
        """Ascending, one for each transaction answered between two times."""
        found: list[float] = []
        for at_s, count, latency_s in self.done:
            if since_s <= at_s < until_s:
                found += [latency_s * 1_000] * count
        return sorted(found)


def percentiles(ordered: Sequence[float]) -> dict[str, float]:
    """p50, p90, p99 and max of ascending values; nothing of none."""
    if not ordered:
        return {}
    at = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    return {name: round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2) for name, share in at.items()}


class Generator:
    """Sends to ``urls``. Use as an async context manager."""

    def __init__(self, urls: Sequence[str], supply: Supply, tally: Tally) -> None:
        self._urls = urls
        self._supply = supply
        self._tally = tally
        self._session: aiohttp.ClientSession | None = None
        self._out = 0

    async def __aenter__(self) -> "Generator":
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S),
            connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def closed_loop(self, lists_a_node: int, list_size: int, until_s: float) -> None:
        """Keep so many lists in flight at each node until the time has come or the supply is used up."""
        async with asyncio.TaskGroup() as group:
            for url in self._urls:
                for _ in range(lists_a_node):
                    group.create_task(self._keep_sending(url, list_size, until_s))

    async def _keep_sending(self, url: str, list_size: int, until_s: float) -> None:
        while (now_s := time.monotonic()) < until_s:
            raws = self._supply.take(list_size)
            if not raws:
                return
            if not await self.send(url, raws, now_s):
                await asyncio.sleep(BACK_OFF_S)

    async def open_loop(self, rate: float, list_size: int, until_s: float, *, wait: str = "committed") -> None:
        """Send ``rate`` transactions a second, in lists, to the nodes in turn, until the time has come."""
        begun_s, number = time.monotonic(), 0
        async with asyncio.TaskGroup() as group:
            while (due_s := begun_s + number * list_size / rate) < until_s:
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                url = self._urls[number % len(self._urls)]
                number += 1
                if self._out >= LISTS_OUT_MAX:
                    self._tally.late += list_size
                    continue
                raws = self._supply.take(list_size)
                if not raws:
                    return
                group.create_task(self._counted(url, raws, due_s, wait))

    async def _counted(self, url: str, raws: list[bytes], due_s: float, wait: str) -> None:
        self._out += 1
        try:
            await self.send(url, raws, due_s, wait=wait)
        finally:
            self._out -= 1

    async def send(self, url: str, raws: list[bytes], due_s: float, *, wait: str = "committed") -> int:
        """Send one list; how many of it were committed (or admitted, when that is what is waited for)."""
        if self._session is None:
            raise RuntimeError("use the generator as an async context manager")
        tally = self._tally
        tally.offered += len(raws)
        query = {"wait": wait, "timeout": str(WAIT_S)}
        headers = {"Content-Type": MSGPACK}
        try:
            body = msgspec.msgpack.encode(raws)
            async with self._session.post(url + ROUTE, params=query, data=body, headers=headers) as response:
                answer = msgspec.json.decode(await response.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            tally.refused[type(error).__name__] += len(raws)
            self._supply.put_back(raws)
            return 0
        return self._count(raws, answer, due_s)

    def _count(self, raws: list[bytes], answer: dict[str, Any], due_s: float) -> int:
        tally, now_s = self._tally, time.monotonic()
        items = answer.get("transactions")
        if items is None:  # the whole request was refused
            tally.refused[str(answer.get("code"))] += len(raws)
            self._supply.put_back(raws)
            return 0
        committed = admitted = 0
        for raw, item in zip(raws, items, strict=True):
            status, code = item["status"], item.get("code", "PENDING")
            if status == "committed":
                committed += code == OK
                if code != OK:
                    tally.failed[code] += 1
            elif status == "pending":
                admitted += 1
            else:
                tally.refused[code] += 1
                if code in _AGAIN:
                    self._supply.put_back([raw])
        if committed:
            tally.done.append((now_s, committed, now_s - due_s))
        tally.accepted += committed + admitted
        return committed + admitted
