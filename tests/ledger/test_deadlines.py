"""Deadlines: their order, the backlog beyond D, and that an outage shortens no window (LEDGER §5)."""

import pytest

from ledger import calendar, deadlines
from ledger import transactions as tx
from ledger.blocks import DueKey
from ledger.claim_table import ClaimState
from ledger.deadlines import DeadlineKind, backlog_ms, due, next_due, opened, schedule, upcoming
from ledger.errors import PeerError
from ledger.rows import Claim, Plan, Settlement
from ledger.state import BlockContext, State
from ledger.store import MemoryStore, Overlay
from tests.ledger.chain import Block, Chain
from tests.ledger.test_life import HASH, cleared, enrolled, filing, firms, state_of

HOUR = calendar.MS_PER_HOUR
DAY = calendar.MS_PER_DAY


def empty_state(now_ms: int = 0) -> State:
    return State(Overlay(MemoryStore()), BlockContext(bytes(32), 1, now_ms, now_ms, bytes(32), bytes(64)))


# ---- the queue -------------------------------------------------------------------------------------------------------


def test_deadlines_come_by_time_then_kind_then_id() -> None:
    state = empty_state()
    wanted = [
        (5, DeadlineKind.APPEAL_OVER, 0),
        (7, DeadlineKind.CLOSE, 9),
        (7, DeadlineKind.SETTLE, 2),
        (7, DeadlineKind.APPROVE, 0),
        (7, DeadlineKind.APPROVE, 300),
        (7, DeadlineKind.NOTICE, 0),
        (256, DeadlineKind.CLOSE, 0),
    ]
    for at, kind, subject in reversed(wanted):
        schedule(state, kind, at, subject)
    assert list(upcoming(state)) == [DueKey(at, int(kind), subject) for at, kind, subject in wanted]
    assert next_due(state) == 5
    assert [key.due_ms for key in due(state, 7)] == [5, 7, 7, 7, 7, 7]
    assert list(due(state, 4)) == []


def test_the_order_of_kinds_at_equal_times_is_close_settle_approve_notice() -> None:
    assert [kind.name for kind in DeadlineKind][:4] == ["CLOSE", "SETTLE", "APPROVE", "NOTICE"]


def test_the_backlog_begins_with_the_first_deadline_beyond_d(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "BLOCK_DEADLINES_MAX", 2)
    state = empty_state()
    assert backlog_ms(state) is None
    for at in (10, 20):
        schedule(state, DeadlineKind.APPROVE, at, at)
    assert backlog_ms(state) is None
    schedule(state, DeadlineKind.APPROVE, 30, 30)
    assert backlog_ms(state) == 30


@pytest.mark.parametrize(("late", "counts"), [(0, 0), (HOUR, 0), (HOUR + 1, HOUR + 1), (9 * DAY, 9 * DAY)])
def test_a_window_opens_when_the_event_was_due_unless_its_block_came_more_than_an_hour_late(
    late: int, counts: int
) -> None:
    assert opened(1_000, 1_000 + late) == 1_000 + counts


# ---- a backlog -------------------------------------------------------------------------------------------------------


def filed(chain: Chain, number: int) -> None:
    assert set(chain.block(*(("platform", filing(chain, member)) for member in range(number))).codes) == {"OK"}


def keys(block: Block) -> list[tuple[int, int]]:
    return [(key.kind, key.id) for receipt in block.deadline_receipts if isinstance(key := receipt.subject, DueKey)]


def test_a_backlog_runs_in_order_d_a_block_and_without_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "BLOCK_DEADLINES_MAX", 3)
    chain = enrolled()
    filed(chain, 8)
    due_ms = chain.state.get(Claim, 0).due_ms
    chain.block(("clock", tx.AdvanceClock(due_ms)))
    with pytest.raises(PeerError) as caught:
        chain.block(("platform", tx.Exit(200)))
    assert caught.value.code == "TRANSACTIONS_BEFORE_DEADLINES"
    kind = int(DeadlineKind.INVESTIGATE)
    assert keys(chain.block()) == [(kind, 0), (kind, 1), (kind, 2)]
    assert chain.view.next_due_ms == due_ms, "the rest makes the next block due"
    with pytest.raises(PeerError):
        chain.block(("platform", tx.Exit(200)))
    assert keys(chain.block()) == [(kind, 3), (kind, 4), (kind, 5)]
    last = chain.block(("platform", tx.Exit(200)))
    assert keys(last) == [(kind, 6), (kind, 7)]
    assert last.codes == ["OK"]


def test_exactly_d_deadlines_leave_room_for_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "BLOCK_DEADLINES_MAX", 8)
    chain = enrolled()
    filed(chain, 8)
    chain.block(("clock", tx.AdvanceClock(chain.state.get(Claim, 0).due_ms)))
    block = chain.block(("platform", tx.Exit(200)))
    assert len(keys(block)) == 8
    assert block.codes == ["OK"]


