"""Memberships that end without the member's doing, through real blocks: voided, late death, suspended, expelled."""

from ledger import bills, calendar, endings, members
from ledger import transactions as tx
from ledger.claim_table import REASONS, ClaimState
from ledger.params import ACCIDENT
from ledger.rows import Account, Claim, Member, Plan, Settlement
from ledger.standing import MemberState
from tests.ledger.chain import START_DAY, Chain
from tests.ledger.test_life import (
    HASH,
    MEMBERS,
    cleared,
    collected,
    days,
    enrolled,
    filing,
    firms,
    person,
    settled,
    state_of,
)

WHO = 7


def account(chain: Chain) -> Account:
    return chain.state.get(Account, 0)


def standing(chain: Chain, member: int = WHO) -> MemberState:
    return MemberState(chain.state.get(Member, member).state)


def failed_in(chain: Chain, *who: int) -> None:
    """The open period's debits fail for ``who``; the money of the others arrives."""
    plan = chain.state.get(Plan, 0)
    differences = tuple(b - a for a, b in zip((0, *who), who, strict=False))
    collection, _, failed = chain.ok("platform", tx.Collect(0, plan.period, 0, MEMBERS - 1, differences, 0))
    arrears, due = account(chain).arrears, chain.state.get(Settlement, plan.settlement).due_fen
    chain.ok("bank", tx.ConfirmCollection(collection, due + arrears - failed, f"collected {plan.period}".encode()))


def lapsed() -> Chain:
    """WHO failed twice in a row; the day of the lapse is 4 April 2019, today the 22nd."""
    chain = enrolled()
    settled(chain)
    failed_in(chain, WHO)
    chain.ok("platform", filing(chain, 5))
    settled_again(chain, 1)
    failed_in(chain, WHO)
    chain.step_to_day(2019, 4, 22)
    assert standing(chain) is MemberState.LAPSED
    return chain


def settled_again(chain: Chain, claim: int) -> None:
    """The second claim goes the whole way to a settlement."""
    chain.ok("hospital", tx.Diagnose(claim, HASH))
    days(chain, 4)
    first, second = firms(chain, claim)
    chain.ok(first, tx.Assess(claim, HASH))
    chain.ok(second, tx.Review(claim, 0))
    while state_of(chain, claim) is not ClaimState.SETTLED:
        days(chain, 1)


def pays_what_he_owes(chain: Chain, member: int = WHO) -> None:
    row = chain.state.get(Member, member)
    owed = bills.owed(chain.state, row)
    chain.ok("bank", tx.Contribution(member, (row.fail_period,), owed.total_fen, b"arrears of %d" % member))


def comes_back(chain: Chain) -> tuple[int, ...]:
    identity, birth_month = person(WHO)
    return chain.ok("platform", tx.Enrol(0, identity, birth_month, b""))


# ---- reinstatement -------------------------------------------------------------------------------------------------


def test_a_lapsed_member_is_reinstated_without_waiting_once_his_arrears_are_paid() -> None:
    chain = lapsed()
    identity, birth_month = person(WHO)
    chain_before = account(chain).carry
    assert chain.refused("platform", tx.Enrol(0, identity, birth_month, b"")) == "ARREARS_UNPAID"
    pays_what_he_owes(chain)
    assert account(chain).carry > chain_before, "a recovery after the write-off is everybody's"
    comes_back(chain)
    row = chain.state.get(Member, WHO)
    assert row.join_day == calendar.day_of(chain.now_ms)
    assert members.waits_from(chain.state, row) == START_DAY
    chain.step_to(chain.now_ms + 2 * calendar.MS_PER_DAY)
    _, amount = chain.ok("platform", filing(chain, WHO, diagnosis_day=row.join_day + 1))
    assert amount > 0


def lapse_day(chain: Chain) -> int:
    return members.covered_until(chain.state, chain.state.get(Member, WHO))


def test_reinstatement_ends_reinstate_days_after_the_lapse() -> None:
    for late, waited in ((60, True), (61, False)):
        chain = lapsed()
        pays_what_he_owes(chain)
        chain.step_to(calendar.start_of_day(lapse_day(chain) + late) + 1)
        comes_back(chain)
        row = chain.state.get(Member, WHO)
        assert (members.waits_from(chain.state, row) == START_DAY) is waited


