"""Input: a block is due (CONSENSUS §2, the due rule)."""

from ..events import BlockDue, DueReason
from ..state import Core


def handle(core: Core, event: BlockDue) -> None:
    """A pending transaction moves only the proposer of round 0; every other reason also starts everybody's T(0)."""
    height = core.open
    if event.height != height.context.height:
        return
    if event.reason is DueReason.PENDING:
        height.pending = True
    else:
        height.due = True
