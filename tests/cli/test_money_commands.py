"""What the bank reports and pays, command by command."""

from pathlib import Path

from cli.plan import _failures
from ledger import calendar
from ledger.rows import Account, BankAttestation, Member, Plan, Settlement
from tests.cli.consortium_kit import Desk, assessed, paper_in
from tests.ledger.chain import START_DAY
from tests.ledger.test_life import AID


def test_a_period_is_collected_paid_and_attested(at: Desk, tmp_path: Path) -> None:
    claim, _, second = assessed(at, paper_in(tmp_path))
    at.as_(second, f"claim review {claim} --reason 0")
    at.node.step_to_day(2019, 3, 14)
    plan = at.node.current.state.get(Plan, 0)
    last = at.node.current.state.length(Member) - 1
    listed = at.say("plan settlements 0")["settlements"]
    assert listed[-1]["period"] == plan.period
    assert at.say(f"plan settlement 0 {plan.period}")["charged_fen"] == listed[-1]["charged_fen"] > 0
    share = listed[-1]["shares"][0][1]
    collect = f"plan collect 0 --period {plan.period} --first 0 --last {last}"
    first = at.as_("platform", f"{collect} --failed 9 --failed 7")["collection"]
    second_ = at.as_("platform", f"{collect} --failed 7 --corrects {first}")["collection"]
    due = at.node.current.state.get(Settlement, plan.settlement).due_fen
    at.as_("bank", f"plan collected --collection {second_} --amount-fen {due - share} --reference money")
    at.as_("bank", f"member contribute 7 --period {plan.period} --amount-fen {share} --reference single")
    at.as_("bank", f"claim pay {claim} --amount-fen {AID} --reference order")
    at.as_("bank", f"claim paid {claim} --reference order")
    at.as_("bank", "plan pay-fee 0 --amount-fen 100 --reference fee")
    at.as_("bank", "plan advance 0 --amount-fen 50 --reference lent")
    at.as_("bank", "plan repay 0 --amount-fen 50 --reference lent-back")
    day = "-".join(f"{part:02}" for part in calendar.civil_from_day(calendar.day_of(at.node.chain.now_ms)))
    at.as_("bank", f"plan attest 0 --day {day} --balance-fen 1")
    (said,) = at.say("plan attestations --plan 0")["attestations"]
    row = at.node.current.state.get(BankAttestation, 0)
    assert (said["balance_fen"], said["difference_fen"]) == (1, 1 - row.cash_fen)
    assert at.refused("bank", f"plan attest 0 --day {day} --balance-fen {2**62}") == "BAD_FIELD"
    assert at.refused("bank", "plan pay-refund 0 --amount-fen 5 --reference r") == "WRONG_AMOUNT"
    assert at.refused("bank", f"plan refund-surplus 0 --period {plan.period} --amount-fen 5 --reference r") == (
        "WRONG_AMOUNT"
    )
    assert at.refused("bank", "plan sponsor-paid 0 --amount-fen 5 --reference s") == "WRONG_AMOUNT"
    assert "AID" in at.text("plan payments")


def test_failures_are_sent_as_differences() -> None:
    assert _failures().read({"first": 5, "failed": (9, 7, 5)}, {}) == (0, 2, 2)
    assert _failures().read({"first": 5, "failed": ()}, {}) == ()


def settle(at: Desk, tmp_path: Path) -> tuple[Plan, int]:
    """A claim is cleared and settled on 14 March; the plan then, and what its members owe."""
    claim, _, second = assessed(at, paper_in(tmp_path))
    at.as_(second, f"claim review {claim} --reason 0")
    at.node.step_to_day(2019, 3, 14)
    plan = at.node.current.state.get(Plan, 0)
    return plan, at.node.current.state.get(Settlement, plan.settlement).due_fen


def collect(at: Desk, plan: Plan, amount_fen: int) -> None:
    """Everybody's debit is reported, and the bank has the money."""
    last = at.node.current.state.length(Member) - 1
    collection = at.as_("platform", f"plan collect 0 --period {plan.period} --first 0 --last {last}")["collection"]
    at.as_("bank", f"plan collected --collection {collection} --amount-fen {amount_fen} --reference collected")


def test_what_a_member_paid_while_he_was_not_covered_is_refunded(at: Desk, tmp_path: Path) -> None:
    plan, due = settle(at, tmp_path)
    collect(at, plan, due)
    at.node.step_to_day(2019, 3, 25)
    ill_day = "-".join(f"{part:02}" for part in calendar.civil_from_day(START_DAY + 90))
    voided = at.as_("platform", f"claim file --member 9 --tier 1 --illness 1 --diagnosis-day {ill_day}")
    assert voided["amount_fen"] == 0
    refunds = at.node.current.state.get(Account, 0).refunds
    assert at.refused("bank", f"plan pay-refund 0 --amount-fen {refunds + 1} --reference back") == "WRONG_AMOUNT"
    at.as_("bank", f"plan pay-refund 0 --amount-fen {refunds} --reference back")
    assert (refunds > 0, at.node.current.state.get(Account, 0).refunds) == (True, 0)


def test_what_was_collected_too_much_goes_back_to_whom_it_belongs(at: Desk, tmp_path: Path) -> None:
    plan, due = settle(at, tmp_path)
    collect(at, plan, due + 500)
    at.node.step_days(10)
    surplus = f"plan refund-surplus 0 --period {plan.period} --reference back --amount-fen"
    assert at.refused("bank", f"{surplus} 501") == "WRONG_AMOUNT"
    at.as_("bank", f"{surplus} 200")
    assert at.node.current.state.get(Plan, 0).surplus == ((plan.period, 300),)


def test_a_sponsor_pays_for_a_period_that_he_took_over(at: Desk, tmp_path: Path) -> None:
    coming = at.node.current.state.get(Plan, 0).period + 1
    while calendar.notice_ms(coming) < at.node.chain.now_ms:
        coming += 1
    at.as_("platform", f"plan sponsor 0 --period {coming}")
    _, due = settle(at, tmp_path)
    owed = at.node.current.state.get(Account, 0).sponsor
    assert (due, owed > 0) == (0, True), "the members owe nothing for it"
    assert at.refused("bank", f"plan sponsor-paid 0 --amount-fen {owed + 1} --reference gift") == "WRONG_AMOUNT"
    at.as_("bank", f"plan sponsor-paid 0 --amount-fen {owed} --reference gift")
    assert at.node.current.state.get(Account, 0).sponsor == 0
