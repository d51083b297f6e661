"""Disputes for people, and whether a jury was drawn by the rules."""

from typing import Any

import pytest
from msgspec.structs import replace

from ledger import transactions as tx
from ledger.dispute_view import dispute_view, verify
from ledger.disputes import Exclusion
from ledger.rows import Dispute, Draw
from tests.ledger.chain import Chain
from tests.ledger.claim_kit import before_jury, dispute, enrolled, noticed, objected, person, row


def drawn() -> tuple[Chain, int]:
    chain = enrolled(jurors=16)
    claim = noticed(chain)
    objected(chain, claim, (1, 2, 3))
    for number in (4, 5):
        chain.ok("bank", tx.ExcludeJuror(claim, person(number), Exclusion.FAMILY))
    before_jury(chain, claim)
    return chain, claim


def test_a_dispute_shows_all_that_its_draw_depends_on() -> None:
    chain, claim = drawn()
    assert dispute_view(chain.state, 9) is None
    view = dispute_view(chain.state, row(chain, claim).dispute)
    assert view is not None
    assert (view.claim, view.kind, view.stage, view.outcome) == (claim, "OBJECTION", "COMMIT", "")
    assert view.objectors == [person(1), person(2), person(3)]
    assert view.excluded[0] == {"juror": 4, "reason": "FAMILY", "by": 1}
    assert (view.jurors, view.panel, len(view.drawn)) == (16, 9, 9)
    assert view.seed == dispute(chain, claim).seed.hex()


def test_an_open_objection_has_no_draw_yet() -> None:
    chain = enrolled()
    claim = noticed(chain)
    objected(chain, claim)
    view = dispute_view(chain.state, row(chain, claim).dispute)
    assert view is not None
    assert (view.stage, view.draw, view.drawn, view.rejected) == ("OPEN", None, [], [])


def _swap(found: Dispute) -> dict[str, Any]:
    return {"drawn": (*found.drawn[1:], found.drawn[0])}


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("seed", lambda found: {"seed": bytes(32)}),
        ("drawn", _swap),
        ("drawn", lambda found: {"drawn": found.drawn[:-1]}),
        ("drawn", lambda found: {"rejected": (*found.rejected, (found.drawn[0], 8))}),
        ("drawn", lambda found: {"jurors": found.jurors + 40}),
        ("drawn", lambda found: {"panel": found.panel - 1}),
        ("rejected", lambda found: {"rejected": (*found.rejected, (99, 8))}),
        ("rejected", lambda found: {"rejected": tuple(reversed(found.rejected))}),
    ],
)
def test_a_draw_by_the_rules_verifies_and_any_other_does_not(field: str, change: Any) -> None:
    chain, claim = drawn()
    found = dispute(chain, claim)
    draw = chain.state.get(Draw, found.draw)
    assert len(found.rejected) > 1
    assert verify(found, draw) == ""
    assert verify(replace(found, **change(found)), draw) == field
