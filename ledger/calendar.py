"""Days, months and periods (DESIGN §4). Integers only; the calendar is proleptic Gregorian in UTC+8.

A day counts from 1970-01-01; a month is ``year·12 + (month - 1)``; a period is a half-month counted from 2018:
``24·(year - 2018) + 2·(month - 1) + (0: settled on the 14th, 1: on the 28th)``.
"""

from typing import Final

MS_PER_DAY: Final = 86_400_000
MS_PER_HOUR: Final = 3_600_000
UTC_OFFSET_MS: Final = 28_800_000
EPOCH_YEAR: Final = 2018
PERIODS_PER_YEAR: Final = 24

_NOTICE_DAYS: Final = (7, 21)
_SETTLE_DAYS: Final = (14, 28)


def day_of(ms: int) -> int:
    """The calendar day (UTC+8) of a time in milliseconds."""
    return (ms + UTC_OFFSET_MS) // MS_PER_DAY


def start_of_day(day: int) -> int:
    """The time in milliseconds at which ``day`` begins in UTC+8."""
    return day * MS_PER_DAY - UTC_OFFSET_MS


def day_from_civil(year: int, month: int, day: int) -> int:
    """The day number of a Gregorian date; ``month`` 1 to 12."""
    shifted = year - (month <= 2)
    era = shifted // 400
    year_of_era = shifted - era * 400
    day_of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146_097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719_468


def civil_from_day(day: int) -> tuple[int, int, int]:
    """(year, month, day of month) of a day number."""
    shifted = day + 719_468
    era = shifted // 146_097
    day_of_era = shifted - era * 146_097
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_index = (5 * day_of_year + 2) // 153
    month = month_index + (3 if month_index < 10 else -9)
    return year_of_era + era * 400 + (month <= 2), month, day_of_year - (153 * month_index + 2) // 5 + 1


def month_of(day: int) -> int:
    """``year·12 + (month - 1)`` of a day."""
    year, month, _ = civil_from_day(day)
    return year * 12 + month - 1


def age_on(birth_month: int, day: int) -> int:
    """Completed years on ``day``: a birthday counts on the 1st of the month after the birth month."""
    return (month_of(day) - birth_month - 1) // 12


def period_at(year: int, month: int, half: int) -> int:
    """The period of a half-month; ``month`` 1 to 12, ``half`` 0 (14th) or 1 (28th)."""
    return PERIODS_PER_YEAR * (year - EPOCH_YEAR) + 2 * (month - 1) + half


def year_of(period: int) -> int:
    """The calendar year a period belongs to, whenever it is settled."""
    return EPOCH_YEAR + period // PERIODS_PER_YEAR


def year_start(year: int) -> int:
    """The first period of a calendar year."""
    return PERIODS_PER_YEAR * (year - EPOCH_YEAR)


def _period_day(period: int, days: tuple[int, int]) -> int:
    month_index, half = divmod(period, 2)
    year, month = divmod(month_index, 12)
    return day_from_civil(EPOCH_YEAR + year, month + 1, days[half])


def notice_ms(period: int) -> int:
    """When the notice of ``period`` is due by the calendar: 00:00 of the 7th or 21st."""
    return start_of_day(_period_day(period, _NOTICE_DAYS))


def settle_ms(period: int) -> int:
    """When ``period`` is settled by the calendar: 00:00 of the 14th or 28th."""
    return start_of_day(_period_day(period, _SETTLE_DAYS))


def next_notice_period(ms: int) -> int:
    """The first period whose calendar notice is after ``ms``."""
    year, month, _ = civil_from_day(day_of(ms))
    period = period_at(year, month, 0)
    while notice_ms(period) <= ms:
        period += 1
    return period
