"""Executing a block in slices: the loop gets its turn in between, the result is that of one go."""

import asyncio

import pytest

from ledger.apply import apply_block
from ledger.calendar import MS_PER_DAY
from ledger.transactions import AdvanceClock, decode_transaction, transaction_id
from node.executor import SLICE_S, execute
from tests.ledger.chain import START_MS, Chain

TRANSACTIONS = 10


@pytest.mark.asyncio
@pytest.mark.parametrize(("step_s", "turns_min"), [(0.0, 0), (SLICE_S * 1.01, TRANSACTIONS)])
async def test_the_loop_gets_its_turn_after_each_slice(step_s: float, turns_min: int) -> None:
    source = Chain()
    raws = [source.transaction("clock", AdvanceClock(START_MS + (day + 1) * MS_PER_DAY)) for day in range(TRANSACTIONS)]
    header, body, transactions = source.propose(raws)
    turns, now_s, done = 0, 0.0, False

    def clock() -> float:
        nonlocal now_s
        now_s += step_s
        return now_s

    async def other_work() -> None:
        nonlocal turns
        while not done:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(other_work())
    await asyncio.sleep(0)
    before = turns
    applied = await execute(source.store, source.view, header, body, transactions, now_s=clock)
    during, done = turns - before, True
    await other
    assert turns_min <= during <= turns_min + 2
    whole = apply_block(source.store, source.view, header, body.parent_certificate, transactions)
    assert (applied.state_root, applied.receipts, applied.view) == (whole.state_root, whole.receipts, whole.view)


@pytest.mark.asyncio
async def test_undo_holds_the_old_value_of_every_key_the_block_changes() -> None:
    source = Chain()
    header, body, transactions = source.propose()
    applied = await execute(source.store, source.view, header, body, transactions)
    before = {key: source.store.get(key) for key in applied.batch.changes}
    source.store.write(applied.batch)
    undo = applied.undo.batch(source.store)
    assert undo.changes.keys() == applied.batch.changes.keys()
    source.store.write(undo)
    assert {key: source.store.get(key) for key in undo.changes} == before


def test_the_helpers_transactions_are_what_a_node_would_decode() -> None:
    source = Chain()
    raw = source.transaction("clock", AdvanceClock(START_MS + MS_PER_DAY))
    assert source.propose([raw])[2] == [(transaction_id(raw), decode_transaction(raw))]
