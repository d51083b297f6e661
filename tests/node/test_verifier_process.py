"""One verifier process by callbacks: what a full pipe leaves over goes later, what was not asked for ends it."""

import asyncio
import os
import signal
import sys
from collections import deque
from pathlib import Path

import pytest

from node.verifier_process import BATCHES_IN_FLIGHT, VerifierProcess
from node.verify_worker import BATCH_RECORDS_MAX, RECORD_BYTES, RESULT_BYTES
from tests.node.test_verifier import _record


class Answers:
    """What came back, in order."""

    def __init__(self) -> None:
        self.got: deque[tuple[str, int]] = deque()
        self.came = asyncio.Event()

    def __call__(self, batch: str, bits: int) -> None:
        self.got.append((batch, bits))
        self.came.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.got) < count:
                self.came.clear()
                await self.came.wait()


def _stop(pid: int) -> None:
    """Stop a process, and wait until it stands: until then it may read what is sent next."""
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)


@pytest.mark.asyncio
async def test_what_a_full_pipe_has_no_room_for_is_written_later() -> None:
    answers = Answers()
    process: VerifierProcess[str] = VerifierProcess(answers, 20.0)
    records = [_record(number, valid=number % 3 > 0) for number in range(BATCH_RECORDS_MAX)]
    bits = sum(1 << number for number in range(BATCH_RECORDS_MAX) if number % 3)
    try:
        await process.start(sys.executable)
        process.send("first", records[0])
        await answers.until(1)
        _stop(process.pid)
        for name in ("second", "third"):
            process.send(name, b"".join(records))
        assert not process.has_room
        assert process._unsent, "two batches of the largest size are more than a pipe holds"
        os.kill(process.pid, signal.SIGCONT)
        await answers.until(1 + BATCHES_IN_FLIGHT)
    finally:
        await process.end()
    assert list(answers.got) == [("first", 0), ("second", bits), ("third", bits)]
    assert process.answers == 3
    assert not process._unsent


@pytest.mark.asyncio
async def test_a_process_that_answers_what_it_was_not_asked_has_failed(tmp_path: Path) -> None:
    answers = Answers()
    process: VerifierProcess[str] = VerifierProcess(answers, 20.0)
    liar = tmp_path / "liar"
    liar.write_text(f"#!/bin/sh\nhead -c {2 * RESULT_BYTES} /dev/zero\nexec cat\n")
    liar.chmod(0o700)
    try:
        await process.start(str(liar))
        process.send("only", bytes(RECORD_BYTES))
        async with asyncio.timeout(20):
            assert await process.failed == "it answered what it was not asked"
        assert not process.has_room
    finally:
        await process.end()
    assert list(answers.got) in ([], [("only", 0)])
