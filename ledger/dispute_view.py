"""A dispute for people: everything that is needed to recompute its draw, and how the ballots stand.

Public data (LEDGER §7): juror ids, no identities. ``verify`` says whether the draw was done by the rules.
"""

from dataclasses import dataclass

from . import draws, jury
from .disputes import Exclusion, Kind, Outcome, Stage
from .rows import NONE, Dispute, Draw
from .state import StateReader


@dataclass(frozen=True, slots=True)
class DisputeView:
    """One dispute; times are ledger milliseconds, hashes lower-case hexadecimal."""

    id: int
    claim: int
    kind: str
    stage: str
    outcome: str
    opened_ms: int
    objectors: list[int]
    excluded: list[dict[str, int | str]]
    """juror, reason, and the organisation that declared it."""
    draw: int | None
    jurors: int
    """Jurors registered when the draw was opened: ids below this could be drawn."""
    panel: int
    seed: str
    drawn: list[int]
    rejected: list[dict[str, int | str]]
    clear: int
    refuse: int


def dispute_view(state: StateReader, dispute_id: int) -> DisputeView | None:
    """A dispute, or ``None``."""
    row = state.find(Dispute, dispute_id)
    if row is None:
        return None
    return DisputeView(
        id=dispute_id,
        claim=row.claim,
        kind=Kind(row.kind).name,
        stage=Stage(row.stage).name,
        outcome=Outcome(row.outcome).name if row.outcome else "",
        opened_ms=row.opened_ms,
        objectors=list(row.objectors),
        excluded=[{"juror": at, "reason": Exclusion(why).name, "by": by} for at, why, by in row.excluded],
        draw=None if row.draw == NONE else row.draw,
        jurors=row.jurors,
        panel=row.panel,
        seed=row.seed.hex(),
        drawn=list(row.drawn),
        rejected=[{"juror": at, "reason": Exclusion(why).name} for at, why in row.rejected],
        clear=row.clear,
        refuse=row.refuse,
    )


def verify(row: Dispute, draw: Draw) -> str:
    """Empty when the jury of ``row`` is what the closed ``draw`` and the rules give; else the field that is not."""
    seed = draws.seed_of(draw.running, row.claim)
    if seed != row.seed:
        return "seed"
    drawn, rejected = jury.recompute_draw(seed, row.jurors, row.panel, dict(row.rejected))
    if drawn != row.drawn:
        return "drawn"
    return "" if rejected == row.rejected else "rejected"
