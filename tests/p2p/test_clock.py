"""Alarms and time limits by a clock that is moved by hand."""

import asyncio

import pytest

from p2p.clock import Alarm, SystemClock, time_limit
from tests.p2p.harness import ManualClock


@pytest.mark.asyncio
async def test_an_alarm_returns_when_rung_or_when_its_time_is_over() -> None:
    clock = ManualClock()
    alarm = Alarm(clock)
    alarm.ring()
    await alarm.wait()  # a ring nobody waited for is kept, once
    order: list[str] = []

    async def wait() -> None:
        await alarm.wait(5.0)
        order.append("over")

    task = asyncio.ensure_future(wait())
    await asyncio.sleep(0)
    clock.advance(4.9)
    await asyncio.sleep(0)
    assert order == []
    clock.advance(0.1)
    await task
    task = asyncio.ensure_future(wait())
    await asyncio.sleep(0)
    alarm.ring()
    await task
    assert order == ["over", "over"]


@pytest.mark.asyncio
async def test_a_time_limit_ends_the_work_by_the_injected_clock() -> None:
    clock = ManualClock()
    asyncio.get_running_loop().call_soon(clock.advance, 3.0)
    with pytest.raises(TimeoutError):
        async with time_limit(clock, 3.0):
            await asyncio.Event().wait()
    async with time_limit(clock, 1.0):
        pass
    clock.advance(10.0)  # a limit that was kept leaves nothing behind


@pytest.mark.asyncio
async def test_the_system_clock_runs_and_does_not_go_back() -> None:
    clock, fired = SystemClock(), asyncio.Event()
    before = clock.monotonic_s()
    clock.call_later(0.0, fired.set)
    await fired.wait()
    assert clock.monotonic_s() >= before
    assert clock.time_ms() > 1_600_000_000_000
