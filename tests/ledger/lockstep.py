"""Drives ``ledger`` and the slow oracle of the settlement side by side; after every step they must agree to the fen.

Steps are (name, a, b) with free integers, so that hypothesis can shrink a life to its core; a step that does not apply
to the present state does nothing.
"""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

from ledger import (
    bills,
    cohorts,
    collection,
    contributions,
    endings,
    journal,
    members,
    payouts,
    plans,
    run_off,
    settlement,
)
from ledger.errors import TransactionRejected
from ledger.indexes import differences
from ledger.params import ILLNESS, PlanParams
from ledger.rows import NONE, Account, Frozen, Member, Plan, Settlement
from ledger.sender import Sender
from ledger.state import Index, State, StateReader
from ledger.transactions import (
    Collect,
    ConfirmCollection,
    Contribution,
    Enrol,
    EnrolBatch,
    Exit,
    ExitBatch,
    ExpelMember,
    PayRefund,
    RefundSurplus,
    ReportDeath,
    SponsorPeriod,
    SuspendMember,
)
from tests.ledger.lockstep_kit import at, claim, identity, new_state
from tests.reference.brute_force import ByHand, Refused, Rules, noon, notice_date

Step = tuple[str, int, int]
PLATFORM = 0
_BANK = Sender(bytes(32), organisation=1)
_HOW: dict[type[Any], Callable[[State, Any], object]] = {
    Enrol: lambda state, body: members.enrol(state, body, PLATFORM),
    EnrolBatch: members.enrol_batch,
    Exit: lambda state, body: members.exit_member(state, body, PLATFORM),
    ExitBatch: members.exit_batch,
    ReportDeath: endings.report_death,
    SuspendMember: endings.suspend_member,
    ExpelMember: endings.expel_member,
    SponsorPeriod: settlement.sponsor_period,
    Collect: lambda state, body: collection.collect(state, body, PLATFORM),
    ConfirmCollection: collection.confirm,
    Contribution: contributions.contribution,
    PayRefund: lambda state, body: payouts.pay_refund(state, body, _BANK),
    RefundSurplus: lambda state, body: payouts.refund_surplus(state, body, _BANK),
}
"""What a body does to a state, without blocks and signatures."""


