"""Draws: later beacons of f + 1 creators decide, everybody is drawn alike, anyone can recompute (LEDGER §7)."""

from collections import Counter
from hashlib import sha256

from ledger import draws
from ledger.rows import Draw
from ledger.state import BlockContext, Index, State, u64
from ledger.store import MemoryStore, Overlay


def at(state: State, height: int, creator: bytes = b"c", beacon: bytes = b"b") -> State:
    """The state as a block of that height, creator and beacon sees it."""
    state.block = BlockContext(bytes(32), height, height, height, creator, beacon)
    return state


def fresh() -> State:
    return State(Overlay(MemoryStore()), BlockContext(bytes(32), 1, 1, 1, b"c", b"b"))


def test_what_one_block_wants_drawn_shares_one_draw() -> None:
    state = fresh()
    assert draws.request(at(state, 5)) == draws.request(state) == 0
    assert draws.request(at(state, 6)) == 1


def test_the_block_that_opened_a_draw_does_not_contribute() -> None:
    state = at(fresh(), 5)
    draws.request(state)
    assert draws.contribute(state, 1, 1) == []
    assert state.get(Draw, 0) == Draw(5, 0, (), bytes(32), 0)


def test_a_draw_closes_with_enough_blocks_and_enough_creators() -> None:
    state = at(fresh(), 5)
    draws.request(state)
    assert draws.contribute(at(state, 6, b"x", b"1"), 2, 3) == []
    assert draws.contribute(at(state, 7, b"y", b"2"), 2, 3) == []
    seed = sha256(sha256(sha256(bytes(32) + b"1").digest() + b"2").digest() + b"3").digest()
    assert draws.contribute(at(state, 8, b"x", b"3"), 2, 3) == [(0, seed)]
    assert state.get(Draw, 0) == Draw(5, 3, (b"x", b"y"), seed, 8)
    assert draws.contribute(at(state, 9, b"z", b"4"), 2, 3) == []


def test_blocks_of_one_creator_alone_never_close_a_draw() -> None:
    state = at(fresh(), 5)
    draws.request(state)
    for height in range(6, 30):
        assert draws.contribute(at(state, height, b"x"), 2, 3) == []
    assert draws.contribute(at(state, 30, b"y"), 2, 3) != []


def test_open_draws_close_each_by_its_own_count_in_order() -> None:
    state = at(fresh(), 5)
    draws.request(state)
    draws.contribute(state, 1, 2)
    draws.request(at(state, 6))
    assert draws.contribute(state, 1, 2) == []
    assert [draw for draw, _ in draws.contribute(at(state, 7), 1, 2)] == [0]
    assert [draw for draw, _ in draws.contribute(at(state, 8), 1, 2)] == [1]


def test_those_who_wait_for_a_draw_are_found_ascending() -> None:
    state = fresh()
    for claim in (300, 2, 17):
        state.index_put(Index.DRAW, u64(0, claim))
    state.index_put(Index.DRAW, u64(1, 5))
    assert draws.waiting(state, 0) == [2, 17, 300]


def test_every_firm_is_drawn_alike() -> None:
    firms = [3, 5, 8]
    counts = Counter(
        draws.pick(sha256(bytes((seed,))).digest(), claim, firms) for seed in range(20) for claim in range(150)
    )
    assert set(counts) == set(firms)
    expected = 20 * 150 / 3
    chi_squared = sum((count - expected) ** 2 / expected for count in counts.values())
    assert chi_squared < 13.8, "the 0.1 % point of two degrees of freedom"


def test_claims_of_one_draw_are_drawn_independently() -> None:
    seed = sha256(b"seed").digest()
    assert len({tuple(draws.pick(seed, claim + offset, [0, 1]) for claim in range(16)) for offset in range(16)}) == 16


def test_a_pick_can_be_recomputed_from_public_data_alone() -> None:
    seed, claim, firms = sha256(b"running").digest(), 77, [4, 9, 11, 30, 31]
    own = sha256(seed + claim.to_bytes(8, "big")).digest()
    index, space = 0, 2**64
    while True:
        value = int.from_bytes(sha256(own + index.to_bytes(8, "big")).digest()[:8], "big")
        if value < space - space % len(firms):
            break
        index += 1
    assert draws.pick(seed, claim, firms) == firms[value % len(firms)]


def test_a_block_is_mixed_into_the_draws_that_were_open_before_it() -> None:
    state = at(fresh(), 5)
    assert draws.mixed_in(state, 5) == ()
    for height in range(5, 9):
        draws.contribute(at(state, height), 1, 3)
        draws.request(state)
    assert draws.mixed_in(state, 8) == (0, 1, 2), "0 closed with it, 3 was opened by it"
    draws.contribute(at(state, 9), 1, 3)
    assert draws.mixed_in(state, 9) == (1, 2, 3), "0 closed before"
    for height in (10, 11, 12):
        draws.contribute(at(state, height), 1, 3)
    assert draws.mixed_in(state, 12) == ()
