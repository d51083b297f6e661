"""What happens in each half-month of the demo: pure, from the published table to counts of members and claims.

The table (``configs/xhb_periods.csv``) tells for 74 half-months how many members Xiang Hu Bao had, how many cases it
paid and how much aid. ``--scale S`` divides members and aid, ``--case-scale C`` divides cases, so that a case pays
tier × C / S: shares, caps and minimum membership keep their real proportions (a share is aid / members; the cap of one
case, 10 fen, becomes 10·C fen because a case pays C times what it would at the members' scale).

Rounding is carried, never lost. Cases are rounded down: one appears when a whole one has come together, and with it its
aid with it; aid is rounded to the nearest sum that so many cases can make.
"""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Final

from ledger.calendar import period_at

FEN_PER_RMB: Final = 100
TIER_RMB: Final = (300_000, 100_000, 50_000)
"""What the three kinds of case pay in full: serious illness under 40, from 40 to 59, mild."""
YOUNG, MIDDLE, MILD = 0, 1, 2
CASE_CAP_FEN: Final = 10
"""The published cap: one case costs a member at most 0.10 RMB."""
MILD_SHARE: Final = 8
"""Where the table leaves a choice, about one case in eight is mild."""


class ScriptError(ValueError):
    """The table, or the scales chosen, cannot be replayed."""


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One half-month of the table, unscaled."""

    settle_date: str
    members: int
    cases: int
    aid_rmb: int
    published_fen: int | None
    """The published share; ``None`` where the table interpolates."""
    sponsored: bool


@dataclass(frozen=True, slots=True)
class Step:
    """One half-month of the demo, scaled."""

    settle_date: str
    period: int
    members: int
    """Chargeable at the notice."""
    cases: tuple[int, int, int]
    """How many pay each of the three tiers (``YOUNG``, ``MIDDLE``, ``MILD``)."""
    published_fen: int | None
    sponsored: bool

    @property
    def case_count(self) -> int:
        return sum(self.cases)


@dataclass(frozen=True, slots=True)
class Scale:
    """``members`` divides members and aid, ``cases`` divides cases."""

    members: int
    cases: int

    def __post_init__(self) -> None:
        if self.members < 1 or self.cases < 1:
            raise ScriptError("both scales must be at least 1")
        if TIER_RMB[MILD] * FEN_PER_RMB * self.cases % self.members:
            raise ScriptError(
                f"a case would pay {TIER_RMB[MILD]} x {self.cases} / {self.members} RMB, which is not a whole fen"
            )

    def aid_fen(self, kind: int) -> int:
        """What a case of one of the three kinds pays."""
        return TIER_RMB[kind] * FEN_PER_RMB * self.cases // self.members

    @property
    def case_cap_fen(self) -> int:
        """The plan's cap of one case, in proportion."""
        return CASE_CAP_FEN * self.cases


def _published(basis: str) -> int | None:
    for fact in basis.split(","):
        if fact.startswith("share="):
            rmb, _, fraction = fact.removeprefix("share=").partition(".")
            return int(rmb) * FEN_PER_RMB + int(fraction.ljust(2, "0"))
    return None


def read_rows(lines: Iterable[str]) -> list[PublishedRow]:
    """The table's rows in order. Raises ``ScriptError`` for a column or number that is missing."""
    return [_row(number, row) for number, row in enumerate(csv.DictReader(lines), start=1)]


def _row(number: int, row: dict[str, str]) -> PublishedRow:
    try:
        return PublishedRow(
            settle_date=row["settle_date"],
            members=int(row["members"]),
            cases=int(row["cases"]),
            aid_rmb=int(row["aid_rmb"]),
            published_fen=_published(row["basis"]),
            sponsored="paid by platform" in row["basis"],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ScriptError(f"row {number} of the table: {error!r}") from error


def period_of(settle_date: str) -> int:
    """The period number of a settlement date, the 14th or 28th of a month."""
    day = date.fromisoformat(settle_date)
    if day.day not in (14, 28):
        raise ScriptError(f"{settle_date} is not a settlement date")
    return period_at(day.year, day.month, int(day.day == 28))


def mix(count: int, units: int) -> tuple[int, int, int]:
    """``count`` cases of 6, 2 or 1 units whose sum is as near to ``units`` as possible.

    Among the equally near, the one whose share of mild cases is nearest to one in ``MILD_SHARE``.
    """
    best: tuple[tuple[int, int], tuple[int, int, int]] | None = None
    for young in range(count + 1):
        middle = min(max(units - count - 5 * young, 0), count - young)
        mild = count - young - middle
        missed = abs(6 * young + 2 * middle + mild - units)
        rank = (missed, abs(MILD_SHARE * mild - count))
        if best is None or rank < best[0]:
            best = (rank, (young, middle, mild))
    return best[1] if best is not None else (0, 0, 0)


def make_steps(rows: list[PublishedRow], scale: Scale) -> list[Step]:
    """The demo's half-months: case counts and aid rounded with carry, periods consecutive.

    Raises ``ScriptError`` when the rows do not follow each other or a row has no member at this scale.
    """
    steps: list[Step] = []
    unit_fen = scale.aid_fen(MILD)
    cases_carried = 0  # in 1/C of a case
    aid_carried = 0  # in 1/S fen
    for row in rows:
        cases_carried += row.cases
        count, cases_carried = divmod(cases_carried, scale.cases)
        aid_carried += row.aid_rmb * FEN_PER_RMB
        units = (2 * aid_carried + unit_fen * scale.members) // (2 * unit_fen * scale.members)
        cases = mix(count, units)
        paid = sum(number * scale.aid_fen(kind) for kind, number in enumerate(cases))
        aid_carried -= paid * scale.members
        steps.append(
            Step(
                row.settle_date,
                period_of(row.settle_date),
                row.members // scale.members,
                cases,
                row.published_fen,
                row.sponsored,
            )
        )
    if any(step.members < 1 for step in steps):
        raise ScriptError(f"a scale of {scale.members} leaves no members")
    if any(after.period != before.period + 1 for before, after in zip(steps, steps[1:], strict=False)):
        raise ScriptError("the half-months of the table are not consecutive")
    return steps
