"""The record of a seat: the fold of the log, and the rules of what may be signed after it (CONSENSUS §1).

The record belongs to the *seat* and is ordered by (epoch, height, round); a key rotation does not change it. It is a
pure function of the records in their order, so a crash loses nothing: replaying the log gives the same record. An
intent that the rules forbid is *not granted* by the fold, so nobody obtains by writing what he could not by asking.

The rules are the list of §1. With "one message per (h, r, kind)" alone this forks: B locks X in round 0 alone; A, C,
Z move to round 1 and decide Y; A's delayed round-0 Prepares arrive, A signs Commit(0, X), B decides X. Therefore a
RoundChange is a promise to *abandon* every lower round. ``tests/scenarios/`` tells it step by step.
"""

from collections.abc import Iterable
from typing import Final

from ledger.errors import InvariantViolation
from ledger.votes import Commit, Prepare, Proposal, RoundChange

from .messages import Lock
from .quorum import is_quorum
from .records import (
    AdoptRecord,
    BodyRecord,
    DecidedRecord,
    FirstRecord,
    LockRecord,
    ProposalRecord,
    Record,
    RecoveredRecord,
    VoteRecord,
)

SignedKind = Proposal | Prepare | Commit | RoundChange
Slot = tuple[type[SignedKind], int]
"""(kind, round): at one (epoch, height) one message may ever be signed in it."""
NO_ROUND: Final = -1
BODIES_MAX: Final = 32
"""Bodies of one height held in memory: the newest, and always the locked one; older ones stay in the log only."""


