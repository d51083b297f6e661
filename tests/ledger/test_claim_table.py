"""The table of transitions: what is not in it is refused, through the rules as well as in the table."""

from typing import Any

import pytest
from msgspec.structs import replace

from ledger import claim_table, claims, payouts
from ledger import transactions as tx
from ledger.claim_table import DEADLINES, ENTRY, TABLE, ClaimState, Event, target
from ledger.errors import TransactionRejected
from ledger.rows import NONE, Claim
from ledger.sender import Sender
from ledger.state import BlockContext, State
from ledger.store import MemoryStore, Overlay

ALLOWED = {
    # Written by hand from LEDGER §5, for the states and events of the main path.
    ("FILED", "DIAGNOSE"): "FILED",
    ("FILED", "INVESTIGATE"): "INVESTIGATING",
    ("INVESTIGATING", "DIAGNOSE"): "INVESTIGATING",
    ("INVESTIGATING", "REDRAW"): "INVESTIGATING",
    ("INVESTIGATING", "ASSESS"): "ASSESSED",
    ("ASSESSED", "CLEAR"): "CLEARED",
    ("ASSESSED", "REFUSE"): "REFUSED",
    ("ASSESSED", "REVIEW_OVERDUE"): "ASSESSED",
    ("CLEARED", "NOTICE"): "NOTICED",
    ("REFUSED", "APPEAL_OVER"): "REFUSED_FINAL",
    ("NOTICED", "APPROVE"): "APPROVED",
    ("APPROVED", "SETTLE"): "SETTLED",
    ("SETTLED", "PAY"): "PAYING",
    ("PAYING", "PAY"): "PAYING",
    ("PAYING", "BOUNCE"): "PAYING",
    ("PAYING", "CONFIRM"): "PAID",
}

CLAIM = Claim(
    plan=0,
    member=0,
    tier=1,
    illness=1,
    cause=0,
    diagnosis_day=17_000,
    region=1,
    fingerprint=bytes(32),
    salt=bytes(16),
    state=int(ENTRY),
    held_from=NONE,
    opened_ms=0,
    due_ms=1,
    draw=0,
    investigator=0,
    review_draw=NONE,
    reviewer=NONE,
    passed_over=(),
    report=b"",
    hospital=4,
    diagnosis=bytes(32),
    reason=0,
    documents_asked=0,
    documents_days=0,
    period=NONE,
    amount_fen=1,
    reference=b"out",
)


@pytest.mark.parametrize("state", ClaimState)
@pytest.mark.parametrize("event", Event)
def test_the_table_allows_what_the_rules_say_and_nothing_else(state: ClaimState, event: Event) -> None:
    allowed = ALLOWED.get((state.name, event.name))
    if allowed is not None:
        assert target(state, event).name == allowed
    else:
        with pytest.raises(TransactionRejected) as caught:
            target(state, event)
        assert caught.value.code == "NO_SUCH_TRANSITION"


def test_no_row_of_the_table_stands_twice() -> None:
    assert len({(row.source, row.event) for row in TABLE}) == len(TABLE) == len(ALLOWED)


def test_every_state_of_the_main_path_is_reached_and_left_or_final() -> None:
    reached = {ENTRY} | {row.target for row in TABLE}
    left = {row.source for row in TABLE}
    assert left <= reached
    assert reached - left == {ClaimState.PAID, ClaimState.REFUSED_FINAL}


def test_a_state_ends_by_itself_only_where_the_table_has_a_deadlines_step() -> None:
    by_deadline = {row.source for row in TABLE if row.by == "deadline"}
    assert set(DEADLINES) == by_deadline - {ClaimState.CLEARED, ClaimState.APPROVED}
    """CLEARED and APPROVED end by the plan's notice and settlement."""


def test_every_reason_has_a_sentence_and_0_clears() -> None:
    assert claim_table.REASONS[0] == "cleared"
    assert sorted(claim_table.REASONS) == list(range(len(claim_table.REASONS)))


STEPS: list[tuple[str, Any, Any]] = [
    ("DIAGNOSE", claims.diagnose, tx.Diagnose(0, bytes(32))),
    ("ASSESS", claims.assess, tx.Assess(0, bytes(32))),
    ("CLEAR", claims.review, tx.Review(0, 0)),
    ("REFUSE", claims.review, tx.Review(0, 1)),
    ("PAY", payouts.pay, tx.Pay(0, 1, b"new")),
    ("CONFIRM", payouts.confirm_payment, tx.ConfirmPayment(0, b"out", True)),
    ("BOUNCE", payouts.confirm_payment, tx.ConfirmPayment(0, b"out", False)),
]


@pytest.mark.parametrize(("event", "rule", "body"), STEPS)
@pytest.mark.parametrize("present", ClaimState)
def test_every_transaction_is_refused_in_every_state_that_has_no_such_step(
    present: ClaimState, event: str, rule: Any, body: Any
) -> None:
    if (present.name, event) in ALLOWED:
        return
    state = State(Overlay(MemoryStore()), BlockContext(bytes(32), 1, 1, 1, bytes(32), bytes(64)))
    state.append(replace(CLAIM, state=int(present)))
    root = state.base.root()
    with pytest.raises(TransactionRejected) as caught:
        rule(state, body, Sender(bytes(32), organisation=1))
    assert caught.value.code == "NO_SUCH_TRANSITION"
    assert state.base.root() == root
