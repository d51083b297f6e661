"""Prepare, Commit, decide: PBFT's three phases at the current round; the decision at any (CONSENSUS §2)."""

from ledger.votes import Certificate, Commit, Prepare, Seal

from .effects import CheckBlock, Decide
from .events import Verdict
from .messages import Lock
from .own import body_records, persist
from .quorum import quorum
from .records import LockRecord, VoteRecord
from .state import Core


def try_prepare(core: Core) -> None:
    """Prepare the accepted proposal once *every* transaction body is here and the node found the block valid."""
    height = core.open
    accepted = height.accepted.get(height.round)
    if accepted is None or core.record.signed(Prepare, height.round) is not None:
        return
    candidate = height.candidates.get(accepted.hash)
    if candidate is None or not candidate.complete:
        return
    context = height.context
    if candidate.verdict is None:
        if not candidate.check_asked:
            candidate.check_asked = True
            core.emit(CheckBlock(context.height, candidate.hash, candidate.block, candidate.transactions))
        return
    # Freshness is not checked again of a block that is proposed again: it was, by q validators, when it was fresh.
    if candidate.verdict is Verdict.VALID or (candidate.verdict is Verdict.STALE and not accepted.fresh):
        vote = VoteRecord(context.epoch, Prepare(context.height, height.round, candidate.hash))
        persist(core, [*body_records(core, candidate), vote])


def try_commit(core: Core) -> None:
    """Commit what we prepared in this round once q Prepares are here; they become durable before the signature."""
    height = core.open
    round = height.round
    own = core.record.signed(Prepare, round)
    if not isinstance(own, Prepare) or core.record.signed(Commit, round) is not None:
        return
    context = height.context
    n = len(context.validators)
    if not height.tally.prepares.has_quorum(round, own.hash):
        return
    prepares = core.prepares_of(round, own.hash)
    lock = Lock(context.height, round, own.hash, prepares[: quorum(n)])
    vote = VoteRecord(context.epoch, Commit(context.height, round, own.hash))
    persist(core, [LockRecord(context.epoch, lock, n), vote])


def try_decide(core: Core) -> None:
    """Decide on q Commits of any single round, past ones included, once the body is here; then stop signing here."""
    height = core.open
    for round, hash in height.tally.commits.quorums():
        candidate = height.candidates.get(hash)
        if candidate is None or not candidate.complete:
            continue
        commits = height.tally.commits.of(round, hash)
        indexes = sorted(commits)[: quorum(len(height.context.validators))]
        seals = tuple(Seal(index, commits[index].signature) for index in indexes)
        certificate = Certificate(height.context.height, round, hash, seals)
        height.decided = hash
        core.emit(Decide(height.context.height, hash, candidate.block, candidate.transactions, certificate))
        return
