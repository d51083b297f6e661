"""The filter of seen ids: it never denies one that may still be valid, forgets in time, and rarely suspects others."""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.calendar import MS_PER_DAY
from ledger.limits import VALIDITY_WINDOW_MS
from ledger.store import Batch, MemoryStore
from ledger.transactions import AdvanceClock, transaction_id
from node import seen as module
from node.blockstore import MINUTE_MS, BlockReader, seen_key
from node.seen import SeenFilter, SeenSweep
from tests.ledger.chain import START_MS
from tests.ledger.chain import Chain as Source
from tests.node.chains import open_chain, raw

W = VALIDITY_WINDOW_MS


def ids(series: str, count: int) -> list[bytes]:
    return [sha256(f"{series}-{number}".encode()).digest() for number in range(count)]


def opened(head_ms: int = 0, known: list[bytes] | None = None) -> SeenFilter:
    found = SeenFilter()
    found.begin(known or [], head_ms)
    return found


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 3 * W), st.lists(st.integers(0, W), max_size=12))
def test_an_id_is_held_until_no_block_can_hold_it_any_more(begin_ms: int, steps_ms: list[int]) -> None:
    """A block of ``t`` holds an id that is valid until t + W: up to that block time nobody may miss it."""
    held = opened(begin_ms)
    valid: list[tuple[int, bytes]] = []
    now_ms = begin_ms
    for number, step_ms in enumerate(steps_ms):
        now_ms += step_ms
        tx_id = ids(f"{begin_ms}-{steps_ms}", number + 1)[-1]
        held.add([tx_id], now_ms)
        valid.append((now_ms + W, tx_id))
        assert all(held.may_hold(known) for until_ms, known in valid if until_ms >= now_ms)


def test_two_windows_later_an_id_is_forgotten_and_at_once_when_time_has_leapt() -> None:
    (first,), (second,) = ids("a", 1), ids("b", 1)
    held = opened(5 * W)
    held.add([first], 5 * W)
    held.add([second], 6 * W)
    assert held.may_hold(first) and held.may_hold(second)
    held.add([], 7 * W)
    assert not held.may_hold(first) and held.may_hold(second)
    (third,) = ids("c", 1)
    held.add([third], 7 * W + 1)
    held.add([], 9 * W)
    assert not held.may_hold(second) and not held.may_hold(third)


def test_others_are_rarely_suspected_at_the_rate_it_was_made_for() -> None:
    held = opened()
    held.add(ids("committed", 100_000), 1)
    assert sum(map(held.may_hold, ids("other", 20_000))) < 100  # 30 are expected
    assert all(map(held.may_hold, ids("committed", 100_000)))


def test_what_the_store_held_at_the_start_is_held() -> None:
    known = ids("known", 100)
    held = opened(7, known)
    assert all(map(held.may_hold, known))
    assert not any(map(held.may_hold, ids("other", 100)))


def test_too_much_to_be_read_means_that_anything_may_be_held_until_it_has_expired() -> None:
    (other,) = ids("other", 1)
    assert not opened(7, ids("known", module.READ_MAX)).may_hold(other)
    held = opened(7, ids("known", module.READ_MAX + 1))
    fresh = ids("fresh", 1)
    held.add(fresh, 8)
    held.add([], 7 + W)
    assert held.may_hold(other)
    held.add([], 8 + W)
    assert not held.may_hold(other) and held.may_hold(fresh[0])


def test_only_ids_that_may_still_be_valid_are_read_from_the_store() -> None:
    store, (old, young) = MemoryStore(), ids("stored", 2)
    store.write(Batch({seen_key(old, 59_999): b"", seen_key(young, 60_000): b""}))
    assert list(BlockReader(store).seen_ids(60_000)) == [young]
    assert set(BlockReader(store).seen_ids(59_999)) == {old, young}


def swept(store: MemoryStore, sweep: SeenSweep, time_ms: int, added: int) -> int:
    keys = sweep.expired(time_ms, added)
    store.write(Batch(dict.fromkeys(keys)))
    return len(keys)


def test_expired_ids_leave_the_store_with_many_blocks_and_all_of_them_do() -> None:
    store, minute = MemoryStore(), MINUTE_MS
    expired, valid = ids("expired", 2_500), ids("valid", 10)
    store.write(Batch({seen_key(tx_id, 3 * minute - 1 - at % 2 * minute): b"" for at, tx_id in enumerate(expired)}))
    store.write(Batch({seen_key(tx_id, 3 * minute): b"" for tx_id in valid}))
    sweep = SeenSweep(BlockReader(store))
    assert [swept(store, sweep, 3 * minute + at, added) for at, added in enumerate((1, 600, 0, 0))] == [
        1_000,
        1_200,
        300,
        0,
    ]
    assert set(BlockReader(store).seen_ids(0)) == set(valid)
    assert swept(store, sweep, 4 * minute - 1, 0) == 0
    assert swept(store, sweep, 4 * minute, 0) == 10
    assert not list(BlockReader(store).seen_ids(0))


def test_after_a_start_the_sweep_goes_on_with_what_is_left() -> None:
    store, minute = MemoryStore(), MINUTE_MS
    store.write(Batch({seen_key(tx_id, minute - 1): b"" for tx_id in ids("expired", 1_500)}))
    assert swept(store, SeenSweep(BlockReader(store)), minute, 0) == 1_000
    sweep = SeenSweep(BlockReader(store))
    assert [swept(store, sweep, minute + at, 0) for at in range(3)] == [500, 0, 0]


@pytest.mark.asyncio
async def test_a_chain_knows_what_it_committed_also_when_it_is_opened_again() -> None:
    source, store = Source(), MemoryStore()
    chain = open_chain(source.genesis, store)
    block = source.block(("clock", AdvanceClock(START_MS + MS_PER_DAY)))
    tx_id = transaction_id(block.body.transactions[0])
    assert not chain.seen(tx_id)
    assert await chain.import_block(raw(block))
    assert chain.seen(tx_id)
    assert open_chain(source.genesis, store).seen(tx_id)
