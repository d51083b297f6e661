"""QBFT, predicate by predicate: the formal specification in Dafny (EEA, ConsenSys; ``dafny/spec/L1``), on our core.

``node_auxiliary_functions.dfy`` says what is valid, ``node.dfy`` what happens upon each event. Each test is named after
its predicate and shows our counterpart, or says in what we differ and why. The oracle of the simulator states the same
predicates a second time, from the paper, and judges every accepted message.
"""

import msgspec
import pytest

from consensus.justify import choose, highest_prepared, is_fresh, prepared_below, proposal_fault, proposes_the_prepared
from consensus.proposer import proposer_order
from consensus.quorum import faults, quorum
from ledger.votes import RoundChange
from tests.consensus.harness import TIMING, make_context, validator_set
from tests.consensus.test_justify import ROUND, Q, change, fresh, prepare, prepared_at
from tests.consensus.test_paper_pbft import PREPARED, story

X = b"\1" * 32


# ---- node_auxiliary_functions.dfy: general -------------------------------------------------------------------------


@pytest.mark.parametrize("n", range(1, 129))
def test_f_and_quorum(n: int) -> None:
    assert faults(n) == (n - 1) // 3
    assert quorum(n) == (n * 2 - 1) // 3 + 1


@pytest.mark.parametrize("round", range(8))
def test_round_timeout_doubles_and_is_capped(round: int) -> None:
    """``roundTimeout(r) = 2^r`` without end; ours stops at ``timeout_ms_max``, so a healed network is soon back."""
    assert TIMING.round_timeout_ms(round) == min(TIMING.timeout_ms * 2**round, TIMING.timeout_ms_max)


def test_proposer_turns_by_round_among_all_in_an_order_that_nobody_chooses() -> None:
    """``proposer``: the next after the last block's. There a dead neighbour costs a timeout at each of its turns; ours
    is the order of SHA-256(beacon, height, key), without the latest who failed (the skip rule).
    """
    context = make_context(7, 0, [])
    assert [context.proposer(round) for round in range(7)] == list(context.proposers)
    assert context.proposer(7) == context.proposer(0)
    assert sorted(context.proposers) == list(range(7))
    entries = validator_set(7)
    orders = {proposer_order(bytes([beacon]) * 64, 1, entries, range(7)) for beacon in range(20)}
    assert len(orders) > 10


# ---- validRoundChange, isHighestPrepared, isProposalJustification --------------------------------------------------


def test_valid_round_change_of_the_height_and_round_prepared_below_by_a_validator() -> None:
    assert fresh().fault() is None
    other_height = (change(0, height=2), *(change(i) for i in range(1, Q)))
    assert fresh().change(round_changes=other_height).fault() == "target_exactly"
    assert prepared_below((change(0, (ROUND - 1, X)),))
    assert not prepared_below((change(0, (ROUND, X)),))


def test_is_highest_prepared() -> None:
    changes = (change(0, (0, X)), change(1, (2, b"\2" * 32)), change(2))
    assert highest_prepared(changes) == 2
    assert proposes_the_prepared(changes, b"\2" * 32)
    assert not proposes_the_prepared(changes, X)
    assert highest_prepared((change(0), change(1))) == -1


def test_is_proposal_justification_round_zero_needs_no_round_change() -> None:
    """In QBFT whatever stands beside a proposal of round 0 is ignored; ours must carry nothing: one form each."""
    zero = fresh().change(message=msgspec.structs.replace(fresh().proposal.message, round=0))
    zero = zero.change(index=zero.context.proposer(0))
    assert zero.fault() == "is_unjustified"


def test_is_proposal_justification_counts_senders_and_not_messages() -> None:
    """``|getSetOfRoundChangeSenders| >= quorum``: a repeated sender is ignored there, refused here."""
    assert fresh().change(round_changes=(change(0), *(change(i) for i in range(Q - 1)))).fault() == "are_distinct"


def test_is_proposal_justification_the_others_need_not_agree() -> None:
    case = prepared_at()
    assert len({c.message.prepared_hash for c in case.proposal.round_changes}) == 3
    assert case.fault() is None


def test_is_proposal_justification_a_block_keeps_its_hash_when_it_is_proposed_again() -> None:
    """``replaceRoundInBlock``: QBFT's header holds the round, so the digest is recomputed for the old one. Ours holds
    none: hash = pv itself.
    """
    case = prepared_at()
    assert case.proposal.message.hash in {c.message.prepared_hash for c in case.proposal.round_changes}


def test_validate_non_prepared_block_asks_the_creator_of_fresh_blocks_only() -> None:
    assert is_fresh(fresh().proposal)
    again = prepared_at()
    assert not is_fresh(again.proposal)
    assert again.header.creator != again.context.key(again.context.proposer(ROUND))
    assert proposal_fault(again.context, again.proposal, again.header) is None


