"""What the node tells the core about one height: values only (CONSENSUS §1, §2).

A context is made from the rows after block h − 1, and given to the core only once the LevelDB batch of h − 1 is synced
(§3: nothing may be signed at h before). The core asks nothing back: whatever it must know of the chain stands here.
"""

from dataclasses import dataclass
from typing import Final

from ledger.beacon import alpha
from ledger.blocks import RecoveryRecord
from ledger.codec import digest
from ledger.errors import InvariantViolation
from ledger.limits import VALIDATORS_MAX
from ledger.protocol import OLDEST
from ledger.votes import Certificate, ValidatorEntry

RESEND_MS_MAX: Final = 5_000
"""Own last signed messages are sent again every min(T, this) (CONSENSUS §2)."""
LAST_SEEN_WAIT_MS: Final = 5_000
"""How long the first signature waits for the seats beyond a quorum (CONSENSUS §3)."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Durations of one chain, in milliseconds; all positive."""

    timeout_ms: int
    """T0: the timeout of round 0; round r waits T0 · 2^r."""
    timeout_ms_max: int
    """Cap of T0 · 2^r, 30 s by CONSENSUS §2."""
    certify_wait_ms: int
    """How long a certifying block waits for an ordinary one to do its job, 50 ms by CONSENSUS §2."""

    def round_timeout_ms(self, round: int) -> int:
        """T0 · 2^round, at most ``timeout_ms_max``."""
        return min(self.timeout_ms << min(round, 32), self.timeout_ms_max)

    def resend_ms(self, round: int) -> int:
        """min(T(round), 5 s)."""
        return min(self.round_timeout_ms(round), RESEND_MS_MAX)


@dataclass(frozen=True, slots=True)
class HeightContext:
    """Everything the core needs to agree on block ``height``."""

    chain_id: bytes
    epoch: int
    height: int
    parent_hash: bytes
    parent_certificate: Certificate
    """Of block height − 1; served to validators that still lack it."""
    validators: tuple[ValidatorEntry, ...]
    """V(height), ascending by seat; a message's ``index`` is a position in it."""
    index: int | None
    """Our own position in ``validators``; None for an observer."""
    proposers: tuple[int, ...]
    """Positions of eligible(height) in the order of ``consensus.proposer.proposer_order``."""
    timing: Timing
    certify: bool
    """Block height − 1 held a transaction or changed the state root: a certifying block is due."""
    version: int = OLDEST
    """Of the protocol: that of a block of this height."""
    recovery: RecoveryRecord | None = None
    """By which this height begins its epoch: it stands in the body of the block (CONSENSUS §6)."""

    def __post_init__(self) -> None:
        n = len(self.validators)
        if not 1 <= n <= VALIDATORS_MAX:
            raise InvariantViolation(f"{n} validators, 1 to {VALIDATORS_MAX} allowed")
        if not self.proposers or not all(0 <= index < n for index in self.proposers):
            raise InvariantViolation(f"proposer order {self.proposers} does not fit {n} validators")
        if self.index is not None and not 0 <= self.index < n:
            raise InvariantViolation(f"own index {self.index} is outside the set of {n}")

    def proposer(self, round: int) -> int:
        """The index of proposer(height, round)."""
        return self.proposers[round % len(self.proposers)]

    def key(self, index: int) -> bytes:
        """The validator key at ``index`` (which must be a position of the set)."""
        return self.validators[index].validator_key


def order_key(beacon: bytes, height: int, validator_key: bytes) -> bytes:
    """SHA-256(parent's beacon ‖ height ‖ validator key): what proposers are sorted by (CONSENSUS §2)."""
    return digest(alpha(beacon, height) + validator_key)
