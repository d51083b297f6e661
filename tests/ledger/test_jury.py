"""The jury: draw, hidden ballots, quorum; anyone recomputes the draw from public data alone (LEDGER §7)."""

from collections import Counter
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger import draws, jury
from ledger import transactions as tx
from ledger.claim_table import ClaimState
from ledger.disputes import Exclusion, Outcome, Stage
from ledger.jury import Vote, commitment, draw_panel, recompute_draw, verdict
from ledger.rows import Ballot, Draw, Juror, Member, Plan
from ledger.state import BlockContext, State
from ledger.store import Overlay
from tests.ledger.chain import Chain
from tests.ledger.claim_kit import (
    PARAMS,
    before_jury,
    check_whole,
    commit,
    dispute,
    enrolled,
    noticed,
    objected,
    panel,
    person,
    reveal,
    row,
    voted,
)
from tests.ledger.test_life import CLAIMANT, HASH, days, state_of


def drawn(jurors: int = 12, member: int = CLAIMANT) -> tuple[Chain, int]:
    """A claim whose jury is drawn."""
    chain = enrolled(jurors=jurors)
    claim = noticed(chain, member)
    objected(chain, claim)
    before_jury(chain, claim)
    return chain, claim


# ---- jurors ----------------------------------------------------------------------------------------------------------


def test_jurors_are_current_members_with_their_own_keys_who_passed_the_exam() -> None:
    chain = enrolled()
    assert chain.refused("platform", tx.PassExam(CLAIMANT)) == "NO_OWN_KEY"
    assert chain.refused("platform", tx.PassExam(999)) == "UNKNOWN_MEMBER"
    chain.ok("person 1", tx.Exit(person(1)))
    assert chain.refused("platform", tx.PassExam(person(1))) == "NOT_A_CURRENT_MEMBER"
    assert chain.ok("platform", tx.PassExam(person(2))) == (0,)
    day = chain.state.get(Juror, 0).exam_day
    days(chain, 3)
    assert chain.ok("platform", tx.PassExam(person(2))) == (0,), "one row a member"
    assert chain.state.get(Juror, 0).exam_day == day + 3
    check_whole(chain)


# ---- the draw --------------------------------------------------------------------------------------------------------


def test_the_draw_is_recomputed_from_headers_and_the_disputes_row_alone() -> None:
    chain, claim = drawn()
    found = dispute(chain, claim)
    opened = chain.state.get(Draw, found.draw)
    heights = range(opened.opened_height + 1, opened.closed_height + 1)
    beacons = [chain.blocks[height - 1].header.beacon for height in heights]
    seed = draws.seed_of(draws.running_of(beacons), claim)
    assert found.seed == seed
    assert recompute_draw(seed, found.jurors, found.panel, dict(found.rejected)) == (found.drawn, found.rejected)
    hidden = recompute_draw(seed, found.jurors, found.panel, {found.drawn[0]: int(Exclusion.FAMILY)})
    assert hidden != (found.drawn, found.rejected), "nobody can be left out silently"


def test_everybody_who_may_not_judge_is_rejected_with_the_reason() -> None:
    chain = enrolled(jurors=14)
    claim = noticed(chain, person(0))
    chain.ok("person 2", tx.Exit(person(2)))
    chain.ok("platform", tx.PassExam(person(3)))
    objected(chain, claim, (1, 21, 22))
    chain.ok("bank", tx.ExcludeJuror(claim, person(4), Exclusion.FAMILY))
    chain.ok("platform", tx.PassExam(person(15)))
    before_jury(chain, claim)
    chain.ok("platform", tx.PassExam(person(16)))
    found = dispute(chain, claim)
    assert found.jurors == 15, "who registers after the draw was opened is not drawn"
    expected = {
        0: Exclusion.CLAIMANT,
        1: Exclusion.OBJECTOR,
        2: Exclusion.NOT_ACTIVE,
        3: Exclusion.EXAM_TOO_RECENT,
        4: Exclusion.FAMILY,
        14: Exclusion.EXAM_TOO_RECENT,
    }
    assert dict(found.rejected).items() <= expected.items()
    assert sorted(found.drawn) == list(range(5, 14)), "panel = the nine who are eligible"
    check_whole(chain)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"plan": 7}, Exclusion.OTHER_PLAN),
        ({"state": 6}, Exclusion.NOT_ACTIVE),
        ({"fail_period": 27, "fails": 1, "arrears_fen": 5}, Exclusion.ARREARS),
    ],
)
def test_members_of_other_plans_the_suspended_and_debtors_do_not_judge(
    change: dict[str, int], reason: Exclusion
) -> None:
    chain, claim = drawn()
    state = _state(chain)
    member = state.get(Member, person(5))
    plan = replace(state.get(Plan, 0), last_charged=27)
    state.put(person(5), replace(member, **change))
    found = jury._unfit(state, 5, row(chain, claim), dispute(chain, claim), plan, PARAMS)
    assert found == reason


