"""The pool of verifier processes: signatures in, booleans out, without holding up the event loop (DESIGN §6).

Beside a busy event loop a verifying *thread* waits 5 ms for the interpreter lock after each signature; a *process* that
is fed batches of fixed-size records through a pipe runs at 0.98 of a tight loop. So: processes.

Rules of this file

* A record is 128 bytes: public key, digest, signature. At most ``TOGETHER_MAX`` go into one batch and at most
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
import contextlib
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ledger.errors import InvariantViolation, OperatorError

from . import verify_worker
from .verify_worker import BATCH_RECORDS_MAX, RECORD_BYTES, RESULT_BYTES

TOGETHER_MAX: Final = 64
"""Records a batch; what is urgent waits for no more than ``BATCHES_IN_FLIGHT`` batches of them, or of a bulk's."""
HERE_RECORDS_MAX: Final = 4
"""So few are verified in this process when no batch waits: two switches of processes cost more than 60 µs each."""
BATCHES_IN_FLIGHT: Final = 2
RECORDS_QUEUED_MAX: Final = 16_384
FAILED_STARTS_MAX: Final = 5
"""A worker that dies so often in a row without answering a batch is given up."""
ANSWER_TIMEOUT_S: Final = 30.0
"""A batch takes 8 ms; a worker that owes an answer for so long is stopped or stuck, and is replaced."""


def record(public: bytes, digest: bytes, signature: bytes) -> bytes:
    """The 128 bytes of one signature to check: public key (32), signed digest (32), signature (64)."""
    joined = public + digest + signature
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


@dataclass(slots=True, eq=False)
class _Job:
    """One caller's records and what is known of them."""

    records: Sequence[bytes]
    done: asyncio.Future[list[bool]]
    results: list[bool]
    open: int

    def settle(self, at: int, valid: bool) -> None:
        """Note one result; the last one completes the job."""
        self.results[at] = valid
        self.open -= 1
        if self.open == 0 and not self.done.done():
            self.done.set_result(self.results)


_Part = tuple[_Job, int]
"""Who waits for a record: a job, and the record's position there."""


@dataclass(slots=True, eq=False)
class _Bulk:
    """A batch of one caller, whole."""

    records: bytes
    done: asyncio.Future[int]
    """The bitmap."""

    def __len__(self) -> int:
        return len(self.records) // RECORD_BYTES


