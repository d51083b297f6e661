"""Input: the node's verdict on a block."""

from ..events import BlockChecked
from ..state import Core


def handle(core: Core, event: BlockChecked) -> None:
    """Keep it by block hash, whatever round it is meanwhile."""
    if event.height != core.open.context.height:
        return
    candidate = core.open.candidates.get(event.hash)
    if candidate is not None:
        candidate.verdict = event.verdict
