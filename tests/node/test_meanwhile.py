"""While the loop waits it does a part of what others have too much of, and no more than there is."""

import asyncio

import pytest

from node.meanwhile import meanwhile, nothing


@pytest.mark.asyncio
async def test_work_is_done_until_the_result_is_there_and_others_have_their_turn_after_each_part() -> None:
    awaited: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    order: list[str] = []

    def work() -> bool:
        order.append("part")
        return len(order) < 20

    async def other() -> None:
        for _ in range(3):
            order.append("other")
            await asyncio.sleep(0)
        awaited.set_result("found")

    async with asyncio.TaskGroup() as group:
        group.create_task(other())
        assert await meanwhile(awaited, work) == "found"
    assert order[:6] == ["part", "other"] * 3
    assert len(order) <= 7


@pytest.mark.asyncio
async def test_without_work_it_waits_and_does_not_ask_again() -> None:
    awaited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    asked: list[None] = []

    def work() -> bool:
        asked.append(None)
        return False

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(meanwhile(awaited, work))
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(asked) == 1
        awaited.set_result(7)
    assert task.result() == 7


@pytest.mark.asyncio
async def test_a_result_that_is_there_needs_no_work_and_an_error_is_raised() -> None:
    awaited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    awaited.set_exception(OSError("full"))

    def work() -> bool:
        raise AssertionError("there was nothing to wait for")

    with pytest.raises(OSError, match="full"):
        await meanwhile(awaited, work)
    assert not nothing()
