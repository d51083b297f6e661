"""All votes of one height, each verified once, within bounds that no peer can stretch (CONSENSUS §2).

Rules of this file:

* Rounds up to our own are kept (at most ``ROUNDS_MAX`` a validator and kind, the newest); above our own only the
  highest of each validator and kind. Of round changes only the highest of each validator.
* Two different messages in one (round, kind) are both kept, never a third: the second is evidence, and both are counted
  where they belong, for a certificate may be made of either.
* ``highest`` is the highest round of *any* valid message of each validator, whatever its kind: the timer's gate and the
  join rule count these (if only round changes counted, a restart of all with f dead could strand everybody below q).
"""

from collections import defaultdict
from typing import Final, Generic, TypeVar

from ledger.blocks import Evidence
from ledger.votes import Commit

from .evidence import evidence_of
from .messages import Signed, SignedCommit, SignedPrepare, SignedRoundChange
from .quorum import quorum

ROUNDS_MAX: Final = 64

VoteT = TypeVar("VoteT", SignedPrepare, SignedCommit)


class VoteBox(Generic[VoteT]):
    """Prepares or Commits, by round, hash and signer."""

    def __init__(self, n: int) -> None:
        self._quorum = quorum(n)
        self._votes: dict[int, dict[bytes, dict[int, VoteT]]] = {}
        self._rounds: dict[int, list[int]] = defaultdict(list)
        """Rounds held of each signer, ascending."""

    def of(self, round: int, hash: bytes) -> dict[int, VoteT]:
        """Votes for ``hash`` in ``round`` by signer; not to be changed."""
        return self._votes.get(round, {}).get(hash, {})

    def holds(self, vote: VoteT) -> bool:
        """Whether this signer's vote for this hash in this round is here already."""
        return vote.index in self.of(vote.message.round, vote.message.hash)

    def other(self, vote: VoteT) -> VoteT | None:
        """A vote of the same signer and round for another hash."""
        for hash, votes in self._votes.get(vote.message.round, {}).items():
            if hash != vote.message.hash and vote.index in votes:
                return votes[vote.index]
        return None

    def newest(self, index: int) -> int:
        """The highest round held of ``index``; -1 without one."""
        rounds = self._rounds.get(index)
        return rounds[-1] if rounds else -1

    def by(self, index: int) -> list[VoteT]:
        """Every vote held of ``index``, by ascending round."""
        found = []
        for round in self._rounds.get(index, ()):
            found += [votes[index] for votes in self._votes[round].values() if index in votes]
        return found

    def add(self, vote: VoteT, current_round: int) -> bool:
        """Keep the vote, within the bounds; whether it was kept."""
        round, index = vote.message.round, vote.index
        rounds = self._rounds[index]
        if round not in rounds and not self._make_room(index, round, current_round):
            return False
        others = sum(1 for votes in self._votes.get(round, {}).values() if index in votes)
        if others >= 2:
            return False
        self._votes.setdefault(round, {}).setdefault(vote.message.hash, {})[index] = vote
        if round not in rounds:
            rounds.append(round)
            rounds.sort()
        return True

    def quorums(self) -> list[tuple[int, bytes]]:
        """Every (round, hash) with q distinct votes."""
        return [
            (round, hash)
            for round, hashes in self._votes.items()
            for hash, votes in hashes.items()
            if len(votes) >= self._quorum
        ]

    def holders(self, hash: bytes) -> set[int]:
        """Who voted for ``hash`` in any round, and so has its body or knows who has."""
        return {index for hashes in self._votes.values() for index in hashes.get(hash, ())}

    def __len__(self) -> int:
        return sum(len(votes) for hashes in self._votes.values() for votes in hashes.values())

    def _make_room(self, index: int, round: int, current_round: int) -> bool:
        rounds = self._rounds[index]
        if round > current_round and rounds and rounds[-1] > current_round:
            if rounds[-1] > round:
                return False
            self._drop(index, rounds[-1])
        elif len(rounds) >= ROUNDS_MAX:
            if round < rounds[0]:
                return False
            self._drop(index, rounds[0])
        return True

    def _drop(self, index: int, round: int) -> None:
        self._rounds[index].remove(round)
        hashes = self._votes[round]
        for hash in list(hashes):
            hashes[hash].pop(index, None)
            if not hashes[hash]:
                del hashes[hash]
        if not hashes:
            del self._votes[round]


class Tally:
    """The votes of one height over ``n`` validators."""

    def __init__(self, n: int, epoch: int) -> None:
        self.prepares: VoteBox[SignedPrepare] = VoteBox(n)
        self.commits: VoteBox[SignedCommit] = VoteBox(n)
        self.changes: dict[int, SignedRoundChange] = {}
        self.highest = [-1] * n
        self._epoch = epoch

    def known(self, vote: Signed) -> bool:
        """Whether this very vote was admitted before, so that its signature need not be verified again."""
        match vote:
            case SignedPrepare():
                return self.prepares.holds(vote)
            case SignedCommit():
                return self.commits.holds(vote)
            case SignedRoundChange():
                held = self.changes.get(vote.index)
                return held is not None and held.message == vote.message

    def raise_highest(self, index: int, round: int) -> None:
        """A valid message of ``index`` of this round was seen."""
        if round > self.highest[index]:
            self.highest[index] = round

    def add(self, vote: Signed, current_round: int) -> Evidence | None:
        """Take a *verified* vote; return the evidence it makes together with one held."""
        self.raise_highest(vote.index, vote.message.round)
        match vote:
            case SignedPrepare():
                other = self.prepares.other(vote)
                self.prepares.add(vote, current_round)
                return None if other is None else evidence_of(self._epoch, other, vote)
            case SignedCommit():
                contradicted = self.commits.other(vote) or self._abandoned(vote)
                self.commits.add(vote, current_round)
                return None if contradicted is None else evidence_of(self._epoch, contradicted, vote)
            case SignedRoundChange():
                return self._add_change(vote)

    def _add_change(self, vote: SignedRoundChange) -> Evidence | None:
        held = self.changes.get(vote.index)
        if held is not None and held.message.round == vote.message.round and held.message != vote.message:
            return evidence_of(self._epoch, held, vote)
        if held is None or vote.message.round > held.message.round:
            self.changes[vote.index] = vote
        denied = [commit for commit in self.commits.by(vote.index) if _denies(vote, commit.message)]
        return evidence_of(self._epoch, denied[0], vote) if denied else None

    def _abandoned(self, commit: SignedCommit) -> SignedRoundChange | None:
        held = self.changes.get(commit.index)
        return held if held is not None and _denies(held, commit.message) else None


def _denies(change: SignedRoundChange, commit: Commit) -> bool:
    """Commit(h, m, X) with RoundChange(h, r > m) whose pr < m (CONSENSUS §4)."""
    return change.message.round > commit.round > change.message.prepared_round
