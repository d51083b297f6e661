"""What must be durable first is never written, here: before the prepare."""

from consensus.effects import Effect, Persist
from consensus.records import Record, VoteRecord
from consensus.state import Core
from ledger.votes import Prepare

from .patch import Patch, without_scruples

RULE = "the body and the Prepare are durable before the Prepare is sent"


def plant(patch: Patch) -> None:
    """Break the rule."""
    ordinary = Core.emit

    def emit(self: Core, effect: Effect) -> None:
        if isinstance(effect, Persist):
            kept = tuple(record for record in effect.records if not _skipped(record))
            effect = Persist(effect.token, kept)
        ordinary(self, effect)

    without_scruples(patch)
    patch.replace(Core, "emit", emit)


def _skipped(record: Record) -> bool:
    return isinstance(record, VoteRecord) and isinstance(record.message, Prepare)
