"""From a start to the first signature: LastSeen asked, judged, adopted; then the log's height is taken up (CONSENSUS
§3).
"""

from ledger.blocks import SignedVote
from ledger.errors import OperatorError
from ledger.votes import Prepare, Proposal

from .context import LAST_SEEN_WAIT_MS, HeightContext
from .early import EarlyMessage
from .effects import Behind, Persist, Send, SetTimer
from .events import Timer, TimerKind, Verdict
from .evidence import signed_vote
from .last_seen import LastSeen
from .logstate import lock_holds
from .messages import (
    LAST_SEEN_VOTES_MAX,
    LastSeenAnswer,
    LastSeenQuestion,
    Lock,
    PreparedRoundChange,
    SignedCommit,
    SignedPrepare,
    SignedProposal,
    SignedRoundChange,
)
from .own import sign_again
from .records import AdoptRecord, LockRecord
from .state import Accepted, Core


def begin(core: Core, nonce: bytes) -> None:
    """At a new height: whether our key must ask before it signs, and whom."""
    context = core.open.context
    if context.index is None:
        core.last_seen = core.cleared_key = None
        return
    key = context.key(context.index)
    if core.cleared_key == key:
        return
    core.cleared_key = None
    if core.last_seen is None or core.last_seen.key != key:
        core.last_seen = LastSeen(key, nonce)
    ask(core)


def ask(core: Core) -> None:
    """Put the question to every seat that has not answered."""
    if core.last_seen is not None:
        for index in core.last_seen.unanswered(core.open.context):
            ask_one(core, index)


def ask_one(core: Core, index: int) -> None:
    """Put the question to ``index`` if it has not answered."""
    context, pending = core.open.context, core.last_seen
    if pending is not None and index in pending.unanswered(context):
        core.emit(Send(index, LastSeenQuestion(context.height, pending.key, pending.nonce)))


def answer_to(core: Core, question: LastSeenQuestion) -> LastSeenAnswer:
    """What we know of the asking key above our certified head, in log *or memory*, and our own lock."""
    context = core.open.context
    lock = core.record.lock
    return LastSeenAnswer(
        question.nonce,
        context.height - 1,
        context.parent_hash,
        context.parent_certificate,
        tuple(_votes_of(core, question.key)[-LAST_SEEN_VOTES_MAX:]),
        lock if lock is not None and lock.prepares and core.record.height == context.height else None,
    )


def take_answer(core: Core, index: int, peer: bytes, message: LastSeenAnswer) -> None:
    """Keep the answer of V(height)[index]."""
    pending, context = core.last_seen, core.open.context
    if pending is None or not pending.take(context.key(index), peer, message):
        return
    if message.head_height >= context.height:
        core.emit(Behind(peer, message.head_height))


def try_clear(core: Core) -> None:
    """If LastSeen is satisfied: adopt what was returned, make that durable, and only then begin to sign."""
    pending, context = core.last_seen, core.open.context
    if pending is None or core.adopting is not None or not pending.has_quorum(context):
        return
    if not pending.timer_set:
        pending.timer_set = True
        core.emit(SetTimer(Timer(TimerKind.LAST_SEEN, context.height, 0), LAST_SEEN_WAIT_MS))
    if not pending.satisfied(context):
        return
    record = _adoption(core, pending)
    if record is None:
        clear(core)
        return
    core.record.apply(record)
    core.adopting = core.next_token()
    core.emit(Persist(core.adopting, (record,)))


def adopted(core: Core) -> None:
    """What was returned is durable. Answers that came meanwhile may tell of a higher head: then we catch up first."""
    core.adopting = None
    if core.last_seen is not None and core.last_seen.satisfied(core.open.context):
        clear(core)


def clear(core: Core) -> None:
    """LastSeen is satisfied: this key may sign in this process."""
    if core.last_seen is not None:
        core.cleared_key = core.last_seen.key
    core.last_seen = core.adopting = None


def load_bodies(core: Core) -> None:
    """Bodies of our log are served again, and valid: we proposed or prepared them."""
    height, record = core.open, core.record
    for body in record.bodies.values():
        candidate = height.candidates.add(body.block, record.locked_hash)
        if isinstance(candidate, str):
            continue  # of another branch of an epoch that was recovered: void
        candidate.fill(body.transactions)
        candidate.pinned = True
        candidate.verdict = Verdict.VALID


