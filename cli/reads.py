"""Commands that show what a node has: one thing as lines, a page of many as columns."""

from collections.abc import Sequence
from typing import Any

import click

from .client import ask
from .output import console, listing, table
from .status import flat

after_option = click.option("--after", type=click.IntRange(min=0), help="The `next` of the page before.")
limit_option = click.option("--limit", type=click.IntRange(1, 1_000), default=100, show_default=True)


def show_one(node: str, route: str, *, leave_out: Sequence[str] = ()) -> None:
    """The object at ``route``; people are spared ``leave_out``."""
    answer: dict[str, Any] = ask(node, lambda client: client.get(route))
    shown = {name: value for name, value in answer.items() if name not in leave_out}
    console().result(answer, listing(flat(shown)))


def show_page(node: str, route: str, name: str, columns: Sequence[str], **query: str | int | None) -> None:
    """The list ``name`` at ``route``, cut to ``columns`` for people; ``None`` in the query is left out."""
    given = {key: value for key, value in query.items() if value is not None}
    answer: dict[str, Any] = ask(node, lambda client: client.get(route, **given))
    rows = [[_cell(item[column]) for column in columns] for item in answer[name]]
    shown = table([column.replace("_", " ") for column in columns], rows) if rows else f"there are no {name}"
    more = "" if answer.get("next") is None else f"\n\nnext: --after {answer['next']}"
    console().result(answer, shown + more)


def _cell(value: Any) -> object:
    if value is None:
        return "-"
    if isinstance(value, list):
        return ",".join(str(item) for item in value) or "-"
    return value["type"] if isinstance(value, dict) and "type" in value else value
