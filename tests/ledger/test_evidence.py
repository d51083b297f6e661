"""Evidence in blocks: which pairs contradict each other, whom they name, that each is recorded once, and asks."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger import evidence as ev
from ledger import transactions as tx
from ledger.actions import RemoveValidator, RotateValidator
from ledger.blocks import Evidence, SignedVote
from ledger.codec import digest, encode
from ledger.errors import PeerError
from ledger.evidence import AGE_BLOCKS_MAX, Accused, Kind, SetSince, check_items, kind_of, sets_with
from ledger.governance import OBJECTION_DAYS
from ledger.indexes import differences
from ledger.limits import EVIDENCE_ITEMS_MAX
from ledger.proposals import VOTE_DAYS, ProposalState
from ledger.rows import NONE, Contradiction, Proposal, Validator
from ledger.signing import sign
from ledger.votes import Commit, Prepare, RoundChange, ValidatorEntry
from ledger.votes import Proposal as ProposalVote
from tests.ledger.chain import Chain, key, seed
from tests.ledger.test_governance import days, enacted, five

X, Y = b"\1" * 32, b"\2" * 32
NAMES = ("platform", "bank", "firm-a", "firm-b", "fifth")


def pair(chain: Chain, one: Any, other: Any, *, index: int = 1, who: str = "", epoch: int = 0) -> Evidence:
    """Evidence of two messages, signed by the validator of ``index``."""
    secret = seed(who or f"{NAMES[index]} validator")
    votes = [SignedVote(m, index, sign(secret, m.signing_digest(chain.genesis.chain_id, epoch))) for m in (one, other)]
    first, second = sorted(votes, key=encode)
    return Evidence(epoch, first, second)


def twice(chain: Chain, height: int, **more: Any) -> Evidence:
    return pair(chain, Prepare(height, 0, X), Prepare(height, 0, Y), **more)


def fault(chain: Chain, *items: Evidence) -> str | None:
    view = chain.view
    try:
        check_items(view.recent_sets, view.accused, view.chain_id, view.height + 1, items)
    except PeerError as error:
        return error.code
    return None


@pytest.fixture
def chain() -> Chain:
    made = Chain()
    for _ in range(3):
        made.block()
    return made


# ---- what contradicts what -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        (ProposalVote(2, 0, X), ProposalVote(2, 0, Y), Kind.PROPOSAL),
        (Prepare(2, 1, X), Prepare(2, 1, Y), Kind.PREPARE),
        (Commit(2, 1, X), Commit(2, 1, Y), Kind.COMMIT),
        (RoundChange(2, 1, -1, b""), RoundChange(2, 1, 0, X), Kind.ROUND_CHANGE),
        (Commit(2, 1, X), RoundChange(2, 2, 0, X), Kind.ABANDONED),
        (Commit(2, 1, X), RoundChange(2, 5, -1, b""), Kind.ABANDONED),
        (Prepare(2, 0, X), Prepare(2, 1, Y), None),
        (Prepare(2, 0, X), Prepare(3, 0, Y), None),
        (Prepare(2, 0, X), Prepare(2, 0, X), None),
        (Prepare(2, 0, X), Commit(2, 0, Y), None),
        (Commit(2, 1, X), RoundChange(2, 1, -1, b""), None),
        (Commit(2, 1, X), RoundChange(2, 2, 1, X), None),
        (Commit(2, 1, X), RoundChange(2, 3, 2, Y), None),
        (Commit(2, 1, X), RoundChange(3, 2, -1, b""), None),
        (Prepare(2, 1, X), RoundChange(2, 2, -1, b""), None),
    ],
)
def test_both_kinds_of_contradiction_and_nothing_else(one: Any, other: Any, kind: Kind | None, chain: Chain) -> None:
    assert kind_of(pair(chain, one, other)) == kind
    assert fault(chain, pair(chain, one, other)) == (None if kind is not None else "BAD_EVIDENCE")


MESSAGES = st.one_of(
    st.builds(ProposalVote, st.integers(1, 2), st.integers(0, 3), st.sampled_from((X, Y))),
    st.builds(Prepare, st.integers(1, 2), st.integers(0, 3), st.sampled_from((X, Y))),
    st.builds(Commit, st.integers(1, 2), st.integers(0, 3), st.sampled_from((X, Y))),
    st.builds(RoundChange, st.integers(1, 2), st.integers(1, 3), st.integers(-1, 2), st.just(X)),
)


@given(MESSAGES, MESSAGES)
def test_the_order_of_the_two_does_not_matter(one: Any, other: Any) -> None:
    votes = SignedVote(one, 0, b""), SignedVote(other, 0, b"")
    assert kind_of(Evidence(0, *votes)) == kind_of(Evidence(0, *reversed(votes)))


# ---- whom it names, and how old it is ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("not in canonical order", lambda e: replace(e, first=e.second, second=e.first)),
        ("of two validators", lambda e: replace(e, second=replace(e.second, index=2))),
        ("nobody's index", lambda e: replace(e, first=replace(e.first, index=4), second=replace(e.second, index=4))),
        ("another's index", lambda e: replace(e, first=replace(e.first, index=2), second=replace(e.second, index=2))),
        ("another epoch", lambda e: replace(e, epoch=1)),
        ("a forged first", lambda e: replace(e, first=replace(e.first, signature=bytes(64)))),
        ("a forged second", lambda e: replace(e, second=replace(e.second, signature=bytes(64)))),
    ],
)
def test_evidence_that_proves_nothing_makes_its_block_invalid(
    what: str, change: Callable[[Evidence], Evidence], chain: Chain
) -> None:
    good = twice(chain, 2)
    assert fault(chain, good) is None
    assert fault(chain, change(good)) == "BAD_EVIDENCE", what


def test_the_height_is_at_most_the_blocks_own(chain: Chain) -> None:
    assert fault(chain, twice(chain, chain.view.height + 1)) is None
    assert fault(chain, twice(chain, chain.view.height + 2)) == "BAD_EVIDENCE"
    assert fault(chain, twice(chain, 0)) == "BAD_EVIDENCE"


def test_evidence_of_the_last_thousand_heights_counts_and_none_older(chain: Chain) -> None:
    entries = chain.view.next_validators
    sets: tuple[SetSince, ...] = ()
    for height in range(AGE_BLOCKS_MAX + 11):
        sets = sets_with(sets, SetSince(height, 0, entries))
    newest = AGE_BLOCKS_MAX + 10

    def code(height: int) -> str | None:
        try:
            check_items(sets, (), chain.genesis.chain_id, newest, (twice(chain, height),))
        except PeerError as error:
            return error.code
        return None

    assert code(newest - AGE_BLOCKS_MAX + 1) is None
    assert code(newest - AGE_BLOCKS_MAX) == "EVIDENCE_TOO_OLD"


def test_a_block_holds_sixteen_pieces_and_none_more(chain: Chain) -> None:
    item = twice(chain, 2)
    assert fault(chain, *[item] * (EVIDENCE_ITEMS_MAX + 1)) == "TOO_MUCH_EVIDENCE"
    assert fault(chain, item, item) == "EVIDENCE_KNOWN"
    assert fault(chain, item, twice(chain, 2, index=2)) is None


def test_sets_are_remembered_by_change_and_a_recovery_replaces_what_was_to_come() -> None:
    a, b = (tuple(ValidatorEntry(i, i, X, bytes([n, i]), X) for i in range(4)) for n in (1, 2))
    sets = sets_with((SetSince(0, 0, a),), SetSince(1, 0, a))
    assert sets == (SetSince(0, 0, a),)
    sets = sets_with(sets, SetSince(5, 0, b))
    assert sets == (SetSince(0, 0, a), SetSince(5, 0, b))
    assert sets_with(sets, SetSince(5, 1, a)) == (SetSince(0, 0, a), SetSince(5, 1, a))
    assert sets_with(sets, SetSince(5 + AGE_BLOCKS_MAX, 0, b)) == (SetSince(6, 0, b),)


# ---- recorded, and asked -------------------------------------------------------------------------------------------


def test_a_block_records_it_and_asks_the_organisations_and_removes_nobody(chain: Chain) -> None:
    item = pair(chain, Commit(2, 0, X), RoundChange(2, 1, -1, b""), index=3)
    block = chain.raw_block(evidence=(item,))
    (row,) = [row for _, row in chain.state.rows(Contradiction)]
    assert (row.seat, row.validator_key, row.height, row.kind) == (3, key("firm-b validator"), 2, Kind.ABANDONED)
    assert (row.recorded_height, row.evidence_hash) == (block.header.height, digest(encode(item)))
    proposal = chain.state.get(Proposal, row.proposal)
    assert (proposal.action, proposal.proposer, proposal.in_favour) == (RemoveValidator(3, False), NONE, ())
    assert proposal.state == ProposalState.OPEN
    assert len(chain.view.after_next_validators) == 4
    assert list(differences(chain.store)) == []


def test_one_open_record_a_validator_and_never_one_height_twice(chain: Chain) -> None:
    chain.raw_block(evidence=(twice(chain, 2),))
    assert chain.view.accused == (Accused(1, 2, True),)
    assert fault(chain, twice(chain, 3)) == "EVIDENCE_KNOWN"
    assert fault(chain, twice(chain, 3, index=2)) is None
    days(chain, VOTE_DAYS + 1)
    assert chain.state.get(Proposal, 0).state == ProposalState.EXPIRED
    assert chain.view.accused == (Accused(1, 2, False),)
    assert fault(chain, twice(chain, 2)) == "EVIDENCE_KNOWN", "a record is closed, not forgotten"
    assert fault(chain, twice(chain, 3)) is None
    chain.raw_block(evidence=(twice(chain, 3),))
    assert chain.view.accused == (Accused(1, 3, True),)
    assert [row.height for _, row in chain.state.rows(Contradiction)] == [2, 3]
    assert list(differences(chain.store)) == []


def test_organisations_that_agree_remove_the_seat() -> None:
    chain = five()
    chain.block()
    chain.raw_block(evidence=(twice(chain, 1, index=4),))
    for name in ("platform", "bank", "firm-a", "firm-b"):
        chain.block((name, tx.VoteFor(0)))
    days(chain, OBJECTION_DAYS + 1)
    assert chain.state.get(Proposal, 0).state == ProposalState.ENACTED
    assert not chain.state.get(Validator, 4).active


def test_evidence_names_the_keys_of_its_own_height() -> None:
    chain = five()
    before = chain.view.height + 1
    chain.learn("bank second", "bank second beacon")
    enacted(chain, RotateValidator(1, key("bank second"), key("bank second beacon")))
    for _ in range(3):
        chain.block()
    assert len(chain.view.recent_sets) == 2
    newest = chain.view.height
    assert fault(chain, twice(chain, before)) is None
    assert fault(chain, twice(chain, before, who="bank second")) == "BAD_EVIDENCE"
    assert fault(chain, twice(chain, newest, who="bank second")) is None
    assert fault(chain, twice(chain, newest)) == "BAD_EVIDENCE"
    chain.raw_block(evidence=(twice(chain, before),))
    assert chain.state.get(Contradiction, 0).validator_key == key("bank validator")


def test_evidence_about_a_seat_that_has_left_is_recorded_and_asks_nothing() -> None:
    chain = five()
    before = chain.view.height + 1
    enacted(chain, RemoveValidator(4, False))
    for _ in range(3):
        chain.block()
    chain.raw_block(evidence=(twice(chain, before, index=4),))
    assert chain.state.get(Contradiction, 0).proposal == NONE
    assert chain.view.accused == (Accused(4, before, False),)


def test_every_kind_of_vote_has_its_number() -> None:
    assert set(ev._TWICE) == {ProposalVote, Prepare, Commit, RoundChange}


def test_evidence_is_of_the_epoch_of_its_height_whatever_was_signed(chain: Chain) -> None:
    assert fault(chain, twice(chain, 2, epoch=1)) == "BAD_EVIDENCE"
