"""What a member was charged and what he owes, to the fen, from rows alone (LEDGER §8).

Rules of this file
- ``I[c][p]`` is the sum of the shares of class c over all settled periods before p; every settlement row holds the sums
  after its period. ``J_b`` is the same for a birth month: it follows the month from class to class.
- In a year, a member has been charged S(p) = (base if his span began in this year) + J_b[p] - J_b[max(from, year
  start)] before p, but never more than the year's cap. So a bill costs a few rows, however many periods it covers:
  ``bill = billed + Σ_years [min(cap, S(end)) - min(cap, S(start))]``.
- Arrears are *live* (in ARREARS) while no later charged period has closed. They are paid without touching the row when
  one closes without a failure; they are written off when the member left before such a period.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from .calendar import year_of, year_start
from .plans import STAGE_CLOSE, class_of, notice_day, settled_until, version_on, versions, year_cap_fen
from .rows import NO_END, NONE, Frozen, Member, Plan, Settlement, Span
from .state import Index, State, StateReader, u32


def settlement_id(state: StateReader, plan_id: int, period: int) -> int | None:
    """Row of ``settlements`` of a noticed period, or ``None``."""
    return state.index_id(Index.SETTLEMENT, u32(plan_id, period)) if period >= 0 else None


def settlement_of(state: StateReader, plan_id: int, period: int) -> Settlement | None:
    """The settlement of a noticed period, or ``None``."""
    row_id = settlement_id(state, plan_id, period)
    return None if row_id is None else state.get(Settlement, row_id)


class RunningSums:
    """I[c] and J_b of one plan, as far as it is settled. Reads each row once; make a new one after a change."""

    def __init__(self, state: StateReader, plan_id: int, plan: Plan) -> None:
        self.plan = plan
        self.settled_until = settled_until(plan)
        self.versions = versions(state, plan_id)
        self._state = state
        self._plan_id = plan_id
        self._sums: dict[int, dict[int, int]] = {}
        self._between: dict[tuple[int, int, int], int] = {}
        self._classes: dict[tuple[int, int], int] = {}
        self._caps: dict[int, int] = {}
        self._charges: dict[tuple[int, int, int, int], int] = {}
        single = {version.params.classes[0].class_id for _, version in self.versions}
        uniform = len(single) == 1 and all(len(version.params.classes) == 1 for _, version in self.versions)
        self._only_class = single.pop() if uniform else None

    def at(self, period: int) -> dict[int, int]:
        """I[c][period] by class id: all shares settled before ``period``."""
        found = self._sums.get(period)
        if found is None:
            found = self._sums[period] = dict(self._read(period))
        return found

    def _read(self, period: int) -> tuple[tuple[int, int], ...]:
        if period >= self.settled_until:
            return self.plan.index
        if period <= self.plan.first_period:
            return ()
        if period == year_start(self.plan.year):
            return self.plan.year_index
        return self._settlement(period - 1).index

    def _settlement(self, period: int) -> Settlement:
        row_id = self._state.index_id(Index.SETTLEMENT, u32(self._plan_id, period))
        return self._state.get(Settlement, NONE if row_id is None else row_id)

    def class_at(self, birth_month: int, period: int) -> int:
        """The class id of a birth month at the notice of ``period``."""
        if self._only_class is not None:
            return self._only_class
        found = self._classes.get((birth_month, period))
        if found is None:
            day = notice_day(period)
            params = version_on(self.versions, day)[1].params
            found = self._classes[birth_month, period] = class_of(params, birth_month, day).class_id
        return found

    def between(self, birth_month: int, start: int, stop: int) -> int:
        """J_b[stop] - J_b[start] in fen: the uncapped shares of a birth month from ``start`` to ``stop`` exclusive."""
        stop = min(stop, self.settled_until)
        if start >= stop:
            return 0
        if self._only_class is not None:
            return self.at(stop).get(self._only_class, 0) - self.at(start).get(self._only_class, 0)
        key = (birth_month, start, stop)
        found = self._between.get(key)
        if found is None:
            found = self._between[key] = sum(
                self.at(end).get(class_id, 0) - self.at(begin).get(class_id, 0)
                for class_id, begin, end in self._runs(birth_month, start, stop)
            )
        return found

    def _runs(self, birth_month: int, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """(class, start, stop) of the stretches in which a birth month stays in one class."""
        begin, present = start, self.class_at(birth_month, start)
        for period in range(start + 1, stop):
            following = self.class_at(birth_month, period)
            if following != present:
                yield present, begin, period
                begin, present = period, following
        yield present, begin, stop

    def cap(self, year: int) -> int:
        """The most a member is charged in ``year``, fen."""
        found = self._caps.get(year)
        if found is None:
            found = self._caps[year] = year_cap_fen(self.versions, year)
        return found

    def charged_before(self, birth_month: int, from_period: int, base: int, period: int) -> int:
        """S(period), uncapped: the shares of ``period``'s year before it, of a span that began at ``from_period``."""
        start = year_start(year_of(period))
        if from_period >= start:
            return base + self.between(birth_month, from_period, period)
        return self.between(birth_month, start, period)

    def charge(self, birth_month: int, from_period: int, base: int, period: int) -> int:
        """What a settled ``period`` charges a member of these birth month, from and base, fen."""
        key = (birth_month, from_period, base, period)
        found = self._charges.get(key)
        if found is None:
            before = self.charged_before(birth_month, from_period, base, period)
            cap = self.cap(year_of(period))
            found = min(cap, before + self.between(birth_month, period, period + 1)) - min(cap, before)
            self._charges[key] = found
        return found

    def span_bill(self, birth_month: int, from_period: int, to_period: int, base: int) -> int:
        """The bill of one span up to ``to_period`` exclusive, as far as it is settled, fen."""
        end = min(to_period, self.settled_until)
        total, start = 0, from_period
        while start < end:
            stop = min(end, year_start(year_of(start) + 1))
            cap = self.cap(year_of(start))
            before = base if start == from_period else 0
            total += min(cap, before + self.between(birth_month, start, stop)) - min(cap, before)
            start = stop
        return total


