"""Ranges with failures, corrections, the bank's word, single contributions."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger import cohorts, members, plans
from ledger.collection import collect, confirm, differences_of, failed_ids
from ledger.contributions import contribution
from ledger.errors import TransactionRejected
from ledger.limits import BATCH_ITEMS_MAX, FEN_MAX
from ledger.references import PaymentKind
from ledger.rows import NO_END, NONE, Account, Collection, Member, Payment, Settlement
from ledger.standing import MemberState
from ledger.transactions import Collect, ConfirmCollection, Contribution, EnrolBatch
from tests.ledger.lockstep import PLATFORM, Lockstep
from tests.ledger.lockstep_kit import with_params

FIRST = 24
MEMBERS = 10
SHARE = 108
"""ceil(1000 · 1.08 / 10)"""


def settled(**params: object) -> Lockstep:
    """Ten members, each owing ``SHARE`` for the first period. Member 9 left with it."""
    run = Lockstep([(date(2018, 1, 1), with_params(**params))], FIRST, (1990 * 12,))
    run.run([("join", MEMBERS, 0), ("turn", 1_000, 0), ("turn", 0, 9)])
    return run


def next_settled(run: Lockstep) -> None:
    """Close the open period and settle the next, with SHARE or a bit more for each."""
    run.run([("turn", 0, 0), ("turn", 1_000, 0), ("turn", 0, 9)])


def report(run: Lockstep, first: int, last: int, failed: tuple[int, ...] = (), corrects: int = 0) -> int:
    """Report a range on both sides; returns the collection's id."""
    replaces = None if not corrects else [made[0] for made in run.collections].index(corrects - 1)
    run.hand.collect(first, last, list(failed), replaces)
    body = Collect(0, run.hand.period, first, last, differences_of(first, failed), corrects)
    with run.state.attempt():
        made = collect(run.state, body, PLATFORM)
    run.collections.append((made[0], first, last))
    run.compare(f"after the range {first} to {last}")
    return made[0]


def refusal(run: Lockstep, body: object, reporter: int = PLATFORM) -> str:
    """The code with which a body is refused; nothing is left of it."""
    before = run.state.root()
    with pytest.raises(TransactionRejected) as caught, run.state.attempt():
        if isinstance(body, Collect):
            collect(run.state, body, reporter)
        elif isinstance(body, ConfirmCollection):
            confirm(run.state, body)
        elif isinstance(body, Contribution):
            contribution(run.state, body)
    assert run.state.root() == before
    return caught.value.code


def member(run: Lockstep, number: int) -> Member:
    return run.state.get(Member, number)


def pay(run: Lockstep, number: int, periods: tuple[int, ...], amount: int, reference: bytes = b"") -> tuple[int, ...]:
    """A single contribution on both sides."""
    run.hand.contribute(number, len(periods))
    with run.state.attempt():
        done = contribution(run.state, Contribution(number, periods, amount, reference or run._reference()))
    run.compare(f"after {number} paid {amount}")
    return done


# ---- differences ---------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**9), st.sets(st.integers(0, 10**6), max_size=50))
def test_differences_and_ids_are_inverse(first: int, offsets: set[int]) -> None:
    ids = sorted(first + offset for offset in offsets)
    differences = differences_of(first, ids)
    assert failed_ids(first, first + 10**6, differences) == ids


@pytest.mark.parametrize("differences", [(-1,), (0, 0), (3, -1), (8,), (7, 1), (1, 7)])
def test_failures_ascend_within_their_range(differences: tuple[int, ...]) -> None:
    with pytest.raises(TransactionRejected) as caught:
        failed_ids(10, 17, differences)
    assert caught.value.code == "BAD_RANGE"


def test_failures_may_be_the_first_and_the_last_of_a_range() -> None:
    assert failed_ids(10, 17, (0, 7)) == [10, 17]


def test_a_range_carries_at_most_10000_failures() -> None:
    assert len(failed_ids(0, BATCH_ITEMS_MAX, (1,) * BATCH_ITEMS_MAX)) == BATCH_ITEMS_MAX
    with pytest.raises(TransactionRejected) as caught:
        failed_ids(0, BATCH_ITEMS_MAX + 1, (1,) * (BATCH_ITEMS_MAX + 1))
    assert caught.value.code == "BATCH_TOO_LARGE"


