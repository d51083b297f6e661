"""Routes on claims and those who judge them: claims, papers, disputes with their juries, jurors, double events.

Salts and event fingerprints of claims are left out: they would let a guess at the illness be confirmed (LEDGER §6).
Papers are commitments; what they say is not on the chain. Disputes name jurors by number, as their public rows do.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from aiohttp import web

from ledger.access import Purpose
from ledger.claim_table import DEADLINES, REASONS, ClaimState, Event, Judge
from ledger.dispute_view import dispute_view, verify
from ledger.fingerprints import same_event
from ledger.jury import Vote
from ledger.organisations import name_of
from ledger.rows import NONE, AccessEntry, Ballot, Claim, Dispute, Draw, Evidence, Fingerprint, Juror
from ledger.state import Index, StateReader, u64

from . import asked
from .answers import answer, bad_request, plain
from .paging import fits, need, page, wanted
from .view import NodeView

_CLAIM_SECRETS: Final = ("salt", "fingerprint")


class ClaimViews:
    """Routes on claims and disputes."""

    def __init__(self, view: NodeView) -> None:
        self._view = view

    async def claim(self, request: web.Request) -> web.StreamResponse:
        """A claim: where it stands, what it waits for, who works on it, what it pays, the same event in other plans."""
        at, claim_id = self._view.current, asked.path_id(request)
        row = need(at.state, Claim, claim_id, "claim")
        found = {"height": at.height, **_claim(claim_id, row), "same_event": same_event(at.state, claim_id, row)}
        for role in ("investigator", "reviewer", "hospital"):
            found[f"{role}_name"] = name_of(at.state, getattr(row, role))
        return answer(found)

    async def claims(self, request: web.Request) -> web.StreamResponse:
        """Claims: ?plan= &state= &period= &member= &after= &limit=."""
        by = wanted(request, "plan", "period", "member")
        state = request.query.get("state")
        if state is not None:
            if state not in ClaimState.__members__:
                raise bad_request(f"state must be one of {', '.join(ClaimState.__members__)}")
            by["state"] = ClaimState[state].value
        return page(self._view, request, "claims", Claim, lambda at, row: _claim(at, row) if fits(row, by) else None)

    async def evidence(self, request: web.Request) -> web.StreamResponse:
        """Documents that claimants gave, as commitments: ?claim= &after= &limit=."""
        by = wanted(request, "claim")

        def shown(row_id: int, row: Evidence) -> dict[str, Any] | None:
            papers = {"claim": row.claim, "given_ms": row.given_ms, "commitment": row.commitment.hex()}
            return {"id": row_id, **papers} if fits(row, by) else None

        return page(self._view, request, "evidence", Evidence, shown)

    async def access(self, request: web.Request) -> web.StreamResponse:
        """Who opened whose papers, when and what for: ?claim= &organisation= &after= &limit=."""
        by, state = wanted(request, "claim", "organisation"), self._view.current.state

        def shown(row_id: int, row: AccessEntry) -> dict[str, Any] | None:
            named = {"name": name_of(state, row.organisation), "purpose": Purpose(row.purpose).name}
            return {"id": row_id, **plain(row), **named} if fits(row, by) else None

        return page(self._view, request, "access", AccessEntry, shown)

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Events claimed in more than one plan: each claim with those of other plans for the same event."""
        state = self._view.current.state

        def shown(row_id: int, row: Fingerprint) -> dict[str, Any] | None:
            others = same_event(state, row.claim, state.get(Claim, row.claim))
            return {"id": row_id, "claim": row.claim, "same_event": list(others)} if others else None

        return page(self._view, request, "events", Fingerprint, shown)

    # ---- disputes ----

    async def dispute(self, request: web.Request) -> web.StreamResponse:
        """A dispute: who objects, the jury's draw with the rejected and why, ballots, and whether the rules give it."""
        at, dispute_id = self._view.current, asked.path_id(request)
        row = need(at.state, Dispute, dispute_id, "dispute")
        ballots = [found for juror in row.drawn if (found := _ballot(at.state, dispute_id, juror)) is not None]
        wrong = verify(row, at.state.get(Draw, row.draw)) if row.seed else ""
        by_rules = {"draw_by_the_rules": not wrong if row.seed else None}
        return answer({"height": at.height, **_dispute(at.state, dispute_id), "ballots": ballots, **by_rules})

    async def disputes(self, request: web.Request) -> web.StreamResponse:
        """Disputes: ?claim= &after= &limit=."""
        by, state = wanted(request, "claim"), self._view.current.state
        return page(
            self._view,
            request,
            "disputes",
            Dispute,
            lambda row_id, row: _dispute(state, row_id) if fits(row, by) else None,
        )

    async def jurors(self, request: web.Request) -> web.StreamResponse:
        """Members who passed the jurors' exam: ?member= &after= &limit=."""
        at, member = self._view.current, asked.maybe(request, "member")
        if member is None:
            return page(self._view, request, "jurors", Juror, lambda row_id, row: {"id": row_id, **plain(row)})
        known = at.state.index_id(Index.JUROR, u64(member))
        found = [] if known is None else [{"id": known, **plain(at.state.get(Juror, known))}]
        return answer({"height": at.height, "jurors": found, "next": None})


def _claim(claim_id: int, row: Claim) -> dict[str, Any]:
    fields = {name: value for name, value in plain(row).items() if name not in _CLAIM_SECRETS}
    state = ClaimState(row.state)
    judged = row.reviewer != NONE or row.reason != 0 or row.judge != Judge.FIRM
    return {
        "id": claim_id,
        **fields,
        "state": state.name,
        "judge": Judge(row.judge).name,
        "consents": [
            {"step": Event(step).name, "organisation": who, "reason": reason} for step, who, reason in row.consents
        ],
        "waits_for": DEADLINES[state].name if row.due_ms else None,
        "reason_text": REASONS[row.reason] if judged else None,
    }


def _dispute(state: StateReader, dispute_id: int) -> dict[str, Any]:
    found = dispute_view(state, dispute_id)
    return {} if found is None else asdict(found)


def _ballot(state: StateReader, dispute_id: int, juror: int) -> dict[str, Any] | None:
    row_id = state.index_id(Index.BALLOT, u64(dispute_id, juror))
    if row_id is None:
        return None
    row = state.get(Ballot, row_id)
    return {"juror": juror, "commitment": row.commitment.hex(), "vote": Vote(row.vote).name if row.vote else None}
