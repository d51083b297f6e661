"""What a settlement's row says at each of its three stages, and where its guards stand: asked for by mutants."""

from datetime import date

import pytest

from ledger import journal, settlement
from ledger.deadlines import opened
from ledger.errors import InvariantViolation
from ledger.limits import FEN_MAX
from ledger.params import TierBand
from ledger.rows import NONE, Account, Frozen, Plan, Settlement
from tests.ledger.lockstep import Lockstep
from tests.ledger.lockstep_kit import claim, with_params
from tests.ledger.test_settlement import noticed, quiet


def numbers(row: Settlement) -> dict[str, object]:
    """The row without what names it and what was counted."""
    named = {"plan", "period", "stage", "version", "noticed_ms", "counts", "frozen_first", "frozen_count"}
    return {name: getattr(row, name) for name in Settlement.__struct_fields__ if name not in named}


def test_a_notice_opens_a_row_in_which_nothing_has_happened() -> None:
    run = quiet()
    run.run([("turn", 0, 0)])
    row = run.period_row
    assert (row.stage, row.period, row.version, row.counts) == (settlement.NOTICED, 24, 0, ((1, 10),))
    assert row.noticed_ms == opened(run.plan.due_ms, run.state.block.ledger_time_ms)
    empty = {"sponsored": False, "upper_bound": ((1, 0),), "shares": (), "would_be": (), "struck": (), "index": ()}
    found = numbers(row)
    assert {name: found.pop(name) for name in empty} == empty
    assert set(found.values()) == {0}


def test_the_notice_publishes_how_many_claims_and_the_bound() -> None:
    run = quiet()
    run.hand.notice()
    run.state.put(0, settlement.notice(run.state, 0, run.plan))
    settlement.announce(run.state, 0, run.plan, [(0, claim(1_000)), (1, claim(500))])
    assert (run.period_row.claims, run.period_row.upper_bound) == (2, ((1, 162),))


def test_a_settled_row_says_what_was_divided_and_when() -> None:
    run = quiet()
    noticed(run, 1_000)
    now = run.state.block.ledger_time_ms
    run.state.put(0, settlement.settle(run.state, 0, run.plan, [(0, claim(700)), (1, claim(300))]))
    row = run.period_row
    assert (row.stage, row.claims, row.aid_fen, row.fee_fen) == (settlement.SETTLED, 2, 1_000, 80)
    assert (row.settled_ms, row.closed_ms) == (opened(run.plan.due_ms, now), 0)
    assert (row.charged_fen, row.due_fen, row.struck_fen, row.excess_fen) == (1_080, 1_080, 0, 0)


def test_a_closed_row_owes_nothing_and_says_when_and_what_was_debited() -> None:
    run = quiet()
    run.run([("turn", 1_000, 0), ("turn", 0, 9)])
    run._report(3, 3, 8, None)
    row_id = run.plan.settlement
    run.run([("turn", 0, 0)])
    row = run.state.get(Settlement, row_id)
    assert (row.stage, row.due_fen, row.arrears_debited_fen) == (settlement.CLOSED, 0, 0)
    assert row.closed_ms == opened(run.plan.due_ms, run.state.block.ledger_time_ms)
    run.run([("turn", 1_000, 0), ("turn", 0, 9)])
    row_id = run.plan.settlement
    run.run([("turn", 0, 0)])
    assert run.state.get(Settlement, row_id).arrears_debited_fen == 108


def test_the_charges_of_the_struck_stand_in_the_row() -> None:
    run = quiet()
    run.run([("wait", 125, 0), ("turn", 1_000, 0), ("die", 2, 30)])
    run.run([("turn", 0, 9)])
    row = run.period_row
    assert (row.charged_fen, row.struck_fen, row.due_fen) == (1_080, 108, 972)


def test_a_class_of_which_nobody_is_counted_is_not_asked() -> None:
    run = quiet(0)
    run.run([("sponsor", 0, 0), ("turn", 0, 0)])
    run.state.put(0, settlement.settle(run.state, 0, run.plan, []))
    assert (run.period_row.shares, run.period_row.would_be) == ((), ())


