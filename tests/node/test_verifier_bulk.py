"""Pieces of a bulk: every record is handed out once, whoever takes how many, and the answer is one bitmap."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.verifier_bulk import Bulk, BulkQueue, Piece
from node.verify_worker import RECORD_BYTES


def bulk_of(count: int) -> Bulk:
    return Bulk(b"".join(number.to_bytes(RECORD_BYTES, "big") for number in range(count)))


def numbers(piece: Piece) -> list[int]:
    raw = piece.records
    return [int.from_bytes(raw[at : at + RECORD_BYTES], "big") for at in range(0, len(raw), RECORD_BYTES)]


@given(st.data(), st.integers(1, 60))
def test_whoever_takes_how_many_each_record_is_answered_once_and_the_bitmap_is_of_all(
    data: st.DataObject, count: int
) -> None:
    async def run() -> None:
        queue, bulk = BulkQueue(), bulk_of(count)
        queue.add(bulk)
        seen: list[int] = []
        while (piece := queue.take(data.draw(st.integers(1, 20)))) is not None:
            if data.draw(st.booleans()) and data.draw(st.booleans()):
                queue.give_back(piece)
                continue
            seen += numbers(piece)
            assert not bulk.done.done()
            piece.settle(sum(1 << at for at, number in enumerate(numbers(piece)) if number % 3))
        assert sorted(seen) == list(range(count))
        assert bulk.done.result() == sum(1 << number for number in range(count) if number % 3)

    asyncio.run(run())


@pytest.mark.asyncio
async def test_the_oldest_is_taken_first_a_piece_given_back_before_all_and_of_the_unwanted_nothing() -> None:
    queue, first, gone, last = BulkQueue(), bulk_of(5), bulk_of(4), bulk_of(2)
    for bulk in (first, gone, last):
        queue.add(bulk)
    gone.done.cancel()
    taken = queue.take(3)
    assert taken is not None
    assert numbers(taken) == [0, 1, 2]
    queue.give_back(taken)
    order = []
    while (piece := queue.take(3)) is not None:
        order.append((piece.bulk, numbers(piece)))
    assert order == [(first, [0, 1, 2]), (first, [3, 4]), (last, [0, 1])]
    assert not queue


@pytest.mark.asyncio
async def test_a_piece_of_a_bulk_that_is_gone_meanwhile_may_still_be_answered() -> None:
    queue, bulk = BulkQueue(), bulk_of(2)
    queue.add(bulk)
    piece = queue.take(2)
    assert piece is not None
    bulk.done.cancel()
    piece.settle(3)
    assert bulk.done.cancelled()


@pytest.mark.asyncio
async def test_who_waits_at_the_end_is_cancelled() -> None:
    queue, bulk = BulkQueue(), bulk_of(2)
    queue.add(bulk)
    queue.close()
    assert bulk.done.cancelled()
    assert queue.take(1) is None
