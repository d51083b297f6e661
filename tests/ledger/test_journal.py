"""Every posting has two sides, and no account is ever negative."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger import journal
from ledger.errors import InvariantViolation
from ledger.journal import CREDIT_ACCOUNTS, DEBIT_ACCOUNTS
from ledger.rows import Account, Settlement
from ledger.state import State
from tests.ledger.lockstep import Lockstep
from tests.ledger.lockstep_kit import new_state, with_params

ALL = DEBIT_ACCOUNTS + CREDIT_ACCOUNTS


def with_account() -> State:
    state = new_state(date(2019, 1, 1))
    journal.open_account(state, 0)
    return state


def test_the_accounts_are_those_of_the_row() -> None:
    assert set(ALL) == set(Account.__struct_fields__)


@given(st.lists(st.tuples(st.sampled_from(ALL), st.sampled_from(ALL), st.integers(0, 1_000)), max_size=30))
def test_the_equation_holds_after_any_postings(postings: list[tuple[str, str, int]]) -> None:
    state = with_account()
    for debit, credit, amount in postings:
        before = state.get(Account, 0)
        try:
            journal.post(state, 0, debit, credit, amount)
        except InvariantViolation:
            assert state.get(Account, 0) == before
            continue
        account = state.get(Account, 0)
        journal.check(account)
        assert sum(getattr(account, name) for name in DEBIT_ACCOUNTS) == sum(
            getattr(account, name) for name in CREDIT_ACCOUNTS
        )


def test_left_accounts_grow_by_debits_and_right_ones_by_credits() -> None:
    state = with_account()
    journal.post(state, 0, "due", "carry", 10)
    journal.post(state, 0, "cash", "due", 4)
    journal.post(state, 0, "carry", "claims", 7)
    account = state.get(Account, 0)
    assert (account.due, account.cash, account.carry, account.claims) == (6, 4, 3, 7)


def test_a_negative_amount_or_a_posting_to_itself_is_our_bug() -> None:
    for debit, credit, amount in (("cash", "carry", -1), ("cash", "cash", 1)):
        with pytest.raises(InvariantViolation):
            journal.post(with_account(), 0, debit, credit, amount)


@pytest.mark.parametrize("name", ALL)
def test_an_account_that_would_be_negative_is_our_bug(name: str) -> None:
    debit, credit = ("cash", name) if name in DEBIT_ACCOUNTS else (name, "advance")
    if name == "cash":
        debit, credit = "claims", "cash"
    if name == "advance":
        debit, credit = "advance", "claims"
    with pytest.raises(InvariantViolation, match="negative"):
        journal.post(with_account(), 0, debit, credit, 1)


def test_an_account_out_of_balance_is_found_at_the_end_of_the_block() -> None:
    state = with_account()
    state.put(0, replace(state.get(Account, 0), cash=1))
    with pytest.raises(InvariantViolation, match="off by 1 fen"):
        journal.check(state.get(Account, 0))


def test_due_must_be_what_the_open_period_says() -> None:
    run = Lockstep([(date(2018, 1, 1), with_params())], 22, (1990 * 12,))
    run.run([("join", 5, 0), ("turn", 100, 0), ("turn", 100, 1)])
    row_id = run.plan.settlement
    row = run.state.get(Settlement, row_id)
    assert row.due_fen > 0
    run.state.put(row_id, replace(row, due_fen=row.due_fen - 1))
    with pytest.raises(InvariantViolation, match="DUE"):
        journal.check_touched(run.state)


def test_accounts_are_opened_in_step_with_plans() -> None:
    with pytest.raises(InvariantViolation):
        journal.open_account(with_account(), 3)
