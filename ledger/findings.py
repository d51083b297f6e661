"""Sentences about what a file proves, and how amounts and days stand in them (LEDGER §10)."""

from dataclasses import dataclass

from . import calendar


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence of the answer."""

    text: str
    recomputed: bool
    """Else it is certified only."""


def recomputed(text: str) -> Finding:
    """A sentence whose arithmetic the verifier did himself."""
    return Finding(text, recomputed=True)


def certified(text: str) -> Finding:
    """A sentence that is the validators' word."""
    return Finding(text, recomputed=False)


def rmb(fen: int) -> str:
    """Fen as RMB with two digits."""
    return f"{fen // 100:,}.{fen % 100:02} RMB"


def day_text(day: int) -> str:
    """A calendar day as YYYY-MM-DD."""
    year, month, day_of_month = calendar.civil_from_day(day)
    return f"{year:04}-{month:02}-{day_of_month:02}"


def month_text(month: int) -> str:
    """``year·12 + month - 1`` as YYYY-MM."""
    return f"{month // 12:04}-{month % 12 + 1:02}"


def time_text(ms: int) -> str:
    """Unix milliseconds as day and time of UTC+8."""
    seconds = (ms + calendar.UTC_OFFSET_MS) // 1_000 % 86_400
    return f"{day_text(calendar.day_of(ms))} {seconds // 3_600:02}:{seconds // 60 % 60:02}:{seconds % 60:02} (UTC+8)"