def test_whoever_sits_on_three_juries_is_not_drawn_for_a_fourth() -> None:
    chain, claim = drawn()
    state = _state(chain)
    plan = state.get(Plan, 0)
    for open_cases, reason in ((2, 0), (3, Exclusion.OPEN_CASES)):
        state.put(5, replace(state.get(Juror, 5), open_cases=open_cases))
        assert jury._unfit(state, 5, row(chain, claim), dispute(chain, claim), plan, PARAMS) == reason


@pytest.mark.parametrize(("ago", "reason"), [(30, 0), (29, Exclusion.EXAM_TOO_RECENT)])
def test_the_exam_lies_30_days_back(ago: int, reason: int) -> None:
    chain, claim = drawn()
    state, found = _state(chain), dispute(chain, claim)
    state.put(5, replace(state.get(Juror, 5), open_cases=0, exam_day=found.day - ago))
    assert jury._unfit(state, 5, row(chain, claim), found, state.get(Plan, 0), PARAMS) == reason


def _state(chain: Chain) -> State:
    now = chain.now_ms
    return State(Overlay(chain.store), BlockContext(bytes(32), 99, now, now, bytes(32), bytes(64)))


@pytest.mark.parametrize(("jurors", "expected"), [(4, ClaimState.EXPERT), (5, ClaimState.JURY)])
def test_with_fewer_eligible_jurors_than_the_quorum_the_experts_judge_at_once(
    jurors: int, expected: ClaimState
) -> None:
    chain = enrolled(jurors=jurors)
    claim = noticed(chain)
    objected(chain, claim)
    days(chain, PARAMS.notice_days + 1)
    assert state_of(chain, claim) is expected
    found = dispute(chain, claim)
    assert len(found.drawn) == jurors, "panel = min(parameter, eligible)"
    assert found.outcome == (Outcome.NO_PANEL if expected is ClaimState.EXPERT else Outcome.NONE)
    check_whole(chain)


@given(st.binary(min_size=32, max_size=32), st.integers(0, 60), st.integers(1, 20), st.sets(st.integers(0, 59)))
@settings(max_examples=60, deadline=None)
def test_a_panel_is_as_large_as_it_can_be_distinct_and_fit(
    seed: bytes, jurors: int, size: int, unfit: set[int]
) -> None:
    chosen, rejected = draw_panel(seed, jurors, size, lambda juror: 3 if juror in unfit else 0)
    eligible = set(range(jurors)) - unfit
    assert len(chosen) == len(set(chosen)) == min(size, len(eligible))
    assert set(chosen) <= eligible
    assert {juror for juror, _ in rejected} <= unfit & set(range(jurors))
    assert recompute_draw(seed, jurors, size, dict(rejected)) == (chosen, rejected)


def test_every_juror_is_drawn_alike() -> None:
    counts: Counter[int] = Counter()
    for number in range(1_000):
        counts.update(draw_panel(sha256(number.to_bytes(4, "big")).digest(), 20, 5, lambda _: 0)[0])
    expected = 1_000 * 5 / 20
    assert len(counts) == 20
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < 43.8, "0.1 % of 19 degrees"


def test_the_scan_finds_the_one_who_is_fit_among_very_many() -> None:
    chosen, rejected = draw_panel(bytes(32), 1_000, 20, lambda juror: int(juror != 777))
    assert chosen == (777,)
    assert len(rejected) == 999


# ---- ballots ---------------------------------------------------------------------------------------------------------


def test_a_ballot_stays_hidden_until_the_commit_window_is_over() -> None:
    chain, claim = drawn()
    first, second, *_ = panel(chain, claim)
    assert commit(chain, claim, first, Vote.CLEAR) == "OK"
    assert commit(chain, claim, first, Vote.REFUSE) == "ALREADY_VOTED"
    assert reveal(chain, claim, first, Vote.CLEAR) == "WRONG_WINDOW"
    assert chain.refused(f"person {second}", tx.CommitBallot(person(second), claim, b"short")) == "BAD_FIELD"
    chain.step_to(row(chain, claim).due_ms)
    assert dispute(chain, claim).stage == Stage.REVEAL
    assert commit(chain, claim, second, Vote.CLEAR) == "WRONG_WINDOW"
    assert reveal(chain, claim, second, Vote.CLEAR) == "NO_BALLOT"
    assert reveal(chain, claim, first, Vote.REFUSE) == "BALLOT_MISMATCH"
    assert reveal(chain, claim, first, 3) == "BAD_FIELD"
    assert chain.refused(f"person {first}", tx.RevealBallot(person(first), claim, 1, b"")) == "BAD_FIELD"
    assert reveal(chain, claim, first, Vote.CLEAR) == "OK"
    assert reveal(chain, claim, first, Vote.CLEAR) == "ALREADY_VOTED"
    assert chain.state.get(Ballot, 0).vote == Vote.CLEAR
    chain.step_to(row(chain, claim).due_ms)
    assert dispute(chain, claim).stage == Stage.ENDED
    assert reveal(chain, claim, first, Vote.CLEAR) == "NO_SUCH_TRANSITION"
    check_whole(chain)