def sums_of(state: StateReader, plan_id: int, plan: Plan) -> RunningSums:
    """The running sums of a plan: in a block the same object, while neither its row nor its versions change."""
    if not isinstance(state, State):
        return RunningSums(state, plan_id, plan)
    key = ("sums", plan_id)
    known: RunningSums | None = state.memo.get(key)
    if known is None or known.plan is not plan or known.versions is not versions(state, plan_id):
        known = state.memo[key] = RunningSums(state, plan_id, plan)
    return known


def chargeable(member: Member, period: int) -> bool:
    """Whether the member shares ``period``."""
    return member.from_period <= period < member.to_period


def charge_of(sums: RunningSums, member: Member, period: int) -> int:
    """What a settled ``period`` charges this member in his present span, fen; 0 when it is not his."""
    if not chargeable(member, period):
        return 0
    return sums.charge(member.birth_month, member.from_period, member.base_fen, period)


def due_of(sums: RunningSums, member: Member) -> int:
    """What the settled and open period charges this member and he has not paid by single contribution, fen."""
    plan = sums.plan
    if plan.stage != STAGE_CLOSE or member.paid_period == plan.period:
        return 0
    return charge_of(sums, member, plan.period)


def is_pending(member: Member, plan: Plan) -> bool:
    """Whether a failure was reported for the open period: it counts from the close on, and may be corrected."""
    return plan.stage == STAGE_CLOSE and member.fail_period == plan.period


def live_arrears(member: Member, plan: Plan) -> int:
    """Arrears in ARREARS, fen, of a member without a pending failure: debited again with the next charged period."""
    if member.fail_period == NONE or member.fail_period != plan.last_charged or member.to_period <= plan.period:
        return 0
    return member.arrears_fen


def written_off(state: StateReader, member: Member, plan: Plan) -> int:
    """What he took with him when he lapsed or left, fen: in BAD_DEBT, and still his to pay."""
    if member.arrears_fen == 0 or member.to_period > plan.period:
        return 0
    last = member.to_period - 1
    if member.fail_period == last:
        return member.arrears_fen
    settlement = settlement_of(state, member.plan, last)
    paid_with_last = settlement is not None and settlement.charged_fen > 0 and chargeable(member, last)
    return 0 if paid_with_last else member.arrears_fen


@dataclass(frozen=True, slots=True)
class Owed:
    """What a member owes now, fen."""

    period: int
    """The settled and open period, or ``NONE``."""
    due_fen: int
    """His charge of that period, unless he paid it by single contribution or its debit was reported as failed."""
    arrears_fen: int
    """Failed debits: of the open period (reported, not closed yet) and live arrears."""
    written_off_fen: int

    @property
    def total_fen(self) -> int:
        """Everything."""
        return self.due_fen + self.arrears_fen + self.written_off_fen


