"""One run of catching up: ranges of blocks from several peers, verified ahead, committed in order (NODE §1, issue 6).

Rules of this file

* Three things go on at once: ranges are fetched (``RANGES_AHEAD`` answers), blocks are decoded and proven in the order
  of their heights, and the lowest one is executed as soon as it is proven. Execution waits for nothing else, and the
  verifier's processes find work as long as there is any; where execution waits for them, the loop does a part of it.
* What is ahead is bounded: by ``RANGES_AHEAD`` answers, and by ``AHEAD_BYTES`` and ``AHEAD_BLOCKS`` of decoded blocks.
* A block keeps the name of the peer that sent it: whose block does not hold is blamed, nobody else, and nobody for one
  of another epoch. Then everything ahead is dropped, and whoever runs this begins anew above the head.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from ledger.errors import OtherEpoch, PeerError
from p2p.requests import RequestFailed, RequestRefused

from .ahead import AheadBlock
from .chain import Chain
from .meanwhile import Work, meanwhile, nothing
from .wire import BLOCKS_PER_ANSWER_MAX, GetBlocks, RawBlock, decode_answer, encode_wire

T = TypeVar("T")

ANSWER_TIMEOUT_S: Final = 10.0
RANGES_AHEAD: Final = 3
"""Answers under way or waiting to be decoded; each holds an answer's bytes at most."""
RANGE_BLOCKS_FIRST: Final = 16
AHEAD_BYTES: Final = 4 << 20
"""Of decoded blocks that wait to be executed; one block is always taken. A second's work of one verifier."""
AHEAD_BLOCKS: Final = 128


class Claims(Protocol):
    """Who says to have what; owned by ``node.sync``."""

    @property
    def target(self) -> int:
        """The height to fetch up to now."""

    def holder(self, height: int) -> tuple[bytes, int] | None:
        """A peer that claims ``height``, another one each time, and the height that it claims."""

    def give_up(self, peer: bytes) -> None:
        """It did not deliver what it claimed."""

    def pruned(self, peer: bytes, height: int) -> None:
        """It has said that it gave up the content of ``height``, and so of all below it."""

    def parted(self, peer: bytes, epoch: int) -> None:
        """Its block above our head is of ``epoch``, which is not ours and does not begin there."""


class Links(Protocol):
    """What fetching needs of the network."""

    async def request(self, peer: bytes, payload: bytes, *, timeout_s: float) -> bytes: ...

    def penalize(self, peer: bytes, error: PeerError) -> None: ...


@dataclass(frozen=True, slots=True)
class _Answer:
    peer: bytes
    blocks: tuple[RawBlock, ...]


@dataclass(frozen=True, slots=True)
class _Range:
    """Blocks that are being fetched; the answer may hold only the first of them."""

    first: int
    last: int
    task: asyncio.Task[_Answer | None]


@dataclass(frozen=True, slots=True)
class _Proving:
    """A block whose turn will come."""

    peer: bytes
    size: int
    task: asyncio.Task[AheadBlock]


@dataclass(frozen=True, slots=True)
class _End:
    """No more blocks come: nobody delivers, or what this peer delivered is no block."""

    peer: bytes | None = None
    error: PeerError | None = None


class _Waiting:
    """The decoded blocks between the task that decodes and the one that executes, bounded."""

    def __init__(self) -> None:
        self._blocks: deque[_Proving] = deque()
        self._bytes = 0
        self._end: _End | None = None
        self._changed = asyncio.Condition()

    async def room(self, size: int) -> None:
        """Wait until a block of so many bytes may be put in."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._blocks or self._has_room(size))

    def _has_room(self, size: int) -> bool:
        return self._bytes + size <= AHEAD_BYTES and len(self._blocks) < AHEAD_BLOCKS

    async def put(self, block: _Proving | _End) -> None:
        """One more block; or there comes none after those that wait."""
        async with self._changed:
            if isinstance(block, _End):
                self._end = block
            else:
                self._blocks.append(block)
                self._bytes += block.size
            self._changed.notify_all()

    async def get(self) -> _Proving | _End:
        """The next one, once there is one."""
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self._blocks) or self._end is not None)
            if not self._blocks:
                return self._end or _End()
            block = self._blocks.popleft()
            self._bytes -= block.size
            self._changed.notify_all()
            return block


class _Owned:
    """The tasks of one run; cancelled together when it ends, whatever its end."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def cancel(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()


