"""Routes that show the ledger: members with their bills, plans, settlements, organisations, validators.

Rows are shown as they are, with what is derived from them beside. Claims and disputes are ``claim_views``'s, what the
organisations decide ``consortium_views``'s.
"""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from ledger import bills, calendar, deadlines, member_keys, members
from ledger.clock import clock
from ledger.organisations import OrganisationState
from ledger.plans import STAGE_CLOSE, STAGE_NOTICE, STAGE_SETTLE, version_at, versions
from ledger.roles import Role
from ledger.rows import (
    Account,
    Collection,
    Member,
    Organisation,
    Plan,
    Row,
    Settlement,
    Validator,
)
from ledger.state import Index, u32

from . import asked
from .answers import answer, not_found, plain
from .paging import SCAN_ROWS_MAX, need, page
from .proving import PROVABLE, prove
from .view import NodeView, StateAt

PLAN_MAX: Final = 2**32 - 1
STAGES: Final = {STAGE_NOTICE: "NOTICE", STAGE_SETTLE: "SETTLE", STAGE_CLOSE: "CLOSE"}
"""The deadline of a plan that comes next."""
SETTLEMENT_STAGES: Final = {1: "NOTICED", 2: "SETTLED", 3: "CLOSED"}
_ROW_OF_TABLE: Final[dict[str, type[Row]]] = {
    kind.table.name.lower(): kind for kind in Row.__subclasses__() if kind.table in PROVABLE
}


def ledger_time_ms(at: StateAt) -> int:
    """Ledger time of the newest block, with the offset that is in force from the next one on."""
    header = at.blocks.header(at.height)
    return 0 if header is None else header.time_ms + clock(at.state).offset_ms


def date_text(day: int) -> str:
    """``2019-11-14`` of a calendar day."""
    year, month, day_of_month = calendar.civil_from_day(day)
    return f"{year:04}-{month:02}-{day_of_month:02}"


def period_text(period: int) -> str:
    """The settlement date of a period by the calendar."""
    return date_text(calendar.day_of(calendar.settle_ms(period)))


