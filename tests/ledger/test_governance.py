"""What organisations decide together, what the regulator may stop, and what nobody may decide."""

from typing import Any

import pytest
from msgspec.structs import replace

from ledger import actions, calendar, plans
from ledger import transactions as tx
from ledger.actions import (
    AddPlanVersion,
    AddValidator,
    AdmitOrganisation,
    OpenPlan,
    RemoveValidator,
    RotateValidator,
    RunOffPlan,
    SetOrganisation,
    SetRoles,
)
from ledger.enactment import RULES
from ledger.governance import OBJECTION_DAYS
from ledger.indexes import differences
from ledger.organisations import OrganisationState
from ledger.params import ClassBand, PlanParams, TierBand
from ledger.proposals import VOTE_DAYS, ProposalState
from ledger.roles import Role
from ledger.rows import Organisation, Plan, PlanVersion, Proposal, Settlement, Validator
from tests.ledger.chain import ORGANISATIONS, PLAN_PARAMS, START_DAY, Chain, genesis_values, key, organisation, seed
from tests.ledger.test_life import BIRTH_MONTH, cleared, enrolled, settled

FIFTH = organisation("fifth", Role.BANK, validates=True)
CLINIC = AdmitOrganisation("clinic", int(Role.HOSPITAL), key("clinic"), (), "")


def five() -> Chain:
    """Five validators and five votes."""
    return Chain(genesis_values(organisations=(*ORGANISATIONS, FIFTH)))


def days(chain: Chain, number: int) -> None:
    chain.step_to(chain.now_ms + number * calendar.MS_PER_DAY)


def passed(chain: Chain, action: Any, voters: tuple[str, ...] = ("platform", "bank", "firm-a", "fifth")) -> int:
    """A proposal with the votes of ``voters`` who exist."""
    names = {row.name for _, row in chain.state.rows(Organisation)}
    first, *others = [name for name in voters if name in names]
    proposal, _ = chain.ok(first, tx.Propose(action))
    for name in others:
        state = chain.ok(name, tx.VoteFor(proposal))[1]
    assert state == ProposalState.PASSED
    return proposal


def enacted(chain: Chain, action: Any) -> Proposal:
    proposal = passed(chain, action)
    days(chain, OBJECTION_DAYS + 1)
    row = chain.state.get(Proposal, proposal)
    assert (ProposalState(row.state), row.code) == (ProposalState.ENACTED, "OK")
    assert list(differences(chain.store)) == []
    return row


def refused(chain: Chain, action: Any) -> str:
    return chain.refused("platform", tx.Propose(action))


# ---- votes and objections ------------------------------------------------------------------------------------------


def test_every_action_has_a_rule() -> None:
    assert set(RULES) == set(actions.Action.__args__)


def test_a_proposal_passes_with_two_thirds_and_is_enacted_after_the_regulators_window() -> None:
    chain = Chain()  # four votes: three are two thirds
    proposal, state = chain.ok("platform", tx.Propose(CLINIC))
    assert state == ProposalState.OPEN
    assert chain.refused("platform", tx.VoteFor(proposal)) == "ALREADY_CONSENTED"
    assert chain.ok("bank", tx.VoteFor(proposal)) == (proposal, ProposalState.OPEN)
    assert chain.ok("firm-a", tx.VoteFor(proposal)) == (proposal, ProposalState.PASSED)
    assert chain.ok("firm-b", tx.VoteFor(proposal)) == (proposal, ProposalState.PASSED)
    due = chain.state.get(Proposal, proposal).due_ms
    chain.step_to(due - calendar.MS_PER_HOUR)
    assert chain.state.length(Organisation) == len(ORGANISATIONS)
    chain.step_to(due)
    assert chain.state.get(Organisation, len(ORGANISATIONS)).name == "clinic"
    assert chain.refused("firm-b", tx.VoteFor(proposal)) == "PROPOSAL_DECIDED"
    assert chain.refused("regulator", tx.Veto(proposal)) == "PROPOSAL_DECIDED"
    assert chain.refused("bank", tx.VoteFor(9)) == "UNKNOWN_PROPOSAL"


