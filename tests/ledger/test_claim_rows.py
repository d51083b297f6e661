"""What stands in a claim's row, and what a step's receipt says: field by field, for the numbers are there for ever."""

from dataclasses import replace as replace_view

import pytest
from msgspec.structs import replace

from ledger import calendar
from ledger import transactions as tx
from ledger.claim_table import ClaimState, Event, Judge
from ledger.claims import CODE_MAX, UNCLAIMED_DAYS, independent_firms, investigation_overdue, name_firm, stay
from ledger.deadlines import DeadlineKind
from ledger.errors import TransactionRejected
from ledger.organisations import OrganisationState
from ledger.params import ILLNESS
from ledger.roles import Role
from ledger.rows import Claim, Draw, Organisation, Plan
from ledger.state import BlockContext, State
from ledger.store import Overlay
from ledger.validity import HeightView
from tests.ledger.chain import Chain
from tests.ledger.claim_kit import (
    BLANK,
    PARAMS,
    assessed,
    drawn_and_other,
    enrolled,
    filed,
    investigating,
    row,
    settled,
)
from tests.ledger.test_life import AID, CLAIMANT, HASH, SALT, days, filing, state_of


def told(chain: Chain, kind: DeadlineKind) -> list[tuple[int, ...]]:
    """The details of the deadlines of a kind, so far."""
    receipts = [receipt for block in chain.blocks for receipt in block.deadline_receipts]
    return [found.detail for found in receipts if not isinstance(found.subject, bytes) and found.subject.kind == kind]


def test_a_claim_that_was_filed_holds_what_was_said_and_nothing_else() -> None:
    chain = enrolled()
    body = filing(chain)
    assert chain.ok("platform", body) == (0, AID)
    now = chain.blocks[-1].applied.ledger_time_ms
    assert row(chain, 0) == replace(
        BLANK,
        plan=0,
        member=CLAIMANT,
        tier=1,
        illness=1,
        cause=ILLNESS,
        diagnosis_day=body.diagnosis_day,
        region=11,
        fingerprint=body.fingerprint,
        salt=SALT,
        state=int(ClaimState.FILED),
        opened_ms=now,
        due_ms=now + PARAMS.investigate_after_days * calendar.MS_PER_DAY,
        judge=int(Judge.FIRM),
        amount_fen=AID,
    )


def test_each_firms_step_names_the_claim_and_keeps_its_paper() -> None:
    chain = enrolled()
    claim = filed(chain)
    filed(chain, CLAIMANT + 1)
    other = filed(chain, CLAIMANT + 2)
    assert chain.ok("hospital", tx.Diagnose(other, HASH)) == (other,)
    assert (row(chain, other).hospital, row(chain, other).diagnosis) == (4, HASH)
    assert chain.ok("hospital", tx.Diagnose(claim, HASH)) == (claim,)
    days(chain, PARAMS.investigate_after_days + 1)
    drawn, second = drawn_and_other(chain, other)
    paper = bytes(31) + b"\x01"
    assert chain.ok(drawn, tx.Assess(other, paper)) == (other,)
    assert (row(chain, other).report, row(chain, other).passed_over) == (paper, ())
    assert chain.ok(second, tx.Review(other, 2)) == (other,)
    assert (row(chain, other).reason, state_of(chain, other)) == (2, ClaimState.REFUSED)


def test_who_was_passed_over_is_forgotten_with_the_assessment() -> None:
    chain = enrolled()
    claim = investigating(chain)
    days(chain, PARAMS.investigate_days)
    assert len(row(chain, claim).passed_over) == 1
    chain.ok(drawn_and_other(chain, claim)[0], tx.Assess(claim, HASH))
    assert row(chain, claim).passed_over == ()


def test_a_step_that_stays_is_none_that_moves() -> None:
    chain = enrolled()
    claim = investigating(chain)
    state = beside(chain)
    with pytest.raises(TransactionRejected) as caught:
        stay(state, claim, state.get(Claim, claim), Event.ASSESS, report=HASH)
    assert caught.value.code == "NO_SUCH_TRANSITION"
    assert state.get(Claim, claim) == row(chain, claim)


def test_a_diagnosis_may_be_of_the_day_on_which_it_is_filed_and_of_none_after_it() -> None:
    chain = enrolled()
    today = calendar.day_of(chain.blocks[-1].applied.ledger_time_ms)
    assert chain.refused("platform", filing(chain, diagnosis_day=today + 1)) == "DIAGNOSIS_IN_FUTURE"
    assert chain.ok("platform", filing(chain, diagnosis_day=today)) == (0, AID)


