"""The verifier pool: the same verdicts as the ledger's rule, whatever happens to its processes."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from ledger.errors import InvariantViolation, OperatorError
from ledger.signing import public_key, sign, verify
from node import verifier as module
from node import verify_worker
from node.verifier import PART_RECORDS, TOGETHER_MAX, Verifier, record
from node.verify_worker import BATCH_RECORDS_MAX
from tests.reference import ed25519 as reference

SEED = bytes(range(32))
PUBLIC = public_key(SEED)


def _record(number: int, *, valid: bool = True) -> bytes:
    digest = number.to_bytes(32, "big")
    signature = sign(SEED, digest if valid else b"\xff" * 32)
    return record(PUBLIC, digest, signature)


@asynccontextmanager
async def running(pool: Verifier) -> AsyncIterator[Verifier]:
    """The pool with its ``run`` task, ended and awaited on exit."""
    task = asyncio.create_task(pool.run())
    try:
        yield pool
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def within(seconds: float, awaitable: Coroutine[Any, Any, Any]) -> Any:
    async with asyncio.timeout(seconds):
        return await awaitable


async def _worker_pid(pool: Verifier) -> int:
    async with asyncio.timeout(20):
        await pool.verify([_record(0)])
    return pool.pids[0]


@pytest.mark.asyncio
@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("count", [0, 1, TOGETHER_MAX, TOGETHER_MAX + 1, 300])
async def test_every_record_gets_its_own_verdict_in_order(workers: int, count: int) -> None:
    expected = [number % 3 != 0 for number in range(count)]
    async with running(Verifier(workers)) as pool:
        records = [_record(number, valid=valid) for number, valid in enumerate(expected)]
        assert await within(20, pool.verify(records)) == expected
        assert pool.stats.records == count
        assert pool.stats.invalid == expected.count(False)


@pytest.mark.asyncio
async def test_the_worker_follows_the_ledgers_rule_for_degenerate_keys_and_signatures() -> None:
    signature = sign(SEED, bytes(32))
    order = 2**252 + 27742317777372353535851937790883648493
    big_s = (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")
    cases = [
        (PUBLIC, bytes(32), signature),
        (PUBLIC, bytes(32), signature[:32] + big_s),
        (bytes(32), bytes(32), signature),
        ((1).to_bytes(32, "little"), bytes(32), bytes(64)),
        (b"\xff" * 32, bytes(32), signature),
        (PUBLIC, bytes(32), (1).to_bytes(32, "little") + signature[32:]),
    ]
    async with running(Verifier(1)) as pool:
        verdicts = await within(20, pool.verify([record(*case) for case in cases]))
    assert verdicts == [verify(public, digest, signature) for public, digest, signature in cases]
    assert verdicts == [True, False, False, False, False, False]


@pytest.mark.asyncio
async def test_a_worker_killed_in_the_middle_is_replaced_and_its_batches_are_verified_again() -> None:
    expected = [number % 5 != 0 for number in range(1_000)]
    records = [_record(number, valid=valid) for number, valid in enumerate(expected)]
    async with running(Verifier(1)) as pool:
        pid = await _worker_pid(pool)
        verdicts = asyncio.create_task(pool.verify(records))
        await within(20, pool.verify([_record(0)], urgent=True))
        assert not verdicts.done()
        os.kill(pid, signal.SIGKILL)
        assert await within(20, _result(verdicts)) == expected
        assert pool.stats.restarts == 1
        assert pool.pids != [pid]


async def _result(task: "asyncio.Task[list[bool]]") -> list[bool]:
    return await task


@pytest.mark.asyncio
async def test_a_worker_that_dies_idle_is_replaced_at_once() -> None:
    noticed = asyncio.Event()
    async with running(Verifier(1, on_restart=lambda reason: noticed.set())) as pool:
        pid = await _worker_pid(pool)
        os.kill(pid, signal.SIGKILL)
        await within(20, noticed.wait())
        assert await within(20, pool.verify([_record(1)])) == [True]


@pytest.mark.asyncio
async def test_a_worker_that_hangs_is_replaced_when_its_answer_is_overdue() -> None:
    async with running(Verifier(1, answer_timeout_s=0.5)) as pool:
        pid = await _worker_pid(pool)
        os.kill(pid, signal.SIGSTOP)
        assert await within(20, pool.verify([_record(1), _record(2, valid=False)])) == [True, False]
        assert pool.stats.restarts == 1
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.asyncio
@pytest.mark.parametrize("python", ["/nonexistent/python", "/bin/false"])
async def test_workers_that_never_answer_are_an_operators_error(python: str) -> None:
    pool = Verifier(1, python=python)
    with pytest.raises(OperatorError) as caught:
        await within(20, pool.run())
    assert caught.value.code == "VERIFIER_FAILED"


@pytest.mark.asyncio
async def test_a_full_queue_makes_the_caller_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RECORDS_QUEUED_MAX", 2 * TOGETHER_MAX)
    pool = Verifier(1)
    records = [_record(number) for number in range(5 * TOGETHER_MAX)]
    waiting = asyncio.create_task(pool.verify(records))
    for _ in range(20):
        await asyncio.sleep(0)
    assert pool.queued == 2 * TOGETHER_MAX
    async with running(pool):
        assert await within(20, _result(waiting)) == [True] * len(records)


@pytest.mark.asyncio
async def test_urgent_records_overtake_those_that_wait() -> None:
    pool = Verifier(1)
    order: list[str] = []

    async def one(name: str, count: int, *, urgent: bool) -> None:
        first = 0 if urgent else 1_000
        await pool.verify([_record(number) for number in range(first, first + count)], urgent=urgent)
        order.append(name)

    tasks = [asyncio.create_task(one("transactions", 640, urgent=False))]
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(one("block", 64, urgent=True)))
    await asyncio.sleep(0)
    async with running(pool), asyncio.timeout(20):
        await asyncio.gather(*tasks)
    assert order == ["block", "transactions"]


@pytest.mark.asyncio
async def test_what_waits_or_is_in_flight_is_verified_once_and_an_urgent_asker_does_not_wait_for_the_rest() -> None:
    pool = Verifier(1)
    order: list[str] = []

    async def one(name: str, numbers: range, *, urgent: bool) -> None:
        results = await pool.verify([_record(number) for number in numbers], urgent=urgent)
        assert results == [True] * len(numbers)
        order.append(name)

    tasks = [asyncio.create_task(one("admission", range(1_000, 1_400), urgent=False))]
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(one("block", range(1_390, 1_400), urgent=True)))
    await asyncio.sleep(0)
    async with running(pool), asyncio.timeout(20):
        await asyncio.gather(*tasks)
    assert order == ["block", "admission"]
    assert pool.stats.records == 400


@pytest.mark.asyncio
async def test_small_lists_that_wait_go_together_and_each_gets_its_own_verdicts() -> None:
    pool = Verifier(1)
    lists = [[_record(5 * at + number, valid=number != at % 5) for number in range(5)] for at in range(20)]
    lists.append([*lists[0][:2], _record(999), *lists[19][3:], _record(999)])
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(pool.verify(records)) for records in lists]
        for _ in range(3):
            await asyncio.sleep(0)
        assert pool.queued == 101
        async with running(pool):
            found = await asyncio.gather(*waiting)
    assert found[:20] == [[number != at % 5 for number in range(5)] for at in range(20)]
    assert found[20] == [False, True, True, True, False, True]
    assert (pool.stats.batches, pool.stats.records, pool.queued) == (2, 101, 0)


@pytest.mark.asyncio
@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("count", [0, 1, BATCH_RECORDS_MAX, BATCH_RECORDS_MAX + 1, 600])
async def test_in_bulk_every_record_gets_its_own_verdict_in_order(workers: int, count: int) -> None:
    expected = [number % 7 != 0 for number in range(count)]
    records = b"".join(_record(number, valid=valid) for number, valid in enumerate(expected))
    async with running(Verifier(workers)) as pool:
        assert await within(20, pool.verify_bulk(records)) == expected
        assert (pool.stats.records, pool.stats.invalid) == (count, expected.count(False))


@pytest.mark.asyncio
async def test_any_record_goes_before_those_in_bulk() -> None:
    pool = Verifier(1)
    order: list[str] = []

    async def one(name: str, verdicts: Coroutine[Any, Any, list[bool]]) -> None:
        await verdicts
        order.append(name)

    records = b"".join(_record(number) for number in range(2 * BATCH_RECORDS_MAX))
    tasks = [asyncio.create_task(one("bulk", pool.verify_bulk(records)))]
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(one("admission", pool.verify([_record(number) for number in range(10)]))))
    await asyncio.sleep(0)
    async with running(pool), asyncio.timeout(20):
        await asyncio.gather(*tasks)
    assert order == ["admission", "bulk"]


@pytest.mark.asyncio
async def test_a_bulk_survives_the_death_of_its_worker_and_ends_with_the_pool() -> None:
    expected = [number % 5 != 0 for number in range(1_000)]
    records = b"".join(_record(number, valid=valid) for number, valid in enumerate(expected))
    async with running(Verifier(1)) as pool:
        pid = await _worker_pid(pool)
        verdicts = asyncio.create_task(pool.verify_bulk(records))
        await within(20, pool.verify([_record(0)], urgent=True))
        assert not verdicts.done()
        os.kill(pid, signal.SIGKILL)
        assert await within(20, _result(verdicts)) == expected
        os.kill(pool.pids[0], signal.SIGSTOP)
        dropped = asyncio.create_task(pool.verify_bulk(records))
        waiting = asyncio.create_task(pool.verify_bulk(records))
        await asyncio.sleep(0)
        dropped.cancel()
    for task in (dropped, waiting):
        with pytest.raises(asyncio.CancelledError):
            await within(20, _result(task))
    with pytest.raises(asyncio.CancelledError):
        await pool.verify_bulk(records)
    with pytest.raises(InvariantViolation):
        await pool.verify_bulk(records[1:])


@pytest.mark.asyncio
@pytest.mark.parametrize("count", [1, PART_RECORDS, PART_RECORDS + 1, 3 * BATCH_RECORDS_MAX])
async def test_parts_of_a_bulk_that_are_verified_here_are_of_the_same_answer(count: int) -> None:
    expected = [number % 3 != 0 for number in range(count)]
    records = b"".join(_record(number, valid=valid) for number, valid in enumerate(expected))
    pool = Verifier(1)  # no worker runs
    verdicts = asyncio.create_task(pool.verify_bulk(records))
    await asyncio.sleep(0)
    parts = 0
    while pool.verify_part():
        parts += 1
    assert await within(20, _result(verdicts)) == expected
    assert parts == -(-count // PART_RECORDS)
    assert (pool.stats.records, pool.stats.invalid) == (count, expected.count(False))


@pytest.mark.asyncio
async def test_the_loop_and_a_worker_share_a_bulk_and_no_record_is_verified_twice() -> None:
    expected = [number % 11 != 0 for number in range(4 * BATCH_RECORDS_MAX + 5)]
    records = b"".join(_record(number, valid=valid) for number, valid in enumerate(expected))
    async with running(Verifier(1)) as pool:
        await _worker_pid(pool)
        before = pool.stats.records
        verdicts = asyncio.create_task(pool.verify_bulk(records))
        await asyncio.sleep(0)
        assert pool.verify_part()  # two batches are with the worker: this is of the third
        assert await within(20, _result(verdicts)) == expected
        assert pool.stats.records - before == len(expected)
        assert not pool.verify_part()


@pytest.mark.asyncio
async def test_nothing_is_verified_here_of_a_bulk_that_nobody_waits_for_any_more() -> None:
    pool = Verifier(1)
    first = asyncio.create_task(pool.verify_bulk(_record(0) * 20))
    second = asyncio.create_task(pool.verify_bulk(_record(1, valid=False)))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    assert pool.verify_part()
    assert await within(20, _result(second)) == [False]
    assert first.cancelled()
    assert (pool.verify_part(), pool.stats.records) == (False, 1)


@pytest.mark.asyncio
async def test_a_handful_is_verified_here_unless_something_waits_for_the_workers() -> None:
    pool = Verifier(1, here_max=2)
    assert await within(20, pool.verify([_record(0), _record(1)])) == [True, True]  # no worker runs
    longer = asyncio.create_task(pool.verify([_record(number) for number in range(3)]))
    await asyncio.sleep(0)
    behind = asyncio.create_task(pool.verify([_record(4)]))
    await asyncio.sleep(0)
    assert not longer.done()
    assert not behind.done()
    async with running(pool):
        assert await within(20, _result(longer)) == [True] * 3
        assert await within(20, _result(behind)) == [True]


@pytest.mark.asyncio
async def test_what_was_answered_or_given_up_is_freed_at_once() -> None:
    async with running(Verifier(1)) as pool:
        gc.collect()
        gc.disable()  # 8 KB a batch would wait for it, for minutes
        try:
            assert await within(20, pool.verify([_record(number) for number in range(200)])) == [True] * 200
            dropped = asyncio.create_task(pool.verify([_record(number) for number in range(500)]))
            await asyncio.sleep(0)
            dropped.cancel()
            assert await within(20, pool.verify([_record(1_000)])) == [True]
            assert dropped.cancelled()
            del dropped
            left = [kept for kept in gc.get_objects() if isinstance(kept, module._Together | module._Job)]
        finally:
            gc.enable()
    assert left == []


@pytest.mark.asyncio
async def test_a_cancelled_caller_costs_nothing_and_disturbs_nobody() -> None:
    pool = Verifier(1)
    dropped = asyncio.create_task(pool.verify([_record(0)] * 640))
    await asyncio.sleep(0)
    dropped.cancel()
    async with running(pool):
        assert await within(20, pool.verify([_record(1)])) == [True]
        assert dropped.cancelled()
        assert pool.stats.records == 1


@pytest.mark.asyncio
async def test_shutting_down_ends_the_processes_and_releases_everybody_who_waits() -> None:
    pool = Verifier(1)
    async with running(pool):
        pid = await _worker_pid(pool)
        os.kill(pid, signal.SIGSTOP)
        waiting = asyncio.create_task(pool.verify([_record(0)] * 640))
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await within(20, _result(waiting))
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(asyncio.CancelledError):
        await pool.verify([_record(0)])


@pytest.mark.asyncio
async def test_the_worker_ends_with_its_pipe() -> None:
    process = await asyncio.create_subprocess_exec(
        *verify_worker.command(sys.executable), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.write(b"\0\2" + _record(0))  # half a batch: the node died while it wrote
    process.stdin.close()
    assert await within(20, process.wait()) == 0


def test_the_worker_of_a_killed_node_ends_without_a_word() -> None:
    with subprocess.Popen(
        verify_worker.command(sys.executable),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        assert worker.stderr is not None
        worker.stdout.close()
        worker.stdin.write(b"\0\1" + bytes(verify_worker.RECORD_BYTES))
        worker.stdin.close()
        assert worker.stderr.read() == b""
        assert worker.wait() == 0


def _answer(command: tuple[str, ...], batch: bytes, place: Path) -> bytes:
    """What a worker started in ``place`` says, its environment pointing there too."""
    environment = {**os.environ, "PYTHONPATH": str(place)}
    return subprocess.run(
        command, input=batch, stdout=subprocess.PIPE, cwd=place, env=environment, timeout=20, check=True
    ).stdout


def test_the_worker_imports_nothing_from_where_it_is_started_or_from_the_environment(tmp_path: Path) -> None:
    for name in ("node", "ledger", "ed25519_zebra", "typing"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(9)")
    batch = verify_worker.batch_of(_record(0) + _record(1, valid=False))
    assert _answer(verify_worker.command(sys.executable), batch, tmp_path)[0] == 0b01


def test_the_worker_finds_the_library_where_the_node_found_it(tmp_path: Path) -> None:
    python, *rest = verify_worker.command(sys.executable)
    batch = verify_worker.batch_of(_record(0))
    assert _answer((python, "-S", *rest), batch, tmp_path)[0] == 1  # -S: no site-packages


def test_the_worker_takes_parts_of_small_order_as_the_rule_does() -> None:
    digest = bytes(32)
    cases = [reference.signed(5, 7, digest, key, nonce) for key, nonce in ((0, 0), (1, 0), (0, 3), (4, 7))]
    small = reference.signed(5, 0, digest, nonce_part=3)
    records = [record(public, digest, signature) for public, signature in (*cases, small)]
    assert verify_worker.bitmap(b"".join(records)) == 0b01111


def test_a_record_of_another_shape_is_our_bug() -> None:
    for parts in ((PUBLIC[:31], bytes(32), bytes(65)), (PUBLIC, bytes(31), bytes(65)), (PUBLIC, bytes(32), bytes(63))):
        with pytest.raises(InvariantViolation):
            record(*parts)
