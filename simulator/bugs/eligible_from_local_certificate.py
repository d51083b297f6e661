"""Who is passed over as proposer follows from the certificate one happens to hold, not from the one in a body."""

from collections.abc import Sequence
from dataclasses import replace

from consensus.context import HeightContext, Timing
from ledger.proposers import failed
from simulator.replica import ReplicaBase

from .patch import Patch

RULE = "eligible(h) is read from the validator rows after h - 1"


def plant(patch: Patch) -> None:
    """Break the rule."""
    ordinary = ReplicaBase.context

    def context(self: ReplicaBase, own_keys: Sequence[bytes], timing: Timing) -> HeightContext:
        made = ordinary(self, own_keys, timing)
        round = self.certificate.round
        if round == 0 or len(made.proposers) == 1:
            return made
        seats = set(failed(self.view.proposers(), round)[:1])
        kept = tuple(index for index in made.proposers if made.validators[index].seat not in seats)
        return replace(made, proposers=kept or made.proposers)

    patch.replace(ReplicaBase, "context", context)
