"""The slow oracle of whole lives: one plan with its claims, its deadlines and its members, by hand.

It imports nothing of ``ledger``. To ``brute_force`` (members and money) it adds the life of every claim and the times
at which things happen by themselves, processed one after the other. What chance decides (which firm and which jury a
beacon names) is told to it; what follows from that it works out alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta

from tests.reference.brute_force import ByHand, Person, Refused, Rules, noon, notice_date, years_old

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


class PlanByHand(ByHand):
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

    # -- what people do with a claim -------------------------------------------------------------------------------

    def need(self, case: Case, *states: str) -> None:
        """Refuse a step that the present state has not."""
        if case.state not in states:
            raise Refused("NO_SUCH_TRANSITION")

    def check_no_other(self, number: int) -> None:
        """One open claim a member, one help."""
        for case in reversed(self.cases):
            if case.person == number and case.state not in ENDED_WITHOUT:
                raise Refused("ALREADY_HELPED" if case.state in AFTER_PAYMENT else "OPEN_CLAIM")

    def file(self, number: int, person: int, tier: int, day: date) -> None:
        """A claim for a diagnosis that his cover holds for."""
        if (self.today - day).days > self.windows.file:
            raise Refused("FILED_TOO_LATE")
        self.check_no_other(person)
        age = years_old(self.people[person].birth_month, day)
        amount = [fen for of, age_from, fen in self.windows.tiers if of == tier and age_from <= age][-1]
        case = Case(number, person, amount, "FILED", self.now)
        self.enter(case, "FILED", self.now, self.windows.investigate_after * DAY)
        self.cases.append(case)

    def file_ill(self, number: int, person: int, amount: int) -> int:
        """A claim for an illness while waiting: it is refused, the member is void. What is to be refunded."""
        self.check_no_other(person)
        self.cases.append(Case(number, person, amount, "REFUSED_FINAL", self.now, reason=8))
        return self.void(person)

    def diagnose(self, case: Case) -> None:
        """By the hospital, once."""
        self.need(case, "FILED", "INVESTIGATING")
        if case.diagnosed:
            raise Refused("DUPLICATE_DIAGNOSIS")
        case.diagnosed = True

    def assess(self, case: Case, firm: int) -> None:
        """By the drawn firm."""
        self.need(case, "INVESTIGATING")
        if firm != case.firm:
            raise Refused("NOT_THE_DRAWN_FIRM")
        if not case.diagnosed:
            raise Refused("NO_DIAGNOSIS")
        case.passed, case.redrawn, case.reviewer = set(), False, None
        self.enter(case, "ASSESSED", self.now, self.windows.review * DAY)

    def review(self, case: Case, firm: int, reason: int) -> None:
        """By a second one."""
        self.need(case, "ASSESSED")
        if firm == case.firm:
            raise Refused("SAME_FIRM")
        if case.redrawn and firm != case.reviewer:
            raise Refused("NOT_THE_DRAWN_FIRM")
        case.reviewer, case.reason = firm, reason
        if reason:
            self.enter(case, "REFUSED", self.now, self.windows.appeal * DAY)
        else:
            self.enter(case, "CLEARED", self.now)

    def ask(self, case: Case) -> None:
        """A firm asks for documents."""
        self.need(case, "FILED")
        left = self.windows.documents - case.waited
        if case.asked >= self.windows.documents_times or left <= 0:
            raise Refused("DOCUMENTS_EXHAUSTED")
        case.asked += 1
        self.enter(case, "DOCS_PENDING", self.now, left * DAY)

    def give(self, case: Case) -> None:
        """They come."""
        self.need(case, "DOCS_PENDING")
        case.waited += -((case.opened - self.now) // DAY)
        self.enter(case, "FILED", self.now, self.windows.investigate_after * DAY)

    def withdraw(self, case: Case) -> None:
        """The claimant thinks better of it."""
        self.need(case, *BEFORE_JURY)
        self.note("withdrawn from a closed batch" if case.period is not None else "withdrawn")
        case.objectors = set()
        self.enter(case, "WITHDRAWN", self.now)

    def appeal(self, case: Case) -> None:
        """The claimant does not accept the refusal."""
        self.need(case, "REFUSED")
        self.note("appeal")
        self.enter(case, "DISPUTED", self.now, self.windows.notice * DAY)

    def object_to(self, case: Case, person: int) -> None:
        """Another member thinks it should not be paid."""
        self.need(case, "NOTICED")
        if case.objected or case.judge in ("jury", "court"):
            raise Refused("NOT_DISPUTABLE")
        if person == case.person:
            raise Refused("OWN_CLAIM")
        other = self.people[person]
        if not other.shares(case.period or 0) or other.gone:
            raise Refused("NOT_IN_THE_NOTICE")
        if person in case.objectors:
            raise Refused("ALREADY_OBJECTED")
        case.objectors.add(person)
        if len(case.objectors) >= self.windows.objectors:
            self.note("objected out of a closed batch")
            case.objected, case.objectors = True, set()
            self.enter(case, "DISPUTED", self.now, self.windows.notice * DAY)

    def opine(self, case: Case, who: str, reason: int) -> None:
        """An expert or the regulator. Only the regulator's word is kept: of the experts too few speak here."""
        self.need(case, "EXPERT")
        if ("opinion", who) in case.words:
            raise Refused("ALREADY_CONSENTED")
        case.words.add(("opinion", who))
        if who == "regulator":
            case.regulator = reason

    # -- holds, money, afterwards ----------------------------------------------------------------------------------

    def _agreed(self, case: Case, step: str, who: str) -> bool:
        if (step, who) in case.words:
            raise Refused("ALREADY_CONSENTED")
        case.words.add((step, who))
        return {(step, "firm"), (step, "regulator")} <= case.words

    def hold(self, case: Case, who: str) -> None:
        """Before APPROVED: held; when payable: stopped."""
        if case.state in ("SETTLED", "PAYING"):
            if case.state == "PAYING" and case.order:
                raise Refused("ORDER_OUT")
            if self._agreed(case, "stop", who):
                self.note("stopped")
                self.enter(case, "STOPPED", self.now)
            return
        self.need(case, *BEFORE_JURY, "JURY", "EXPERT")
        if self._agreed(case, "hold", who):
            self.note("held in a closed batch" if case.state == "NOTICED" else "held")
            case.held = (case.state, case.opened, case.due)
            self.enter(case, "FRAUD_HOLD", self.now)

    def free(self, case: Case, who: str) -> None:
        """Back to where it was, with the time that was left."""
        self.need(case, "FRAUD_HOLD", "STOPPED")
        if not self._agreed(case, "free", who):
            return
        if case.held is None:
            self.note("resumed")
            self.enter(case, "PAYING", self.now, 730 * DAY)
            return
        state, opened, due = case.held
        stood = self.now - case.opened
        due = due + stood if due else 0
        case.held = None
        if state == "NOTICED" and not (self.period == case.period and self.stage == "noticed" and due < self.due):
            self.note("released to the next notice")
            case.objectors = set()
            self.enter(case, "CLEARED", self.now)
            return
        self.note("released")
        self.enter(case, state, opened + stood)
        case.due = due
        if state == "JURY" and not due:
            case.jury = "drawing"

    def reject(self, case: Case, who: str) -> None:
        """Fraud."""
        self.need(case, "FRAUD_HOLD", "STOPPED")
        if not self._agreed(case, "reject", who):
            return
        if case.state == "STOPPED":
            self._give_back(case)
        elif case.period is not None:
            self.note("refused out of a closed batch")
        case.held, case.reason, case.objectors = None, 12, set()
        if case.state == "FRAUD_HOLD":
            case.period = None
        self.enter(case, "REFUSED_FINAL", self.now)

    def _give_back(self, case: Case) -> None:
        """The settlement is undone for him: money and membership."""
        self.move("claims", "carry", case.amount)
        rules = self.rules_on(notice_date(case.period or 0))
        self.move("fee", "carry", min(case.amount * rules.fee_bps // 10_000, self.accounts["fee"]))
        self._reopen(self.people[case.person], case)
        case.helped = False

    def _reopen(self, person: Person, case: Case) -> None:
        if person.gone != "helped" or not case.helped:
            self.note("reversed, the member is dead")
        elif case.before:
            self.note("reversed, he had left before")
            person.gone = case.before
        elif person.lost:
            self.note("reversed, but his arrears were written off")
            person.gone = "exited"
        elif person.end is not None and person.end >= self.coming():
            self.note("reversed at once")
            person.gone, person.end = "", None
        else:
            self.note("reversed after a gap")
            person.gone, person.end, person.first, person.fails = "", None, self.coming(), 0

    def pay(self, case: Case, reference: bytes) -> None:
        """The order goes out."""
        self.need(case, "SETTLED", "PAYING")
        if case.order:
            raise Refused("NO_SUCH_TRANSITION")
        case.order = reference
        self.enter(case, "PAYING", self.now, 730 * DAY)

    def confirm_payment(self, case: Case, reference: bytes, paid: bool) -> None:
        """The bank's word."""
        self.need(case, "PAYING")
        if not case.order or reference != case.order:
            raise Refused("UNKNOWN_REFERENCE")
        if not paid:
            self.note("payment bounced")
            case.order = b""
            return
        if self.accounts["cash"] < case.amount:
            raise Refused("INSUFFICIENT_CASH")
        self.move("claims", "cash", case.amount)
        self.note("paid")
        self.enter(case, "PAID", self.now)

    def claw_back(self, case: Case) -> None:
        """A judgment: it should not have been paid."""
        self.need(case, "PAID")
        self.note("clawback")
        self.enter(case, "CLAWBACK", self.now)

    def recover(self, case: Case, amount: int) -> None:
        """Some of it comes back."""
        self.need(case, "CLAWBACK")
        if amount <= 0 or case.recovered + amount > case.amount:
            raise Refused("WRONG_AMOUNT")
        case.recovered += amount
        self.move("cash", "carry", amount)
        if case.recovered == case.amount:
            self.note("recovered")
            self.enter(case, "RECOVERED", self.now)

    def write_off_claim(self, case: Case) -> None:
        """The rest will not come."""
        self.need(case, "CLAWBACK")
        self.note("clawback written off")
        self.enter(case, "WRITTEN_OFF", self.now)

    def court_order(self, case: Case) -> None:
        """A judgment: it is to be paid."""
        self.need(case, "REFUSED_FINAL", "EXPIRED")
        self.check_no_other(case.person)
        self.note("court order")
        case.judge, case.reason, case.order = "court", 0, b""
        self.enter(case, "CLEARED", self.now)

    def pay_fee(self, amount: int) -> None:
        """The platform's fee, last in the order of payments."""
        if amount > self.accounts["fee"]:
            raise Refused("WRONG_AMOUNT")
        if (
            self.accounts["cash"] - self.accounts["claims"] - self.accounts["refunds"] - self.accounts["advance"]
            < amount
        ):
            raise Refused("INSUFFICIENT_CASH")
        self.move("fee", "cash", amount)