def resume(core: Core) -> None:
    """Take up what the record holds of the open height: the round, the proposals accepted, the lock; sign it again."""
    height, record = core.open, core.record
    if height.resumed:
        return
    height.resumed = True
    here = (record.epoch, record.height) == (height.context.epoch, height.context.height)
    if not here or record.round < 0:
        return
    height.due = True  # our log holds a vote at this height
    height.round = record.round
    for (kind, round), message in record.granted.items():
        if isinstance(message, Proposal | Prepare):
            proposed = record.proposals.get(round)
            fresh = kind is Proposal and proposed is not None and not proposed.prepares
            height.accepted.setdefault(round, Accepted(round, message.hash, fresh, None))
    if record.lock is not None:
        for prepare in record.lock.prepares:
            height.tally.add(prepare, height.round)
        height.tally.prepares.add_set(record.lock.prepares)
    sign_again(core)


def _votes_of(core: Core, key: bytes) -> list[SignedVote]:
    context, tally = core.open.context, core.open.tally
    found: list[SignedVote] = []
    for index, entry in enumerate(context.validators):
        if entry.validator_key != key:
            continue
        found += [signed_vote(a.signed) for a in core.open.accepted.values() if a.signed and a.signed.index == index]
        found += [signed_vote(vote) for vote in tally.prepares.by(index)]
        found += [signed_vote(vote) for vote in tally.commits.by(index)]
        found += [signed_vote(spare) for spare in tally.spares_of(index) if core.verified(spare)]
        if index in tally.changes:
            found.append(signed_vote(tally.changes[index]))
    for _, _, message in core.early.all():
        signed = _signed_of(message)
        digest = signed.message.signing_digest(context.chain_id, context.epoch)
        if core.scheme.verify(key, digest, signed.signature):
            found.append(signed_vote(signed))
    return found


def _signed_of(message: EarlyMessage) -> SignedProposal | SignedPrepare | SignedCommit | SignedRoundChange:
    return message.change if isinstance(message, PreparedRoundChange) else message


def _adoption(core: Core, pending: LastSeen) -> AdoptRecord | None:
    """Own messages and the highest lock of the answers that our record lacks, checked; None when there is nothing."""
    context, record = core.open.context, core.record
    votes: dict[tuple[int, type, int], SignedVote] = {}
    best: Lock | None = record.lock
    for answered in pending.relevant(context):
        for vote in answered.answer.votes:
            message = vote.message
            if message.height < context.height or not _is_ours(core, pending.key, vote):
                continue
            here = (record.epoch, record.height) == (context.epoch, message.height)
            known = record.signed(type(message), message.round) if here else None
            if known is None:
                votes.setdefault((message.height, type(message), message.round), vote)
            elif known != message:
                raise _second_copy(pending.key, vote)
        lock = answered.answer.lock
        if lock is not None and (best is None or lock.round > best.round) and _lock_is_valid(core, context, lock):
            best = lock
    raised = best if best is not record.lock else None
    if not votes and raised is None:
        return None
    ordered = tuple(sorted(votes.values(), key=lambda vote: (vote.message.height, vote.message.round)))
    locked = LockRecord(context.epoch, raised, len(context.validators)) if raised is not None else None
    return AdoptRecord(context.epoch, ordered, locked)


def _second_copy(key: bytes, vote: SignedVote) -> OperatorError:
    """Our record says one thing, a signature of our key another: somebody else signs with it, for a replay is no
    answer.
    """
    return OperatorError(
        "KEY_IN_USE",
        f"another process signs with the validator key {key.hex()}",
        f"it signed {vote.message}, which this record contradicts",
        "find and stop the second copy, or rotate the key, before this validator is started again",
        exit_code=6,
    )


def _is_ours(core: Core, key: bytes, vote: SignedVote) -> bool:
    context = core.open.context
    return core.scheme.verify(key, vote.message.signing_digest(context.chain_id, context.epoch), vote.signature)


def _lock_is_valid(core: Core, context: HeightContext, lock: Lock) -> bool:
    return (
        lock.height == context.height
        and lock_holds(lock, len(context.validators))
        and all(core.open.tally.known(prepare) or core.verified(prepare) for prepare in lock.prepares)
    )
