"""Somebody without a node draws a jury again from public data, and counts its ballots (LEDGER §7, §10)."""

from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger import transactions as tx
from ledger.blocks import header_hash
from ledger.codec import decode, encode
from ledger.disputes import Exclusion, Outcome
from ledger.errors import InvariantViolation, ProofFailed
from ledger.jury import Vote
from ledger.jury_proof import jury_sums, opened_ballots
from ledger.rows import Ballot, Dispute, Draw
from ledger.state import BlockContext, State, StateReader
from ledger.statement import FILE_BYTES_MAX, Answer, JuryProof, ProofFile, Statement, jury_of, rows_needed, verify
from ledger.store import MemoryStore, Overlay, Reader
from tests.ledger.chain import Chain
from tests.ledger.claim_kit import PARAMS, before_jury, enrolled, noticed, objected, panel, person, reveal, row, voted
from tests.ledger.claim_kit import commit as commit_ballot
from tests.ledger.proof_kit import file_of
from tests.ledger.test_life import days


@cache
def judged() -> tuple[Chain, Reader, int]:
    """(a chain, the state that its newest header certifies, the dispute): six of nine clear, one hid his ballot."""
    chain = enrolled(jurors=16)
    claim = noticed(chain)
    objected(chain, claim, (1, 2, 3))
    for number in (4, 5):
        chain.ok("bank", tx.ExcludeJuror(claim, person(number), Exclusion.FAMILY))
    before_jury(chain, claim)
    commit_ballot(chain, claim, panel(chain, claim)[-1], Vote.REFUSE)
    voted(chain, claim, [Vote.CLEAR] * 6 + [Vote.REFUSE])
    dispute = row(chain, claim).dispute
    before = chain.fork().store
    chain.block()
    return chain, before, dispute


CHAIN, BEFORE, DISPUTE = judged()
FOUND = StateReader(BEFORE).get(Dispute, DISPUTE)
OPENED = StateReader(BEFORE).get(Draw, FOUND.draw).opened_height


def file(*, first: int = OPENED) -> bytes:
    return file_of(CHAIN, BEFORE, jury_of(BEFORE, DISPUTE), first=first)


def named(raw: bytes) -> bytes:
    return header_hash(decode(ProofFile, raw, bytes_max=FILE_BYTES_MAX).chain.anchor)


def said(answer: Answer, *, recomputed: bool) -> str:
    return "\n".join(finding.text for finding in answer.findings if finding.recomputed is recomputed)


def altered(kind: Any, row_id: int, **changes: Any) -> MemoryStore:
    """The state with one row changed: as if q validators had certified a jury that nobody drew."""
    fork = CHAIN.fork()
    overlay = Overlay(fork.store)
    state = State(overlay, BlockContext(CHAIN.genesis.chain_id, 1, 1, 1, bytes(32), bytes(64)))
    state.put(row_id, replace(state.get(kind, row_id), **changes))
    state.root()
    fork.store.write(overlay.batch())
    return fork.store


def test_a_jury_is_drawn_again_from_the_headers_and_its_ballots_are_counted() -> None:
    answer = verify(file(first=1), CHAIN.genesis, JuryProof)
    figures = answer.figures
    assert (figures["clear"], figures["refuse"], figures["outcome"]) == (6, 1, "CLEARED")
    assert figures["drawn"] == ",".join(str(juror) for juror in FOUND.drawn)
    assert figures["seed"] == FOUND.seed.hex()
    done, word = said(answer, recomputed=True), said(answer, recomputed=False)
    assert "9 who were drawn" in done
    assert "7 ballots of drawn jurors were opened" in done
    assert "and so did the jury" in done
    assert "(FAMILY" in word
    assert "OBJECTOR" in word
    assert "quorum" not in done.replace("signed by a quorum", "")


def test_a_hidden_ballot_that_was_never_opened_is_not_counted_nor_shown() -> None:
    state = StateReader(BEFORE)
    assert len(opened_ballots(state, DISPUTE)) == 7
    assert state.length(Ballot) == 8


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"seed": bytes(32)}, "its seed"),
        ({"drawn": FOUND.drawn[::-1]}, "its drawn"),
        ({"drawn": FOUND.drawn[1:]}, "its drawn"),
        ({"rejected": FOUND.rejected[::-1]}, "its rejected"),
        ({"jurors": FOUND.jurors + 64}, "its drawn"),
        ({"panel": 3}, "its drawn"),
        ({"clear": 7}, "the ballots count"),
        ({"refuse": 0}, "the ballots count"),
        ({"outcome": int(Outcome.REFUSED)}, "not what most of the ballots say"),
        ({"seed": b""}, "no jury was drawn"),
    ],
)
def test_a_jury_that_the_rules_do_not_give_is_refused(changes: dict[str, Any], why: str) -> None:
    subject = jury_of(BEFORE, DISPUTE)
    store = altered(Dispute, DISPUTE, **changes)
    with pytest.raises(ProofFailed, match=why) as caught:
        rows_needed(store, subject)
    assert caught.value.where == f"disputes {DISPUTE}"


