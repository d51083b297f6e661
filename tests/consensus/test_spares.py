"""Votes that nothing waits for: kept unverified, counted nowhere, verified when they would be evidence (§4)."""

from collections.abc import Callable

from consensus import effects as fx
from consensus import messages as wire
from consensus.scheme import Scheme
from consensus.tally import Tally
from ledger.votes import Commit, Prepare, RoundChange
from tests.consensus.harness import FAST
from tests.consensus.solo import Solo, follower, leader, of, others

LEADER, FOLLOWER = leader(), follower()
SECOND, THIRD = others(LEADER, FOLLOWER)
OTHER = bytes([7]) * 32


class Counting:
    """A scheme that counts what it verifies."""

    def __init__(self) -> None:
        self.verified = 0

    def scheme(self) -> Scheme:
        verify: Callable[[bytes, bytes, bytes], bool] = FAST.verify

        def counted(key: bytes, digest: bytes, signature: bytes) -> bool:
            self.verified += 1
            return verify(key, digest, signature)

        return Scheme(FAST.public_key, FAST.sign, counted, FAST.prove)


def prepared() -> tuple[Solo, bytes, Counting]:
    """A follower that has its quorum of Prepares: the leader's, the second's, its own."""
    counting = Counting()
    solo = Solo(FOLLOWER)
    solo.core.state.scheme = counting.scheme()
    proposal = solo.proposal(solo.block(LEADER))
    hash = proposal.message.hash
    solo.receive(LEADER, proposal)
    solo.receive(LEADER, solo.prepare(LEADER, hash))
    solo.receive(SECOND, solo.prepare(SECOND, hash))
    return solo, hash, counting


def test_of_four_validators_the_fourth_prepare_and_the_fourth_commit_are_not_verified() -> None:
    solo, hash, counting = prepared()
    assert counting.verified == 3, "the proposal and two prepares"
    solo.receive(THIRD, solo.prepare(THIRD, hash))
    assert counting.verified == 3
    solo.receive(LEADER, solo.commit(LEADER, hash))
    solo.receive(SECOND, solo.commit(SECOND, hash))
    assert counting.verified == 5
    (decide,) = of(fx.Decide, solo.all)
    assert len(decide.certificate.seals) == 3
    solo.receive(THIRD, solo.commit(THIRD, hash))
    assert counting.verified == 5


def test_a_spare_counts_nowhere() -> None:
    solo, hash, _ = prepared()
    solo.receive(THIRD, wire.SignedPrepare(Prepare(1, 0, hash), THIRD, bytes(64)))
    assert THIRD not in {vote.index for vote in solo.core.state.prepares_of(0, hash)}
    assert not of(fx.Blame, solo.all), "nobody has looked at its signature"


def test_a_vote_beyond_the_quorum_that_another_passes_on_is_verified() -> None:
    solo, hash, counting = prepared()
    before = counting.verified
    solo.receive(SECOND, solo.prepare(THIRD, hash))
    assert counting.verified == before + 1
    assert THIRD in {vote.index for vote in solo.core.state.prepares_of(0, hash)}


def test_a_spare_and_a_contradicting_vote_are_evidence() -> None:
    solo, hash, _ = prepared()
    solo.receive(THIRD, solo.prepare(THIRD, hash))
    solo.receive(THIRD, solo.prepare(THIRD, OTHER))
    (report,) = of(fx.ReportEvidence, solo.all)
    assert {vote.message for vote in (report.evidence.first, report.evidence.second)} == {
        Prepare(1, 0, hash),
        Prepare(1, 0, OTHER),
    }


def test_a_spare_commit_and_a_round_change_that_denies_it_are_held_against_each_other() -> None:
    solo, hash, _ = prepared()
    tally = Tally(4, 0)
    for index in (LEADER, SECOND, FOLLOWER):
        tally.add(solo.commit(index, hash), 0)
    assert tally.keep_spare(solo.commit(THIRD, hash), 0, False)
    assert tally.spares_against(solo.change(THIRD, 1, (0, hash))) == [], "it has prepared what it committed to"
    assert tally.spares_against(solo.change(THIRD, 1)) == [solo.commit(THIRD, hash)]
    assert tally.spares_against(solo.change(THIRD, 1)) == [], "it is taken once"


def test_a_wrong_spare_is_no_evidence() -> None:
    solo, hash, _ = prepared()
    solo.receive(THIRD, wire.SignedPrepare(Prepare(1, 0, hash), THIRD, bytes(64)))
    solo.receive(THIRD, solo.prepare(THIRD, OTHER))
    assert not of(fx.ReportEvidence, solo.all)


def test_a_vote_that_contradicts_one_that_was_counted_is_never_a_spare() -> None:
    solo, hash, _ = prepared()
    solo.receive(THIRD, solo.prepare(THIRD, OTHER))
    solo.receive(THIRD, solo.prepare(THIRD, hash))
    assert len(of(fx.ReportEvidence, solo.all)) == 1


def test_the_status_names_spares_so_that_nobody_sends_them_again() -> None:
    solo, hash, _ = prepared()
    solo.receive(THIRD, solo.prepare(THIRD, hash))
    tally = solo.core.state.open.tally
    assert tally.newest(wire.SignedPrepare, THIRD) == 0
    assert tally.prepares.newest(THIRD) == -1


def test_a_spare_is_told_to_a_key_that_asks_what_was_seen_of_it_once_verified() -> None:
    solo, hash, _ = prepared()
    key = solo.core.state.open.context.key(THIRD)
    nonce = bytes(32)
    for vote, told in (
        (wire.SignedPrepare(Prepare(1, 0, hash), THIRD, bytes(64)), False),
        (solo.prepare(THIRD, hash), True),
    ):
        solo, hash, _ = prepared()
        solo.receive(THIRD, vote)
        effects = solo.receive(THIRD, wire.LastSeenQuestion(1, key, nonce))
        (answer,) = [send.message for send in of(fx.Send, effects) if isinstance(send.message, wire.LastSeenAnswer)]
        assert (Prepare(1, 0, hash) in {signed.message for signed in answer.votes}) is told


def test_of_each_validator_and_kind_the_newest_spare_is_kept() -> None:
    solo, hash, _ = prepared()
    tally = Tally(4, 0)
    for round in (0, 1):
        for index in (LEADER, SECOND, FOLLOWER):
            tally.add(solo.commit(index, hash, round), 1)
    assert tally.keep_spare(solo.commit(THIRD, hash, 0), 1, False)
    assert tally.keep_spare(solo.commit(THIRD, hash, 1), 1, False)
    assert not tally.keep_spare(solo.commit(THIRD, hash, 0), 1, False)
    assert [vote.message for vote in tally.spares_of(THIRD)] == [Commit(1, 1, hash)]
    assert not tally.keep_spare(solo.commit(THIRD, hash, 2), 1, False), "above our round every vote is looked at"


def test_a_commit_of_who_has_left_the_round_is_no_spare() -> None:
    solo, hash, _ = prepared()
    tally = Tally(4, 0)
    for index in (LEADER, SECOND, FOLLOWER):
        tally.add(solo.commit(index, hash), 0)
    tally.add(solo.change(THIRD, 1), 0)
    assert tally.changes[THIRD].message == RoundChange(1, 1, -1, b"")
    assert not tally.keep_spare(solo.commit(THIRD, hash), 0, False)
