"""The proposer of a later round proposes a new block although one was prepared, and the others accept it."""

from consensus import justify, propose
from consensus.context import HeightContext
from consensus.messages import SignedPrepare, SignedRoundChange
from consensus.quorum import quorum

from .patch import Patch

RULE = "with m = max pr, the block proposed is the pv of m"


def plant(patch: Patch) -> None:
    """Break the rule."""

    def choose(
        context: HeightContext,
        changes: list[SignedRoundChange],
        prepares_of: dict[tuple[int, bytes], tuple[SignedPrepare, ...]],
    ) -> tuple[tuple[SignedRoundChange, ...], tuple[SignedPrepare, ...]] | None:
        q = quorum(len(context.validators))
        return (tuple(sorted(changes[:q], key=lambda c: c.index)), ()) if len(changes) >= q else None

    patch.replace(propose, "choose", choose)
    patch.replace(justify, "highest_prepared", lambda changes: justify.NOT_PREPARED)
