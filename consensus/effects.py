"""Everything the core can ask for (CONSENSUS §1). Each docstring says what must be durable before it may be performed.

The order is made by construction, not by care: a vote leaves as ``Persist`` -> (fsync) -> event ``Persisted`` ->
``Sign`` -> event ``Signed`` -> ``Broadcast``. The core emits the next step only when told of the one before, so a
driver
*cannot* send what is not durable, and SafetyRules refuses to sign a message whose intent it was not given as durable.
Effects of one step are performed in the order of the list; Persists are appended in the order they are emitted.
"""

from dataclasses import dataclass

from ledger.blocks import Evidence
from ledger.votes import Certificate, Commit, Prepare, Proposal, RoundChange

from .events import Timer
from .messages import CompactBlock, Message
from .records import Record


@dataclass(frozen=True, slots=True)
class SignRequest:
    """What SafetyRules is asked to sign, with which of its keys."""

    epoch: int
    message: Proposal | Prepare | Commit | RoundChange
    key: bytes
    """Our validator key in V(height)."""


@dataclass(frozen=True, slots=True)
class Persist:
    """Append ``records`` to the log together, in order, and fsync; then ``SafetyRules.recorded(records)``, then the
    event ``Persisted(token)``. Needs nothing durable before it. On any error: nothing is sent, no event comes back."""

    token: int
    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Sign:
    """``SafetyRules.sign(request)``, then the event ``Signed(token, signature)``.

    The intent is durable already: this effect is only emitted after its ``Persisted``, or for a record read from the
    log.
    """

    token: int
    request: SignRequest


@dataclass(frozen=True, slots=True)
class Send:
    """Send to one: ``to`` is a position in V(open height), or the ``peer`` bytes of a ``Received`` to be answered.

    All that is our own in ``message`` is durable already. Best effort: a full or broken link may drop it.
    """

    to: int | bytes
    message: Message


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Send to every other validator of V(open height). All that is our own in ``message`` is durable already."""

    message: Message


@dataclass(frozen=True, slots=True)
class SetTimer:
    """After ``delay_ms`` (0 or more) give back ``Timeout(timer)``; replaces any running timer of that kind."""

    timer: Timer
    delay_ms: int


@dataclass(frozen=True, slots=True)
class BuildBlock:
    """Build a fresh valid block for ``height`` with us as its creator; answer ``BlockBuilt``. Durable: batch of
    height − 1.
    """

    height: int
    round: int


@dataclass(frozen=True, slots=True)
class FetchBody:
    """Look for these transactions in our mempool. Needs nothing durable.

    Answer ``BodyAvailable`` at once with what was found, even if that is nothing; the core asks peers for the rest.
    """

    height: int
    hash: bytes
    ids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class CheckBlock:
    """Decide whether the block is valid on our state; answer ``BlockChecked``. Needs nothing durable.

    The core has checked: header hash, version, epoch, height, parent, transaction ids against ``txs_root`` and
    ``tx_count``, the roots of certificate and evidence, and the creator. The node checks all the rest: the time (STALE
    when it is too far from our clock; not INVALID), state and receipts roots, validator and parameter hashes, beacon
    proof, the parent's certificate, evidence, recovery record, and every transaction.
    """

    height: int
    hash: bytes
    block: CompactBlock
    transactions: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Decide:
    """Block ``hash`` is decided. Execute it, sync the one LevelDB batch, then give ``HeightStarted`` of the next
    height.

    Nobody may be told, and nothing at height + 1 is signed, before that batch is synced: the core waits for the event.
    """

    height: int
    hash: bytes
    block: CompactBlock
    transactions: tuple[bytes, ...]
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class ReportEvidence:
    """Two contradicting messages of one validator, in canonical order (CONSENSUS §4). Needs nothing durable."""

    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Behind:
    """``peer`` says its head is ``head_height``, above ours: synchronise (a claim, until its blocks verify).

    If it cannot deliver, give ``HeadRefuted(peer)``.
    """

    peer: bytes
    head_height: int


@dataclass(frozen=True, slots=True)
class Blame:
    """``peer`` broke the protocol: score it, perhaps disconnect. ``code`` names the rule."""

    peer: bytes
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Compact:
    """Records up to ``DecidedRecord(epoch, height)`` may be dropped at the next rotation: that batch is synced (§3)."""

    epoch: int
    height: int


Effect = (
    Persist
    | Sign
    | Send
    | Broadcast
    | SetTimer
    | BuildBlock
    | FetchBody
    | CheckBlock
    | Decide
    | ReportEvidence
    | Behind
    | Blame
    | Compact
)
