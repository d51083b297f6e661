"""The next block of the measured ledger, told from its state alone: enrol, claim, notice, settle, collect, close.

Rules of this file

* ``Walk.step`` decides exactly one block and says what it was. Whatever block the process was killed after, the next
  walk over the same store goes on with the one that follows.
* Each result is compared with the script: failures and their sum, the count that shares a period, the share itself, and
  at the close not a fen too little or too much. A difference is ``BENCH_FAILED``, for a wrong ledger needs no figures.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from ledger import transactions as tx
from ledger.calendar import MS_PER_DAY, day_of
from ledger.claim_table import ClaimState
from ledger.codec import digest
from ledger.collection import differences_of
from ledger.params import ACCIDENT
from ledger.plans import BPS, STAGE_CLOSE, STAGE_NOTICE, STAGE_SETTLE
from ledger.rows import NONE, Claim, Collection, Member, Payment, Plan, Settlement

from .ledger_chain import (
    ASSESSORS,
    BANK,
    BEGIN_MS,
    CLOCK,
    HOSPITAL,
    ORGANISATIONS,
    PLAN,
    PLATFORM,
    Decided,
    Sent,
    SoloChain,
    failed,
)
from .ledger_script import AID_FEN, PERIODS, SINGLES_A_BLOCK, Script

_FIRST_CLAIM_MS: Final = BEGIN_MS + MS_PER_DAY + MS_PER_DAY // 2
"""Cover begins the day after joining; the first claims must be cleared before the notice of the 21st."""
Claims = Sequence[tuple[int, Claim]]


class Phase(Enum):
    """What a block was for."""

    ENROL = "enrol"
    NOTICE = "notice"
    SETTLE = "settle"
    SINGLES = "singles"
    COLLECT = "collect"
    CONFIRM = "confirm"
    CLOSE = "close"
    OTHER = "other"
    """Claims and steps of the clock."""


_AFTER: Final = {STAGE_NOTICE: Phase.NOTICE, STAGE_SETTLE: Phase.SETTLE, STAGE_CLOSE: Phase.CLOSE}
"""The deadline that ends a plan's stage."""


@dataclass(frozen=True, slots=True)
class Stepped:
    """One block."""

    phase: Phase
    number: int
    """Of the period, from 0."""
    items: int
    """Members enrolled, contributions or failures executed."""
    decided: Decided


