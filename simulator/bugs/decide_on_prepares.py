"""q Prepares are taken for a decision."""

from consensus import voting
from consensus.effects import Decide
from consensus.quorum import quorum
from consensus.state import Core
from ledger.votes import Certificate, Seal

from .patch import Patch

RULE = "decide on q Commits"


def plant(patch: Patch) -> None:
    """Break the rule."""

    def try_decide(core: Core) -> None:
        height = core.open
        q = quorum(len(height.context.validators))
        for round, hash in height.tally.prepares.quorums():
            candidate = height.candidates.get(hash)
            if candidate is not None and candidate.complete:
                prepares = core.prepares_of(round, hash)[:q]
                seals = tuple(Seal(prepare.index, prepare.signature) for prepare in prepares)
                certificate = Certificate(height.context.height, round, hash, seals)
                height.decided = hash
                core.emit(Decide(height.context.height, hash, candidate.block, candidate.transactions, certificate))
                return

    patch.replace(voting, "try_decide", try_decide)
