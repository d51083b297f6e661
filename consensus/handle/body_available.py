"""Input: what our mempool has of a body."""

from ..events import BodyAvailable
from ..state import Core


def handle(core: Core, event: BodyAvailable) -> None:
    """Keep it by block hash, whatever round it is meanwhile."""
    if event.height != core.open.context.height:
        return
    candidate = core.open.candidates.get(event.hash)
    if candidate is not None:
        candidate.fetch_answered = True
        candidate.fill(event.transactions)