class CatchUp:
    """See the head of this file. ``run`` it whenever there is something to fetch."""

    def __init__(self, *, chain: Chain, links: Links, claims: Claims, work: Work = nothing) -> None:
        """``work``: done while the next block is not proven yet."""
        self._chain = chain
        self._links = links
        self._claims = claims
        self._work = work
        self._range_blocks = RANGE_BLOCKS_FIRST

    async def run(self) -> None:
        """Fetch and commit until the target is reached, nobody delivers the next block, or one does not hold."""
        waiting = _Waiting()
        async with asyncio.TaskGroup() as group:
            tasks = _Owned(group)
            try:
                tasks.spawn(self._prepare(tasks, waiting))
                while isinstance(found := await waiting.get(), _Proving):
                    if not await self._commit(found):
                        return
                if found.peer is not None and found.error is not None:
                    self._blame(found.peer, found.error)
            finally:
                tasks.cancel()

    async def _commit(self, block: _Proving) -> bool:
        try:
            proven = await meanwhile(block.task, self._work)
            await self._chain.import_block(proven)
        except PeerError as error:
            self._blame(block.peer, error)
            return False
        return True

    def _blame(self, peer: bytes, error: PeerError) -> None:
        self._claims.give_up(peer)
        if isinstance(error, OtherEpoch):
            self._claims.parted(peer, error.epoch)
        else:
            self._links.penalize(peer, error)

    # ---- ahead of execution ----

    async def _prepare(self, tasks: _Owned, waiting: _Waiting) -> None:
        """Decode what is fetched, block by block, and let it be proven, as far ahead as there is room."""
        ranges: deque[_Range] = deque()
        reached = self._chain.height
        while self._plan(tasks, ranges, reached):
            wanted = ranges.popleft()
            answer = await wanted.task
            if answer is None:
                break
            reached = wanted.first + len(answer.blocks) - 1
            self._learn(reached == wanted.last, len(answer.blocks))
            if reached < wanted.last:
                ranges.appendleft(self._range(tasks, reached + 1, wanted.last))
            self._plan(tasks, ranges, reached)
            await asyncio.sleep(0)  # the questions leave before we are busy
            for height, raw in enumerate(answer.blocks, start=wanted.first):
                try:
                    block = await self._chain.prepare(raw)
                    if block.header.height != height:
                        raise PeerError("WRONG_BLOCK", f"height {block.header.height} instead of {height}")
                except PeerError as error:
                    await waiting.put(_End(answer.peer, error))
                    return
                await waiting.room(raw.size)
                await waiting.put(_Proving(answer.peer, raw.size, tasks.spawn(self._chain.prove(block))))
        await waiting.put(_End())

    def _plan(self, tasks: _Owned, ranges: deque[_Range], reached: int) -> bool:
        """Ask for what follows the ranges that are under way, or ``reached``; whether any is under way."""
        first = (ranges[-1].last if ranges else reached) + 1
        target = self._claims.target
        while first <= target and len(ranges) < RANGES_AHEAD:
            ranges.append(self._range(tasks, first, min(first + self._range_blocks - 1, target)))
            first = ranges[-1].last + 1
        return bool(ranges)

    def _range(self, tasks: _Owned, first: int, last: int) -> _Range:
        return _Range(first, last, tasks.spawn(self._fetch(first, last)))

    def _learn(self, whole: bool, blocks: int) -> None:
        """Ranges become as long as an answer holds."""
        self._range_blocks = min(2 * self._range_blocks, BLOCKS_PER_ANSWER_MAX) if whole else max(1, blocks)

    async def _fetch(self, first: int, last: int) -> _Answer | None:
        """Blocks from ``first`` on; None when no peer that claims them delivers."""
        while (holder := self._claims.holder(first)) is not None:
            peer, claimed = holder
            question = GetBlocks(first, max(first, min(last, claimed)))
            try:
                raw = await self._links.request(peer, encode_wire(question), timeout_s=ANSWER_TIMEOUT_S)
                return _Answer(peer, decode_answer(raw, question))
            except RequestRefused as refusal:
                self._claims.give_up(peer)
                if refusal.code == "PRUNED":
                    self._claims.pruned(peer, first)
                if refusal.code == "NOT_FOUND":
                    self._links.penalize(peer, PeerError("EMPTY_HEAD", f"claimed block {first}, does not have it"))
            except RequestFailed:
                self._claims.give_up(peer)
            except PeerError as error:
                self._blame(peer, error)
        return None
