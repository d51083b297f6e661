"""The pool of verifier processes: signatures in, booleans out, without holding up the event loop (DESIGN §6).

Beside a busy event loop a verifying *thread* waits 5 ms for the interpreter lock after each signature; a *process* that
is fed batches of fixed-size records through a pipe runs at 0.98 of a tight loop. So: processes (``verifier_process``).

Rules of this file

* A record is 128 bytes: signature, digest, public key. At most ``TOGETHER_MAX`` go into one batch and at most
  ``BATCHES_IN_FLIGHT`` batches to one worker: enough to keep it busy, little enough to lose when it dies.
* Blocks that are caught up with come in bulk (``verify_bulk``): larger batches, for which nothing is remembered record
  by record; any other record goes first.
* Back-pressure: at most ``RECORDS_QUEUED_MAX`` records of a class wait; whoever brings more waits in turn.
* Urgent records (a proposed block's transactions) go before others; none waits for more than what is in flight.
* A record that is asked for again while it waits or is in flight is not sent again: one answer settles all.
* A worker that dies or hangs is replaced and its unanswered batches are given out again. Workers that die again and
  again without finishing a batch are an OperatorError: something is wrong with the installation.
* A handful of records on a quiet node, and all with ``workers = 0``, are verified in this process, in slices.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from ledger.errors import InvariantViolation, OperatorError

from . import verify_worker
from .verifier_process import VerifierProcess
from .verify_worker import BATCH_RECORDS_MAX, RECORD_BYTES

HERE_RECORDS_MAX: Final = 4
"""So few are verified in this process when no batch waits: two switches of processes cost more than 60 µs each."""
TOGETHER_MAX: Final = 64
"""Records a batch; what is urgent waits for no more than two batches of them, or of a bulk's."""
RECORDS_QUEUED_MAX: Final = 16_384
FAILED_STARTS_MAX: Final = 5
"""A worker that dies so often in a row without answering a batch is given up."""
ANSWER_TIMEOUT_S: Final = 30.0
"""A batch takes 4 ms; a worker that owes an answer for so long is stopped or stuck, and is replaced."""


def record(public: bytes, digest: bytes, signature: bytes) -> bytes:
    """The 128 bytes of one signature to check: signature (64), signed digest (32), public key (32)."""
    joined = signature + digest + public
    if len(public) != 32 or len(digest) != 32 or len(joined) != RECORD_BYTES:
        raise InvariantViolation("a verifier record has a key of 32, a digest of 32 and a signature of 64 bytes")
    return joined


@dataclass(slots=True)
class VerifierStats:
    """Counters since the start, read by the metrics."""

    records: int = 0
    batches: int = 0
    invalid: int = 0
    restarts: int = 0


class _Job:
    """One caller's records and what is known of them."""

    __slots__ = ("done", "open", "results")

    def __init__(self, count: int) -> None:
        self.done: asyncio.Future[list[bool]] = asyncio.get_running_loop().create_future()
        self.results = [False] * count
        self.open = count

    def settle(self, at: int, valid: bool) -> None:
        """Note one result; the last one completes the job."""
        self.results[at] = valid
        self.open -= 1
        if self.open == 0 and not self.done.done():
            self.done.set_result(self.results)


class _Asked:
    """A record that waits or is in flight, and who wants to know: a job and the record's place there, and others."""

    __slots__ = ("at", "job", "others", "record", "sent")

    def __init__(self, record: bytes, job: _Job, at: int) -> None:
        self.record = record
        self.job = job
        self.at = at
        self.others: list[tuple[_Job, int]] | None = None
        self.sent = False

    @property
    def wanted(self) -> bool:
        """Whether anybody waits still."""
        return not self.job.done.done() or any(not job.done.done() for job, _ in self.others or ())

    def settle(self, valid: bool) -> None:
        """Tell everybody."""
        self.job.settle(self.at, valid)
        if self.others is not None:
            for job, at in self.others:
                job.settle(at, valid)


@dataclass(slots=True, eq=False)
class _Bulk:
    """A batch of one caller, whole."""

    records: bytes
    done: asyncio.Future[int]
    """The bitmap."""

    def __len__(self) -> int:
        return len(self.records) // RECORD_BYTES


_Batch = list[_Asked] | _Bulk
"""Records sent together."""


