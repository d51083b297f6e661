"""Joining, leaving, coming back, cover, and what is derived from a row and a day."""

from collections.abc import Sequence
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import bills, members, plans, settlement
from ledger.calendar import notice_ms
from ledger.codec import encode
from ledger.errors import InvariantViolation, TransactionRejected
from ledger.limits import BATCH_ITEMS_MAX
from ledger.members import covered, enrol, enrol_batch, exit_batch, exit_member, find_identity, member_state
from ledger.params import ACCIDENT, ILLNESS
from ledger.rows import NO_END, NONE, Member, MemberKey, Plan, PlanVersion, Span
from ledger.standing import MemberState
from ledger.state import State
from ledger.transactions import Enrol, EnrolBatch, Exit, ExitBatch
from tests.ledger.lockstep import PLATFORM, Lockstep
from tests.ledger.lockstep_kit import at, identity, new_state, with_params
from tests.reference.brute_force import noon, notice_date

MONTH = 1990 * 12
FIRST = 24
KEY = b"k" * 32


def opened(day: date = date(2019, 1, 1), **params: object) -> State:
    """A plan whose first notice, period 24, is that of 7 January 2019."""
    state = new_state(day)
    plans.create(state, "plan", with_params(**params), FIRST, notice_ms(FIRST), 17_000)
    return state


def people(*numbers: int, month: int = MONTH) -> EnrolBatch:
    return EnrolBatch(0, tuple((identity(number), month) for number in numbers))


def refusal(call: object, *arguments: object) -> str:
    assert callable(call)
    with pytest.raises(TransactionRejected) as caught:
        call(*arguments)
    return caught.value.code


def day_number(day: date) -> int:
    return (day - date(1970, 1, 1)).days


# ---- joining -------------------------------------------------------------------------------------------------------


def test_a_batch_writes_the_rows_that_single_enrolments_would() -> None:
    batch, single = opened(), opened()
    body = EnrolBatch(0, tuple((identity(number), MONTH + number % 3) for number in range(40)))
    assert enrol_batch(batch, body) == (0, 40, 0)
    for number, (name, month) in enumerate(body.members):
        assert enrol(single, Enrol(0, name, month, b""), PLATFORM) == (number, FIRST)
    assert batch.root() == single.root()
    assert all(raw == encode(batch.get(Member, row_id)) for row_id, raw in batch.tables.scan(Member.table))


def test_a_member_row_has_at_most_60_bytes() -> None:
    state = opened(date(2035, 12, 31))
    enrol_batch(state, people(1, month=2010 * 12))
    assert len(state.tables.get(Member.table, 0)) <= 60


def test_known_identities_and_repetitions_are_skipped_and_counted() -> None:
    state = opened()
    assert enrol_batch(state, people(1, 2, 1)) == (0, 2, 1)
    assert enrol_batch(state, people(2, 3, 3, 1, 4)) == (2, 2, 3)
    assert enrol_batch(state, people(1, 2)) == (4, 0, 2)
    assert state.length(Member) == 4


def test_a_batch_that_is_refused_later_in_its_transaction_leaves_nobody_in_the_index() -> None:
    state = opened()
    enrol_batch(state, people(1))
    before = state.overlay.batch().changes
    for body in (people(2, 3), people(1, 4)):
        with pytest.raises(TransactionRejected), state.attempt():
            enrol_batch(state, body)
            raise TransactionRejected("BAD_FIELD")
        assert state.overlay.batch().changes == before
        assert state.length(Member) == 1
    assert enrol_batch(state, people(1, 2, 3, 4)) == (1, 3, 1)


