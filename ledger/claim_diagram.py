"""``docs/claims.md``, drawn from ``claim_table``: a state diagram (Mermaid) and the table itself.

``page()`` is the whole file, which `make reference` writes; a test fails when it is stale. Nothing is drawn by hand,
after h11, whose diagrams come from the same tables that its state machine runs on.
"""

from collections.abc import Iterator
from typing import Final

from .claim_table import DEADLINES, ENTRY, HOLDABLE, REASONS, TABLE, ClaimState, Event, Transition

_EVERYWHERE: Final = {
    Event.HOLD: "FRAUD_HOLD, by an assessor and the regulator; released, it goes back to where it was held",
    Event.WITHDRAW: "WITHDRAWN, by the claimant",
}
"""Steps of many states, said once below the diagram instead of drawn from each."""

_HEAD: Final = """# The life of a claim

Drawn from `ledger/claim_table.py` by `ledger.claim_diagram.page`; a test compares. What is not in the table is refused
with `NO_SUCH_TRANSITION`. The guards of each step stand beside what it does: `ledger/claims.py`, `documents.py`,
`disputes.py`, `jury.py`, `experts.py`, `holds.py`, `remedies.py`, `payouts.py`, `plan_cycle.py`.

`make reference` writes it again.
"""


def page() -> str:
    """The text of ``docs/claims.md``."""
    parts = (_HEAD, "```mermaid", *_diagram(), "```", "", *_said_once(), "", *_rows(), "", *_reasons())
    return "\n".join(parts) + "\n"


def _words(name: str) -> str:
    return name.lower().replace("_", " ")


def _drawn() -> list[Transition]:
    return [row for row in TABLE if row.event not in (*_EVERYWHERE, Event.RELEASE)]


def _diagram() -> Iterator[str]:
    yield "stateDiagram-v2"
    yield f"    [*] --> {ENTRY.name}: file"
    yield f"    [*] --> {ClaimState.REFUSED_FINAL.name}: file, ill while waiting or in a gap of the cover"
    for row in _drawn():
        yield f"    {row.source.name} --> {row.target.name}: {_words(row.event.name)} ({row.by})"
    left = {row.source for row in TABLE}
    for state in ClaimState:
        if state not in left:
            yield f"    {state.name} --> [*]"


def _said_once() -> Iterator[str]:
    for event, sentence in _EVERYWHERE.items():
        sources = ", ".join(row.source.name for row in TABLE if row.event is event)
        yield f"- `{event.name}` from {sources}: to {sentence}."
    released = {row.target for row in TABLE if row.event is Event.RELEASE}
    if released != set(HOLDABLE):
        yield f"- `RELEASE` reaches {', '.join(state.name for state in sorted(released))}."


def _rows() -> Iterator[str]:
    yield "| from | step | to | by | deadline of the state |"
    yield "|---|---|---|---|---|"
    for row in TABLE:
        deadline = DEADLINES[row.source].name if row.source in DEADLINES else ""
        yield f"| {row.source.name} | {row.event.name} | {row.target.name} | {row.by} | {deadline} |"


def _reasons() -> Iterator[str]:
    yield "| reason | meaning |"
    yield "|---|---|"
    for code, meaning in REASONS.items():
        yield f"| {code} | {meaning} |"