class Walk:
    """See the head of this file."""

    def __init__(self, chain: SoloChain, script: Script) -> None:
        self.chain = chain
        self.script = script

    @property
    def plan(self) -> Plan:
        return self.chain.state.get(Plan, PLAN)

    @property
    def number(self) -> int:
        """Periods that are closed."""
        return self.plan.period - self.plan.first_period

    @property
    def enrolled(self) -> int:
        """Members so far."""
        return self.chain.state.length(Member)

    @property
    def settled(self) -> int:
        """Periods that are settled."""
        return self.number + (self.plan.stage == STAGE_CLOSE)

    @property
    def about_to_settle(self) -> bool:
        """Whether everybody is in and the plan's next deadline is the settlement."""
        return self.enrolled == self.script.members and self.plan.stage == STAGE_SETTLE

    @property
    def done(self) -> bool:
        """Whether every period is closed."""
        return self.number == PERIODS

    def settlement(self, number: int) -> Settlement:
        """The row of a noticed period; the only plan's rows are one a period."""
        return self.chain.state.get(Settlement, number)

    def share_fen(self, number: int) -> int:
        """What a settled period costs each member."""
        ((_, share),) = self.settlement(number).shares
        return share

    # ---- one block -------------------------------------------------------------------------------------------------

    def step(self) -> Stepped:
        """Decide the next block."""
        before, number = self.plan, self.number
        phase, items, sent = self._next(before)
        decided = self.chain.decide(*sent)
        after = self.plan
        if after.stage != before.stage:
            phase = _AFTER[before.stage]
        self._check(phase, number, decided)
        return Stepped(phase, number, items, decided)

    def _next(self, plan: Plan) -> tuple[Phase, int, list[Sent]]:
        due_ms = self.chain.view.next_due_ms
        if self.enrolled < self.script.members:
            body = self.script.batch(self.enrolled)
            return Phase.ENROL, len(body.members), [(PLATFORM, body)]
        if due_ms is not None and due_ms <= self.chain.now_ms:
            return Phase.OTHER, 0, []
        if plan.stage == STAGE_CLOSE:
            found = self._single_contributions(plan)
            if found is not None:
                return found
        if plan.stage != STAGE_SETTLE:
            sent = self._claims(self.settled)
            if sent is not None:
                return Phase.OTHER, 0, sent
        if plan.stage == STAGE_CLOSE:
            found = self._collection()
            if found is not None:
                return found
        if due_ms is None:
            raise failed("nothing is due", f"at stage {plan.stage} of period {plan.period}")
        return Phase.OTHER, 0, [(CLOCK, tx.AdvanceClock(due_ms))]

    # ---- claims ----------------------------------------------------------------------------------------------------

    def _claims(self, number: int) -> list[Sent] | None:
        """What the claims of period ``number`` need next; ``None`` when they are all cleared."""
        if number >= PERIODS:
            return None
        state, ill = self.chain.state, self.script.ill(number)
        if state.length(Claim) <= ill.start:
            if self.chain.now_ms < _FIRST_CLAIM_MS:
                return [(CLOCK, tx.AdvanceClock(_FIRST_CLAIM_MS))]
            return [(PLATFORM, self._filing(member)) for member in ill]
        claims = [(claim_id, state.get(Claim, claim_id)) for claim_id in ill]
        stage = min(claim.state for _, claim in claims)
        return _CLAIM_STEPS[ClaimState(stage)](self, [pair for pair in claims if pair[1].state == stage])

    def _filing(self, member: int) -> tx.FileClaim:
        return tx.FileClaim(
            member=member,
            tier=1,
            illness=1,
            cause=ACCIDENT,
            diagnosis_day=day_of(self.chain.now_ms),
            region=1,
            fingerprint=digest(b"bench claim of %d" % member),
            salt=bytes(16),
        )

    def _filed(self, claims: Claims) -> list[Sent]:
        bare = [claim_id for claim_id, claim in claims if claim.hospital == NONE]
        if bare:
            return [(HOSPITAL, tx.Diagnose(claim_id, digest(b"diagnosis"))) for claim_id in bare]
        return [(CLOCK, tx.AdvanceClock(min(claim.due_ms for _, claim in claims)))]

    def _investigating(self, claims: Claims) -> list[Sent]:
        """By the drawn firm; without it an empty block, whose beacon the draw waits for."""
        return [
            (ORGANISATIONS[claim.investigator][0], tx.Assess(claim_id, digest(b"report")))
            for claim_id, claim in claims
            if claim.investigator != NONE
        ]

    def _assessed(self, claims: Claims) -> list[Sent]:
        """By the other firm."""
        other = dict(zip(ASSESSORS, reversed(ASSESSORS), strict=True))
        return [(other[ORGANISATIONS[claim.investigator][0]], tx.Review(claim_id, 0)) for claim_id, claim in claims]

    def _cleared(self, claims: Claims) -> None:
        return None

    # ---- money -----------------------------------------------------------------------------------------------------

    def _single_contributions(self, plan: Plan) -> tuple[Phase, int, list[Sent]] | None:
        state, singles = self.chain.state, self.script.singles
        paid = state.length(Payment)
        if self.number > 0 or state.length(Collection) > 0 or paid >= len(singles):
            return None
        share = self.share_fen(0)
        now = singles[paid : paid + SINGLES_A_BLOCK]
        sent = [(BANK, tx.Contribution(member, (plan.period,), share, b"single %d" % member)) for member in now]
        return Phase.SINGLES, len(sent), list(sent)

    def _collection(self) -> tuple[Phase, int, list[Sent]] | None:
        """The next range of the open period, or the confirmation of all; ``None`` when both are done."""
        plan, ranges, number = self.plan, self.script.ranges(), self.number
        reported = self.chain.state.length(Collection) - number * len(ranges)
        if reported < len(ranges):
            first, last = ranges[reported]
            ids = sorted(self.script.failures(first, last, number)[number].ids)
            body = tx.Collect(PLAN, plan.period, first, last, differences_of(first, ids), 0)
            return Phase.COLLECT, len(ids), [(PLATFORM, body)]
        start = number * len(ranges)
        if self.chain.state.get(Collection, start).confirmed_fen:
            return None
        return (
            Phase.CONFIRM,
            0,
            [
                (BANK, tx.ConfirmCollection(start + at, self._money(first, last, number), b"range %d" % (start + at)))
                for at, (first, last) in enumerate(ranges)
            ],
        )

    def _money(self, first: int, last: int, number: int) -> int:
        """What the members of a range pay with a collection: their share and what they failed to pay before."""
        failures = self.script.failures(first, last, number)
        now = failures[number]
        helped = len(range(first, min(last + 1, self.script.cases * number)))
        singles = self.script.singles_in(first, last) if number == 0 else 0
        paying = last + 1 - first - helped - now.lapsed_before - len(now.ids) - singles
        late = len(failures[number - 1].ids - now.ids - failures[number - 1].again) if number else 0
        return paying * self.share_fen(number) + late * (self.share_fen(number - 1) if number else 0)

    # ---- what must come out ----------------------------------------------------------------------------------------

    def _check(self, phase: Phase, number: int, decided: Decided) -> None:
        if phase is Phase.SETTLE:
            self._check_share(number)
        elif phase is Phase.COLLECT:
            self._check_failures(number, decided)
        elif phase is Phase.CLOSE:
            row = self.settlement(number)
            if (row.short_fen, row.surplus_fen) != (0, 0):
                raise failed(f"period {number} does not close even", f"{row.short_fen} short, {row.surplus_fen} over")

    def _check_share(self, number: int) -> None:
        row, script = self.settlement(number), self.script
        aid = AID_FEN * script.cases
        goal = aid + aid * 800 // BPS + row.bad_debt_fen - row.carry_used_fen
        ((_, members),) = row.counts
        if (row.aid_fen, row.goal_fen, self.share_fen(number)) != (aid, goal, -(-goal // members)):
            raise failed(f"period {number} is shared otherwise", f"{row}")
        if number < 1 and members != script.members:
            raise failed(f"period {number} is shared by {members}", f"not by {script.members}")

    def _check_failures(self, number: int, decided: Decided) -> None:
        ranges = self.script.ranges()
        collection_id, count, fen = decided.receipts[0].detail
        failures = self.script.failures(*ranges[collection_id - number * len(ranges)], number)[number]
        again = len(failures.again) * self.share_fen(number - 1) if number else 0
        expected = len(failures.ids), len(failures.ids) * self.share_fen(number) + again
        if (count, fen) != expected:
            raise failed(f"collection {collection_id} counts other failures", f"{(count, fen)}, not {expected}")


_CLAIM_STEPS: Final[dict[ClaimState, Callable[[Walk, Claims], list[Sent] | None]]] = {
    ClaimState.FILED: Walk._filed,
    ClaimState.INVESTIGATING: Walk._investigating,
    ClaimState.ASSESSED: Walk._assessed,
    ClaimState.CLEARED: Walk._cleared,
}
