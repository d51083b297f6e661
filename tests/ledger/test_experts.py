"""Expert review: who judges, when it is decided, what stands at the deadline (LEDGER §5)."""

from ledger import claims, experts
from ledger import transactions as tx
from ledger.claim_table import ClaimState, Judge
from ledger.genesis import GenesisPlan
from ledger.roles import Role
from ledger.rows import Organisation
from tests.ledger.chain import ORGANISATIONS, PLAN_PARAMS, Chain, genesis_values, organisation
from tests.ledger.claim_kit import PARAMS, assessed, check_whole, drawn_and_other, enrolled, noticed, objected, row
from tests.ledger.test_life import BIRTH_MONTH, HASH, days, filing, state_of


def with_firms(*names: str, clinic: Role = Role.HOSPITAL) -> Chain:
    """A chain whose only assessors are ``names`` (and the clinic, by its roles); the house is bank and platform."""
    others = tuple(item for item in ORGANISATIONS if item.roles != Role.ASSESSOR)
    firms = tuple(organisation(name, Role.ASSESSOR, validates=True) for name in names)
    extra = (organisation("clinic", clinic), organisation("house", Role.PLATFORM | Role.BANK))
    plans = (GenesisPlan("main", PLAN_PARAMS),)
    chain = Chain(genesis_values(plans=plans, organisations=(*others, *firms, *extra)))
    people = tuple((bytes(31) + bytes((number,)), BIRTH_MONTH) for number in range(20))
    chain.ok("platform", tx.EnrolBatch(0, people))
    chain.step_to_day(2019, 3, 1)
    return chain


def lone() -> tuple[Chain, int]:
    """One firm only, so the claim goes to the experts when an investigator should be drawn."""
    chain = with_firms("firm-a")
    claim, _ = chain.ok("platform", filing(chain))
    chain.ok("hospital", tx.Diagnose(claim, HASH))
    days(chain, 4)
    assert state_of(chain, claim) is ClaimState.EXPERT
    return chain, claim


def test_without_a_second_independent_firm_the_experts_judge_and_never_the_platform() -> None:
    chain, claim = lone()
    assert experts.experts(chain.state, row(chain, claim)) == [1, 4, 5], "bank, firm-a, clinic; not the house"
    assert chain.refused("house", tx.Opinion(claim, 0)) == "NOT_INDEPENDENT"
    assert chain.refused("hospital", tx.Opinion(claim, 0)) == "NOT_INDEPENDENT"
    assert chain.refused("platform", tx.Opinion(claim, 0)) == "NOT_PERMITTED"
    check_whole(chain)


def test_more_than_half_of_the_experts_and_the_regulator_decide_at_once() -> None:
    chain, claim = lone()
    chain.ok("bank", tx.Opinion(claim, 0))
    chain.ok("firm-a", tx.Opinion(claim, 0))
    assert state_of(chain, claim) is ClaimState.EXPERT, "the regulator has not spoken"
    assert chain.refused("bank", tx.Opinion(claim, 2)) == "ALREADY_CONSENTED"
    assert chain.refused("regulator", tx.Opinion(claim, 99)) == "UNKNOWN_REASON"
    chain.ok("regulator", tx.Opinion(claim, 0))
    assert (state_of(chain, claim), row(chain, claim).judge) == (ClaimState.CLEARED, Judge.EXPERTS)
    assert chain.refused("clinic", tx.Opinion(claim, 0)) == "NO_SUCH_TRANSITION"
    check_whole(chain)


def test_half_of_the_experts_is_not_more_than_half_of_them() -> None:
    chain, claim = lone()
    chain.ok("regulator", tx.Opinion(claim, 3))
    chain.ok("bank", tx.Opinion(claim, 2))
    assert state_of(chain, claim) is ClaimState.EXPERT
    chain.ok("clinic", tx.Opinion(claim, 1))
    assert (state_of(chain, claim), row(chain, claim).reason) == (ClaimState.REFUSED_FINAL, 3)


def test_at_the_deadline_the_regulators_vote_stands() -> None:
    chain, claim = lone()
    chain.ok("bank", tx.Opinion(claim, 2))
    chain.ok("firm-a", tx.Opinion(claim, 2))
    chain.ok("clinic", tx.Opinion(claim, 2))
    chain.ok("regulator", tx.Opinion(claim, 0))
    days(chain, PARAMS.expert_days - 2)
    assert state_of(chain, claim) is ClaimState.EXPERT
    days(chain, 2)
    assert row(chain, claim).judge == Judge.EXPERTS
    assert state_of(chain, claim) in (ClaimState.CLEARED, ClaimState.NOTICED)


def test_when_nobody_speaks_and_no_firm_reviewed_the_claim_is_refused() -> None:
    chain, claim = lone()
    days(chain, PARAMS.expert_days + 1)
    assert (state_of(chain, claim), row(chain, claim).reason) == (ClaimState.REFUSED_FINAL, experts.NO_OPINION)


def test_without_the_regulator_the_last_firms_opinion_stands() -> None:
    chain = enrolled()
    claim = noticed(chain)
    objected(chain, claim)
    days(chain, PARAMS.notice_days + 1)
    assert state_of(chain, claim) is ClaimState.EXPERT, "there are no jurors at all"
    chain.ok("bank", tx.Opinion(claim, 2))
    days(chain, PARAMS.expert_days + 1)
    assert (row(chain, claim).judge, row(chain, claim).reason) == (Judge.EXPERTS, 0), "the review had cleared it"
    assert state_of(chain, claim) >= ClaimState.CLEARED