def test_only_those_who_were_drawn_vote_and_each_for_himself() -> None:
    chain, claim = drawn()
    outside = next(number for number in range(12) if number not in panel(chain, claim))
    inside = panel(chain, claim)[0]
    assert commit(chain, claim, outside, Vote.CLEAR) == "NOT_ON_THE_JURY"
    assert chain.refused("person 20", tx.CommitBallot(person(20), claim, HASH)) == "NOT_ON_THE_JURY"
    assert chain.refused(f"person {outside}", tx.CommitBallot(person(inside), claim, HASH)) == "NOT_PERMITTED"
    assert chain.refused("platform", tx.CommitBallot(person(inside), claim, HASH)) == "NOT_PERMITTED"


def test_a_commitment_is_bound_to_dispute_and_juror_so_nobody_copies_another() -> None:
    hashes = {
        commitment(dispute_id, juror, vote, salt)
        for dispute_id in (1, 2)
        for juror in (1, 2)
        for vote in Vote
        for salt in (bytes(16), b"1" * 16)
    }
    assert len(hashes) == 16


C, R = Vote.CLEAR, Vote.REFUSE


@pytest.mark.parametrize(
    ("votes", "state", "outcome"),
    [
        ([C] * 5 + [R] * 4, ClaimState.CLEARED, Outcome.CLEARED),
        ([C] * 3 + [R] * 4, ClaimState.REFUSED_FINAL, Outcome.REFUSED),
        ([C] * 3 + [R] * 3, ClaimState.EXPERT, Outcome.NO_QUORUM),
        ([C] * 4, ClaimState.EXPERT, Outcome.NO_QUORUM),
        ([C] * 5, ClaimState.CLEARED, Outcome.CLEARED),
        ([], ClaimState.EXPERT, Outcome.NO_QUORUM),
    ],
)
def test_a_quorum_of_valid_ballots_and_more_than_half_decide(
    votes: list[Vote], state: ClaimState, outcome: Outcome
) -> None:
    chain, claim = drawn()
    voted(chain, claim, votes)
    assert (state_of(chain, claim), dispute(chain, claim).outcome) == (state, outcome)
    assert row(chain, claim).reason == (jury.REFUSED_BY_JURY if outcome == Outcome.REFUSED else 0)
    check_whole(chain)


def test_ballots_that_are_not_opened_do_not_count() -> None:
    chain, claim = drawn()
    seats = panel(chain, claim)
    for number in seats:
        assert commit(chain, claim, number, Vote.CLEAR) == "OK"
    chain.step_to(row(chain, claim).due_ms)
    for number in seats[:4]:
        assert reveal(chain, claim, number, Vote.CLEAR) == "OK"
    chain.step_to(row(chain, claim).due_ms)
    assert state_of(chain, claim) is ClaimState.EXPERT


@given(st.integers(0, 300), st.integers(0, 300), st.integers(1, 300))
def test_the_verdict_by_brute_force(clear: int, refuse: int, quorum: int) -> None:
    ballots = [1] * clear + [0] * refuse
    expected = Outcome.NO_QUORUM
    if len(ballots) >= quorum:
        if ballots.count(1) > len(ballots) / 2:
            expected = Outcome.CLEARED
        elif ballots.count(0) > len(ballots) / 2:
            expected = Outcome.REFUSED
    assert verdict(clear, refuse, quorum) == expected


def test_the_windows_are_48_and_24_hours_from_the_draw() -> None:
    chain, claim = drawn()
    found = row(chain, claim)
    assert found.due_ms - found.opened_ms == PARAMS.jury_commit_hours * 3_600_000
    chain.step_to(found.due_ms)
    later = row(chain, claim)
    assert (later.opened_ms, later.due_ms - later.opened_ms) == (found.due_ms, PARAMS.jury_reveal_hours * 3_600_000)
