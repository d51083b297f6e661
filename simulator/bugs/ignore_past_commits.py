"""Commits of a round that one has left are not looked at."""

from consensus import voting
from consensus.state import Core

from .patch import Patch

RULE = "decide on q Commits of any single round, past ones included"


def plant(patch: Patch) -> None:
    """Break the rule."""
    ordinary = voting.try_decide

    def try_decide(core: Core) -> None:
        rounds = [round for round, _ in core.open.tally.commits.quorums()]
        if core.open.round in rounds:
            ordinary(core)

    patch.replace(voting, "try_decide", try_decide)
