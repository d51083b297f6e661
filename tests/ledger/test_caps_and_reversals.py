"""What is taken back after the year's cap: members, sponsor and carry, to the fen (LEDGER §5, §8, §9)."""

from msgspec.structs import replace

from ledger import bills, calendar
from ledger import transactions as tx
from ledger.claim_table import ClaimState
from ledger.genesis import GenesisPlan
from ledger.rows import Member, Plan, Settlement
from tests.ledger.chain import PLAN_PARAMS, Chain, genesis_values
from tests.ledger.claim_kit import account
from tests.ledger.test_life import AID, CLAIMANT, MEMBERS, cleared, person, state_of

CAP = 50
SHARE = 108
"""ceil(30,000 · 1.08 / 300)."""
FEE = AID * 800 // 10_000


def capped() -> tuple[Chain, int]:
    """A claim was settled: each of 300 members pays 50 of his 108 fen, the sponsor the rest."""
    plans = (GenesisPlan("main", replace(PLAN_PARAMS, year_cap_fen=CAP)),)
    chain = Chain(genesis_values(plans=plans))
    chain.ok("platform", tx.EnrolBatch(0, tuple(person(number) for number in range(MEMBERS))))
    chain.step_to_day(2019, 3, 1)
    claim = cleared(chain)
    chain.step_to_day(2019, 3, 14)
    assert state_of(chain, claim) is ClaimState.SETTLED
    found = account(chain)
    assert (found.due, found.sponsor) == (CAP * MEMBERS, (SHARE - CAP) * MEMBERS)
    assert (found.claims, found.fee, found.carry) == (AID, FEE, SHARE * MEMBERS - AID - FEE)
    return chain, claim


def test_a_reversal_after_the_cap_gives_what_members_and_sponsor_pay_to_the_next_claims() -> None:
    chain, claim = capped()
    before = account(chain)
    for body in (tx.HoldClaim(claim), tx.RejectClaim(claim, 12)):
        chain.ok("firm-a", body)
        chain.ok("regulator", body)
    after = account(chain)
    assert (after.due, after.sponsor) == (before.due, before.sponsor), "what was asked for stays asked for"
    assert (after.claims, after.fee, after.carry) == (0, 0, before.carry + AID + FEE)
    cleared(chain, CLAIMANT + 1)
    chain.step_to_day(2019, 3, 28)
    settled = chain.state.get(Settlement, chain.state.get(Plan, 0).settlement)
    assert (settled.aid_fen, settled.goal_fen, settled.charged_fen, settled.excess_fen) == (AID, 0, 0, 0)
    assert settled.carry_used_fen == AID + FEE


def test_a_late_death_after_the_cap_undoes_the_charge_and_leaves_the_sponsors_part() -> None:
    chain, _ = capped()
    plan = chain.state.get(Plan, 0)
    (collection, *_) = chain.ok("platform", tx.Collect(0, plan.period, 0, MEMBERS - 1, (), 0))
    chain.ok("bank", tx.ConfirmCollection(collection, CAP * MEMBERS, b"collected"))
    chain.step_to_day(2019, 3, 21)
    before = account(chain)
    died = calendar.day_from_civil(2019, 2, 20)
    assert chain.ok("platform", tx.ReportDeath(9, died))[1] == CAP, "50, not his share of 108"
    after = account(chain)
    assert (after.sponsor, after.bad_debt, after.refunds) == (before.sponsor, CAP, before.refunds + CAP)
    assert bills.total(chain.state, chain.state.get(Member, 9)) == 0


def test_above_the_cap_a_second_period_charges_members_nothing_and_the_sponsor_everything() -> None:
    chain, _ = capped()
    cleared(chain, CLAIMANT + 1)
    chain.step_to_day(2019, 3, 28)
    settled = chain.state.get(Settlement, chain.state.get(Plan, 0).settlement)
    assert settled.charged_fen == 0
    ((_, share),), ((_, members),) = settled.shares, settled.counts
    assert settled.excess_fen == share * members > 0
