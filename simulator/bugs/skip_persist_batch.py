"""The next height is opened before the batch of the decided block is synced; a crash then loses the block."""

from collections.abc import Callable
from typing import Any, cast

from consensus.effects import Decide
from simulator.node import SimNode

from .patch import Patch

RULE = "before telling anyone a block is decided, and any signature at h + 1: the one LevelDB batch, synced"
BATCH_MS = 40


def plant(patch: Patch) -> None:
    """Break the rule."""
    unsynced: dict[SimNode, int] = {}
    ordinary = SimNode.crash
    synced_height = cast(property, SimNode.__dict__["synced_height"]).fget

    def decide(self: SimNode, effect: Decide) -> None:
        height = effect.height
        if height != self.height + 1:
            return
        unsynced.setdefault(self, height - 1)

        def synced() -> None:
            if self.height == height:
                unsynced.pop(self, None)

        self.later(BATCH_MS, synced)
        self.later(0, lambda: _commit(self, effect))

    def crash(self: SimNode) -> None:
        durable = unsynced.pop(self, None)
        ordinary(self)
        if durable is not None:
            self.replica = self.replica.rewound(durable)

    def durable_height(self: SimNode) -> int:
        read = cast(Callable[[Any], int], synced_height)
        return unsynced.get(self, read(self))

    patch.replace(SimNode, "_decide", decide)
    patch.replace(SimNode, "crash", crash)
    patch.replace(SimNode, "synced_height", property(durable_height))


def _commit(node: SimNode, effect: Decide) -> None:
    if effect.height == node.height + 1:
        node.commit(effect.block, effect.transactions, effect.certificate)
