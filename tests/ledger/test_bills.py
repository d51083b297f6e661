"""Bills by the closed formula, debts, statements."""

import random
from datetime import date
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from ledger import bills
from ledger.bills import RunningSums
from ledger.params import ClassBand
from ledger.rows import NO_END, NONE, Cohort, Frozen, Member, Settlement
from ledger.state import StateReader
from tests.ledger.lockstep import Lockstep
from tests.ledger.lockstep_kit import with_params

FIRST = 22  # the first half of December 2018, so that a year ends soon
MONTH = 1990 * 12


def lived(steps: int = 12, **params: object) -> Lockstep:
    """A plan with ten members after ``steps`` deadlines, 100 fen of aid or more a period."""
    run = Lockstep([(date(2018, 1, 1), with_params(**params))], FIRST, (MONTH, MONTH + 7))
    run.run([("join", 10, 0)])
    for number in range(steps):
        run.run([("turn", 1_000, 2 if number % 3 else 1)])
    return run


def test_a_year_begins_with_nothing_charged() -> None:
    run = lived(18, year_cap_fen=200)
    member = run.state.get(Member, 0)
    total, charges = bills.bill(run.state, 0)
    by_year: dict[int, int] = {}
    for charge in charges:
        year = 2018 + charge.period // 24
        by_year[year] = by_year.get(year, 0) + charge.charge_fen
    assert by_year == {2018: 200, 2019: 200}
    assert total == 400 == bills.total(run.state, member)


def test_what_is_above_the_cap_is_in_the_share_and_not_in_the_charge() -> None:
    run = lived(6, year_cap_fen=200)
    first, second = bills.bill(run.state, 0)[1]
    assert (first.charge_fen, second.charge_fen) == (first.share_fen, 200 - first.share_fen)
    assert second.share_fen > second.charge_fen
    assert run.state.get(Settlement, second.settlement).excess_fen > 0


def test_the_base_counts_what_earlier_spans_of_the_year_paid() -> None:
    run = Lockstep([(date(2018, 1, 1), with_params(year_cap_fen=200))], 24, (MONTH,))
    run.run([("join", 10, 0), ("turn", 1_000, 0), ("turn", 0, 9), ("leave", 0, 0), ("turn", 0, 0), ("turn", 0, 0)])
    run.run([("come_back", 0, 0), ("turn", 0, 0), ("turn", 0, 0), ("turn", 1_000, 0), ("turn", 0, 8)])
    member = run.state.get(Member, 0)
    assert member.base_fen == 108
    run.run([("turn", 0, 0), ("turn", 1_000, 0), ("turn", 0, 9)])
    assert bills.total(run.state, run.state.get(Member, 0)) == 200


def test_a_birthday_changes_the_class_from_the_next_notice_on() -> None:
    classes = (ClassBand(0, 1, 1), ClassBand(30, 2, 5))
    born = 1989 * 12  # January 1989: 30 from 1 February 2019 on
    run = Lockstep([(date(2018, 1, 1), with_params(classes=classes))], 24, (born, 1995 * 12))
    run.run([("join", 10, 0)])
    for _ in range(4):
        run.run([("turn", 1_000, 0), ("turn", 0, 9), ("turn", 0, 0)])
    assert [charge.class_id for charge in bills.bill(run.state, 0)[1]] == [1, 1, 2, 2]
    assert [charge.class_id for charge in bills.bill(run.state, 1)[1]] == [1] * 4


def test_a_bill_reads_the_same_rows_however_many_periods_it_covers() -> None:
    """With one class a year costs two rows of sums, not one a period."""
    run = Lockstep([(date(2018, 1, 1), with_params())], 0, (MONTH,))
    run.run([("join", 4, 0)])
    for _ in range(60):
        run.run([("turn", 90, 0), ("turn", 0, 5), ("turn", 0, 0)])
    sums = RunningSums(run.state, 0, run.plan)
    assert bills.total(run.state, run.state.get(Member, 0), sums) == run.hand.people[0].bill() > 0
    assert len(sums._sums) <= 4


def test_the_sums_begin_at_nothing_and_end_at_now() -> None:
    run = lived(9)
    sums = RunningSums(run.state, 0, run.plan)
    assert sums.at(FIRST) == {} == sums.at(0)
    assert sums.at(10**6) == dict(run.plan.index) != {}


def test_what_is_owed_is_due_then_arrears_then_written_off() -> None:
    run = Lockstep([(date(2018, 1, 1), with_params())], FIRST, (MONTH,))
    run.run([("join", 10, 0)])

    def owed() -> tuple[int, ...]:
        found = bills.owed(run.state, run.state.get(Member, 3))
        return found.period, found.due_fen, found.arrears_fen, found.written_off_fen

    assert owed() == (NONE, 0, 0, 0)
    run.run([("turn", 1_000, 0), ("turn", 0, 9)])
    assert owed() == (FIRST, 108, 0, 0)
    run._report(3, 3, 8, None)
    assert owed() == (FIRST, 0, 108, 0)
    run.run([("turn", 0, 0)])
    assert owed() == (NONE, 0, 108, 0)
    run.run([("turn", 0, 0), ("turn", 0, 0), ("leave", 3, 0)])
    assert owed() == (FIRST + 1, 0, 108, 0), "he may still pay them with the open period"
    run.run([("turn", 0, 0)])
    assert owed() == (NONE, 0, 0, 108)


