"""A block that is proposed again must be as fresh as a new one."""

from consensus import voting
from consensus.events import Verdict
from consensus.state import Core

from .patch import Patch

RULE = "freshness is not checked again"


def plant(patch: Patch) -> None:
    """Break the rule."""
    ordinary = voting.try_prepare

    def try_prepare(core: Core) -> None:
        height = core.open
        accepted = height.accepted.get(height.round)
        candidate = height.candidates.get(accepted.hash) if accepted is not None else None
        if candidate is not None and candidate.verdict is Verdict.STALE:
            return
        ordinary(core)

    patch.replace(voting, "try_prepare", try_prepare)