@given(
    batches=st.lists(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2)), min_size=1, max_size=8), max_size=6),
    alike=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_batches_do_what_single_enrolments_of_who_is_new_would(
    batches: list[list[tuple[int, int]]], alike: bool
) -> None:
    def name(number: int) -> bytes:
        return (bytes(10) + identity(number))[:32] if alike else identity(number)

    whole, single = opened(), opened()
    for state in (whole, single):  # the rows of their cohorts are there
        enrol_batch(state, EnrolBatch(0, tuple((identity(100 + month), MONTH + month) for month in range(3))))
    known: set[int] = set()
    for items in batches:
        enrol_batch(whole, EnrolBatch(0, tuple((name(number), MONTH + month) for number, month in items)))
        for number, month in items:
            if number not in known:
                known.add(number)
                enrol(single, Enrol(0, name(number), MONTH + month, b""), PLATFORM)
    assert whole.root() == single.root()
    assert whole.overlay.batch().changes == single.overlay.batch().changes
    assert whole.overlay.undo().changes == single.overlay.undo().changes


def test_identities_that_collide_in_the_index_are_different_members() -> None:
    state = opened()
    alike = [b"0123456789" + bytes([number]) * 22 for number in range(4)]
    enrol_batch(state, EnrolBatch(0, ((alike[0], MONTH), (alike[1], MONTH))))
    enrol_batch(state, EnrolBatch(0, ((alike[1], MONTH), (alike[2], MONTH))))
    enrol(state, Enrol(0, alike[3], MONTH, b""), PLATFORM)
    assert [find_identity(state, 0, name) for name in alike] == [0, 1, 2, 3]
    assert find_identity(state, 0, b"0123456789" + bytes([9]) * 22) is None


def test_an_identity_may_join_two_plans() -> None:
    state = opened()
    plans.create(state, "other", with_params(), FIRST, 0, 17_000)
    enrol_batch(state, people(1))
    assert enrol_batch(state, EnrolBatch(1, ((identity(1), MONTH),))) == (1, 1, 0)
    assert [find_identity(state, plan, identity(1)) for plan in (0, 1)] == [0, 1]


def test_a_batch_has_1_to_10000_items() -> None:
    state = opened()
    assert refusal(enrol_batch, state, people()) == "EMPTY_BATCH"
    assert refusal(exit_batch, state, ExitBatch(0, ())) == "EMPTY_BATCH"
    assert refusal(enrol_batch, state, people(*range(BATCH_ITEMS_MAX + 1))) == "BATCH_TOO_LARGE"
    assert enrol_batch(state, people(*range(BATCH_ITEMS_MAX))) == (0, BATCH_ITEMS_MAX, 0)
    assert refusal(exit_batch, state, ExitBatch(0, tuple(range(BATCH_ITEMS_MAX + 1)))) == "BATCH_TOO_LARGE"
    assert exit_batch(state, ExitBatch(0, tuple(range(BATCH_ITEMS_MAX)))) == (BATCH_ITEMS_MAX, 0)


@pytest.mark.parametrize(
    ("born", "code"),
    [
        (1959 * 12 + 0, None),  # January 1959: 59 until 31 January 2019
        (1958 * 12 + 11, "AGE_OUT_OF_RANGE"),  # December 1958: 60 on 1 January 2019
        (2018 * 12 + 10, None),  # November 2018: born 1 December at the latest, 31 days ago
        (2018 * 12 + 11, "AGE_OUT_OF_RANGE"),
        (2019 * 12 + 1, "BAD_BIRTH_MONTH"),
        (-1, "BAD_BIRTH_MONTH"),
    ],
)
def test_joining_ages_are_30_days_to_59_years(born: int, code: str | None) -> None:
    state = opened(date(2019, 1, 1))
    if code is None:
        assert enrol_batch(state, people(1, month=born)) == (0, 1, 0)
    else:
        assert refusal(enrol, state, Enrol(0, identity(1), born, b""), PLATFORM) == code
        assert refusal(enrol_batch, state, EnrolBatch(0, ((identity(1), MONTH), (identity(2), born)))) == code
        assert state.length(Member) == 0, "one that is refused refuses the batch"


