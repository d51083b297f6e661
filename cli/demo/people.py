"""Who the demo's members are and what they do: the platform's own books, seeded, without any ledger.

The platform of a real plan knows whom it enrolled, whose debit failed and who asked for help; this file is that
knowledge. It decides joins, exits, claimants and failed debits so that the members chargeable at each notice are the
table's, and it foretells lapses (two failures in a row of the periods in which something was owed) because the joins
that replace them must be on the chain before the notice.

The sums of each collected id range are kept by bucket, so that a half-month costs what changed in it and not one step
for each of 100,000 members.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random
from typing import Final

from ledger.calendar import age_on, month_of
from ledger.params import ACCIDENT, ILLNESS

from .script import MIDDLE, MILD, YOUNG, ScriptError

AGE_MIN: Final = 18
AGE_MAX: Final = 55
"""Ages at joining; nobody turns 60 within the three years."""
MIDDLE_AGE: Final = 40
FAIL_PERCENT: Final = 1
SINGLES: Final = 10
"""Members a period who pay by single contribution."""
RANGE_MEMBERS: Final = 32_768
"""Members in one reported range of a collection."""
DIAGNOSIS_DAYS_AGO: Final = 7
"""A claim is filed at most so many days after the diagnosis."""


@dataclass(frozen=True, slots=True)
class Patient:
    """A member about to claim."""

    member: int
    kind: int
    cause: int
    diagnosis_day: int


@dataclass(frozen=True, slots=True)
class Range:
    """One range of a collection: ids ``first`` to ``last``, the failures in it, what the bank will confirm."""

    first: int
    last: int
    failures: tuple[int, ...]
    amount_fen: int


@dataclass(slots=True)
class _Open:
    """The period that was noticed last: who was chargeable, as counts a bucket, and whose debit will fail."""

    period: int
    counts: list[int]
    members: int
    """Length of the members' table at the notice."""
    failures: list[int]
    previous_charged: int | None


