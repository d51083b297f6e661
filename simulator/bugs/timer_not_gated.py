"""The timer of a round above 0 starts at once, so that a node alone runs away from the others."""

from consensus import quorum

from .patch import Patch

RULE = "for r > 0 the timer starts when q validators are known at >= r"


def plant(patch: Patch) -> None:
    """Break the rule."""
    patch.everywhere(quorum.reached, lambda rounds, round, n: True)
