"""The demo's half-months, one after the other: who sends what, when, and how far the clock may step.

One half-month ``p``, in ledger time (LEDGER §5; 28th -> 4th to 7th of the next month for the close):

| when | what falls due | what the organisations send |
|---|---|---|
| the 7th / 21st | close p − 1, notice p | bank: arrears paid by single contribution, the platform's fee |
| + 3 days | approval of the noticed claims | |
| the 14th / 28th | settlement p | bank: payment orders; platform: claims of p + 1, joins, exits, debits |
| + 3 days | investigators are drawn for p + 1 | hospital: diagnoses; bank: confirmations; firms: reports, reviews |

The clock steps from one of these times to the next and only when everything due before is committed: each ``send``
returns after its transactions are executed, and a block that leaves due deadlines behind carries no transactions.
Payments of p and claims of p + 1 are under way at the same time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from random import Random
from typing import Any, Final, TypeVar

from ledger import transactions as tx
from ledger.calendar import MS_PER_DAY, day_of, notice_ms, settle_ms
from ledger.limits import BATCH_ITEMS_MAX
from ledger.params import PlanParams

from .ledger import ASSESSORS, BANK, CLOCK, HOSPITAL, PLAN, PLATFORM, DemoError, Ledger, Settled
from .people import SINGLES, Patient, People
from .script import MILD, Step

T = TypeVar("T")

SERIOUS_TIER: Final = 1
MILD_TIER: Final = 2
ILLNESSES: Final = 100
REGIONS: Final = 31


@dataclass(frozen=True, slots=True)
class OpenClaim:
    """A claim on its way: its id, its member, what it will pay."""

    claim: int
    member: int
    amount_fen: int


Before = Callable[[Step], Awaitable[None]]
After = Callable[[Step, Settled], None]


def prelude(first: Step, begin_period: int) -> list[Step]:
    """The half-months between the members' joining and the table's first row: nobody claims, nothing is shared."""
    return [
        Step("", period, first.members, (0, 0, 0), None, sponsored=False)
        for period in range(begin_period, first.period)
    ]


@dataclass(slots=True)
class Demo:
    """One replay. ``before`` runs before a half-month's notice, ``after`` once its settlement is known."""

    ledger: Ledger
    params: PlanParams
    aid_fen: tuple[int, int, int]
    """What each kind of case pays."""
    steps: Sequence[Step]
    begin_period: int
    """The first period the plan notices."""
    random: Random
    before: Before
    after: After
    people: People = field(init=False)
    """Seeded choices are made between the concurrent parts, never inside two at once, so that a seed gives one run."""
    _reached_ms: int = 0
    _late: int = 0
    """Members who paid their arrears by single contribution since the last notice."""

    def __post_init__(self) -> None:
        self.people = People(self.random, self.params.waiting_days)

    async def run(self) -> None:
        """From the first enrolment to the close of the last period. Raises ``DemoError``, ``ScriptError``."""
        await self._join(self.steps[0].members, day_of(await self.ledger.time_ms()))
        charged_fen = 0
        claims: list[OpenClaim] = []
        whole = [*prelude(self.steps[0], self.begin_period), *self.steps]
        for step, following in pairwise([*whole, None]):
            if step is None:
                break
            await self.before(step)
            await self._to_settlement(step, charged_fen, claims)
            settled, claims = await self._after_settlement(step, following, claims)
            charged_fen = settled.charged_fen
            self.after(step, settled)
        await self._step_to(self._close_ms(whole[-1].period))
        await self.ledger.closed(whole[-1].period)
        self.people.closed(charged_fen)
        await self._send(BANK, await self._fee(whole[-1].period + 1))

    # ---- notice, approval, settlement ------------------------------------------------------------------------------

    async def _to_settlement(self, step: Step, charged_fen: int, claims: list[OpenClaim]) -> None:
        if step.sponsored:
            await self.ledger.send(PLATFORM, [tx.SponsorPeriod(PLAN, step.period)])
        if step.period > self.begin_period:
            await self._step_to(self._close_ms(step.period - 1))
            self.people.closed(charged_fen)
        await self._step_to(notice_ms(step.period))
        members = self.people.noticed(step.period)
        if members != step.members:
            raise DemoError(f"{step.settle_date}: {members} members are chargeable, {step.members} were planned")
        late = self.people.late_payers()
        self._late = len(late)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._late_payments(step.period, late))
            if claims:
                group.create_task(self._step_to(notice_ms(step.period) + self.params.notice_days * MS_PER_DAY))
        await self._step_to(settle_ms(step.period))

    async def _late_payments(self, notice: int, late: list[tuple[int, int, int]]) -> None:
        """What the bank settles after a close: arrears paid by hand, and the platform's fee."""
        bodies = [
            tx.Contribution(member, (period,), arrears, b"late-%d-%d" % (period, member))
            for member, period, arrears in late
        ]
        await self._send(BANK, [*bodies, *await self._fee(notice)])
        for member, _, _ in late:
            self.people.paid_arrears(member)

    def _close_ms(self, period: int) -> int:
        return settle_ms(period) + self.params.pay_days * MS_PER_DAY

    async def _step_to(self, to_ms: int) -> None:
        if to_ms > self._reached_ms:
            await self.ledger.send(CLOCK, [tx.AdvanceClock(to_ms)])
            self._reached_ms = to_ms

    # ---- after the settlement --------------------------------------------------------------------------------------

    async def _after_settlement(
        self, step: Step, following: Step | None, claims: list[OpenClaim]
    ) -> tuple[Settled, list[OpenClaim]]:
        """Payments, collection, membership, and the next period's claims up to their review."""
        for claim in claims:
            self.people.leave(claim.member)  # helped: he pays this period and no more
        patients = self.people.patients(following.cases, day_of(settle_ms(step.period))) if following else []
        async with asyncio.TaskGroup() as group:
            group.create_task(self._send(BANK, [tx.Pay(c.claim, c.amount_fen, _reference(c)) for c in claims]))
            filing = group.create_task(self._file(patients))
        filed = filing.result()
        settled = await self.ledger.settled(step.period)
        if (settled.members, settled.claims) != (step.members, len(claims)):
            raise DemoError(
                f"{step.settle_date}: settled with {settled.members} members and {settled.claims} claims, "
                f"planned were {step.members} and {len(claims)}"
            )
        early = self.people.early_payers(SINGLES - self._late) if settled.charged_fen else []
        async with asyncio.TaskGroup() as group:
            group.create_task(self._money(settled, claims, early))
            if following is not None:
                group.create_task(self._membership(settled, following, {*early, *(claim.member for claim in filed)}))
            if filed:
                group.create_task(self._assess([claim.claim for claim in filed]))
        return settled, filed

    async def _file(self, patients: list[Patient]) -> list[OpenClaim]:
        details = await self._send(PLATFORM, [self._filing(patient) for patient in patients])
        return [
            OpenClaim(detail[0], patient.member, self.aid_fen[patient.kind])
            for patient, detail in zip(patients, details, strict=True)
        ]

    def _filing(self, patient: Patient) -> tx.FileClaim:
        return tx.FileClaim(
            member=patient.member,
            tier=MILD_TIER if patient.kind == MILD else SERIOUS_TIER,
            illness=self.random.randrange(1, ILLNESSES + 1),
            cause=patient.cause,
            diagnosis_day=patient.diagnosis_day,
            region=self.random.randrange(1, REGIONS + 1),
            fingerprint=self.random.randbytes(32),
            salt=self.random.randbytes(16),
        )

    async def _money(self, settled: Settled, claims: list[OpenClaim], early: list[int]) -> None:
        """The debits, then what they pay for: aid first, the platform's fee last."""
        period, share = settled.period, settled.charged_fen
        if settled.sponsored and settled.goal_fen:
            await self._send(BANK, [tx.SponsorPayment(PLAN, settled.goal_fen, b"sponsor-%d" % period)])
        if share:
            singles = [
                tx.Contribution(member, (period,), share, b"single-%d-%d" % (period, member)) for member in early
            ]
            await self._send(BANK, singles)
            ranges = self.people.ranges(share, early)
            reports = [tx.Collect(PLAN, period, r.first, r.last, _differences(r.first, r.failures), 0) for r in ranges]
            details = await self._send(PLATFORM, reports)
            confirmations = [
                tx.ConfirmCollection(detail[0], r.amount_fen, b"collection-%d" % detail[0])
                for r, detail in zip(ranges, details, strict=True)
            ]
            await self._send(BANK, confirmations)
        await self._send(BANK, [tx.ConfirmPayment(claim.claim, _reference(claim), paid=True) for claim in claims])

    async def _fee(self, period: int) -> list[tx.PayFee]:
        """The platform's fee, as far as the plan's cash covers it after everything else: last of all payments."""
        accounts = await self.ledger.accounts()
        owed_first = accounts["claims"] + accounts["refunds"] + accounts["advance"]
        amount = min(accounts["fee"], accounts["cash"] - owed_first)
        return [tx.PayFee(PLAN, amount, b"fee-%d" % period)] if amount > 0 else []

    # ---- members ---------------------------------------------------------------------------------------------------

    async def _membership(self, settled: Settled, following: Step, staying: set[int]) -> None:
        """Joins or exits, so that the next notice counts what the table says."""
        if settled.charged_fen:
            for member in self.people.lapsing():
                self.people.leave(member)
        else:
            staying |= self.people.arrears.keys()
        missing = following.members - len(self.people.active)
        if missing > 0:
            await self._join(missing, day_of(settle_ms(settled.period)) + self.params.investigate_after_days)
        elif missing < 0:
            leavers = self.people.leavers(-missing, staying)
            await self._send(PLATFORM, [tx.ExitBatch(PLAN, tuple(batch)) for batch in _batches(leavers)])
            for member in leavers:
                self.people.leave(member)

    async def _join(self, count: int, day: int) -> None:
        """``count`` people join, on ``day`` at the latest: the clock may step meanwhile, cover begins no later."""
        batches = _batches(self.people.applicants(count, day))
        details = await self._send(PLATFORM, [tx.EnrolBatch(PLAN, tuple(batch)) for batch in batches])
        for batch, detail in sorted(zip(batches, details, strict=True), key=lambda pair: pair[1]):
            self.people.enrolled(detail[0], [birth_month for _, birth_month in batch], day)

    # ---- claims ----------------------------------------------------------------------------------------------------

    async def _assess(self, claims: list[int]) -> None:
        """Diagnoses while the investigators are drawn; each drawn firm reports, another reviews."""
        due_ms = await self.ledger.time_ms() + self.params.investigate_after_days * MS_PER_DAY
        async with asyncio.TaskGroup() as group:
            group.create_task(
                self._send(HOSPITAL, [tx.Diagnose(claim, _commitment(HOSPITAL, claim)) for claim in claims])
            )
            group.create_task(self._step_to(due_ms))
        firms = await self.ledger.investigators(claims)
        by_firm = {
            firm: [claim for claim, drawn in zip(claims, firms, strict=True) if drawn == firm] for firm in ASSESSORS
        }
        async with asyncio.TaskGroup() as group:
            for firm, own in by_firm.items():
                group.create_task(self._send(firm, [tx.Assess(claim, _commitment(firm, claim)) for claim in own]))
        async with asyncio.TaskGroup() as group:
            for firm, own in by_firm.items():
                group.create_task(self._send(_other(firm), [tx.Review(claim, 0) for claim in own]))

    async def _send(self, sender: str, bodies: Sequence[Any]) -> list[tuple[int, ...]]:
        return await self.ledger.send(sender, bodies) if bodies else []


def _other(firm: str) -> str:
    return ASSESSORS[(ASSESSORS.index(firm) + 1) % len(ASSESSORS)]


def _reference(claim: OpenClaim) -> bytes:
    return b"aid-%d" % claim.claim


def _commitment(organisation: str, claim: int) -> bytes:
    """Stands for the salted hash of a document that stays with its author."""
    return sha256(b"%s %d" % (organisation.encode(), claim)).digest()


def _differences(first: int, failures: Sequence[int]) -> tuple[int, ...]:
    return tuple(after - before for before, after in pairwise((first, *failures)))


def _batches(items: list[T]) -> list[list[T]]:
    return [items[at : at + BATCH_ITEMS_MAX] for at in range(0, len(items), BATCH_ITEMS_MAX)]