def test_identities_have_32_bytes_and_plans_exist() -> None:
    state = opened()
    assert refusal(enrol_batch, state, EnrolBatch(0, ((bytes(31), MONTH),))) == "BAD_FIELD"
    assert refusal(enrol, state, Enrol(0, bytes(33), MONTH, b""), PLATFORM) == "BAD_FIELD"
    assert refusal(enrol_batch, state, EnrolBatch(1, people(1).members)) == "UNKNOWN_PLAN"


def test_a_key_belongs_to_one_member() -> None:
    state = opened()
    enrol(state, Enrol(0, identity(1), MONTH, KEY), KEY)
    assert state.get(MemberKey, 0) == MemberKey(0, KEY, 0)
    assert refusal(enrol, state, Enrol(0, identity(2), MONTH, KEY), PLATFORM) == "KEY_IN_USE"
    assert refusal(enrol, state, Enrol(0, identity(2), MONTH, b"short"), PLATFORM) == "BAD_FIELD"
    assert refusal(enrol, state, Enrol(0, identity(2), MONTH, bytes(32)), KEY) == "NOT_PERMITTED"


def joins_at(ms: int, state: State) -> int:
    at(state, ms)
    return enrol(state, Enrol(0, identity(ms), MONTH, b""), PLATFORM)[1]


def test_who_joins_before_a_notice_shares_it_and_who_joins_with_it_does_not() -> None:
    state = opened()
    assert joins_at(notice_ms(FIRST) - 1, state) == FIRST
    state.put(0, settlement.notice(state, 0, state.get(Plan, 0)))
    assert joins_at(notice_ms(FIRST), state) == FIRST + 1
    assert joins_at(notice_ms(FIRST + 1) - 1, state) == FIRST + 1
    assert joins_at(notice_ms(FIRST + 1), state) == FIRST + 2, "also while the notice is late"


# ---- leaving and coming back ---------------------------------------------------------------------------------------


def test_an_exit_before_the_notice_ends_with_it_and_one_after_it_pays() -> None:
    state = opened()
    enrol_batch(state, people(1, 2, 3))
    assert exit_member(state, Exit(0), PLATFORM) == (FIRST,)
    state.put(0, settlement.notice(state, 0, state.get(Plan, 0)))
    assert exit_member(state, Exit(1), PLATFORM) == (FIRST + 1,)
    assert refusal(exit_member, state, Exit(1), PLATFORM) == "NOT_A_CURRENT_MEMBER"
    assert refusal(exit_member, state, Exit(3), PLATFORM) == "UNKNOWN_MEMBER"


def test_a_member_leaves_with_his_own_key_only() -> None:
    state = opened()
    enrol(state, Enrol(0, identity(1), MONTH, KEY), KEY)
    enrol_batch(state, people(2))
    assert refusal(exit_member, state, Exit(1), KEY) == "NOT_PERMITTED"
    exit_member(state, Exit(0), KEY)


def test_a_batch_of_exits_skips_who_is_no_current_member_of_the_plan() -> None:
    state = opened()
    plans.create(state, "other", with_params(), FIRST, 0, 17_000)
    enrol_batch(state, people(1, 2, 3))
    enrol_batch(state, EnrolBatch(1, people(1).members))
    exit_member(state, Exit(1), PLATFORM)
    assert exit_batch(state, ExitBatch(0, (0, 1, 2, 3, 4, 99))) == (2, 4)
    assert state.get(Member, 3).to_period == NO_END


@pytest.mark.parametrize("ids", [(1, 0), (1, 1), (-1, 0)])
def test_a_batch_of_exits_ascends(ids: tuple[int, ...]) -> None:
    state = opened()
    enrol_batch(state, people(1, 2))
    assert refusal(exit_batch, state, ExitBatch(0, ids)) == "BAD_RANGE"


def test_back_before_a_notice_he_never_left() -> None:
    state = opened()
    enrol_batch(state, people(1))
    before = state.get(Member, 0)
    exit_member(state, Exit(0), PLATFORM)
    assert enrol(state, Enrol(0, identity(1), MONTH, b""), PLATFORM) == (0, FIRST)
    assert state.get(Member, 0) == before


