"""The life of a claim through real blocks, step by step, and what every step refuses."""

from functools import cache
from hashlib import sha256

import pytest
from msgspec.structs import replace

from ledger import calendar, plan_cycle, plans, queries
from ledger import transactions as tx
from ledger.claim_table import ClaimState
from ledger.genesis import GenesisPlan
from ledger.indexes import differences
from ledger.params import ACCIDENT, ILLNESS
from ledger.roles import Role
from ledger.rows import Account, Claim, Draw, Member, Organisation, Plan, Settlement
from ledger.standing import MemberState
from ledger.state import BlockContext, State
from ledger.store import Overlay
from tests.ledger.chain import ORGANISATIONS, PLAN_PARAMS, START_DAY, Chain, genesis_values, organisation

MEMBERS = 300
CLAIMANT = 3
AID = 30_000
BIRTH_MONTH = calendar.month_of(START_DAY) - 30 * 12
HASH = sha256(b"a commitment").digest()
SALT = bytes(16)


def person(number: int) -> tuple[bytes, int]:
    """(identity, birth month) of a member."""
    return sha256(f"person {number}".encode()).digest(), BIRTH_MONTH


def enrolled() -> Chain:
    """300 members of 30 years who joined on 2018-10-16; it is 2019-03-01, and all have waited."""
    return _enrolled().fork()


@cache
def _enrolled(case_cap_fen: int = PLAN_PARAMS.case_cap_fen) -> Chain:
    params = replace(PLAN_PARAMS, case_cap_fen=case_cap_fen)
    chain = Chain(genesis_values(plans=(GenesisPlan("main", params),)))
    people = tuple(person(number) for number in range(MEMBERS))
    assert chain.ok("platform", tx.EnrolBatch(0, people)) == (0, MEMBERS, 0)
    chain.step_to_day(2019, 3, 1)
    return chain


def filing(chain: Chain, member: int = CLAIMANT, **changes: object) -> tx.FileClaim:
    fields: dict[str, object] = {
        "member": member,
        "tier": 1,
        "illness": 1,
        "cause": ILLNESS,
        "diagnosis_day": calendar.day_of(chain.now_ms) - 2,
        "region": 11,
        "fingerprint": sha256(f"event of {member}".encode()).digest(),
        "salt": SALT,
    }
    return tx.FileClaim(**(fields | changes))  # type: ignore[arg-type]


def state_of(chain: Chain, claim: int) -> ClaimState:
    return ClaimState(chain.state.get(Claim, claim).state)


def days(chain: Chain, number: int) -> None:
    chain.step_to(chain.now_ms + number * calendar.MS_PER_DAY)


def investigating(chain: Chain, member: int = CLAIMANT) -> int:
    """A claim with its diagnosis, whose investigator was drawn."""
    claim, amount = chain.ok("platform", filing(chain, member))
    assert amount == AID
    chain.ok("hospital", tx.Diagnose(claim, HASH))
    days(chain, PLAN_PARAMS.investigate_after_days + 1)
    assert state_of(chain, claim) is ClaimState.INVESTIGATING
    return claim


def firms(chain: Chain, claim: int) -> tuple[str, str]:
    """(the drawn firm, the other one)."""
    drawn = chain.state.get(Organisation, chain.state.get(Claim, claim).investigator).name
    return drawn, {"firm-a": "firm-b", "firm-b": "firm-a"}[drawn]


def cleared(chain: Chain, member: int = CLAIMANT) -> int:
    claim = investigating(chain, member)
    first, second = firms(chain, claim)
    chain.ok(first, tx.Assess(claim, HASH))
    chain.ok(second, tx.Review(claim, 0))
    return claim


def settled(chain: Chain) -> int:
    claim = cleared(chain)
    chain.step_to_day(2019, 3, 14)
    assert state_of(chain, claim) is ClaimState.SETTLED
    return claim


def collected(chain: Chain) -> Settlement:
    """The open period's money is there, all of it."""
    plan = chain.state.get(Plan, 0)
    settlement = chain.state.get(Settlement, plan.settlement)
    (collection, *_) = chain.ok("platform", tx.Collect(0, plan.period, 0, MEMBERS - 1, (), 0))
    chain.ok("bank", tx.ConfirmCollection(collection, settlement.due_fen, f"collected {plan.period}".encode()))
    return settlement


