"""What clients send: hashes in light chains, the life of members, claims and money in real ones (CONSENSUS §7).

Every step follows from the rows of some node, so that most are executed; some are stale or wrong by then, and become
failed receipts. The rules judge them, not this file.
"""

from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final, Protocol

from ledger import calendar
from ledger import transactions as tx
from ledger.claim_table import ClaimState
from ledger.codec import encode
from ledger.limits import TRANSACTION_VERSION
from ledger.params import ILLNESS
from ledger.plans import STAGE_CLOSE
from ledger.rows import NONE, Account, Claim, Collection, Member, Organisation, Plan, Settlement
from ledger.state import StateReader
from ledger.transactions import AdvanceClock, Transaction, sign_transaction

from .ledger import BANK, CLOCK, FIRMS, HOSPITAL, PLATFORM, START_DAY, LedgerReplica, signer
from .replica import CHAIN_ID, START_MS
from .world import World

MEMBERS_MAX: Final = 12
BIRTH_MONTH: Final = calendar.month_of(START_DAY) - 30 * 12
Step = tuple[str, Any]
"""Who sends what."""


class Workload(Protocol):
    """Where transactions come from."""

    def transaction(self, valid_ms: int) -> bytes:
        """A new one, valid for so long by the world's clock."""
        ...


class LightWorkload:
    """Transactions that say nothing; light chains hash them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._salt = 0

    def transaction(self, valid_ms: int) -> bytes:
        return self.change(0, valid_ms)

    def change(self, code: int, valid_ms: int) -> bytes:
        """A decided change of the validator set, by ``simulator.replica``'s codes."""
        self._salt += 1
        valid_until_ms = START_MS + self._world.now_ms + valid_ms
        salt = self._salt.to_bytes(16, "big")
        return encode(Transaction(TRANSACTION_VERSION, AdvanceClock(code), bytes(32), valid_until_ms, salt, bytes(64)))


class LedgerWorkload:
    """A plan's members, claims and money. ``newest`` gives the replica whose rows are read."""

    def __init__(self, world: World, newest: Callable[[], LedgerReplica]) -> None:
        self._world = world
        self._newest = newest
        self._salt = 0

    def transaction(self, valid_ms: int) -> bytes:
        random, replica = self._world.random, self._newest()
        wanted = self._due(replica)
        name, body = random.choice(wanted if wanted and random.random() < 0.8 else self._always(replica))
        self._salt += 1
        seed, public = signer(name)
        raw = sign_transaction(
            body,
            seed=seed,
            signer=public,
            valid_until_ms=START_MS + self._world.now_ms + valid_ms,
            salt=self._salt.to_bytes(16, "big"),
            chain_id=CHAIN_ID,
            epoch=0,
        )
        return raw if random.random() > 0.03 else raw[:-1] + bytes((raw[-1] ^ 1,))

    def _always(self, replica: LedgerReplica) -> list[Step]:
        """What may be said at any time."""
        random, state = self._world.random, replica.state
        reference = sha256(b"reference %d" % random.randrange(20)).digest()
        fen = random.randrange(1, 100_000)
        return [
            (BANK, tx.Advance(0, fen, False, reference)),
            (BANK, tx.Advance(0, fen, True, reference)),
            (BANK, tx.PayFee(0, state.get(Account, 0).fee or fen, reference)),
            (PLATFORM, tx.EnrolBatch(0, tuple(_person(random.randrange(MEMBERS_MAX)) for _ in range(2)))),
            (PLATFORM, tx.Exit(random.randrange(MEMBERS_MAX))),
            (CLOCK, AdvanceClock(self._soon(replica))),
        ]

    def _soon(self, replica: LedgerReplica) -> int:
        """The next deadline, or a day from now."""
        view = replica.view
        now_ms = view.ledger_time(view.header.time_ms)
        due_ms = view.next_due_ms
        return due_ms if due_ms is not None and due_ms > now_ms else now_ms + calendar.MS_PER_DAY

    def _due(self, replica: LedgerReplica) -> list[Step]:
        """What somebody's turn it is to say."""
        state = replica.state
        if state.length(Member) < MEMBERS_MAX // 2:
            return [(PLATFORM, tx.EnrolBatch(0, tuple(_person(number) for number in range(MEMBERS_MAX))))]
        steps = [step for number, claim in state.rows(Claim) if (step := _claim_step(state, number, claim))]
        if state.length(Claim) < 2:
            steps.append((PLATFORM, _filing(replica, self._world.random.randrange(MEMBERS_MAX))))
        steps += _money_steps(state)
        return [*steps, (CLOCK, AdvanceClock(self._soon(replica)))]


def _person(number: int) -> tuple[bytes, int]:
    return sha256(b"person %d" % number).digest(), BIRTH_MONTH


def _filing(replica: LedgerReplica, member: int) -> tx.FileClaim:
    view = replica.view
    return tx.FileClaim(
        member=member,
        tier=1,
        illness=1,
        cause=ILLNESS,
        diagnosis_day=calendar.day_of(view.ledger_time(view.header.time_ms)),
        region=11,
        fingerprint=sha256(b"event of %d" % member).digest(),
        salt=bytes(16),
    )


def _claim_step(state: StateReader, number: int, claim: Claim) -> Step | None:
    """What a claim waits for, if it waits for anybody."""
    commitment = sha256(b"report %d" % number).digest()
    match claim.state:
        case ClaimState.FILED:
            return HOSPITAL, tx.Diagnose(number, commitment)
        case ClaimState.INVESTIGATING if claim.investigator >= 0:
            return state.get(Organisation, claim.investigator).name, tx.Assess(number, commitment)
        case ClaimState.ASSESSED:
            first = state.get(Organisation, claim.investigator).name
            return next(name for name in FIRMS if name != first), tx.Review(number, 0)
        case ClaimState.SETTLED:
            return BANK, tx.Pay(number, claim.amount_fen, b"order %d" % number)
        case ClaimState.PAYING if claim.reference:
            return BANK, tx.ConfirmPayment(number, claim.reference, True)
    return None


def _money_steps(state: StateReader) -> list[Step]:
    """Collecting the settled period."""
    plan = state.get(Plan, 0)
    if plan.stage != STAGE_CLOSE:
        return []
    settlement = state.get(Settlement, plan.settlement)
    of_period = [(number, row) for number, row in state.rows(Collection) if row.period == plan.period]
    if not of_period:
        return [(PLATFORM, tx.Collect(0, plan.period, 0, state.length(Member) - 1, (), 0))]
    return [
        (BANK, tx.ConfirmCollection(number, settlement.due_fen, b"collected %d" % number))
        for number, row in of_period
        if row.confirmed_fen == 0 and row.corrected_by == NONE
    ]
