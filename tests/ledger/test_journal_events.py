"""Journal rows that no other test shows with both sides, through real blocks (LEDGER §9); whose version judges (§3)."""

from msgspec.structs import replace

from ledger import calendar
from ledger import transactions as tx
from ledger.actions import AddPlanVersion
from ledger.claim_table import ClaimState
from ledger.governance import OBJECTION_DAYS
from ledger.params import TierBand
from ledger.rows import Account, Claim, Plan, Settlement
from tests.ledger.chain import PLAN_PARAMS, Chain
from tests.ledger.claim_kit import account
from tests.ledger.test_life import AID, CLAIMANT, MEMBERS, cleared, days, enrolled, filing, settled, state_of

FEE = AID * 800 // 10_000


def moved(before: Account, after: Account) -> dict[str, int]:
    """What changed, by account."""
    names = Account.__struct_fields__
    return {name: found for name in names if (found := getattr(after, name) - getattr(before, name))}


def test_a_sponsored_settlement_is_owed_by_the_sponsor_and_what_he_pays_is_cash() -> None:
    chain = enrolled()
    cleared(chain)
    period = chain.state.get(Plan, 0).period
    due_period = period if chain.state.get(Plan, 0).stage == 0 else period + 1
    chain.ok("platform", tx.SponsorPeriod(0, due_period))
    chain.step_to_day(2019, 3, 13)
    before = account(chain)
    chain.step_to_day(2019, 3, 14)
    after = account(chain)
    assert moved(before, after) == {"sponsor": AID + FEE, "claims": AID, "fee": FEE}
    row = chain.state.get(Settlement, chain.state.get(Plan, 0).settlement)
    assert (row.due_fen, row.over_fen, row.charged_fen) == (0, 0, 0)
    assert chain.refused("bank", tx.SponsorPayment(0, AID + FEE + 1, b"too much")) == "WRONG_AMOUNT"
    chain.ok("bank", tx.SponsorPayment(0, AID + FEE, b"sponsored"))
    assert moved(after, account(chain)) == {"cash": AID + FEE, "sponsor": -AID - FEE}


def test_an_order_moves_nothing_a_bounce_nothing_and_only_the_banks_word_takes_cash() -> None:
    chain = enrolled()
    claim = settled(chain)
    chain.ok("bank", tx.Advance(0, AID, False, b"advance"))
    before = account(chain)
    chain.ok("bank", tx.Pay(claim, AID, b"order 1"))
    assert moved(before, account(chain)) == {}
    chain.ok("bank", tx.ConfirmPayment(claim, b"order 1", False))
    assert moved(before, account(chain)) == {}, "nothing was booked, so nothing is taken back"
    chain.ok("bank", tx.Pay(claim, AID, b"order 2"))
    chain.ok("bank", tx.ConfirmPayment(claim, b"order 2", True))
    assert moved(before, account(chain)) == {"cash": -AID, "claims": -AID}


def test_what_a_dead_member_paid_for_undone_periods_is_refunded_in_cash() -> None:
    chain = enrolled()
    settled(chain)
    plan = chain.state.get(Plan, 0)
    due = account(chain).due
    (collection, *_) = chain.ok("platform", tx.Collect(0, plan.period, 0, MEMBERS - 1, (), 0))
    before = account(chain)
    chain.ok("bank", tx.ConfirmCollection(collection, due, b"collected"))
    assert moved(before, account(chain)) == {"cash": due, "clearing": due}
    chain.step_to_day(2019, 3, 21)
    assert moved(before, account(chain)) == {"cash": due, "due": -due}, "CLEARING against DUE at the close"
    before = account(chain)
    share = due // MEMBERS
    assert chain.ok("platform", tx.ReportDeath(9, calendar.day_from_civil(2019, 2, 20)))[1] == share
    assert moved(before, account(chain)) == {"bad_debt": share, "refunds": share}
    chain.ok("bank", tx.Advance(0, AID, False, b"advance"))
    before = account(chain)
    chain.ok("bank", tx.PayRefund(0, share, b"to his heirs"))
    assert moved(before, account(chain)) == {"cash": -share, "refunds": -share}
    assert chain.refused("bank", tx.PayRefund(0, 1, b"more")) == "WRONG_AMOUNT"


def test_an_advance_is_cash_owed_and_its_repayment_the_reverse() -> None:
    chain = Chain()
    before = account(chain)
    chain.ok("bank", tx.Advance(0, 700, False, b"lent"))
    lent = account(chain)
    assert moved(before, lent) == {"cash": 700, "advance": 700}
    chain.ok("bank", tx.Advance(0, 300, True, b"back"))
    assert moved(lent, account(chain)) == {"cash": -300, "advance": -300}


def test_a_claim_is_judged_by_the_version_of_its_diagnosis_day_and_not_of_its_filing() -> None:
    chain = enrolled()
    today = calendar.day_of(chain.now_ms)
    more = replace(PLAN_PARAMS, tiers=(TierBand(1, 0, 40_000),))
    proposal, _ = chain.ok("platform", tx.Propose(AddPlanVersion(0, today + OBJECTION_DAYS + 3, more)))
    for name in ("bank", "firm-a"):
        chain.ok(name, tx.VoteFor(proposal))
    days(chain, OBJECTION_DAYS + 5)
    first = today + OBJECTION_DAYS + 3
    assert chain.ok("platform", filing(chain, CLAIMANT, diagnosis_day=first - 1))[1] == AID
    assert chain.ok("platform", filing(chain, CLAIMANT + 1, diagnosis_day=first))[1] == 40_000
    assert state_of(chain, 0) is ClaimState.FILED
    assert chain.state.get(Claim, 1).amount_fen == 40_000
