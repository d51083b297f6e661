"""The recovery record: how a consortium that lost its quorum begins a new epoch (CONSENSUS §6).

Rules of this file
- A record names the head that is kept and the *complete* validator set that goes on from it. It counts when
  organisations that hold q seats of V(head + 1) have signed it with their organisation keys, for the new epoch.
- It stands in the body of block head + 1, the first of the new epoch; V(head + 1) and V(head + 2) are the record's set
  whatever the head announced. At the end of that block the validators' rows are made the record's, so that V(head + 3)
  is read from rows as ever; nobody is passed over any more.
- Seats keep their numbers; a new one takes the next free number. A seat that the record does not name votes no more.
- Signatures beyond q, and their order in time, change nothing: two records that differ only in signatures are one.

The header does not hold the record: its epoch, parent and ``validators_hash`` are bound, and the record proves itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace
from nacl.bindings import crypto_core_ed25519_is_valid_point

from .blocks import RecoveryRecord
from .codec import encode
from .errors import PeerError
from .limits import RECOVERY_SIGNATURES_MAX, VALIDATORS_MAX
from .rows import Validator
from .signing import PUBLIC_KEY_BYTES, Domain, public_key, sign, signing_digest, verify
from .state import State
from .votes import ValidatorEntry, quorum


def record_digest(record: RecoveryRecord) -> bytes:
    """The 32 bytes that an organisation signs: all of the record but its signatures."""
    fields = (record.chain_id, record.epoch, record.head_height, record.head_hash, record.validators)
    return signing_digest(Domain.RECOVERY, record.chain_id, record.epoch, encode(fields))


def with_signature(record: RecoveryRecord, seed: bytes) -> RecoveryRecord:
    """The record, signed by one organisation more; signed again it stays as it is."""
    signed = dict(record.signatures) | {public_key(seed): sign(seed, record_digest(record))}
    return replace(record, signatures=tuple(sorted(signed.items())))


def same_record(one: RecoveryRecord, other: RecoveryRecord) -> bool:
    """Whether both say the same, whoever has signed."""
    return replace(one, signatures=()) == replace(other, signatures=())


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a record has come."""

    signed: tuple[int, ...]
    """Seats of V(head + 1) whose organisations have signed, ascending."""
    wanted: int
    """q of them."""

    @property
    def enough(self) -> bool:
        """Whether the record counts."""
        return len(self.signed) >= self.wanted


def standing(record: RecoveryRecord, announced: Sequence[ValidatorEntry]) -> Standing:
    """Whose seats stand behind the record; ``announced`` is V(head + 1) as the head announced it.

    Raises ``PeerError`` BAD_RECOVERY for a signature that does not verify or is not in its place.
    """
    keys = [key for key, _ in record.signatures]
    if len(keys) > RECOVERY_SIGNATURES_MAX:
        raise PeerError("BAD_RECOVERY", f"{len(keys)} signatures, {RECOVERY_SIGNATURES_MAX} are allowed")
    if any(low >= high for low, high in zip(keys, keys[1:], strict=False)):
        raise PeerError("BAD_RECOVERY", "the signatures are not strictly ascending by key")
    message = record_digest(record)
    for key, signature in record.signatures:
        if not verify(key, message, signature):
            raise PeerError("BAD_RECOVERY", f"the signature of {key.hex()} does not verify")
    signers = set(keys)
    seats = tuple(entry.seat for entry in announced if entry.organisation_key in signers)
    return Standing(seats, quorum(len(announced)))


def check_signed(record: RecoveryRecord, chain_id: bytes, announced: Sequence[ValidatorEntry]) -> None:
    """What can be checked without the head's state: the chain, the set's form, the signatures. Raises ``PeerError``."""
    if record.chain_id != chain_id:
        raise PeerError("BAD_RECOVERY", "of another chain")
    if not 1 <= record.epoch < 2**32:
        raise PeerError("BAD_RECOVERY", f"epoch {record.epoch}")
    fault = set_fault(record.validators)
    if fault is not None:
        raise PeerError("BAD_RECOVERY", fault)
    found = standing(record, announced)
    if not found.enough:
        raise PeerError("BAD_RECOVERY", f"signed for {len(found.signed)} seats, {found.wanted} are needed")


def set_fault(validators: Sequence[ValidatorEntry]) -> str | None:
    """What is wrong with the form of a complete set; ``None`` when nothing is."""
    if not 1 <= len(validators) <= VALIDATORS_MAX:
        return f"{len(validators)} validators, 1 to {VALIDATORS_MAX} are allowed"
    seats = [entry.seat for entry in validators]
    if seats[0] < 0 or any(low >= high for low, high in zip(seats, seats[1:], strict=False)):
        return "the validators are not strictly ascending by seat"
    if len({entry.organisation for entry in validators}) != len(validators):
        return "an organisation has two seats"
    keys = [key for entry in validators for key in (entry.validator_key, entry.beacon_key)]
    if any(len(key) != PUBLIC_KEY_BYTES or not crypto_core_ed25519_is_valid_point(key) for key in keys):
        return "a validator or beacon key is not an Ed25519 public key"
    return None if len(set(keys)) == len(keys) else "a key stands twice"


def place_fault(record: RecoveryRecord, seats: int, organisations: int) -> str | None:
    """Whether the set fits a state with so many rows of each: new seats take the next numbers, organisations exist."""
    fresh = [entry.seat for entry in record.validators if entry.seat >= seats]
    if fresh != list(range(seats, seats + len(fresh))):
        return f"a new seat takes the next free number, {seats}"
    if any(not 0 <= entry.organisation < organisations for entry in record.validators):
        return "an organisation that does not exist"
    return None


def enact(state: State, record: RecoveryRecord) -> None:
    """At the end of block head + 1: the validators' rows are the record's, with a clean sheet for everybody."""
    named = {entry.seat: entry for entry in record.validators}
    for seat, row in list(state.rows(Validator)):
        entry = named.pop(seat, None)
        clean = replace(row, active=False, fails=0, skipped_until=0, changed_height=0, previous_skipped_until=0)
        state.put(seat, clean if entry is None else _seated(clean, entry))
    for _, entry in sorted(named.items()):
        row = Validator(
            organisation=entry.organisation,
            validator_key=entry.validator_key,
            beacon_key=entry.beacon_key,
            active=True,
            fails=0,
            skipped_until=0,
            changed_height=0,
            previous_skipped_until=0,
        )
        state.append(row)


def _seated(row: Validator, entry: ValidatorEntry) -> Validator:
    return replace(
        row,
        organisation=entry.organisation,
        validator_key=entry.validator_key,
        beacon_key=entry.beacon_key,
        active=True,
    )
