"""Commits for one block count together, whatever their round."""

from consensus import voting
from consensus.effects import Decide
from consensus.quorum import quorum
from consensus.state import Core
from ledger.votes import Certificate, Seal

from .patch import Patch

RULE = "decide on q Commits of any single round"


def plant(patch: Patch) -> None:
    """Break the rule."""

    def try_decide(core: Core) -> None:
        height = core.open
        for hash in _hashes(core):
            candidate = height.candidates.get(hash)
            if candidate is None or not candidate.complete:
                continue
            votes = {
                vote.index: vote
                for index in range(len(height.context.validators))
                for vote in height.tally.commits.by(index)
                if vote.message.hash == hash
            }
            q = quorum(len(height.context.validators))
            if len(votes) < q:
                continue
            indexes = sorted(votes)[:q]
            seals = tuple(Seal(index, votes[index].signature) for index in indexes)
            round = votes[indexes[0]].message.round
            height.decided = hash
            certificate = Certificate(height.context.height, round, hash, seals)
            core.emit(Decide(height.context.height, hash, candidate.block, candidate.transactions, certificate))
            return

    patch.replace(voting, "try_decide", try_decide)


def _hashes(core: Core) -> list[bytes]:
    height = core.open
    found: dict[bytes, None] = {}
    for index in range(len(height.context.validators)):
        for vote in height.tally.commits.by(index):
            found[vote.message.hash] = None
    return list(found)
