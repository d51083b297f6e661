"""What the log holds: one typed record for everything that must survive a power cut (CONSENSUS §3).

| before | record |
|---|---|
| own Proposal | ``BodyRecord``, ``ProposalRecord`` |
| Prepare | ``BodyRecord`` (if the log has it not yet), ``VoteRecord`` |
| Commit | ``LockRecord`` *before* the ``VoteRecord`` |
| RoundChange | ``VoteRecord`` |
| adopting what LastSeen returned | ``AdoptRecord`` |
| a new epoch (``huzhu recover``) | ``RecoveredRecord`` |

A vote's record is its *intent*: Ed25519 is deterministic, so the signature itself need not be stored. The records of
one ``Persist`` are appended together, in order.
"""

from typing import Final

from ledger.blocks import RecoveryRecord, SignedVote
from ledger.codec import Wire
from ledger.votes import Commit, Prepare, Proposal, RoundChange, ValidatorEntry

from .messages import CompactBlock, Lock, SignedPrepare, SignedRoundChange


class FirstRecord(Wire, frozen=True, tag=1):
    """The first record of a log: written by init, join accept and keys rotate; ``lost`` by restore and
    --record-lost.
    """

    chain_id: bytes
    validator_key: bytes
    lost: bool


class BodyRecord(Wire, frozen=True, tag=2):
    """A body we proposed or prepared: pinned, and served from here, until its height is decided."""

    epoch: int
    height: int
    hash: bytes
    block: CompactBlock
    transactions: tuple[bytes, ...]


class ProposalRecord(Wire, frozen=True, tag=3):
    """The intent to sign an own proposal, with its justification."""

    epoch: int
    message: Proposal
    round_changes: tuple[SignedRoundChange, ...]
    prepares: tuple[SignedPrepare, ...]


class VoteRecord(Wire, frozen=True, tag=4):
    """The intent to sign a vote."""

    epoch: int
    message: Prepare | Commit | RoundChange


class LockRecord(Wire, frozen=True, tag=5):
    """The q Prepares of a Commit that follows; ``validators`` is the size of V(height)."""

    epoch: int
    lock: Lock
    validators: int


class AdoptRecord(Wire, frozen=True, tag=6):
    """Own messages and the highest lock that LastSeen returned; it only ever raises."""

    epoch: int
    votes: tuple[SignedVote, ...]
    lock: LockRecord | None


class DecidedRecord(Wire, frozen=True, tag=7):
    """Every height up to this one is decided and its batch synced: nothing of it is needed again."""

    epoch: int
    height: int


class RecoveredRecord(Wire, frozen=True, tag=8):
    """A valid recovery record was shown: nothing is ever signed in an older epoch again, and its locks are void."""

    recovery: RecoveryRecord
    announced: tuple[ValidatorEntry, ...]
    """V(head + 1) as the named head announced it: whose organisations signed."""


Record = (
    FirstRecord | BodyRecord | ProposalRecord | VoteRecord | LockRecord | AdoptRecord | DecidedRecord | RecoveredRecord
)
RECORD_TYPES: Final = (
    FirstRecord,
    BodyRecord,
    ProposalRecord,
    VoteRecord,
    LockRecord,
    AdoptRecord,
    DecidedRecord,
    RecoveredRecord,
)
"""The record type number of the log is the position here, from 1."""