def test_back_after_a_notice_he_begins_again_and_his_old_span_is_kept() -> None:
    run = Lockstep([(date(2018, 1, 1), with_params())], FIRST, (MONTH,))
    run.run([("join", 4, 0), ("turn", 90, 0), ("turn", 0, 1), ("leave", 0, 0), ("turn", 0, 0), ("turn", 0, 0)])
    old = run.state.get(Member, 0)
    run.run([("come_back", 0, 0)])
    new = run.state.get(Member, 0)
    assert (new.from_period, new.base_fen, new.billed_fen, new.previous_span) == (FIRST + 2, 25, 25, 0)
    assert new.join_day == day_number(run.day)
    assert run.state.get(Span, 0) == Span(0, FIRST, FIRST + 1, old.join_day, old.to_day, 0, NONE, False)


def test_who_may_not_come_back() -> None:
    run = Lockstep([(date(2018, 1, 1), with_params(lapse_fails=1))], FIRST, (MONTH,))
    run.run([("join", 3, 0), ("turn", 90, 0), ("turn", 90, 1)])
    helped = next(number for number, person in enumerate(run.hand.people) if person.gone)
    lapsing = (helped + 1) % 3
    other = (helped + 2) % 3

    def comes_back(number: int, month: int = MONTH) -> str:
        return refusal(enrol, run.state, Enrol(0, identity(number), month, b""), PLATFORM)

    assert comes_back(helped) == "ALREADY_HELPED"
    assert comes_back(lapsing) == "DUPLICATE_MEMBER"
    run._report(lapsing, lapsing, 1 << lapsing % 13, None)
    assert comes_back(lapsing) == "DUPLICATE_MEMBER", "his lapse is not final before the close"
    run.run([("turn", 0, 0)])
    assert comes_back(lapsing) == "ARREARS_UNPAID"
    exit_member(run.state, Exit(other), PLATFORM)
    assert comes_back(other, MONTH + 1) == "BAD_BIRTH_MONTH"
    body = Enrol(0, identity(other), MONTH, KEY)
    assert refusal(enrol, run.state, body, PLATFORM) == "NOT_PERMITTED"


def test_a_member_is_helped_with_the_period_of_the_plan_only() -> None:
    state = opened()
    enrol_batch(state, people(1))
    with pytest.raises(InvariantViolation):
        members.benefit(state, 0, FIRST + 1)


# ---- cover ---------------------------------------------------------------------------------------------------------


def cover(state: State, days: Sequence[int], cause: int) -> list[str | None]:
    params = state.get(PlanVersion, 0).params
    return [covered(state, 0, state.get(Member, 0), day, cause, params) for day in days]


def test_cover_begins_the_day_after_joining_for_illnesses_after_90_more_days() -> None:
    state = opened()
    enrol_batch(state, people(1))
    joined = state.get(Member, 0).join_day
    assert cover(state, (joined - 1, joined, joined + 1), ACCIDENT) == ["NOT_COVERED", "NOT_COVERED", None]
    found = cover(state, (joined, joined + 1, joined + 90, joined + 91, joined + 5_000), ILLNESS)
    assert found == ["NOT_COVERED", "WAITING_ILL", "WAITING_ILL", None, None]


def test_the_day_of_the_exit_is_covered_and_the_next_is_not() -> None:
    state = opened()
    enrol_batch(state, people(1))
    joined = state.get(Member, 0).join_day
    at(state, noon(date(2019, 1, 1) + timedelta(days=200)))
    exit_member(state, Exit(0), PLATFORM)
    assert cover(state, (joined + 199, joined + 200, joined + 201), ILLNESS) == [None, None, "NOT_COVERED"]