class Lockstep:
    """One plan in ``ledger`` and by hand. ``beside``: others in the same state, which share its clock."""

    def __init__(
        self,
        versions: list[tuple[date, PlanParams]],
        first_period: int,
        months: tuple[int, ...],
        beside: "list[Lockstep] | None" = None,
    ) -> None:
        self.months = months
        self.day = notice_date(first_period) - timedelta(days=120)
        self.beside = [] if beside is None else beside
        self.state: State = self.beside[0].state if self.beside else new_state(self.day)
        self.rows: StateReader = self.state
        self.beside.append(self)
        self.ids: list[int] = []
        """Member ids, by the oracle's numbers."""
        epoch = date(1970, 1, 1)
        (begins, params), *later = versions
        due = noon(notice_date(first_period)) - 12 * 3_600_000
        self.plan_id = plans.create(self.state, "plan", params, first_period, due, (begins - epoch).days)
        for begins, params in later:
            plans.add_version(self.state, self.plan_id, (begins - epoch).days, params)
        self.hand = ByHand([_rules(begins, params) for begins, params in versions], first_period)
        self.references = 0
        self.collections: list[tuple[int, int, int]] = []
        self.left_last: int | None = None
        self.doing: dict[str, Callable[[int, int], None]] = {
            "join": self.join,
            "leave": self.leave,
            "leave_many": self.leave_many,
            "leave_owing": self.leave_owing,
            "come_back": self.come_back,
            "turn_back": self.turn_back,
            "wait": self.wait,
            "sponsor": self.sponsor,
            "turn": self.turn,
            "collect": self.collect,
            "collect_all": self.collect_all,
            "correct": self.correct,
            "confirm": self.confirm,
            "pay": self.pay,
            "refund": self.refund,
            "die": self.die,
            "void": self.void,
            "suspend": self.suspend,
            "lift": self.lift,
            "expel": self.expel,
        }

    def run(self, steps: list[Step]) -> None:
        """Do the steps, comparing everything after each."""
        for name, a, b in steps:
            self.doing[name](a, b)
            self.compare(f"after {name} {a} {b} in period {self.hand.period} ({self.hand.stage})")

    def execute(self, body: Any) -> object:
        """The ledger's side of a step. Raises ``TransactionRejected``; then nothing has changed."""
        with self.state.attempt():
            return _HOW[type(body)](self.state, body)

    def both(self, theirs: Callable[[], object], body: Any) -> object | None:
        """Do it on both sides; a refusal of one must be the same refusal of the other. The ledger's result."""
        code = None
        try:
            theirs()
        except Refused as refused:
            code = str(refused)
        try:
            result = self.execute(body)
        except TransactionRejected as rejected:
            assert rejected.code == code, f"ledger refuses with {rejected}, by hand: {code}"
            return None
        assert code is None, f"by hand it is refused with {code}"
        return result

    @property
    def plan(self) -> Plan:
        """The plan's row."""
        return self.rows.get(Plan, self.plan_id)

    @property
    def period_row(self) -> Settlement:
        """The open period's row."""
        return self.rows.get(Settlement, self.plan.settlement)

    # -- steps -------------------------------------------------------------------------------------------------

    def join(self, count: int, seed: int) -> None:
        """``count`` members at once, or one by single enrolment."""
        first = len(self.hand.people)
        months = [self.months[(seed + i) % len(self.months)] for i in range(count)]
        for month in months:
            self.hand.join(month, self.day)
        people = tuple((identity(first + i), month) for i, month in enumerate(months))
        at_id = self.rows.length(Member)
        self.ids += range(at_id, at_id + count)
        if count == 1:
            self.execute(Enrol(self.plan_id, *people[0], b""))
        elif count:
            assert self.execute(EnrolBatch(self.plan_id, people)) == (at_id, count, 0)

    def leave(self, who: int, _: int) -> None:
        """One leaves."""
        if self.hand.people:
            number = who % len(self.hand.people)
            self.both(lambda: self.hand.leave(number), Exit(self.ids[number]))

    def leave_many(self, who: int, step: int) -> None:
        """Every ``step``-th leaves; those who have left are skipped."""
        numbers = range(who % 7, len(self.hand.people), 5 + step % 20)
        leaving = [number for number in numbers if self.hand.people[number].gone in ("", "suspended")]
        for number in leaving:
            self.hand.leave(number)
        if numbers:
            done = self.execute(ExitBatch(self.plan_id, tuple(self.ids[number] for number in numbers)))
            assert done == (len(leaving), len(numbers) - len(leaving))

    def come_back(self, who: int, _: int) -> None:
        """One of those who are gone comes back."""
        gone = [number for number, person in enumerate(self.hand.people) if person.gone]
        if gone:
            number = gone[who % len(gone)]
            body = Enrol(self.plan_id, identity(number), self.hand.people[number].birth_month, b"")
            self.both(lambda: self.hand.come_back(number, self.day), body)

    def leave_owing(self, who: int, _: int) -> None:
        """One of those who owe something leaves."""
        owing = [number for number, person in enumerate(self.hand.people) if person.arrears and not person.gone]
        owing += [number for number in sorted(self.hand.failed()) if not self.hand.people[number].gone]
        if owing:
            self.leave(owing[who % len(owing)], 0)
            self.left_last = owing[who % len(owing)]

    def turn_back(self, _: int, __: int) -> None:
        """The last who left owing comes back."""
        if self.left_last is not None:
            number, self.left_last = self.left_last, None
            body = Enrol(self.plan_id, identity(number), self.hand.people[number].birth_month, b"")
            self.both(lambda: self.hand.come_back(number, self.day), body)

    def wait(self, days: int, _: int) -> None:
        """Time passes; with many days the next notice is late."""
        day = self.day + timedelta(days=days)
        for run in self.beside:
            run.day = run.hand.today = day
        at(self.state, noon(day))

    def _someone(self, who: int, *gone: str) -> int | None:
        found = [number for number, person in enumerate(self.hand.people) if not gone or person.gone in gone]
        return found[who % len(found)] if found else None

    def die(self, who: int, ago: int) -> None:
        """A death of up to 59 days ago is reported."""
        number = self._someone(who)
        if number is None:
            return
        joined = date(1970, 1, 1) + timedelta(days=self.rows.get(Member, self.ids[number]).join_day)
        day = max(joined, self.day - timedelta(days=ago % 60))
        body = ReportDeath(self.ids[number], (day - date(1970, 1, 1)).days)
        back: list[int] = []
        done = self.both(lambda: back.append(self.hand.die(number, day)), body)
        assert not isinstance(done, tuple) or done[1] == back[0]

    def void(self, who: int, _: int) -> None:
        """One files for an illness of the first day of his waiting."""
        number = self._someone(who, "", "lapsed", "exited", "suspended")
        if number is None:
            return
        member = self.rows.get(Member, self.ids[number])
        day = (self.hand.people[number].waits_from - date(1970, 1, 1)).days + 1
        params = plans.version_at(self.rows, self.plan_id, day)[1].params
        if members.covered(self.rows, self.ids[number], member, day, ILLNESS, params) == "WAITING_ILL":
            refunds = self.rows.get(Account, self.plan_id).refunds
            with self.state.attempt():
                reason = endings.consequence(self.state, self.ids[number], member, day, ILLNESS, "WAITING_ILL")
            assert reason == endings.ILL_WHILE_WAITING
            assert self.hand.void(number) == self.rows.get(Account, self.plan_id).refunds - refunds

    def suspend(self, who: int, _: int) -> None:
        """One is suspended."""
        number = self._someone(who)
        if number is not None:
            body = SuspendMember(self.ids[number], suspended=True)
            self.both(lambda: self.hand.suspend(number), body)

    def lift(self, who: int, _: int) -> None:
        """A suspension is lifted."""
        number = self._someone(who, "suspended")
        if number is not None:
            body = SuspendMember(self.ids[number], suspended=False)
            self.both(lambda: self.hand.lift(number, self.day), body)

    def expel(self, who: int, _: int) -> None:
        """One is expelled."""
        number = self._someone(who, "", "suspended", "lapsed", "dead")
        if number is not None:
            self.both(lambda: self.hand.expel(number), ExpelMember(self.ids[number]))

    def sponsor(self, ahead: int, _: int) -> None:
        """A coming period is sponsored."""
        period = self.hand.coming() + ahead % 5
        if period not in self.hand.sponsored:
            self.hand.sponsor(period)
            self.execute(SponsorPeriod(self.plan_id, period))

    def turn(self, aid: int, seed: int) -> None:
        """The plan's next deadline."""
        if self.hand.stage == "quiet":
            self._notice(aid)
        elif self.hand.stage == "noticed":
            self._settle(seed)
        else:
            self._close()

    def _at_least(self, day: date) -> None:
        self.wait(max(0, (day - self.day).days), 0)

    def _notice(self, aid: int) -> None:
        self._at_least(notice_date(self.hand.period))
        counts = self.hand.notice()
        plan = settlement.notice(self.state, self.plan_id, self.plan)
        self.state.put(self.plan_id, plan)
        row = self.period_row
        assert dict(row.counts) == counts
        self.noticed = [claim(part) for part in (aid, aid // 2, aid // 3)] if counts and aid > 5 else []
        settlement.announce(self.state, self.plan_id, plan, list(enumerate(self.noticed)))

    def _settle(self, seed: int) -> None:
        self._at_least(notice_date(self.hand.period) + timedelta(days=7))
        approved = self.noticed[: seed % 4]
        result = self.hand.settle(sum(each.amount_fen for each in approved))
        self.state.put(self.plan_id, settlement.settle(self.state, self.plan_id, self.plan, list(enumerate(approved))))
        row = self.period_row
        shares = row.would_be if row.sponsored else row.shares
        assert dict(shares) == result.shares
        found = (row.goal_fen, row.carry_used_fen, row.over_fen, row.charged_fen, row.excess_fen)
        assert found == (result.goal, result.used, result.over, result.charged, result.excess)
        for number in {(seed * (i + 1)) % len(self.hand.people) for i in range(len(approved))}:
            self.hand.leave(number, "helped")
            members.benefit(self.state, self.ids[number], self.hand.period)

    def _close(self) -> None:
        self._at_least(notice_date(self.hand.period) + timedelta(days=14))
        row_id = self.plan.settlement
        short, surplus = self.hand.close()
        self.state.put(self.plan_id, settlement.close(self.state, self.plan_id, self.plan))
        row = self.rows.get(Settlement, row_id)
        assert (row.short_fen, row.surplus_fen) == (short, surplus)
        self.collections = []

    def collect(self, first: int, seed: int) -> None:
        """A range with failures; sometimes it overlaps another, or names somebody who cannot fail."""
        if self.hand.stage != "settled":
            return
        first %= len(self.hand.people)
        last = min(len(self.hand.people) - 1, first + seed % 9)
        self._report(first, last, seed, None)

    def collect_all(self, bad: int, noise: int) -> None:
        """Ranges over everybody; every thirteenth from ``bad`` on fails, and a few more."""
        if self.hand.stage == "settled":
            for first in range(0, len(self.hand.people), 9):
                last = min(len(self.hand.people) - 1, first + 8)
                self._report(first, last, 5 * noise + 1 if (first + noise) % 11 == 0 else 1 << bad % 13, None)

    def correct(self, which: int, seed: int) -> None:
        """A correction of a range that stands."""
        standing = [at for at, report in enumerate(self.hand.reports) if not report.replaced]
        if standing:
            chosen = standing[which % len(standing)]
            self._report(*self.collections[chosen][1:], seed, chosen)

    def _report(self, first: int, last: int, seed: int, replaces: int | None) -> None:
        everybody = range(first, last + 1)
        failed = [number for number in everybody if (seed >> (number % 13)) & 1]
        if seed % 5:
            failed = [number for number in failed if self._can_fail(number)]
        body = Collect(
            self.plan_id,
            self.hand.period,
            self.ids[first],
            self.ids[last],
            collection.differences_of(self.ids[first], [self.ids[number] for number in failed]),
            0 if replaces is None else 1 + self.collections[replaces][0],
        )
        done = self.both(lambda: self.hand.collect(first, last, failed, replaces), body)
        if isinstance(done, tuple):
            self.collections.append((done[0], first, last))

    def _can_fail(self, number: int) -> bool:
        person = self.hand.people[number]
        return person.shares(self.hand.period) and person.due + person.arrears > 0

    def confirm(self, which: int, amount: int) -> None:
        """The bank confirms a range, with some amount."""
        if self.collections and amount > 0:
            body = ConfirmCollection(self.collections[which % len(self.collections)][0], amount, self._reference())
            try:
                self.execute(body)
            except TransactionRejected as rejected:
                assert rejected.code in ("ALREADY_CONFIRMED", "COLLECTION_REPLACED", "PERIOD_CLOSED")
            else:
                self.hand.confirm(amount)

    def pay(self, who: int, things: int) -> None:
        """One of those who owe something pays a part of it."""
        owing = [number for number in range(len(self.hand.people)) if self.hand.debts(number)]
        if owing:
            number = owing[who % len(owing)]
            debts = self.hand.debts(number)[: 1 + things % 2]
            body = Contribution(
                self.ids[number], tuple(debt[0] for debt in debts), sum(debt[1] for debt in debts), self._reference()
            )
            self.hand.contribute(number, len(debts))
            self.execute(body)

    def refund(self, which: int, amount: int) -> None:
        """The bank refunds something; sometimes more than is owed."""
        periods: list[int | None] = [None, *self.hand.surplus]
        period = periods[which % len(periods)]
        owed = self.hand.accounts["refunds"] if period is None else self.hand.surplus[period]
        amount = 1 + amount % max(1, owed + owed // 8)
        if period is None:
            body = PayRefund(self.plan_id, amount, self._reference())
            self.both(lambda: self.hand.give_back(None, amount), body)
        else:
            back = RefundSurplus(self.plan_id, period, amount, self._reference())
            self.both(lambda: self.hand.give_back(period, amount), back)

    def run_off(self) -> None:
        """The plan ends between a close and the next notice."""
        assert self.hand.stage == "quiet"
        self.hand.run_off()
        self.state.put(self.plan_id, run_off.end(self.state, self.plan_id, self.plan))
        account = self.rows.get(Account, self.plan_id)
        accounts = {name: getattr(account, name) for name in Account.__struct_fields__}
        assert accounts == self.hand.accounts

    def _reference(self) -> bytes:
        self.references += 1
        return f"ref {self.plan_id} {self.references}".encode()

    # -- what must agree ---------------------------------------------------------------------------------------

    def compare(self, where: str) -> None:
        """Accounts, counts, every bill and every debt."""
        journal.check_touched(self.state)
        self.agree(where)

    def agree(self, where: str) -> None:
        """The ledger's rows say what the oracle says."""
        account = self.rows.get(Account, self.plan_id)
        accounts = {name: getattr(account, name) for name in Account.__struct_fields__}
        assert accounts == self.hand.accounts, where
        live = {row.birth_month: sum(c for _, _, c in row.counts) for _, row in cohorts.rows(self.rows, self.plan_id)}
        assert {month: count for month, count in live.items() if count} == self.hand.live(), where
        sums = bills.RunningSums(self.rows, self.plan_id, self.plan)
        for number, person in enumerate(self.hand.people):
            member = self.rows.get(Member, self.ids[number])
            assert bills.total(self.rows, member, sums) == person.bill(), f"bill of {number} {where}"
            waits_from = date(1970, 1, 1) + timedelta(days=members.waits_from(self.rows, member))
            assert waits_from == person.waits_from, f"waiting of {number} {where}"
            owed = bills.owed(self.rows, member, sums)
            assert owed.total_fen == person.due + person.arrears + person.lost, f"owed by {number} {where}"
        if self.plan.settlement != NONE:
            row = self.period_row
            frozen = self.rows.rows(Frozen, row.frozen_first, row.frozen_first + row.frozen_count)
            assert sum(c for _, each in frozen for _, _, c in each.counts) == len(self.hand.sharing), where

    def compare_statements(self) -> None:
        """The list of charges adds up to the bill, period by period; the indexes are what the rows make of them."""
        self.state.root()
        wrong = [found for found in differences(self.state.overlay) if found[0] is not Index.DEADLINE]
        assert wrong == []
        self.agree_statements()

    def agree_statements(self) -> None:
        """Of every member, the closed formula, the list of charges, and the oracle's list."""
        for number, person in enumerate(self.hand.people):
            total, charges = bills.bill(self.rows, self.ids[number])
            found = {charge.period: charge.charge_fen for charge in charges if charge.charge_fen}
            assert found == {period: fen for period, fen in person.charges.items() if fen}
            assert total == sum(found.values()) == bills.total(self.rows, self.rows.get(Member, self.ids[number]))


def _rules(begins: date, params: PlanParams) -> Rules:
    bands = tuple((band.age_from, band.class_id, band.weight) for band in params.classes)
    return Rules(begins, params.fee_bps, params.year_cap_fen, params.lapse_fails, bands, params.reinstate_days)
