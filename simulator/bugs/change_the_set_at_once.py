"""A change of the validator set is in force in the next block."""

from dataclasses import replace

from consensus.messages import CompactBlock
from ledger.blocks import Header
from ledger.proposers import eligible, skips
from ledger.transactions import Transaction
from ledger.validity import HeightView
from simulator.replica import LightReplica

from .patch import Patch

RULE = "decided in h, in force at h + 2"


def plant(patch: Patch) -> None:
    """Break the rule."""
    ordinary = LightReplica._execute

    def execute(
        self: LightReplica, header: Header, block: CompactBlock, decoded: tuple[tuple[bytes, Transaction], ...]
    ) -> HeightView:
        view = ordinary(self, header, block, decoded)
        now = view.after_next_validators
        return replace(view, next_validators=now, eligible=eligible(now, skips(self._rows), header.height + 1))

    patch.replace(LightReplica, "_execute", execute)