def test_a_closed_span_still_covers_its_days() -> None:
    run = Lockstep([(date(2018, 1, 1), with_params())], FIRST, (MONTH,))
    run.run([("join", 4, 0), ("turn", 90, 0), ("turn", 0, 1), ("leave", 0, 0), ("turn", 0, 0), ("turn", 0, 0)])
    old = run.state.get(Member, 0)
    run.run([("come_back", 0, 0)])
    new = run.state.get(Member, 0)
    days = (old.join_day + 91, old.to_day - 1, old.to_day, new.join_day, new.join_day + 1, new.join_day + 91)
    assert cover(run.state, days, ILLNESS) == [None, None, "NOT_COVERED", "NOT_COVERED", "WAITING_ILL", None]


def test_a_lapse_ends_the_cover_on_the_day_of_the_close_and_not_before_it() -> None:
    run = Lockstep([(date(2018, 1, 1), with_params(lapse_fails=1))], FIRST, (MONTH,))
    run.run([("join", 4, 0), ("turn", 90, 0), ("turn", 0, 1)])
    run._report(0, 0, 1, None)
    close_day = day_number(notice_date(FIRST)) + 14
    assert cover(run.state, (close_day - 1, close_day, close_day + 9), ILLNESS) == [None, None, None]
    run.run([("turn", 0, 0)])
    assert cover(run.state, (close_day - 1, close_day), ILLNESS) == [None, "NOT_COVERED"]
    run.run([("turn", 0, 0), ("pay", 0, 0), ("come_back", 0, 0)])
    assert run.state.get(Span, 0).to_day == close_day


def test_who_is_helped_after_a_lapse_was_covered_until_the_lapse() -> None:
    run = Lockstep([(date(2018, 1, 1), with_params(lapse_fails=1))], FIRST, (MONTH,))
    run.run([("join", 4, 0), ("turn", 90, 0), ("turn", 0, 1)])
    run._report(0, 0, 1, None)
    run.run([("turn", 0, 0), ("turn", 90, 0)])
    close_day = day_number(notice_date(FIRST)) + 14
    members.benefit(run.state, 0, FIRST + 1)
    helped = run.state.get(Member, 0)
    assert (helped.state, helped.to_period, helped.to_day) == (MemberState.BENEFITED, FIRST + 1, close_day)
    assert cover(run.state, (close_day - 1, close_day), ILLNESS) == [None, "NOT_COVERED"]


# ---- derived states ------------------------------------------------------------------------------------------------


def test_waiting_grace_and_lapse_are_derived() -> None:
    run = Lockstep([(date(2018, 1, 1), with_params())], FIRST, (MONTH,))
    run.run([("join", 6, 0)])
    params = run.state.get(PlanVersion, 0).params

    def states(day: int) -> list[str]:
        return [member_state(run.state.get(Member, number), day, run.plan, params) for number in range(3)]

    joined = run.state.get(Member, 0).join_day
    later = joined + 91
    assert states(joined + 90) == ["WAITING"] * 3
    assert states(later) == ["ACTIVE"] * 3
    run.run([("turn", 90, 0), ("turn", 0, 5)])
    run._report(0, 2, 0b11, None)
    assert states(later) == ["GRACE", "GRACE", "ACTIVE"]
    run.run([("turn", 0, 0)])
    assert states(later) == ["GRACE", "GRACE", "ACTIVE"]
    run.run([("turn", 90, 0), ("turn", 0, 5)])
    run._report(0, 2, 0b01, None)
    assert states(later) == ["GRACE", "GRACE", "ACTIVE"], "nothing is final before the close"
    run.run([("turn", 0, 0)])
    assert states(later) == ["LAPSED", "ACTIVE", "ACTIVE"], "the second debit of the second went through"
    run.run([("leave", 1, 0)])
    assert states(later)[1] == "EXITED"
    assert bills.owed(run.state, run.state.get(Member, 1)).total_fen == 0


@given(st.integers(0, 2**40 - 1), st.integers(0, 2**40 - 1))
def test_ids_in_the_identity_index_have_5_bytes(one: int, other: int) -> None:
    packed = one.to_bytes(members.ID_BYTES, "big") + other.to_bytes(members.ID_BYTES, "big")
    assert members._ids(packed) == [one, other]