def test_the_ballots_are_opened_ones_of_drawn_jurors_one_each() -> None:
    ballots = opened_ballots(StateReader(BEFORE), DISPUTE)
    hidden = next(at for at, found in StateReader(BEFORE).rows(Ballot) if not found.vote)
    for wrong in (ballots[1:], (*ballots[:-1],), ballots[::-1], (*ballots, ballots[-1]), (hidden, *ballots)):
        with pytest.raises(ProofFailed):
            rows_needed(BEFORE, JuryProof(DISPUTE, tuple(wrong)))
    stranger = next(juror for juror in range(FOUND.jurors) if juror not in FOUND.drawn)
    second = StateReader(BEFORE).get(Ballot, ballots[1]).juror
    for changes in ({"juror": stranger}, {"juror": second}, {"dispute": 7}, {"vote": 0}):
        with pytest.raises(ProofFailed, match="not an opened ballot"):
            rows_needed(altered(Ballot, ballots[0], **changes), JuryProof(DISPUTE, ballots))
    with pytest.raises(ProofFailed, match="the ballots count"):
        rows_needed(altered(Ballot, ballots[0], vote=int(Vote.REFUSE)), JuryProof(DISPUTE, ballots))


def test_a_jury_needs_the_headers_from_its_draw_on() -> None:
    raw = file()
    assert verify(raw, CHAIN.genesis, JuryProof, trusted_hash=named(raw)).figures["dispute"] == DISPUTE
    late = file(first=OPENED + 2)
    with pytest.raises(ProofFailed, match="the file has no such header"):
        verify(late, CHAIN.genesis, JuryProof, trusted_hash=named(late))


def test_a_jury_that_was_not_drawn_proves_nothing() -> None:
    chain = enrolled(jurors=16)
    claim = noticed(chain)
    objected(chain, claim)
    with pytest.raises(ProofFailed, match="no jury was drawn"):
        jury_sums(chain.state, row(chain, claim).dispute, (), lambda draw: chain.state.get(Draw, draw))
    with pytest.raises(InvariantViolation):
        rows_needed(chain.store, JuryProof(99, ()))


def test_a_jury_without_a_decision_says_what_is_only_certified() -> None:
    chain = enrolled(jurors=16)
    claim = noticed(chain)
    objected(chain, claim, (1, 2, 3))
    before_jury(chain, claim)
    number = panel(chain, claim)[0]
    commit_ballot(chain, claim, number, Vote.CLEAR)
    days(chain, PARAMS.jury_commit_hours // 24)
    reveal(chain, claim, number, Vote.CLEAR)
    dispute = row(chain, claim).dispute
    days(chain, 3)
    before = chain.fork().store
    chain.block()
    answer = verify(file_of(chain, before, jury_of(before, dispute)), chain.genesis, JuryProof)
    assert answer.figures["outcome"] == "NO_QUORUM"
    assert "decided nothing" in said(answer, recomputed=False)


RAW = file()


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 255))
@settings(max_examples=120, deadline=None)
def test_any_changed_byte_is_refused_and_named(where: float, change: int) -> None:
    changed = bytearray(RAW)
    changed[int(where * len(RAW))] ^= change
    with pytest.raises(ProofFailed) as caught:
        verify(bytes(changed), CHAIN.genesis, JuryProof, trusted_hash=named(RAW))
    assert caught.value.where
    assert caught.value.why


def test_any_changed_byte_of_the_ends_is_refused() -> None:
    for at in (*range(60), *range(len(RAW) - 90, len(RAW))):
        changed = bytearray(RAW)
        changed[at] ^= 1
        with pytest.raises(ProofFailed):
            verify(bytes(changed), CHAIN.genesis, JuryProof, trusted_hash=named(RAW))


def test_a_file_of_another_kind_is_refused() -> None:
    with pytest.raises(ProofFailed, match="it is about a jury"):
        verify(RAW, CHAIN.genesis, Statement, trusted_hash=named(RAW))
    assert encode(decode(ProofFile, RAW, bytes_max=FILE_BYTES_MAX)) == RAW
