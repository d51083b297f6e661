"""The slow oracle of the settlement for property tests: every member of one plan by hand, one after the other.

It imports nothing of ``ledger``. It keeps a list of charges for every person, adds where the ledger uses formulas,
divides with fractions where the ledger uses integers, applies failures only when the period closes, and posts every
single person's money. It knows versions, classes with weights, caps by calendar year, sponsored periods, leaving,
lapsing, coming back.
"""

from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction
from math import ceil, floor

ASSETS = ("cash", "due", "arrears", "sponsor", "bad_debt")
DUTIES = ("claims", "fee", "carry", "advance", "refunds", "clearing")


class Refused(Exception):
    """The charter does not allow it; the argument is the code."""


@dataclass(frozen=True)
class Rules:
    """What the settlement needs of one version of a plan, in force from ``begins``."""

    begins: date
    fee_bps: int
    year_cap: int
    lapse_fails: int
    bands: tuple[tuple[int, int, int], ...]
    """(age from, class, weight)."""
    reinstate_days: int = 60


def calendar_year(period: int) -> int:
    """The calendar year a period belongs to."""
    return 2018 + period // 24


def notice_date(period: int) -> date:
    """The 7th or the 21st."""
    return date(calendar_year(period), period % 24 // 2 + 1, 7 if period % 2 == 0 else 21)


def years_old(birth_month: int, day: date) -> int:
    """Completed years; the birthday is the first of the month after the birth month."""
    year, month = divmod(birth_month + 1, 12)
    years = day.year - year
    return years if (day.month, day.day) >= (month + 1, 1) else years - 1


@dataclass
class Person:
    """One member, by hand."""

    birth_month: int
    first: int
    """The first period of his present span."""
    end: int | None = None
    gone: str = ""
    """Why he is no current member."""
    charges: dict[int, int] = field(default_factory=dict)
    due: int = 0
    arrears: int = 0
    fails: int = 0
    failed_period: int = -1
    lost: int = 0
    """Written off when he left, and not paid since."""
    unpaid: dict[int, int] = field(default_factory=dict)
    """What of each period's charge he has not paid."""
    waits_from: date = date(2018, 1, 1)
    """The day whose waiting he is in, or has behind him."""
    first_waited: int = 0
    """The first period charged since then."""
    lapsed_on: date | None = None
    undone: dict[int, int] = field(default_factory=dict)
    """Charges taken back: the notice that counted him still knew them."""
    first_ever: int = 0
    struck: bool = False
    """He was counted for the period that is noticed, and is dead or void since."""

    def shares(self, period: int) -> bool:
        """Whether the period is his to share."""
        return self.first <= period and (self.end is None or period < self.end)

    def bill(self) -> int:
        """Everything he was ever charged."""
        return sum(self.charges.values())


@dataclass
class Report:
    """A collected range."""

    first: int
    last: int
    failed: set[int]
    replaced: bool = False


@dataclass
class Result:
    """What a settlement found."""

    members: int
    shares: dict[int, int]
    goal: int
    used: int
    over: int
    charged: int
    excess: int


class ByHand:
    """One plan. Call in the order notice, settle, close; members and money may move at any time between."""

    def __init__(self, rules: list[Rules], first_period: int) -> None:
        self.rules = rules
        self.period = first_period
        self.stage = "quiet"
        self.people: list[Person] = []
        self.accounts = dict.fromkeys(ASSETS + DUTIES, 0)
        self.sharing: list[int] = []
        self.sponsored: set[int] = set()
        self.reports: list[Report] = []
        self.bad_debt_noticed = 0
        self.confirmed = 0
        self.charged = 0
        self.today = date(2018, 1, 1)
        self.surplus: dict[int, int] = {}
        """Money of closed periods that nobody has claimed, by period."""

    # -- the rules' own words ----------------------------------------------------------------------------------

    def rules_on(self, day: date) -> Rules:
        """The version in force on a day; before the first, the first."""
        present = self.rules[0]
        for version in self.rules:
            if version.begins <= day:
                present = version
        return present

    def class_of(self, person: Person) -> tuple[int, int]:
        """(class, weight) at the notice of the present period."""
        day = notice_date(self.period)
        age = years_old(person.birth_month, day)
        bands = [band for band in self.rules_on(day).bands if band[0] <= max(age, 0)]
        return bands[-1][1], bands[-1][2]

    def cap(self) -> int:
        """The most anybody pays in the present period's calendar year."""
        return self.rules_on(date(calendar_year(self.period), 1, 1)).year_cap

    def coming(self) -> int:
        """The next period whose notice is not out."""
        return self.period if self.stage == "quiet" else self.period + 1

    def move(self, debit: str, credit: str, amount: int) -> None:
        """One posting."""
        self.accounts[debit] += amount if debit in ASSETS else -amount
        self.accounts[credit] += amount if credit in DUTIES else -amount

    # -- members -----------------------------------------------------------------------------------------------

    def first_for(self, day: date) -> int:
        """First period charged to somebody who joins on ``day`` (at noon)."""
        period = self.coming()
        while notice_date(period) <= day:
            period += 1
        return period

    def join(self, birth_month: int, day: date) -> int:
        """A new member; his number."""
        first = self.first_for(day)
        self.people.append(Person(birth_month, first, waits_from=day, first_waited=first, first_ever=first))
        return len(self.people) - 1

    def leave(self, number: int, why: str = "exited") -> None:
        """He goes; who was counted pays."""
        person = self.people[number]
        if person.gone:
            if why != "helped" and person.gone != "suspended":
                raise Refused("NOT_A_CURRENT_MEMBER")
            person.gone = why
            return
        person.gone = why
        person.end = max(person.first, self.coming())
        if self.stage == "quiet":
            self._write_off(person)

    def _write_off(self, person: Person) -> None:
        self.move("bad_debt", "arrears", person.arrears)
        person.lost += person.arrears
        person.arrears = 0

    def come_back(self, number: int, day: date) -> None:
        """He joins again; soon after a lapse without a new waiting."""
        person = self.people[number]
        refusals = {"": "DUPLICATE_MEMBER", "suspended": "DUPLICATE_MEMBER", "helped": "ALREADY_HELPED"}
        refusals |= dict.fromkeys(("dead", "void", "expelled"), "NOT_A_CURRENT_MEMBER")
        if person.gone in refusals:
            raise Refused(refusals[person.gone])
        lately = person.gone == "lapsed" and person.lapsed_on is not None
        if lately and person.lapsed_on is not None:
            lately = (day - person.lapsed_on).days <= self.rules_on(day).reinstate_days
        self._go_on(person, day, lately)

    def _go_on(self, person: Person, day: date, waited: bool) -> None:
        if person.lost:
            raise Refused("ARREARS_UNPAID")
        person.gone = ""
        if person.end is not None and person.end < self.coming():
            person.first = self.first_for(day)
            person.fails = 0
            if not waited:
                person.waits_from, person.first_waited = day, person.first
        person.end = None

    def suspend(self, number: int) -> None:
        """He takes no part until it is lifted."""
        if self.people[number].gone:
            raise Refused("NOT_A_CURRENT_MEMBER")
        self.leave(number, "suspended")

    def lift(self, number: int, day: date) -> None:
        """The suspension is over."""
        if self.people[number].gone != "suspended":
            raise Refused("NOT_A_CURRENT_MEMBER")
        self._go_on(self.people[number], day, True)

    def expel(self, number: int) -> None:
        """He is thrown out."""
        person = self.people[number]
        if person.gone == "lapsed":
            person.gone = "expelled"
        else:
            self.leave(number, "expelled")

    def die(self, number: int, day: date) -> int:
        """He died on ``day``: whatever was noticed later is undone; what is to be paid back."""
        person = self.people[number]
        if person.gone in ("helped", "dead", "void", "expelled"):
            raise Refused("NOT_A_CURRENT_MEMBER")
        end = person.first
        last = self.coming() if person.end is None else min(person.end, self.coming())
        while end < last and notice_date(end) <= day:
            end += 1
        return self._end(number, end, end, "dead")

    def void(self, number: int) -> int:
        """He was ill before his waiting was over: everything since it began is undone; what is to be paid back."""
        person = self.people[number]
        return self._end(number, person.first, person.first_waited, "void")

    def _end(self, number: int, end: int, undo_from: int, why: str) -> int:
        person = self.people[number]
        back = 0
        for period in [period for period in person.charges if period >= undo_from]:
            person.undone[period] = person.charges.pop(period)
            back += person.undone[period] - person.unpaid.get(period, 0)
        person.struck = self.stage == "noticed" and number in self.sharing and end <= self.period
        self.move("arrears", "due", person.due)
        self.move("bad_debt", "arrears", person.due + person.arrears)
        self.move("bad_debt", "refunds", back)
        person.due = person.arrears = person.lost = person.fails = 0
        person.unpaid = {}
        for report in self.reports:
            report.failed.discard(number)
        person.end, person.gone = end, why
        return back

    # -- the half-month ----------------------------------------------------------------------------------------

    def sponsor(self, period: int) -> None:
        """The platform will pay this period."""
        self.sponsored.add(period)

    def notice(self) -> dict[int, int]:
        """Who shares the period is fixed; members by class."""
        self.stage = "noticed"
        for period in [period for period in self.surplus if self.period - period >= 24]:
            self.move("refunds", "carry", self.surplus.pop(period))
        self.sharing = [number for number, person in enumerate(self.people) if person.shares(self.period)]
        self.bad_debt_noticed = self.accounts["bad_debt"]
        counts: dict[int, int] = {}
        for number in self.sharing:
            class_id, _ = self.class_of(self.people[number])
            counts[class_id] = counts.get(class_id, 0) + 1
        return counts

    def settle(self, aid: int) -> Result:
        """Divide the aid."""
        self.stage = "settled"
        weight = sum(self.class_of(self.people[number])[1] for number in self.sharing)
        fee = floor(Fraction(aid * self.rules_on(notice_date(self.period)).fee_bps, 10_000))
        bad_debt = min(self.bad_debt_noticed, self.accounts["bad_debt"]) if self.sharing else 0
        need = aid + fee + bad_debt
        used = min(self.accounts["carry"], need)
        goal = need - used
        shares: dict[int, int] = {}
        asked = charged = 0
        sponsored = self.period in self.sponsored
        for number in self.sharing:
            person = self.people[number]
            class_id, own_weight = self.class_of(person)
            share = shares[class_id] = ceil(Fraction(goal * own_weight, weight))
            asked += share
            if not sponsored:
                charge = self._charge(person, share)
                charged += charge
                self.move("due", "carry", charge)
                if person.struck:
                    self.move("arrears", "due", charge)
                    self.move("bad_debt", "arrears", charge)
                else:
                    person.charges[self.period] = person.due = person.unpaid[self.period] = charge
                self.move("sponsor", "carry", share - charge)
        if sponsored:
            self.move("sponsor", "carry", goal)
        self.move("carry", "claims", aid)
        self.move("carry", "fee", fee)
        self.move("carry", "bad_debt", bad_debt)
        self.charged = charged
        self.confirmed = 0
        over = 0 if sponsored else asked - goal
        return Result(len(self.sharing), shares, goal, used, over, charged, 0 if sponsored else asked - charged)

    def _charge(self, person: Person, share: int) -> int:
        year = calendar_year(self.period)
        known = {**person.undone, **person.charges}
        paid = sum(charge for period, charge in known.items() if calendar_year(period) == year)
        return max(0, min(share, self.cap() - paid))

    # -- collecting --------------------------------------------------------------------------------------------

    def failed(self) -> set[int]:
        """Whose debit of the open period is reported as failed."""
        reports = [report.failed for report in self.reports if not report.replaced]
        return set().union(*reports)

    def collect(self, first: int, last: int, failed: list[int], replaces: int | None = None) -> int:
        """A range is reported; its number within the period."""
        if self.charged == 0:
            raise Refused("NOTHING_OWED")
        others = [report for at, report in enumerate(self.reports) if not report.replaced and at != replaces]
        if any(first <= other.last and other.first <= last for other in others):
            raise Refused("RANGE_OVERLAP")
        for number in failed:
            person = self.people[number]
            if not person.shares(self.period) or person.due + person.arrears == 0:
                raise Refused("NOT_CHARGEABLE")
        if replaces is not None:
            self.reports[replaces].replaced = True
        self.reports.append(Report(first, last, set(failed)))
        return len(self.reports) - 1

    def confirm(self, amount: int) -> None:
        """The bank has money for the open period."""
        self.move("cash", "clearing", amount)
        self.confirmed += amount

    def give_back(self, period: int | None, amount: int) -> None:
        """The bank refunds a period's surplus, or (no period) what is owed to the dead and the voided."""
        kept = sum(self.surplus.values())
        owed = self.accounts["refunds"] - kept if period is None else self.surplus.get(period, 0)
        if amount > owed:
            raise Refused("WRONG_AMOUNT")
        if self.accounts["cash"] - self.accounts["claims"] < amount:
            raise Refused("INSUFFICIENT_CASH")
        self.move("refunds", "cash", amount)
        if period is not None:
            self.surplus[period] -= amount
            if not self.surplus[period]:
                del self.surplus[period]

    def run_off(self) -> None:
        """Nothing is open any more: everything inside the plan goes to zero."""
        for person in self.people:
            self.move("bad_debt", "arrears", person.arrears)
        debt, carry = self.accounts["bad_debt"], self.accounts["carry"]
        self.move("carry", "bad_debt", min(carry, debt))
        self.move("sponsor", "bad_debt", self.accounts["bad_debt"])
        self.move("carry", "refunds", self.accounts["carry"])

    def debts(self, number: int) -> list[tuple[int, int, str]]:
        """(period, fen, account) of what he owes, oldest first."""
        person = self.people[number]
        found = []
        if person.lost:
            found.append((person.failed_period, person.lost, "carry"))
        if person.arrears:
            found.append((person.failed_period, person.arrears, "arrears"))
        if person.due:
            found.append((self.period, person.due, "due"))
        return found

    def contribute(self, number: int, things: int) -> None:
        """He pays the oldest ``things`` of his debts."""
        person = self.people[number]
        for _, amount, account in self.debts(number)[:things]:
            self.move("cash", account, amount)
            if account == "due":
                person.due = 0
                person.unpaid.pop(self.period)
            else:
                person.arrears = person.lost = person.fails = 0
                person.unpaid = {self.period: person.due} if person.due else {}
        if person.due + person.arrears == 0:
            for report in self.reports:
                report.failed.discard(number)

    def close(self) -> tuple[int, int]:
        """The end of the period: (short, surplus) of what the bank confirmed."""
        failed = self.failed()
        short = surplus = 0
        if self.charged:
            expected = sum(self._pay(self.people[number]) for number in self.sharing if number not in failed)
            for number in sorted(failed):
                self._fail(self.people[number])
            short, surplus = max(0, expected - self.confirmed), max(0, self.confirmed - expected)
            self.move("sponsor", "clearing", short)
            self.move("clearing", "refunds", surplus)
            if surplus:
                self.surplus[self.period] = surplus
        else:
            for number in self.sharing:
                if self.people[number].end is not None:
                    self._write_off(self.people[number])
        for person in self.people:
            person.struck = False
        self.stage = "quiet"
        self.period += 1
        self.reports, self.sharing, self.charged = [], [], 0
        return short, surplus

    def _pay(self, person: Person) -> int:
        paid = person.due + person.arrears
        self.move("clearing", "due", person.due)
        self.move("clearing", "arrears", person.arrears)
        person.due = person.arrears = person.fails = 0
        person.unpaid = {}
        return paid

    def _fail(self, person: Person) -> None:
        self.move("arrears", "due", person.due)
        person.arrears += person.due
        person.due = 0
        person.fails += 1
        person.failed_period = self.period
        if person.end is None and person.fails >= self.rules_on(notice_date(self.period)).lapse_fails:
            person.end, person.gone, person.lapsed_on = self.period + 1, "lapsed", self.today
        if person.end is not None:
            self._write_off(person)

    def live(self) -> dict[int, int]:
        """Members who stay, by birth month; those who will lapse at the close if nothing is corrected do not."""
        counts: dict[int, int] = {}
        failed = self.failed()
        limit = self.rules_on(notice_date(self.period)).lapse_fails
        for number, person in enumerate(self.people):
            if person.end is None and not (number in failed and person.fails + 1 >= limit):
                counts[person.birth_month] = counts.get(person.birth_month, 0) + 1
        return counts


def noon(day: date) -> int:
    """Milliseconds since 1970 of noon in UTC+8."""
    return (day - date(1970, 1, 1)) // timedelta(milliseconds=1) + 4 * 3_600_000
