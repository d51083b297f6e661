"""SafetyRules: the only holder of the validator and beacon keys (CONSENSUS §1). (Signatures; the rules follow.)"""

from collections.abc import Callable, Iterable

from ledger.errors import InvariantViolation

from .effects import SignRequest
from .records import Record

Prove = Callable[[bytes, bytes], bytes]
"""prove(beacon seed, alpha) -> 80-byte ECVRF proof."""


class SigningRefused(InvariantViolation):
    """A message was asked for that the record forbids; nothing was signed. Our own bug, so the process ends."""


class SafetyRules:
    """Calling order: ``SafetyRules(..., records of the log)``; at each height ``begin`` before ``HeightStarted``
    goes to the core; ``recorded(records)`` after each fsync, before ``Persisted`` goes to the core; ``sign`` on each
    ``Sign``."""

    def __init__(
        self,
        chain_id: bytes,
        validator_seeds: Iterable[bytes],
        beacon_seed: bytes,
        prove: Prove,
        records: Iterable[Record],
    ) -> None: ...

    def begin(self, epoch: int, height: int, validator_keys: tuple[bytes, ...]) -> None:
        """Open (epoch, height): everything below is decided and is never signed again."""

    def recorded(self, records: Iterable[Record]) -> None:
        """These records are durable, in this order."""

    def sign(self, request: SignRequest) -> bytes:
        """The 64-byte signature. Raises ``SigningRefused``."""
        return b""

    def beacon_proof(self, alpha: bytes) -> bytes:
        """The 80-byte ECVRF proof over ``alpha``."""
        return b""