# ---- ranges --------------------------------------------------------------------------------------------------------


def test_only_failures_touch_rows() -> None:
    run = settled()
    before = [member(run, number) for number in range(MEMBERS)]
    report(run, 0, 9, (3,))
    changed = [number for number in range(MEMBERS) if member(run, number) != before[number]]
    assert changed == [3]
    assert (member(run, 3).fail_period, member(run, 3).arrears_fen, member(run, 3).fails) == (FIRST, SHARE, 1)


def test_ranges_may_touch_and_may_not_overlap() -> None:
    run = settled()
    report(run, 3, 5)
    for first, last in ((5, 5), (3, 3), (0, 3), (4, 4), (5, 9), (0, 9)):
        assert refusal(run, Collect(0, FIRST, first, last, (), 0)) == "RANGE_OVERLAP"
    report(run, 6, 9)
    report(run, 0, 2)


def test_ranges_lie_in_the_table() -> None:
    run = settled()
    for first, last in ((-1, 3), (4, 3), (0, MEMBERS)):
        assert refusal(run, Collect(0, FIRST, first, last, (), 0)) == "BAD_RANGE"
    report(run, 0, MEMBERS - 1)


def test_a_range_is_for_the_settled_and_open_period() -> None:
    run = settled()
    assert refusal(run, Collect(0, FIRST - 1, 0, 9, (), 0)) == "UNKNOWN_PERIOD"
    assert refusal(run, Collect(0, FIRST + 1, 0, 9, (), 0)) == "UNKNOWN_PERIOD"
    assert refusal(run, Collect(7, FIRST, 0, 9, (), 0)) == "UNKNOWN_PLAN"
    run.run([("turn", 0, 0), ("turn", 1_000, 0)])
    assert refusal(run, Collect(0, FIRST, 0, 9, (), 0)) == "PERIOD_CLOSED"
    assert refusal(run, Collect(0, FIRST + 1, 0, 9, (), 0)) == "PERIOD_NOT_SETTLED"
    run.run([("turn", 0, 0)])
    assert refusal(run, Collect(0, FIRST + 1, 0, 9, (), 0)) == "NOTHING_OWED", "no claim was approved"


def test_a_range_is_refused_whole_when_one_of_its_failures_owes_nothing() -> None:
    run = settled()
    run.run([("join", 1, 0)])
    pay(run, 2, (FIRST,), SHARE)
    assert refusal(run, Collect(0, FIRST, 0, 9, differences_of(0, (1, 2)), 0)) == "NOT_CHARGEABLE"
    assert refusal(run, Collect(0, FIRST, 5, 10, differences_of(5, (6, 10)), 0)) == "NOT_CHARGEABLE", "10 joined late"
    report(run, 0, 10, (1,))


def test_a_member_of_another_plan_cannot_fail() -> None:
    run = settled()
    plans.create(run.state, "other", with_params(), FIRST, 0, 17_000)
    members.enrol_batch(run.state, EnrolBatch(1, ((bytes(32), 1990 * 12),)))
    run.state.put(10, replace(member(run, 10), from_period=FIRST))
    assert refusal(run, Collect(0, FIRST, 5, 10, differences_of(5, (10,)), 0)) == "NOT_CHARGEABLE"


# ---- corrections ---------------------------------------------------------------------------------------------------


def test_a_correction_takes_back_exactly_what_it_replaces() -> None:
    run = settled()
    report(run, 0, 4, (0, 3))
    report(run, 5, 9, (7,))
    next_settled(run)
    before = [member(run, number) for number in range(MEMBERS)]
    settlement, live = run.period_row, list(cohorts.rows(run.state, 0))
    wrong = report(run, 0, 9, (0, 3, 7, 8))
    assert [member(run, number).state for number in (0, 3, 7, 8)] == [MemberState.LAPSED] * 3 + [MemberState.ACTIVE]
    right = report(run, 0, 9, (), corrects=1 + wrong)
    assert [member(run, number) for number in range(MEMBERS)] == before
    assert run.period_row == settlement
    assert list(cohorts.rows(run.state, 0)) == live
    assert run.state.get(Collection, wrong).corrected_by == right
    report(run, 0, 9, (3, 8), corrects=1 + right)
    assert member(run, 3).to_period == FIRST + 2
    run.run([("turn", 0, 0)])


