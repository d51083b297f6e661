"""The slow oracle: mutual aid done by hand, member by member, from the charter's sentences.

It keeps a person record for every member and walks all of them at every notice, settlement and close. It has no
cohorts, no running sums, no tree and none of the ledger's code; where the ledger uses a closed formula, it adds.

One plan, one version of the rules, no reinstatements: what the replay of the half-months uses. Anything else in the
blocks is an ``AuditError``, never skipped.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .blockfile import AuditError, Block, Genesis
from .days_by_hand import age, local_day, notice_time

CLOSE, SETTLE, APPROVE, NOTICE = 1, 2, 3, 4


def up(amount: int, parts: int) -> int:
    """``amount`` divided by ``parts``, a begun fen counting as a whole one."""
    whole = amount // parts
    return whole if whole * parts == amount else whole + 1


@dataclass(slots=True)
class Person:
    """One member, by hand."""

    birth_month: int
    joined_ms: int
    first: int
    end: int | None = None
    """First period he no longer takes part in."""
    bill: int = 0
    year: int = 0
    paid_this_year: int = 0
    due: int = 0
    """Charged by the open period and not yet collected."""
    arrears: int = 0
    failed: int | None = None
    """Period of the newest failed debit, while it is unpaid."""
    helped: bool = False

    def takes_part(self, period: int) -> bool:
        """Whether ``period`` is his to share."""
        return self.first <= period and (self.end is None or period < self.end)


@dataclass(slots=True)
class Case:
    """One claim, by hand: how far it came."""

    member: int
    tier: int
    diagnosis_day: int
    state: str = "filed"
    amount: int = 0
    firms: set[bytes] = field(default_factory=set)
    diagnosed: bool = False
    reference: bytes = b""


@dataclass
class PeriodResult:
    """What the oracle found for one period."""

    period: int
    members: int
    cases: int
    aid: int
    fee: int
    carry: int
    share: int
    sponsored: bool


class MutualAid:
    """The charter applied to the blocks; ``accounts`` holds the journal."""

    def __init__(self, genesis: Genesis) -> None:
        document = genesis.document
        (plan,) = document["plan"]
        self.rules = plan["params"]
        self.people: list[Person] = []
        self.by_identity: dict[bytes, int] = {}
        self.cases: list[Case] = []
        names = "cash due arrears sponsor bad_debt claims fee carry advance refunds clearing"
        self.accounts = dict.fromkeys(names.split(), 0)
        chain = document["chain"]
        self.offset = chain.get("clock_start_ms", chain["time_ms"]) - chain["time_ms"]
        self.now = chain["time_ms"] + self.offset
        self.noticed: int | None = None
        self.open_members: list[int] = []
        self.sponsored: set[int] = set()
        self.bad_debt_at_notice = 0
        self.confirmed: dict[int, int] = {}
        self.collections: list[dict[str, Any]] = []
        self.last_charged: int | None = None
        self.references: set[bytes] = set()
        self.results: list[PeriodResult] = []
        self.doing: dict[str, Callable[[list[Any], bytes, list[int]], None]] = {
            "advance_clock": self._advance_clock,
            "enrol_batch": self._enrol_batch,
            "enrol": self._enrol,
            "exit_batch": self._exit_batch,
            "exit": self._exit,
            "file_claim": self._file_claim,
            "diagnose": self._diagnose,
            "assess": self._assess,
            "review": self._review,
            "pay": self._pay,
            "confirm_payment": self._confirm_payment,
            "sponsor_period": self._sponsor_period,
            "sponsor_payment": self._sponsor_payment,
            "collect": self._collect,
            "confirm_collection": self._confirm_collection,
            "contribution": self._contribution,
            "pay_fee": self._pay_fee,
            "advance": self._advance,
            "pay_refund": self._pay_refund,
        }

    # -- walking ------------------------------------------------------------------------------------------------

    def block(self, block: Block) -> None:
        """Deadlines first, then the transactions that succeeded, then the equation."""
        offset = self.offset
        self.now = block.time_ms + offset
        for due, kind, subject, code in block.deadlines:
            if code == "OK":
                if due > self.now:
                    raise AuditError(f"block {block.height}: a deadline ran before it was due")
                self._deadline(kind, subject)
        for body, signer, code, detail in block.transactions:
            if code == "OK":
                self.doing[body[0]](body[1:], signer, detail)
        self._check_equation(block.height)

    def _check_equation(self, height: int) -> None:
        a = self.accounts
        left = a["cash"] + a["due"] + a["arrears"] + a["sponsor"] + a["bad_debt"]
        right = a["claims"] + a["fee"] + a["carry"] + a["advance"] + a["refunds"] + a["clearing"]
        if left != right:
            raise AuditError(f"block {height}: the journal is off by {left - right} fen")

    def _deadline(self, kind: int, subject: int) -> None:
        if kind == NOTICE:
            self._notice()
        elif kind == SETTLE:
            self._settle()
        elif kind == CLOSE:
            self._close()
        elif kind == APPROVE:
            self._move(subject, "noticed", "approved")

    def _move(self, case: int, before: str, after: str) -> Case:
        found = self.cases[case]
        if found.state != before:
            raise AuditError(f"claim {case} is {found.state}, it must be {before} to become {after}")
        found.state = after
        return found

    def _move_money(self, amount: int, debit: str, credit: str) -> None:
        """Both sides of one entry. Assets and costs grow by a debit, what is owed to others by a credit."""
        assets = ("cash", "due", "arrears", "sponsor", "bad_debt")
        self.accounts[debit] += amount if debit in assets else -amount
        self.accounts[credit] += -amount if credit in assets else amount

    def _use_reference(self, reference: bytes) -> None:
        if reference in self.references:
            raise AuditError(f"the reference {reference!r} was accepted twice")
        self.references.add(reference)

    # -- clock and members --------------------------------------------------------------------------------------

    def _advance_clock(self, body: list[Any], _signer: bytes, _detail: list[int]) -> None:
        if body[0] <= self.now:
            raise AuditError("the clock went back")
        self.offset += body[0] - self.now

    def _join(self, identity: bytes, birth_month: int) -> None:
        if identity in self.by_identity:
            raise AuditError("an identity joined twice: the oracle knows no returns")
        first = 0 if self.noticed is None else self.noticed + 1
        while notice_time(first) <= self.now:
            first += 1
        self.by_identity[identity] = len(self.people)
        self.people.append(Person(birth_month, self.now, first))

    def _enrol_batch(self, body: list[Any], _signer: bytes, _detail: list[int]) -> None:
        for identity, birth_month in body[1]:
            if identity not in self.by_identity:
                self._join(identity, birth_month)

    def _enrol(self, body: list[Any], _signer: bytes, detail: list[int]) -> None:
        self._join(body[1], body[2])
        if detail[0] != len(self.people) - 1:
            raise AuditError(f"member {detail[0]} should be {len(self.people) - 1}")

    def _leave(self, member: int) -> None:
        person = self.people[member]
        if person.end is not None:
            return
        person.end = max(person.first, 0 if self.noticed is None else self.noticed + 1)
        if person.arrears and not person.takes_part(self._open_period()):
            self._write_off(person)

    def _open_period(self) -> int:
        return -1 if not self.open_members or self.noticed is None else self.noticed

    def _write_off(self, person: Person) -> None:
        self._move_money(person.arrears, "bad_debt", "arrears")
        person.arrears = 0
        person.failed = None

    def _exit(self, body: list[Any], _signer: bytes, _detail: list[int]) -> None:
        self._leave(body[0])

    def _exit_batch(self, body: list[Any], _signer: bytes, _detail: list[int]) -> None:
        for member in body[1]:
            self._leave(member)

    # -- claims -------------------------------------------------------------------------------------------------

    def _file_claim(self, body: list[Any], _signer: bytes, detail: list[int]) -> None:
        member, tier, _illness, cause, diagnosis_day = body[:5]
        person = self.people[member]
        joined = local_day(person.joined_ms) + 1
        waiting = 0 if cause == 1 else self.rules["waiting_days"]
        left = person.end is not None and diagnosis_day >= local_day(self.now)
        if diagnosis_day < joined + waiting or left or person.helped:
            raise AuditError(f"member {member} was not covered on day {diagnosis_day}")
        if detail[0] != len(self.cases):
            raise AuditError(f"claim {detail[0]} should be {len(self.cases)}")
        self.cases.append(Case(member, tier, diagnosis_day, amount=self._amount(person, tier, diagnosis_day)))

    def _amount(self, person: Person, tier: int, day: int) -> int:
        years = age(person.birth_month, day)
        bands = [band for band in self.rules["tiers"] if band["tier"] == tier and band["age_from"] <= years]
        aid: int = max(bands, key=lambda band: int(band["age_from"]))["aid_fen"]
        return aid

    def _diagnose(self, body: list[Any], _signer: bytes, _detail: list[int]) -> None:
        self.cases[body[0]].diagnosed = True

    def _assess(self, body: list[Any], signer: bytes, _detail: list[int]) -> None:
        self._move(body[0], "filed", "assessed").firms.add(signer)

    def _review(self, body: list[Any], signer: bytes, _detail: list[int]) -> None:
        case = self._move(body[0], "assessed", "cleared" if body[1] == 0 else "refused")
        if signer in case.firms:
            raise AuditError(f"claim {body[0]} was reviewed by the firm that investigated it")
        if not case.diagnosed:
            raise AuditError(f"claim {body[0]} was reviewed without a diagnosis")

    def _pay(self, body: list[Any], _signer: bytes, _detail: list[int]) -> None:
        claim, amount, reference = body
        case = self.cases[claim]
        if case.state not in ("settled", "paying") or amount != case.amount:
            raise AuditError(f"claim {claim}: {amount} fen were ordered in state {case.state}")
        self._use_reference(reference)
        case.state, case.reference = "paying", reference

    def _confirm_payment(self, body: list[Any], _signer: bytes, _detail: list[int]) -> None:
        claim, reference, paid = body
        if self.cases[claim].reference != reference:
            raise AuditError(f"claim {claim}: a payment was confirmed that was not ordered")
        if paid:
            self._move(claim, "paying", "paid")
            self._move_money(self.cases[claim].amount, "claims", "cash")

    # -- the half-month -----------------------------------------------------------------------------------------

    def _notice(self) -> None:
        self.noticed = self._next_period()
        self.open_members = [i for i, person in enumerate(self.people) if person.takes_part(self.noticed)]
        self.bad_debt_at_notice = self.accounts["bad_debt"]
        for case in self.cases:
            if case.state == "cleared":
                case.state = "noticed"

    def _next_period(self) -> int:
        if self.noticed is not None:
            return self.noticed + 1
        period = 0
        while notice_time(period + 1) <= self.now:
            period += 1
        return period

    def _settle(self) -> None:
        period = self._noticed()
        approved = [case for case in self.cases if case.state == "approved"]
        aid = sum(case.amount for case in approved)
        fee = aid * self.rules["fee_bps"] // 10_000
        bad_debt = min(self.bad_debt_at_notice, self.accounts["bad_debt"])
        need = aid + fee + bad_debt
        use = min(self.accounts["carry"], need)
        goal = need - use
        count = len(self.open_members)
        share = up(goal, count) if count else 0
        self._move_money(aid, "carry", "claims")
        self._move_money(fee, "carry", "fee")
        self._move_money(bad_debt, "carry", "bad_debt")
        if period in self.sponsored:
            self._move_money(goal, "sponsor", "carry")
        else:
            charged = self._charge(period, share)
            self._move_money(charged, "due", "carry")
            self._move_money(share * count - charged, "sponsor", "carry")
        for case in approved:
            case.state = "settled"
            person = self.people[case.member]
            person.helped = True
            person.end = period + 1 if person.end is None else min(person.end, period + 1)
        carry = self.accounts["carry"]
        sponsored = period in self.sponsored
        self.results.append(PeriodResult(period, count, len(approved), aid, fee, carry, share, sponsored))

    def _noticed(self) -> int:
        if self.noticed is None:
            raise AuditError("a settlement before the first notice")
        return self.noticed

    def _charge(self, period: int, share: int) -> int:
        year = 2018 + period // 24
        cap = self.rules["year_cap_fen"]
        total = 0
        for member in self.open_members:
            person = self.people[member]
            if person.year != year:
                person.year, person.paid_this_year = year, 0
            left = cap - person.paid_this_year
            person.due = share if share <= left else left
            person.paid_this_year += person.due
            person.bill += person.due
            total += person.due
        return total

    def _sponsor_period(self, body: list[Any], _signer: bytes, _detail: list[int]) -> None:
        if self.noticed is not None and body[1] <= self.noticed:
            raise AuditError(f"period {body[1]} was sponsored after its notice")
        self.sponsored.add(body[1])

    def _sponsor_payment(self, body: list[Any], _signer: bytes, _detail: list[int]) -> None:
        self._use_reference(body[2])
        self._move_money(body[1], "cash", "sponsor")

    # -- collecting ---------------------------------------------------------------------------------------------

    def _collect(self, body: list[Any], _signer: bytes, _detail: list[int]) -> None:
        _plan, period, first, last, differences, corrects = body
        if period != self._noticed():
            raise AuditError(f"a collection of {period} in {self.noticed}")
        failed: list[int] = []
        position = first
        for difference in differences:
            position += difference
            failed.append(position)
        for member in failed:
            person = self.people[member]
            if not first <= member <= last or not person.takes_part(period) or person.due == 0:
                raise AuditError(f"member {member} cannot have failed in {period}")
        if corrects:
            self.collections[corrects - 1]["replaced"] = True
        reported = {"period": period, "first": first, "last": last, "failed": set(failed), "replaced": False}
        for other in self.collections:
            overlaps = other["period"] == period and not other["replaced"]
            if overlaps and first <= other["last"] and other["first"] <= last:
                raise AuditError(f"the ranges of {period} overlap")
        self.collections.append(reported)

    def _confirm_collection(self, body: list[Any], _signer: bytes, _detail: list[int]) -> None:
        collection, amount, reference = body
        self._use_reference(reference)
        self._move_money(amount, "cash", "clearing")
        period = self.collections[collection]["period"]
        self.confirmed[period] = self.confirmed.get(period, 0) + amount

    def _contribution(self, body: list[Any], _signer: bytes, _detail: list[int]) -> None:
        member, periods, amount, reference = body
        person = self.people[member]
        self._use_reference(reference)
        due = person.due if self.noticed in periods else 0
        arrears = amount - due
        if arrears not in (0, person.arrears):
            raise AuditError(f"member {member} paid {amount}, he owed {due} and {person.arrears}")
        self._move_money(due, "cash", "due")
        self._move_money(arrears, "cash", "arrears")
        person.due -= due
        if arrears:
            person.arrears, person.failed = 0, None

    def _close(self) -> None:
        period = self._noticed()
        reports = [report for report in self.collections if report["period"] == period and not report["replaced"]]
        charged = period not in self.sponsored and self.results[-1].share > 0
        if charged:
            self._collect_by_hand(period, reports)
            self.last_charged = period
        self.open_members = []

    def _collect_by_hand(self, period: int, reports: list[dict[str, Any]]) -> None:
        failed = set().union(*(report["failed"] for report in reports))
        paid_due = paid_arrears = 0
        for report in reports:
            for member in range(report["first"], report["last"] + 1):
                person = self.people[member]
                if member in failed or not person.takes_part(period):
                    continue
                paid_due += person.due
                paid_arrears += person.arrears
                person.due, person.arrears, person.failed = 0, 0, None
        self._move_money(paid_due, "clearing", "due")
        self._move_money(paid_arrears, "clearing", "arrears")
        for member in failed:
            self._fail(self.people[member], period)
        unreported = sum(self.people[member].due for member in self.open_members)
        for member in self.open_members:
            self.people[member].due = 0
        self._move_money(unreported, "sponsor", "due")
        surplus = self.confirmed.get(period, 0) - paid_due - paid_arrears
        if surplus < 0:
            self._move_money(-surplus, "sponsor", "clearing")
        else:
            self._move_money(surplus, "clearing", "refunds")

    def _fail(self, person: Person, period: int) -> None:
        self._move_money(person.due, "arrears", "due")
        person.arrears += person.due
        person.due = 0
        again = person.failed is not None and person.failed == self.last_charged
        person.failed = period
        if again and person.end is None:
            person.end = period + 1
        if person.end is not None and person.end <= period + 1:
            self._write_off(person)

    # -- what only moves money ----------------------------------------------------------------------------------

    def _pay_fee(self, body: list[Any], _signer: bytes, _detail: list[int]) -> None:
        self._use_reference(body[2])
        self._move_money(body[1], "fee", "cash")

    def _advance(self, body: list[Any], _signer: bytes, _detail: list[int]) -> None:
        _plan, amount, repay, reference = body
        self._use_reference(reference)
        self._move_money(amount, *(("advance", "cash") if repay else ("cash", "advance")))

    def _pay_refund(self, body: list[Any], _signer: bytes, _detail: list[int]) -> None:
        self._use_reference(body[2])
        self._move_money(body[1], "refunds", "cash")