def test_the_regulator_and_a_hospital_have_no_vote() -> None:
    chain = Chain()
    for name in ("regulator", "hospital"):
        assert chain.refused(name, tx.Propose(CLINIC)) == "NOT_PERMITTED"
        assert chain.refused(name, tx.VoteFor(0)) == "NOT_PERMITTED"
    assert chain.refused("platform", tx.Veto(0)) == "NOT_PERMITTED"


@pytest.mark.parametrize("votes", [1, 3])
def test_an_objection_ends_a_proposal_before_and_after_it_passed(votes: int) -> None:
    chain = Chain()
    proposal, _ = chain.ok("platform", tx.Propose(CLINIC))
    for name in ("bank", "firm-a")[: votes - 1]:
        chain.ok(name, tx.VoteFor(proposal))
    chain.ok("regulator", tx.Veto(proposal))
    days(chain, VOTE_DAYS + 1)
    assert chain.state.get(Proposal, proposal).state == ProposalState.OBJECTED
    assert chain.state.length(Organisation) == len(ORGANISATIONS)
    assert list(differences(chain.store)) == []


def test_a_proposal_without_two_thirds_expires() -> None:
    chain = Chain()
    proposal, _ = chain.ok("platform", tx.Propose(CLINIC))
    chain.ok("bank", tx.VoteFor(proposal))
    days(chain, VOTE_DAYS + 1)
    assert chain.state.get(Proposal, proposal).state == ProposalState.EXPIRED


@pytest.mark.parametrize(("late", "code"), [(False, "NO_MAJORITY"), (True, "OK")])
def test_votes_are_counted_again_among_those_who_have_one_when_it_is_enacted(late: bool, code: str) -> None:
    chain = five()
    for name in ("sixth", "seventh"):
        passed(chain, AdmitOrganisation(name, int(Role.BANK), key(name), (), ""))
    days(chain, 1)
    proposal = passed(chain, CLINIC)  # four of five
    days(chain, OBJECTION_DAYS - 1)
    if late:
        chain.ok("sixth", tx.VoteFor(proposal))
    days(chain, 2)
    assert chain.state.get(Proposal, proposal).code == code, "four of seven are too few, five are enough"
    assert chain.state.length(Organisation) == len(ORGANISATIONS) + (4 if late else 3)


def test_what_can_no_longer_be_done_fails_and_leaves_nothing() -> None:
    chain = Chain()
    first, second = passed(chain, CLINIC), passed(chain, CLINIC)
    days(chain, OBJECTION_DAYS + 1)
    assert chain.state.get(Proposal, first).state == ProposalState.ENACTED
    row = chain.state.get(Proposal, second)
    assert (ProposalState(row.state), row.code) == (ProposalState.FAILED, "NAME_IN_USE")
    assert chain.state.length(Organisation) == len(ORGANISATIONS) + 1
    assert list(differences(chain.store)) == []


# ---- organisations -------------------------------------------------------------------------------------------------


def test_an_organisation_is_admitted_suspended_and_removed() -> None:
    chain = five()
    enacted(chain, CLINIC)
    clinic = len(ORGANISATIONS) + 1
    assert chain.refused("clinic", tx.Diagnose(0, bytes(32))) == "UNKNOWN_CLAIM"
    enacted(chain, SetOrganisation(clinic, int(OrganisationState.SUSPENDED)))
    assert chain.refused("clinic", tx.Diagnose(0, bytes(32))) == "SIGNER_SUSPENDED"
    enacted(chain, SetOrganisation(clinic, int(OrganisationState.ACTIVE)))
    enacted(chain, SetOrganisation(clinic, int(OrganisationState.REMOVED)))
    assert chain.refused("clinic", tx.Diagnose(0, bytes(32))) == "UNKNOWN_SIGNER"
    assert refused(chain, SetOrganisation(clinic, int(OrganisationState.ACTIVE))) == "NOTHING_TO_DECIDE"
    enacted(chain, CLINIC)
    assert chain.refused("clinic", tx.Diagnose(0, bytes(32))) == "UNKNOWN_CLAIM"