def test_a_correction_names_a_standing_range_of_the_same_reporter() -> None:
    run = settled()
    made = report(run, 0, 4, (1,))
    other = report(run, 5, 9)

    def corrects(first: int, last: int, which: int, reporter: int = PLATFORM) -> str:
        return refusal(run, Collect(0, FIRST, first, last, (), which), reporter)

    assert corrects(0, 4, 99) == "UNKNOWN_COLLECTION"
    assert corrects(0, 4, 1 + other) == "BAD_CORRECTION"
    assert corrects(0, 3, 1 + made) == "BAD_CORRECTION"
    assert corrects(0, 4, 1 + made, reporter=3) == "BAD_CORRECTION"
    report(run, 0, 4, (), corrects=1 + made)
    assert corrects(0, 4, 1 + made) == "COLLECTION_REPLACED"


def test_a_correction_is_for_the_period_of_its_range() -> None:
    run = settled()
    made = report(run, 0, 9)
    next_settled(run)
    assert refusal(run, Collect(0, FIRST + 1, 0, 9, (), 1 + made)) == "BAD_CORRECTION"


# ---- failures over the periods -------------------------------------------------------------------------------------


def test_arrears_are_debited_again_and_count_as_paid_without_touching_the_row() -> None:
    run = settled()
    report(run, 0, 9, (4,))
    next_settled(run)
    row = member(run, 4)
    report(run, 0, 9)
    run.run([("turn", 0, 0)])
    assert member(run, 4) == row
    assert run.state.get(Account, 0).arrears == 0
    closed = run.state.get(Settlement, 1)
    assert closed.arrears_debited_fen == SHARE


def test_two_failures_in_a_row_lapse_and_one_between_does_not() -> None:
    run = settled()
    report(run, 0, 9, (1, 2))
    next_settled(run)
    report(run, 0, 9, (1,))
    assert (run.period_row.written_off_fen, run.period_row.leavers_fen) == (SHARE + member_share(run), 0)
    next_settled(run)
    report(run, 0, 9, (2,))
    run.run([("turn", 0, 0)])
    assert member(run, 1).state == MemberState.LAPSED
    assert member(run, 1).to_period == FIRST + 2
    assert (member(run, 2).state, member(run, 2).to_period) == (MemberState.ACTIVE, NO_END)


def test_periods_in_which_nothing_was_owed_do_not_break_the_row() -> None:
    run = settled()
    report(run, 0, 9, (1,))
    run.run([("turn", 0, 0), ("turn", 0, 0), ("turn", 0, 0), ("turn", 0, 0), ("sponsor", 0, 0)])
    run.run([("turn", 1_000, 0), ("turn", 0, 9), ("turn", 0, 0), ("turn", 1_000, 0), ("turn", 0, 9)])
    assert run.hand.period == FIRST + 3
    report(run, 0, 9, (1,))
    run.run([("turn", 0, 0)])
    assert member(run, 1).state == MemberState.LAPSED


def test_a_range_tells_its_number_how_many_failed_and_what_they_owe() -> None:
    run = settled()
    body = Collect(0, FIRST, 0, 9, differences_of(0, (3, 7)), 0)
    assert collect(run.state, body, PLATFORM) == (0, 2, 2 * SHARE)
    assert run.state.get(Collection, 0).failed_fen == 2 * SHARE


# ---- the bank ------------------------------------------------------------------------------------------------------


