"""What is decided about an organisation takes effect: on its claims, its votes and its objections (LEDGER §2)."""

from typing import Any

from ledger import transactions as tx
from ledger.actions import AdmitOrganisation, SetOrganisation, SetRoles
from ledger.claim_table import ClaimState
from ledger.experts import experts
from ledger.governance import OBJECTION_DAYS
from ledger.organisations import OrganisationState
from ledger.proposals import ProposalState
from ledger.roles import Role
from ledger.rows import Claim, Organisation, Proposal
from tests.ledger.chain import Chain, key
from tests.ledger.claim_kit import PARAMS, assessed, check_whole, drawn_and_other, enrolled, investigating, row
from tests.ledger.test_life import HASH, days, state_of

SUSPENDED = int(OrganisationState.SUSPENDED)
VOTERS = ("platform", "bank", "firm-a", "firm-b", "firm-c", "other bank")


def ids(chain: Chain) -> dict[str, int]:
    return {found.name: at for at, found in chain.state.rows(Organisation)}


def passed(chain: Chain, action: Any, but: str = "") -> int:
    first, *others = [name for name in VOTERS if name != but]
    proposal, _ = chain.ok(first, tx.Propose(action))
    for name in others[:3]:
        chain.ok(name, tx.VoteFor(proposal))
    assert chain.state.get(Proposal, proposal).state == ProposalState.PASSED
    return proposal


def decided(chain: Chain, action: Any, but: str = "") -> None:
    proposal = passed(chain, action, but)
    days(chain, OBJECTION_DAYS + 1)
    assert chain.state.get(Proposal, proposal).code == "OK"


def test_a_suspended_firm_loses_its_case_to_another_one() -> None:
    chain = enrolled()
    claim = investigating(chain)
    drawn, _ = drawn_and_other(chain, claim)
    decided(chain, SetOrganisation(ids(chain)[drawn], SUSPENDED), but=drawn)
    assert chain.refused(drawn, tx.Assess(claim, HASH)) == "SIGNER_SUSPENDED"
    days(chain, PARAMS.investigate_days)
    found = row(chain, claim)
    assert state_of(chain, claim) is ClaimState.INVESTIGATING
    assert found.investigator not in (ids(chain)[drawn], -1)
    check_whole(chain)


def test_a_firm_that_is_no_assessor_any_more_reviews_nothing_and_is_asked_as_a_bank() -> None:
    chain = enrolled()
    claim = assessed(chain)
    _, second = drawn_and_other(chain, claim)
    decided(chain, SetRoles(ids(chain)[second], int(Role.BANK)), but=second)
    assert chain.refused(second, tx.Review(claim, 0)) == "NOT_PERMITTED"
    assert ids(chain)[second] in experts(chain.state, chain.state.get(Claim, claim))


def test_a_vote_given_before_a_suspension_is_not_counted_after_it() -> None:
    chain = enrolled()
    clinic = AdmitOrganisation("clinic", int(Role.HOSPITAL), key("clinic"), (), "")
    passed(chain, SetOrganisation(ids(chain)["other bank"], SUSPENDED))
    kept = passed(chain, clinic)
    second = passed(chain, SetOrganisation(ids(chain)["firm-c"], SUSPENDED))
    days(chain, OBJECTION_DAYS + 1)
    assert chain.state.get(Proposal, kept).code == "OK", "four of the five who are left"
    assert chain.state.get(Proposal, second).code == "OK"
    lost, _ = chain.ok("platform", tx.Propose(SetRoles(ids(chain)["clinic"], int(Role.HOSPITAL | Role.BANK))))
    for name in ("bank", "firm-a"):
        chain.ok(name, tx.VoteFor(lost))
    assert chain.state.get(Proposal, lost).state == ProposalState.PASSED, "three of four"


def test_with_its_voter_suspended_meanwhile_a_proposal_fails() -> None:
    chain = enrolled()
    passed(chain, SetOrganisation(ids(chain)["firm-b"], SUSPENDED), but="firm-b")
    clinic = AdmitOrganisation("clinic", int(Role.HOSPITAL), key("clinic"), (), "")
    proposal, _ = chain.ok("firm-b", tx.Propose(clinic))
    for name in ("bank", "firm-a", "platform"):
        chain.ok(name, tx.VoteFor(proposal))
    days(chain, OBJECTION_DAYS + 1)
    assert chain.state.get(Proposal, proposal).code == "NO_MAJORITY", "three of the five who are left"
    assert "clinic" not in ids(chain)


def test_a_suspended_regulator_objects_to_nothing_and_its_own_suspension_it_may_object_to() -> None:
    chain = enrolled()
    regulator = ids(chain)["regulator"]
    proposal = passed(chain, SetOrganisation(regulator, SUSPENDED))
    fork = chain.fork()
    fork.ok("regulator", tx.Veto(proposal))
    days(fork, OBJECTION_DAYS + 1)
    assert fork.state.get(Organisation, regulator).state == OrganisationState.ACTIVE
    days(chain, OBJECTION_DAYS + 1)
    later = passed(chain, SetRoles(ids(chain)["firm-c"], int(Role.BANK)))
    assert chain.refused("regulator", tx.Veto(later)) == "SIGNER_SUSPENDED"


def test_the_window_for_an_objection_is_whole_and_ends_when_it_ends() -> None:
    chain = enrolled()
    proposal = passed(chain, SetRoles(ids(chain)["firm-c"], int(Role.BANK)))
    due = chain.state.get(Proposal, proposal).due_ms
    chain.step_to(due - 60_000)
    fork = chain.fork()
    fork.ok("regulator", tx.Veto(proposal))
    fork.step_to(due + 1)
    assert fork.state.get(Proposal, proposal).state == ProposalState.OBJECTED
    chain.step_to(due)
    assert chain.state.get(Proposal, proposal).state == ProposalState.ENACTED
    assert chain.refused("regulator", tx.Veto(proposal)) == "PROPOSAL_DECIDED"
