"""How a claim comes before a jury: appeal, objections, and whoever is excluded before the draw (LEDGER §5, §7)."""

import pytest

from ledger import disputes
from ledger import transactions as tx
from ledger.blocks import DueKey, Receipt
from ledger.claim_table import ClaimState, Judge
from ledger.deadlines import DeadlineKind
from ledger.disputes import Exclusion, Kind, Outcome, Stage
from ledger.jury import Vote
from ledger.rows import NONE, Dispute, Settlement
from tests.ledger.chain import key
from tests.ledger.claim_kit import (
    PARAMS,
    before_jury,
    both,
    check_whole,
    dispute,
    enrolled,
    noticed,
    objected,
    person,
    reviewed,
    row,
    voted,
)
from tests.ledger.test_life import CLAIMANT, SALT, days, state_of


def test_a_refused_claimant_appeals_once() -> None:
    chain = enrolled(jurors=12)
    claim = reviewed(chain, 2, person(20))
    assert chain.refused("person 1", tx.Appeal(person(1), claim, SALT)) == "NOT_THE_CLAIMANT"
    assert chain.refused("person 20", tx.Appeal(person(20), claim, b"")) == "BAD_FIELD"
    chain.ok("person 20", tx.Appeal(person(20), claim, SALT))
    found = dispute(chain, claim)
    assert (state_of(chain, claim), found.kind, found.stage) == (ClaimState.DISPUTED, Kind.APPEAL, Stage.OPEN)
    assert chain.refused("person 20", tx.Appeal(person(20), claim, SALT)) == "NO_SUCH_TRANSITION"
    before_jury(chain, claim)
    voted(chain, claim, [Vote.REFUSE] * 9)
    assert state_of(chain, claim) is ClaimState.REFUSED_FINAL
    assert chain.refused("person 20", tx.Appeal(person(20), claim, SALT)) == "NO_SUCH_TRANSITION"
    check_whole(chain)


def test_an_appeal_comes_within_30_days() -> None:
    chain = enrolled()
    claim = reviewed(chain, 2)
    days(chain, PARAMS.appeal_days - 1)
    fork = chain.fork()
    chain.ok("platform", tx.Appeal(CLAIMANT, claim, SALT))
    days(fork, 2)
    assert fork.refused("platform", tx.Appeal(CLAIMANT, claim, SALT)) == "NO_SUCH_TRANSITION"


def test_what_a_jury_clears_after_an_appeal_is_noticed_and_not_disputable() -> None:
    chain = enrolled(jurors=12)
    claim = reviewed(chain, 2)
    chain.ok("platform", tx.Appeal(CLAIMANT, claim, SALT))
    before_jury(chain, claim)
    voted(chain, claim, [Vote.CLEAR] * 6 + [Vote.REFUSE] * 3)
    assert (state_of(chain, claim), row(chain, claim).judge) == (ClaimState.CLEARED, Judge.JURY)
    chain.step_to_day(2019, 3, 21)
    assert state_of(chain, claim) is ClaimState.NOTICED
    assert chain.refused("person 21", tx.ObjectTo(person(21), claim, SALT)) == "NOT_DISPUTABLE"
    chain.step_to_day(2019, 3, 28)
    assert state_of(chain, claim) is ClaimState.SETTLED
    check_whole(chain)


# ---- objections ------------------------------------------------------------------------------------------------------


def test_the_last_objection_that_is_needed_disputes_the_claim_and_takes_it_out_of_its_batch() -> None:
    chain = enrolled()
    claim = noticed(chain)
    period = row(chain, claim).period
    first, count = chain.ok("person 21", tx.ObjectTo(person(21), claim, SALT))
    assert chain.refused("person 21", tx.ObjectTo(person(21), claim, SALT)) == "ALREADY_OBJECTED"
    assert chain.ok("person 22", tx.ObjectTo(person(22), claim, SALT)) == (first, count + 1)
    assert (state_of(chain, claim), dispute(chain, claim).stage) == (ClaimState.NOTICED, Stage.GATHERING)
    assert chain.ok("person 23", tx.ObjectTo(person(23), claim, SALT)) == (first, PARAMS.objectors_min)
    assert (state_of(chain, claim), row(chain, claim).period) == (ClaimState.DISPUTED, NONE)
    assert dispute(chain, claim).objectors == (person(21), person(22), person(23))
    chain.step_to_day(2019, 3, 14)
    settlement = next(found for _, found in chain.state.rows(Settlement) if found.period == period)
    assert settlement.aid_fen == 0
    check_whole(chain)


def test_too_few_objections_lapse_with_the_window() -> None:
    chain = enrolled()
    claim = noticed(chain)
    for number in (21, 22):
        chain.ok(f"person {number}", tx.ObjectTo(person(number), claim, SALT))
    chain.step_to_day(2019, 3, 10)
    assert state_of(chain, claim) is ClaimState.APPROVED
    assert dispute(chain, claim).outcome == Outcome.TOO_FEW_OBJECTIONS
    assert chain.refused("person 23", tx.ObjectTo(person(23), claim, SALT)) == "NO_SUCH_TRANSITION"
    check_whole(chain)


