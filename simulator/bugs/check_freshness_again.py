"""A block that is proposed again must be as fresh as a new one."""

from consensus import propose, voting
from consensus.candidates import Candidate
from consensus.events import Verdict
from consensus.messages import SignedPrepare, SignedRoundChange
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

    proposing = propose.propose

    def propose_again(
        core: Core,
        candidate: Candidate,
        changes: tuple[SignedRoundChange, ...],
        prepares: tuple[SignedPrepare, ...],
        recent: tuple[bytes, ...],
    ) -> None:
        stale = candidate.verdict is Verdict.STALE
        candidate.verdict = None if stale else candidate.verdict
        proposing(core, candidate, changes, prepares, recent)
        candidate.verdict = Verdict.STALE if stale else candidate.verdict

    patch.everywhere(proposing, propose_again)
    patch.replace(voting, "try_prepare", try_prepare)
