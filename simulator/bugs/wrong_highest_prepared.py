"""Of the values prepared, the one of the lowest round is proposed again."""

from consensus import justify, propose
from consensus.context import HeightContext
from consensus.messages import SignedPrepare, SignedRoundChange

from .patch import Patch

RULE = "m = max pr"


def plant(patch: Patch) -> None:
    """Break the rule."""

    def lowest(changes: tuple[SignedRoundChange, ...]) -> int:
        prepared = [c.message.prepared_round for c in changes if c.message.prepared_round >= 0]
        return min(prepared, default=justify.NOT_PREPARED)

    ordinary = justify.choose

    def choose(
        context: HeightContext,
        changes: list[SignedRoundChange],
        prepares_of: dict[tuple[int, bytes], tuple[SignedPrepare, ...]],
    ) -> tuple[tuple[SignedRoundChange, ...], tuple[SignedPrepare, ...]] | None:
        chosen = ordinary(context, changes, prepares_of)
        if chosen is None or not chosen[1]:
            return chosen
        wanted = lowest(chosen[0])
        value = next(c.message.prepared_hash for c in chosen[0] if c.message.prepared_round == wanted)
        return chosen[0], prepares_of[wanted, value]

    patch.replace(justify, "highest_prepared", lowest)
    patch.replace(propose, "choose", choose)
