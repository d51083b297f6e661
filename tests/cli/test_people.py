"""The platform's books: who is chargeable, who fails, who lapses, who may claim."""

from random import Random

import pytest

from cli.demo.people import RANGE_MEMBERS, People
from cli.demo.script import MIDDLE, MILD, YOUNG, ScriptError
from ledger.calendar import age_on
from ledger.params import ACCIDENT, ILLNESS

DAY = 17_900
WAITING_DAYS = 90


def make_people(count: int, seed: int = 1, day: int = DAY) -> People:
    people = People(Random(seed), WAITING_DAYS)
    applicants = people.applicants(count, day)
    people.enrolled(0, [month for _, month in applicants], day)
    return people


def test_identities_differ_and_ages_suit_the_plan() -> None:
    people = People(Random(1), WAITING_DAYS)
    applicants = people.applicants(500, DAY)
    assert len({identity for identity, _ in applicants}) == 500
    assert all(18 <= age_on(month, DAY) <= 55 for _, month in applicants)


def test_ids_must_follow_the_ledgers() -> None:
    people = make_people(3)
    with pytest.raises(ScriptError):
        people.enrolled(5, [0], DAY)


def test_who_left_is_not_counted_at_the_next_notice() -> None:
    people = make_people(200)
    people.leave(7)
    people.leave(7)
    assert people.noticed(24) == 199
    assert 7 not in people.active


def test_one_debit_in_a_hundred_fails() -> None:
    people = make_people(1000)
    people.noticed(24)
    (whole,) = people.ranges(5, [])
    assert len(whole.failures) == 10
    assert whole.amount_fen == 990 * 5


def test_failing_twice_in_a_row_lapses_and_the_next_notice_counts_without() -> None:
    people = make_people(100)
    people.noticed(24)
    (failing,) = people.ranges(5, [])[0].failures
    people.closed(5)
    assert people.arrears == {failing: 5}
    people.noticed(25)
    people._noticed().failures[:] = [failing]
    assert people.lapsing() == [failing]
    people.closed(7)
    assert people.noticed(26) == 99
    assert failing not in people.arrears


def test_a_period_in_which_nothing_was_owed_does_not_count_as_failed() -> None:
    people = make_people(100)
    people.noticed(24)
    (failing,) = people.ranges(5, [])[0].failures
    people.closed(5)
    people.noticed(25)
    people.closed(0)
    people.noticed(26)
    people._noticed().failures[:] = [failing]
    assert people.lapsing() == [failing], "24 and 26 are in a row when nothing was owed in 25"


def test_arrears_go_with_the_next_debit_and_are_paid_by_it() -> None:
    people = make_people(100)
    people.noticed(24)
    people.closed(5)
    people.noticed(25)
    people._noticed().failures[:] = []
    (whole,) = people.ranges(3, [])
    assert whole.amount_fen == 100 * 3 + 5
    people.closed(3)
    assert people.arrears == {}


def test_single_payers_are_not_debited() -> None:
    people = make_people(1000)
    people.noticed(24)
    people.closed(5)
    people.noticed(25)
    late = people.late_payers()
    assert len(late) == 5
    assert all(period == 24 and arrears == 5 for _, period, arrears in late)
    for member, _, _ in late:
        people.paid_arrears(member)
    early = people.early_payers(5)
    assert len(early) == 5
    assert not set(early) & (set(people._noticed().failures) | people.arrears.keys())
    people._noticed().failures[:] = []
    (whole,) = people.ranges(3, early)
    assert whole.amount_fen == 995 * 3 + 5 * 5


def test_ranges_are_disjoint_and_cover_everybody() -> None:
    people = make_people(2 * RANGE_MEMBERS + 10)
    people.leave(RANGE_MEMBERS + 1)
    people.noticed(24)
    ranges = people.ranges(2, [])
    assert [(r.first, r.last) for r in ranges] == [
        (0, RANGE_MEMBERS - 1),
        (RANGE_MEMBERS, 2 * RANGE_MEMBERS - 1),
        (2 * RANGE_MEMBERS, 2 * RANGE_MEMBERS + 9),
    ]
    failures = sum(len(r.failures) for r in ranges)
    assert sum(r.amount_fen for r in ranges) == 2 * (2 * RANGE_MEMBERS + 9 - failures)


def test_claimants_are_covered_of_the_right_age_and_claim_once() -> None:
    people = make_people(2000)
    today = DAY + 200
    patients = people.patients((30, 30, 10), today)
    assert len({patient.member for patient in patients}) == 70
    for patient in patients:
        age = age_on(people.birth_months[patient.member], patient.diagnosis_day)
        assert patient.cause == ILLNESS
        assert patient.diagnosis_day > DAY + WAITING_DAYS
        assert {YOUNG: age < 40, MIDDLE: age >= 40, MILD: True}[patient.kind]


def test_nobody_claims_whose_debit_failed_or_is_about_to() -> None:
    people = make_people(200)
    people.noticed(24)
    people.closed(5)
    people.noticed(25)
    owing = people.arrears.keys() | set(people._noticed().failures)
    assert len(owing) >= 3
    patients = people.patients((0, 0, 200 - len(owing)), DAY + 200)
    assert owing.isdisjoint(patient.member for patient in patients)
    with pytest.raises(ScriptError):
        people.patients((0, 0, 201 - len(owing)), DAY + 200)


def test_while_everybody_waits_only_accidents_happen() -> None:
    people = make_people(2000)
    patients = people.patients((2, 2, 0), DAY + 10)
    assert {patient.cause for patient in patients} == {ACCIDENT}
    assert all(patient.diagnosis_day > DAY for patient in patients)


def test_too_few_members_for_the_claims_is_an_error() -> None:
    with pytest.raises(ScriptError):
        make_people(10).patients((20, 0, 0), DAY + 200)


def test_leavers_never_include_those_who_must_stay() -> None:
    people = make_people(50)
    leavers = people.leavers(40, staying=set(range(10)))
    assert leavers == list(range(10, 50))
    with pytest.raises(ScriptError):
        people.leavers(41, staying=set(range(10)))


def test_the_same_seed_makes_the_same_choices() -> None:
    first, second = (make_people(500, seed=9) for _ in range(2))
    assert first.birth_months == second.birth_months
    assert first.patients((3, 3, 3), DAY + 200) == second.patients((3, 3, 3), DAY + 200)
