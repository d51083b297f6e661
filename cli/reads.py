"""Commands that show what a node has: one thing as lines, a page of many as columns."""

from collections.abc import Sequence
from typing import Any

import click

from .client import ask
from .output import console, listing, shown, table
from .status import flat

after_option = click.option("--after", type=click.IntRange(min=0), help="The `next` of the page before.")
limit_option = click.option("--limit", type=click.IntRange(1, 1_000), default=100, show_default=True)


def show_one(node: str, route: str, *, leave_out: Sequence[str] = ()) -> None:
    """The object at ``route``; people are spared ``leave_out``."""
    answer: dict[str, Any] = ask(node, lambda client: client.get(route))
    kept = {name: value for name, value in answer.items() if name not in leave_out}
    console().result(answer, listing(flat(kept)))


def show_page(node: str, route: str, name: str, columns: Sequence[str], **query: str | int | None) -> None:
    """The list ``name`` at ``route``, cut to ``columns`` for people; ``None`` in the query is left out."""
    given = {key: value for key, value in query.items() if value is not None}
    answer: dict[str, Any] = ask(node, lambda client: client.get(route, **given))
    rows = [[_cell(column, item[column]) for column in columns] for item in answer[name]]
    text = table([_heading(column) for column in columns], rows) if rows else f"there are no {name}"
    more = "" if answer.get("next") is None else f"\n\nnext: --after {answer['next']}"
    console().result(answer, text + more)


def _heading(column: str) -> str:
    return column.removesuffix("_ms").replace("_", " ")


def _cell(column: str, value: Any) -> object:
    return value["type"] if isinstance(value, dict) and "type" in value else shown(column, value)
