"""The state of the agreement: one owner for a height, one for the process (STYLE, habit 1).

``HeightState`` lives from one ``HeightStarted`` to the next and holds everything about one height. ``Core`` outlives
heights: the seat's record, LastSeen, what waits for disk or signature, the next height's early messages, and the
effects of the step. Handlers (``consensus.handle``) change these objects; ``consensus.progress`` derives from them
what follows.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from ledger.errors import InvariantViolation
from ledger.votes import Vote

from .candidates import Candidate, Candidates
from .context import HeightContext
from .early import EarlyMessages
from .effects import Effect, SignRequest
from .last_seen import LastSeen
from .logstate import LogState
from .messages import Signed, SignedPrepare, SignedProposal, SignedRoundChange
from .records import Record
from .scheme import Scheme
from .tally import Tally


@dataclass(slots=True)
class Accepted:
    """The one proposal accepted in a round. ``signed`` is None when only our own log tells of it."""

    round: int
    hash: bytes
    fresh: bool
    signed: SignedProposal | None
    recent: tuple[bytes, ...] = ()
    """Of an own fresh block: what to send beside it."""


@dataclass(slots=True)
class Building:
    """A fresh block asked for, with the round changes that will justify it."""

    round: int
    round_changes: tuple[SignedRoundChange, ...]


@dataclass(slots=True)
class Own:
    """Our newest signed messages of the open height, to be sent again to whoever lacks them."""

    proposal: SignedProposal | None = None
    votes: dict[tuple[type[Signed], int], Signed] = field(default_factory=dict)

    def newest(self, kind: type[Signed]) -> Signed | None:
        """Of the highest round of this kind."""
        rounds = [round for have, round in self.votes if have is kind]
        return self.votes[kind, max(rounds)] if rounds else None


class HeightState:
    """Everything about the open height."""

    def __init__(self, context: HeightContext) -> None:
        self.context = context
        self.round = 0
        self.due = False
        self.pending = False
        self.decided: bytes | None = None
        self.timer_started = False
        self.certify_over = False
        self.building: Building | None = None
        self.accepted: dict[int, Accepted] = {}
        self.tally = Tally(len(context.validators), context.epoch)
        self.candidates = Candidates(context)
        self.own = Own()
        self.resumed = False
        """Whether what our log holds of this height was taken up again."""
        self.asked: set[tuple[str, bytes]] = set()
        """Requests sent since the last RESEND, so that each goes out once a period."""
        self.attempts: dict[tuple[str, bytes], int] = {}
        self.answered: dict[bytes, int] = {}
        """Repairs sent to each peer since the last RESEND."""
        self.accused: set[tuple[int, str]] = set()
        self._digests: dict[type[Vote], tuple[Vote, bytes]] = {}

    def digest_of(self, message: Vote) -> bytes:
        """What is signed for ``message``; the newest of each kind is remembered, for all validators sign the same."""
        known = self._digests.get(type(message))
        if known is not None and known[0] == message:
            return known[1]
        digest = message.signing_digest(self.context.chain_id, self.context.epoch)
        self._digests[type(message)] = (message, digest)
        return digest

    def known_rounds(self) -> list[int]:
        """The highest round known of each validator, our own current round included."""
        rounds = list(self.tally.highest)
        index = self.context.index
        if index is not None:
            rounds[index] = max(rounds[index], self.round)
        return rounds


class Core:
    """What outlives a height."""

    def __init__(self, scheme: Scheme, records: Iterable[Record]) -> None:
        self.scheme = scheme
        self.record = LogState(records)
        """Intents count from the moment they are handed to ``Persist``: the log keeps their order."""
        self.effects: list[Effect] = []
        self.persisting: dict[int, list[SignRequest]] = {}
        self.signing: dict[int, SignRequest] = {}
        self.adopting: int | None = None
        """Token of the adoption being made durable."""
        self.last_seen: LastSeen | None = None
        self.cleared_key: bytes | None = None
        """The validator key for which LastSeen is satisfied in this process."""
        self.early = EarlyMessages()
        self.missed: dict[int, int] = {}
        """The greatest height at which a message of each validator was dropped, for we were not near it yet."""
        self.previous: Candidate | None = None
        """The block decided last, still served to those one behind."""
        self._open: HeightState | None = None
        self._token = 0

    @property
    def open(self) -> HeightState:
        """The open height; before the first ``HeightStarted`` nobody may ask."""
        if self._open is None:
            raise InvariantViolation("an event came before the first HeightStarted")
        return self._open

    @property
    def started(self) -> bool:
        """Whether a height is open."""
        return self._open is not None

    def start(self, context: HeightContext) -> HeightState:
        """Open a height; the one before is forgotten but for its decided block."""
        self._open = HeightState(context)
        return self._open

    def emit(self, effect: Effect) -> None:
        """Append to the effects of this step."""
        self.effects.append(effect)

    def next_token(self) -> int:
        """A number never used before in this process."""
        self._token += 1
        return self._token

    @property
    def may_sign(self) -> bool:
        """A validator whose LastSeen is satisfied, at an undecided height that its record has not passed."""
        height = self.open
        index = height.context.index
        if index is None or height.decided is not None or self.cleared_key != height.context.key(index):
            return False
        return not self.passed

    @property
    def passed(self) -> bool:
        """Whether the record is past the open height: its block was decided, and only the others can give it."""
        context = self.open.context
        return (self.record.epoch, self.record.height) > (context.epoch, context.height)

    def verified(self, signed: Signed | SignedProposal) -> bool:
        """Whether the signature is its index's in V(open height)."""
        height = self.open
        context = height.context
        if not 0 <= signed.index < len(context.validators):
            return False
        return self.scheme.verify(context.key(signed.index), height.digest_of(signed.message), signed.signature)

    def prepares_of(self, round: int, hash: bytes) -> tuple[SignedPrepare, ...]:
        """Every Prepare held for ``hash`` in ``round``, ascending by index."""
        votes = self.open.tally.prepares.of(round, hash)
        return tuple(votes[index] for index in sorted(votes))
