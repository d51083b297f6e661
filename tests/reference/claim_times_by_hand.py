"""The slow oracle of whole lives: claims and the clock, by hand; what happens by itself, one thing after the other.

It imports nothing of ``ledger``. What people do with a claim is in ``claims_by_hand``.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta

from tests.reference.brute_force import ByHand, Person, Rules, noon, notice_date

DAY = 86_400_000
HOUR = 3_600_000
BEFORE_JURY = ("FILED", "DOCS_PENDING", "INVESTIGATING", "ASSESSED", "CLEARED", "REFUSED", "NOTICED", "DISPUTED")
ENDED_WITHOUT = ("REFUSED_FINAL", "EXPIRED", "WITHDRAWN")
AFTER_PAYMENT = ("PAID", "CLAWBACK", "RECOVERED", "WRITTEN_OFF", "UNCLAIMED")
ORDER = {"close": 1, "settle": 2, "APPROVE": 3, "notice": 4}


def midnight(day: date) -> int:
    """00:00 of a day in UTC+8."""
    return noon(day) - 12 * HOUR


def day_at(ms: int) -> date:
    """The day of a time in UTC+8."""
    return date(1970, 1, 1) + timedelta(days=(ms + 8 * HOUR) // DAY)


@dataclass(frozen=True)
class Windows:
    """What the life of a claim needs of the plan's parameters; the same in all its versions here."""

    waiting: int
    file: int
    investigate_after: int
    investigate: int
    review: int
    expert: int
    appeal: int
    documents: int
    documents_times: int
    notice: int
    pay: int
    objectors: int
    commit_hours: int
    reveal_hours: int
    quorum: int
    tiers: tuple[tuple[int, int, int], ...]
    """(tier, age from, fen)."""
    firms: frozenset[int]


@dataclass
class Case:
    """One claim."""

    number: int
    """The ledger's id."""
    person: int
    amount: int
    state: str
    opened: int
    due: int = 0
    firm: int | None = None
    reviewer: int | None = None
    redrawn: bool = False
    """A reviewer was drawn, or is to be: the free choice of a second firm is over."""
    passed: set[int] = field(default_factory=set)
    diagnosed: bool = False
    reason: int = 0
    asked: int = 0
    waited: int = 0
    period: int | None = None
    objected: bool = False
    judge: str = "firm"
    objectors: set[int] = field(default_factory=set)
    held: tuple[str, int, int] | None = None
    words: set[tuple[str, str]] = field(default_factory=set)
    """(step, who) said while in this state."""
    before: str = ""
    """What the member was before he was helped."""
    helped: bool = False
    recovered: int = 0
    order: bytes = b""
    jury: str = ""
    """drawing, commit, reveal."""
    hidden: dict[int, int] = field(default_factory=dict)
    votes: dict[int, int] = field(default_factory=dict)
    regulator: int | None = None


