"""What must be durable first is never written, here: before the proposal."""

from consensus.effects import Effect, Persist
from consensus.records import ProposalRecord
from consensus.state import Core

from .patch import Patch, without_scruples

RULE = "an own Proposal is durable before it is sent"


def plant(patch: Patch) -> None:
    """Break the rule."""
    ordinary = Core.emit

    def emit(self: Core, effect: Effect) -> None:
        if isinstance(effect, Persist):
            kept = tuple(record for record in effect.records if not (isinstance(record, ProposalRecord)))
            effect = Persist(effect.token, kept)
        ordinary(self, effect)

    without_scruples(patch)
    patch.replace(Core, "emit", emit)
