"""When a newer version of the protocol comes into force: what the organisations decided, as a row (DESIGN §2).

Rules of this file
- Up by one at a time, at a height: every block from it on has the new version, no block below. The version never falls.
- It is decided like everything else (``governance``): two thirds, the regulator's window, then it is enacted.
- When it is enacted the height is still ``NOTICE_BLOCKS`` away at least, so that every program hears of it in blocks
  that it can execute; and at most ``AHEAD_BLOCKS_MAX``, so that a slip of the pen does not block upgrades for ever.
- At most one is ahead. Decided again, another height replaces it, as long as the old one is ``NOTICE_BLOCKS`` away.
- None of it depends on the program: one that does not know the version takes part in deciding it, and stops before it.

The row is number 2 of ``meta`` and appears with the first upgrade: until then every block has ``protocol.OLDEST``.
Being a row it is bound by the state root, and a node that joined by a snapshot has it.
"""

from typing import Final

from . import protocol
from .errors import TransactionRejected
from .rows import Upgrade
from .state import State, StateReader

UPGRADE_ROW: Final = 2
NOTICE_BLOCKS: Final = 10
"""A header certifies its parent's result, and the sets of two heights ahead are fixed: 2 is what the protocol itself
needs, the rest lets a warning reach the log before the node stops. The weeks before are the votes' and the window's."""
AHEAD_BLOCKS_MAX: Final = 100_000_000
"""About three years of a block a second."""


def upgrade(reader: StateReader) -> Upgrade | None:
    """The newest upgrade that was enacted, in force or ahead."""
    return reader.find(Upgrade, UPGRADE_ROW)


def version_at(row: Upgrade | None, height: int) -> int:
    """The version of block ``height``, by the newest upgrade known before it."""
    if row is None:
        return protocol.OLDEST
    return row.version if height >= row.height else row.version - 1


def activate(state: State, version: int, height: int) -> None:
    """Decide that ``version`` is in force from block ``height`` on. Raises ``TransactionRejected``."""
    row, now = upgrade(state), state.block.height
    if row is not None and now < row.height < now + NOTICE_BLOCKS:
        raise TransactionRejected("UPGRADE_TOO_LATE", f"version {row.version} comes at height {row.height}")
    present = version_at(row, now)
    if version != present + 1:
        raise TransactionRejected("NOT_NEXT_VERSION", f"version {version}, {present} is in force")
    if height < now + NOTICE_BLOCKS:
        raise TransactionRejected("UPGRADE_TOO_LATE", f"height {height}, this is block {now}")
    if height > now + AHEAD_BLOCKS_MAX:
        raise TransactionRejected("BAD_FIELD", f"height {height} is more than {AHEAD_BLOCKS_MAX} blocks ahead")
    after = Upgrade(version=version, height=height)
    if row == after:
        raise TransactionRejected("NOTHING_TO_DECIDE", f"version {version} comes at height {height} already")
    if row is None:
        state.append(after)
    else:
        state.put(UPGRADE_ROW, after)
