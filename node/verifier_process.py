"""One verifier process and its two pipes, driven by callbacks of the event loop (``node.verifier`` owns the pool).

Rules of this file

* Writing never blocks: what the pipe has no room for is kept, at most ``BATCHES_IN_FLIGHT`` batches, and goes later.
* One reader callback takes the answers, one timer watches over all of them: no task, lock or stream for a batch.
* The end of the process is noticed at once, also while nothing is owed: its pipe ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from ledger.errors import InvariantViolation

from .verify_worker import RESULT_BYTES, batch_of, command

BATCHES_IN_FLIGHT: Final = 2
Batch = TypeVar("Batch")
"""Whatever the pool wants back with the answer."""


class VerifierProcess(Generic[Batch]):
    """One process and its two pipes, from its start to its end. The batches it owes are in ``in_flight``, oldest first.

    ``start``, then ``send`` while it ``has_room``; ``failed`` says why it is of no use any more; ``end`` in any case.
    """

    def __init__(self, answered: Callable[[Batch, int], None], answer_timeout_s: float) -> None:
        self.in_flight: deque[Batch] = deque()
        self.answers = 0
        self._loop = asyncio.get_running_loop()
        self.failed: asyncio.Future[str] = self._loop.create_future()
        self._answered = answered
        self._answer_timeout_s = answer_timeout_s
        self._process: asyncio.subprocess.Process | None = None
        self._to_worker = self._from_worker = -1
        self._unsent = b""
        """What the pipe had no room for."""
        self._partial = b""
        """The beginning of an answer."""
        self._owed_since_s = 0.0
        """When the oldest batch in flight became the next one to be answered."""
        self._watch: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int:
        """Of the process, once it was started."""
        if self._process is None:
            raise InvariantViolation("a verifier worker has a process id after it was started")
        return self._process.pid

    @property
    def has_room(self) -> bool:
        """Whether it takes one more batch."""
        return len(self.in_flight) < BATCHES_IN_FLIGHT and not self.failed.done()

    async def start(self, python: str) -> None:
        """Start the process. Raises ``OSError``."""
        with contextlib.ExitStack() as theirs:
            source, self._to_worker = os.pipe()
            theirs.callback(os.close, source)
            self._from_worker, sink = os.pipe()
            theirs.callback(os.close, sink)
            self._process = await asyncio.create_subprocess_exec(*command(python), stdin=source, stdout=sink)
        os.set_blocking(self._to_worker, False)
        os.set_blocking(self._from_worker, False)
        self._loop.add_reader(self._from_worker, self._read)  # also while nothing is owed: its end is noticed at once

    def send(self, batch: Batch, records: bytes) -> None:
        """Hand it one more batch: its records, one after the other."""
        self.in_flight.append(batch)
        if len(self.in_flight) == 1:
            self._owed_since_s = self._loop.time()
            if self._watch is None:
                self._watch = self._loop.call_later(self._answer_timeout_s, self._look)
        waits = bool(self._unsent)
        self._unsent += batch_of(records)
        if not waits:
            self._write()

    def _write(self) -> None:
        try:
            written = os.write(self._to_worker, self._unsent)
        except BlockingIOError:
            written = 0
        except OSError as error:
            self._fail(repr(error))
            return
        self._unsent = self._unsent[written:]
        if self._unsent:
            self._loop.add_writer(self._to_worker, self._write_rest)

    def _write_rest(self) -> None:
        self._loop.remove_writer(self._to_worker)
        self._write()

    def _read(self) -> None:
        try:
            data = self._partial + os.read(self._from_worker, RESULT_BYTES * BATCHES_IN_FLIGHT)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(repr(error))
            return
        if len(data) == len(self._partial):
            self._fail("its pipe ended")
            return
        whole = len(data) - len(data) % RESULT_BYTES
        self._partial = data[whole:]
        for at in range(0, whole, RESULT_BYTES):
            if not self.in_flight:
                self._fail("it answered what it was not asked")
                return
            batch = self.in_flight.popleft()
            self.answers += 1
            self._owed_since_s = self._loop.time()
            self._answered(batch, int.from_bytes(data[at : at + RESULT_BYTES], "little"))

    def _look(self) -> None:
        """Whether the oldest answer is overdue; one timer watches over all batches."""
        self._watch = None
        if not self.in_flight:
            return
        rest_s = self._owed_since_s + self._answer_timeout_s - self._loop.time()
        if rest_s > 0:
            self._watch = self._loop.call_later(rest_s, self._look)
        else:
            self._fail(f"no answer within {self._answer_timeout_s} s")

    def _fail(self, reason: str) -> None:
        self._stop_listening()
        if not self.failed.done():
            self.failed.set_result(reason)

    def _stop_listening(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self._from_worker >= 0:
            self._loop.remove_reader(self._from_worker)
        if self._to_worker >= 0:
            self._loop.remove_writer(self._to_worker)

    async def end(self) -> None:
        """Close the pipes, kill the process if it still runs, and take its exit status."""
        self._stop_listening()
        for descriptor in (self._to_worker, self._from_worker):
            if descriptor >= 0:
                os.close(descriptor)
        self._to_worker = self._from_worker = -1
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself just now
                process.kill()
        await process.wait()
