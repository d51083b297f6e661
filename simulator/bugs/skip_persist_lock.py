"""What must be durable first is never written, here: before the lock."""

from consensus.effects import Effect, Persist
from consensus.records import LockRecord
from consensus.state import Core

from .patch import Patch, without_scruples

RULE = "the q prepares are durable before the Commit is sent"


def plant(patch: Patch) -> None:
    """Break the rule."""
    ordinary = Core.emit

    def emit(self: Core, effect: Effect) -> None:
        if isinstance(effect, Persist):
            kept = tuple(record for record in effect.records if not (isinstance(record, LockRecord)))
            effect = Persist(effect.token, kept)
        ordinary(self, effect)

    without_scruples(patch)
    patch.replace(Core, "emit", emit)
