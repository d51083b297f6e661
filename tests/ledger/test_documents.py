"""Documents asked for, and withdrawal (LEDGER §5)."""

from collections.abc import Callable

import pytest

from ledger import calendar
from ledger import transactions as tx
from ledger.claim_table import WITHDRAWABLE, ClaimState
from ledger.disputes import Outcome
from ledger.rows import NONE, Evidence, Settlement
from tests.ledger.chain import Chain
from tests.ledger.claim_kit import (
    PARAMS,
    assessed,
    before_jury,
    check_whole,
    dispute,
    drawn_and_other,
    enrolled,
    filed,
    investigating,
    noticed,
    objected,
    person,
    reviewed,
    row,
)
from tests.ledger.test_life import AID, CLAIMANT, HASH, SALT, days, filing, state_of

DAY = calendar.MS_PER_DAY


def give(claim: int, member: int = CLAIMANT) -> tx.GiveDocuments:
    return tx.GiveDocuments(member, claim, HASH, SALT)


def test_documents_are_asked_for_and_given_and_the_window_begins_anew() -> None:
    chain = enrolled()
    claim = filed(chain)
    days(chain, 1)
    chain.ok("firm-b", tx.AskDocuments(claim))
    assert state_of(chain, claim) is ClaimState.DOCS_PENDING
    days(chain, 5)
    assert state_of(chain, claim) is ClaimState.DOCS_PENDING, "no investigator is drawn meanwhile"
    (evidence,) = chain.ok("platform", give(claim))
    assert chain.state.get(Evidence, evidence).commitment == HASH
    assert state_of(chain, claim) is ClaimState.FILED
    days(chain, PARAMS.investigate_after_days - 1)
    assert state_of(chain, claim) is ClaimState.FILED
    days(chain, 2)
    assert state_of(chain, claim) is ClaimState.INVESTIGATING
    check_whole(chain)


def test_documents_are_asked_for_at_most_twice() -> None:
    chain = enrolled()
    claim = filed(chain)
    for _ in range(2):
        chain.ok("firm-a", tx.AskDocuments(claim))
        chain.ok("platform", give(claim))
    assert chain.refused("firm-a", tx.AskDocuments(claim)) == "DOCUMENTS_EXHAUSTED"


def test_documents_may_take_60_days_in_all_then_the_claim_expires() -> None:
    chain = enrolled()
    claim = filed(chain)
    chain.ok("firm-a", tx.AskDocuments(claim))
    days(chain, 40)
    chain.ok("platform", give(claim))
    assert row(chain, claim).documents_days == 41, "a begun day counts"
    (due_ms,) = chain.ok("firm-a", tx.AskDocuments(claim))
    assert due_ms - row(chain, claim).opened_ms == 19 * DAY
    days(chain, 18)
    assert state_of(chain, claim) is ClaimState.DOCS_PENDING
    days(chain, 2)
    assert state_of(chain, claim) is ClaimState.EXPIRED
    chain.ok("platform", filing(chain))
    check_whole(chain)


def test_with_all_days_used_up_nothing_more_is_asked_for() -> None:
    chain = enrolled()
    claim = filed(chain)
    (due_ms,) = chain.ok("firm-a", tx.AskDocuments(claim))
    chain.step_to(due_ms - 10_000)
    chain.ok("platform", give(claim))
    assert row(chain, claim).documents_days == PARAMS.docs_days_max
    assert chain.refused("firm-a", tx.AskDocuments(claim)) == "DOCUMENTS_EXHAUSTED"


def test_only_the_claimant_gives_documents_or_withdraws() -> None:
    chain = enrolled()
    claim = filed(chain, person(0))
    chain.ok("firm-a", tx.AskDocuments(claim))
    assert chain.refused("person 1", give(claim, person(1))) == "NOT_THE_CLAIMANT"
    assert chain.refused("person 1", give(claim, person(0))) == "NOT_PERMITTED"
    assert chain.refused("person 1", tx.Withdraw(person(1), claim)) == "NOT_THE_CLAIMANT"
    assert chain.refused("person 0", tx.GiveDocuments(person(0), claim, b"short", SALT)) == "BAD_FIELD"
    assert chain.refused("person 0", tx.GiveDocuments(person(0), claim, HASH, b"")) == "BAD_FIELD"
    chain.ok("person 0", give(claim, person(0)))
    chain.ok("person 0", tx.Withdraw(person(0), claim))


# ---- withdrawal ------------------------------------------------------------------------------------------------------


def _pending(chain: Chain) -> int:
    claim = filed(chain)
    chain.ok("firm-a", tx.AskDocuments(claim))
    return claim


def _disputed(chain: Chain) -> int:
    claim = noticed(chain)
    objected(chain, claim)
    return claim


WAYS: dict[ClaimState, Callable[[Chain], int]] = {
    ClaimState.FILED: filed,
    ClaimState.DOCS_PENDING: _pending,
    ClaimState.INVESTIGATING: investigating,
    ClaimState.ASSESSED: assessed,
    ClaimState.CLEARED: lambda chain: reviewed(chain, 0),
    ClaimState.REFUSED: lambda chain: reviewed(chain, 2),
    ClaimState.NOTICED: noticed,
    ClaimState.DISPUTED: _disputed,
}


@pytest.mark.parametrize("state", WITHDRAWABLE)
def test_a_claim_is_withdrawn_from_every_state_before_the_jury(state: ClaimState) -> None:
    chain = enrolled()
    claim = WAYS[state](chain)
    assert state_of(chain, claim) is state
    chain.ok("platform", tx.Withdraw(CLAIMANT, claim))
    assert state_of(chain, claim) is ClaimState.WITHDRAWN
    assert row(chain, claim).period == NONE
    assert chain.refused("platform", tx.Withdraw(CLAIMANT, claim)) == "NO_SUCH_TRANSITION"
    chain.step_to(chain.now_ms + 200 * DAY)
    assert state_of(chain, claim) is ClaimState.WITHDRAWN
    chain.ok("platform", filing(chain))
    check_whole(chain)


def test_a_withdrawn_claim_leaves_its_batch_and_the_share_falls() -> None:
    chain = enrolled()
    kept = filed(chain, 5)
    chain.ok("hospital", tx.Diagnose(kept, HASH))
    gone = reviewed(chain, 0)
    first, second = drawn_and_other(chain, kept)
    chain.ok(first, tx.Assess(kept, HASH))
    chain.ok(second, tx.Review(kept, 0))
    chain.step_to_day(2019, 3, 8)
    chain.ok("platform", tx.Withdraw(CLAIMANT, gone))
    chain.step_to_day(2019, 3, 14)
    settlement = next(found for _, found in chain.state.rows(Settlement) if found.period == row(chain, kept).period)
    assert (settlement.claims, settlement.aid_fen) == (1, AID)
    assert settlement.shares[0][1] < settlement.upper_bound[0][1]


def test_nobody_withdraws_once_the_jury_is_drawn() -> None:
    chain = enrolled(jurors=12)
    claim = _disputed(chain)
    before_jury(chain, claim)
    assert chain.refused("platform", tx.Withdraw(CLAIMANT, claim)) == "NO_SUCH_TRANSITION"


def test_a_withdrawn_dispute_is_abandoned() -> None:
    chain = enrolled()
    claim = _disputed(chain)
    chain.ok("platform", tx.Withdraw(CLAIMANT, claim))
    assert dispute(chain, claim).outcome == Outcome.ABANDONED
