"""The pool of verifier processes: signatures in, booleans out, without holding up the event loop (DESIGN §6).

Beside a busy event loop a verifying *thread* waits 5 ms for the interpreter lock after each signature; a *process* that
is fed batches of fixed-size records through a pipe runs at 0.98 of a tight loop. So: processes (``verifier_process``).

Rules of this file

* A record is 128 bytes: signature, digest, public key. At most ``TOGETHER_MAX`` go into one batch and at most
  ``BATCHES_IN_FLIGHT`` batches to one worker: enough to keep it busy, little enough to lose when it dies.
* Blocks that are caught up with come in bulk (``verify_bulk``): larger batches, for which nothing is remembered record
  by record (``verifier_bulk``); any other record goes first. Of these the event loop takes a few where it would only
  wait (``verify_part``): then neither it nor a worker stands still, whichever of them is quicker.
* Back-pressure: at most ``RECORDS_QUEUED_MAX`` records of a class wait; whoever brings more waits in turn.
* Urgent records (a proposed block's transactions) go before others; none waits for more than what is in flight.
* A record that is asked for again while it waits or is in flight is not sent again: one answer settles all. When a
  proposal asks for it, its whole batch becomes urgent.
* Nothing is kept record by record but the batch it lies in: lists come in batches, and leave in them.
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
from .verifier_bulk import Bulk, BulkQueue, Piece
from .verifier_process import VerifierProcess
from .verify_worker import BATCH_RECORDS_MAX, RECORD_BYTES

HERE_RECORDS_MAX: Final = 4
"""So few are verified in this process when no batch waits: two switches of processes cost more than 60 µs each."""
PART_RECORDS: Final = 8
"""Of a bulk, verified in this process at a time: a third of a millisecond."""
TOGETHER_MAX: Final = 64
"""Records a batch; what is urgent waits for no more than two batches of them, or of a bulk's."""
RECORDS_QUEUED_MAX: Final = 16_384
FAILED_STARTS_MAX: Final = 5
"""A worker that dies so often in a row without answering a batch is given up."""
ANSWER_TIMEOUT_S: Final = 30.0
"""A batch takes milliseconds; a worker that owes an answer for so long is stopped or stuck, and is replaced."""


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
    """One caller's records: in which batches they lie."""

    __slots__ = ("done", "open", "parts")

    def __init__(self) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.parts: list[tuple[_Together, int, int]] = []
        """Batch, the first record's place in it, how many follow one another there."""
        self.open = 1
        """Batches that owe an answer, and the caller itself, until it has asked for all."""

    def settle(self) -> None:
        """One answer has come, or the caller has asked for everything; the last of these completes the job."""
        self.open -= 1
        if self.open == 0 and not self.done.done():
            self.done.set_result(None)

    def results(self) -> list[bool]:
        """What was found, in the order of asking; once it is done."""
        found: list[bool] = []
        for batch, first, count in self.parts:
            bits, all_valid = batch.bits >> first, (1 << count) - 1
            if bits & all_valid == all_valid:
                found += [True] * count
            else:
                found += [bits >> at & 1 == 1 for at in range(count)]
        return found


class _Together:
    """Up to ``TOGETHER_MAX`` records, which wait or are in flight, and who wants to know."""

    __slots__ = ("bits", "hurried", "jobs", "records", "sent", "urgent")

    def __init__(self, urgent: bool) -> None:
        self.urgent = urgent
        self.hurried = urgent
        """Whether it stands in the urgent queue, also when it was not made for it."""
        self.records: list[bytes] = []
        self.jobs: list[_Job] = []
        self.bits = 0
        """The answer: bit i says whether record i verifies."""
        self.sent = False

    def __len__(self) -> int:
        return len(self.records)

    @property
    def wanted(self) -> bool:
        """Whether anybody waits still."""
        return any(not job.done.done() for job in self.jobs)