def test_the_bank_confirms_one_fen_and_tells_what_came_for_the_period() -> None:
    run = settled()
    first, second = report(run, 0, 4), report(run, 5, 9)
    assert confirm(run.state, ConfirmCollection(first, 1, b"one fen")) == (1,)
    assert confirm(run.state, ConfirmCollection(second, 5, b"more")) == (6,)
    kept = [(row.kind, row.subject, row.amount_fen) for _, row in run.state.rows(Payment)]
    assert kept == [(PaymentKind.COLLECTION, first, 1), (PaymentKind.COLLECTION, second, 5)]


def test_a_range_of_an_earlier_period_is_not_confirmed_while_the_next_is_open() -> None:
    run = settled()
    made = report(run, 0, 9)
    next_settled(run)
    assert refusal(run, ConfirmCollection(made, 10 * SHARE, b"late")) == "PERIOD_CLOSED"


def test_a_contribution_is_kept_with_the_member_who_paid_it() -> None:
    run = settled()
    pay(run, 2, (FIRST,), SHARE, b"receipt")
    ((_, row),) = run.state.rows(Payment)
    assert (row.kind, row.subject, row.amount_fen, row.reference) == (PaymentKind.CONTRIBUTION, 2, SHARE, b"receipt")


def test_what_the_bank_confirms_is_compared_with_what_was_expected() -> None:
    run = settled()
    made = report(run, 0, 9, (4,))
    confirm(run.state, ConfirmCollection(made, 9 * SHARE - 5, b"ref"))
    run.hand.confirm(9 * SHARE - 5)
    run.run([("turn", 0, 0)])
    row = run.state.get(Settlement, 0)
    assert (row.short_fen, row.surplus_fen) == (5, 0)
    assert run.state.get(Account, 0).sponsor == 5


def test_members_in_no_range_are_owed_by_the_reporter() -> None:
    run = settled()
    made = report(run, 0, 7)
    confirm(run.state, ConfirmCollection(made, 8 * SHARE, b"ref"))
    run.hand.confirm(8 * SHARE)
    run.run([("turn", 0, 0)])
    assert run.state.get(Settlement, 0).short_fen == 2 * SHARE


def test_money_above_what_was_expected_is_to_be_refunded() -> None:
    run = settled()
    made = report(run, 0, 9)
    confirm(run.state, ConfirmCollection(made, 10 * SHARE + 7, b"ref"))
    run.hand.confirm(10 * SHARE + 7)
    run.run([("turn", 0, 0)])
    assert run.state.get(Account, 0).refunds == 7


def test_a_range_is_confirmed_once_while_it_stands_and_its_period_is_open() -> None:
    run = settled()
    made = report(run, 0, 9)
    assert refusal(run, ConfirmCollection(made + 1, 5, b"ref")) == "UNKNOWN_COLLECTION"
    assert refusal(run, ConfirmCollection(made, 0, b"ref")) == "BAD_FIELD"
    assert refusal(run, ConfirmCollection(made, FEN_MAX + 1, b"ref")) == "BAD_FIELD"
    again = report(run, 0, 9, (), corrects=1 + made)
    assert refusal(run, ConfirmCollection(made, 5, b"ref")) == "COLLECTION_REPLACED"
    confirm(run.state, ConfirmCollection(again, 5, b"ref"))
    run.hand.confirm(5)
    assert refusal(run, ConfirmCollection(again, 5, b"other")) == "ALREADY_CONFIRMED"
    run.run([("turn", 0, 0)])
    assert refusal(run, ConfirmCollection(again, 5, b"other")) == "PERIOD_CLOSED"


# ---- single contributions ------------------------------------------------------------------------------------------


def test_a_single_payment_of_the_open_period_lowers_what_is_expected() -> None:
    run = settled()
    assert pay(run, 4, (FIRST,), SHARE) == (SHARE, 0, 0)
    assert member(run, 4).paid_period == FIRST
    made = report(run, 0, 9)
    confirm(run.state, ConfirmCollection(made, 9 * SHARE, b"ref"))
    run.hand.confirm(9 * SHARE)
    run.run([("turn", 0, 0)])
    row = run.state.get(Settlement, 0)
    assert (row.short_fen, row.surplus_fen, row.singles_fen) == (0, 0, SHARE)


