"""SafetyRules: the only holder of the validator and beacon keys, in-process or behind a signer's socket (CONSENSUS §1).

Rules of this file:

* A signature is given only for an intent that was *durable first* (``recorded``) and that the record, a fold of those
  durable records, granted. So "persist, then sign, then send" holds even for a caller with a bug.
* The same message again gives the same bytes (Ed25519 is deterministic); a different one in its slot is refused.
* Inputs and outputs are values; there is no clock, no disk, no socket here.

Calling order: make it with the log's records; ``begin`` at each height before the core gets ``HeightStarted``;
``recorded`` after each fsync, before the core gets ``Persisted``; ``sign`` on each ``Sign``.
"""

from collections.abc import Iterable

from ledger.errors import InvariantViolation, PeerError
from ledger.recovery import check_signed

from .effects import SignRequest
from .logstate import LogState
from .records import AdoptRecord, LockRecord, Record, RecoveredRecord
from .scheme import ED25519, Scheme


class SigningRefused(InvariantViolation):
    """The record forbids the message asked for; nothing was signed. It is our own bug, so the process ends."""


class SafetyRules:
    """Keys and record of one seat. ``validator_seeds`` are one, or two around a rotation (CONSENSUS §1): the second
    goes with ``next_beacon_seed``.
    """

    def __init__(
        self,
        chain_id: bytes,
        validator_seeds: Iterable[bytes],
        beacon_seed: bytes,
        records: Iterable[Record],
        scheme: Scheme = ED25519,
        *,
        next_beacon_seed: bytes | None = None,
    ) -> None:
        self._chain_id = chain_id
        self._scheme = scheme
        self._seeds = {scheme.public_key(seed): seed for seed in validator_seeds}
        self._beacon_seed = beacon_seed
        self._next_beacon_seed = next_beacon_seed
        self._next_key = list(self._seeds)[-1] if next_beacon_seed is not None else b""
        self._record = LogState(records)
        self._opened = (0, 0)
        self._validator_keys: tuple[bytes, ...] = ()

    def begin(self, epoch: int, height: int, validator_keys: tuple[bytes, ...]) -> None:
        """Open (epoch, height) with the keys of V(height) in index order: nothing below is ever signed again."""
        if (epoch, height) < self._opened:
            raise InvariantViolation(f"height {height} of epoch {epoch} was opened before")
        self._opened = (epoch, height)
        self._validator_keys = validator_keys
        self._record.raise_to(epoch, height)

    def recorded(self, records: Iterable[Record]) -> None:
        """These records are durable now, in this order.

        Raises ``SigningRefused`` when an adoption brings a signature that is not ours, or a lock that does not hold; or
        when a recovery record is not signed for a quorum of seats.
        """
        for record in records:
            if isinstance(record, AdoptRecord):
                self._check_adoption(record)
            elif isinstance(record, LockRecord):
                self._check_size(record)
            elif isinstance(record, RecoveredRecord):
                self._check_recovery(record)
            self._record.apply(record)

    def sign(self, request: SignRequest) -> bytes:
        """The 64-byte signature of ``request.message``.

        Raises ``SigningRefused`` when its intent is not durable and granted at the open height, or the key is not ours.
        """
        message = request.message
        at = (request.epoch, message.height)
        if at < self._opened or at != (self._record.epoch, self._record.height):
            raise SigningRefused(f"{message} is not of the open height {self._opened}")
        if self._record.signed(type(message), message.round) != message:
            reason = self._record.fault(request.epoch, message) or "its intent is not durable"
            raise SigningRefused(f"{message}: {reason}")
        seed = self._seeds.get(request.key)
        if seed is None:
            raise SigningRefused(f"no validator key {request.key.hex()} here")
        return self._scheme.sign(seed, message.signing_digest(self._chain_id, request.epoch))

    def beacon_proof(self, alpha: bytes) -> bytes:
        """The 80-byte ECVRF proof over ``alpha`` by the beacon key of V(open height). Unique, so it needs no record."""
        rotated = self._next_key in self._validator_keys
        seed = self._next_beacon_seed if rotated and self._next_beacon_seed is not None else self._beacon_seed
        return self._scheme.prove(seed, alpha)

    def _check_size(self, record: LockRecord) -> None:
        open_here = (record.epoch, record.lock.height) == self._opened
        if open_here and record.validators != len(self._validator_keys):
            raise SigningRefused(f"a lock counted over {record.validators} of {len(self._validator_keys)} validators")

    def _check_recovery(self, record: RecoveredRecord) -> None:
        recovery = record.recovery
        keys = tuple(entry.validator_key for entry in record.announced)
        if self._opened == (recovery.epoch - 1, recovery.head_height + 1) and keys != self._validator_keys:
            raise SigningRefused("the recovery record counts over another validator set than that of the open height")
        try:
            check_signed(recovery, self._chain_id, record.announced)
        except PeerError as error:
            raise SigningRefused(f"the recovery record does not count: {error.detail}") from error

    def _check_adoption(self, record: AdoptRecord) -> None:
        verify, chain_id = self._scheme.verify, self._chain_id
        for vote in record.votes:
            digest = vote.message.signing_digest(chain_id, record.epoch)
            if not any(verify(key, digest, vote.signature) for key in self._seeds):
                raise SigningRefused("an adopted message is not signed by our key")
        if record.lock is None or (record.epoch, record.lock.lock.height) < self._opened:
            return  # its height was decided while it went to disk: the record ignores it
        self._check_size(record.lock)
        for prepare in record.lock.lock.prepares:
            if not 0 <= prepare.index < len(self._validator_keys):
                raise SigningRefused("an adopted lock names nobody's index")
            digest = prepare.message.signing_digest(chain_id, record.epoch)
            if not verify(self._validator_keys[prepare.index], digest, prepare.signature):
                raise SigningRefused("an adopted lock holds a Prepare that does not verify")