class LedgerViews:
    """Routes on the ledger's state."""

    def __init__(self, view: NodeView) -> None:
        self._view = view

    # ---- members ----

    async def member(self, request: web.Request) -> web.StreamResponse:
        """A member: row, state on the ledger's day, what he owes, his bill; ?prove=true adds the proof of the row."""
        at, member_id = self._view.current, asked.path_id(request)
        found = self._member(at, member_id)
        if asked.flag(request, "prove"):
            found["proof"] = prove(self._view, Member, member_id)
        return answer(found)

    async def member_by_identity(self, request: web.Request) -> web.StreamResponse:
        """The member with ?identity=hex of ?plan=; without an identity a page of all: ?after= &limit=."""
        at = self._view.current
        if "identity" not in request.query:
            return page(self._view, request, "members", Member, lambda member_id, row: {"id": member_id, **plain(row)})
        identity = asked.digest(request.query["identity"], "identity")
        plan = asked.integer(request, "plan", 0, high=PLAN_MAX)
        member_id = members.find_identity(at.state, plan, identity)
        if member_id is None:
            raise not_found(f"no member of plan {plan} has this identity")
        return answer(self._member(at, member_id))

    async def bill(self, request: web.Request) -> web.StreamResponse:
        """A member's bill: every settled period with its share and charge; the charges add up to bill_fen."""
        at, member_id = self._view.current, asked.path_id(request)
        need(at.state, Member, member_id, "member")
        statement = bills.statement(at.state, member_id)
        charges = [{"date": period_text(charge.period), **plain(charge)} for charge in statement.charges]
        return answer({"height": at.height, **plain(statement), "charges": charges})

    def _member(self, at: StateAt, member_id: int) -> dict[str, Any]:
        row = need(at.state, Member, member_id, "member")
        plan = at.state.get(Plan, row.plan)
        now_ms = ledger_time_ms(at)
        day, key = calendar.day_of(now_ms), member_keys.key_of(at.state, member_id, now_ms)
        params = version_at(at.state, row.plan, day)[1].params
        return {
            "id": member_id,
            "height": at.height,
            "state": members.member_state(row, day, plan, params, members.waits_from(at.state, row)),
            "day": date_text(day),
            "joined": date_text(row.join_day),
            "bill_fen": bills.total(at.state, row),
            "own_key": None if key is None else key.hex(),
            "owed": {**plain(bills.owed(at.state, row)), "total_fen": bills.owed(at.state, row).total_fen},
            "row": plain(row),
        }

    # ---- plans and money ----

    async def plans(self, request: web.Request) -> web.StreamResponse:
        """All plans, each with what comes next."""
        at = self._view.current
        return answer({"height": at.height, "plans": [_plan(plan_id, row) for plan_id, row in at.state.rows(Plan)]})

    async def plan(self, request: web.Request) -> web.StreamResponse:
        """A plan: what comes next, its account (the journal), the versions of its parameters; ?prove=true."""
        at, plan_id = self._view.current, asked.path_id(request, high=PLAN_MAX)
        row = need(at.state, Plan, plan_id, "plan")
        found = {
            "height": at.height,
            **_plan(plan_id, row),
            "members_total": at.state.length(Member),
            "account": plain(at.state.get(Account, plan_id)),
            "versions": [{"row_id": row_id, **plain(version)} for row_id, version in versions(at.state, plan_id)],
        }
        if asked.flag(request, "prove"):
            found["proof"] = prove(self._view, Plan, plan_id)
            found["account_proof"] = prove(self._view, Account, plan_id)
        return answer(found)

    async def settlements(self, request: web.Request) -> web.StreamResponse:
        """The periods of ?plan= (default 0) that were noticed, ascending: ?after=period &limit=."""
        at = self._view.current
        plan = asked.integer(request, "plan", 0, high=PLAN_MAX)
        need(at.state, Plan, plan, "plan")
        start = asked.integer(request, "after", -1, high=PLAN_MAX - 1) + 1
        limit = asked.limit(request)
        found: list[dict[str, Any]] = []
        for _, row_id in at.state.index_scan(Index.SETTLEMENT, u32(plan), start=u32(start)):
            if len(found) == limit:
                break
            number = int.from_bytes(row_id, "big")
            found.append(_settlement(number, at.state.get(Settlement, number)))
        following = found[-1]["period"] if len(found) == limit else None
        return answer({"height": at.height, "settlements": found, "next": following})

    async def settlement(self, request: web.Request) -> web.StreamResponse:
        """One period of one plan: counts, aid, fee, carry, shares, collection; ?prove=true."""
        at = self._view.current
        plan, period = asked.path_id(request, "plan", PLAN_MAX), asked.path_id(request, "period", PLAN_MAX)
        row_id = bills.settlement_id(at.state, plan, period)
        if row_id is None:
            raise not_found(f"plan {plan} has not noticed period {period}")
        found = {"height": at.height, **_settlement(row_id, at.state.get(Settlement, row_id))}
        if asked.flag(request, "prove"):
            found["proof"] = prove(self._view, Settlement, row_id)
        return answer(found)

    async def collections(self, request: web.Request) -> web.StreamResponse:
        """Reported collections: ?plan= &period= &after= &limit=."""
        plan, period = asked.maybe(request, "plan"), asked.maybe(request, "period")

        def shown(row_id: int, row: Collection) -> dict[str, Any] | None:
            if plan not in (None, row.plan) or period not in (None, row.period):
                return None
            return {"id": row_id, "failures_count": len(row.failures), **plain(row)}

        return page(self._view, request, "collections", Collection, shown)

    # ---- the consortium ----

    async def organisations(self, request: web.Request) -> web.StreamResponse:
        """The organisations, with roles, keys and addresses."""
        return page(self._view, request, "organisations", Organisation, _organisation)

    async def validators(self, request: web.Request) -> web.StreamResponse:
        """The validator set of the next height, and every seat's row."""
        at = self._view.current
        header = at.blocks.header(at.height)
        entries = () if header is None else at.blocks.validators(header.next_validators_hash) or ()
        names = {row_id: row.name for row_id, row in at.state.rows(Organisation)}
        seats = [
            {"seat": seat, "name": names.get(row.organisation), "skipped": row.skipped_until > at.height, **plain(row)}
            for seat, row in at.state.rows(Validator)
        ]
        shown = [
            {"index": index, "name": names.get(entry.organisation), **plain(entry)}
            for index, entry in enumerate(entries)
        ]
        return answer({"height": at.height, "validators": shown, "seats": seats})

    async def next_deadline(self, request: web.Request) -> web.StreamResponse:
        """The earliest deadline, and how many are overdue: a stepped clock moves on when none is."""
        at = self._view.current
        now = ledger_time_ms(at)
        upcoming = next(deadlines.upcoming(at.state), None)
        overdue = 0
        for _ in deadlines.due(at.state, now):
            overdue += 1
            if overdue == SCAN_ROWS_MAX:
                break
        return answer(
            {
                "height": at.height,
                "ledger_time_ms": now,
                "next_due_ms": None if upcoming is None else upcoming.due_ms,
                "kind": None if upcoming is None else deadlines.DeadlineKind(upcoming.kind).name,
                "id": None if upcoming is None else upcoming.id,
                "overdue": overdue,
                "pending_transactions": len(self._view.mempool),
            }
        )

    # ---- proofs ----

    async def proof(self, request: web.Request) -> web.StreamResponse:
        """The ICS-23 proof of one row of a table, with header and certificate."""
        name = request.match_info["table"]
        kind = _ROW_OF_TABLE.get(name)
        if kind is None:
            raise not_found(f"no public table {name[:40]!r}; there are {', '.join(_ROW_OF_TABLE)}")
        return answer(prove(self._view, kind, asked.path_id(request)))


def _plan(plan_id: int, row: Plan) -> dict[str, Any]:
    return {"id": plan_id, **plain(row), "stage": STAGES[row.stage], "date": period_text(row.period)}


def _settlement(row_id: int, row: Settlement) -> dict[str, Any]:
    return {"id": row_id, **plain(row), "stage": SETTLEMENT_STAGES[row.stage], "date": period_text(row.period)}


def _organisation(row_id: int, row: Organisation) -> dict[str, Any]:
    roles = [role.name for role in Role if row.roles & role]
    return {"id": row_id, **plain(row), "roles": roles, "state": OrganisationState(row.state).name}