@pytest.mark.parametrize(
    ("action", "code"),
    [
        (replace(CLINIC, name="bank"), "NAME_IN_USE"),
        (replace(CLINIC, key=key("bank")), "KEY_IN_USE"),
        (replace(CLINIC, key=bytes(31)), "BAD_FIELD"),
        (replace(CLINIC, roles=0), "BAD_FIELD"),
        (replace(CLINIC, roles=32), "BAD_FIELD"),
        (replace(CLINIC, roles=int(Role.PLATFORM | Role.ASSESSOR)), "BAD_FIELD"),
        (replace(CLINIC, name=""), "BAD_FIELD"),
        (SetOrganisation(0, int(OrganisationState.SUSPENDED)), "ROLE_VACANT"),
        (SetOrganisation(3, int(OrganisationState.SUSPENDED)), "ROLE_VACANT"),
        (SetOrganisation(1, int(OrganisationState.REMOVED)), "HOLDS_A_SEAT"),
        (SetOrganisation(99, int(OrganisationState.REMOVED)), "UNKNOWN_ORGANISATION"),
        (SetOrganisation(1, 3), "BAD_FIELD"),
        (SetRoles(3, int(Role.BANK)), "ROLE_VACANT"),
        (SetRoles(1, int(Role.BANK | Role.REGULATOR)), "HOLDS_A_SEAT"),
        (SetRoles(1, int(Role.BANK)), "NOTHING_TO_DECIDE"),
    ],
)
def test_what_may_not_be_decided_of_organisations(action: Any, code: str) -> None:
    assert refused(five(), action) == code


def test_roles_change() -> None:
    chain = five()
    enacted(chain, SetRoles(6, int(Role.BANK | Role.HOSPITAL)))
    assert chain.refused("fifth", tx.Diagnose(0, bytes(32))) == "UNKNOWN_CLAIM"


# ---- plans ---------------------------------------------------------------------------------------------------------

CAP = replace(PLAN_PARAMS, year_cap_fen=20_000_000)
AID = replace(PLAN_PARAMS, tiers=(TierBand(1, 0, 40_000),))
NEXT_YEAR = calendar.day_from_civil(2019, 1, 1)


def test_a_version_is_in_force_from_its_day() -> None:
    chain = Chain()
    day = START_DAY + 30
    enacted(chain, AddPlanVersion(0, day, AID))
    assert plans.version_at(chain.state, 0, day - 1)[1].params == PLAN_PARAMS
    assert plans.version_at(chain.state, 0, day)[1].params == AID


def test_another_year_cap_begins_on_1_january_only() -> None:
    chain = Chain()
    for day in (NEXT_YEAR - 1, NEXT_YEAR + 1):
        assert refused(chain, AddPlanVersion(0, day, CAP)) == "YEAR_CAP_IN_YEAR"
    enacted(chain, AddPlanVersion(0, NEXT_YEAR, CAP))
    found = plans.versions(chain.state, 0)
    assert [plans.year_cap_fen(found, year) for year in (2018, 2019)] == [PLAN_PARAMS.year_cap_fen, CAP.year_cap_fen]


def test_a_version_never_goes_backwards() -> None:
    chain = Chain()
    enacted(chain, AddPlanVersion(0, START_DAY + 60, AID))
    today = calendar.day_of(chain.now_ms)
    for day in (today, today - 1, -(2**40), START_DAY + 59, 2**40):
        assert refused(chain, AddPlanVersion(0, day, AID)) == "NOT_EFFECTIVE_YET"
    proposal = passed(chain, AddPlanVersion(0, START_DAY + 60, PLAN_PARAMS))
    late = passed(chain, AddPlanVersion(0, START_DAY + 61, PLAN_PARAMS))
    chain.step_to(calendar.start_of_day(START_DAY + 60) - calendar.MS_PER_DAY)
    assert chain.state.get(Proposal, proposal).code == "OK"
    assert chain.state.get(Proposal, late).code == "OK"


def test_a_version_whose_day_came_during_the_window_fails() -> None:
    chain = Chain()
    proposal = passed(chain, AddPlanVersion(0, START_DAY + 3, AID))
    days(chain, OBJECTION_DAYS + 1)
    assert chain.state.get(Proposal, proposal).code == "NOT_EFFECTIVE_YET"
    assert chain.state.length(PlanVersion) == 1


def classes(*bands: tuple[int, int, int]) -> PlanParams:
    return replace(PLAN_PARAMS, classes=tuple(ClassBand(*band) for band in bands))


