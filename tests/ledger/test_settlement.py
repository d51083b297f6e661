"""The settlement equals the slow oracle to the fen, whatever members and money do."""

import random
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.params import ClassBand
from tests.ledger.lockstep import Lockstep, Step, with_params

MONTHS = tuple(range(1968 * 12, 2017 * 12, 17))
ONE_CLASS = with_params()
FOUR_CLASSES = with_params(
    classes=(ClassBand(0, 1, 1), ClassBand(20, 2, 2), ClassBand(40, 3, 3), ClassBand(50, 4, 5)), year_cap_fen=900
)
OTHER_CLASSES = with_params(classes=(ClassBand(0, 1, 1), ClassBand(30, 5, 2)), fee_bps=600, year_cap_fen=700)


FREQUENCIES = {
    "join": 6,
    "leave": 2,
    "leave_many": 1,
    "leave_owing": 4,
    "turn_back": 4,
    "come_back": 6,
    "wait": 4,
    "sponsor": 1,
    "collect": 2,
    "correct": 4,
    "confirm": 3,
    "pay": 6,
}


def life(seed: int, periods: int) -> list[Step]:
    """A random life of a plan: members come in a wave, then a few steps between each two deadlines."""
    rng = random.Random(seed)
    bad = rng.randrange(13)
    steps: list[Step] = [("join", 30, seed)]
    for deadline in range(3 * periods):
        if deadline % 3 == 2 and rng.random() < 0.8:
            steps.append(("collect_all", bad if rng.random() < 0.8 else rng.randrange(13), rng.randrange(1_000)))
        for _ in range(rng.randrange(6)):
            name = rng.choices(tuple(FREQUENCIES), tuple(FREQUENCIES.values()))[0]
            count = rng.choice((1, 1, 2, 5)) if name == "join" else rng.randrange(1_000)
            if name == "wait":
                count = rng.choice((1, 1, 2, 3, 40))
            steps.append((name, count, rng.randrange(9_000)))
        steps.append(("turn", rng.choice((0, 3_000, 9_000, 40_000)), rng.randrange(100)))
    return steps


@pytest.mark.parametrize("seed", range(6))
def test_long_lives_of_one_class_equal_the_oracle(seed: int) -> None:
    params = with_params(year_cap_fen=600 + 300 * seed)
    run = Lockstep([(date(2018, 1, 1), params)], 18, MONTHS)
    run.run(life(seed, 40))
    run.compare_statements()


@pytest.mark.parametrize("seed", range(6))
def test_long_lives_with_weighted_classes_and_versions_equal_the_oracle(seed: int) -> None:
    versions = [(date(2018, 1, 1), FOUR_CLASSES), (date(2019, 1, 1), OTHER_CLASSES), (date(2019, 6, 10), FOUR_CLASSES)]
    run = Lockstep(versions, 18, MONTHS)
    run.run(life(100 + seed, 40))
    run.compare_statements()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("turn"), st.sampled_from((0, 3_000, 40_000)), st.integers(0, 40)),
        st.tuples(st.just("join"), st.integers(0, 3), st.integers(0, 9)),
        st.tuples(
            st.sampled_from(("leave", "leave_owing", "turn_back", "come_back", "pay", "correct")),
            st.integers(0, 30),
            st.integers(0, 8_191),
        ),
        st.tuples(st.sampled_from(("collect", "collect_all")), st.integers(0, 30), st.integers(0, 8_191)),
        st.tuples(st.just("confirm"), st.integers(0, 3), st.integers(0, 5_000)),
        st.tuples(st.just("wait"), st.sampled_from((1, 5, 40)), st.just(0)),
        st.tuples(st.just("sponsor"), st.integers(0, 4), st.just(0)),
    ),
    min_size=10,
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.integers(1, 3), st.sampled_from((50, 400, 18_800)))
def test_any_short_life_equals_the_oracle(steps: list[Step], lapse_fails: int, cap: int) -> None:
    params = with_params(lapse_fails=lapse_fails, year_cap_fen=cap)
    run = Lockstep([(date(2018, 1, 1), params)], 22, MONTHS)
    run.run([("join", 8, 3), *steps])
    run.compare_statements()
