"""The slow oracle of whole lives: one plan with its claims, its deadlines and its members, by hand.

It imports nothing of ``ledger``. To ``brute_force`` (members and money) it adds the life of every claim and the times
at which things happen by themselves, processed one after the other. What chance decides (which firm and which jury a
beacon names) is told to it; what follows from that it works out alone.
"""

from datetime import date

from tests.reference.brute_force import Person, Refused, notice_date, years_old
from tests.reference.claim_times_by_hand import AFTER_PAYMENT, BEFORE_JURY, DAY, ENDED_WITHOUT, Case, TimedPlan


class PlanByHand(TimedPlan):
    """One plan with claims: the steps that people take. ``advance`` before anything else happens at a time."""

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
