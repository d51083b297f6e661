"""The calendar of the slow oracle: days, months, ages and half-months, counted out one by one (LEDGER §3)."""

from functools import cache

DAY_MS = 86_400_000
EAST_MS = 8 * 3_600_000


def local_day(ms: int) -> int:
    """Days since 1970-01-01 on a clock in UTC+8."""
    return (ms + EAST_MS) // DAY_MS


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _month_lengths(year: int) -> list[int]:
    return [31, 29 if _is_leap(year) else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]


@cache
def month_number(day: int) -> int:
    """year·12 + month - 1 of a day, by counting years and months."""
    year = 1970
    while day >= 365 + _is_leap(year):
        day -= 365 + _is_leap(year)
        year += 1
    month = 0
    for length in _month_lengths(year):
        if day < length:
            break
        day -= length
        month += 1
    return year * 12 + month


def first_day(year: int, month_index: int) -> int:
    """The day number of the first of a month (``month_index`` 0 to 11)."""
    days = sum(365 + _is_leap(past) for past in range(1970, year))
    return days + sum(_month_lengths(year)[:month_index])


@cache
def notice_time(period: int) -> int:
    """00:00 (UTC+8) of the 7th or the 21st."""
    year, rest = 2018 + period // 24, period % 24
    return (first_day(year, rest // 2) + (6 if rest % 2 == 0 else 20)) * DAY_MS - EAST_MS


def settle_date(period: int) -> str:
    """The date on which a period is settled by the calendar, as ISO text."""
    year, rest = 2018 + period // 24, period % 24
    return f"{year}-{rest // 2 + 1:02}-{14 if rest % 2 == 0 else 28}"


def age(birth_month: int, day: int) -> int:
    """Completed years, a birthday counting on the 1st of the following month."""
    return max(0, (month_number(day) - birth_month - 1) // 12)