def owed(state: StateReader, member: Member, sums: RunningSums | None = None) -> Owed:
    """What the member owes now: due of the open period, arrears, and what was written off when he left."""
    plan = state.get(Plan, member.plan) if sums is None else sums.plan
    period = plan.period if plan.stage == STAGE_CLOSE else NONE
    if is_pending(member, plan):
        return Owed(period, 0, member.arrears_fen, 0)
    due = due_of(RunningSums(state, member.plan, plan) if sums is None else sums, member)
    return Owed(period, due, live_arrears(member, plan), written_off(state, member, plan))


@dataclass(frozen=True, slots=True)
class Charge:
    """One settled period in a member's bill."""

    period: int
    settlement: int
    """Row of ``settlements``: its shares and sums are the proof."""
    class_id: int
    share_fen: int
    charge_fen: int
    """The share, less what was above the year's cap."""


def spans(state: StateReader, member: Member) -> list[tuple[int, Span]]:
    """(row id, closed span) of a member, the oldest first; his present span is in his own row."""
    found: list[tuple[int, Span]] = []
    row_id = member.previous_span
    while row_id != NONE:
        span = state.get(Span, row_id)
        found.append((row_id, span))
        row_id = span.previous_span
    found.reverse()
    return found


def total(state: StateReader, member: Member, sums: RunningSums | None = None) -> int:
    """The member's bill in fen: everything he was ever charged, by the closed formula."""
    if sums is None:
        sums = RunningSums(state, member.plan, state.get(Plan, member.plan))
    span = sums.span_bill(member.birth_month, member.from_period, member.to_period, member.base_fen)
    return member.billed_fen + span


def bill(state: StateReader, member_id: int) -> tuple[int, list[Charge]]:
    """(bill in fen, every settled period of his with its charge, ascending). The charges add up to the bill."""
    member = state.get(Member, member_id)
    plan = state.get(Plan, member.plan)
    sums = RunningSums(state, member.plan, plan)
    charges: list[Charge] = []
    lives = [(span.from_period, span.to_period, span.base_fen) for _, span in spans(state, member)]
    for start, stop, base in (*lives, (member.from_period, member.to_period, member.base_fen)):
        for period in range(start, min(stop, sums.settled_until)):
            row_id = settlement_id(state, member.plan, period)
            if row_id is not None:
                share = sums.between(member.birth_month, period, period + 1)
                charge = sums.charge(member.birth_month, start, base, period)
                charges.append(Charge(period, row_id, sums.class_at(member.birth_month, period), share, charge))
    return total(state, member, sums), charges


def frozen_id(state: StateReader, settlement: Settlement, birth_month: int) -> int | None:
    """Row of ``frozen`` in which a period counts the members of a birth month; ``None`` when it counts none."""
    low, high = settlement.frozen_first, settlement.frozen_first + settlement.frozen_count
    while low < high:
        middle = (low + high) // 2
        found = state.get(Frozen, middle).birth_month
        if found == birth_month:
            return middle
        if found < birth_month:
            low = middle + 1
        else:
            high = middle
    return None


@dataclass(frozen=True, slots=True)
class Statement:
    """Everything a member's statement needs, and the rows that prove it."""

    member: int
    bill_fen: int
    charges: tuple[Charge, ...]
    owed: Owed
    spans: tuple[int, ...]
    """Rows of ``spans``, the oldest first."""
    cohort: int | None
    """Row of ``cohorts`` that counts him now (if he is counted)."""
    frozen: int | None
    """Row of ``frozen`` that counted him at the newest notice (if it did)."""


def statement(state: StateReader, member_id: int) -> Statement:
    """The parts of a member's statement as of now."""
    member = state.get(Member, member_id)
    plan = state.get(Plan, member.plan)
    amount, charges = bill(state, member_id)
    newest = settlement_of(state, member.plan, plan.period if plan.settlement != NONE else plan.period - 1)
    counted_then = newest is not None and chargeable(member, newest.period)
    counted_now = member.to_period == NO_END
    return Statement(
        member=member_id,
        bill_fen=amount,
        charges=tuple(charges),
        owed=owed(state, member),
        spans=tuple(row_id for row_id, _ in spans(state, member)),
        cohort=state.index_id(Index.COHORT, u32(member.plan, member.birth_month)) if counted_now else None,
        frozen=frozen_id(state, newest, member.birth_month) if newest is not None and counted_then else None,
    )