def test_the_frozen_row_of_every_month_is_found_by_halving() -> None:
    months = tuple(random.Random(1).sample(range(1970 * 12, 2000 * 12), 23))
    run = Lockstep([(date(2018, 1, 1), with_params())], FIRST, months)
    run.run([("join", 23, 0), ("turn", 0, 0)])
    row = run.period_row
    for month in months:
        found = bills.frozen_id(run.state, row, month)
        assert found is not None
        assert run.state.get(Frozen, found).birth_month == month
    assert bills.frozen_id(run.state, row, 1969 * 12) is None
    assert bills.frozen_id(run.state, row, 2001 * 12) is None


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 7])
def test_a_statement_names_the_rows_that_prove_it(steps: int) -> None:
    run = lived(steps)
    statement = bills.statement(run.state, 0)
    member = run.state.get(Member, 0)
    assert statement.bill_fen == run.hand.people[0].bill() == sum(charge.charge_fen for charge in statement.charges)
    for charge in statement.charges:
        row = run.state.get(Settlement, charge.settlement)
        assert (row.period, dict(row.shares)[charge.class_id]) == (charge.period, charge.share_fen)
    assert statement.spans == ()
    if member.to_period == NO_END:
        assert statement.cohort is not None
        assert run.state.get(Cohort, statement.cohort).birth_month == member.birth_month
    if steps:
        assert statement.frozen is not None
        assert run.state.get(Frozen, statement.frozen).birth_month == member.birth_month
    else:
        assert statement.frozen is None


def test_a_statement_of_a_member_who_came_back_holds_all_his_spans() -> None:
    run = Lockstep([(date(2018, 1, 1), with_params())], FIRST, (MONTH,))
    run.run([("join", 4, 0)])
    for _ in range(3):
        run.run([("turn", 90, 0), ("turn", 0, 5), ("leave", 0, 0), ("turn", 0, 0), ("turn", 0, 0), ("come_back", 0, 0)])
        run.run([("turn", 0, 0), ("turn", 0, 0)])
    statement = bills.statement(run.state, 0)
    assert statement.spans == (0, 1, 2)
    assert statement.bill_fen == run.hand.people[0].bill() > 0


# ---- the edges -------------------------------------------------------------------------------------------------------


def test_the_first_period_of_all_is_found_and_none_before_it() -> None:
    run = Lockstep([(date(2018, 1, 1), with_params())], 0, (MONTH,))
    run.run([("join", 4, 0), ("turn", 1_000, 0)])
    assert bills.settlement_id(run.state, 0, 0) == 0
    assert bills.settlement_id(run.state, 0, -1) is None
    assert bills.settlement_of(run.state, 0, 1) is None


def test_with_one_class_nobodys_birthday_is_looked_up() -> None:
    run = lived()
    sums = RunningSums(run.state, 0, run.plan)
    assert sums.class_at(MONTH, FIRST) == 1
    assert bills.total(run.state, run.state.get(Member, 0), sums) > 0
    assert (sums._classes, sums._between) == ({}, {})


def test_plans_of_one_class_whose_class_changes_are_not_of_one_class() -> None:
    versions = [(date(2018, 1, 1), with_params(classes=(ClassBand(0, 1, 1),)))]
    versions.append((date(2019, 1, 1), with_params(classes=(ClassBand(0, 2, 1),))))
    run = Lockstep(versions, FIRST, (MONTH,))
    run.run([("join", 10, 0)])
    for _ in range(4):
        run.run([("turn", 1_000, 0), ("turn", 0, 9), ("turn", 0, 0)])
    charges = bills.bill(run.state, 0)[1]
    assert [charge.class_id for charge in charges] == [1, 1, 2, 2]
    assert all(charge.share_fen > 0 for charge in charges)
    assert bills.total(run.state, run.state.get(Member, 0)) == run.hand.people[0].bill() > 400


def test_in_a_block_the_sums_are_kept_until_the_plan_changes_and_elsewhere_they_are_made_anew() -> None:
    run = lived()
    kept = bills.sums_of(run.state, 0, run.plan)
    assert bills.sums_of(run.state, 0, run.plan) is kept
    run.state.put(0, replace(run.plan))
    assert bills.sums_of(run.state, 0, run.plan) is not kept
    run.state.root()
    reader = StateReader(run.state.reader)
    first, second = (bills.sums_of(reader, 0, run.plan) for _ in range(2))
    assert first is not second
    assert first.at(FIRST) == {}


@pytest.mark.parametrize(
    ("failed", "charged_with_last", "lost"),
    [(FIRST + 1, 0, 1), (FIRST, 1, 0), (FIRST, 0, 1)],
    ids=["failed in his last", "paid with his last", "nothing was charged in his last"],
)
def test_one_fen_that_he_took_with_him_is_one_fen(
    monkeypatch: pytest.MonkeyPatch, failed: int, charged_with_last: int, lost: int
) -> None:
    run = lived(3)
    member = replace(
        run.state.get(Member, 0), from_period=FIRST, to_period=FIRST + 2, fail_period=failed, fails=1, arrears_fen=1
    )
    last = SimpleNamespace(charged_fen=charged_with_last)
    monkeypatch.setattr(bills, "settlement_of", lambda state, plan, period: last if period == FIRST + 1 else None)
    assert bills.written_off(run.state, member, replace(run.plan, period=FIRST + 2)) == lost
    assert bills.written_off(run.state, member, replace(run.plan, period=FIRST + 1)) == 0, "he still shares it"
