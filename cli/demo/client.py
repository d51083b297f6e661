"""The demo's port over HTTP: every organisation speaks to its own node, with its own key.

When a node does not answer, the same bytes go to the next one: a transaction is executed at most once, so sending it
again is harmless, and whatever a killed node had not passed on is not lost.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from ledger.errors import OK, OperatorError
from node.keys import KeyPair

from ..client import NodeClient
from ..output import Exit
from ..sender import sign, submit
from .ledger import ASSESSORS, BANK, CLOCK, HOSPITAL, PLAN, PLATFORM, DemoError, Settled
from .report import Agreement

PATIENCE_SECONDS: Final = 90.0
"""A list that is not committed after so long fails the run: round changes of a killed proposer take far less."""
LOOK_SECONDS: Final = 0.02
"""Between two looks at something that the next block brings."""
PAGE: Final = 1_000
VIA: Final = {HOSPITAL: ASSESSORS[0], CLOCK: PLATFORM}
"""Whose node those use who have none."""
AWAY: Final = frozenset({"NOT_REACHABLE", "NOT_READY", "PENDING", "MEMPOOL_FULL", "TOO_MANY_WAITERS", "QUOTA_EXCEEDED"})
"""Answers after which the same bytes are sent again."""


class HttpLedger:
    """The network's clients. Use as an async context manager. ``nodes``: node name -> its URL."""

    def __init__(self, nodes: Mapping[str, str], keys: Mapping[str, KeyPair], chain_id: bytes) -> None:
        self._clients = {name: NodeClient(url) for name, url in nodes.items()}
        self._keys = keys
        self._chain_id = chain_id
        self._stack = AsyncExitStack()
        self.down: set[str] = set()
        """Nodes that do not run or are still catching up; nobody asks them, for they would tell old news."""

    async def __aenter__(self) -> Self:
        for client in self._clients.values():
            await self._stack.enter_async_context(client)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    # ---- sending ---------------------------------------------------------------------------------------------------

    async def send(self, sender: str, bodies: Sequence[Any]) -> list[tuple[int, ...]]:
        raws = [sign(body, self._keys[sender], self._chain_id) for body in bodies]
        details: dict[int, tuple[int, ...]] = {}
        deadline = time.monotonic() + PATIENCE_SECONDS
        attempt = 0
        why = ""
        while len(details) < len(raws):
            if time.monotonic() > deadline:
                raise DemoError(f"{sender}: {len(raws) - len(details)} of {len(raws)} transactions wait: {why}")
            open_places = [place for place in range(len(raws)) if place not in details]
            order = self._order(sender)
            name = order[attempt % len(order)]
            attempt += 1
            try:
                answers = await submit(self._clients[name], [raws[place] for place in open_places])
            except OperatorError as error:
                if error.code not in AWAY:
                    raise
                why = f"{name}: {error}"
                await asyncio.sleep(LOOK_SECONDS)
                continue
            for place, answer in zip(open_places, answers, strict=True):
                code = str(answer.get("code", "PENDING"))
                if answer["status"] == "committed" and code == OK:
                    details[place] = tuple(answer["detail"])
                elif answer["status"] != "pending" and code not in AWAY:
                    raise DemoError(f"{sender}: {bodies[place]!r:.300} was refused: {code} {answer.get('message')}")
                else:
                    why = f"{name}: {code}"
        return [details[place] for place in range(len(raws))]

    def _order(self, sender: str) -> list[str]:
        """The sender's own node first, then the others that run."""
        home = VIA.get(sender, sender)
        running = [name for name in self._clients if name not in self.down]
        return sorted(running, key=lambda name: name != home)

    # ---- reading ---------------------------------------------------------------------------------------------------

    async def _get(self, reader: str, path: str, **query: str | int) -> Any:
        """From the reader's own node, so that he sees what he has sent; from another when it is away."""
        failure: OperatorError | None = None
        for name in self._order(reader):
            try:
                return await self._clients[name].get(path, **query)
            except OperatorError as error:
                if error.code not in AWAY:
                    raise
                failure = error
        raise failure if failure is not None else DemoError("no node runs")

    async def time_ms(self) -> int:
        return int((await self._get(PLATFORM, "/v1/status"))["ledger_time_ms"])

    async def settled(self, period: int) -> Settled:
        row = await self._settlement(period, {"SETTLED", "CLOSED"})
        shares = row["would_be"] if row["sponsored"] else row["shares"]
        plan = await self._get(PLATFORM, f"/v1/plans/{PLAN}")
        return Settled(
            period=period,
            members=sum(count for _, count in row["counts"]),
            claims=row["claims"],
            aid_fen=row["aid_fen"],
            fee_fen=row["fee_fen"],
            goal_fen=row["goal_fen"],
            share_fen=shares[0][1] if shares else 0,
            sponsored=row["sponsored"],
            carry_fen=plan["account"]["carry"],
        )

    async def closed(self, period: int) -> None:
        await self._settlement(period, {"CLOSED"})

    async def _settlement(self, period: int, stages: set[str]) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                row: dict[str, Any] = await self._get(PLATFORM, f"/v1/settlements/{PLAN}/{period}")
            except OperatorError as error:
                if error.code != "NOT_FOUND":
                    raise
            else:
                if row["stage"] in stages:
                    return row
            await asyncio.sleep(LOOK_SECONDS)
        raise DemoError(f"period {period} did not become {' or '.join(sorted(stages))}")

    async def investigators(self, claims: Sequence[int]) -> list[str]:
        names = await self._organisations()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            # What was due in one block shares one draw, so one claim tells when to ask for all of them.
            newest = await self._get(PLATFORM, f"/v1/claims/{max(claims)}")
            if newest["investigator"] >= 0:
                drawn = await self._drawn(claims)
                if all(firm >= 0 for firm in drawn):
                    return [names[firm] for firm in drawn]
            await asyncio.sleep(LOOK_SECONDS)
        raise DemoError(f"no investigators were drawn for {len(claims)} claims")

    async def _drawn(self, claims: Sequence[int]) -> list[int]:
        """The investigator of each claim, -1 while there is none. Claims are filed together, so their ids are near."""
        found: dict[int, int] = {}
        after, last = min(claims) - 1, max(claims)
        while after < last:
            query = {"after": after} if after >= 0 else {}
            page = await self._get(PLATFORM, "/v1/claims", limit=min(PAGE, last - after), **query)
            found |= {row["id"]: row["investigator"] for row in page["claims"]}
            after = last if page["next"] is None else page["next"]
        return [found[claim] for claim in claims]

    async def _organisations(self) -> dict[int, str]:
        page = await self._get(PLATFORM, "/v1/organisations", limit=PAGE)
        return {row["id"]: row["name"] for row in page["organisations"]}

    async def accounts(self) -> dict[str, int]:
        account: dict[str, int] = (await self._get(BANK, f"/v1/plans/{PLAN}"))["account"]
        return account

    # ---- the end ---------------------------------------------------------------------------------------------------

    async def is_ready(self, name: str) -> bool:
        """Whether one node has caught up."""
        try:
            await self._clients[name].get("/readyz")
        except OperatorError as error:
            if error.exit_code in (Exit.NOT_READY.value, Exit.NOT_REACHABLE.value):
                return False
            raise
        return True

    async def until_ready(self, name: str) -> None:
        """Return when one node has caught up."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not await self.is_ready(name):
            if time.monotonic() > deadline:
                raise DemoError(f"{name} has not caught up within {PATIENCE_SECONDS:.0f} s")
            await asyncio.sleep(LOOK_SECONDS)

    async def status(self, name: str) -> dict[str, Any]:
        """What one node says of itself."""
        answer: dict[str, Any] = await self._clients[name].get("/v1/status")
        return answer

    async def latest(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The newest header, and the rows of all seats."""
        block = await self._get(PLATFORM, "/v1/blocks/latest")
        seats = await self._get(PLATFORM, "/v1/validators")
        return block["header"], seats["seats"]

    async def agreement(self) -> list[Agreement]:
        """Where every node stands, as soon as all stand at one height, or after ``PATIENCE_SECONDS``."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            found = await asyncio.gather(*(self._stand(name) for name in self._clients), return_exceptions=True)
            stands = [stand for stand in found if isinstance(stand, Agreement)]
            level = len(stands) == len(self._clients) and len({stand.height for stand in stands}) == 1
            if level or time.monotonic() > deadline:
                return stands
            await asyncio.sleep(LOOK_SECONDS)

    async def _stand(self, name: str) -> Agreement:
        status = await self.status(name)
        return Agreement(name, status["height"], status["state_root"])

    async def bills(self, members: Sequence[int]) -> dict[str, list[int]]:
        """Each node's figure for each member's bill, in fen."""

        async def of(name: str) -> list[int]:
            return [(await self._clients[name].get(f"/v1/members/{member}"))["bill_fen"] for member in members]

        return dict(zip(self._clients, await asyncio.gather(*(of(name) for name in self._clients)), strict=True))

    async def export(self, name: str, path: Path) -> None:
        """One node's blocks from height 1, as a sequence of [header, body, certificate, receipts]."""
        await self._clients[name].download(path, "/v1/blocks/export", **{"from": 1})
