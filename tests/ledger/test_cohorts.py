"""Counts by birth month, beginning and base: live, collapsed, frozen."""

from datetime import date

import pytest
from msgspec.structs import replace

from ledger import cohorts
from ledger.errors import InvariantViolation
from ledger.members import _new_member
from ledger.rows import Cohort, Frozen
from ledger.state import State
from tests.ledger.lockstep_kit import identity, new_state

MONTH = 1990 * 12
YEAR_2019 = 24


def counts_of(state: State, plan: int = 0) -> dict[int, tuple[tuple[int, int, int], ...]]:
    return {row.birth_month: row.counts for _, row in cohorts.rows(state, plan)}


def test_counts_rise_and_fall_and_an_empty_cohort_disappears() -> None:
    state = new_state(date(2019, 1, 1))
    cohorts.adjust(state, 0, MONTH, {(30, 0): 2, (26, 5): 1})
    cohorts.adjust(state, 0, MONTH, {(30, 0): 1, (26, 5): -1})
    assert counts_of(state) == {MONTH: ((30, 0, 3),)}
    assert state.length(Cohort) == 1


def test_a_count_below_zero_is_our_bug() -> None:
    state = new_state(date(2019, 1, 1))
    with pytest.raises(InvariantViolation):
        cohorts.adjust(state, 0, MONTH, {(30, 0): -1})


def test_the_beginning_and_the_base_matter_only_in_their_year() -> None:
    member = replace(_new_member(0, identity(1), MONTH, 17_000, YEAR_2019), base_fen=7)
    assert cohorts.key_of(member, 2019) == (YEAR_2019, 7)
    assert cohorts.key_of(member, 2018) == (YEAR_2019, 7), "he begins next year"
    assert cohorts.key_of(member, 2020) == (0, 0)


def test_a_new_year_collapses_what_began_before_it() -> None:
    state = new_state(date(2019, 1, 1))
    cohorts.adjust(state, 0, MONTH, {(0, 0): 4, (22, 0): 2, (23, 9): 1, (24, 3): 5, (25, 0): 6})
    cohorts.adjust(state, 1, MONTH, {(22, 0): 1})
    cohorts.collapse(state, 0, 2019)
    assert counts_of(state) == {MONTH: ((0, 0, 7), (24, 3, 5), (25, 0, 6))}
    assert counts_of(state, 1) == {MONTH: ((22, 0, 1),)}, "another plan has its own year"


def test_a_notice_copies_only_who_shares_the_period_ascending_by_month() -> None:
    state = new_state(date(2019, 1, 1))
    cohorts.adjust(state, 0, MONTH + 1, {(0, 0): 4, (26, 0): 2})
    cohorts.adjust(state, 0, MONTH, {(25, 0): 3})
    cohorts.adjust(state, 0, MONTH + 2, {(26, 0): 1})
    cohorts.freeze(state, 0, 25)
    cohorts.adjust(state, 0, MONTH, {(25, 0): -3})
    found = [(row.period, row.birth_month, row.counts) for _, row in state.rows(Frozen)]
    assert found == [(25, MONTH, ((25, 0, 3),)), (25, MONTH + 1, ((0, 0, 4),))]
