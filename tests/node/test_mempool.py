"""The mempool: first come first served, bounded, expired by committed blocks only."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import TransactionRejected
from ledger.limits import VALIDITY_WINDOW_MS
from ledger.transactions import Exit, Transaction
from node import mempool as module
from node.mempool import ITEM_OVERHEAD_BYTES, Limits, Mempool, SignerClass

ORGANISATION, MEMBER, STRANGER = b"o" * 32, b"m" * 32, b"s" * 32
CLASSES = {ORGANISATION: SignerClass.ORGANISATION, MEMBER: SignerClass.MEMBER}
LARGE = Limits(
    transactions_max=1_000,
    bytes_max=1_000_000,
    organisation_transactions_max=1_000,
    member_transactions_max=1_000,
    unknown_transactions_max=1_000,
)


def classify(key: bytes) -> SignerClass:
    return CLASSES.get(key, SignerClass.UNKNOWN)


def ident(number: int) -> bytes:
    return number.to_bytes(32, "big")


def transaction(number: int = 0, *, signer: bytes = ORGANISATION, valid_until_ms: int = 1_000) -> Transaction:
    return Transaction(1, Exit(number), signer, valid_until_ms, bytes(16), bytes(64))


def put(
    pool: Mempool,
    number: int,
    *,
    signer: bytes = ORGANISATION,
    size: int = 100,
    valid_until_ms: int = 1_000,
    now_ms: int = 0,
) -> bytes:
    tx_id = ident(number)
    pool.add(tx_id, bytes(size), transaction(number, signer=signer, valid_until_ms=valid_until_ms), now_ms)
    return tx_id


def refused(action: Callable[[], object]) -> str:
    with pytest.raises(TransactionRejected) as caught:
        action()
    return caught.value.code


def test_transactions_are_picked_in_the_order_they_came() -> None:
    pool = Mempool(LARGE, classify)
    ids = [put(pool, number) for number in (5, 3, 9, 1)]
    assert [tx_id for tx_id, _ in pool.pick(10_000, 10, 1_000)] == ids
    assert [tx_id for tx_id, _ in pool.pick(10_000, 2, 1_000)] == ids[:2]
    assert [tx_id for tx_id, _ in pool.pick(10_000, 10, 1_000, exclude={ids[0]})] == ids[1:]
    assert len(pool) == 4  # picking takes nothing out


def test_a_transaction_larger_than_the_wished_fill_gets_a_block_of_its_own() -> None:
    pool = Mempool(LARGE, classify)
    small, large, later = put(pool, 1), put(pool, 2, size=500), put(pool, 3)
    wish, most = 250, 500 + ITEM_OVERHEAD_BYTES
    picks = []
    for _ in range(3):
        picked = [tx_id for tx_id, _ in pool.pick(wish, 100, 0, alone_bytes_max=most)]
        picks.append(picked)
        pool.remove_committed(picked, 0)
    assert picks == [[small, later], [large], []]
    put(pool, 4, size=501)
    assert pool.pick(wish, 100, 0, alone_bytes_max=most) == []


def test_a_pick_fills_its_bytes_to_the_last_one_and_not_beyond() -> None:
    pool = Mempool(LARGE, classify)
    first, large, small = put(pool, 1, size=100), put(pool, 2, size=300), put(pool, 3, size=50)
    two = 100 + 50 + 2 * ITEM_OVERHEAD_BYTES
    assert [tx_id for tx_id, _ in pool.pick(two, 10, 1_000)] == [first, small]
    assert [tx_id for tx_id, _ in pool.pick(two - 1, 10, 1_000)] == [first]
    pool.remove_committed([first, small], 0)
    assert [tx_id for tx_id, _ in pool.pick(two + 200, 10, 1_000)] == [large]


def test_a_block_takes_only_what_is_valid_at_its_time() -> None:
    pool = Mempool(LARGE, classify)
    tx_id = put(pool, 1, valid_until_ms=VALIDITY_WINDOW_MS + 50)
    assert not pool.pick(10_000, 10, 49)
    assert pool.pick(10_000, 10, 50) == [(tx_id, bytes(100))]
    assert pool.pick(10_000, 10, VALIDITY_WINDOW_MS + 50)
    assert not pool.pick(10_000, 10, VALIDITY_WINDOW_MS + 51)
    assert tx_id in pool  # only a committed block expires it


def test_only_a_committed_block_past_valid_until_expires_a_transaction() -> None:
    pool = Mempool(LARGE, classify)
    tx_id, other = put(pool, 1, valid_until_ms=1_000), put(pool, 2, valid_until_ms=2_000)
    assert pool.remove_committed([], 1_000) == []
    assert not pool.expired(tx_id)
    assert pool.remove_committed([], 1_001) == [tx_id]
    assert pool.expired(tx_id)
    assert tx_id not in pool
    assert other in pool
    assert not pool.expired(other)


def test_a_committed_transaction_leaves_and_is_not_called_expired() -> None:
    pool = Mempool(LARGE, classify)
    tx_id = put(pool, 1, valid_until_ms=1_000)
    assert pool.remove_committed([tx_id, ident(99)], 5_000) == []
    assert len(pool) == 0
    assert pool.size_bytes == 0
    assert not pool.expired(tx_id)


def test_what_waits_when_an_epoch_begins_has_expired() -> None:
    pool = Mempool(LARGE, classify)
    ids = [put(pool, number, size=100 + number) for number in range(3)]
    assert pool.expire_all() == ids
    assert all(map(pool.expired, ids))
    assert (len(pool), pool.size_bytes, pool.expire_all()) == (0, 0, [])
    pool.remove_committed([], 5_000)
    assert put(pool, 4) in pool


def test_ids_of_expired_transactions_are_remembered_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXPIRED_IDS_MAX", 3)
    pool = Mempool(LARGE, classify)
    ids = [put(pool, number, valid_until_ms=number) for number in range(5)]
    pool.remove_committed([], 100)
    assert [pool.expired(tx_id) for tx_id in ids] == [False, False, True, True, True]
    more = [put(pool, number) for number in range(10, 14)]
    pool.expire_all()
    assert [pool.expired(tx_id) for tx_id in (*ids, *more)] == [False] * 6 + [True] * 3


def test_the_same_transaction_waits_once() -> None:
    pool = Mempool(LARGE, classify)
    put(pool, 1)
    assert refused(lambda: put(pool, 1)) == "DUPLICATE"


def test_the_pool_is_full_at_its_count_and_not_before() -> None:
    pool = Mempool(Limits(transactions_max=3), classify)
    for number in range(3):
        put(pool, number)
    assert refused(lambda: put(pool, 3)) == "MEMPOOL_FULL"
    pool.remove_committed([ident(0)], 0)
    put(pool, 3)


def test_the_pool_is_full_whoever_fills_it() -> None:
    pool = Mempool(Limits(transactions_max=3), classify)
    put(pool, 0, signer=STRANGER)
    put(pool, 1)
    put(pool, 2)
    assert refused(lambda: put(pool, 3)) == "MEMPOOL_FULL"


def test_the_pool_is_full_at_its_bytes_and_not_before() -> None:
    pool = Mempool(Limits(bytes_max=1_000), classify)
    put(pool, 1, size=999)
    assert refused(lambda: put(pool, 2, size=2)) == "MEMPOOL_FULL"
    put(pool, 3, size=1)
    assert pool.size_bytes == 1_000


@pytest.mark.parametrize(("signer", "quota"), [(ORGANISATION, 5), (MEMBER, 3), (STRANGER, 1)])
def test_each_signer_has_the_quota_of_its_class(signer: bytes, quota: int) -> None:
    limits = Limits(
        transactions_max=1_000,
        organisation_transactions_max=5,
        member_transactions_max=3,
        unknown_transactions_max=1,
    )
    pool = Mempool(limits, classify)
    for number in range(quota):
        put(pool, number, signer=signer)
    assert refused(lambda: put(pool, quota, signer=signer)) == "QUOTA_EXCEEDED"
    pool.remove_committed([ident(0)], 0)
    put(pool, quota, signer=signer)
    put(pool, quota + 1, signer=b"another organisation's key......" if signer is not STRANGER else ORGANISATION)


def test_a_quota_of_zero_refuses_strangers_altogether() -> None:
    pool = Mempool(Limits(unknown_transactions_max=0), classify)
    assert refused(lambda: put(pool, 1, signer=STRANGER)) == "QUOTA_EXCEEDED"


@pytest.mark.parametrize(("kind", "share"), [(SignerClass.MEMBER, 4), (SignerClass.UNKNOWN, 16)])
def test_many_keys_of_members_or_strangers_cannot_fill_the_pool(kind: SignerClass, share: int) -> None:
    pool = Mempool(Limits(transactions_max=64), lambda key: classify(key) if key == ORGANISATION else kind)
    for number in range(64 // share):
        put(pool, number, signer=ident(number))
    assert refused(lambda: put(pool, 100, signer=ident(100))) == "MEMPOOL_FULL"
    for number in range(200, 200 + 64 - 64 // share):
        put(pool, number)
    assert len(pool) == 64


def test_bytes_of_strangers_are_bounded_too() -> None:
    pool = Mempool(Limits(bytes_max=16_000), classify)
    put(pool, 1, signer=ident(1), size=999)
    assert refused(lambda: put(pool, 2, signer=ident(2), size=2)) == "MEMPOOL_FULL"
    put(pool, 3, signer=ident(3), size=1)


def test_missing_names_what_neither_waits_nor_is_pinned() -> None:
    pool = Mempool(LARGE, classify)
    waiting = put(pool, 1)
    pool.pin(b"block", [(ident(2), b"raw")])
    assert pool.missing([ident(3), ident(2), waiting, ident(4)]) == [ident(3), ident(4)]
    assert pool.raw(ident(2)) == b"raw"
    pool.unpin(b"block")
    pool.unpin(b"block")
    assert pool.raw(ident(2)) is None


def test_a_pinned_transaction_stays_readable_after_it_left_the_pool() -> None:
    pool = Mempool(LARGE, classify)
    tx_id = put(pool, 1, valid_until_ms=10)
    pool.pin(b"block", [(tx_id, bytes(100))])
    pool.remove_committed([], 11)
    assert pool.raw(tx_id) == bytes(100)
    pool.unpin_all()
    assert pool.raw(tx_id) is None


def test_pins_are_bounded_and_the_oldest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PINS_MAX", 2)
    pool = Mempool(LARGE, classify)
    for number in range(3):
        pool.pin(ident(number), [(ident(number), b"raw")])
    assert [pool.raw(ident(number)) for number in range(3)] == [None, b"raw", b"raw"]


def test_a_transaction_is_due_when_a_quorum_announced_it_and_it_is_older_than_the_bound() -> None:
    pool = Mempool(LARGE, classify)
    tx_id = put(pool, 1, now_ms=100)
    pool.announce(0, [tx_id])
    pool.announce(0, [tx_id])
    pool.announce(2, [tx_id])
    assert pool.oldest_due(50, 3, 1_000) is None
    pool.announce(1, [tx_id])
    assert pool.oldest_due(50, 3, 149) is None
    assert pool.oldest_due(50, 3, 150) == tx_id
    pool.remove_committed([tx_id], 0)
    assert pool.oldest_due(50, 3, 150) is None


def test_announcements_that_come_before_the_transaction_count() -> None:
    pool = Mempool(LARGE, classify)
    for index in range(3):
        pool.announce(index, [ident(1)])
    assert pool.oldest_due(0, 3, 0) is None
    assert pool.oldest_due(0, 3, 0) is None
    tx_id = put(pool, 1)
    assert pool.oldest_due(0, 3, 0) == tx_id


def test_early_announcements_are_bounded_for_each_validator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EARLY_ANNOUNCEMENTS_MAX", 2)
    pool = Mempool(LARGE, classify)
    pool.announce(1, [ident(1)])
    pool.announce(0, [ident(1), ident(2), ident(3)])
    masks = []
    for number in (1, 2, 3):
        entry = pool.get(put(pool, number))
        assert entry is not None
        masks.append(entry.announced)
    assert masks == [0b10, 0b01, 0b01]


def test_a_new_validator_set_starts_without_announcements_and_a_new_quorum_counts_again() -> None:
    pool = Mempool(LARGE, classify)
    tx_id = put(pool, 1)
    for index in range(3):
        pool.announce(index, [tx_id])
    assert pool.oldest_due(0, 5, 0) is None
    assert pool.oldest_due(0, 3, 0) == tx_id
    pool.forget_announcements()
    assert pool.oldest_due(0, 3, 0) is None


def test_old_transactions_are_named_oldest_first_up_to_a_count() -> None:
    pool = Mempool(LARGE, classify)
    ids = [put(pool, number, now_ms=number * 10) for number in range(5)]
    assert pool.older_than(20, 40, 10) == ids[:3]
    assert pool.older_than(20, 40, 2) == ids[:2]


ACTIONS = st.lists(
    st.one_of(
        st.tuples(
            st.just("add"),
            st.integers(0, 30),
            st.sampled_from([ORGANISATION, MEMBER, STRANGER, b"t" * 32]),
            st.integers(1, 400),
            st.integers(0, 50),
        ),
        st.tuples(st.just("commit"), st.lists(st.integers(0, 30), max_size=4), st.integers(0, 50)),
        st.tuples(st.just("announce"), st.integers(0, 3), st.lists(st.integers(0, 30), max_size=6)),
    ),
    max_size=60,
)


def _put_action(pool: Mempool, action: tuple[Any, ...]) -> None:
    _, number, signer, size, until = action
    put(pool, number, signer=signer, size=size, valid_until_ms=until)


@settings(max_examples=150, deadline=None)
@given(ACTIONS)
def test_the_pool_equals_a_slow_model(actions: list[tuple[Any, ...]]) -> None:
    limits = Limits(
        transactions_max=12,
        bytes_max=2_000,
        organisation_transactions_max=8,
        member_transactions_max=3,
        unknown_transactions_max=1,
    )
    pool = Mempool(limits, classify)
    model: list[tuple[int, bytes, int, int]] = []  # (number, signer, size, valid_until), in order of arrival
    announced: dict[int, set[int]] = {}
    block_time = 0

    def model_code(number: int, signer: bytes, size: int) -> str | None:
        kind = classify(signer)
        same = [item for item in model if classify(item[1]) is kind]
        share = {SignerClass.ORGANISATION: 1, SignerClass.MEMBER: 4, SignerClass.UNKNOWN: 16}[kind]
        if any(item[0] == number for item in model):
            return "DUPLICATE"
        if sum(item[1] == signer for item in model) >= limits.of_signer(kind):
            return "QUOTA_EXCEEDED"
        if len(model) >= 12 or sum(item[2] for item in model) + size > 2_000:
            return "MEMPOOL_FULL"
        if len(same) >= max(1, 12 // share) or sum(item[2] for item in same) + size > 2_000 // share:
            return "MEMPOOL_FULL"
        return None

    for action in actions:
        if action[0] == "add":
            _, number, signer, size, until = action
            expected = model_code(number, signer, size)
            if expected is None:
                put(pool, number, signer=signer, size=size, valid_until_ms=until)
                model.append((number, signer, size, until))
            else:
                assert refused(partial(_put_action, pool, action)) == expected
        elif action[0] == "commit":
            block_time = max(block_time, action[2])
            expired = pool.remove_committed([ident(number) for number in action[1]], block_time)
            for number in action[1]:
                if any(item[0] == number for item in model):
                    announced.pop(number, None)
            model = [item for item in model if item[0] not in action[1]]
            gone = [item for item in model if item[3] < block_time]
            assert sorted(expired) == sorted(ident(item[0]) for item in gone)
            for item in gone:
                announced.pop(item[0], None)
            model = [item for item in model if item[3] >= block_time]
        else:
            pool.announce(action[1], [ident(number) for number in action[2]])
            for number in action[2]:
                announced.setdefault(number, set()).add(action[1])
        assert pool.ids() == [ident(item[0]) for item in model]
        assert pool.size_bytes == sum(item[2] for item in model)
        picked = [tx_id for tx_id, _ in pool.pick(10**9, 10**9, block_time)]
        assert picked == [ident(item[0]) for item in model if item[3] >= block_time]
        ripe = {ident(item[0]) for item in model if len(announced.get(item[0], ())) >= 3}
        due = pool.oldest_due(0, 3, 0)
        assert (due in ripe) if ripe else due is None
    for item in model:
        pool.remove_committed([ident(item[0])], block_time)
    assert (len(pool), pool.size_bytes) == (0, 0)