@dataclass(slots=True)
class People:
    """All members ever, by the id the ledger gave them."""

    random: Random
    waiting_days: int
    birth_months: list[int] = field(default_factory=list)
    join_days: list[int] = field(default_factory=list)
    arrears: dict[int, int] = field(default_factory=dict)
    """Unpaid fen of members whose newest debit failed."""
    failed: dict[int, int] = field(default_factory=dict)
    """The period of that debit."""
    active: list[int] = field(default_factory=list)
    """Chargeable at the next notice, in no order."""
    _place: dict[int, int] = field(default_factory=dict)
    _counts: list[int] = field(default_factory=list)
    _open: _Open | None = None
    _last_charged: int | None = None

    # ---- joining and leaving ---------------------------------------------------------------------------------------

    def applicants(self, count: int, day: int) -> list[tuple[bytes, int]]:
        """(identity, birth month) of ``count`` people who want to join on ``day``; they are not members yet."""
        month = month_of(day)
        people = []
        for _ in range(count):
            identity = sha256(self.random.randbytes(16)).digest()
            age_months = self.random.randrange(AGE_MIN * 12, AGE_MAX * 12)
            people.append((identity, month - 1 - age_months))
        return people

    def enrolled(self, first: int, birth_months: Iterable[int], day: int) -> None:
        """The ledger gave them the ids from ``first`` on. Raises ``ScriptError`` when that is not the next free id."""
        for member, birth_month in enumerate(birth_months, first):
            if member != len(self.birth_months):
                raise ScriptError(f"member {member} was enrolled, {len(self.birth_months)} was expected")
            self.birth_months.append(birth_month)
            self.join_days.append(day)
            if member % RANGE_MEMBERS == 0:
                self._counts.append(0)
            self._counts[member // RANGE_MEMBERS] += 1
            self._place[member] = len(self.active)
            self.active.append(member)

    def leave(self, member: int) -> None:
        """No longer chargeable from the next notice on; leaving twice is fine."""
        place = self._place.pop(member, None)
        if place is None:
            return
        last = self.active.pop()
        if last != member:
            self.active[place] = last
            self._place[last] = place
        self._counts[member // RANGE_MEMBERS] -= 1

    def leavers(self, count: int, staying: set[int]) -> list[int]:
        """``count`` active members, none of them in ``staying``, ascending."""
        chosen: set[int] = set()
        if count > len(self.active) - len(staying):
            raise ScriptError(f"{count} members should leave, there are {len(self.active)}")
        while len(chosen) < count:
            member = self.random.choice(self.active)
            if member not in staying:
                chosen.add(member)
        return sorted(chosen)

    # ---- falling ill -----------------------------------------------------------------------------------------------

    def patients(self, cases: tuple[int, int, int], today: int) -> list[Patient]:
        """Covered members in good standing who file a claim today, as many of each kind as ``cases`` says.

        Where nobody is past the waiting period yet the cause is an accident. Raises ``ScriptError`` when the members
        do not suffice.
        """
        chosen: set[int] = set(self._open.failures) if self._open is not None else set()
        patients = []
        for kind, count in enumerate(cases):
            for _ in range(count):
                patient = self._patient(kind, today, chosen)
                chosen.add(patient.member)
                patients.append(patient)
        self.random.shuffle(patients)
        return patients

    def _patient(self, kind: int, today: int, taken: set[int]) -> Patient:
        for cause in (ILLNESS, ACCIDENT):
            for member in self._candidates():
                if member in taken or member in self.arrears:
                    continue
                day = today - self.random.randrange(DIAGNOSIS_DAYS_AGO + 1)
                waiting = self.waiting_days if cause == ILLNESS else 0
                if day > self.join_days[member] + waiting and self._fits(member, kind, day):
                    return Patient(member, kind, cause, day)
        raise ScriptError("there are not enough covered members for the claims; choose another scale")

    def _candidates(self) -> Iterator[int]:
        """A few at random, then everybody: so that the ordinary draw is cheap and the last one still succeeds."""
        if self.active:
            yield from (self.random.choice(self.active) for _ in range(64))
        yield from self.random.sample(self.active, len(self.active))

    def _fits(self, member: int, kind: int, day: int) -> bool:
        young = age_on(self.birth_months[member], day) < MIDDLE_AGE
        return {YOUNG: young, MIDDLE: not young, MILD: True}[kind]

    # ---- paying ----------------------------------------------------------------------------------------------------

    def noticed(self, period: int) -> int:
        """The notice froze who is chargeable; returns how many. Draws the debits that are going to fail."""
        failures = sorted(self.random.sample(self.active, (len(self.active) * FAIL_PERCENT + 50) // 100))
        self._open = _Open(period, list(self._counts), len(self.birth_months), failures, self._last_charged)
        return len(self.active)

    def late_payers(self) -> list[tuple[int, int, int]]:
        """(member, period, arrears) of at most half of ``SINGLES`` who pay what failed before the next debit."""
        if self._last_charged is None:
            return []
        late = [member for member, period in self.failed.items() if period == self._last_charged]
        chosen = sorted(self.random.sample(late, min(SINGLES // 2, len(late))))
        return [(member, self._last_charged, self.arrears[member]) for member in chosen]

    def paid_arrears(self, member: int) -> None:
        """A single contribution settled what he owed."""
        del self.arrears[member], self.failed[member]

    def early_payers(self, count: int) -> list[int]:
        """``count`` members in good standing who pay the open period themselves, before the debits.

        Called before the joins that follow the notice: who joins now does not owe the open period.
        """
        unlikely = set(self._noticed().failures)
        pool = self.random.sample(self.active, min(len(self.active), 4 * SINGLES))
        steady = [m for m in pool if m not in unlikely and m not in self.arrears]
        return sorted(steady[:count])

    def lapsing(self) -> list[int]:
        """Members whose debit of the open period is their second to fail in a row, if something is owed."""
        noticed = self._noticed()
        if noticed.previous_charged is None:
            return []
        return [member for member in noticed.failures if self.failed.get(member) == noticed.previous_charged]

    def ranges(self, share_fen: int, paid_early: list[int]) -> list[Range]:
        """The collection of the open period: every debit is the share and the arrears, all or nothing."""
        noticed = self._noticed()
        amounts = [count * share_fen for count in noticed.counts]
        failures: list[list[int]] = [[] for _ in noticed.counts]
        for member, arrears in self.arrears.items():
            amounts[member // RANGE_MEMBERS] += arrears
        for member in noticed.failures:
            failures[member // RANGE_MEMBERS].append(member)
            amounts[member // RANGE_MEMBERS] -= share_fen + self.arrears.get(member, 0)
        for member in paid_early:
            amounts[member // RANGE_MEMBERS] -= share_fen
        return [
            Range(
                first=bucket * RANGE_MEMBERS,
                last=min((bucket + 1) * RANGE_MEMBERS, noticed.members) - 1,
                failures=tuple(failures[bucket]),
                amount_fen=amounts[bucket],
            )
            for bucket in range(len(noticed.counts))
        ]

    def closed(self, share_fen: int) -> None:
        """The open period closed with this share (0: nothing was owed, so nobody failed)."""
        noticed, lapsed = self._noticed(), set(self.lapsing())
        self._open = None
        if share_fen == 0:
            return
        still = [member for member in noticed.failures if member in self._place and member not in lapsed]
        for member in lapsed:
            self.leave(member)
        self.arrears = {member: self.arrears.get(member, 0) + share_fen for member in still}
        self.failed = dict.fromkeys(still, noticed.period)
        self._last_charged = noticed.period

    def _noticed(self) -> _Open:
        if self._open is None:
            raise ScriptError("no period is open")
        return self._open
