"""One plan of the random lives: each step as a transaction in a block, and by hand; refusals must be the same."""

from collections.abc import Callable
from datetime import date, timedelta
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from ledger import members, plans
from ledger import transactions as tx
from ledger.claim_table import ClaimState
from ledger.disputes import Outcome, Stage
from ledger.errors import TransactionRejected
from ledger.jury import Vote, commitment
from ledger.params import ACCIDENT, ILLNESS
from ledger.rows import NONE, Account, Claim, Dispute, Juror, Member, Settlement
from tests.ledger.chain import key
from tests.ledger.lives_kit import EPOCH, FIRMS, HASH, KEYED, MONTHS, NAMES, SALT, SIGNERS
from tests.ledger.lockstep import Lockstep
from tests.ledger.lockstep_kit import identity
from tests.reference.brute_force import Refused, Rules
from tests.reference.claim_times_by_hand import BEFORE_JURY, Case, Windows, day_at
from tests.reference.claims_by_hand import PlanByHand

if TYPE_CHECKING:
    from tests.ledger.lives import Lives


class PlanInBlocks(Lockstep):
    """One plan of ``Lives``: the steps of ``Lockstep``, as transactions; and the steps of claims."""

    hand: PlanByHand

    def __init__(self, lives: "Lives", plan_id: int, rules: list[Rules], windows: Windows) -> None:
        self.lives = lives
        self.plan_id = plan_id
        self.months = MONTHS
        self.rows = lives.chain.state
        self.ids = []
        self.references = 0
        self.collections = []
        self.left_last = None
        self.hand = PlanByHand(rules, self.plan.period, windows)
        self.beside = []
        self.day = day_at(lives.chain.now_ms)
        names = "join leave leave_many leave_owing come_back turn_back sponsor collect collect_all correct confirm pay"
        more = "refund die void suspend lift expel reinstate file claim money"
        self.doing = {name: getattr(self, name) for name in f"{names} {more}".split()}

    def execute(self, body: Any) -> object:
        """As a transaction in a block of its own."""
        return self.send(body)

    def both(self, theirs: Callable[[], object], body: Any) -> object | None:
        """What is due at the block's time comes first."""
        self.lives.sync()
        return super().both(theirs, body)

    def send(self, body: Any, name: str | None = None) -> tuple[int, ...]:
        """Raises what the ledger says."""
        name = name or SIGNERS.get(type(body), "platform")
        receipt = self.lives.chain.block((name, body)).transaction_receipts[0]
        if receipt.code != "OK":
            raise TransactionRejected(receipt.code)
        return receipt.detail

    def try_both(self, theirs: Callable[[], object], body: Any, name: str | None = None) -> bool:
        """As ``both``, by somebody; whether it was done."""
        self.lives.sync()
        code = None
        try:
            theirs()
        except Refused as refused:
            code = str(refused)
        try:
            self.send(body, name)
        except TransactionRejected as rejected:
            assert rejected.code == code, f"the ledger refuses {body} with {rejected.code}, by hand: {code}"
            return False
        assert code is None, f"by hand {body} is refused with {code}"
        return True

    # -- members ---------------------------------------------------------------------------------------------------

    def collect_all(self, bad: int, noise: int) -> None:
        """Once a period; the bank has the money of most ranges, sometimes a little less or more."""
        if self.hand.stage == "settled" and all(report.replaced for report in self.hand.reports):
            self.collections = []
            self._ranges(bad, noise)
            if self.hand.charged and self.collections and noise % 8:
                owed = sum(person.due + person.arrears for person in self.hand.people)
                self.confirm(0, max(1, owed + (noise % 5 - 3) * 40))

    def _ranges(self, bad: int, noise: int) -> None:
        size = 9 if len(self.hand.people) < 50 else 50
        for first in range(0, len(self.hand.people), size):
            last = min(len(self.hand.people), first + size) - 1
            self._report(first, last, 5 * noise + 1 if (first + noise) % 11 == 0 else 1 << bad % 13, None)

    def collect(self, first: int, seed: int) -> None:
        """What an earlier period reported is forgotten."""
        self._forget()
        super().collect(first, seed)

    def correct(self, which: int, seed: int) -> None:
        """As ``collect``."""
        if self.hand.stage == "settled" and self.collections:
            self._forget()
            if self.collections:
                super().correct(which, seed)

    def confirm(self, which: int, amount: int) -> None:
        """As ``collect``."""
        self._forget()
        super().confirm(which, amount)

    def _forget(self) -> None:
        if self.hand.stage != "settled" or not self.hand.reports:
            self.collections = []

    def found(self, people: int) -> None:
        """The first members; those with keys pass the jurors' exam."""
        for number in range(KEYED):
            self.lives.sync()
            month = self.months[(7 * number + self.plan_id) % len(self.months)]
            self.hand.join(month, self.day)
            self.ids.append(self.rows.length(Member))
            name = self.keyed(number)
            self.send(tx.Enrol(self.plan_id, identity(number), month, key(name)), name)
            self.send(tx.PassExam(self.ids[number]))
        self.lives.sync()
        self.join(people - KEYED, self.plan_id)

    def keyed(self, number: int) -> str:
        """The name of the key of one of the first members."""
        return f"plan {self.plan_id} person {number}"

    def come_back(self, who: int, b: int) -> None:
        """Notes whether waiting was spared, and whether the year's earlier payments count."""
        gone = [number for number, person in enumerate(self.hand.people) if person.gone]
        if gone:
            person = self.hand.people[gone[who % len(gone)]]
            was, waits, first = person.gone, person.waits_from, person.first
            super().come_back(who, b)
            if not person.gone and person.first != first:
                year = self.hand.coming() // 24
                self.hand.note("return")
                if any(period // 24 == year and fen for period, fen in person.charges.items()):
                    self.hand.note("return within a year that has charges")
                if was == "lapsed":
                    self.hand.note("reinstatement" if person.waits_from == waits else "return long after a lapse")
            elif not person.gone:
                self.hand.note("return before any notice")

    def reinstate(self, who: int, b: int) -> None:
        """One who lapsed not long ago pays what he owes, and comes back."""
        lapsed = [number for number, person in enumerate(self.hand.people) if person.gone == "lapsed"]
        recent = [number for number in lapsed if (self.day - (self.hand.people[number].lapsed_on or EPOCH)).days < 90]
        if recent:
            number = recent[who % len(recent)]
            debts = self.hand.debts(number)
            if debts:
                periods = tuple(debt[0] for debt in debts)
                body = tx.Contribution(self.ids[number], periods, sum(debt[1] for debt in debts), self._reference())
                self.hand.contribute(number, len(debts))
                self.execute(body)
                self.lives.sync()
            gone = [at for at, person in enumerate(self.hand.people) if person.gone]
            if number in gone:
                self.come_back(gone.index(number), b)

    def void(self, who: int, b: int) -> None:
        """One files for an illness of the first day of his waiting."""
        number = self._someone(who, "", "lapsed", "exited", "suspended")
        if number is None:
            return
        member = self.rows.get(Member, self.ids[number])
        day = (self.hand.people[number].waits_from - EPOCH).days + 1
        params = plans.version_at(self.rows, self.plan_id, day)[1].params
        today = (self.day - EPOCH).days
        if day > today or today - day > params.file_days:
            return
        if members.covered(self.rows, self.ids[number], member, day, ILLNESS, params) == "WAITING_ILL":
            amount = self._amount(number, 1, EPOCH + timedelta(days=day))
            claim = self.rows.length(Claim)
            body = self._filing(number, 1, day, ILLNESS, b)
            self.try_both(lambda: self.hand.file_ill(claim, number, amount), body)

    def _amount(self, number: int, tier: int, day: date) -> int:
        case = PlanByHand(self.hand.rules, 0, self.hand.windows)
        case.people, case.today, case.now = [self.hand.people[number]], day, 0
        case.file(0, 0, tier, day)
        return case.cases[0].amount

    def _filing(self, number: int, tier: int, day: int, cause: int, event: int) -> tx.FileClaim:
        print_ = sha256(f"event {event}".encode()).digest()
        return tx.FileClaim(self.ids[number], tier, 1, cause, day, 11, print_, SALT)

    # -- claims ----------------------------------------------------------------------------------------------------

    def file(self, who: int, b: int) -> None:
        """A current member files for a diagnosis of the last weeks that is covered."""
        number = self._someone(who, "")
        if number is None:
            return
        cause, tier = (ACCIDENT if b % 5 == 0 else ILLNESS), 1 + b % 2
        today = (self.day - EPOCH).days
        member = self.rows.get(Member, self.ids[number])
        waits = (self.hand.people[number].waits_from - EPOCH).days
        earliest = max(member.join_day, waits + (self.hand.windows.waiting if cause == ILLNESS else 0)) + 1
        day = max(earliest, today - b % 30)
        if day > today:
            return
        claim = self.rows.length(Claim)
        body = self._filing(number, tier, day, cause, b)
        if self.try_both(lambda: self.hand.file(claim, number, tier, EPOCH + timedelta(days=day)), body):
            self.hand.note("accident" if cause == ACCIDENT else "claim")

    def claim(self, who: int, b: int) -> None:
        """Somebody takes the next step, or a rare one, with a claim."""
        open_ones = [case for case in self.hand.cases if case.state not in ("WITHDRAWN", "RECOVERED", "WRITTEN_OFF")]
        if not open_ones:
            return
        voting = [case for case in open_ones if case.state == "JURY"]
        case = voting[0] if voting and who % 3 else open_ones[-1 - who % min(len(open_ones), 8)]
        if b % 11 == 10:
            self._rare(case, b // 11)
        elif case.state in BEFORE_JURY or case.state in ("JURY", "EXPERT", "FRAUD_HOLD"):
            self._judge(case, b)
        else:
            self._settled(case, b)

    def _judge(self, case: Case, b: int) -> None:
        hand, at = self.hand, case.number
        firm = FIRMS[b % 3]
        if case.state == "FILED" and b % 4 == 0:
            self.try_both(lambda: hand.ask(case), tx.AskDocuments(at), firm)
        elif case.state == "DOCS_PENDING" and b % 3:
            self.try_both(lambda: hand.give(case), tx.GiveDocuments(self.ids[case.person], at, HASH, SALT))
        elif case.state in ("FILED", "INVESTIGATING") and not case.diagnosed:
            self.try_both(lambda: hand.diagnose(case), tx.Diagnose(at, HASH))
        elif case.state == "INVESTIGATING":
            drawn = NAMES[case.firm] if case.firm is not None and b % 5 else firm
            self.try_both(lambda: hand.assess(case, NAMES.index(drawn)), tx.Assess(at, HASH), drawn)
        elif case.state == "ASSESSED":
            reason = 0 if b % 10 < 7 else 2
            self.try_both(lambda: hand.review(case, NAMES.index(firm), reason), tx.Review(at, reason), firm)
        elif case.state == "REFUSED":
            self.try_both(lambda: hand.appeal(case), tx.Appeal(self.ids[case.person], at, SALT))
        elif case.state == "NOTICED" and b % 2:
            self._object(case, b)
        elif case.state == "NOTICED":
            self._both_say(case, "hold")
        elif case.state == "JURY":
            self._vote(case, b)
        elif case.state == "EXPERT" and b % 2:
            reason = b % 4 // 2 * 4
            self.try_both(lambda: hand.opine(case, "regulator", reason), tx.Opinion(at, reason), "regulator")
        elif case.state == "FRAUD_HOLD":
            self._both_say(case, "free" if b % 3 else "reject")

    def _object(self, case: Case, b: int) -> None:
        for number in sorted({b % KEYED, b // 7 % KEYED}):
            body = tx.ObjectTo(self.ids[number], case.number, SALT)
            self.try_both(partial(self.hand.object_to, case, number), body, self.keyed(number))

    def _vote(self, case: Case, b: int) -> None:
        """The jurors do what their window allows; some stay away."""
        row = self.rows.get(Claim, case.number)
        found = self.rows.get(Dispute, row.dispute)
        for at, juror in enumerate(found.drawn):
            self.lives.sync()
            number = self.ids.index(self.rows.get(Juror, juror).member)
            member = self.ids[number]
            vote = Vote.CLEAR if (b >> at) & 1 else Vote.REFUSE
            if case.jury == "commit" and juror not in case.hidden and (b >> (at + 5)) & 3:
                hidden = commitment(row.dispute, juror, vote, SALT)
                self.send(tx.CommitBallot(member, case.number, hidden), self.keyed(number))
                case.hidden[juror] = vote
            elif case.jury == "reveal" and juror in case.hidden and juror not in case.votes:
                vote = Vote(case.hidden[juror])
                self.send(tx.RevealBallot(member, case.number, vote, SALT), self.keyed(number))
                case.votes[juror] = vote

    def _both_say(self, case: Case, step: str) -> None:
        at = case.number
        bodies: dict[str, Any] = {"hold": tx.HoldClaim(at), "free": tx.FreeClaim(at), "reject": tx.RejectClaim(at, 12)}
        theirs = {"hold": self.hand.hold, "free": self.hand.free, "reject": self.hand.reject}[step]
        for name, who in (("firm-b", "firm"), ("regulator", "regulator")):
            self.try_both(partial(theirs, case, who), bodies[step], name)

    def _rare(self, case: Case, b: int) -> None:
        hand, at = self.hand, case.number
        if b % 5 < 2 or case.state == "PAID":
            self._late_regret(case, b)
        elif b % 5 == 2 or case.state in ("SETTLED", "PAYING"):
            self._both_say(case, "hold")
        elif b % 5 == 3:
            self.try_both(lambda: hand.withdraw(case), tx.Withdraw(self.ids[case.person], at))
        else:
            self.try_both(lambda: hand.diagnose(case), tx.Diagnose(at, HASH))

    def _late_regret(self, case: Case, b: int) -> None:
        hand, at = self.hand, case.number
        if case.state in ("REFUSED_FINAL", "EXPIRED"):
            self.try_both(lambda: hand.court_order(case), tx.CourtOrder(at, HASH))
        elif b % 2:
            self.try_both(lambda: hand.write_off_claim(case), tx.WriteOffAid(at, HASH))
        else:
            self.try_both(lambda: hand.claw_back(case), tx.ClawBack(at, HASH))

    def _settled(self, case: Case, b: int) -> None:
        hand, at = self.hand, case.number
        if case.state == "SETTLED" and b % 4 == 3 or case.state == "PAYING" and not case.order and b % 3:
            self._both_say(case, "hold")
        elif case.state in ("SETTLED", "PAYING") and not case.order:
            if at % 6:  # some never say where the money is to go
                reference = self._reference()
                self.try_both(lambda: hand.pay(case, reference), tx.Pay(at, case.amount, reference))
        elif case.state == "PAYING":
            paid, reference = b % 4 > 0, case.order
            if paid and hand.accounts["cash"] < case.amount:
                self._advance(case.amount)
            word = tx.ConfirmPayment(at, reference, paid)
            self.try_both(lambda: hand.confirm_payment(case, reference, paid), word)
        elif case.state == "STOPPED":
            self._both_say(case, "free" if b % 3 == 0 else "reject")
        elif case.state == "PAID" and b % 6 == 0:
            self.try_both(lambda: hand.claw_back(case), tx.ClawBack(at, HASH))
        elif case.state == "CLAWBACK":
            amount = (case.amount - case.recovered) // (1 + b % 2) + (b % 13 == 0)
            body = tx.RecoverAid(at, amount, self._reference())
            self.try_both(lambda: hand.recover(case, amount), body)

    # -- money -----------------------------------------------------------------------------------------------------

    def money(self, which: int, part: int) -> None:
        """The sponsor pays, the fee is paid, an advance is given or repaid."""
        hand, accounts = self.hand, self.hand.accounts
        amount = 1 + part
        if which % 3 == 0 and accounts["sponsor"]:
            amount = min(amount, accounts["sponsor"])
            self.send(tx.SponsorPayment(self.plan_id, amount, self._reference()))
            hand.move("cash", "sponsor", amount)
            hand.note("sponsor pays")
        elif which % 3 == 1:
            if self.try_both(lambda: hand.pay_fee(amount), tx.PayFee(self.plan_id, amount, self._reference())):
                hand.note("fee paid")
        else:
            self._advance(amount)

    def _advance(self, amount: int) -> None:
        self.send(tx.Advance(self.plan_id, amount, False, self._reference()))
        self.hand.move("cash", "advance", amount)

    # -- what must agree ---------------------------------------------------------------------------------------------

    def waits_for_a_draw(self) -> bool:
        """Whether a firm or a jury is still to be named."""
        return any(
            (case.state == "INVESTIGATING" and case.firm is None)
            or (case.state == "ASSESSED" and case.redrawn and case.reviewer is None)
            or (case.state == "JURY" and case.jury == "drawing")
            for case in self.hand.cases
        )

    def check_journal(self) -> None:
        """CASH + DUE + ARREARS + SPONSOR + BAD_DEBT = CLAIMS + FEE + CARRY + ADVANCE + REFUNDS + CLEARING."""
        account = self.rows.get(Account, self.plan_id)
        assets = account.cash + account.due + account.arrears + account.sponsor + account.bad_debt
        duties = account.claims + account.fee + account.carry + account.advance + account.refunds + account.clearing
        assert assets == duties, "the journal does not balance"

    def check_block(self) -> None:
        """The accounts, the plan's deadline, every claim."""
        account = self.rows.get(Account, self.plan_id)
        accounts = {name: getattr(account, name) for name in Account.__struct_fields__}
        assert accounts == self.hand.accounts
        plan = self.plan
        assert (plan.period, plan.due_ms) == (self.hand.period, self.hand.due)
        for case in self.hand.cases:
            row = self.rows.get(Claim, case.number)
            found = (ClaimState(row.state).name, row.due_ms, row.amount_fen, row.recovered_fen, row.reason)
            assert found == (case.state, case.due, case.amount, case.recovered, case.reason), case
            assert row.period == (NONE if case.period is None else case.period), case
            assert row.member == self.ids[case.person]

    def observe(self) -> None:
        """What chance decided in the block: firms and juries."""
        for case in self.hand.cases:
            if case.state in ("INVESTIGATING", "ASSESSED", "JURY"):
                row = self.rows.get(Claim, case.number)
                if case.state == "INVESTIGATING" and case.firm is None and row.investigator != NONE:
                    assert row.investigator in self.hand.windows.firms
                    assert row.investigator not in case.passed or case.passed >= self.hand.windows.firms
                    case.firm = row.investigator
                elif case.state == "ASSESSED" and case.redrawn and case.reviewer is None and row.reviewer != NONE:
                    assert row.reviewer in self.hand.windows.firms - case.passed - {case.firm}
                    case.reviewer = row.reviewer
                elif case.state == "JURY" and case.jury == "drawing":
                    found = self.rows.get(Dispute, row.dispute)
                    if found.stage != Stage.DRAWING:
                        assert (found.outcome == Outcome.NO_PANEL) == (len(found.drawn) < self.hand.windows.quorum)
                        self.hand.panel(case, len(found.drawn))

    def check_results(self, compared: int) -> int:
        """Every settled period from row ``compared`` on; the first row that may still change."""
        rows = list(self.rows.rows(Settlement, compared))
        for _, row in rows:
            if row.plan == self.plan_id and row.settled_ms:
                shares = dict(row.would_be if row.sponsored else row.shares)
                assert shares == self.hand.shares[row.period]
                members_ = sum(count for _, count in row.counts)
                found = (members_, row.aid_fen, row.goal_fen, row.carry_used_fen, row.over_fen, row.charged_fen)
                closed = (row.short_fen, row.surplus_fen) if row.closed_ms else ()
                assert (*found, row.excess_fen, *closed) == self.hand.results[row.period], f"period {row.period}"
                bound = dict(row.upper_bound)
                assert all(share <= bound[class_id] for class_id, share in shares.items())
        return next((at for at, row in rows if not row.closed_ms), compared + len(rows))
