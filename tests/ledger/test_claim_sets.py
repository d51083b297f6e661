"""The sets of states beside the claim table, in the words of LEDGER §5: asked for by mutants."""

from collections.abc import Collection

import pytest

from ledger import claim_table
from ledger.claim_table import TABLE, ClaimState, Event, target
from ledger.errors import TransactionRejected


def names(states: Collection[ClaimState]) -> set[str]:
    """For reading."""
    return {state.name for state in states}


def test_whoever_was_refused_in_the_end_expired_or_withdrew_may_file_again() -> None:
    assert names(claim_table.WITHOUT_CLAIM) == {"REFUSED_FINAL", "EXPIRED", "WITHDRAWN"}


def test_nobody_is_helped_twice_whatever_became_of_the_money() -> None:
    assert names(claim_table.HELPED) == {"PAID", "CLAWBACK", "RECOVERED", "WRITTEN_OFF", "UNCLAIMED"}


def test_cleared_anew_disputed_and_withdrawn_claims_leave_their_batch() -> None:
    assert names(claim_table.LEAVES_BATCH) == {"CLEARED", "DISPUTED", "WITHDRAWN"}


def test_what_may_be_withdrawn_may_be_held_and_so_may_juries_and_experts() -> None:
    assert set(claim_table.HOLDABLE) == {*claim_table.WITHDRAWABLE, ClaimState.JURY, ClaimState.EXPERT}
    assert names(claim_table.WITHDRAWABLE).isdisjoint({"JURY", "EXPERT", "APPROVED", "SETTLED", "PAID"})


def test_an_event_with_one_target_goes_there_and_release_goes_where_it_is_told() -> None:
    for row in TABLE:
        if row.event is Event.RELEASE:
            assert target(row.source, row.event, row.target) is row.target
        else:
            assert target(row.source, row.event) is row.target
    with pytest.raises(TransactionRejected, match="RELEASE"):
        target(ClaimState.FRAUD_HOLD, Event.RELEASE, ClaimState.PAID)


def test_numbers_are_in_rows_and_never_change() -> None:
    assert [state.value for state in ClaimState] == list(range(1, 24))
    assert [event.value for event in Event] == list(range(1, 41))
    assert (ClaimState.FILED, ClaimState.PAID, ClaimState.DISPUTED, ClaimState.UNCLAIMED) == (1, 10, 15, 23)
    assert (Event.FILE, Event.NOTICE, Event.HOLD, Event.COURT_ORDER, Event.JURY_FAILS) == (1, 9, 24, 34, 40)
    assert [judge.name for judge in claim_table.Judge] == ["FIRM", "JURY", "EXPERTS", "COURT"]
    assert [judge.value for judge in claim_table.Judge] == [0, 1, 2, 3]