class LogState:
    """Fold ``records`` in with ``apply``; ask ``fault`` what forbids a message."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.first: FirstRecord | None = None
        self.epoch = 0
        self.height = 0
        self._clear()
        for record in records:
            self.apply(record)

    def _clear(self) -> None:
        self.granted: dict[Slot, SignedKind] = {}
        self.proposals: dict[int, ProposalRecord] = {}
        self.bodies: dict[bytes, BodyRecord] = {}
        self.lock: Lock | None = None
        """The newest value we committed or adopted; ``prepares`` may be empty when only our Commit was returned to
        us.
        """
        self.round = NO_ROUND
        """The highest round of anything granted or adopted here: after a restart the current round."""
        self._prepared: Lock | None = None

    def raise_to(self, epoch: int, height: int) -> None:
        """Everything below (epoch, height) is decided or void; forget it. Never lowers."""
        if (epoch, height) > (self.epoch, self.height):
            self.epoch, self.height = epoch, height
            self._clear()

    def apply(self, record: Record) -> None:
        """Fold in the next record of the log. A forbidden intent is left out."""
        match record:
            case FirstRecord():
                self.first = record
            case DecidedRecord():
                self.raise_to(record.epoch, record.height + 1)
            case BodyRecord():
                self.raise_to(record.epoch, record.height)
                if (record.epoch, record.height) == (self.epoch, self.height):
                    self._keep_body(record)
            case ProposalRecord():
                if self._grant(record.epoch, record.message):
                    self.proposals[record.message.round] = record
            case VoteRecord():
                self._grant(record.epoch, record.message)
            case LockRecord():
                self._prepare_lock(record)
            case AdoptRecord():
                self._adopt(record)
            case RecoveredRecord():
                self.raise_to(record.recovery.epoch, record.recovery.head_height + 1)

    @property
    def locked_hash(self) -> bytes:
        """The hash we are locked on; empty without a lock."""
        return self.lock.hash if self.lock is not None else b""

    def signed(self, kind: type[SignedKind], round: int) -> SignedKind | None:
        """What was granted in this slot of the open height."""
        return self.granted.get((kind, round))

    def fault(self, epoch: int, message: SignedKind) -> str | None:
        """Which rule of CONSENSUS §1 forbids ``message`` after this record; None when it is allowed."""
        at = (epoch, message.height)
        if at < (self.epoch, self.height):
            return f"the record is past epoch {epoch}, height {message.height}"
        if at > (self.epoch, self.height):
            return LogState._at(epoch, message.height)._fault_here(message)
        return self._fault_here(message)

    @staticmethod
    def _at(epoch: int, height: int) -> "LogState":
        fresh = LogState()
        fresh.raise_to(epoch, height)
        return fresh

    def _fault_here(self, message: SignedKind) -> str | None:
        granted = self.granted.get((type(message), message.round))
        if granted is not None:
            return None if granted == message else f"a different {type(message).__name__} of this round was signed"
        if message.round < self.round:
            return f"round {message.round} is past: round {self.round} was signed or promised"
        match message:
            case Commit():
                return self._commit_fault(message)
            case RoundChange():
                return self._round_change_fault(message)
            case Proposal() | Prepare():
                return None

    def _commit_fault(self, message: Commit) -> str | None:
        own = self.granted.get((Prepare, message.round))
        if not isinstance(own, Prepare) or own.hash != message.hash:
            return "a Commit needs our own Prepare of this hash in this round"
        ready = self._prepared
        if ready is None or (ready.round, ready.hash) != (message.round, message.hash):
            return "a Commit needs its q Prepares in the record first"
        return None

    def _round_change_fault(self, message: RoundChange) -> str | None:
        prepared = (self.lock.round, self.lock.hash) if self.lock is not None else (NO_ROUND, b"")
        if (message.prepared_round, message.prepared_hash) != prepared:
            return "the prepared value is not the record's"
        if message.round < 1 or message.round <= message.prepared_round:
            return "a RoundChange targets a round above 0 and above its prepared round"
        return None

    def _keep_body(self, record: BodyRecord) -> None:
        if len(self.bodies) >= BODIES_MAX:
            del self.bodies[next(hash for hash in self.bodies if hash != self.locked_hash)]
        self.bodies[record.hash] = record

    def _grant(self, epoch: int, message: SignedKind) -> bool:
        if self.fault(epoch, message) is not None:
            return False
        self.raise_to(epoch, message.height)
        self.granted[type(message), message.round] = message
        self.round = max(self.round, message.round)
        if isinstance(message, Commit) and self._prepared is not None:
            self._raise_lock(self._prepared)
        return True

    def _prepare_lock(self, record: LockRecord) -> None:
        lock = record.lock
        if (record.epoch, lock.height) == (self.epoch, self.height) and lock_holds(lock, record.validators):
            self._prepared = lock

    def _raise_lock(self, lock: Lock) -> None:
        held = self.lock
        if held is None or lock.round > held.round or (lock.round == held.round and not held.prepares):
            self.lock = lock
            self.round = max(self.round, lock.round)

    def _adopt(self, record: AdoptRecord) -> None:
        for vote in record.votes:
            message = vote.message
            self.raise_to(record.epoch, message.height)
            if (record.epoch, message.height) != (self.epoch, self.height):
                continue
            self.granted.setdefault((type(message), message.round), message)
            self.round = max(self.round, message.round)
            if isinstance(message, Commit):
                self._raise_lock(Lock(message.height, message.round, message.hash, ()))
            elif isinstance(message, RoundChange) and message.prepared_round > NO_ROUND:
                self._raise_lock(Lock(message.height, message.prepared_round, message.prepared_hash, ()))
        if record.lock is not None:
            self.raise_to(record.epoch, record.lock.lock.height)
            here = (record.epoch, record.lock.lock.height) == (self.epoch, self.height)
            if here and lock_holds(record.lock.lock, record.lock.validators):
                self._raise_lock(record.lock.lock)


def lock_holds(lock: Lock, validators: int) -> bool:
    """Whether the lock's prepares are q distinct validators' for exactly its value (signatures are checked
    elsewhere).
    """
    if validators < 1:
        raise InvariantViolation("a lock record without validators")
    wanted = Prepare(lock.height, lock.round, lock.hash)
    return all(prepare.message == wanted for prepare in lock.prepares) and is_quorum(
        [prepare.index for prepare in lock.prepares], validators
    )
