"""The demo's plan: from the published table to counts, nothing lost in rounding."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.demo.script import (
    FEN_PER_RMB,
    MILD,
    PublishedRow,
    Scale,
    ScriptError,
    Step,
    make_steps,
    mix,
    period_of,
    read_rows,
)

TABLE = Path("configs/xhb_periods.csv")
DEMO = Scale(1000, 20)


@pytest.fixture(scope="module")
def rows() -> list[PublishedRow]:
    with TABLE.open() as lines:
        return read_rows(lines)


@pytest.fixture(scope="module")
def steps(rows: list[PublishedRow]) -> list[Step]:
    return make_steps(rows, DEMO)


def aid_of(step: Step, scale: Scale = DEMO) -> int:
    return sum(count * scale.aid_fen(kind) for kind, count in enumerate(step.cases))


def test_the_table_has_74_half_months_four_published_shares_and_three_sponsored_ones(rows: list[PublishedRow]) -> None:
    assert len(rows) == 74
    published = {row.settle_date: row.published_fen for row in rows if row.published_fen is not None}
    assert published == {"2019-06-28": 51, "2019-07-14": 94, "2019-07-28": 148, "2020-07-14": 396}
    assert [row.settle_date for row in rows if row.sponsored] == ["2021-12-28", "2022-01-14", "2022-01-28"]


def test_a_case_pays_its_tier_in_proportion_and_so_does_its_cap() -> None:
    assert [DEMO.aid_fen(kind) for kind in range(3)] == [600_000, 200_000, 100_000]
    assert DEMO.case_cap_fen == 200
    assert Scale(1, 1).case_cap_fen == 10


@pytest.mark.parametrize(("members", "cases"), [(0, 1), (1, 0), (7, 1)])
def test_scales_that_leave_no_whole_fen_are_refused(members: int, cases: int) -> None:
    with pytest.raises(ScriptError):
        Scale(members, cases)


def test_members_are_divided_and_periods_are_consecutive(rows: list[PublishedRow], steps: list[Step]) -> None:
    assert [step.members for step in steps] == [row.members // 1000 for row in rows]
    assert [step.period for step in steps] == list(range(24, 98))


def test_cases_are_rounded_with_carry(rows: list[PublishedRow], steps: list[Step]) -> None:
    so_far = taken = 0
    for row, step in zip(rows, steps, strict=True):
        so_far += row.cases
        taken += step.case_count
        assert 0 <= so_far - 20 * taken < 20
    assert steps[0].case_count == 0, "the first rows have no whole case"


def test_aid_is_rounded_with_carry(rows: list[PublishedRow], steps: list[Step]) -> None:
    """What is carried stays within half of the smallest tier once a row has cases enough to make any sum."""
    carried = 0
    for row, step in zip(rows, steps, strict=True):
        carried += row.aid_rmb * FEN_PER_RMB - aid_of(step) * 1000
        if step.case_count >= 10:
            assert abs(carried) <= DEMO.aid_fen(MILD) * 1000 // 2


def test_the_shares_before_carry_are_the_published_ones_within_two_percent(steps: list[Step]) -> None:
    for step in steps:
        if step.published_fen is not None:
            share = -(-aid_of(step) * 10_800 // 10_000 // step.members)
            assert abs(share - step.published_fen) <= 0.02 * step.published_fen, step


@given(st.integers(0, 12), st.integers(0, 80))
def test_no_other_mix_of_so_many_cases_is_nearer(count: int, units: int) -> None:
    found = mix(count, units)
    assert sum(found) == count
    missed = abs(6 * found[0] + 2 * found[1] + found[2] - units)
    others = ((y, m, count - y - m) for y in range(count + 1) for m in range(count + 1 - y))
    assert missed == min(abs(6 * y + 2 * m + mild - units) for y, m, mild in others)


def test_a_settlement_date_names_its_period() -> None:
    assert period_of("2018-01-14") == 0
    assert period_of("2019-01-28") == 25
    with pytest.raises(ScriptError):
        period_of("2019-01-15")


def test_a_broken_table_is_refused(rows: list[PublishedRow]) -> None:
    with pytest.raises(ScriptError, match="row 1"):
        read_rows(["settle_date,members\n", "2019-01-14,5\n"])
    with pytest.raises(ScriptError, match="consecutive"):
        make_steps([rows[0], rows[2]], DEMO)
    with pytest.raises(ScriptError, match="no members"):
        make_steps(rows[:1], Scale(50_000_000, 50_000_000))