_Batch = _Together | Piece
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
        self._urgent: deque[_Together] = deque()
        self._ordinary: deque[_Together] = deque()
        """May hold batches that were sent already, for they became urgent."""
        self._bulk = BulkQueue()
        self._waiting = {True: 0, False: 0}
        """Records that wait to be sent, of the batches made as urgent ones and of the others."""
        self._asked: dict[bytes, _Together] = {}
        """The batch of each record that waits or is in flight."""
        self._room: list[asyncio.Future[None]] = []
        """Callers that wait for room in a queue."""
        self._workers: dict[int, VerifierProcess[_Batch]] = {}
        self._closed = False
        self.stats = VerifierStats()

    @property
    def queued(self) -> int:
        """Records that wait to be sent to a worker, those in bulk not counted."""
        return sum(self._waiting.values())

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
        job = _Job()
        try:
            for start in range(0, len(records), TOGETHER_MAX):
                while self._waiting[urgent] >= RECORDS_QUEUED_MAX and not self._closed:
                    await self._until_room()
                if self._closed:
                    raise asyncio.CancelledError("the verifier has been shut down")
                self._ask(records[start : start + TOGETHER_MAX], job, urgent)
                self._feed()
            job.settle()
            await job.done
        finally:
            job.done.cancel()  # nothing when it is done; a caller that is gone leaves nothing to verify
        return job.results()

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
        if not count:
            return []
        bulk = Bulk(records)
        self._bulk.add(bulk)
        self._feed()
        try:
            bits = await bulk.done
        finally:
            bulk.done.cancel()  # nothing when it is done; a caller that is gone leaves nothing to verify
        if bits.bit_count() == count:
            return [True] * count
        return [bool(bits >> number & 1) for number in range(count)]

    def verify_part(self) -> bool:
        """Verify a few records of a bulk that no worker has yet; whether there were any."""
        piece = self._bulk.take(PART_RECORDS)
        if piece is None:
            return False
        self._answered(piece, verify_worker.bitmap(piece.records))
        return True

    async def _until_room(self) -> None:
        room: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._room.append(room)
        await room

    def _tell_room(self) -> None:
        for room in self._room:
            if not room.done():
                room.set_result(None)
        self._room.clear()

    def _ask(self, records: Sequence[bytes], job: _Job, urgent: bool) -> None:
        """Let records wait for a worker; those that wait already, or are in flight, have one answer for all."""
        if len(set(records)) == len(records) and self._asked.keys().isdisjoint(records):
            self._add(records, job, urgent)
            return
        for item in records:
            batch = self._asked.get(item)
            if batch is None:
                self._add([item], job, urgent)
                continue
            self._join(job, batch, batch.records.index(item), 1)
            if urgent and not batch.sent and not batch.hurried:
                batch.hurried = True
                self._urgent.append(batch)  # now in both queues: whichever comes second finds it sent

    def _add(self, records: Sequence[bytes], job: _Job, urgent: bool) -> None:
        """Records that nobody has asked for: into the batch made last, if there is room, else into another one."""
        queue = self._urgent if urgent else self._ordinary
        batch = queue[-1] if queue else None
        if batch is None or batch.sent or len(batch) + len(records) > TOGETHER_MAX or not batch.wanted:
            batch = _Together(urgent)
            queue.append(batch)
        self._join(job, batch, len(batch), len(records))
        batch.records += records
        self._asked.update(dict.fromkeys(records, batch))
        self._waiting[batch.urgent] += len(records)

    @staticmethod
    def _join(job: _Job, batch: _Together, first: int, count: int) -> None:
        if job not in batch.jobs:
            batch.jobs.append(job)
            job.open += 1
        job.parts.append((batch, first, count))

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
        for batch in self._asked.values():
            for job in batch.jobs:
                job.done.cancel()
        self._bulk.close()
        for queue in (self._urgent, self._ordinary):
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
            if together is not None:
                worker.send(together, b"".join(together.records))
            elif (piece := self._bulk.take(BATCH_RECORDS_MAX)) is not None:
                worker.send(piece, piece.records)

    def _next_together(self) -> _Together | None:
        """Take a batch from the queues, urgent ones first; none when nobody wants what waited there."""
        found: _Together | None = None
        for queue in (self._urgent, self._ordinary):
            while queue and found is None:
                batch = queue.popleft()
                if batch.sent:
                    continue
                batch.sent = True
                self._waiting[batch.urgent] -= len(batch)
                if batch.wanted:
                    found = batch
                else:
                    self._forget(batch)
        if self._room:
            self._tell_room()
        return found

    def _forget(self, batch: _Together) -> None:
        for item in batch.records:
            self._asked.pop(item, None)
        batch.jobs.clear()  # a job refers to its batches too, and such a circle only the garbage collector would free

    def _answered(self, batch: _Batch, bits: int) -> None:
        if isinstance(batch, Piece):
            batch.settle(bits)
        else:
            batch.bits = bits
            for job in batch.jobs:
                job.settle()
            self._forget(batch)
        self.stats.batches += 1
        self.stats.records += len(batch)
        self.stats.invalid += len(batch) - bits.bit_count()
        self._feed()

    def _give_back(self, in_flight: deque[_Batch]) -> None:
        """What a worker that is gone owes is sent again, first of all."""
        while in_flight:
            batch = in_flight.pop()
            if isinstance(batch, Piece):
                self._bulk.give_back(batch)
            else:
                batch.sent, batch.hurried = False, True
                self._waiting[batch.urgent] += len(batch)
                self._urgent.appendleft(batch)
        self._feed()