def test_the_gap_is_not_covered_and_a_diagnosis_in_it_costs_the_reinstatement() -> None:
    chain = lapsed()
    pays_what_he_owes(chain)
    gap = lapse_day(chain)
    assert chain.ok("platform", filing(chain, WHO, diagnosis_day=gap))[1] == 0
    assert standing(chain) is MemberState.EXITED
    comes_back(chain)
    row = chain.state.get(Member, WHO)
    assert members.waits_from(chain.state, row) == row.join_day


def test_a_diagnosis_in_the_gap_learned_of_later_brings_the_waiting_back() -> None:
    chain = lapsed()
    pays_what_he_owes(chain)
    gap = lapse_day(chain)
    comes_back(chain)
    claim, amount = chain.ok("platform", filing(chain, WHO, diagnosis_day=gap + 1))
    row = chain.state.get(Member, WHO)
    assert amount == 0
    assert chain.state.get(Claim, claim).reason == endings.DIAGNOSED_IN_A_GAP
    assert members.waits_from(chain.state, row) == row.join_day
    assert chain.refused("platform", filing(chain, WHO, diagnosis_day=gap + 1)) == "NOT_COVERED"


def test_an_accident_in_the_gap_is_refused_and_nothing_more() -> None:
    chain = lapsed()
    filed = filing(chain, WHO, diagnosis_day=lapse_day(chain), cause=ACCIDENT)
    assert chain.refused("platform", filed) == "NOT_COVERED"
    assert standing(chain) is MemberState.LAPSED


# ---- voided --------------------------------------------------------------------------------------------------------


def test_ill_while_waiting_the_member_is_voided_and_what_he_paid_refunded() -> None:
    chain = enrolled()
    settled(chain)
    share = bills.total(chain.state, chain.state.get(Member, WHO))
    collected(chain)
    chain.step_to_day(2019, 3, 25)
    assert share > 0
    claim, amount = chain.ok("platform", filing(chain, WHO, diagnosis_day=START_DAY + 90))
    row = chain.state.get(Claim, claim)
    assert (amount, ClaimState(row.state), row.due_ms) == (0, ClaimState.REFUSED_FINAL, 0)
    assert REASONS[row.reason].startswith("ill while waiting")
    assert standing(chain) is MemberState.VOIDED
    assert bills.total(chain.state, chain.state.get(Member, WHO)) == 0
    assert account(chain).refunds == share
    assert account(chain).bad_debt == share, "the others bear it with the next settlement"
    chain.ok("bank", tx.PayRefund(0, share, b"refund of the voided"))
    assert account(chain).refunds == 0
    identity, birth_month = person(WHO)
    assert chain.refused("platform", tx.Enrol(0, identity, birth_month, b"")) == "NOT_A_CURRENT_MEMBER"
    assert chain.refused("platform", filing(chain, WHO)) == "NOT_COVERED"


def test_the_open_period_of_a_voided_member_is_a_failure_that_nobody_can_report_again() -> None:
    chain = enrolled()
    settled(chain)
    plan = chain.state.get(Plan, 0)
    before = chain.state.get(Settlement, plan.settlement)
    share = bills.total(chain.state, chain.state.get(Member, WHO))
    chain.ok("platform", filing(chain, WHO, diagnosis_day=START_DAY + 90))
    after = chain.state.get(Settlement, plan.settlement)
    assert (after.due_fen, after.struck_fen) == (before.due_fen - share, share)
    assert (account(chain).refunds, account(chain).bad_debt) == (0, share)
    report = tx.Collect(0, plan.period, 0, MEMBERS - 1, (WHO,), 0)
    assert chain.refused("platform", report) == "NOT_CHARGEABLE"


# ---- late death ----------------------------------------------------------------------------------------------------


def test_a_death_reported_late_undoes_what_was_noticed_after_it() -> None:
    chain = enrolled()
    settled(chain)
    share = bills.total(chain.state, chain.state.get(Member, WHO))
    collected(chain)
    chain.step_to_day(2019, 4, 10)
    died = calendar.day_from_civil(2019, 3, 6)
    end, refund = chain.ok("platform", tx.ReportDeath(WHO, died))
    assert (end, refund) == (calendar.period_at(2019, 3, 0), share)
    assert standing(chain) is MemberState.DECEASED
    assert bills.total(chain.state, chain.state.get(Member, WHO)) == 0
    assert account(chain).refunds == share
    assert chain.refused("platform", tx.ReportDeath(WHO, died)) == "NOT_A_CURRENT_MEMBER"


