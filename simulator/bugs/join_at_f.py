"""f validators are enough to be followed to a later round: all of them may be Byzantine."""

from collections.abc import Iterable

from consensus import quorum

from .patch import Patch

RULE = "join the (f+1)-th highest round"


def plant(patch: Patch) -> None:
    """Break the rule."""

    def join_round(rounds: Iterable[int], n: int) -> int:
        highest = sorted(rounds, reverse=True)
        position = max(0, quorum.faults(n) - 1)
        return highest[position] if position < len(highest) else -1

    patch.everywhere(quorum.join_round, join_round)
