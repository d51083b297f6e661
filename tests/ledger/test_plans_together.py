"""Several plans on one chain: they share members, members' ids, the clock and nothing else."""

import random
from datetime import date

import pytest
from msgspec.structs import replace

import configs
from ledger import calendar, queries
from ledger import transactions as tx
from ledger.fingerprints import EVENT_DAYS
from ledger.genesis import GenesisPlan, parse_plan
from ledger.indexes import differences
from ledger.params import ClassBand, TierBand
from ledger.plans import class_of, minimum_weight, param_faults
from ledger.rows import Claim, Member, Plan, Settlement
from tests.ledger.chain import PLAN_PARAMS, START_DAY, Chain, genesis_values
from tests.ledger.lockstep import Lockstep
from tests.ledger.lockstep_kit import with_params
from tests.ledger.test_life import BIRTH_MONTH, filing, person
from tests.ledger.test_settlement import FOUR_CLASSES, MONTHS, OTHER_CLASSES, life

SENIOR = with_params(joining_age_years_max=70, year_cap_fen=500, fee_bps=500, lapse_fails=3)


@pytest.mark.parametrize("seed", range(4))
def test_three_plans_in_lockstep_with_members_in_more_than_one(seed: int) -> None:
    beside: list[Lockstep] = []
    Lockstep([(date(2018, 1, 1), with_params())], 18, MONTHS, beside)
    Lockstep([(date(2018, 1, 1), SENIOR)], 18, tuple(month - 60 for month in MONTHS), beside)
    Lockstep([(date(2018, 1, 1), FOUR_CLASSES), (date(2019, 1, 1), OTHER_CLASSES)], 18, MONTHS, beside)
    lives = [life(300 + 10 * seed + number, 14) for number in range(3)]
    rng = random.Random(seed)
    steps = [0] * 3
    for number in rng.sample([n for n, each in enumerate(lives) for _ in each], sum(map(len, lives))):
        run, step = beside[number], lives[number][steps[number]]
        steps[number] += 1
        run.run([step])
        for other in beside:
            other.compare(f"after {step} of plan {number}")
    for run in beside:
        run.compare_statements()
    shared = {bytes(row.identity) for _, row in beside[0].state.rows(Member) if row.plan == 0}
    assert shared & {bytes(row.identity) for _, row in beside[0].state.rows(Member) if row.plan == 1}


# ---- the plans of configs/ -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plan_main.toml", "plan_senior.toml", "plan_classes.toml"])
def test_the_plans_of_configs_are_sound(name: str) -> None:
    plan = parse_plan(configs.text(name))
    assert param_faults(plan.params) == []
    aid = max(tier.aid_fen for tier in plan.params.tiers)
    heaviest = max(band.weight for band in plan.params.classes)
    weight = minimum_weight(plan.params)
    assert -(-aid * 10_800 * heaviest // (10_000 * weight)) <= plan.params.case_cap_fen
    assert -(-aid * 10_800 * heaviest // (10_000 * (weight - 1))) > plan.params.case_cap_fen


def test_four_classes_share_by_weight() -> None:
    params = parse_plan(configs.text("plan_classes.toml")).params
    day = calendar.day_from_civil(2019, 1, 7)
    found = [class_of(params, calendar.month_of(day) - 12 * age - 1, day) for age in (1, 17, 18, 39, 40, 49, 50, 80)]
    assert [band.weight for band in found] == [1, 1, 2, 2, 4, 4, 7, 7]


def three_plans() -> Chain:
    """main, senior and classes, with the small caps of tests."""
    senior = replace(
        parse_plan(configs.text("plan_senior.toml")).params,
        case_cap_fen=2_000_000,
        tiers=(TierBand(1, 0, 10_000), TierBand(2, 0, 5_000)),
    )
    classes = replace(PLAN_PARAMS, classes=(ClassBand(0, 1, 1), ClassBand(18, 2, 2), ClassBand(40, 3, 4)))
    plans = (GenesisPlan("main", PLAN_PARAMS), GenesisPlan("senior", senior), GenesisPlan("classes", classes))
    return Chain(genesis_values(plans=plans))


@pytest.mark.parametrize(("years", "months", "fits"), [(59, 11, False), (60, 0, True), (70, 11, True), (71, 0, False)])
def test_the_senior_plan_takes_those_of_60_to_70(years: int, months: int, fits: bool) -> None:
    chain = three_plans()
    chain.step_to_day(2019, 1, 1)
    born = calendar.month_of(calendar.day_of(chain.now_ms)) - 12 * years - months - 1
    body = tx.Enrol(1, bytes(32), born, b"")
    if fits:
        chain.ok("platform", body)
    else:
        assert chain.refused("platform", body) == "AGE_OUT_OF_RANGE"


def in_two_plans() -> tuple[Chain, dict[int, int]]:
    """300 members each of main and classes, the same people; (chain, member id of person 3 by plan)."""
    chain = three_plans()
    people = tuple(person(number) for number in range(300))
    ids = {plan: chain.ok("platform", tx.EnrolBatch(plan, people))[0] + 3 for plan in (0, 2)}
    chain.step_to(calendar.start_of_day(START_DAY + 250))
    assert people[0][1] == BIRTH_MONTH
    return chain, ids


def test_the_same_event_in_two_plans_is_seen_within_90_days() -> None:
    chain, ids = in_two_plans()
    today = calendar.day_of(chain.now_ms)
    event = bytes([7]) * 32
    first, amount = chain.ok("platform", filing(chain, ids[0], diagnosis_day=today - 2, fingerprint=event))
    assert amount > 0
    day = today - 2 - EVENT_DAYS
    second, _, seen = chain.ok("platform", filing(chain, ids[2], diagnosis_day=day, fingerprint=event))
    assert seen == first
    views = [queries.claim_view(chain.state, claim) for claim in (first, second)]
    assert [view.same_event for view in views if view is not None] == [[second], [first]]
    assert list(differences(chain.store)) == []


@pytest.mark.parametrize(("days", "event"), [(EVENT_DAYS + 1, 7), (0, 8)])
def test_another_event_is_not_the_same(days: int, event: int) -> None:
    chain, ids = in_two_plans()
    today = calendar.day_of(chain.now_ms)
    first, _ = chain.ok("platform", filing(chain, ids[0], diagnosis_day=today, fingerprint=bytes([7]) * 32))
    filed = filing(chain, ids[2], diagnosis_day=today - days, fingerprint=bytes([event]) * 32)
    assert len(chain.ok("platform", filed)) == 2
    view = queries.claim_view(chain.state, first)
    assert view is not None
    assert view.same_event == []


def test_two_members_of_one_plan_are_not_compared() -> None:
    chain, ids = in_two_plans()
    for member in (ids[0], ids[0] + 1):
        assert len(chain.ok("platform", filing(chain, member, fingerprint=bytes([7]) * 32))) == 2


def test_plans_go_their_own_way_through_blocks() -> None:
    chain, _ = in_two_plans()
    chain.ok("regulator", tx.FreezePlan(2, True))
    chain.step_to(chain.now_ms + 40 * calendar.MS_PER_DAY)
    assert chain.state.get(Plan, 0).period > chain.state.get(Plan, 2).period
    assert {row.plan for _, row in chain.state.rows(Settlement)} == {0, 1, 2}
    assert chain.state.length(Claim) == 0