def test_who_died_on_the_day_of_the_notice_still_pays_his_period() -> None:
    chain = enrolled()
    settled(chain)
    share = bills.total(chain.state, chain.state.get(Member, WHO))
    chain.step_to_day(2019, 3, 15)
    died = calendar.day_from_civil(2019, 3, 7)
    assert chain.ok("platform", tx.ReportDeath(WHO, died)) == (calendar.period_at(2019, 3, 1), 0)
    assert bills.total(chain.state, chain.state.get(Member, WHO)) == share


def test_who_died_before_the_notice_that_counted_him_is_struck_and_n_stays() -> None:
    chain = enrolled()
    claim = cleared(chain)
    chain.step_to_day(2019, 3, 8)
    assert state_of(chain, claim) is ClaimState.NOTICED
    assert chain.ok("platform", tx.ReportDeath(WHO, calendar.day_from_civil(2019, 3, 1)))[1] == 0
    chain.step_to_day(2019, 3, 14)
    row = chain.state.get(Settlement, chain.state.get(Plan, 0).settlement)
    assert dict(row.counts) == {1: MEMBERS}
    (share,) = dict(row.shares).values()
    assert (row.charged_fen, row.struck_fen, row.due_fen) == (MEMBERS * share, share, (MEMBERS - 1) * share)
    assert account(chain).bad_debt == share
    assert bills.total(chain.state, chain.state.get(Member, WHO)) == 0


def test_a_death_is_of_a_day_within_the_membership() -> None:
    chain = enrolled()
    today = calendar.day_of(chain.now_ms)
    for day in (START_DAY - 1, today + 1, -(2**40), 2**60):
        assert chain.refused("platform", tx.ReportDeath(WHO, day)) == "BAD_FIELD"
    assert chain.refused("platform", tx.ReportDeath(MEMBERS, today)) == "UNKNOWN_MEMBER"


# ---- suspended, expelled -------------------------------------------------------------------------------------------


def test_a_suspended_member_is_neither_charged_nor_covered_and_goes_on_without_waiting() -> None:
    chain = enrolled()
    chain.ok("regulator", tx.SuspendMember(WHO, suspended=True))
    assert chain.refused("platform", tx.SuspendMember(WHO, suspended=True)) == "NOT_A_CURRENT_MEMBER"
    suspended_on = calendar.day_of(chain.now_ms)
    settled(chain)
    collected(chain)
    assert bills.total(chain.state, chain.state.get(Member, WHO)) == 0
    assert chain.refused("platform", filing(chain, WHO, diagnosis_day=suspended_on + 3)) == "NOT_COVERED"
    identity, birth_month = person(WHO)
    assert chain.refused("platform", tx.Enrol(0, identity, birth_month, b"")) == "DUPLICATE_MEMBER"
    chain.ok("platform", tx.SuspendMember(WHO, suspended=False))
    row = chain.state.get(Member, WHO)
    assert standing(chain) is MemberState.ACTIVE
    assert members.waits_from(chain.state, row) == START_DAY
    assert chain.refused("platform", tx.SuspendMember(WHO, suspended=False)) == "NOT_A_CURRENT_MEMBER"


def test_a_suspended_member_may_leave_and_an_expelled_one_never_returns() -> None:
    chain = enrolled()
    chain.ok("platform", tx.SuspendMember(WHO, suspended=True))
    to_period = chain.state.get(Member, WHO).to_period
    chain.step_to_day(2019, 4, 2)
    assert chain.ok("platform", tx.Exit(WHO)) == (to_period,)
    chain.ok("regulator", tx.ExpelMember(WHO + 1))
    assert standing(chain, WHO + 1) is MemberState.EXPELLED
    identity, birth_month = person(WHO + 1)
    assert chain.refused("platform", tx.Enrol(0, identity, birth_month, b"")) == "NOT_A_CURRENT_MEMBER"
    for member in (WHO, WHO + 1):
        assert chain.refused("regulator", tx.ExpelMember(member)) == "NOT_A_CURRENT_MEMBER"
