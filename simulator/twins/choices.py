"""What one phase of a network with twins can be: who leads, who hears whom, whose votes are lost (CONSENSUS §7).

Processes 0 and 4 are two honest copies with one key, that of validator 0; processes 1 to 3 are honest validators. A
*phase* begins when the round timers that are set have run off (the first: when a block becomes due), and ends when
nothing more can happen. So in phase r every process is in round r, or behind.
"""

from functools import cache
from itertools import product
from typing import Final, NamedTuple

VALIDATORS: Final = 4
PROCESSES: Final = 5
TWINS: Final = (0, 4)
HONEST: Final = (1, 2, 3)
INDEX: Final = (0, 1, 2, 3, 0)
"""Of which validator each process is."""
ROUNDS_MAX: Final = 5
NOBODY: Final = -1
EVERYBODY: Final = -2


class Hearing(NamedTuple):
    """Who hears the Prepares and who hears the Commits of a phase, of those who are together: everybody, nobody, or
    one process. Votes of earlier rounds that are sent again in this phase are lost alike.
    """

    prepares: int = EVERYBODY
    commits: int = EVERYBODY


ALL: Final = Hearing()
PLAIN: Final = (ALL, Hearing(commits=NOBODY))
"""Without the second a round is decided or nothing, and no lock is ever carried on."""
FINE: Final = (
    *PLAIN,
    *(Hearing(commits=process) for process in range(PROCESSES)),
    *(Hearing(prepares=process) for process in range(PROCESSES)),
)
"""Also: one process alone decides, or locks."""


class Choice(NamedTuple):
    """Of one phase."""

    leader: int
    """The validator that leads the round of the phase's number; both copies, when it is 0."""
    partition: int
    """Position in ``partitions()``."""
    hearing: Hearing
    first: int = TWINS[0]
    """The copy whose turn comes first; where both are together, it can decide whose proposal is accepted."""


Schedule = tuple[Choice, ...]
ORDERS: Final = {first: (first, *HONEST, last) for first, last in (TWINS, TWINS[::-1])}
"""In which the processes take their turns."""


@cache
def partitions() -> tuple[tuple[tuple[int, ...], ...], ...]:
    """All 52 set partitions of the five processes, as groups of processes; each group, and their list, ascending."""
    found: list[tuple[tuple[int, ...], ...]] = [()]
    for process in range(PROCESSES):
        joined = [
            (*groups[:at], (*groups[at], process), *groups[at + 1 :]) for groups in found for at in range(len(groups))
        ]
        found = joined + [(*groups, (process,)) for groups in found]
    return tuple(sorted(found))


@cache
def choices(*, fine: bool = False) -> tuple[Choice, ...]:
    """Everything that one phase can be."""
    hearings = FINE if fine else PLAIN
    return tuple(Choice(*one) for one in product(range(VALIDATORS), range(len(partitions())), hearings, TWINS))