def test_firms_that_worked_on_the_claim_are_no_experts() -> None:
    chain = enrolled()
    claim = noticed(chain)
    first, second = drawn_and_other(chain, claim)
    objected(chain, claim)
    days(chain, PARAMS.notice_days + 1)
    assert chain.refused(first, tx.Opinion(claim, 0)) == "NOT_INDEPENDENT"
    assert chain.refused(second, tx.Opinion(claim, 0)) == "NOT_INDEPENDENT"
    (third,) = {"firm-a", "firm-b", "firm-c"} - {first, second}
    chain.ok(third, tx.Opinion(claim, 0))


def test_when_no_reviewer_is_left_the_experts_judge() -> None:
    chain = enrolled()
    claim = assessed(chain)
    passed_over = []
    for _ in range(2):
        days(chain, PARAMS.review_days + 1)
        assert state_of(chain, claim) is ClaimState.ASSESSED
        passed_over.append(row(chain, claim).reviewer)
    assert len(set(passed_over)) == 2, "another independent reviewer is drawn"
    assert row(chain, claim).investigator not in passed_over
    days(chain, PARAMS.review_days + 1)
    assert state_of(chain, claim) is ClaimState.EXPERT
    check_whole(chain)


def test_the_hospital_of_a_claim_is_none_of_its_firms() -> None:
    chain = with_firms("firm-a", "firm-b", clinic=Role.HOSPITAL | Role.ASSESSOR)
    claim, _ = chain.ok("platform", filing(chain))
    chain.ok("clinic", tx.Diagnose(claim, HASH))
    days(chain, 4)
    assert claims.independent_firms(chain.state, row(chain, claim)) == [4, 5]
    drawn = row(chain, claim).investigator
    chain.ok({4: "firm-a", 5: "firm-b"}[drawn], tx.Assess(claim, HASH))
    assert chain.refused("clinic", tx.Review(claim, 0)) == "NOT_INDEPENDENT"


def test_an_investigator_does_not_diagnose() -> None:
    chain = with_firms("firm-a", clinic=Role.HOSPITAL | Role.ASSESSOR)
    found = [chain.ok("platform", filing(chain, member))[0] for member in range(8)]
    days(chain, 4)
    mine = next(claim for claim in found if row(chain, claim).investigator == 5)
    assert chain.refused("clinic", tx.Diagnose(mine, HASH)) == "NOT_INDEPENDENT"


def test_a_firm_that_let_its_time_run_out_is_no_expert_though_it_is_named_nowhere_else() -> None:
    chain = enrolled()
    claim = assessed(chain)
    for _ in range(3):
        days(chain, PARAMS.review_days + 1)
    found = row(chain, claim)
    assert state_of(chain, claim) is ClaimState.EXPERT
    assert len(found.passed_over) == 2
    for firm in found.passed_over:
        assert firm not in (found.investigator, found.reviewer, found.hospital)
        assert firm not in experts.experts(chain.state, found)
        name = chain.state.get(Organisation, firm).name
        assert chain.refused(name, tx.Opinion(claim, 0)) == "NOT_INDEPENDENT"
    check_whole(chain)


def with_two_regulators() -> tuple[Chain, int]:
    """One firm only, and two regulators: the claim is before the experts bank and firm-a."""
    others = tuple(item for item in ORGANISATIONS if item.roles != Role.ASSESSOR)
    extra = (organisation("firm-a", Role.ASSESSOR, validates=True), organisation("second regulator", Role.REGULATOR))
    chain = Chain(genesis_values(organisations=(*others, *extra)))
    chain.ok("platform", tx.EnrolBatch(0, tuple((bytes(31) + bytes((number,)), BIRTH_MONTH) for number in range(20))))
    chain.step_to_day(2019, 3, 1)
    claim, _ = chain.ok("platform", filing(chain))
    chain.ok("hospital", tx.Diagnose(claim, HASH))
    days(chain, 4)
    assert experts.experts(chain.state, row(chain, claim)) == [1, 4]
    return chain, claim


def test_exactly_half_is_not_most_of_the_experts_nor_of_the_regulators() -> None:
    chain, claim = with_two_regulators()
    chain.ok("regulator", tx.Opinion(claim, 0))
    chain.ok("second regulator", tx.Opinion(claim, 0))
    chain.ok("bank", tx.Opinion(claim, 0))
    assert state_of(chain, claim) is ClaimState.EXPERT, "one of two experts"
    chain.ok("firm-a", tx.Opinion(claim, 0))
    assert state_of(chain, claim) is ClaimState.CLEARED
    chain, claim = with_two_regulators()
    for name in ("bank", "firm-a", "regulator"):
        chain.ok(name, tx.Opinion(claim, 0))
    assert state_of(chain, claim) is ClaimState.EXPERT, "one of two regulators"
    chain.ok("second regulator", tx.Opinion(claim, 0))
    assert state_of(chain, claim) is ClaimState.CLEARED


def test_two_regulators_who_differ_leave_it_to_the_last_firm() -> None:
    chain, claim = with_two_regulators()
    chain.ok("regulator", tx.Opinion(claim, 0))
    chain.ok("second regulator", tx.Opinion(claim, 2))
    days(chain, PARAMS.expert_days + 1)
    assert (state_of(chain, claim), row(chain, claim).reason) == (ClaimState.REFUSED_FINAL, experts.NO_OPINION)
