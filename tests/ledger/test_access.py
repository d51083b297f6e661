"""The access log: who opened a claim's papers says so first (LEDGER §1, §6)."""

import pytest

from ledger import transactions as tx
from ledger.access import Purpose
from ledger.rows import AccessEntry
from tests.ledger.claim_kit import check_whole, enrolled, filed, person


def test_an_organisation_notes_whose_papers_it_opens_when_and_what_for() -> None:
    chain = enrolled()
    claim = filed(chain)
    before = chain.now_ms
    assert chain.ok("firm-a", tx.NoteAccess(claim, int(Purpose.INVESTIGATION))) == (0,)
    assert chain.ok("regulator", tx.NoteAccess(claim, int(Purpose.SUPERVISION))) == (1,)
    first = chain.state.get(AccessEntry, 0)
    assert (first.claim, first.organisation, first.purpose) == (claim, 2, Purpose.INVESTIGATION)
    assert first.at_ms == before
    check_whole(chain)


@pytest.mark.parametrize("purpose", [0, -1, max(Purpose) + 1, 2**40])
def test_a_purpose_is_one_of_the_table(purpose: int) -> None:
    chain = enrolled()
    assert chain.refused("firm-a", tx.NoteAccess(filed(chain), purpose)) == "UNKNOWN_REASON"


def test_a_member_notes_nothing_and_an_unknown_claim_has_no_papers() -> None:
    chain = enrolled()
    assert chain.refused("firm-a", tx.NoteAccess(0, 1)) == "UNKNOWN_CLAIM"
    assert chain.refused("person 1", tx.NoteAccess(filed(chain, person(1)), 1)) == "NOT_PERMITTED"
