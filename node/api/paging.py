"""Lists cut into pages: ``limit``, and ``after`` = the ``next`` of the page before.

A page looks at a bounded number of rows, so it may be short and still have a ``next``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from aiohttp import web

from ledger.rows import Row
from ledger.state import StateReader

from . import asked
from .answers import answer, not_found
from .view import NodeView

R = TypeVar("R", bound=Row)
SCAN_ROWS_MAX: Final = 5_000
"""Rows a page looks at, whatever it finds."""


def page(
    view: NodeView, request: web.Request, name: str, kind: type[R], shown: Callable[[int, R], dict[str, Any] | None]
) -> web.Response:
    """Rows of a table as ``shown`` shows them, ascending by id; those for which it says ``None`` are left out."""
    at = view.current
    start = asked.integer(request, "after", -1) + 1
    limit = asked.limit(request)
    stop = min(at.state.length(kind), start + SCAN_ROWS_MAX)
    found: list[dict[str, Any]] = []
    last = start - 1
    for row_id, row in at.state.rows(kind, start, max(start, stop)):
        if len(found) == limit:
            break
        last = row_id
        item = shown(row_id, row)
        if item is not None:
            found.append(item)
    more = 0 <= last < at.state.length(kind) - 1
    return answer({"height": at.height, name: found, "next": last if more else None})


def wanted(request: web.Request, *names: str) -> dict[str, int]:
    """The integers of the query that are given, by name: what rows of a page must agree with."""
    given = {name: asked.maybe(request, name) for name in names}
    return {name: value for name, value in given.items() if value is not None}


def fits(row: Row, by: dict[str, int]) -> bool:
    """Whether a row has these values."""
    return all(getattr(row, name) == value for name, value in by.items())


def need(state: StateReader, kind: type[R], row_id: int, what: str) -> R:
    """The row. Raises ``TransactionRejected`` NOT_FOUND."""
    row = state.find(kind, row_id)
    if row is None:
        raise not_found(f"there is no {what} {row_id}")
    return row
