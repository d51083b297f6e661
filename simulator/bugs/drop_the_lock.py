"""A Commit leaves no lock: the next RoundChange says that nothing was prepared."""

from consensus.logstate import LogState
from consensus.messages import Lock

from .patch import Patch

RULE = "RoundChange(h, r) names the (pr, pv) of the record, which changes by Commit"


def plant(patch: Patch) -> None:
    """Break the rule."""

    def raise_lock(self: LogState, lock: Lock) -> None:
        """Forget it."""

    patch.replace(LogState, "_raise_lock", raise_lock)
