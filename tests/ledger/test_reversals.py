"""A settlement is reversed between its close and the next notice: what the member owed then is not forgiven."""

import pytest

from ledger import bills
from ledger import transactions as tx
from ledger.claim_table import ClaimState
from ledger.rows import NO_END, Member, Plan
from ledger.standing import MemberState
from tests.ledger.chain import Chain
from tests.ledger.claim_kit import account, both, check_whole, enrolled, reviewed
from tests.ledger.test_life import BIRTH_MONTH, CLAIMANT, MEMBERS, state_of


def stopped_after_the_close(failing: tuple[int, ...]) -> tuple[Chain, int]:
    """Settled on 28 March 2019 and stopped; closed on 4 April; it is the 6th, and the next notice comes on the 7th."""
    chain = enrolled()
    chain.step_to_day(2019, 3, 8)
    claim = reviewed(chain, 0)
    chain.step_to_day(2019, 3, 28)
    both(chain, tx.HoldClaim(claim))
    assert state_of(chain, claim) is ClaimState.STOPPED
    period = chain.state.get(Plan, 0).period
    chain.ok("platform", tx.Collect(0, period, 0, MEMBERS - 1, failing, 0))
    chain.step_to_day(2019, 4, 6)
    assert chain.state.get(Plan, 0).period == period + 1
    return chain, claim


def test_whoever_failed_for_his_own_period_has_exited_and_still_owes_it() -> None:
    chain, claim = stopped_after_the_close((CLAIMANT,))
    both(chain, tx.RejectClaim(claim, 12))
    member = chain.state.get(Member, CLAIMANT)
    owed = bills.owed(chain.state, member)
    assert (MemberState(member.state), owed.written_off_fen) == (MemberState.EXITED, account(chain).bad_debt)
    assert owed.written_off_fen > 0
    again = tx.Enrol(0, member.identity, BIRTH_MONTH, b"")
    assert chain.refused("platform", again) == "ARREARS_UNPAID"
    carry = account(chain).carry
    chain.ok("bank", tx.Contribution(CLAIMANT, (member.to_period - 1,), owed.written_off_fen, b"late"))
    assert account(chain).carry == carry + owed.written_off_fen
    chain.ok("platform", again)
    member = chain.state.get(Member, CLAIMANT)
    assert (MemberState(member.state), member.to_period) == (MemberState.ACTIVE, NO_END)
    check_whole(chain)


@pytest.mark.parametrize("failing", [(), (CLAIMANT + 1,)])
def test_whoever_paid_goes_on_as_if_he_had_never_left(failing: tuple[int, ...]) -> None:
    chain, claim = stopped_after_the_close(failing)
    both(chain, tx.RejectClaim(claim, 12))
    member = chain.state.get(Member, CLAIMANT)
    assert (MemberState(member.state), member.to_period) == (MemberState.ACTIVE, NO_END)
    assert bills.owed(chain.state, member).total_fen == 0
    check_whole(chain)
