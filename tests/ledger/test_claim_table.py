"""The table of transitions: what is not in it is refused, through the rules as well as in the table."""

from typing import Any

import pytest
from msgspec.structs import replace

from ledger import claim_table, claims, disputes, documents, experts, holds, jury, payouts, remedies
from ledger import transactions as tx
from ledger.claim_table import DEADLINES, ENTRY, TABLE, ClaimState, Event, target
from ledger.errors import TransactionRejected
from ledger.sender import Sender
from ledger.state import BlockContext, State
from ledger.store import MemoryStore, Overlay
from tests.ledger.claim_kit import BLANK

BEFORE_APPROVED = [
    "FILED",
    "DOCS_PENDING",
    "INVESTIGATING",
    "ASSESSED",
    "CLEARED",
    "REFUSED",
    "NOTICED",
    "DISPUTED",
    "JURY",
    "EXPERT",
]
ALLOWED: dict[tuple[str, str], str | set[str]] = {
    # Written by hand from LEDGER §5.
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
    ("FILED", "ASK_DOCUMENTS"): "DOCS_PENDING",
    ("DOCS_PENDING", "GIVE_DOCUMENTS"): "FILED",
    ("DOCS_PENDING", "DOCUMENTS_OVERDUE"): "EXPIRED",
    ("FILED", "WITHDRAW"): "WITHDRAWN",
    ("DOCS_PENDING", "WITHDRAW"): "WITHDRAWN",
    ("INVESTIGATING", "WITHDRAW"): "WITHDRAWN",
    ("ASSESSED", "WITHDRAW"): "WITHDRAWN",
    ("CLEARED", "WITHDRAW"): "WITHDRAWN",
    ("REFUSED", "WITHDRAW"): "WITHDRAWN",
    ("NOTICED", "WITHDRAW"): "WITHDRAWN",
    ("DISPUTED", "WITHDRAW"): "WITHDRAWN",
    ("FILED", "NO_FIRM"): "EXPERT",
    ("INVESTIGATING", "NO_FIRM"): "EXPERT",
    ("ASSESSED", "NO_FIRM"): "EXPERT",
    ("EXPERT", "EXPERTS_CLEAR"): "CLEARED",
    ("EXPERT", "EXPERTS_REFUSE"): "REFUSED_FINAL",
    ("REFUSED", "APPEAL"): "DISPUTED",
    ("NOTICED", "OBJECT"): "DISPUTED",
    ("DISPUTED", "CALL_JURY"): "JURY",
    ("JURY", "COMMITS_OVER"): "JURY",
    ("JURY", "JURY_CLEARS"): "CLEARED",
    ("JURY", "JURY_REFUSES"): "REFUSED_FINAL",
    ("JURY", "JURY_FAILS"): "EXPERT",
    **{(state, "HOLD"): "FRAUD_HOLD" for state in BEFORE_APPROVED},
    ("FRAUD_HOLD", "RELEASE"): set(BEFORE_APPROVED),
    ("FRAUD_HOLD", "REJECT"): "REFUSED_FINAL",
    ("SETTLED", "STOP"): "STOPPED",
    ("PAYING", "STOP"): "STOPPED",
    ("STOPPED", "RESUME"): "PAYING",
    ("STOPPED", "REJECT"): "REFUSED_FINAL",
    ("SETTLED", "TWO_YEARS"): "UNCLAIMED",
    ("PAYING", "TWO_YEARS"): "UNCLAIMED",
    ("PAID", "CLAW_BACK"): "CLAWBACK",
    ("CLAWBACK", "RECOVER_PART"): "CLAWBACK",
    ("CLAWBACK", "RECOVER"): "RECOVERED",
    ("CLAWBACK", "WRITE_OFF"): "WRITTEN_OFF",
    ("REFUSED_FINAL", "COURT_ORDER"): "CLEARED",
    ("EXPIRED", "COURT_ORDER"): "CLEARED",
}

CLAIM = replace(
    BLANK,
    tier=1,
    illness=1,
    diagnosis_day=17_000,
    region=1,
    fingerprint=bytes(32),
    salt=bytes(16),
    state=int(ENTRY),
    due_ms=1,
    draw=0,
    investigator=0,
    hospital=4,
    diagnosis=bytes(32),
    amount_fen=1,
    reference=b"out",
)


