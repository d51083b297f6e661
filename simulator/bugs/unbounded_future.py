"""Votes of rounds above one's own are all kept."""

from consensus.tally import VoteBox

from .patch import Patch

RULE = "above our own round only the highest of each validator and kind is kept"


def plant(patch: Patch) -> None:
    """Break the rule."""
    patch.replace(VoteBox, "_make_room", lambda self, index, round, current_round: True)
