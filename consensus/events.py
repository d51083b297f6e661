"""Everything the core can be told (CONSENSUS §1). Frozen values; the core never asks for anything else.

Calling order: ``HeightStarted`` first and once a height, after the LevelDB batch of the height before is synced;
then any event in any order. Events that speak of an older height, or of a token the core no longer waits for, are
ignored: a driver need not cancel work it has begun.
"""

from dataclasses import dataclass
from enum import Enum

from .context import HeightContext
from .messages import CompactBlock, Message


class TimerKind(Enum):
    """One timer of each kind runs at a time: setting it again replaces it."""

    ROUND = "round"
    CERTIFY = "certify"
    RESEND = "resend"
    LAST_SEEN = "last-seen"


@dataclass(frozen=True, slots=True)
class Timer:
    """Names a timer; comes back in ``Timeout``."""

    kind: TimerKind
    height: int
    round: int


class DueReason(Enum):
    """Why a block is due (CONSENSUS §2)."""

    PENDING = "pending"
    """Our mempool holds a transaction: the proposer of round 0 builds at once; starts no timer by itself."""
    ANNOUNCED = "announced"
    """A transaction older than the bound was announced by q validators."""
    DEADLINE = "deadline"
    HEARTBEAT = "heartbeat"
    EVIDENCE = "evidence"


class Verdict(Enum):
    """What the node found when it checked a block."""

    VALID = "valid"
    STALE = "stale"
    """Valid, but its time is too far from our clock: not prepared as a *fresh* block, welcome as a proposed-again
    one.
    """
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class HeightStarted:
    """Block ``height − 1`` is decided, executed and its batch synced (by us or by synchronisation).

    ``nonce`` is 32 fresh random bytes for a LastSeen question, should one be needed.
    """

    context: HeightContext
    nonce: bytes


@dataclass(frozen=True, slots=True)
class Received:
    """A message off a link.

    ``peer`` is the link's node key. ``index`` is the position in V(open height) of the validator whose registered node
    key this is, None for any other node: LastSeen answers and next-height messages are only taken from a validator's
    link. ``epoch`` is what the sender says its own is: 0 on a chain that was never recovered.
    """

    peer: bytes
    index: int | None
    message: Message
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class PeerUp:
    """The link to validator ``index`` came up: it is told our status, and asked LastSeen if we still wait for
    answers.
    """

    index: int


@dataclass(frozen=True, slots=True)
class HeadRefuted:
    """Synchronisation failed to obtain, from this node, the valid blocks its claimed head promised."""

    peer: bytes


@dataclass(frozen=True, slots=True)
class Timeout:
    """A timer asked for by ``SetTimer`` has run off."""

    timer: Timer


@dataclass(frozen=True, slots=True)
class BlockDue:
    """A block is due at ``height``. May be repeated; must be repeated for a new height."""

    height: int
    reason: DueReason


@dataclass(frozen=True, slots=True)
class BlockBuilt:
    """The answer to ``BuildBlock``: a fresh block of ours, valid by construction.

    ``recent`` are transactions of it that others probably lack, at most ``RECENT_BYTES_MAX`` in all.
    """

    height: int
    round: int
    block: CompactBlock
    transactions: tuple[bytes, ...]
    recent: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class BodyAvailable:
    """The answer to ``FetchBody``: what we have of it, aligned with the ids asked for, None where missing.

    Everything found must be the transaction of that id. May be repeated when more arrives; the core asks peers for
    the rest.
    """

    height: int
    hash: bytes
    transactions: tuple[bytes | None, ...]


@dataclass(frozen=True, slots=True)
class BlockChecked:
    """The answer to ``CheckBlock``."""

    height: int
    hash: bytes
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Persisted:
    """The records of ``Persist(token)`` are durable, and ``SafetyRules.recorded`` was given them."""

    token: int


@dataclass(frozen=True, slots=True)
class Signed:
    """The 64-byte signature asked for by ``Sign(token)``."""

    token: int
    signature: bytes


Event = (
    HeightStarted
    | Received
    | PeerUp
    | HeadRefuted
    | Timeout
    | BlockDue
    | BlockBuilt
    | BodyAvailable
    | BlockChecked
    | Persisted
    | Signed
)
