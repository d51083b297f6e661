"""The filter of seen ids: it never denies one that may still be valid, forgets in time, and rarely suspects others."""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.calendar import MS_PER_DAY
from ledger.limits import VALIDITY_WINDOW_MS
from ledger.store import MemoryStore
from ledger.transactions import AdvanceClock, transaction_id
from node import seen as module
from node.seen import SeenFilter
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


@pytest.mark.asyncio
async def test_only_ids_that_may_still_be_valid_are_read_from_the_store() -> None:
    """To the millisecond: what a block of ``t`` holds may be valid until t + W."""
    source, store = Source(), MemoryStore()
    chain, known = open_chain(source.genesis, store), []
    for day in (1, 2):
        block = source.block(("clock", AdvanceClock(START_MS + day * MS_PER_DAY)))
        known.append((block.header.time_ms, transaction_id(block.body.transactions[0])))
        assert await chain.import_block(raw(block))
    (old_ms, old), (_, young) = known
    assert list(chain.blocks.recent_ids(chain.height)) == [young, old]
    assert await chain.import_block(raw(source.block(time_ms=old_ms + W)))
    assert list(chain.blocks.recent_ids(chain.height)) == [young, old]
    assert await chain.import_block(raw(source.block(time_ms=old_ms + W + 1)))
    assert list(chain.blocks.recent_ids(chain.height)) == [young]


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
