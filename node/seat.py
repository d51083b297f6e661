"""What makes a node a validator: its keys, its record, its log (CONSENSUS §1, §3); in this process or a signer's."""

from collections.abc import Iterable
from typing import Protocol

from consensus.effects import SignRequest
from consensus.log import Position
from consensus.records import Record


class SigningLog(Protocol):
    """What the driver needs of the signing log (``node.votelog``)."""

    def append(self, records: Iterable[Record]) -> Position: ...

    def batched(self, position: Position) -> None: ...

    def compact(self, epoch: int, height: int) -> None: ...


class Safety(Protocol):
    """What the driver needs of ``SafetyRules``, here or in a signer's process."""

    def begin(self, epoch: int, height: int, validator_keys: tuple[bytes, ...]) -> None: ...

    def recorded(self, records: Iterable[Record]) -> None: ...

    def sign(self, request: SignRequest) -> bytes: ...

    def beacon_proof(self, alpha: bytes) -> bytes: ...


class Seat:
    """What makes a node a validator: its keys, its record, its log. An observer has none."""

    def __init__(self, keys: tuple[bytes, ...], safety: Safety, log: SigningLog) -> None:
        self.keys = keys
        """Our validator public keys, the present one first."""
        self.safety = safety
        self.log = log
