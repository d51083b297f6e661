"""A node that was told of a higher head signs before it has caught up."""

from consensus.last_seen import LastSeen

from .patch import Patch

RULE = "the node signs once it has caught up with the highest certified head answered"


def plant(patch: Patch) -> None:
    """Break the rule."""
    patch.replace(LastSeen, "caught_up", lambda self, context: True)
