"""A plan that falls below its minimum membership: its notices wait, and the organisations are asked (LEDGER §3)."""

from msgspec.structs import replace

from ledger import calendar, plans, proposals
from ledger import transactions as tx
from ledger.actions import RunOffPlan
from ledger.claim_table import ClaimState
from ledger.genesis import GenesisPlan
from ledger.governance import OBJECTION_DAYS
from ledger.indexes import differences
from ledger.proposals import VOTE_DAYS, ProposalState
from ledger.rows import NONE, Plan, Proposal
from tests.ledger.chain import PLAN_PARAMS, Chain, genesis_values
from tests.ledger.test_life import MEMBERS, _enrolled, cleared, days, person, state_of

CAP = 120
MINIMUM = 270
"""ceil(30,000 · 10,800 / (10,000 · 120)): the highest aid of the tests' plan costs 120 fen each at this membership."""


def full() -> Chain:
    chain = _enrolled(CAP).fork()
    assert plans.minimum_weight(plans.version_at(chain.state, 0, 20_000)[1].params) == MINIMUM
    return chain


def leave(chain: Chain, count: int) -> None:
    chain.ok("platform", tx.ExitBatch(0, tuple(range(MEMBERS - count, MEMBERS))))


def opened(chain: Chain) -> list[tuple[int, Proposal]]:
    return list(chain.state.rows(Proposal))


def test_a_fall_below_the_minimum_holds_the_notice_and_opens_the_vote() -> None:
    chain = full()
    claim = cleared(chain)
    leave(chain, MEMBERS - MINIMUM + 1)
    chain.step_to_day(2019, 3, 7)
    assert state_of(chain, claim) is ClaimState.CLEARED, "its notice is held"
    ((proposal, row),) = opened(chain)
    assert row.action == RunOffPlan(0)
    assert (row.proposer, row.in_favour, row.state) == (NONE, (), ProposalState.OPEN)
    assert row.due_ms == calendar.notice_ms(28) + VOTE_DAYS * calendar.MS_PER_DAY
    for name in ("platform", "bank", "firm-a"):
        chain.ok(name, tx.VoteFor(proposal))
    chain.step_to(chain.state.get(Proposal, proposal).due_ms)
    assert chain.state.get(Proposal, proposal).state == ProposalState.ENACTED
    assert chain.state.get(Plan, 0).ends_day == calendar.day_of(chain.now_ms)
    chain.step_to_day(2019, 3, 21)
    assert state_of(chain, claim) is ClaimState.NOTICED, "a plan that runs off holds nothing back"
    assert list(differences(chain.store)) == []


def test_exactly_the_minimum_is_enough() -> None:
    chain = full()
    claim = cleared(chain)
    leave(chain, MEMBERS - MINIMUM)
    chain.step_to_day(2019, 3, 7)
    assert state_of(chain, claim) is ClaimState.NOTICED
    assert opened(chain) == []


def test_it_is_asked_once_until_the_plan_was_above_again() -> None:
    chain = full()
    leave(chain, 40)
    chain.step_to_day(2019, 4, 1)
    assert len(opened(chain)) == 1, "two notices below it, one vote"
    days(chain, VOTE_DAYS + 1)
    assert opened(chain)[0][1].state == ProposalState.EXPIRED
    chain.step_to_day(2019, 5, 25)
    assert len(opened(chain)) == 1, "the vote came to nothing"
    people = tuple(person(number) for number in range(1_000, 1_040))
    chain.ok("platform", tx.EnrolBatch(0, people))
    chain.step_to_day(2019, 6, 8)
    assert len(opened(chain)) == 1
    leave(chain, 80)
    chain.step_to_day(2019, 6, 22)
    assert len(opened(chain)) == 2


def test_a_plan_that_has_not_grown_so_far_is_not_asked() -> None:
    params = replace(PLAN_PARAMS, case_cap_fen=CAP)
    chain = Chain(genesis_values(plans=(GenesisPlan("main", params),)))
    chain.ok("platform", tx.EnrolBatch(0, tuple(person(number) for number in range(20))))
    chain.step_to_day(2019, 1, 22)
    assert opened(chain) == []


def test_a_vote_that_organisations_opened_themselves_is_the_one() -> None:
    chain = full()
    chain.ok("bank", tx.Propose(RunOffPlan(0)))
    leave(chain, 40)
    chain.step_to_day(2019, 3, 8)
    assert [row.proposer for _, row in opened(chain)] == [1]
    assert proposals.undecided(chain.state) == [0]


def test_the_regulator_objects_to_it_as_to_any_other() -> None:
    chain = full()
    leave(chain, 40)
    chain.step_to_day(2019, 3, 8)
    for name in ("platform", "bank", "firm-a"):
        chain.ok(name, tx.VoteFor(0))
    chain.ok("regulator", tx.Veto(0))
    days(chain, OBJECTION_DAYS + 1)
    assert chain.state.get(Plan, 0).ends_day == 0
    assert opened(chain)[0][1].state == ProposalState.OBJECTED


def test_a_plan_that_runs_off_is_not_asked() -> None:
    chain = full()
    for name in ("bank", "platform", "firm-a"):
        chain.ok(name, tx.Propose(RunOffPlan(0)) if name == "bank" else tx.VoteFor(0))
    days(chain, OBJECTION_DAYS + 1)
    assert chain.state.get(Plan, 0).ends_day
    leave(chain, 40)
    chain.step_to_day(2019, 4, 1)
    assert len(opened(chain)) == 1