class Verifier:
    """The pool. ``run()`` belongs to the node's TaskGroup; ``verify`` waits until that has begun."""

    def __init__(
        self,
        workers: int,
        *,
        on_restart: Callable[[str], None] = lambda reason: None,
        python: str = sys.executable,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
        here_max: int = 0,
    ) -> None:
        """``on_restart`` is told why a worker had to be replaced.

        Up to ``here_max`` records are verified in this process while nothing waits for the workers.
        """
        self._count = workers
        self._here_max = here_max
        self._on_restart = on_restart
        self._python = python
        self._answer_timeout_s = answer_timeout_s
        self._urgent: deque[_Asked] = deque()
        self._ordinary: deque[_Asked] = deque()
        self._bulk: deque[_Bulk] = deque()
        self._asked: dict[bytes, _Asked] = {}
        """Each record that waits or is in flight."""
        self._room: list[asyncio.Future[None]] = []
        """Callers that wait for room in a queue."""
        self._workers: dict[int, VerifierProcess[_Batch]] = {}
        self._closed = False
        self.stats = VerifierStats()

    @property
    def queued(self) -> int:
        """Records that wait to be sent to a worker, those in bulk not counted."""
        return len(self._urgent) + len(self._ordinary)

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that run now."""
        return [worker.pid for worker in self._workers.values()]

    async def verify(self, records: Sequence[bytes], *, urgent: bool = False) -> list[bool]:
        """Whether the signature of each record (128 bytes) is valid, in order. Waits while the queue is full.

        Raises ``asyncio.CancelledError`` when the pool is shut down meanwhile.
        """
        if not records:
            return []
        if set(map(len, records)) != {RECORD_BYTES}:
            raise InvariantViolation(f"a verifier record has {RECORD_BYTES} bytes")
        if self._count == 0 or (len(records) <= self._here_max and not self.queued and not self._closed):
            return await self._verify_here(records)
        job = _Job(len(records))
        queue = self._urgent if urgent else self._ordinary
        try:
            for start in range(0, len(records), TOGETHER_MAX):
                while len(queue) >= RECORDS_QUEUED_MAX and not self._closed:
                    await self._until_room()
                if self._closed:
                    raise asyncio.CancelledError("the verifier has been shut down")
                for at in range(start, min(start + TOGETHER_MAX, len(records))):
                    self._ask(records[at], job, at, queue)
                self._feed()
            return await job.done
        finally:
            job.done.cancel()  # nothing when it is done; a caller that is gone leaves nothing to verify

    async def verify_bulk(self, records: bytes) -> list[bool]:
        """Whether the signature of each record is valid, in order; ``records`` are any number of 128 bytes each.

        The caller bounds how many wait. Raises ``asyncio.CancelledError`` like ``verify``.
        """
        count, rest = divmod(len(records), RECORD_BYTES)
        if rest:
            raise InvariantViolation(f"a verifier record has {RECORD_BYTES} bytes")
        if self._count == 0:
            singles = range(0, len(records), RECORD_BYTES)
            return await self._verify_here([records[at : at + RECORD_BYTES] for at in singles])
        if self._closed:
            raise asyncio.CancelledError("the verifier has been shut down")
        size, loop = BATCH_RECORDS_MAX * RECORD_BYTES, asyncio.get_running_loop()
        parts = [_Bulk(records[at : at + size], loop.create_future()) for at in range(0, len(records), size)]
        self._bulk.extend(parts)
        self._feed()
        try:
            results = [await part.done for part in parts]
        finally:
            for part in parts:
                part.done.cancel()
        bits = sum(result << BATCH_RECORDS_MAX * number for number, result in enumerate(results))
        return [bool(bits >> number & 1) for number in range(count)]

    async def _until_room(self) -> None:
        room: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._room.append(room)
        await room

    def _tell_room(self) -> None:
        for room in self._room:
            if not room.done():
                room.set_result(None)
        self._room.clear()

    def _ask(self, item: bytes, job: _Job, at: int, queue: deque[_Asked]) -> None:
        asked = self._asked.get(item)
        if asked is None:
            asked = self._asked[item] = _Asked(item, job, at)
            queue.append(asked)
            return
        if asked.others is None:
            asked.others = []
        asked.others.append((job, at))
        if queue is self._urgent and not asked.sent:
            queue.append(asked)  # now in both queues: whichever comes second finds it sent

    async def _verify_here(self, records: Sequence[bytes]) -> list[bool]:
        results: list[bool] = []
        for start in range(0, len(records), TOGETHER_MAX):
            if start:
                await asyncio.sleep(0)
            results.extend(verify_worker.verifies(item) for item in records[start : start + TOGETHER_MAX])
            self.stats.batches += 1
        self.stats.records += len(results)
        self.stats.invalid += results.count(False)
        return results

    async def run(self) -> None:
        """Keep the workers running until cancelled. Raises ``OperatorError`` VERIFIER_FAILED when they cannot run."""
        failures: list[BaseException] = []
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(self._count):
                    group.create_task(self._keep_worker(number), name=f"verifier-{number}")
        except* OperatorError as errors:  # raised below: Python before 3.11.4 wraps in a group what is raised here
            failures.extend(errors.exceptions)
        finally:
            self._shut()
        if failures:
            raise failures[0]

    def _shut(self) -> None:
        self._closed = True
        for asked in self._asked.values():
            for job, _ in ((asked.job, asked.at), *(asked.others or ())):
                job.done.cancel()
        for bulk in self._bulk:
            bulk.done.cancel()
        for queue in (self._urgent, self._ordinary, self._bulk):
            queue.clear()
        self._asked.clear()
        self._tell_room()

    async def _keep_worker(self, number: int) -> None:
        """Start the worker ``number``, and another one whenever it fails."""
        failures = 0
        while True:
            worker: VerifierProcess[_Batch] = VerifierProcess(self._answered, self._answer_timeout_s)
            try:
                await worker.start(self._python)
                self._workers[number] = worker
                self._feed()
                reason = await worker.failed
            except OSError as error:
                reason = repr(error)
            finally:
                self._workers.pop(number, None)
                await worker.end()
                self._give_back(worker.in_flight)
            failures = 0 if worker.answers else failures + 1
            self.stats.restarts += 1
            self._on_restart(reason)
            if failures >= FAILED_STARTS_MAX:
                raise OperatorError(
                    "VERIFIER_FAILED",
                    f"the signature verifier process ended {failures} times without finishing a batch",
                    reason,
                    "check the installation with `huzhu doctor`, and the machine's memory",
                    exit_code=1,
                )

    def _feed(self) -> None:
        """Send what waits to the workers that have room, the least busy first."""
        while self.queued or self._bulk:
            free = [worker for worker in self._workers.values() if worker.has_room]
            if not free:
                return
            worker = min(free, key=lambda worker: len(worker.in_flight))
            together = self._next_together()
            if together:
                worker.send(together, b"".join([asked.record for asked in together]))
            elif self._bulk:
                bulk = self._bulk.popleft()
                if not bulk.done.done():
                    worker.send(bulk, bulk.records)

    def _next_together(self) -> list[_Asked]:
        """Take up to a batch from the queues, urgent records first; none when nobody wants what waited there."""
        batch: list[_Asked] = []
        for queue in (self._urgent, self._ordinary):
            while queue and len(batch) < TOGETHER_MAX:
                asked = queue.popleft()
                if asked.sent:
                    continue
                if asked.wanted:
                    asked.sent = True
                    batch.append(asked)
                else:
                    self._asked.pop(asked.record, None)
        if self._room:
            self._tell_room()
        return batch

    def _answered(self, batch: _Batch, bits: int) -> None:
        if isinstance(batch, _Bulk):
            if not batch.done.done():
                batch.done.set_result(bits)
        else:
            for number, asked in enumerate(batch):
                self._asked.pop(asked.record, None)
                asked.settle(bits >> number & 1 == 1)
        self.stats.batches += 1
        self.stats.records += len(batch)
        self.stats.invalid += len(batch) - bits.bit_count()
        self._feed()

    def _give_back(self, in_flight: deque[_Batch]) -> None:
        """What a worker that is gone owes is sent again, first of all."""
        while in_flight:
            batch = in_flight.pop()
            if isinstance(batch, _Bulk):
                self._bulk.appendleft(batch)
            else:
                for asked in batch:
                    asked.sent = False
                self._urgent.extendleft(reversed(batch))
        self._feed()
