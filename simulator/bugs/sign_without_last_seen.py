"""After a start the node signs from its log alone; what others saw of its key it does not ask."""

from consensus.last_seen import LastSeen

from .patch import Patch

RULE = "before its first signature in a process a validator asks all of V(head + 1) LastSeen"


def plant(patch: Patch) -> None:
    """Break the rule."""
    patch.replace(LastSeen, "has_quorum", lambda self, context: True)
    patch.replace(LastSeen, "satisfied", lambda self, context: True)
