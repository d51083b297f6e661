"""Quorum arithmetic over distinct current validators (CONSENSUS, head of the page)."""

import pytest

from consensus.context import HeightContext, Timing
from consensus.proposer import proposer_order
from consensus.quorum import faults, is_quorum, join_round, quorum, reached
from ledger.beacon import alpha
from ledger.codec import digest
from ledger.errors import InvariantViolation
from tests.consensus.harness import make_context, validator_set

SIZES = range(1, 32)


@pytest.mark.parametrize("n", SIZES)
def test_two_quorums_meet_in_an_honest_validator(n: int) -> None:
    assert 2 * quorum(n) - n > faults(n)


@pytest.mark.parametrize("n", SIZES)
def test_the_honest_ones_are_a_quorum(n: int) -> None:
    assert n - faults(n) >= quorum(n)


@pytest.mark.parametrize("n", SIZES)
def test_a_smaller_quorum_would_not_do(n: int) -> None:
    assert n == 1 or 2 * (quorum(n) - 1) - n <= faults(n)


def test_known_sizes() -> None:
    assert [(n, faults(n), quorum(n)) for n in (1, 3, 4, 5, 6, 7, 31, 100)] == [
        (1, 0, 1), (3, 0, 2), (4, 1, 3), (5, 1, 4), (6, 1, 4), (7, 2, 5), (31, 10, 21), (100, 33, 67),
    ]  # fmt: skip


@pytest.mark.parametrize("n", SIZES)
def test_a_quorum_counts_distinct_members_only(n: int) -> None:
    q = quorum(n)
    assert is_quorum(list(range(q)), n)
    assert not is_quorum(list(range(q - 1)), n)
    assert not is_quorum([0] * n, n) or q == 1
    assert not is_quorum([*range(q - 1), n, n + 1, -1], n)


@pytest.mark.parametrize("n", SIZES)
def test_the_join_round_has_an_honest_validator(n: int) -> None:
    f = faults(n)
    assert join_round([9] * f + [0] * (n - f), n) == 0
    assert join_round([9] * (f + 1) + [0] * (n - f - 1), n) == 9
    assert join_round([9] * f, n) == -1


@pytest.mark.parametrize("n", SIZES)
def test_the_timer_waits_for_a_quorum_at_or_above(n: int) -> None:
    q = quorum(n)
    assert reached([3] * q + [-1] * (n - q), 3, n)
    assert not reached([3] * (q - 1) + [2] * (n - q + 1), 3, n)


def test_round_timeouts_double_up_to_the_cap() -> None:
    timing = Timing(timeout_ms=1_000, timeout_ms_max=30_000, certify_wait_ms=50)
    assert [timing.round_timeout_ms(r) for r in (0, 1, 4, 5, 2**31)] == [1_000, 2_000, 16_000, 30_000, 30_000]
    assert [timing.resend_ms(r) for r in (0, 2, 3)] == [1_000, 4_000, 5_000]


def test_proposers_are_ordered_by_the_hash_of_beacon_height_and_key() -> None:
    validators, beacon = validator_set(7), bytes(range(64))
    order = proposer_order(beacon, 5, validators, {0, 2, 3, 6})
    assert sorted(order) == [0, 2, 3, 6]
    keys = [digest(beacon + (5).to_bytes(8, "big") + validators[i].validator_key) for i in order]
    assert keys == sorted(keys)
    assert alpha(beacon, 5) == beacon + (5).to_bytes(8, "big")


def test_no_eligible_proposer_is_our_bug() -> None:
    with pytest.raises(InvariantViolation):
        proposer_order(bytes(64), 1, validator_set(4), {9})


def test_the_order_wraps_around_the_eligible_ones() -> None:
    context = make_context(4, 0, [])
    assert [context.proposer(r) for r in range(8)] == list(context.proposers) * 2


@pytest.mark.parametrize("field", [{"proposers": ()}, {"proposers": (4,)}, {"index": 4}, {"validators": ()}])
def test_a_context_that_does_not_fit_is_our_bug(field: dict[str, object]) -> None:
    context = make_context(4, 0, [])
    values = {name: getattr(context, name) for name in HeightContext.__dataclass_fields__}
    with pytest.raises(InvariantViolation):
        HeightContext(**{**values, **field})
