"""Input: a claimed head is not to be had."""

from ..events import HeadRefuted
from ..state import Core


def handle(core: Core, event: HeadRefuted) -> None:
    """A head counts only with blocks that verify (CONSENSUS §3): this claim no longer holds us back."""
    if core.last_seen is not None:
        core.last_seen.refute(event.peer)
