"""What happens on the measured ledger, as a function of numbers alone: who joins, falls ill, pays, fails.

Nothing is remembered: a killed bench makes the same blocks again from where the store stands, and the bills of a
sample are recomputed here from the shares and this script, without the ledger's formulas.

Rules of this file

* Of each range of ``RANGE`` members 1 % fail in every period, drawn anew for each; who fails two in a row lapses.
* Singles pay in the first period, before its collection. The ill are members ``0, 1, ...``, some in each period; they
  never fail.
"""

from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Final

from ledger.calendar import day_of, month_of
from ledger.codec import digest
from ledger.limits import BATCH_ITEMS_MAX
from ledger.transactions import EnrolBatch

from .ledger_chain import BEGIN_MS, PLAN

PERIODS: Final = 5
RANGE: Final = 1_000_000
"""Members of one reported range: 1 % of it is the most failures that one transaction may carry."""
FAIL_ONE_IN: Final = 100
SINGLE_BLOCKS: Final = 10
SINGLES_A_BLOCK: Final = 10_000
SINGLES_SHARE_MAX: Final = 10
"""At most one member in so many pays by single contribution."""
AID_FEN: Final = 30_000_000
"""What one of the ill gets: tier 1, under 40."""
SHARE_FEN_MIN: Final = 3
"""So many cases a period that a member owes at least this."""
_BIRTH_MONTH: Final = month_of(day_of(BEGIN_MS)) - 20 * 12
_BIRTH_MONTHS: Final = 220
_SEED: Final = "huzhu bench ledger"


@dataclass(frozen=True)
class Script:
    """The life of ``members`` members over ``PERIODS`` half-months."""

    members: int

    @property
    def cases(self) -> int:
        """Of each period."""
        return 1 + SHARE_FEN_MIN * self.members // AID_FEN

    def ill(self, number: int) -> range:
        """The members who fall ill before the notice of period ``number`` (from 0)."""
        return range(number * self.cases, (number + 1) * self.cases)

    def batch(self, first: int) -> EnrolBatch:
        """The enrolment of the members from ``first`` on, as many as one transaction takes."""
        numbers = range(first, min(first + BATCH_ITEMS_MAX, self.members))
        return EnrolBatch(PLAN, tuple((identity(n), _BIRTH_MONTH - n % _BIRTH_MONTHS) for n in numbers))

    @cached_property
    def singles(self) -> tuple[int, ...]:
        """Who pays by single contribution in the first period, in random order."""
        fit = range(PERIODS * self.cases, self.members)
        wanted = min(SINGLE_BLOCKS * SINGLES_A_BLOCK, self.members // SINGLES_SHARE_MAX)
        return tuple(Random(f"{_SEED} singles {self.members}").sample(fit, wanted))

    @cached_property
    def _paid(self) -> list[int]:
        return sorted(self.singles)

    def ranges(self) -> list[tuple[int, int]]:
        """(first, last) of the ranges of a collection."""
        return [(first, min(first + RANGE, self.members) - 1) for first in range(0, self.members, RANGE)]

    def failures(self, first: int, last: int, number: int) -> list["Failures"]:
        """Who fails in a range, for every period up to ``number``."""
        found: list[Failures] = []
        lapsed: set[int] = set()
        for period in range(number + 1):
            drawn = Random(f"{_SEED} {period} {first} {last}").sample(
                range(first, last + 1), (last + 1 - first) // FAIL_ONE_IN
            )
            before = found[-1].ids if found else frozenset()
            well = PERIODS * self.cases
            ids = frozenset(n for n in drawn if n >= well and n not in lapsed and not (period == 0 and self.pays(n)))
            again = ids & before
            found.append(Failures(ids, again, len(lapsed)))
            lapsed |= again
        return found

    def pays(self, member: int) -> bool:
        """Whether he pays by single contribution in the first period."""
        at = bisect_left(self._paid, member)
        return at < len(self._paid) and self._paid[at] == member

    def singles_in(self, first: int, last: int) -> int:
        """How many of a range pay by single contribution."""
        return bisect_left(self._paid, last + 1) - bisect_left(self._paid, first)

    def sample(self, count: int) -> list[int]:
        """Members whose bills are looked up, ascending."""
        return sorted(Random(f"{_SEED} bills {self.members}").choices(range(self.members), k=count))


@dataclass(frozen=True)
class Failures:
    """The failures of one range in one period."""

    ids: frozenset[int]
    again: frozenset[int]
    """Those of them who failed in the period before as well: they lapse, and share no later period."""
    lapsed_before: int
    """Members of the range who had lapsed before the period."""


def identity(member: int) -> bytes:
    """The keyed hash of a person."""
    return digest(b"bench member %d" % member)
