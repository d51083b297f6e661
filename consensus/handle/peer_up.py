"""Input: the link to a validator came up."""

from .. import admission
from ..effects import Send
from ..events import PeerUp
from ..repair import status_of
from ..state import Core


def handle(core: Core, event: PeerUp) -> None:
    """Ask what it saw of us if we still wait for that, and tell it what we have."""
    height = core.open
    if height.context.index is None or not 0 <= event.index < len(height.context.validators):
        return
    admission.ask_one(core, event.index)
    core.emit(Send(event.index, status_of(core)))
