"""A round change may say that it prepared in the round that it targets, or in a later one."""

from consensus import justify

from .patch import Patch

RULE = "RoundChange(h, r) only if r > pr"


def plant(patch: Patch) -> None:
    """Break the rule."""
    patch.everywhere(justify.prepared_below, lambda changes: True)