_Batch = list[bytes] | _Bulk
"""Records sent together."""
_NextBatch = Callable[[deque[_Batch]], Awaitable[bytes]]
_Answered = Callable[[_Batch, int], None]


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
        self._urgent: deque[bytes] = deque()
        self._ordinary: deque[bytes] = deque()
        self._bulk: deque[_Bulk] = deque()
        self._asked: dict[bytes, list[_Part]] = {}
        """Of each record that waits or is in flight: who wants to know."""
        self._sent: set[bytes] = set()
        self._changed = asyncio.Condition()
        self._closed = False
        self._pids: dict[int, int] = {}
        self.stats = VerifierStats()

    @property
    def queued(self) -> int:
        """Records that wait to be sent to a worker, those in bulk not counted."""
        return len(self._urgent) + len(self._ordinary)

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that run now."""
        return list(self._pids.values())

    async def verify(self, records: Sequence[bytes], *, urgent: bool = False) -> list[bool]:
        """Whether the signature of each record (128 bytes) is valid, in order. Waits while the queue is full.

        Raises ``asyncio.CancelledError`` when the pool is shut down meanwhile.
        """
        if any(len(item) != RECORD_BYTES for item in records):
            raise InvariantViolation(f"a verifier record has {RECORD_BYTES} bytes")
        if not records:
            return []
        if self._count == 0 or (len(records) <= self._here_max and not self.queued and not self._closed):
            return await self._verify_here(records)
        job = _Job(records, asyncio.get_running_loop().create_future(), [False] * len(records), len(records))
        queue = self._urgent if urgent else self._ordinary
        for start in range(0, len(records), TOGETHER_MAX):
            part = range(start, min(start + TOGETHER_MAX, len(records)))
            async with self._changed:
                await self._changed.wait_for(lambda: self._closed or len(queue) < RECORDS_QUEUED_MAX)
                if self._closed:
                    raise asyncio.CancelledError("the verifier has been shut down")
                for at in part:
                    self._ask(records[at], (job, at), queue)
                self._changed.notify_all()
        return await job.done

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
        size, loop = BATCH_RECORDS_MAX * RECORD_BYTES, asyncio.get_running_loop()
        parts = [_Bulk(records[at : at + size], loop.create_future()) for at in range(0, len(records), size)]
        async with self._changed:
            if self._closed:
                raise asyncio.CancelledError("the verifier has been shut down")
            self._bulk.extend(parts)
            self._changed.notify_all()
        try:
            results = [await part.done for part in parts]
        finally:
            for part in parts:
                part.done.cancel()
        bits = sum(result << BATCH_RECORDS_MAX * number for number, result in enumerate(results))
        return [bool(bits >> number & 1) for number in range(count)]

    def _ask(self, item: bytes, part: _Part, queue: deque[bytes]) -> None:
        waiting = self._asked.setdefault(item, [])
        waiting.append(part)
        if len(waiting) == 1 or (queue is self._urgent and item not in self._sent):
            queue.append(item)  # in both queues when it has become urgent: whichever comes second finds it gone

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
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(self._count):
                    group.create_task(self._keep_worker(number), name=f"verifier-{number}")
        except* OperatorError as errors:
            raise errors.exceptions[0] from None
        finally:
            await self._shut()

    async def _shut(self) -> None:
        async with self._changed:
            self._closed = True
            for parts in self._asked.values():
                for job, _ in parts:
                    job.done.cancel()
            for bulk in self._bulk:
                bulk.done.cancel()
            for queue in (self._urgent, self._ordinary, self._bulk):
                queue.clear()
            self._asked.clear()
            self._changed.notify_all()

    async def _keep_worker(self, number: int) -> None:
        """Start the worker ``number``, and another one whenever it fails."""
        failures = 0
        while True:
            worker = _Worker(self._answer_timeout_s)
            reason = ""
            try:
                process = await worker.start(self._python)
                self._pids[number] = process.pid
                await worker.serve(self._next_batch, self._answered)
            except* (OSError, EOFError, TimeoutError) as errors:
                reason = repr(_first(errors))
            finally:
                self._pids.pop(number, None)
                await worker.end()
                await self._give_back(worker.in_flight)
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

    async def _next_batch(self, in_flight: deque[_Batch]) -> bytes:
        """Wait for work and move up to a batch of it into flight; returns the bytes for the worker."""
        async with self._changed:
            while True:
                await self._changed.wait_for(lambda: self.queued > 0 or self._bulk)
                batch: list[bytes] = []
                for queue in (self._urgent, self._ordinary):
                    while queue and len(batch) < TOGETHER_MAX:
                        item = queue.popleft()
                        if self._is_wanted(item):
                            batch.append(item)
                            self._sent.add(item)
                self._changed.notify_all()
                if batch:
                    in_flight.append(batch)
                    return verify_worker.batch_of(b"".join(batch))
                while self._bulk:
                    bulk = self._bulk.popleft()
                    if not bulk.done.done():
                        in_flight.append(bulk)
                        return verify_worker.batch_of(bulk.records)

    def _is_wanted(self, item: bytes) -> bool:
        """Whether a record from a queue is to be sent: not answered or sent meanwhile, and its callers still wait."""
        parts = self._asked.get(item)
        if parts is None or item in self._sent:
            return False
        if all(job.done.done() for job, _ in parts):
            del self._asked[item]
            return False
        return True

    def _answered(self, batch: _Batch, bits: int) -> None:
        if isinstance(batch, _Bulk):
            if not batch.done.done():
                batch.done.set_result(bits)
        else:
            for number, item in enumerate(batch):
                self._sent.discard(item)
                for job, at in self._asked.pop(item, ()):
                    job.settle(at, bool(bits >> number & 1))
        self.stats.batches += 1
        self.stats.records += len(batch)
        self.stats.invalid += len(batch) - bits.bit_count()

    async def _give_back(self, in_flight: deque[_Batch]) -> None:
        async with self._changed:
            while in_flight:
                batch = in_flight.pop()
                if isinstance(batch, _Bulk):
                    self._bulk.appendleft(batch)
                else:
                    self._sent.difference_update(batch)
                    self._urgent.extendleft(reversed(batch))
            self._changed.notify_all()


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


class _Worker:
    """One process, from its start to its end. The batches it owes answers for are in ``in_flight``, oldest first."""

    def __init__(self, answer_timeout_s: float) -> None:
        self.in_flight: deque[_Batch] = deque()
        self.answers = 0
        self._answer_timeout_s = answer_timeout_s
        self._process: asyncio.subprocess.Process | None = None
        self._room = asyncio.Semaphore(BATCHES_IN_FLIGHT)
        self._answer_by = asyncio.timeout(None)

    async def start(self, python: str) -> asyncio.subprocess.Process:
        self._process = await asyncio.create_subprocess_exec(
            python,
            "-I",
            str(Path(verify_worker.__file__)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        return self._process

    async def serve(self, next_batch: _NextBatch, answered: _Answered) -> None:
        """Feed the process until it fails: raises a group of OSError, EOFError or TimeoutError."""
        if self._process is None or self._process.stdin is None or self._process.stdout is None:
            raise InvariantViolation("a verifier worker serves after it was started, with both pipes")
        async with asyncio.TaskGroup() as group:
            group.create_task(self._receive(self._process.stdout, answered))  # first: it sets the deadline's clock up
            group.create_task(self._send(self._process.stdin, next_batch))

    async def _send(self, stdin: asyncio.StreamWriter, next_batch: _NextBatch) -> None:
        while True:
            await self._room.acquire()
            payload = await next_batch(self.in_flight)
            if len(self.in_flight) == 1:
                self._answer_by.reschedule(self._deadline())
            stdin.write(payload)
            await stdin.drain()

    async def _receive(self, stdout: asyncio.StreamReader, answered: _Answered) -> None:
        """Reads also while nothing is owed, so that the end of an idle process is noticed at once."""
        while True:
            async with asyncio.timeout_at(self._deadline() if self.in_flight else None) as self._answer_by:
                bits = int.from_bytes(await stdout.readexactly(RESULT_BYTES), "little")
            answered(self.in_flight.popleft(), bits)
            self.answers += 1
            self._room.release()

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._answer_timeout_s

    async def end(self) -> None:
        """Kill the process, if it still runs, and take its exit status."""
        process = self._process
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself just now
                process.kill()
        await process.wait()
