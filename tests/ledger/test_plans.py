"""Versions by day, classes by age, and what the case cap allows."""

from datetime import date
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import plans
from ledger.calendar import day_from_civil
from ledger.errors import InvariantViolation, TransactionRejected
from ledger.params import ClassBand, TierBand
from tests.ledger.lockstep import Lockstep
from tests.ledger.lockstep_kit import new_state, with_params

TWO_CLASSES = with_params(classes=(ClassBand(0, 1, 1), ClassBand(40, 2, 3)))


def test_a_version_is_in_force_from_its_effective_day_on() -> None:
    state = new_state(date(2019, 1, 1))
    plan = plans.create(state, "plan", with_params(fee_bps=1), 24, 0, 1_000)
    plans.add_version(state, plan, 3_000, with_params(fee_bps=3))
    plans.add_version(state, plan, 2_000, with_params(fee_bps=2))
    plans.add_version(state, plan, 3_000, with_params(fee_bps=4))
    found = [plans.version_at(state, plan, day)[1].params.fee_bps for day in (0, 1_000, 1_999, 2_000, 2_999, 3_000)]
    assert found == [1, 1, 1, 2, 2, 4], "of two versions of one day the later decision stands"


def test_plans_do_not_see_each_others_versions() -> None:
    state = new_state(date(2019, 1, 1))
    first = plans.create(state, "first", with_params(fee_bps=1), 24, 0, 1_000)
    second = plans.create(state, "second", with_params(fee_bps=2), 24, 0, 500)
    assert [plans.version_at(state, plan, 2_000)[1].params.fee_bps for plan in (first, second)] == [1, 2]
    with pytest.raises(InvariantViolation):
        plans.version_at(state, 2, 2_000)


def test_a_new_cap_starts_on_1_january_only() -> None:
    state = new_state(date(2019, 1, 1))
    plan = plans.create(state, "plan", with_params(year_cap_fen=10), 24, 0, day_from_civil(2018, 10, 16))
    plans.add_version(state, plan, day_from_civil(2019, 1, 2), with_params(year_cap_fen=20))
    plans.add_version(state, plan, day_from_civil(2021, 1, 1), with_params(year_cap_fen=30))
    found = plans.versions(state, plan)
    assert [plans.year_cap_fen(found, year) for year in (2018, 2019, 2020, 2021, 2022)] == [10, 10, 20, 30, 30]


def test_a_class_begins_on_the_1st_after_the_birth_month() -> None:
    born = 1980 * 12 + 4  # May 1980: 40 from 1 June 2020 on
    assert plans.class_of(TWO_CLASSES, born, day_from_civil(2020, 5, 31)).class_id == 1
    assert plans.class_of(TWO_CLASSES, born, day_from_civil(2020, 6, 1)).class_id == 2
    assert plans.class_of(TWO_CLASSES, 2020 * 12 + 5, day_from_civil(2020, 6, 1)).class_id == 1, "a newborn"


@given(
    aid=st.integers(1, 10**8),
    weight=st.integers(1, 10**9),
    fee=st.sampled_from((0, 1, 800, 10_000)),
    cap=st.integers(1, 1_000),
    heaviest=st.integers(1, 7),
)
def test_the_greatest_aid_is_the_last_whose_share_keeps_within_the_case_cap(
    aid: int, weight: int, fee: int, cap: int, heaviest: int
) -> None:
    params = with_params(
        fee_bps=fee,
        case_cap_fen=cap,
        classes=(ClassBand(0, 1, 1), ClassBand(40, 2, heaviest)),
        tiers=(TierBand(0, 0, 1), TierBand(1, 0, aid)),
    )

    def share(amount: int) -> int:
        return ceil(Fraction(amount * (10_000 + fee) * heaviest, 10_000 * weight))

    most = plans.case_aid_max(params, weight)
    assert share(most) <= cap < share(most + 1)
    assert (weight >= plans.minimum_weight(params)) == (share(aid) <= cap)


def test_the_main_plan_needs_3_240_000_members() -> None:
    params = with_params(case_cap_fen=10, tiers=(TierBand(0, 0, 30_000_000), TierBand(0, 40, 10_000_000)))
    assert plans.minimum_weight(params) == 3_240_000


def test_only_the_settled_and_open_period_can_be_collected() -> None:
    run = Lockstep([(date(2018, 1, 1), with_params())], 22, (1990 * 12,))
    run.run([("join", 5, 0)])

    def refusal(period: int) -> str:
        try:
            plans.open_settled(run.plan, period)
        except TransactionRejected as rejected:
            return rejected.code
        return "OK"

    assert [refusal(period) for period in (21, 22)] == ["UNKNOWN_PERIOD"] * 2
    run.run([("turn", 100, 0)])
    assert [refusal(period) for period in (22, 23)] == ["PERIOD_NOT_SETTLED", "UNKNOWN_PERIOD"]
    run.run([("turn", 100, 1)])
    assert [refusal(period) for period in (21, 22, 23)] == ["UNKNOWN_PERIOD", "OK", "UNKNOWN_PERIOD"]
    run.run([("turn", 0, 0)])
    assert [refusal(period) for period in (22, 23)] == ["PERIOD_CLOSED", "UNKNOWN_PERIOD"]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"classes": ()}, "classes must begin"),
        ({"classes": (ClassBand(1, 1, 1),)}, "classes must begin"),
        ({"classes": (ClassBand(0, 1, 1), ClassBand(40, 2, 1), ClassBand(40, 3, 1))}, "ascend"),
        ({"classes": (ClassBand(0, 1, 0),)}, "weight"),
        ({"classes": (ClassBand(0, 1, 1), ClassBand(40, 1, 2))}, "one weight"),
        ({"tiers": ()}, "tiers"),
        ({"tiers": (TierBand(0, 0, 0),)}, "aid"),
        ({"case_cap_fen": 0}, "caps"),
        ({"year_cap_fen": 0}, "caps"),
        ({"fee_bps": 10_001}, "fee_bps"),
        ({"lapse_fails": 0}, "lapse_fails"),
    ],
)
def test_unusable_parameters_are_named(changes: dict[str, object], fault: str) -> None:
    (sentence,) = plans.param_faults(with_params(**changes))
    assert fault in sentence


def test_version_1_is_sound() -> None:
    assert plans.param_faults(with_params()) == []