@pytest.mark.parametrize("state", ClaimState)
@pytest.mark.parametrize("event", Event)
def test_the_table_allows_what_the_rules_say_and_nothing_else(state: ClaimState, event: Event) -> None:
    allowed = ALLOWED.get((state.name, event.name), set())
    targets = {allowed} if isinstance(allowed, str) else allowed
    for chosen in ClaimState:
        if chosen.name in targets:
            assert target(state, event, chosen) is chosen
        else:
            with pytest.raises(TransactionRejected) as caught:
                target(state, event, chosen)
            assert caught.value.code == "NO_SUCH_TRANSITION"
    if len(targets) == 1:
        assert {target(state, event).name} == targets


def test_no_row_of_the_table_stands_twice() -> None:
    assert len({(row.source, row.event, row.target) for row in TABLE}) == len(TABLE)
    assert {(row.source.name, row.event.name) for row in TABLE} == set(ALLOWED)


def test_every_state_is_reached_and_left_or_final() -> None:
    reached = {ENTRY} | {row.target for row in TABLE}
    left = {row.source for row in TABLE}
    assert reached == set(ClaimState)
    final = ["WITHDRAWN", "RECOVERED", "WRITTEN_OFF", "UNCLAIMED"]
    assert {state.name for state in reached - left} == set(final)


def test_a_state_ends_by_itself_where_the_table_has_a_deadlines_step() -> None:
    assert set(DEADLINES) == {row.source for row in TABLE if "deadline" in row.by}


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
    ("ASK_DOCUMENTS", documents.ask, tx.AskDocuments(0)),
    ("GIVE_DOCUMENTS", documents.give, tx.GiveDocuments(0, 0, bytes(32), bytes(16))),
    ("WITHDRAW", documents.withdraw, tx.Withdraw(0, 0)),
    ("APPEAL", disputes.appeal, tx.Appeal(0, 0, bytes(16))),
    ("OBJECT", disputes.object_to, tx.ObjectTo(1, 0, bytes(16))),
    ("CALL_JURY", disputes.exclude, tx.ExcludeJuror(0, 1, 8)),
    ("COMMITS_OVER", jury.commit, tx.CommitBallot(1, 0, bytes(32))),
    ("COMMITS_OVER", jury.reveal, tx.RevealBallot(1, 0, 1, bytes(16))),
    ("EXPERTS_CLEAR", experts.opine, tx.Opinion(0, 0)),
    ("EXPERTS_REFUSE", experts.opine, tx.Opinion(0, 1)),
    ("REJECT", holds.reject, tx.RejectClaim(0, 1)),
    ("CLAW_BACK", remedies.claw_back, tx.ClawBack(0, bytes(32))),
    ("RECOVER", remedies.recover, tx.RecoverAid(0, 1, b"back")),
    ("WRITE_OFF", remedies.write_off, tx.WriteOffAid(0, bytes(32))),
    ("COURT_ORDER", remedies.court_order, tx.CourtOrder(0, bytes(32))),
    ("HOLD STOP", holds.hold, tx.HoldClaim(0)),
    ("RELEASE RESUME", holds.free, tx.FreeClaim(0)),
]


@pytest.mark.parametrize(("event", "rule", "body"), STEPS)
@pytest.mark.parametrize("present", ClaimState)
def test_every_transaction_is_refused_in_every_state_that_has_no_such_step(
    present: ClaimState, event: str, rule: Any, body: Any
) -> None:
    if any((present.name, name) in ALLOWED for name in event.split()):
        return
    state = State(Overlay(MemoryStore()), BlockContext(bytes(32), 1, 1, 1, bytes(32), bytes(64)))
    state.append(replace(CLAIM, state=int(present)))
    root = state.root()
    with pytest.raises(TransactionRejected) as caught:
        rule(state, body, Sender(bytes(32), organisation=1))
    assert caught.value.code == "NO_SUCH_TRANSITION"
    assert state.root() == root
