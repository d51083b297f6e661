"""Routes on what the organisations decide and say: proposals, the bank's balances and payments.

A proposal's action is shown by its name with its fields, as it stands in the transaction that proposed it.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ledger.governance import electorate
from ledger.organisations import name_of
from ledger.proposals import ProposalState
from ledger.references import PaymentKind
from ledger.rows import NONE, BankAttestation, Payment, Proposal

from . import asked
from .answers import answer, bad_request, plain
from .paging import fits, need, page, wanted
from .view import NodeView


class ConsortiumViews:
    """Routes on proposals, attestations and payments."""

    def __init__(self, view: NodeView) -> None:
        self._view = view

    async def proposal(self, request: web.Request) -> web.StreamResponse:
        """A proposal: what is to be done, who is in favour, how many are needed, until when; or what became of it."""
        at, proposal_id = self._view.current, asked.path_id(request)
        row = need(at.state, Proposal, proposal_id, "proposal")
        able = electorate(at.state)
        votes = {
            "votes": len(able.intersection(row.in_favour)),
            "needed": -(-2 * len(able) // 3),
            "electorate": sorted(able),
            "proposer_name": name_of(at.state, row.proposer),
        }
        return answer({"height": at.height, **_proposal(proposal_id, row), **votes})

    async def proposals(self, request: web.Request) -> web.StreamResponse:
        """Proposals: ?state= &proposer= &after= &limit=."""
        by = wanted(request, "proposer")
        state = request.query.get("state")
        if state is not None:
            if state not in ProposalState.__members__:
                raise bad_request(f"state must be one of {', '.join(ProposalState.__members__)}")
            by["state"] = ProposalState[state].value
        return page(
            self._view, request, "proposals", Proposal, lambda at, row: _proposal(at, row) if fits(row, by) else None
        )

    async def attestations(self, request: web.Request) -> web.StreamResponse:
        """What banks say that plans' accounts hold, beside the journal's cash, with the difference: ?plan= &bank=."""
        by = wanted(request, "plan", "bank")
        return page(
            self._view,
            request,
            "attestations",
            BankAttestation,
            lambda row_id, row: {"id": row_id, **plain(row)} if fits(row, by) else None,
        )

    async def payments(self, request: web.Request) -> web.StreamResponse:
        """The bank's words that money moved, each under a reference used once: ?kind= &subject= &after= &limit=."""
        by = wanted(request, "subject")
        kind = request.query.get("kind")
        if kind is not None:
            if kind not in PaymentKind.__members__:
                raise bad_request(f"kind must be one of {', '.join(PaymentKind.__members__)}")
            by["kind"] = PaymentKind[kind].value
        return page(
            self._view, request, "payments", Payment, lambda at, row: _payment(at, row) if fits(row, by) else None
        )


def _proposal(row_id: int, row: Proposal) -> dict[str, Any]:
    action = {"type": row.action.__struct_config__.tag, **plain(row.action)}
    shown = {"action": action, "state": ProposalState(row.state).name}
    return {"id": row_id, **plain(row), **shown, "proposer": None if row.proposer == NONE else row.proposer}


def _payment(row_id: int, row: Payment) -> dict[str, Any]:
    return {"id": row_id, **plain(row), "kind": PaymentKind(row.kind).name}
