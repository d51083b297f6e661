"""What happens to the demo's machines: a proposer is killed and comes back, the regulator's observer joins late."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from ledger import proposers
from ledger.errors import OperatorError
from ledger.votes import ValidatorEntry

from .. import network as nets
from ..network import Network
from ..processes import kill
from .client import HttpLedger
from .ledger import REGULATOR, DemoError
from .script import Step

KILL_DATE: Final = "2019-11-14"
AWAY_PERIODS: Final = 4
OBSERVER_DATE: Final = "2020-07-14"


@dataclass(frozen=True, slots=True)
class Timetable:
    """Before which of the demo's steps something happens; ``None``: only after the last."""

    kill: int | None
    restart: int | None
    observer: int | None


def timetable(steps: Sequence[Step]) -> Timetable:
    """As the table's dates say. A short demo, which ends before them, kills half way and restarts at its end."""
    dates = {step.settle_date: at for at, step in enumerate(steps)}
    killed = dates.get(KILL_DATE, len(steps) // 2 if len(steps) > 1 else None)
    restarted = None if killed is None or killed + AWAY_PERIODS >= len(steps) else killed + AWAY_PERIODS
    return Timetable(killed, restarted, dates.get(OBSERVER_DATE))


@dataclass(slots=True)
class Operations:
    """The machines of one run; ``network`` is the owner's view of them."""

    network: Network
    ledger: HttpLedger
    steps: Sequence[Step]
    note: Callable[[str], None]
    restarts: int = 0
    killed: str | None = None
    coming: set[str] = field(default_factory=set)
    """Started and still catching up."""
    _times: Timetable = field(init=False)
    _at: int = 0

    def __post_init__(self) -> None:
        self._times = timetable(self.steps)
        self.ledger.down.add(REGULATOR)

    async def before(self, step: Step) -> None:
        """What is due before this half-month's notice."""
        for name in sorted(self.coming):
            if await self.ledger.is_ready(name):
                self._welcome(name)
        if not step.settle_date:
            return
        if self._at == self._times.kill:
            await self._kill_proposer(step.settle_date)
        if self._at == self._times.restart:
            await self._restart(step.settle_date)
        if self._at == self._times.observer:
            await self._observe(step.settle_date)
        self._at += 1

    async def finish(self) -> None:
        """Whoever is away comes back and catches up."""
        if self.killed is not None:
            await self._restart("at the end")
        if self.network.node(REGULATOR).process is None:
            await self._observe("at the end")
        for name in sorted(self.coming):
            await self.ledger.until_ready(name)
            self._welcome(name)

    async def _kill_proposer(self, when: str) -> None:
        name = await self._proposer()
        process = self.network.node(name).process
        if process is None:
            raise DemoError(f"{name} does not run")
        await asyncio.to_thread(kill, process)
        self.ledger.down.add(name)
        self.killed = name
        self.note(f"{when}: {name}, the next proposer, is killed (SIGKILL)")

    async def _proposer(self) -> str:
        """The proposer of the next height in round 0, recomputed from the newest header and the validators' rows."""
        header, seats = await self.ledger.latest()
        height = header["height"] + 1
        entries = tuple(
            ValidatorEntry(row["seat"], row["organisation"], b"", bytes.fromhex(row["validator_key"]), b"")
            for row in seats
            if row["active"]
        )
        skipped = {row["seat"]: row["skipped_until"] for row in seats}
        able = proposers.eligible(entries, skipped, height)
        first = proposers.order(bytes.fromhex(header["beacon"]), height, able)[0]
        names: dict[int, str] = {row["seat"]: row["name"] for row in seats}
        return names[first.seat]

    async def _restart(self, when: str) -> None:
        if self.killed is None:
            raise DemoError("nobody was killed")
        name, self.killed = self.killed, None
        await self._start(name)
        self.restarts += 1
        self.note(f"{when}: {name} is back and catches up")

    async def _observe(self, when: str) -> None:
        await self._start(REGULATOR)
        self.note(f"{when}: the regulator's observer joins and reads every block from the first")

    async def _start(self, name: str) -> None:
        self.network = await asyncio.to_thread(nets.start, self.network, [name])
        self.coming.add(name)

    def _welcome(self, name: str) -> None:
        self.coming.discard(name)
        self.ledger.down.discard(name)

    def check_running(self) -> None:
        """Raise ``OperatorError`` for a node that has ended although nobody killed it."""
        for node in self.network.nodes:
            if node.process is not None and node.name != self.killed and not node.running:
                raise OperatorError("NODE_ENDED", f"{node.name} has ended", f"read {node.log}", "", exit_code=1)
