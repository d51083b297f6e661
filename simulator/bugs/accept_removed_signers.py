"""The height is agreed on by the set of the height before: a removed validator still counts."""

from collections.abc import Sequence
from dataclasses import replace

from consensus.context import HeightContext, Timing
from simulator.replica import ReplicaBase

from .patch import Patch

RULE = "quorums are counted over V(h)"


def plant(patch: Patch) -> None:
    """Break the rule."""
    ordinary = ReplicaBase.context

    def context(self: ReplicaBase, own_keys: Sequence[bytes], timing: Timing) -> HeightContext:
        made = ordinary(self, own_keys, timing)
        old = self.view.validators
        if old == made.validators:
            return made
        positions = {entry.validator_key: index for index, entry in enumerate(old)}
        own = [positions[key] for key in own_keys if key in positions]
        proposers = tuple(positions[e.validator_key] for e in self.view.proposers() if e.validator_key in positions)
        return replace(made, validators=old, index=own[0] if own else None, proposers=proposers or (0,))

    patch.replace(ReplicaBase, "context", context)
