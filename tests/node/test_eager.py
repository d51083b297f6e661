"""A coroutine begun at once: what waits for nothing is done when ``begin`` returns, the rest is a task like others."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from node.eager import begin


def test_what_waits_for_nothing_is_done_at_once_and_no_task() -> None:
    done: list[str] = []
    spawned: list[Coroutine[Any, Any, None]] = []

    async def work() -> None:
        done.append("all")

    begin(work(), spawned.append)
    assert (done, spawned) == (["all"], [])


def test_what_it_raises_before_it_waits_the_caller_gets() -> None:
    async def work() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        begin(work(), lambda rest: None)


@pytest.mark.asyncio
async def test_what_waits_goes_on_as_a_task_with_what_it_waited_for() -> None:
    told: list[str] = []
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        told.append("begun")
        told.append(await answer)
        await asyncio.sleep(0)
        told.append("done")

    async with asyncio.TaskGroup() as tasks:
        begin(work(), tasks.create_task)
        assert told == ["begun"]
        answer.set_result("answered")
    assert told == ["begun", "answered", "done"]


@pytest.mark.asyncio
async def test_a_yield_to_the_loop_is_waiting_too() -> None:
    told: list[str] = []

    async def work() -> None:
        await asyncio.sleep(0)
        told.append("after the others")

    async with asyncio.TaskGroup() as tasks:
        begin(work(), tasks.create_task)
        assert told == []
    assert told == ["after the others"]


@pytest.mark.asyncio
async def test_an_error_of_what_it_waits_for_is_raised_within() -> None:
    failing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    seen: list[str] = []

    async def work() -> None:
        try:
            await failing
        except OSError as error:
            seen.append(str(error))

    async with asyncio.TaskGroup() as tasks:
        begin(work(), tasks.create_task)
        failing.set_exception(OSError("the disk"))
    assert seen == ["the disk"]


@pytest.mark.asyncio
@pytest.mark.parametrize("turns", [0, 1])
async def test_cancelled_it_cleans_up_whether_its_task_has_begun_or_not(turns: int) -> None:
    never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    told: list[str] = []

    async def work() -> None:
        try:
            await never
        finally:
            told.append("cleaned up")

    async with asyncio.TaskGroup() as tasks:
        rest: list[asyncio.Task[None]] = []
        begin(work(), lambda coroutine: rest.append(tasks.create_task(coroutine)))
        for _ in range(turns):
            await asyncio.sleep(0)
        rest[0].cancel()
    assert told == ["cleaned up"]


@pytest.mark.asyncio
async def test_a_lock_held_by_another_is_waited_for() -> None:
    lock, told = asyncio.Lock(), []

    async def work(name: str) -> None:
        async with lock:
            told.append(name)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        begin(work("first"), tasks.create_task)
        begin(work("second"), tasks.create_task)
        assert told == ["first"]
    assert told == ["first", "second"]


def test_who_spawns_may_give_the_rest_up() -> None:
    told: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(1)
        finally:
            told.append("closed")

    loop = asyncio.new_event_loop()

    async def main() -> None:
        begin(work(), lambda rest: rest.close())

    loop.run_until_complete(main())
    loop.close()
    assert told == ["closed"]
