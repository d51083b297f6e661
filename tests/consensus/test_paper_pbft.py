"""PBFT, section by section (Castro, Liskov: Practical Byzantine Fault Tolerance, OSDI 1999), shown on our core.

Each test names the section, shows what we do the same way, or says in what we differ and why. A view is a round, a
sequence number a height, a request a block, a primary a proposer, pre-prepare a Proposal, view-change a RoundChange,
new-view a justified Proposal, the client a transaction's sender (who is not in the agreement).
"""

import pytest

from consensus.quorum import faults, quorum
from consensus.records import BodyRecord, LockRecord, ProposalRecord, VoteRecord
from ledger.votes import Commit, Prepare, RoundChange
from tests.consensus.harness import TIMING
from tests.consensus.script import Script


def story(text: str) -> Script:
    """Four validators started, then the lines of ``text``."""
    script = Script()
    for line in f"validators A B C D\nstart A B C D\n{text}".splitlines():
        if words := line.split("#")[0].split():
            script.line(words)
    return script


PREPARED = """
    due A B C D
    deliver proposal from A to B C D
    deliver prepare from A B C D to A B C D
"""


# ---- §3 Service properties, §4 The algorithm -----------------------------------------------------------------------


@pytest.mark.parametrize("f", range(1, 34))
def test_section_3_3f_plus_1_replicas_are_the_least_that_stand_f_faults(f: int) -> None:
    n = 3 * f + 1
    assert faults(n) == f
    assert faults(n - 1) == f - 1


@pytest.mark.parametrize("n", range(4, 101))
def test_section_4_two_quorums_share_an_honest_replica_and_one_is_always_available(n: int) -> None:
    """The paper takes 2f + 1 of 3f + 1. Ours is ⌈2n/3⌉, which keeps both properties for every n (IBFT's did not)."""
    q, f = quorum(n), faults(n)
    assert 2 * q - n >= f + 1, "safety: two quorums meet in more than f"
    assert q <= n - f, "liveness: the honest alone are a quorum"


# ---- §4.1 The client -----------------------------------------------------------------------------------------------


def test_section_4_1_a_request_of_which_the_primary_knows_nothing_starts_no_timer_by_itself() -> None:
    """The paper's client sends to all when no answer comes, and each backup starts a timer. With us a transaction that
    only one validator holds moves nobody: it must be announced by q first, else anybody could provoke timeouts.
    """
    story("""
        pending B
        expect no timer B
        expect A B C D round 0
    """)


def test_section_4_1_a_request_that_all_know_of_starts_every_timer_until_it_is_executed() -> None:
    story("""
        due A B C D
        expect timer B
        expect timer C
        expect timer D
    """)


# ---- §4.2 Normal-case operation ------------------------------------------------------------------------------------


def test_section_4_2_three_phases_and_everybody_executes_the_same() -> None:
    script = story(PREPARED + "deliver commit from A B C D to A B C D\nexpect A B C D decided A0\nexpect no fork")
    assert all(actor.pending is not None for actor in script.actors)


def test_section_4_2_a_backup_accepts_one_pre_prepare_for_a_view_and_number() -> None:
    story("""
        twin A2 of A
        boot A2
        deliver all
        due A A2 B C D
        deliver proposal from A to B
        deliver proposal from A2 to B
        expect B prepared A0 round 0
        expect B reports A
    """)


def test_section_4_2_prepared_needs_the_pre_prepare_and_2f_matching_prepares() -> None:
    """The primary's pre-prepare counts as its prepare in the paper. With us the proposer signs a Prepare as well, so
    that q Prepares alone prove it: 2f + 1 of them, of one round and hash.
    """
    story("""
        due A B C D
        deliver proposal from A to B C D
        deliver prepare from A to B
        expect B committed nothing in round 0        # A's and its own are two
        deliver prepare from C to B
        expect B committed A0 round 0
    """)


def test_section_4_2_committed_local_needs_2f_plus_1_commits() -> None:
    story(
        PREPARED
        + """
        deliver commit from B to A
        expect A undecided                           # B's and its own are two
        deliver commit from C to A
        expect A decided A0
    """
    )


def test_section_4_2_messages_are_logged_before_they_are_sent() -> None:
    """The paper keeps logs in memory and recovers by the others. Here each intent is durable before it is signed."""
    script = story("due A B C D\ndeliver proposal from A to B C D")
    kinds = [type(record) for record in script.actor("A").durable]
    assert kinds[1:] == [BodyRecord, ProposalRecord, VoteRecord]
    script = story(PREPARED)
    after = script.actor("B").durable[1:]
    assert [type(record) for record in after] == [BodyRecord, VoteRecord, LockRecord, VoteRecord]
    assert isinstance(after[1], VoteRecord)
    assert isinstance(after[3], VoteRecord)
    assert (type(after[1].message), type(after[3].message)) == (Prepare, Commit)


