"""Input: a message whose sender is in another epoch (CONSENSUS §6, decision 0028).

Organisations begin an epoch one after another, and who was told nothing learns of it from its first block. Until then
each side's votes are rubbish to the other, and nobody's fault: they are neither verified nor kept nor blamed. Who is
behind is told so, and catches up.
"""

from ..admit import is_ahead
from ..early import vote_height
from ..events import Received
from ..messages import (
    LastSeenQuestion,
    Message,
    PreparedRoundChange,
    SignedCommit,
    SignedPrepare,
    SignedProposal,
    SignedRoundChange,
    Status,
)
from ..repair import answer, status_of
from ..state import Core


def handle(core: Core, event: Received) -> None:
    """One of an earlier epoch that asks is told where we are; one of a later epoch may be ahead of us."""
    context = core.open.context
    if event.epoch > context.epoch:
        height = _open_height(event.message)
        if height > context.height:
            is_ahead(core, event.peer, height)
    elif isinstance(event.message, Status | LastSeenQuestion):
        answer(core, event.peer, status_of(core))


def _open_height(message: Message) -> int:
    """The height its sender works at, as far as the message tells; else 0."""
    match message:
        case SignedProposal() | SignedPrepare() | SignedCommit() | SignedRoundChange() | PreparedRoundChange():
            return vote_height(message)
        case Status():
            return message.height
        case _:
            return 0
