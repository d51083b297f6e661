"""A quorum counts signatures, not signers."""

from collections.abc import Collection

from consensus import justify, quorum

from .patch import Patch

RULE = "quorums are counted over distinct current validators, never over signatures"


def plant(patch: Patch) -> None:
    """Break the rule."""

    def is_quorum(indexes: Collection[int], n: int) -> bool:
        return len(indexes) >= quorum.quorum(n)

    patch.everywhere(quorum.is_quorum, is_quorum)
    patch.replace(justify, "are_distinct", lambda votes: True)
