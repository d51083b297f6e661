"""One signature fewer is enough, everywhere."""

from consensus import quorum as arithmetic

from .patch import Patch

RULE = "q = ceil(2n/3)"


def plant(patch: Patch) -> None:
    """Break the rule."""
    ordinary = arithmetic.quorum
    patch.everywhere(ordinary, lambda n: max(1, ordinary(n) - 1))