def test_a_claim_at_the_case_cap_is_noticed_and_one_fen_more_is_not() -> None:
    tiers = (TierBand(0, 0, 10_000),)
    for above in (0, 1):
        run = quiet(20, tiers=tiers, case_cap_fen=1_000)
        run.hand.notice()
        run.state.put(0, settlement.notice(run.state, 0, run.plan))
        most = settlement.capacity(run.state, 0, run.plan, ((1, 20),), with_params(tiers=tiers, case_cap_fen=1_000))
        if above:
            with pytest.raises(InvariantViolation, match="case cap"):
                settlement.announce(run.state, 0, run.plan, [(0, claim(most + 1))])
        else:
            settlement.announce(run.state, 0, run.plan, [(0, claim(most))])


def test_a_single_fen_of_aid_counts_as_a_claim_for_the_case_cap() -> None:
    run = quiet(10, tiers=(TierBand(0, 0, 10_000),), case_cap_fen=1_000)
    with pytest.raises(InvariantViolation, match="case cap"):
        noticed(run, 1)


def test_a_plan_that_runs_off_holds_nothing_back() -> None:
    run = quiet(1, case_cap_fen=1)
    ending = Plan(**{name: getattr(run.plan, name) for name in Plan.__struct_fields__} | {"ends_day": 1})
    assert settlement.capacity(run.state, 0, ending, ((1, 1),), with_params(case_cap_fen=1)) == FEN_MAX
    assert settlement.capacity(run.state, 0, run.plan, ((1, 1),), with_params(case_cap_fen=1)) == 0


def test_the_vote_on_the_end_is_asked_for_once_when_the_membership_falls() -> None:
    tiers = (TierBand(0, 0, 10_000),)
    run = quiet(11, tiers=tiers, case_cap_fen=1_000)
    turns = [("turn", 0, 0)] * 3
    run.run([("turn", 0, 0)])
    assert settlement.fell_below(run.state, run.plan) is False, "there was no notice before"
    run.run([*turns[1:], ("leave", 0, 0), ("turn", 0, 0)])
    assert settlement.fell_below(run.state, run.plan) is True
    ending = Plan(**{name: getattr(run.plan, name) for name in Plan.__struct_fields__} | {"ends_day": 1})
    assert settlement.fell_below(run.state, ending) is False
    run.run([*turns[1:], ("turn", 0, 0)])
    assert settlement.fell_below(run.state, run.plan) is False, "it was below already"


@pytest.mark.parametrize("lost", [1, 9])
def test_frozen_cohorts_that_do_not_add_up_stop_the_node(lost: int) -> None:
    run = quiet()
    noticed(run, 1_000)
    row = run.period_row
    frozen = run.state.get(Frozen, row.frozen_first)
    (start, base, count), *rest = frozen.counts
    fields = {name: getattr(frozen, name) for name in Frozen.__struct_fields__}
    run.state.put(row.frozen_first, Frozen(**fields | {"counts": ((start, base, count - lost), *rest)}))
    with pytest.raises(InvariantViolation, match="frozen cohorts count"):
        settlement.settle(run.state, 0, run.plan, [])


def test_a_base_that_was_never_charged_is_seen_before_any_money_moves() -> None:
    run = Lockstep([(date(2018, 1, 1), with_params(year_cap_fen=200))], 24, (1990 * 12,))
    run.run([("join", 10, 0)])
    noticed(run, 1_000)
    row = run.period_row
    frozen = run.state.get(Frozen, row.frozen_first)
    fields = {name: getattr(frozen, name) for name in Frozen.__struct_fields__}
    ((start, _, count),) = frozen.counts
    run.state.put(row.frozen_first, Frozen(**fields | {"counts": ((start, 150, count),)}))
    run.state.put(0, settlement.settle(run.state, 0, run.plan, [(0, claim(1_000))]))
    assert (run.period_row.charged_fen, run.period_row.excess_fen) == (500, 580)


def test_the_bad_debt_of_the_notice_is_that_of_the_account() -> None:
    run = quiet()
    journal.post(run.state, 0, "bad_debt", "refunds", 77)
    plan = settlement.notice(run.state, 0, run.plan)
    assert run.state.get(Settlement, plan.settlement).bad_debt_noticed == 77 == run.state.get(Account, 0).bad_debt
    assert plan.last_charged == NONE


def test_the_numbers_of_the_stages_are_in_rows_and_never_change() -> None:
    assert (settlement.NOTICED, settlement.SETTLED, settlement.CLOSED) == (1, 2, 3)
    assert settlement.SPONSORED_AHEAD_MAX == 24