def test_only_members_who_share_the_period_object_and_only_with_their_own_keys() -> None:
    chain = enrolled()
    claim = noticed(chain, person(20))
    assert chain.refused("platform", tx.ObjectTo(5, claim, SALT)) == "NOT_PERMITTED"
    assert chain.refused("person 1", tx.ObjectTo(person(2), claim, SALT)) == "NOT_PERMITTED"
    assert chain.refused("person 20", tx.ObjectTo(person(20), claim, SALT)) == "OWN_CLAIM"
    assert chain.refused("person 1", tx.ObjectTo(person(1), claim, b"")) == "BAD_FIELD"
    chain.ok("person 2", tx.Exit(person(2)))
    assert chain.refused("person 2", tx.ObjectTo(person(2), claim, SALT)) == "NOT_IN_THE_NOTICE"
    chain.ok("new", tx.Enrol(0, b"n" * 32, 1985 * 12, key("new")))
    assert chain.refused("new", tx.ObjectTo(person(24), claim, SALT)) == "NOT_IN_THE_NOTICE"


def test_a_claim_is_objected_to_at_most_once() -> None:
    chain = enrolled()
    claim = noticed(chain)
    objected(chain, claim)
    days(chain, PARAMS.notice_days + 1)
    assert state_of(chain, claim) is ClaimState.EXPERT
    days(chain, PARAMS.expert_days + 1)
    chain.step_to_day(2019, 4, 22)
    assert (state_of(chain, claim), row(chain, claim).judge) == (ClaimState.NOTICED, Judge.EXPERTS)
    assert chain.refused("person 1", tx.ObjectTo(person(1), claim, SALT)) == "NOT_DISPUTABLE"


def test_after_an_appeal_that_experts_decided_the_first_objection_opens_a_dispute_of_its_own() -> None:
    """The old dispute has ended: nobody's objection may land in it."""
    chain = enrolled()
    claim = reviewed(chain, 2)
    chain.ok("platform", tx.Appeal(CLAIMANT, claim, SALT))
    old = row(chain, claim).dispute
    days(chain, PARAMS.notice_days + 1)
    assert state_of(chain, claim) is ClaimState.EXPERT, "there are no jurors"
    chain.ok("regulator", tx.Opinion(claim, 0))
    days(chain, PARAMS.expert_days + 1)
    chain.step_to_day(2019, 4, 22)
    assert (state_of(chain, claim), row(chain, claim).judge) == (ClaimState.NOTICED, Judge.EXPERTS)
    before = chain.state.get(Dispute, old)
    new, objections = chain.ok("person 1", tx.ObjectTo(person(1), claim, SALT))
    assert (new, objections) == (old + 1, 1)
    assert chain.state.get(Dispute, old) == before
    assert dispute(chain, claim).stage == Stage.GATHERING
    check_whole(chain)


def test_objections_of_an_abandoned_dispute_are_not_counted_when_the_claim_is_noticed_again() -> None:
    chain = enrolled()
    claim = noticed(chain)
    chain.ok("person 1", tx.ObjectTo(person(1), claim, SALT))
    old = row(chain, claim).dispute
    both(chain, tx.HoldClaim(claim))
    days(chain, 10)
    both(chain, tx.FreeClaim(claim))
    assert (state_of(chain, claim), chain.state.get(Dispute, old).outcome) == (ClaimState.CLEARED, Outcome.ABANDONED)
    chain.step_to_day(2019, 3, 23)
    assert state_of(chain, claim) is ClaimState.NOTICED
    done = chain.step_to_day(2019, 3, 26)
    approvals = [
        receipt.detail
        for block in done
        for receipt in block.deadline_receipts
        if due_kind(receipt) == DeadlineKind.APPROVE
    ]
    assert approvals == [()], "nobody objected to this notice"
    assert state_of(chain, claim) is ClaimState.APPROVED
    check_whole(chain)


def due_kind(receipt: Receipt) -> int:
    return receipt.subject.kind if isinstance(receipt.subject, DueKey) else 0


# ---- exclusions ------------------------------------------------------------------------------------------------------


def test_organisations_name_jurors_who_may_not_judge_before_the_draw() -> None:
    chain = enrolled(jurors=12)
    claim = noticed(chain)
    family = tx.ExcludeJuror(claim, person(3), Exclusion.FAMILY)
    assert chain.refused("hospital", family) == "NO_SUCH_TRANSITION"
    objected(chain, claim)
    assert chain.ok("hospital", family) == (3,)
    assert chain.refused("bank", family) == "ALREADY_EXCLUDED"
    assert chain.refused("bank", tx.ExcludeJuror(claim, person(3), Exclusion.ARREARS)) == "UNKNOWN_REASON"
    assert chain.refused("bank", tx.ExcludeJuror(claim, person(20), Exclusion.FAMILY)) == "UNKNOWN_JUROR"
    assert chain.refused("bank", tx.ExcludeJuror(claim, -5, Exclusion.FAMILY)) == "UNKNOWN_JUROR"
    chain.ok("bank", tx.ExcludeJuror(claim, person(4), Exclusion.ORGANISATION))
    assert dispute(chain, claim).excluded == ((3, Exclusion.FAMILY, 4), (4, Exclusion.ORGANISATION, 1))
    before_jury(chain, claim)
    found = dispute(chain, claim)
    assert not {3, 4} & set(found.drawn)
    assert chain.refused("bank", tx.ExcludeJuror(claim, person(5), Exclusion.FAMILY)) == "NO_SUCH_TRANSITION"


def test_only_so_many_are_excluded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disputes, "EXCLUSIONS_MAX", 1)
    chain = enrolled(jurors=12)
    claim = noticed(chain)
    objected(chain, claim)
    chain.ok("bank", tx.ExcludeJuror(claim, person(1), Exclusion.FAMILY))
    assert chain.refused("bank", tx.ExcludeJuror(claim, person(2), Exclusion.FAMILY)) == "EXCLUSIONS_FULL"
