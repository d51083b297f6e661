"""The settlement equals the slow oracle to the fen, whatever members and money do."""

import random
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger import journal, members, plans, settlement
from ledger.errors import InvariantViolation, TransactionRejected
from ledger.params import ClassBand, TierBand
from ledger.rows import NONE, Account, Claim, Frozen, Member, Plan, Settlement
from ledger.settlement import SPONSORED_AHEAD_MAX
from ledger.transactions import EnrolBatch, SponsorPeriod
from tests.ledger.lockstep import Lockstep, Step
from tests.ledger.lockstep_kit import claim, identity, with_params

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
    "refund": 2,
    "die": 2,
    "void": 2,
    "suspend": 2,
    "lift": 3,
    "expel": 1,
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


@pytest.mark.parametrize("seed", range(4))
def test_a_plan_that_ends_brings_its_inner_accounts_to_zero_as_by_hand(seed: int) -> None:
    run = Lockstep([(date(2018, 1, 1), with_params(year_cap_fen=900))], 18, MONTHS)
    run.run(life(200 + seed, 14))
    run.run_off()
    account = run.state.get(Account, 0)
    assert (account.due, account.arrears, account.bad_debt, account.carry, account.clearing) == (0, 0, 0, 0, 0)
    assert account.cash + account.sponsor == account.claims + account.fee + account.advance + account.refunds


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("turn"), st.sampled_from((0, 3_000, 40_000)), st.integers(0, 40)),
        st.tuples(st.just("join"), st.integers(0, 3), st.integers(0, 9)),
        st.tuples(
            st.sampled_from(
                ("leave", "leave_owing", "turn_back", "come_back", "pay", "correct", "die", "void", "suspend", "lift")
            ),
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


# ---- single rules --------------------------------------------------------------------------------------------------


def quiet(members: int = 10, first: int = 24, **params: object) -> Lockstep:
    """A plan with members whose first notice is next."""
    run = Lockstep([(date(2018, 1, 1), with_params(**params))], first, (1990 * 12,))
    run.run([("join", members, 0)])
    return run


def noticed(run: Lockstep, aid: int) -> list[tuple[int, Claim]]:
    """Notice one claim."""
    run.hand.notice()
    plan = settlement.notice(run.state, 0, run.plan)
    run.state.put(0, plan)
    claims = [(0, claim(aid))]
    settlement.announce(run.state, 0, plan, claims)
    return claims


def test_a_share_is_rounded_up_and_what_is_over_is_used_first_next_time() -> None:
    run = quiet(7)
    run.run([("turn", 1_000, 0), ("turn", 0, 9)])
    row = run.period_row
    assert (row.goal_fen, dict(row.shares), row.over_fen) == (1_080, {1: 155}, 5)
    run.run([("turn", 0, 0), ("turn", 1_000, 0), ("turn", 0, 9)])
    row = run.period_row
    assert (row.carry_used_fen, row.goal_fen, dict(row.shares)) == (5, 1_075, {1: 180})


def test_a_settlement_above_the_promised_bound_stops_the_node() -> None:
    run = quiet()
    claims = noticed(run, 1_000)
    assert dict(run.period_row.upper_bound) == {1: 108}
    settlement.settle(run.state, 0, run.plan, claims)
    with pytest.raises(InvariantViolation, match="promised"):
        settlement.settle(run.state, 0, run.plan, [(0, claim(1_010))])


def test_bad_debt_is_shared_as_it_stood_at_the_notice_or_less() -> None:
    run = quiet()
    journal.post(run.state, 0, "bad_debt", "refunds", 200)
    claims = noticed(run, 1_000)
    journal.post(run.state, 0, "bad_debt", "refunds", 300)
    run.state.put(0, settlement.settle(run.state, 0, run.plan, claims))
    assert (run.period_row.bad_debt_fen, dict(run.period_row.shares)) == (200, {1: 128})
    assert run.state.get(Account, 0).bad_debt == 300

    run = quiet()
    journal.post(run.state, 0, "bad_debt", "refunds", 200)
    claims = noticed(run, 1_000)
    journal.post(run.state, 0, "refunds", "bad_debt", 150)
    run.state.put(0, settlement.settle(run.state, 0, run.plan, claims))
    assert (run.period_row.bad_debt_fen, run.state.get(Account, 0).bad_debt) == (50, 0)


def test_fewer_claims_than_noticed_ask_for_less() -> None:
    run = quiet()
    noticed(run, 1_000)
    run.state.put(0, settlement.settle(run.state, 0, run.plan, []))
    assert dict(run.period_row.shares) == {1: 0}


def test_without_members_a_plan_pauses() -> None:
    run = quiet(0)
    for _ in range(2):
        run.run([("turn", 0, 0), ("turn", 0, 0), ("turn", 0, 0)])
    assert (run.plan.period, run.plan.index, run.plan.last_charged) == (26, (), NONE)
    run.state.put(0, settlement.notice(run.state, 0, run.plan))
    assert settlement.capacity(run.state, 0, run.plan, (), with_params()) == 0
    with pytest.raises(InvariantViolation, match="nobody"):
        settlement.settle(run.state, 0, run.plan, [(0, claim(1))])


def test_below_the_minimum_membership_every_claim_waits() -> None:
    tiers = (TierBand(0, 0, 10_000), TierBand(1, 0, 100))
    params = with_params(tiers=tiers, case_cap_fen=1_000)  # ceil(10000 · 1.08 / 10) = 1080 for ten members
    run = quiet(10, tiers=tiers, case_cap_fen=1_000)
    assert settlement.capacity(run.state, 0, run.plan, ((1, 10),), params) == 0
    assert settlement.capacity(run.state, 0, run.plan, ((1, 11),), params) == 1_000 * 11 * 10_000 // 10_800
    with pytest.raises(InvariantViolation, match="case cap"):
        noticed(run, 100)


def test_a_sponsored_period_charges_nobody_and_says_what_it_would_have_been() -> None:
    run = quiet()
    run.run([("sponsor", 0, 0), ("turn", 1_000, 0), ("turn", 0, 9)])
    row = run.period_row
    assert (dict(row.shares), dict(row.would_be), row.goal_fen) == ({1: 0}, {1: 108}, 1_080)
    assert (row.due_fen, row.charged_fen, row.over_fen, row.index) == (0, 0, 0, ((1, 0),) if row.index else ())
    assert run.state.get(Account, 0).sponsor == 1_080
    assert run.plan.sponsored == ()
    run.run([("turn", 0, 0)])
    assert run.plan.last_charged == NONE


def test_a_period_is_sponsored_before_its_notice_and_once() -> None:
    run = quiet(first=24)

    def refusal(period: int, plan: int = 0) -> str:
        with pytest.raises(TransactionRejected) as caught:
            settlement.sponsor_period(run.state, SponsorPeriod(plan, period))
        return caught.value.code

    assert refusal(24, plan=1) == "UNKNOWN_PLAN"
    assert refusal(23) == "UNKNOWN_PERIOD"
    assert refusal(24 + SPONSORED_AHEAD_MAX) == "UNKNOWN_PERIOD"
    assert settlement.sponsor_period(run.state, SponsorPeriod(0, 23 + SPONSORED_AHEAD_MAX)) == (47,)
    assert settlement.sponsor_period(run.state, SponsorPeriod(0, 26)) == (26,)
    assert run.plan.sponsored == (26, 47)
    assert refusal(26) == "ALREADY_SPONSORED"
    run.run([("turn", 0, 0)])
    assert refusal(24) == "PERIOD_NOTICED"


def test_a_late_period_keeps_its_number_its_year_and_its_version() -> None:
    versions = [(date(2018, 1, 1), with_params(fee_bps=800)), (date(2018, 12, 22), with_params(fee_bps=0))]
    run = Lockstep(versions, 23, (1990 * 12,))  # the notice of 21 December 2018
    run.run([("join", 10, 0), ("wait", 150, 0), ("turn", 1_000, 0), ("turn", 0, 9)])
    row = run.period_row
    assert (row.period, row.fee_fen, run.plan.year) == (23, 80, 2018)


def test_deadlines_come_in_their_order_only() -> None:
    run = quiet()
    with pytest.raises(InvariantViolation, match="stage"):
        settlement.settle(run.state, 0, run.plan, [])
    with pytest.raises(InvariantViolation, match="stage"):
        settlement.close(run.state, 0, run.plan)
    run.run([("turn", 0, 0)])
    with pytest.raises(InvariantViolation, match="stage"):
        settlement.close(run.state, 0, run.plan)
    with pytest.raises(InvariantViolation, match="stage"):
        settlement.notice(run.state, 0, run.plan)


def test_a_settlement_reads_cohorts_and_never_a_member(monkeypatch: pytest.MonkeyPatch) -> None:
    run = quiet(400)
    reads: list[object] = []
    original = run.state.get

    def get(kind: type[Any], row_id: int) -> Any:
        reads.append(kind)
        return original(kind, row_id)

    monkeypatch.setattr(run.state, "get", get)
    plan = settlement.notice(run.state, 0, run.plan)
    plan = settlement.settle(run.state, 0, plan, [])
    settlement.close(run.state, 0, plan)
    assert Member not in reads
    assert len(reads) < 40


def test_a_frozen_cohort_that_lost_a_member_stops_the_node() -> None:
    run = quiet()
    claims = noticed(run, 1_000)
    row = run.period_row
    frozen = run.state.get(Frozen, row.frozen_first)
    (start, base, count) = frozen.counts[0]
    run.state.put(row.frozen_first, replace(frozen, counts=((start, base, count - 1),)))
    with pytest.raises(InvariantViolation, match="frozen cohorts"):
        settlement.settle(run.state, 0, run.plan, claims)


def test_two_plans_do_not_mix() -> None:
    run = quiet()
    plans.create(run.state, "other", with_params(), 24, 0, 17_000)
    people = tuple((identity(number), 1980 * 12) for number in range(5))
    members.enrol_batch(run.state, EnrolBatch(1, people))
    run.run([("turn", 1_000, 0), ("turn", 0, 9)])
    other = settlement.notice(run.state, 1, run.state.get(Plan, 1))
    run.state.put(1, other)
    settlement.announce(run.state, 1, other, [(0, claim(500))])
    run.state.put(1, settlement.settle(run.state, 1, other, [(0, claim(500))]))
    assert dict(run.period_row.shares) == {1: 108}
    assert dict(run.state.get(Settlement, other.settlement).shares) == {1: 108}
    assert run.state.get(Account, 1).claims == 500
    run.compare("after the other plan's settlement")
