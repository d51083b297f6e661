"""Quorum arithmetic over distinct current validators, never over signatures (CONSENSUS, head of the page).

f = ⌊(n−1)/3⌋, q = ⌈2n/3⌉. For every n two quorums meet in more than f validators (2q − n > f), so in an honest one,
and the honest ones are a quorum (n − f ≥ q). IBFT counted 2f + 1 instead, which is unsafe when n ≠ 3f + 1.
"""

from collections.abc import Collection, Iterable

from ledger.votes import faults, quorum

__all__ = ["faults", "is_quorum", "join_round", "quorum", "reached"]


def is_quorum(indexes: Collection[int], n: int) -> bool:
    """Whether ``indexes`` name at least q *distinct* positions of a set of ``n`` (others are not counted)."""
    return len({index for index in indexes if 0 <= index < n}) >= quorum(n)


def reached(rounds: Iterable[int], round: int, n: int) -> bool:
    """Whether q of the highest rounds known of each validator are at or above ``round``: the timer's gate (§2)."""
    return sum(1 for known in rounds if known >= round) >= quorum(n)


def join_round(rounds: Iterable[int], n: int) -> int:
    """The (f+1)-th highest of the rounds known of each validator: at least one honest validator is there (§2).

    ``rounds`` holds at most one number a validator; −1 when fewer than f + 1 are known.
    """
    highest = sorted(rounds, reverse=True)
    position = faults(n)
    return highest[position] if position < len(highest) else -1