def test_section_4_2_no_watermarks_for_one_height_is_in_flight() -> None:
    """h and H bound what a faulty primary can exhaust. One height in flight needs no window: of the next height the
    highest message of each kind and validator is kept, of later ones only the news that somebody is ahead.
    """
    script = story(PREPARED)
    core = script.actor("B").core
    assert core is not None
    assert core.height == 1
    assert len(list(core.state.early.all())) == 0


# ---- §4.3 Garbage collection ---------------------------------------------------------------------------------------


def test_section_4_3_a_certificate_is_the_checkpoint_and_the_height_before_is_forgotten() -> None:
    """Each block's certificate is a stable checkpoint: no window has to be agreed on (that is where Indy Plenum and
    Fabric 0.6 bled). What a height held is dropped when the next one opens.
    """
    script = story(PREPARED + "deliver commit from A B C D to A B C D\nnext A B C D")
    for actor in script.actors:
        assert actor.core is not None
        assert actor.core.height == 2
        assert len(actor.core.state.open.tally.prepares) == 0
        assert actor.core.state.record.granted == {}
        assert actor.chain[0].certificate.height == 1


# ---- §4.4 View changes ---------------------------------------------------------------------------------------------


def test_section_4_4_after_a_view_change_the_old_view_accepts_nothing() -> None:
    """«... stops accepting messages (other than checkpoint, view-change, and new-view)»: a RoundChange is a promise."""
    story(
        """
        due A B C D
        deliver proposal from A to B C D
        timeout B
        expect B round 1
        deliver prepare from A C D to B
        expect B committed nothing in round 0
        expect B unlocked
    """
    )


def test_section_4_4_the_view_change_message_carries_what_was_prepared() -> None:
    script = story(PREPARED + "lose all\ntimeout B")
    core = script.actor("B").core
    assert core is not None
    own = core.state.record.signed(RoundChange, 1)
    assert isinstance(own, RoundChange)
    assert (own.prepared_round, own.prepared_hash) == (0, script.names["A0"])


def test_section_4_4_the_new_primary_proposes_the_prepared_request_with_the_highest_view() -> None:
    story(
        PREPARED
        + """
        lose all
        crash A
        timeout B C D
        deliver all
        expect B C D decided A0
    """
    )


def test_section_4_4_without_a_prepared_request_the_new_view_begins_afresh() -> None:
    """The paper fills the gap with a null request. One height in flight has no gaps: a fresh block."""
    story("""
        due A B C D
        lose all
        crash A
        timeout B C D
        deliver all
        expect B C D decided B1
    """)


def test_section_4_4_a_new_view_is_checked_by_the_same_rule_it_was_made_by() -> None:
    """«A backup accepts a new-view message if ... it computes the same»: clause by clause in test_justify."""
    script = Script()
    for line in ("validators A B C Z", "byzantine Z", "start A B C", "forge proposes_the_prepared from Z to A"):
        script.line(line.split())
    script.line(["expect", "A", "refused", "proposes_the_prepared"])


# ---- §4.5 Correctness: safety (4.5.1), liveness (4.5.2) ------------------------------------------------------------


def test_section_4_5_1_committed_in_one_view_is_proposed_in_every_later_one() -> None:
    """D decides in round 0 on commits that nobody else hears. Every later proposer meets the lock in any quorum."""
    story(
        PREPARED
        + """
        deliver commit from A B C to D
        expect D decided A0
        lose all
        crash D
        timeout A B C
        deliver all
        expect A B C decided A0
        expect no fork
    """
    )


def test_section_4_5_2_the_timeout_doubles_from_view_to_view_up_to_a_bound() -> None:
    waits = [TIMING.round_timeout_ms(round) for round in range(6)]
    assert waits[:3] == [400, 800, 1_600]
    assert waits[3:] == [TIMING.timeout_ms_max] * 3


def test_section_4_5_2_the_timer_waits_until_2f_plus_1_are_in_the_view() -> None:
    """«... waits for 2f + 1 view-change messages before starting the timer»: any signed message of a round counts."""
    story("""
        due A B C D
        timeout B
        expect no timer B
        timeout C D
        deliver round-change from C to B
        expect no timer B
        deliver round-change from D to B
        expect timer B
    """)


def test_section_4_5_2_f_plus_1_view_changes_take_a_replica_along() -> None:
    story("""
        due A B C D
        timeout C
        deliver round-change from C to A
        expect A round 0
        timeout D
        deliver round-change from D to A
        expect A round 1
    """)


# ---- §5 Optimizations: what we leave out ---------------------------------------------------------------------------


def test_section_5_1_no_tentative_execution_nothing_is_told_before_the_batch_is_durable() -> None:
    """The paper executes tentatively after prepare and may roll back. A bank that was told does not roll back."""
    script = story(PREPARED + "deliver commit from A B C D to A B C D")
    core = script.actor("A").core
    assert core is not None
    assert core.height == 1, "the height stays open until the node says that its batch is synced"
    script.line(["next", "A"])
    assert core.height == 2
