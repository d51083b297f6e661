"""A node that has moved to a later round still commits in an earlier one, when its delayed Prepares arrive."""

from consensus import voting
from consensus.logstate import LogState
from consensus.messages import Lock
from consensus.own import persist
from consensus.quorum import quorum
from consensus.records import LockRecord, VoteRecord
from consensus.state import Core
from ledger.votes import Commit, Prepare, Proposal, RoundChange

from .patch import Patch

RULE = "a RoundChange is a promise to abandon every lower round"


def plant(patch: Patch) -> None:
    """Break the rule."""
    ordinary = voting.try_commit

    def try_commit(core: Core) -> None:
        ordinary(core)
        height, n = core.open, len(core.open.context.validators)
        for round in range(height.round):
            own = core.record.signed(Prepare, round)
            if not isinstance(own, Prepare) or core.record.signed(Commit, round) is not None:
                continue
            prepares = core.prepares_of(round, own.hash)
            if len(prepares) >= quorum(n):
                lock = Lock(own.height, round, own.hash, prepares[: quorum(n)])
                vote = VoteRecord(height.context.epoch, Commit(own.height, round, own.hash))
                persist(core, [LockRecord(height.context.epoch, lock, n), vote])

    def fault_here(self: LogState, message: Proposal | Prepare | Commit | RoundChange) -> str | None:
        granted = self.granted.get((type(message), message.round))
        if granted is not None:
            return None if granted == message else "another message"
        if isinstance(message, RoundChange):
            return self._round_change_fault(message)
        return self._commit_fault(message) if isinstance(message, Commit) else None

    patch.replace(LogState, "_fault_here", fault_here)
    patch.replace(voting, "try_commit", try_commit)