def test_a_claim_lives_from_filing_to_payment() -> None:
    chain = enrolled()
    claim = cleared(chain)
    assert state_of(chain, claim) is ClaimState.CLEARED
    chain.step_to_day(2019, 3, 7)
    assert state_of(chain, claim) is ClaimState.NOTICED
    chain.step_to_day(2019, 3, 10)
    assert state_of(chain, claim) is ClaimState.APPROVED
    chain.step_to_day(2019, 3, 14)
    assert state_of(chain, claim) is ClaimState.SETTLED
    assert chain.state.get(Member, CLAIMANT).state == MemberState.BENEFITED
    settlement = collected(chain)
    assert (settlement.aid_fen, settlement.fee_fen, settlement.due_fen) == (AID, 2_400, 32_400)
    assert settlement.shares == ((1, 108),)
    chain.ok("bank", tx.Pay(claim, AID, b"order 1"))
    assert state_of(chain, claim) is ClaimState.PAYING
    chain.ok("bank", tx.ConfirmPayment(claim, b"order 1", True))
    assert state_of(chain, claim) is ClaimState.PAID
    chain.ok("bank", tx.PayFee(0, 2_400, b"fee 1"))
    chain.step_to_day(2019, 3, 21)
    assert chain.state.get(Account, 0) == Account(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    assert list(differences(chain.store)) == []


def test_the_helped_member_pays_his_own_period_and_no_later_one() -> None:
    chain = enrolled()
    settled(chain)
    period = chain.state.get(Plan, 0).period
    assert chain.state.get(Member, CLAIMANT).to_period == period + 1
    chain.step_to_day(2019, 3, 28)
    later = queries.settlement_view(chain.state, 0, period + 1)
    assert later is not None
    assert later.members == MEMBERS - 1


# ---- filing ----------------------------------------------------------------------------------------------------------


def test_filing_is_refused_without_cover() -> None:
    chain = enrolled()
    today = calendar.day_of(chain.now_ms)
    assert chain.refused("platform", filing(chain, MEMBERS)) == "UNKNOWN_MEMBER"
    assert chain.refused("platform", filing(chain, diagnosis_day=START_DAY)) == "NOT_COVERED"
    assert chain.refused("platform", filing(chain, diagnosis_day=today + 1)) == "DIAGNOSIS_IN_FUTURE"
    assert chain.ok("platform", filing(chain, 4, diagnosis_day=START_DAY + 90)) == (0, 0)
    assert state_of(chain, 0) is ClaimState.REFUSED_FINAL
    assert chain.state.get(Member, 4).state == MemberState.VOIDED
    chain.ok("platform", filing(chain, 1, diagnosis_day=START_DAY + 91))
    chain.ok("platform", filing(chain, 2, diagnosis_day=START_DAY + 1, cause=ACCIDENT))


@pytest.mark.parametrize(("late", "code"), [(180, "OK"), (181, "FILED_TOO_LATE")])
def test_a_claim_is_filed_within_180_days_of_the_diagnosis(late: int, code: str) -> None:
    chain = enrolled()
    chain.step_to_day(2019, 9, 20)
    day = calendar.day_of(chain.now_ms) - late
    assert chain.block(("platform", filing(chain, diagnosis_day=day))).codes == [code]


def test_filing_is_refused_for_fields_that_make_no_sense() -> None:
    chain = enrolled()
    for changes in ({"fingerprint": b"short"}, {"salt": b""}, {"cause": 2}, {"illness": -1}, {"region": 2**31}):
        assert chain.refused("platform", filing(chain, **changes)) == "BAD_FIELD"
    assert chain.refused("platform", filing(chain, tier=9)) == "UNKNOWN_TIER"


def test_a_member_has_one_open_claim_and_is_helped_once() -> None:
    chain = enrolled()
    claim = settled(chain)
    assert chain.refused("platform", filing(chain)) == "OPEN_CLAIM"
    collected(chain)
    chain.ok("bank", tx.Pay(claim, AID, b"order"))
    chain.ok("bank", tx.ConfirmPayment(claim, b"order", True))
    assert chain.refused("platform", filing(chain)) == "ALREADY_HELPED"


def test_the_amount_follows_tier_and_age_on_the_diagnosis_day() -> None:
    chain = Chain()
    birth = calendar.month_of(START_DAY) - 39 * 12 - 6  # 40 on 2019-05-01
    chain.ok("platform", tx.EnrolBatch(0, tuple((bytes(31) + bytes((n,)), birth) for n in range(3))))
    chain.step_to_day(2019, 5, 20)
    first_of_may = calendar.day_from_civil(2019, 5, 1)
    assert chain.ok("platform", filing(chain, 0, diagnosis_day=first_of_may - 1))[1] == 30_000
    assert chain.ok("platform", filing(chain, 1, diagnosis_day=first_of_may))[1] == 10_000
    assert chain.ok("platform", filing(chain, 2, tier=2, diagnosis_day=first_of_may))[1] == 5_000


# ---- investigation and review ----------------------------------------------------------------------------------------


def test_only_the_drawn_firm_assesses_and_only_after_the_diagnosis() -> None:
    chain = enrolled()
    claim, _ = chain.ok("platform", filing(chain))
    days(chain, 4)
    first, second = firms(chain, claim)
    assert chain.refused(second, tx.Assess(claim, HASH)) == "NOT_THE_DRAWN_FIRM"
    assert chain.refused(first, tx.Assess(claim, HASH)) == "NO_DIAGNOSIS"
    assert chain.refused("hospital", tx.Diagnose(claim, b"short")) == "BAD_FIELD"
    chain.ok("hospital", tx.Diagnose(claim, HASH))
    assert chain.refused("hospital", tx.Diagnose(claim, HASH)) == "DUPLICATE_DIAGNOSIS"
    assert chain.refused(first, tx.Assess(claim, b"short")) == "BAD_FIELD"
    chain.ok(first, tx.Assess(claim, HASH))
    assert chain.refused("hospital", tx.Diagnose(claim, HASH)) == "NO_SUCH_TRANSITION"


def test_the_firm_that_investigated_does_not_review() -> None:
    chain = enrolled()
    claim = investigating(chain)
    first, second = firms(chain, claim)
    chain.ok(first, tx.Assess(claim, HASH))
    assert chain.refused(first, tx.Review(claim, 0)) == "SAME_FIRM"
    assert chain.refused(second, tx.Review(claim, 99)) == "UNKNOWN_REASON"
    chain.ok(second, tx.Review(claim, 2))
    assert state_of(chain, claim) is ClaimState.REFUSED
    days(chain, 29)
    assert state_of(chain, claim) is ClaimState.REFUSED
    assert chain.refused("platform", filing(chain)) == "OPEN_CLAIM"
    days(chain, 2)
    assert state_of(chain, claim) is ClaimState.REFUSED_FINAL
    chain.ok("platform", filing(chain))
    assert list(differences(chain.store)) == []


def test_an_overdue_investigator_is_passed_over_for_another() -> None:
    chain = enrolled()
    claim, *others = [chain.ok("platform", filing(chain, member))[0] for member in range(10)]
    days(chain, 4)
    before = [firms(chain, number) for number in (claim, *others)]
    first, second = before[0]
    days(chain, 31)
    row = chain.state.get(Claim, claim)
    assert [firms(chain, number) for number in (claim, *others)] == [(late, early) for early, late in before]
    assert chain.state.get(Organisation, row.passed_over[0]).name == first
    assert chain.refused(first, tx.Assess(claim, HASH)) == "NOT_THE_DRAWN_FIRM"
    days(chain, 31)
    assert chain.state.get(Claim, claim).investigator != -1, "with all firms passed over, one of them is drawn again"
    assert list(differences(chain.store)) == []


def test_an_overdue_review_gets_a_drawn_reviewer_who_did_not_investigate() -> None:
    chain = enrolled()
    claim = investigating(chain)
    first, second = firms(chain, claim)
    chain.ok(first, tx.Assess(claim, HASH))
    days(chain, 11)
    row = chain.state.get(Claim, claim)
    assert chain.state.get(Organisation, row.reviewer).name == second
    assert chain.refused(first, tx.Review(claim, 0)) == "SAME_FIRM"
    chain.ok(second, tx.Review(claim, 0))
    assert list(differences(chain.store)) == []


def test_of_three_firms_only_the_drawn_one_reviews_after_an_overdue_review() -> None:
    organisations = (*ORGANISATIONS, organisation("firm-c", Role.ASSESSOR))
    chain = Chain(genesis_values(organisations=organisations))
    chain.ok("platform", tx.EnrolBatch(0, tuple((bytes(31) + bytes((n,)), BIRTH_MONTH) for n in range(20))))
    chain.step_to_day(2019, 3, 1)
    claim, _ = chain.ok("platform", filing(chain))
    chain.ok("hospital", tx.Diagnose(claim, HASH))
    days(chain, 4)
    names = {number: row.name for number, row in chain.state.rows(Organisation)}
    first = chain.state.get(Claim, claim).investigator
    chain.ok(names[first], tx.Assess(claim, HASH))
    chain.step_to(chain.state.get(Claim, claim).due_ms - 5_000)
    waiting = chain.state.get(Claim, claim).due_ms
    chain.block(("clock", tx.AdvanceClock(waiting)))
    chain.block()
    reviews = [(names[number], tx.Review(claim, 0)) for number in (2, 3, 6) if number != first]
    assert chain.block(*reviews).codes == ["NO_REVIEWER", "NO_REVIEWER"], "the draw is open"
    chain.quiet()
    drawn = chain.state.get(Claim, claim).reviewer
    (other,) = {2, 3, 6} - {first, drawn}
    assert chain.refused(names[other], tx.Review(claim, 0)) == "NOT_THE_DRAWN_FIRM"
    chain.ok(names[drawn], tx.Review(claim, 0))


def test_the_draw_takes_three_later_blocks_of_two_creators_and_stays_due_until_it_closes() -> None:
    chain = enrolled()
    chain.ok("platform", filing(chain))
    days(chain, 4)
    draw = chain.state.get(Draw, 0)
    assert draw.blocks >= 3
    assert len(draw.creators) >= 2
    assert draw.closed_height == draw.opened_height + draw.blocks
    running = bytes(32)
    for height in range(draw.opened_height + 1, draw.closed_height + 1):
        running = sha256(running + chain.blocks[height - 1].header.beacon).digest()
    assert draw.running == running, "anyone can recompute the seed from the headers"


# ---- payment ---------------------------------------------------------------------------------------------------------


def test_aid_is_paid_once_exactly_and_from_cash_that_is_there() -> None:
    chain = enrolled()
    claim = settled(chain)
    assert chain.refused("bank", tx.Pay(claim, AID - 1, b"order 1")) == "WRONG_AMOUNT"
    assert chain.refused("bank", tx.Pay(claim, AID, b"")) == "BAD_FIELD"
    assert chain.refused("bank", tx.Pay(claim, AID, bytes(65))) == "BAD_FIELD"
    chain.ok("bank", tx.Pay(claim, AID, b"order 1"))
    assert chain.refused("bank", tx.Pay(claim, AID, b"order 2")) == "NO_SUCH_TRANSITION"
    assert chain.refused("bank", tx.ConfirmPayment(claim, b"order 2", True)) == "UNKNOWN_REFERENCE"
    assert chain.refused("bank", tx.ConfirmPayment(claim, b"order 1", True)) == "INSUFFICIENT_CASH"
    chain.ok("bank", tx.Advance(0, AID, False, b"advance"))
    chain.ok("bank", tx.ConfirmPayment(claim, b"order 1", True))
    assert chain.refused("bank", tx.ConfirmPayment(claim, b"order 1", True)) == "NO_SUCH_TRANSITION"
    assert chain.refused("bank", tx.Pay(claim, AID, b"order 3")) == "NO_SUCH_TRANSITION"


def test_a_bounced_payment_goes_out_again_under_a_new_reference() -> None:
    chain = enrolled()
    claim = settled(chain)
    collected(chain)
    chain.ok("bank", tx.Pay(claim, AID, b"order 1"))
    assert chain.ok("bank", tx.ConfirmPayment(claim, b"order 1", False)) == (claim, 0)
    assert state_of(chain, claim) is ClaimState.PAYING
    assert chain.refused("bank", tx.ConfirmPayment(claim, b"order 1", True)) == "UNKNOWN_REFERENCE"
    assert chain.refused("bank", tx.ConfirmPayment(claim, b"", True)) == "UNKNOWN_REFERENCE"
    assert chain.refused("bank", tx.Pay(claim, AID, b"order 1")) == "DUPLICATE_REFERENCE"
    chain.ok("bank", tx.Pay(claim, AID, b"order 2"))
    chain.ok("bank", tx.ConfirmPayment(claim, b"order 2", True))
    assert chain.state.get(Account, 0).claims == 0
    assert list(differences(chain.store)) == []


def test_the_fee_is_paid_last() -> None:
    chain = enrolled()
    claim = settled(chain)
    collected(chain)
    chain.ok("bank", tx.PayFee(0, 2_000, b"fee 1"))
    assert chain.refused("bank", tx.PayFee(0, 401, b"fee 2")) == "WRONG_AMOUNT"
    chain.ok("bank", tx.Advance(0, 1_000, False, b"advance"))
    chain.ok("bank", tx.Advance(0, 600, True, b"repaid"))
    assert chain.refused("bank", tx.Advance(0, 401, True, b"repaid 2")) == "WRONG_AMOUNT"
    chain.ok("bank", tx.Pay(claim, AID, b"order"))
    chain.ok("bank", tx.ConfirmPayment(claim, b"order", True))
    chain.ok("bank", tx.PayFee(0, 400, b"fee 3"))
    account = chain.state.get(Account, 0)
    assert (account.cash, account.advance, account.fee, account.claims) == (400, 400, 0, 0)


def test_the_fee_does_not_take_what_claims_still_need() -> None:
    chain = enrolled()
    settled(chain)
    chain.ok("bank", tx.Advance(0, AID, False, b"advance"))
    assert chain.refused("bank", tx.PayFee(0, 1, b"fee")) == "INSUFFICIENT_CASH"
    assert chain.refused("bank", tx.Advance(0, 1, True, b"repaid")) == "INSUFFICIENT_CASH"


@pytest.mark.parametrize(
    "body",
    [
        tx.PayFee(0, 0, b"x"),
        tx.PayFee(0, -1, b"x"),
        tx.Advance(0, 0, False, b"x"),
        tx.Advance(0, 2**53 + 1, False, b"x"),
        tx.PayRefund(0, 0, b"x"),
        tx.SponsorPayment(0, 0, b"x"),
    ],
)
def test_an_amount_of_nothing_or_beyond_all_measure_is_refused(body: object) -> None:
    assert Chain().refused("bank", body) == "BAD_FIELD"


@pytest.mark.parametrize(
    "body",
    [tx.PayFee(7, 1, b"x"), tx.Advance(7, 1, False, b"x"), tx.PayRefund(7, 1, b"x"), tx.SponsorPayment(7, 1, b"x")],
)
def test_money_for_an_unknown_plan_is_refused(body: object) -> None:
    assert Chain().refused("bank", body) == "UNKNOWN_PLAN"


def test_nobody_pays_more_than_is_owed() -> None:
    chain = Chain()
    assert chain.refused("bank", tx.SponsorPayment(0, 1, b"x")) == "WRONG_AMOUNT"
    assert chain.refused("bank", tx.PayRefund(0, 1, b"x")) == "WRONG_AMOUNT"
    assert chain.refused("bank", tx.PayFee(0, 1, b"x")) == "WRONG_AMOUNT"


# ---- notice ----------------------------------------------------------------------------------------------------------


def test_a_claim_cleared_after_the_notice_waits_for_the_next_one() -> None:
    chain = enrolled()
    chain.step_to_day(2019, 3, 7)
    claim = cleared(chain)
    chain.step_to_day(2019, 3, 20)
    assert state_of(chain, claim) is ClaimState.CLEARED
    chain.step_to_day(2019, 3, 21)
    assert state_of(chain, claim) is ClaimState.NOTICED


def test_notices_are_held_until_a_case_keeps_within_the_cap() -> None:
    chain = _enrolled(107).fork()  # 30,000 and the fee among 300: 108 fen each; among 303: 107
    claim = cleared(chain)
    chain.step_to_day(2019, 3, 20)
    assert state_of(chain, claim) is ClaimState.CLEARED
    chain.ok("platform", tx.EnrolBatch(0, tuple((bytes(31) + bytes((n,)), BIRTH_MONTH) for n in range(3))))
    chain.step_to_day(2019, 3, 21)
    assert state_of(chain, claim) is ClaimState.NOTICED
    assert chain.state.get(Claim, claim).period == chain.state.get(Plan, 0).period


def test_a_notice_follows_the_version_of_its_own_day() -> None:
    chain = enrolled()
    claim = cleared(chain)
    plan = chain.state.get(Plan, 0)
    now = calendar.notice_ms(plan.period + 1)
    state = State(Overlay(chain.store), BlockContext(bytes(32), 999, now, now, bytes(32), bytes(64)))
    plans.add_version(state, 0, calendar.day_of(now), replace(PLAN_PARAMS, notice_days=5))
    plan_cycle.close(state, 0, now)
    plan_cycle.notice(state, 0, now)
    assert state.get(Claim, claim).due_ms == now + 5 * calendar.MS_PER_DAY


def test_unknown_claims_are_refused_by_every_step() -> None:
    chain = Chain()
    for name, body in (
        ("hospital", tx.Diagnose(0, HASH)),
        ("firm-a", tx.Assess(-1, HASH)),
        ("firm-a", tx.Review(2**70 % 2**63, 0)),
        ("bank", tx.Pay(0, 1, b"x")),
        ("bank", tx.ConfirmPayment(0, b"x", True)),
    ):
        assert chain.refused(name, body) == "UNKNOWN_CLAIM"