class TimedPlan(ByHand):
    """One plan with claims and a clock. ``advance`` before anything else happens at a time."""

    def __init__(self, rules: list[Rules], first_period: int, windows: Windows) -> None:
        super().__init__(rules, first_period)
        self.windows = windows
        self.cases: list[Case] = []
        self.due = midnight(notice_date(first_period))
        self.now = 0
        self.results: dict[int, tuple[int, ...]] = {}
        """Period -> (members, aid, goal, used, over, charged, excess, short, surplus)."""
        self.shares: dict[int, dict[int, int]] = {}
        self.bands: dict[int, tuple[date, int]] = {}
        """Person -> (the version's first day, class) at his newest notice."""
        self.seen: dict[str, int] = {}
        self.moved: set[int] = set()
        """To whom something happened: he left, failed, died, came back."""

    def leave(self, number: int, why: str = "exited") -> None:
        """As for every plan; counted."""
        super().leave(number, why)
        self.moved.add(number)
        self.note({"exited": "exit", "helped": "helped", "suspended": "suspension", "expelled": "expulsion"}[why])

    def _fail(self, person: Person) -> None:
        lapsed = person.gone
        super()._fail(person)
        self.moved.add(next(at for at, each in enumerate(self.people) if each is person))
        self.note("failed debit")
        if person.gone != lapsed:
            self.note("lapse")

    def _end(self, number: int, end: int, undo_from: int, why: str) -> int:
        back = super()._end(number, end, undo_from, why)
        self.moved.add(number)
        self.note(why)
        if back:
            self.note("charges taken back")
        return back

    def note(self, feature: str) -> None:
        """One more occurrence."""
        self.seen[feature] = self.seen.get(feature, 0) + 1

    # -- time ----------------------------------------------------------------------------------------------------

    def advance(self, now: int) -> int:
        """Everything that is due at ``now``, in its order; how many things that was."""
        done = 0
        while True:
            waiting = [(self.due, ORDER[self._stage()], -1)]
            waiting += [(case.due, ORDER.get(self._kind(case), 5), case.number) for case in self.cases if case.due]
            due, _, number = min(waiting)
            if due > now:
                break
            opened = due if now - due <= HOUR else now
            self.today = day_at(opened)
            if number < 0:
                self._turn(opened)
            else:
                self._expire(self.case(number), opened)
            done += 1
        self.now, self.today = now, day_at(now)
        return done

    def case(self, number: int) -> Case:
        """By the ledger's id."""
        return next(case for case in self.cases if case.number == number)

    def _stage(self) -> str:
        return {"quiet": "notice", "noticed": "settle", "settled": "close"}[self.stage]

    @staticmethod
    def _kind(case: Case) -> str:
        return "APPROVE" if case.state == "NOTICED" else "other"

    def _turn(self, opened: int) -> None:
        if self.stage == "quiet":
            self._notice(opened)
        elif self.stage == "noticed":
            self._settle(opened)
        else:
            period = self.period
            short, surplus = self.close()
            if short:
                self.note("close with too little money")
            if surplus:
                self.note("close with too much money")
            self.results[period] += (short, surplus)
            self.due = max(midnight(notice_date(self.period)), opened)

    def _notice(self, opened: int) -> None:
        period = self.period
        self.notice()
        for case in self.cases:
            if case.state == "CLEARED" and self.sharing:
                self.enter(case, "NOTICED", opened, self.windows.notice * DAY)
                case.period = period
        settlement = midnight(notice_date(period) + timedelta(days=7))
        self.due = max(settlement, opened + 7 * DAY)
        rules = self.rules_on(notice_date(period))
        for number in self.sharing:
            now = (rules.begins, self.class_of(self.people[number])[0])
            old = self.bands.get(number, now)
            if old[0] == now[0] and old[1] != now[1]:
                self.note("birthday into another class")
            self.bands[number] = now

    def _settle(self, opened: int) -> None:
        period = self.period
        approved = [case for case in self.cases if case.state == "APPROVED" and case.period == period]
        aid = sum(case.amount for case in approved)
        result = self.settle(aid)
        found = (result.members, aid, result.goal, result.used, result.over, result.charged, result.excess)
        self.results[period], self.shares[period] = found, result.shares
        self.due = opened + self.windows.pay * DAY
        if result.excess:
            self.note("year cap reached")
        if period in self.sponsored:
            self.note("sponsored period")
        for case in approved:
            self.enter(case, "SETTLED", opened, 730 * DAY)
            case.before, case.helped = self.people[case.person].gone, True
            self.leave(case.person, "helped")

    def enter(self, case: Case, state: str, opened: int, window: int = 0) -> None:
        """A new state from ``opened`` on."""
        case.state, case.opened, case.due = state, opened, opened + window if window else 0
        case.words = set()
        case.regulator = None
        if state in ("CLEARED", "DISPUTED", "WITHDRAWN"):
            case.period = None

    def _expire(self, case: Case, opened: int) -> None:
        """A claim's time in its state is over."""
        ends: dict[str, Callable[[Case, int], None]] = {
            "FILED": self._investigate,
            "INVESTIGATING": self._redraw,
            "ASSESSED": self._review_overdue,
            "REFUSED": lambda case, at: self.enter(case, "REFUSED_FINAL", at),
            "NOTICED": self._approve,
            "DOCS_PENDING": lambda case, at: self.enter(case, "EXPIRED", at),
            "DISPUTED": self._call_jury,
            "JURY": self._ballots_over,
            "EXPERT": self._experts_overdue,
            "SETTLED": self._unclaimed,
            "PAYING": self._unclaimed,
        }
        self.note(f"{case.state} ran out")
        ends[case.state](case, opened)

    def _investigate(self, case: Case, opened: int) -> None:
        case.firm, case.passed = None, set()
        self.enter(case, "INVESTIGATING", opened, self.windows.investigate * DAY)

    def _redraw(self, case: Case, opened: int) -> None:
        passed = case.passed | ({case.firm} if case.firm is not None else set())
        self._investigate(case, opened)
        case.passed = passed

    def _review_overdue(self, case: Case, opened: int) -> None:
        if case.reviewer is not None:
            case.passed.add(case.reviewer)
        case.reviewer = None
        if self.windows.firms - case.passed - {case.firm}:
            case.redrawn = True
            self.enter(case, "ASSESSED", opened, self.windows.review * DAY)
        else:
            self.enter(case, "EXPERT", opened, self.windows.expert * DAY)

    def _approve(self, case: Case, opened: int) -> None:
        if case.objectors:
            self.note("too few objections")
        case.objectors = set()
        self.enter(case, "APPROVED", opened)

    def _call_jury(self, case: Case, opened: int) -> None:
        case.jury, case.hidden, case.votes = "drawing", {}, {}
        self.enter(case, "JURY", opened)

    def panel(self, case: Case, jurors: int) -> None:
        """The draw has named a jury, now; too few: the experts."""
        if jurors < self.windows.quorum:
            self.note("no jury")
            self.enter(case, "EXPERT", self.now, self.windows.expert * DAY)
        else:
            case.jury = "commit"
            case.opened, case.due = self.now, self.now + self.windows.commit_hours * HOUR

    def _ballots_over(self, case: Case, opened: int) -> None:
        if case.jury == "commit":
            case.jury = "reveal"
            self.enter(case, "JURY", opened, self.windows.reveal_hours * HOUR)
            return
        clear = sum(vote == 1 for vote in case.votes.values())
        refuse = len(case.votes) - clear
        if clear + refuse < self.windows.quorum or clear == refuse:
            self.note("jury without verdict")
            self.enter(case, "EXPERT", opened, self.windows.expert * DAY)
        elif clear > refuse:
            self.note("jury clears")
            case.judge, case.reason = "jury", 0
            self.enter(case, "CLEARED", opened)
        else:
            self.note("jury refuses")
            case.judge, case.reason = "jury", 11
            self.enter(case, "REFUSED_FINAL", opened)

    def _experts_overdue(self, case: Case, opened: int) -> None:
        reason = case.reason if case.reviewer is not None else 10
        self._experts(case, reason if case.regulator is None else case.regulator, opened)

    def _experts(self, case: Case, reason: int, opened: int) -> None:
        case.judge, case.reason = "experts", reason
        self.note("experts refuse" if reason else "experts clear")
        self.enter(case, "REFUSED_FINAL" if reason else "CLEARED", opened)

    def _unclaimed(self, case: Case, opened: int) -> None:
        self.move("claims", "carry", case.amount)
        self.enter(case, "UNCLAIMED", opened)