def test_codes_are_below_two_to_the_31st() -> None:
    assert CODE_MAX == 2**31
    chain = enrolled()
    for name in ("illness", "region"):
        for wrong in (-1, CODE_MAX):
            assert chain.refused("platform", filing(chain, **{name: wrong})) == "BAD_FIELD"
    assert chain.ok("platform", filing(chain, illness=CODE_MAX - 1, region=CODE_MAX - 1)) == (0, AID)
    chain = enrolled()
    assert chain.ok("platform", filing(chain, illness=0, region=0)) == (0, AID)


def test_aid_waits_two_years_for_its_taker() -> None:
    assert UNCLAIMED_DAYS == 730
    chain = enrolled()
    claim = row(chain, settled(chain))
    assert claim.due_ms - claim.opened_ms == 730 * calendar.MS_PER_DAY


def test_the_cover_of_a_plan_that_ends_is_until_the_end_of_its_last_day() -> None:
    chain = enrolled()
    day = calendar.day_of(chain.now_ms) - 2
    for ends_day, code in ((day - 1, "PLAN_CLOSED"), (day, "OK"), (day + 1, "OK")):
        fork = chain.fork()
        state = beside(fork)
        state.put(0, replace(state.get(Plan, 0), ends_day=ends_day))
        fork.view = changed(fork, state)
        body = filing(fork)
        assert (fork.refused("platform", body) if code != "OK" else fork.ok("platform", body) and "OK") == code


def changed(chain: Chain, state: State) -> HeightView:
    """The chain's view after a change that no block made."""
    root = state.root()
    chain.store.write(state.overlay.batch())
    return replace_view(chain.view, state_root=root)


def beside(chain: Chain) -> State:
    """A state over the chain's, to be changed as no block would."""
    return State(Overlay(chain.store), BlockContext(bytes(32), 1, 1, chain.now_ms, bytes(32), bytes(64)))


def test_a_bank_that_assesses_as_well_is_an_independent_firm() -> None:
    chain = enrolled()
    claim = row(chain, filed(chain))
    state = beside(chain)
    firms = independent_firms(state, claim)
    state.put(firms[0], replace(state.get(Organisation, firms[0]), roles=int(Role.ASSESSOR | Role.BANK)))
    assert independent_firms(state, claim) == firms
    assert independent_firms(state, replace(claim, hospital=firms[0])) == firms[1:]


def test_a_draw_that_closes_when_nobody_is_left_names_nobody() -> None:
    chain = enrolled()
    claim = investigating(chain)
    state = beside(chain)
    for firm in independent_firms(state, row(chain, claim)):
        state.put(firm, replace(state.get(Organisation, firm), state=int(OrganisationState.SUSPENDED)))
    name_firm(state, claim, bytes(32))
    assert state.get(Claim, claim) == row(chain, claim)


def test_without_two_firms_the_deadline_tells_of_no_draw() -> None:
    chain = enrolled()
    claim = investigating(chain)
    state = beside(chain)
    for firm in independent_firms(state, row(chain, claim))[1:]:
        state.put(firm, replace(state.get(Organisation, firm), state=int(OrganisationState.SUSPENDED)))
    assert investigation_overdue(state, claim, chain.now_ms) == ()
    assert state.get(Claim, claim).state == ClaimState.EXPERT
    assert state.length(Draw) == chain.state.length(Draw)


def test_deadlines_tell_the_draw_that_they_opened_or_nothing() -> None:
    chain = enrolled()
    claim = investigating(chain)
    assert told(chain, DeadlineKind.INVESTIGATE) == [(0,)]
    days(chain, PARAMS.investigate_days)
    assert told(chain, DeadlineKind.INVESTIGATION_OVERDUE) == [(1,)]
    chain.ok(drawn_and_other(chain, claim)[0], tx.Assess(claim, HASH))
    days(chain, PARAMS.review_days)
    assert told(chain, DeadlineKind.REVIEW_OVERDUE) == [(2,)]
    assert chain.state.length(Draw) == 3


def test_an_appeal_that_does_not_come_ends_the_claim_and_says_nothing_more() -> None:
    chain = enrolled()
    claim = assessed(chain)
    chain.ok(drawn_and_other(chain, claim)[1], tx.Review(claim, 2))
    days(chain, PARAMS.appeal_days)
    assert state_of(chain, claim) is ClaimState.REFUSED_FINAL
    assert told(chain, DeadlineKind.APPEAL_OVER) == [()]
    assert row(chain, claim).due_ms == 0


def test_an_expired_claim_waits_for_nothing() -> None:
    chain = enrolled()
    claim = filed(chain)
    chain.ok("firm-a", tx.AskDocuments(claim))
    days(chain, PARAMS.docs_days_max + 1)
    assert state_of(chain, claim) is ClaimState.EXPIRED
    assert row(chain, claim).due_ms == 0
    assert told(chain, DeadlineKind.DOCUMENTS_OVERDUE) == [()]
