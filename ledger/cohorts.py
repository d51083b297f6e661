"""Cohorts: how many members are counted, by birth month, beginning and base, so that nobody ever counts one by one.

Rules of this file (LEDGER §8)
- A cohort is (from, base) within a birth month: ``from`` only if it lies in this year or later, else 0 with base 0, for
  both matter only to the cap of the year in which the span began. At a year's first notice the older ones collapse.
- The live rows change at once with joins and exits. The notice copies them into ``frozen``; N, the charges and every
  statement of the period read only these copies.
- Counts stay positive; an entry that reaches 0 disappears. A count below 0 is our bug.
"""

from collections.abc import Iterator, Mapping

from .calendar import year_start
from .errors import InvariantViolation
from .rows import Cohort, Frozen, Member
from .state import Index, State, StateReader, u32

Key = tuple[int, int]
"""(from if in this year or later, else 0; base)."""


def key_of(member: Member, year: int) -> Key:
    """The cohort of a member within his birth month; ``year`` is the plan's."""
    return (member.from_period, member.base_fen) if member.from_period >= year_start(year) else (0, 0)


def rows(state: StateReader, plan_id: int) -> Iterator[tuple[int, Cohort]]:
    """(row id, live cohorts of a birth month) of a plan, ascending by birth month."""
    for _, raw_id in state.index_scan(Index.COHORT, u32(plan_id)):
        row_id = int.from_bytes(raw_id, "big")
        yield row_id, state.get(Cohort, row_id)


def adjust(state: State, plan_id: int, birth_month: int, changes: Mapping[Key, int]) -> None:
    """Add ``changes`` (members by cohort, positive or negative) to the live counts of one birth month."""
    index_key = u32(plan_id, birth_month)
    row_id = state.index_id(Index.COHORT, index_key)
    counts: dict[Key, int] = {}
    if row_id is not None:
        counts = {(start, base): count for start, base, count in state.get(Cohort, row_id).counts}
    for key, change in changes.items():
        counts[key] = counts.get(key, 0) + change
        if counts[key] < 0:
            raise InvariantViolation(
                f"plan {plan_id}, birth month {birth_month}: {counts[key]} members in cohort {key}"
            )
    row = Cohort(plan_id, birth_month, _entries(counts))
    if row_id is not None:
        state.put(row_id, row)
    else:
        state.index_put(Index.COHORT, index_key, state.append(row))


def collapse(state: State, plan_id: int, year: int) -> None:
    """The first notice of ``year``: what began before it is one cohort now."""
    start_of_year = year_start(year)
    for row_id, cohort in rows(state, plan_id):
        counts: dict[Key, int] = {}
        for start, base, count in cohort.counts:
            key = (start, base) if start >= start_of_year else (0, 0)
            counts[key] = counts.get(key, 0) + count
        entries = _entries(counts)
        if entries != cohort.counts:
            state.put(row_id, Cohort(plan_id, cohort.birth_month, entries))


def freeze(state: State, plan_id: int, period: int) -> list[Frozen]:
    """Copy the cohorts chargeable at ``period`` into ``frozen``, ascending by birth month; returns the new rows."""
    copies = []
    for _, cohort in rows(state, plan_id):
        counts = tuple(entry for entry in cohort.counts if entry[0] <= period)
        if counts:
            copies.append(Frozen(plan_id, period, cohort.birth_month, counts))
    state.append_many(copies)
    return copies


def _entries(counts: Mapping[Key, int]) -> tuple[tuple[int, int, int], ...]:
    return tuple((start, base, count) for (start, base), count in sorted(counts.items()) if count)
