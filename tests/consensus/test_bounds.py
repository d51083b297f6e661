"""No peer can make the core grow: every buffer keyed by a height or round that a peer chooses is bounded."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus import effects as fx
from consensus import events as ev
from consensus import messages as wire
from consensus.candidates import CANDIDATES_MAX, Candidate, Candidates
from consensus.early import EarlyMessages
from consensus.messages import SignedCommit, SignedPrepare, SignedRoundChange
from consensus.repair import REPAIRS_MAX
from consensus.tally import ROUNDS_MAX, Tally, VoteBox
from ledger.blocks import header_hash
from ledger.limits import VALIDATORS_MAX
from ledger.votes import Commit, Prepare, RoundChange
from tests.consensus.harness import make_block, make_context
from tests.consensus.solo import Solo, follower, leader, of

SIG = bytes(64)
X = b"\1" * 32


def prepare(index: int, round: int, hash: bytes = X, height: int = 1) -> SignedPrepare:
    return SignedPrepare(Prepare(height, round, hash), index, SIG)


def change(index: int, round: int) -> SignedRoundChange:
    return SignedRoundChange(RoundChange(1, round, -1, b""), index, SIG)


def test_of_future_rounds_only_the_highest_of_each_validator_is_kept() -> None:
    box: VoteBox[SignedPrepare] = VoteBox(4)
    for round in (5, 9, 7, 100_000, 50):
        box.add(prepare(0, round), current_round=2)
    box.add(prepare(1, 6), current_round=2)
    assert len(box) == 2
    assert (box.newest(0), box.newest(1)) == (100_000, 6)


def test_past_rounds_are_kept_up_to_the_limit_and_the_newest_stay() -> None:
    box: VoteBox[SignedPrepare] = VoteBox(4)
    for round in range(ROUNDS_MAX):
        assert box.add(prepare(0, round), current_round=1_000)
    assert len(box) == ROUNDS_MAX
    assert box.add(prepare(0, ROUNDS_MAX), current_round=1_000)
    assert len(box) == ROUNDS_MAX
    assert not box.holds(prepare(0, 0))
    assert not box.add(prepare(0, 0), current_round=1_000)


def test_of_one_round_two_different_votes_are_kept_never_a_third() -> None:
    box: VoteBox[SignedPrepare] = VoteBox(4)
    for byte in range(5):
        box.add(prepare(0, 0, bytes([byte]) * 32), current_round=0)
    assert len(box) == 2


def test_of_round_changes_only_the_highest_of_each_validator_is_kept() -> None:
    tally = Tally(4, 0)
    for round in (1, 7, 3, 2**31 - 1, 5):
        tally.add(change(0, round), 0)
    assert [c.message.round for c in tally.changes.values()] == [2**31 - 1]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 300), st.integers(0, 3)), max_size=250), st.integers(0, 200)
)
def test_whatever_a_peer_sends_the_box_stays_within_its_bound(votes: list[tuple[int, int, int]], current: int) -> None:
    box: VoteBox[SignedPrepare] = VoteBox(4)
    for index, round, byte in votes:
        box.add(prepare(index, round, bytes([byte]) * 32), current)
    assert len(box) <= 4 * (ROUNDS_MAX + 1) * 2
    for index in range(4):
        rounds = {vote.message.round for vote in box.by(index)}
        assert sum(1 for round in rounds if round > current) <= 1
        assert box.newest(index) == max(rounds, default=-1)


def test_one_faulty_validator_far_ahead_moves_nobody() -> None:
    solo = Solo(follower())
    for round in range(1, 500):
        solo.receive(leader(), solo.change(leader(), round * 1_000_000))
    assert solo.core.round == 0
    assert len(solo.core.state.open.tally.changes) == 1


def test_early_messages_are_one_of_each_kind_and_peer_the_highest_round() -> None:
    early = EarlyMessages()
    for round in (0, 5, 3):
        early.keep(b"peer", 0, prepare(0, round, height=2))
        early.keep(b"peer", 0, SignedCommit(Commit(2, round, X), 0, SIG))
    assert len(early) == 2
    assert {
        message.message.round for _, _, message in early.all() if not isinstance(message, wire.PreparedRoundChange)
    } == {5}


def test_early_messages_are_of_a_bounded_number_of_peers() -> None:
    early = EarlyMessages()
    for peer in range(VALIDATORS_MAX + 10):
        early.keep(peer.to_bytes(4, "big"), 0, prepare(0, 0, height=2))
    assert len(early) == VALIDATORS_MAX


@pytest.mark.parametrize("height", [0, 3, 2**62])
def test_other_heights_are_not_kept_at_all(height: int) -> None:
    solo = Solo(follower())
    solo.receive(leader(), prepare(leader(), 0, height=height) if height else solo.prepare(leader(), X, height=3))
    assert len(solo.core.state.early) == 0
    assert len(solo.core.state.open.tally.prepares) == 0


def test_the_next_height_is_heard_from_validators_links_only() -> None:
    solo = Solo(follower())
    solo.step(ev.Received(b"stranger", None, prepare(leader(), 0, height=2)))
    assert len(solo.core.state.early) == 0


def candidate(number: int) -> Candidate:
    context = make_context(4, 0, [])
    block = make_block(
        1, context.parent_hash, context.key(0), context.parent_certificate, (), context.validators, number
    )
    found = Candidates(context).examine(block)
    assert isinstance(found, Candidate)
    return found


def test_candidates_are_bounded_pinned_ones_stay_longest_the_locked_one_always() -> None:
    candidates = Candidates(make_context(4, 0, []))
    first, pinned, *rest = [candidate(number) for number in range(CANDIDATES_MAX + 6)]
    pinned.pinned = True
    for one in (first, pinned, *rest):
        candidates.keep(one, locked=first.hash)
    assert len(candidates) == CANDIDATES_MAX
    assert candidates.get(first.hash) is first
    assert candidates.get(pinned.hash) is pinned
    assert candidates.get(rest[0].hash) is None
    assert candidates.get(rest[-1].hash) is rest[-1]


def test_unjustified_proposals_leave_no_block_behind() -> None:
    solo = Solo(follower())
    lead = leader()
    rounds = [round for round in range(1, 200) if solo.context.proposer(round) == lead]
    for round in rounds:
        effects = solo.receive(lead, solo.proposal(solo.block(lead, round), round))
        assert [blame.code for blame in of(fx.Blame, effects)] == ["justification"]
    assert len(solo.core.state.open.candidates) == 0
    assert not solo.core.state.open.accepted


def test_a_block_that_was_not_asked_for_is_not_kept() -> None:
    solo = Solo(follower())
    solo.receive(leader(), wire.Block(1, solo.block(leader())))
    assert len(solo.core.state.open.candidates) == 0


def test_a_peer_gets_a_bounded_number_of_repairs_a_period() -> None:
    solo = Solo(follower())
    proposal = solo.proposal(solo.block(leader()))
    solo.receive(leader(), proposal)
    request = wire.GetBlock(1, header_hash(proposal.block.header))
    sent = sum(len(of(fx.Send, solo.receive(leader(), request))) for _ in range(REPAIRS_MAX + 10))
    assert sent == REPAIRS_MAX
    solo.step(ev.Timeout(ev.Timer(ev.TimerKind.RESEND, 1, 0)))
    assert of(fx.Send, solo.receive(leader(), request))


def test_transactions_asked_for_are_found_by_position() -> None:
    context = make_context(4, 0, [])
    transactions = tuple(b"%d" % number for number in range(20))
    block = make_block(
        1, context.parent_hash, context.key(0), context.parent_certificate, transactions, context.validators
    )
    found = Candidates(context).examine(block)
    assert isinstance(found, Candidate)
    found.fill([raw if position % 3 else None for position, raw in enumerate(transactions)])
    missing = found.missing_bitmap()
    full = Candidates(context).examine(block)
    assert isinstance(full, Candidate)
    full.fill(transactions)
    assert full.complete
    assert full.wanted_of(missing) == transactions[::3]
    assert found.take(full.wanted_of(missing)) == 7
    assert found.complete
    assert found.transactions == transactions
    assert full.wanted_of(b"\xff" * 1_250) == transactions


def test_a_quorum_that_came_together_is_kept_beside_whatever_its_signers_said_alone() -> None:
    box: VoteBox[SignedPrepare] = VoteBox(4)
    for index in range(3):
        for number in (2, 3, 4):
            box.add(prepare(index, 0, bytes([number]) * 32), current_round=0)
    box.add_set([prepare(index, 0) for index in range(3)])
    assert sorted(box.of(0, X)) == [0, 1, 2] and box.holds(prepare(1, 0))
    assert (0, X) in box.quorums() and box.holders(X) == {0, 1, 2}


def test_less_than_a_quorum_a_signer_twice_or_two_values_are_no_set() -> None:
    for votes in (
        [prepare(0, 0), prepare(1, 0)],
        [prepare(0, 0), prepare(1, 0), prepare(1, 0)],
        [prepare(0, 0), prepare(1, 0), prepare(2, 1)],
        [prepare(0, 0), prepare(1, 0), prepare(2, 0, b"\2" * 32)],
        [],
    ):
        box: VoteBox[SignedPrepare] = VoteBox(4)
        box.add_set(votes)
        assert not box.quorums() and not box.of(0, X)


def test_of_sets_the_highest_rounds_are_kept() -> None:
    box: VoteBox[SignedPrepare] = VoteBox(4)
    for round in range(ROUNDS_MAX + 1):
        box.add_set([prepare(index, round) for index in range(3)])
    assert not box.has_quorum(0, X) and not box.of(0, X)
    assert [round for round, _ in box.quorums()] == list(range(1, ROUNDS_MAX + 1))


def test_a_set_outlives_the_votes_that_make_room() -> None:
    box: VoteBox[SignedPrepare] = VoteBox(4)
    for index in range(3):
        box.add(prepare(index, 0), current_round=ROUNDS_MAX)
    box.add_set([prepare(index, 0) for index in range(3)])
    for round in range(1, ROUNDS_MAX + 1):
        box.add(prepare(0, round), current_round=ROUNDS_MAX)
    assert box.has_quorum(0, X) and sorted(box.of(0, X)) == [0, 1, 2]