def test_a_class_keeps_its_weight_and_its_id_is_not_used_again() -> None:
    chain = Chain()
    day = START_DAY + 60
    assert refused(chain, AddPlanVersion(0, day, classes((0, 1, 2)))) == "CLASS_REUSED"
    enacted(chain, AddPlanVersion(0, day, classes((0, 2, 3), (40, 3, 5))))
    assert refused(chain, AddPlanVersion(0, day, classes((0, 1, 1)))) == "CLASS_REUSED"
    enacted(chain, AddPlanVersion(0, day + 1, classes((0, 2, 3), (50, 4, 5))))


@pytest.mark.parametrize(
    "params",
    [
        classes(),
        classes((1, 1, 1)),
        classes((0, 1, 0)),
        replace(PLAN_PARAMS, tiers=()),
        replace(PLAN_PARAMS, notice_days=7),
        replace(PLAN_PARAMS, fee_bps=10_001),
        replace(PLAN_PARAMS, case_cap_fen=0),
        replace(PLAN_PARAMS, pay_days=2**63),
    ],
)
def test_unusable_parameters_are_refused(params: PlanParams) -> None:
    chain = Chain()
    assert refused(chain, AddPlanVersion(0, NEXT_YEAR, params)) == "BAD_FIELD"
    assert refused(chain, OpenPlan("other", params)) == "BAD_FIELD"


def test_a_plan_is_opened_and_run_off() -> None:
    chain = Chain()
    enacted(chain, OpenPlan("senior", PLAN_PARAMS))
    assert refused(chain, OpenPlan("senior", PLAN_PARAMS)) == "NAME_IN_USE"
    chain.ok("platform", tx.Enrol(1, bytes(32), BIRTH_MONTH, b""))
    enacted(chain, RunOffPlan(1))
    assert refused(chain, RunOffPlan(1)) == "PLAN_CLOSED"
    assert refused(chain, AddPlanVersion(1, NEXT_YEAR, AID)) == "PLAN_CLOSED"
    assert refused(chain, RunOffPlan(2)) == "UNKNOWN_PLAN"
    assert chain.refused("platform", tx.Enrol(1, bytes(31) + b"1", BIRTH_MONTH, b"")) == "PLAN_CLOSED"
    chain.ok("platform", tx.Enrol(0, bytes(31) + b"1", BIRTH_MONTH, b""))
    days(chain, PLAN_PARAMS.file_days + 60)
    assert chain.state.get(Plan, 1).closed
    assert not chain.state.get(Plan, 0).closed
    assert list(differences(chain.store)) == []


# ---- validators ----------------------------------------------------------------------------------------------------


def with_sixth() -> Chain:
    chain = five()
    enacted(chain, AdmitOrganisation("sixth", int(Role.BANK), key("sixth"), (key("sixth node"),), ""))
    return chain


def knows(chain: Chain, name: str) -> None:
    chain._seeds[key(f"{name} validator")] = (seed(f"{name} validator"), seed(f"{name} beacon"))


ADD = AddValidator(7, key("sixth validator"), key("sixth beacon"), False)


def test_a_seat_decided_in_h_votes_from_h_plus_2_on() -> None:
    chain = with_sixth()
    knows(chain, "sixth")
    proposal = passed(chain, ADD)
    days(chain, OBJECTION_DAYS + 1)
    height = chain.state.get(Proposal, proposal).enacted_height
    block = chain.blocks[height - 1].applied.view
    assert block.height == height
    assert (len(block.validators), len(block.next_validators), len(block.after_next_validators)) == (5, 5, 6)
    for _ in range(12):
        chain.block()
    assert len(chain.view.validators) == 6
    assert list(differences(chain.store)) == []


def test_a_removed_seat_and_a_rotated_one() -> None:
    chain = five()
    enacted(chain, RemoveValidator(4, False))
    assert [entry.seat for entry in chain.view.after_next_validators] == [0, 1, 2, 3]
    assert refused(chain, RemoveValidator(4, False)) == "UNKNOWN_SEAT"
    assert refused(chain, RemoveValidator(3, False)) == "TOO_FEW_SEATS"
    enacted(chain, RemoveValidator(3, True))
    assert len(chain.view.after_next_validators) == 3


