"""LastSeen: before its first signature in a process, a validator asks what others saw of it (CONSENSUS §3).

Asked at a start, and when the key enters V(h). Answers are bound to a nonce, so an old one cannot be played back. A
node signs once it has caught up with the highest certified head answered, q seats *including its own* have answered,
and all have answered or 5 s have passed since q did. What was returned is adopted first. Responders answer before
they may sign, so this cannot deadlock. This object only collects; ``consensus.admission`` asks, judges and adopts.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from .context import HeightContext
from .messages import LastSeenAnswer
from .quorum import quorum


@dataclass(frozen=True, slots=True)
class Answered:
    """One seat's answer, and the link it came on."""

    peer: bytes
    answer: LastSeenAnswer


class LastSeen:
    """The answers to one nonce about one key."""

    def __init__(self, key: bytes, nonce: bytes) -> None:
        self.key = key
        self.nonce = nonce
        self.answers: dict[bytes, Answered] = {}
        """By validator key of the responder; at most one each, the newest."""
        self.refuted: set[bytes] = set()
        """Peers whose claimed head synchronisation could not obtain; a subset of those who answered."""
        self.timer_set = False
        self.expired = False

    def take(self, responder: bytes, peer: bytes, answer: LastSeenAnswer) -> bool:
        """Keep an answer to our nonce; whether it is one."""
        if answer.nonce != self.nonce:
            return False
        self.answers[responder] = Answered(peer, answer)
        return True

    def refute(self, peer: bytes) -> None:
        """The head that ``peer`` claimed is not to be had from it."""
        if any(answered.peer == peer for answered in self.answers.values()):
            self.refuted.add(peer)

    def unanswered(self, context: HeightContext) -> list[int]:
        """Indexes of V(height) still to answer; our own never asks itself."""
        return [
            index
            for index, entry in enumerate(context.validators)
            if entry.validator_key != self.key and entry.validator_key not in self.answers
        ]

    def has_quorum(self, context: HeightContext) -> bool:
        """Whether q seats of V(height), including our own, have answered."""
        n = len(context.validators)
        return n - len(self.unanswered(context)) >= quorum(n)

    def caught_up(self, context: HeightContext) -> bool:
        """Whether no unrefuted answer claims a certified head above ours."""
        return not any(
            answered.answer.head_height >= context.height and answered.peer not in self.refuted
            for answered in self.relevant(context)
        )

    def satisfied(self, context: HeightContext) -> bool:
        """Whether what was answered may be adopted, and signing begin."""
        enough = self.has_quorum(context) and (self.expired or not self.unanswered(context))
        return enough and self.caught_up(context)

    def relevant(self, context: HeightContext) -> Iterable[Answered]:
        """Answers of the seats of V(height)."""
        keys = {entry.validator_key for entry in context.validators}
        return [answered for key, answered in self.answers.items() if key in keys]
