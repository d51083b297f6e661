"""Versions of the protocol: which ones this program knows, and what differs between them (DESIGN §2).

Rules of this file
- A block is executed by the rules of the version in its header, now and for ever: an old block is replayed by the rules
  of its time. The version of each height is the chain's own (``upgrades``), never a program's opinion.
- What differs stands in ``RULES``, a row of values for each version; the rule that it changes stays in its own place
  and asks ``rules_of(state.block.version)``. Nothing else may compare versions.
- A row, once a chain has used it, never changes. A new version is a new row and one more for ``NEWEST``.
- A program stops before the first block of a version that it does not know (``check_known``); it guesses nothing.

The idea is that of scheduled hard forks by block number (Ethereum's ``execution-specs`` copies its package for each;
a table says in one place what a diff of two packages would).
"""

from dataclasses import dataclass
from typing import Final

from .errors import OperatorError

OLDEST: Final = 1
"""The version of block 0, and the oldest that this program executes."""
NEWEST: Final = 2
"""The newest that this program executes."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What depends on the version of a block."""

    same_proposal_twice: bool
    """Whether an action may be proposed while the same one is undecided already (``governance.propose``).

    Version 1 allows it. Then the votes on one matter split between two proposals, and neither may reach two thirds; or
    both pass, and the second is tried on a state in which the first has been done. From version 2 on it is refused with
    PROPOSAL_OPEN: vote for the one that is there. (What the ledger itself proposes kept to that from the beginning.)
    """


RULES: Final[dict[int, Rules]] = {
    1: Rules(same_proposal_twice=True),
    2: Rules(same_proposal_twice=False),
}


def check_known(version: int, from_height: int, newest: int = NEWEST) -> None:
    """Go on only with a version that the program knows.

    Raises ``OperatorError`` PROTOCOL_UPGRADE_NEEDED, which names what is needed and from which height on.
    """
    if version > newest:
        raise OperatorError(
            "PROTOCOL_UPGRADE_NEEDED",
            f"protocol {version} is needed from height {from_height}",
            f"this program speaks {spoken(newest)}",
            f"install a release that speaks protocol {version} and start it on the same home: nothing is lost",
        )


def rules_of(version: int) -> Rules:
    """The rules of a block of this version. Raises ``OperatorError`` PROTOCOL_UPGRADE_NEEDED."""
    rules = RULES.get(version)
    if rules is None:
        raise OperatorError(
            "PROTOCOL_UPGRADE_NEEDED",
            f"a block of protocol {version} is to be executed",
            f"this program speaks {spoken()}",
            f"install a release that speaks protocol {version}",
        )
    return rules


def spoken(newest: int = NEWEST) -> str:
    """The versions of a program, for people."""
    return str(OLDEST) if newest == OLDEST else f"{OLDEST} to {newest}"