def test_who_pays_after_his_debit_failed_did_not_fail() -> None:
    run = settled()
    before = member(run, 4)
    report(run, 0, 9, (4,))
    assert pay(run, 4, (FIRST,), SHARE) == (SHARE, 0, 0)
    assert run.period_row.failures == 0
    assert (member(run, 4).fail_period, member(run, 4).arrears_fen) == (before.fail_period, 0)
    run.run([("turn", 0, 0)])


def test_a_lapse_is_called_off_by_paying_before_the_close() -> None:
    run = settled()
    report(run, 0, 9, (4,))
    next_settled(run)
    share = member_share(run)
    report(run, 0, 9, (4,))
    assert member(run, 4).state == MemberState.LAPSED
    assert pay(run, 4, (FIRST, FIRST + 1), SHARE + share) == (share, SHARE, 0)
    run.run([("turn", 0, 0)])
    assert (member(run, 4).state, member(run, 4).to_period) == (MemberState.ACTIVE, NO_END)


def member_share(run: Lockstep) -> int:
    return dict(run.period_row.shares)[1]


def test_paying_the_arrears_only_leaves_one_failure() -> None:
    run = settled()
    report(run, 0, 9, (4,))
    next_settled(run)
    report(run, 0, 9, (4,))
    assert pay(run, 4, (FIRST,), SHARE) == (0, SHARE, 0)
    assert (member(run, 4).state, member(run, 4).fails) == (MemberState.ACTIVE, 1)
    assert member(run, 4).arrears_fen == member_share(run)
    run.run([("turn", 0, 0)])


def test_after_the_write_off_what_comes_in_goes_to_the_carry() -> None:
    run = settled(lapse_fails=1)
    report(run, 0, 9, (4,))
    run.run([("turn", 0, 0)])
    carry = run.state.get(Account, 0).carry
    assert pay(run, 4, (FIRST,), SHARE) == (0, 0, SHARE)
    assert run.state.get(Account, 0).carry == carry + SHARE
    assert refusal(run, Contribution(4, (FIRST,), SHARE, b"again")) == "NOTHING_OWED"


def test_what_a_contribution_must_be() -> None:
    run = settled()
    report(run, 0, 9, (4,))
    next_settled(run)
    both = SHARE + member_share(run)

    def refused(number: int, periods: tuple[int, ...], amount: int, reference: bytes = b"ref") -> str:
        return refusal(run, Contribution(number, periods, amount, reference))

    assert refused(99, (FIRST,), 1) == "UNKNOWN_MEMBER"
    assert refused(4, (FIRST, FIRST + 2), 1) == "UNKNOWN_PERIOD"
    assert refused(4, (FIRST - 1,), 1) == "UNKNOWN_PERIOD"
    assert refused(4, (), 0) == "NOTHING_OWED"
    assert refused(4, (FIRST + 1,), both - SHARE) == "NOTHING_OWED", "the oldest comes first"
    assert refused(4, (FIRST + 1, FIRST), both) == "NOTHING_OWED"
    assert refused(3, (FIRST, FIRST + 1), both) == "NOTHING_OWED"
    for wrong in (both - 1, both + 1, SHARE):
        assert refused(4, (FIRST, FIRST + 1), wrong) == "WRONG_AMOUNT"
    assert refused(4, (FIRST, FIRST + 1), both, b"") == "BAD_FIELD"
    assert refused(4, (FIRST, FIRST + 1), both, b"r" * 65) == "BAD_FIELD"
    pay(run, 4, (FIRST, FIRST + 1), both, b"r" * 64)
    assert refused(3, (FIRST + 1,), member_share(run), b"r" * 64) == "DUPLICATE_REFERENCE"


def test_nothing_is_paid_for_a_period_that_is_not_settled() -> None:
    run = settled()
    report(run, 0, 9, (4,))
    run.run([("turn", 0, 0), ("turn", 1_000, 0)])
    assert refusal(run, Contribution(4, (FIRST, FIRST + 1), SHARE, b"ref")) == "PERIOD_NOT_SETTLED"
    assert pay(run, 4, (FIRST,), SHARE) == (0, SHARE, 0)
    assert member(run, 4).fail_period == NONE