def test_valid_signed_prepare_for_height_round_and_digest() -> None:
    case = prepared_at()
    hash = case.proposal.message.hash
    wrong = (prepare(0, hash, 0), *case.proposal.prepares[1:])
    assert case.change(prepares=wrong).fault() == "prepares_match"


def test_is_received_proposal_justification_only_what_was_received_with_its_block() -> None:
    """``receivedBlocksInRoundChanges``: the block comes inside the round change there. With us it is fetched, and until
    it is here the prepared round change is not used: any other quorum is.
    """
    context = make_context(7, 0, [])
    changes = [change(0, (1, X)), *(change(i) for i in range(1, 7))]
    without, _ = choose(context, changes, {}) or ((), ())
    assert 0 not in {c.index for c in without}
    chosen, prepares = choose(context, changes, {(1, X): tuple(prepare(i, X, 1) for i in range(Q))}) or ((), ())
    assert chosen[0].message == RoundChange(1, ROUND, 1, X)
    assert len(prepares) == Q


# ---- node.dfy: Upon... ---------------------------------------------------------------------------------------------


def test_upon_block_timeout_the_proposer_of_round_zero_proposes() -> None:
    """After ``blockTime`` there; here when a block is *due*, so an idle chain is silent."""
    story("""
        expect A silent in round 0
        due A
        expect A prepared A0 round 0
    """)


def test_upon_proposal_prepares_in_the_round_of_the_proposal() -> None:
    """``round := newRound``: a justified proposal of a later round takes the node there, and it prepares."""
    story("""
        due A B C D
        timeout A B C
        deliver round-change from A C to B
        deliver proposal round 1 from B to D
        expect D round 1
        expect D prepared B1 round 1
    """)


def test_upon_proposal_one_is_accepted_for_a_round() -> None:
    """``proposalAcceptedForCurrentRound``: a second, different one is evidence here."""
    story("""
        twin A2 of A
        boot A2
        deliver all
        due A A2
        deliver proposal from A to B
        deliver proposal from A2 to B
        expect B prepared A0 round 0
        expect B reports A
    """)


def test_upon_prepare_commits_once_with_q_prepares_of_the_accepted_proposal() -> None:
    story("""
        due A B C D
        deliver proposal from A to B C D
        deliver prepare from A C to B
        expect B committed A0 round 0
        expect B locked A0 round 0
    """)


def test_upon_prepare_nothing_is_committed_without_the_proposal() -> None:
    story("""
        due A B C D
        deliver proposal from A to B C
        deliver prepare from A B C to D
        expect D committed nothing in round 0
    """)


def test_upon_commit_decides_with_q_commits_of_any_one_round() -> None:
    """There of the current round and the accepted proposal only; here of *any single* round, past ones included."""
    story(
        PREPARED
        + """
        timeout D
        expect D round 1
        deliver commit from A B C to D
        expect D decided A0
    """
    )


def test_upon_new_block_a_certificate_decides_alike() -> None:
    story(
        PREPARED
        + """
        deliver commit from B C D to A
        next A
        resend D
        deliver status from D to A
        deliver certificate from A to D
        expect D decided A0
    """
    )


def test_upon_round_timeout_the_round_change_says_what_was_prepared() -> None:
    script = story(PREPARED + "timeout C")
    core = script.actor("C").core
    assert core is not None
    assert core.state.record.signed(RoundChange, 1) == RoundChange(1, 1, 0, script.names["A0"])


def test_upon_round_timeout_nothing_of_the_old_round_is_signed_any_more() -> None:
    """``proposalAcceptedForCurrentRound := None``. Besu keeps this in memory; here the *record* forbids it."""
    story(
        """
        due A B C D
        deliver proposal from A to B C D
        timeout B
        crash B
        restart B
        expect B round 1
        deliver prepare from A C D to B
        expect B committed nothing in round 0
    """
    )


def test_upon_round_change_the_leader_proposes_with_a_received_justification() -> None:
    story("""
        due A B C D
        timeout A B C D
        deliver round-change from C to B
        expect B silent in round 2
        deliver round-change from D to B
        expect B prepared B1 round 1
    """)


def test_upon_round_change_f_plus_1_of_future_rounds_move_to_the_lowest_of_them() -> None:
    """``newRound := minSet(...)`` of f + 1 *round changes*. Here any signed message of a round counts: else a restart
    of all with f dead can strand everybody below a quorum.
    """
    story("""
        due A B C D
        timeout C D
        deliver round-change from C D to A
        expect A round 1
    """)