def test_a_backlog_in_many_blocks_ends_like_one_in_a_single_block(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = []
    for most in (1, 1_000):
        monkeypatch.setattr(deadlines, "BLOCK_DEADLINES_MAX", most)
        chain = enrolled()
        filed(chain, 6)
        for day in (4, 60, 120):
            chain.step_to(chain.now_ms + day * DAY)
        outcomes.append([(row.state, row.passed_over != ()) for _, row in chain.state.rows(Claim)])
        assert chain.state.get(Plan, 0).period > 30
    assert outcomes[0] == outcomes[1]


# ---- an outage -------------------------------------------------------------------------------------------------------


def jump(chain: Chain, to_ms: int) -> Block:
    """Nothing happened until ``to_ms``; returns the first block after it."""
    chain.ok("clock", tx.AdvanceClock(to_ms))
    return chain.block()


def test_a_late_notice_keeps_its_number_and_its_windows() -> None:
    chain = enrolled()
    chain.step_to_day(2019, 3, 7)
    claim = cleared(chain)
    chain.step_to_day(2019, 3, 20)
    period = chain.state.get(Plan, 0).period + 1
    late = calendar.settle_ms(period) + 30 * DAY
    block = jump(chain, late)
    now = block.applied.ledger_time_ms
    assert [kind for kind, _ in keys(block)] == [DeadlineKind.CLOSE, DeadlineKind.NOTICE]
    plan = chain.state.get(Plan, 0)
    assert (plan.period, plan.due_ms) == (period, now + 7 * DAY)
    row = chain.state.get(Claim, claim)
    assert (row.period, row.due_ms) == (period, now + 3 * DAY), "three days to object stay three days"
    chain.quiet()
    chain.step_to(now + 7 * DAY)
    assert state_of(chain, claim) is ClaimState.SETTLED
    assert chain.state.get(Plan, 0).due_ms == now + 14 * DAY


def test_after_a_late_close_the_next_notice_runs_in_the_same_block() -> None:
    chain = enrolled()
    chain.step_to_day(2019, 3, 14)
    period = chain.state.get(Plan, 0).period
    block = jump(chain, calendar.notice_ms(period + 1) + 20 * DAY)
    assert [kind for kind, _ in keys(block)] == [DeadlineKind.CLOSE, DeadlineKind.NOTICE]
    assert chain.state.get(Plan, 0).period == period + 1
    assert chain.state.get(Plan, 0).due_ms == block.applied.ledger_time_ms + 7 * DAY


def test_a_year_of_outage_loses_no_period() -> None:
    chain = enrolled()
    first = chain.state.get(Plan, 0).period
    jump(chain, chain.now_ms + 365 * DAY)
    for _ in range(60):
        chain.quiet()
        due_ms = chain.view.next_due_ms
        assert due_ms is not None
        chain.step_to(due_ms)
    periods = [row.period for _, row in chain.state.rows(Settlement)]
    assert periods == list(range(periods[0], periods[0] + len(periods)))
    assert first in periods
    closed = [row for _, row in chain.state.rows(Settlement) if row.stage == 3]
    assert all(row.settled_ms - row.noticed_ms >= 7 * DAY for row in closed)
    assert all(row.closed_ms - row.settled_ms >= 7 * DAY for row in closed)


def test_a_notice_an_hour_late_counts_from_when_it_was_due_and_later_from_its_block() -> None:
    for late, counts in ((HOUR - 10_000, True), (HOUR + 10_000, False)):
        chain = enrolled()
        claim = cleared(chain)
        due_ms = chain.state.get(Plan, 0).due_ms
        block = jump(chain, due_ms + late)
        start = due_ms if counts else block.applied.ledger_time_ms
        assert chain.state.get(Claim, claim).due_ms == start + 3 * DAY


def test_a_claim_that_left_its_state_has_no_deadline_left() -> None:
    chain = enrolled()
    claim, _ = chain.ok("platform", filing(chain))
    chain.ok("hospital", tx.Diagnose(claim, HASH))
    chain.step_to(chain.now_ms + 4 * DAY)
    chain.ok(firms(chain, claim)[0], tx.Assess(claim, HASH))
    kinds = [key.kind for key in upcoming(chain.state) if key.kind > DeadlineKind.NOTICE]
    assert kinds == [DeadlineKind.REVIEW_OVERDUE]
    chain.ok(firms(chain, claim)[1], tx.Review(claim, 0))
    assert [key.kind for key in upcoming(chain.state)] == [DeadlineKind.CLOSE], "the plan's, and no claim's"
