"""What a row adds to the counters, and that failing and taking it back are inverse."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger.errors import InvariantViolation
from ledger.rows import NO_END, NONE, Member, Plan
from ledger.standing import MemberState, fail, lift, normal
from tests.ledger.lockstep import Lockstep
from tests.ledger.lockstep_kit import with_params

OPEN = 30


def plan(last_charged: int) -> Plan:
    """A plan whose period ``OPEN`` is settled and not closed."""
    run = Lockstep([(date(2018, 1, 1), with_params())], 24, (1990 * 12,))
    return replace(run.plan, period=OPEN, stage=2, last_charged=last_charged)


def member(**changes: object) -> Member:
    run = Lockstep([(date(2018, 1, 1), with_params())], 24, (1990 * 12,))
    run.run([("join", 1, 0)])
    return replace(run.state.get(Member, 0), **changes)


@given(
    due=st.integers(1, 500),
    arrears=st.integers(1, 500),
    last_charged=st.integers(24, OPEN - 1),
    failed=st.integers(24, OPEN - 1),
    fails=st.integers(1, 3),
    leaves=st.booleans(),
    lapse_fails=st.integers(1, 4),
)
def test_taking_a_failure_back_restores_the_row(
    due: int, arrears: int, last_charged: int, failed: int, fails: int, leaves: bool, lapse_fails: int
) -> None:
    present = plan(last_charged)
    row = member(fail_period=failed, arrears_fen=arrears, fails=fails)
    if leaves:
        row = replace(row, state=int(MemberState.EXITED), to_period=OPEN + 1)
    after = fail(row, present, due, lapse_fails)
    assert lift(after, present, due) == normal(row, present)
    in_a_row = fails + 1 if failed == last_charged else 1
    assert after.fails == in_a_row
    assert after.arrears_fen == due + (arrears if failed == last_charged else 0)
    assert (after.state == MemberState.LAPSED) == (not leaves and in_a_row >= lapse_fails)
    assert after.to_period == (NO_END if not leaves and in_a_row < lapse_fails else OPEN + 1)


def test_there_is_nothing_to_take_back_without_a_failure() -> None:
    row = member()
    assert lift(row, plan(NONE), 100) == row


def test_nobody_fails_twice_in_a_period() -> None:
    present = plan(NONE)
    with pytest.raises(InvariantViolation, match="second failure"):
        fail(fail(member(), present, 10, 2), present, 10, 2)


def test_a_failure_taken_back_with_another_charge_is_our_bug() -> None:
    present = plan(NONE)
    after = fail(member(), present, 10, 2)
    for wrong in (9, 11):
        with pytest.raises(InvariantViolation, match="cannot be taken out"):
            lift(after, present, wrong)
