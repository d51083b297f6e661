"""All votes of one height, each verified once, within bounds that no peer can stretch (CONSENSUS §2).

Rules of this file:

* Rounds up to our own are kept (at most ``ROUNDS_MAX`` a validator and kind, the newest); above our own only the
  highest of each validator and kind. Of round changes only the highest of each validator.
* Two different messages in one (round, kind) are both kept, never a third: the second is evidence, and both are counted
  where they belong, for a certificate may be made of either.
* A quorum is kept whole, outside those bounds, once it is there, also one that came *together*: it proves itself.
  Without this a liar whose third vote of a round is in somebody's lock would keep every proposer from using it.
* A vote that nothing waits for is kept as a *spare*, not verified: of each validator and kind the newest, from its own
  link. It is verified when it would be evidence, or is told to somebody; it counts nowhere before.
* ``highest`` is the highest round of *any* valid message of each validator, whatever its kind: the timer's gate and the
  join rule count these (if only round changes counted, a restart of all with f dead could strand everybody below q).
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Final, Generic, TypeVar

from ledger.blocks import Evidence
from ledger.votes import Commit

from .evidence import evidence_of
from .messages import Signed, SignedCommit, SignedPrepare, SignedRoundChange
from .quorum import quorum

ROUNDS_MAX: Final = 64

Spare = SignedPrepare | SignedCommit
VoteT = TypeVar("VoteT", SignedPrepare, SignedCommit)


class VoteBox(Generic[VoteT]):
    """Prepares or Commits, by round, hash and signer."""

    def __init__(self, n: int) -> None:
        self._quorum = quorum(n)
        self._quorums: dict[tuple[int, bytes], dict[int, VoteT]] = {}
        """At most one value a round while no more than f lie, and of ``ROUNDS_MAX`` rounds the highest."""
        self._votes: dict[int, dict[bytes, dict[int, VoteT]]] = {}
        self._rounds: dict[int, list[int]] = defaultdict(list)
        """Rounds held of each signer, ascending."""

    def of(self, round: int, hash: bytes) -> dict[int, VoteT]:
        """Votes for ``hash`` in ``round`` by signer; not to be changed."""
        votes = self._votes.get(round, {}).get(hash, {})
        kept = self._quorums.get((round, hash))
        return votes if kept is None else kept | votes

    def has_quorum(self, round: int, hash: bytes) -> bool:
        """Whether q distinct votes for ``hash`` in ``round`` are here."""
        return (round, hash) in self._quorums

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
        hashes = self._votes.setdefault(round, {})
        if round in rounds and sum(1 for votes in hashes.values() if index in votes) >= 2:
            return False
        votes = hashes.setdefault(vote.message.hash, {})
        votes[index] = vote
        if len(votes) == self._quorum:
            self._keep_quorum(round, vote.message.hash, dict(votes))
        if round not in rounds:
            rounds.append(round)
            rounds.sort()
        return True

    def add_set(self, votes: Sequence[VoteT]) -> None:
        """Keep *verified* votes that came together, if they are q distinct ones for one value."""
        together = {vote.index: vote for vote in votes}
        values = {(vote.message.round, vote.message.hash) for vote in votes}
        if len(values) != 1 or len(together) < self._quorum:
            return
        self._keep_quorum(*values.pop(), together)

    def quorums(self) -> Collection[tuple[int, bytes]]:
        """Every (round, hash) with q distinct votes, in the order in which they came to them."""
        return self._quorums.keys()

    def holders(self, hash: bytes) -> set[int]:
        """Who voted for ``hash`` in any round, and so has its body or knows who has."""
        alone = {index for hashes in self._votes.values() for index in hashes.get(hash, ())}
        return alone.union(*(votes for (_, held), votes in self._quorums.items() if held == hash))

    def __len__(self) -> int:
        """Votes held one by one."""
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

    def _keep_quorum(self, round: int, hash: bytes, votes: dict[int, VoteT]) -> None:
        self._quorums.setdefault((round, hash), votes)
        if len(self._quorums) > ROUNDS_MAX:
            del self._quorums[min(self._quorums)]


class Tally:
    """The votes of one height over ``n`` validators."""

    def __init__(self, n: int, epoch: int) -> None:
        self.prepares: VoteBox[SignedPrepare] = VoteBox(n)
        self.commits: VoteBox[SignedCommit] = VoteBox(n)
        self.changes: dict[int, SignedRoundChange] = {}
        self.highest = [-1] * n
        self.highest_of_all = -1
        """The largest of ``highest``."""
        self._epoch = epoch
        self._spares: dict[tuple[type[Spare], int], Spare] = {}

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
            self.highest_of_all = max(self.highest_of_all, round)

    # ---- spares ----

    def keep_spare(self, vote: Signed, current_round: int, decided: bool) -> bool:
        """Keep a vote of a round not above ours, *unverified*, when nothing waits for it: the height is decided, or q
        others have voted alike; whether it was kept. One that contradicts what is held of its signer is not.
        """
        if isinstance(vote, SignedRoundChange) or vote.message.round > current_round:
            return False
        prepare = isinstance(vote, SignedPrepare)
        box: VoteBox[SignedPrepare] | VoteBox[SignedCommit] = self.prepares if prepare else self.commits
        if not decided and not box.has_quorum(vote.message.round, vote.message.hash):
            return False
        slot = (type(vote), vote.index)
        held = self._spares.get(slot)
        if held is not None and held.message.round >= vote.message.round:
            return held == vote
        if any(other.message.round == vote.message.round for other in box.by(vote.index)):
            return False
        if not prepare and vote.index in self.changes:
            return False
        self._spares[slot] = vote
        return True

    def spares_of(self, index: int) -> list[Spare]:
        """What is held of ``index`` unverified: whoever uses it verifies it first."""
        return [spare for (_, signer), spare in self._spares.items() if signer == index]

    def spares_against(self, vote: Signed) -> list[Spare]:
        """Spares that would be evidence together with ``vote``, were they valid; they are spares no more."""
        found = [spare for spare in self.spares_of(vote.index) if _contradict(spare, vote)]
        for spare in found:
            del self._spares[type(spare), spare.index]
        return found

    def newest(self, kind: type[Spare], index: int) -> int:
        """The highest round of a vote of this kind held of ``index``, spare or not; -1 without one."""
        box = self.prepares if kind is SignedPrepare else self.commits
        spare = self._spares.get((kind, index))
        return max(box.newest(index), spare.message.round if spare is not None else -1)

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


def _contradict(spare: Spare, vote: Signed) -> bool:
    """Whether no honest validator signs both (CONSENSUS §4)."""
    if isinstance(vote, SignedRoundChange):
        return isinstance(spare, SignedCommit) and _denies(vote, spare.message)
    same = type(spare) is type(vote) and spare.message.round == vote.message.round
    return same and spare.message.hash != vote.message.hash


def _denies(change: SignedRoundChange, commit: Commit) -> bool:
    """Commit(h, m, X) with RoundChange(h, r > m) whose pr < m (CONSENSUS §4)."""
    return change.message.round > commit.round > change.message.prepared_round