def test_a_rotation_replaces_both_keys_of_the_seat_and_keeps_its_record() -> None:
    chain = five()
    knows(chain, "second")
    before = chain.state.get(Validator, 2)
    enacted(chain, RotateValidator(2, key("second validator"), key("second beacon")))
    after = chain.state.get(Validator, 2)
    assert after == replace(before, validator_key=key("second validator"), beacon_key=key("second beacon"))
    assert refused(chain, RotateValidator(2, key("second validator"), key("x"))) == "KEY_IN_USE"
    for _ in range(6):
        chain.block()


def test_one_change_of_a_validator_a_block() -> None:
    chain = with_sixth()
    knows(chain, "sixth")
    knows(chain, "second")
    rotation = RotateValidator(2, key("second validator"), key("second beacon"))
    bodies = [("platform", tx.Propose(ADD)), ("platform", tx.Propose(rotation))]
    first = chain.state.length(Proposal)
    chain.block(*bodies)
    for name in ("bank", "firm-a", "fifth"):
        chain.block((name, tx.VoteFor(first)), (name, tx.VoteFor(first + 1)))
    days(chain, OBJECTION_DAYS + 1)
    heights = [chain.state.get(Proposal, first + number).enacted_height for number in range(2)]
    assert heights[1] > heights[0] > 0
    assert [chain.state.get(Proposal, first + number).code for number in range(2)] == ["OK", "OK"]
    assert list(differences(chain.store)) == []


@pytest.mark.parametrize(
    ("action", "code"),
    [
        (replace(ADD, organisation=0), "HOLDS_A_SEAT"),
        (replace(ADD, organisation=5), "BAD_FIELD"),
        (replace(ADD, organisation=99), "UNKNOWN_ORGANISATION"),
        (replace(ADD, validator_key=key("bank validator")), "KEY_IN_USE"),
        (replace(ADD, beacon_key=key("sixth validator")), "KEY_IN_USE"),
        (replace(ADD, beacon_key=bytes(31)), "BAD_FIELD"),
        (RemoveValidator(99, True), "UNKNOWN_SEAT"),
        (RotateValidator(99, key("a"), key("b")), "UNKNOWN_SEAT"),
    ],
)
def test_what_may_not_be_decided_of_validators(action: Any, code: str) -> None:
    assert refused(with_sixth(), action) == code


# ---- freeze --------------------------------------------------------------------------------------------------------


def test_a_frozen_plan_pays_nobody_and_its_deadlines_wait_with_their_numbers() -> None:
    chain = enrolled()
    cleared(chain)
    period = chain.state.get(Plan, 0).period
    chain.ok("regulator", tx.FreezePlan(0, True))
    assert list(differences(chain.store)) == []
    assert chain.refused("regulator", tx.FreezePlan(0, True)) == "PLAN_FROZEN"
    assert chain.refused("platform", tx.Enrol(0, bytes(32), BIRTH_MONTH, b"")) == "PLAN_FROZEN"
    assert chain.refused("bank", tx.PayFee(0, 1, b"x")) == "PLAN_FROZEN"
    chain.ok("platform", tx.Exit(9))
    days(chain, 20)
    assert chain.state.get(Plan, 0).period == period
    chain.ok("regulator", tx.FreezePlan(0, False))
    opened = chain.now_ms
    chain.quiet()
    plan = chain.state.get(Plan, 0)
    assert (plan.period, plan.stage) == (period + 1, plans.STAGE_SETTLE), "the late close, then the late notice"
    noticed = chain.state.get(Settlement, plan.settlement).noticed_ms
    assert abs(noticed - opened) < 10_000, "three days to object stay three days"
    chain.ok("platform", tx.Enrol(0, bytes(32), BIRTH_MONTH, b""))
    assert list(differences(chain.store)) == []


def test_aid_is_not_ordered_in_a_frozen_plan() -> None:
    chain = enrolled()
    claim = settled(chain)
    chain.ok("regulator", tx.FreezePlan(0, True))
    assert chain.refused("bank", tx.Pay(claim, 30_000, b"x")) == "PLAN_FROZEN"
    assert chain.refused("bank", tx.Pay(99, 30_000, b"x")) == "UNKNOWN_CLAIM"
    assert chain.refused("bank", tx.Advance(0, 1, True, b"x")) == "PLAN_FROZEN"
    chain.ok("bank", tx.Advance(0, 1, False, b"x"))
    assert chain.refused("regulator", tx.FreezePlan(7, True)) == "UNKNOWN_PLAN"
