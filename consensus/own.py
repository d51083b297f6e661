"""Our own messages: persist, then sign, then send; never in another order (CONSENSUS §1, §3).

The three steps are three events. ``persist`` hands the intents to the log; ``after_persisted`` asks for the signatures;
``after_signed`` counts the message here and sends it. A message whose height was decided meanwhile is dropped: it was
promised, not said.
"""

from ledger.errors import InvariantViolation
from ledger.votes import Commit, Prepare, Proposal, RoundChange

from .candidates import Candidate
from .effects import Broadcast, Persist, Send, Sign, SignRequest
from .logstate import SignedKind
from .messages import (
    PreparedRoundChange,
    Signed,
    SignedCommit,
    SignedPrepare,
    SignedProposal,
    SignedRoundChange,
)
from .records import BodyRecord, ProposalRecord, Record, VoteRecord
from .state import Accepted, Core


def persist(core: Core, records: list[Record]) -> None:
    """Make the records durable together, then sign and send the intents among them."""
    requests = []
    for record in records:
        if isinstance(record, ProposalRecord | VoteRecord):
            fault = core.record.fault(record.epoch, record.message)
            if fault is not None:
                raise InvariantViolation(f"about to sign {record.message}: {fault}")
            requests.append(_request(core, record.message))
        core.record.apply(record)
    token = core.next_token()
    core.persisting[token] = requests
    core.emit(Persist(token, tuple(records)))


def body_records(core: Core, candidate: Candidate) -> list[Record]:
    """The body's record, if the log has it not yet; the body is pinned from here on."""
    candidate.pinned = True
    if candidate.hash in core.record.bodies:
        return []
    context = core.open.context
    return [BodyRecord(context.epoch, context.height, candidate.hash, candidate.block, candidate.transactions)]


def after_persisted(core: Core, token: int) -> None:
    """The intents of ``token`` are durable: ask for their signatures."""
    for request in core.persisting.pop(token, ()):
        ask_signature(core, request)


def ask_signature(core: Core, request: SignRequest) -> None:
    """For an intent that *is* durable."""
    token = core.next_token()
    core.signing[token] = request
    core.emit(Sign(token, request))


def sign_again(core: Core) -> None:
    """Ask once more for the signature of everything our log granted at the open height: the same bytes."""
    for message in core.record.granted.values():
        ask_signature(core, _request(core, message))


def after_signed(core: Core, token: int, signature: bytes) -> None:
    """Count our message and send it, unless its height is over."""
    request = core.signing.pop(token, None)
    if request is None or core.open.decided is not None:
        return
    index = core.open.context.index
    if index is None:
        raise InvariantViolation("an observer was given a signature")
    match request.message:
        case Proposal() as proposal:
            _send_proposal(core, proposal, index, signature)
        case Prepare() as prepare:
            _send_vote(core, SignedPrepare(prepare, index, signature))
        case Commit() as commit:
            _send_vote(core, SignedCommit(commit, index, signature))
        case RoundChange() as change:
            _send_vote(core, SignedRoundChange(change, index, signature))


def prepared_change(core: Core, change: SignedRoundChange) -> PreparedRoundChange | SignedRoundChange:
    """The round change with its q prepares, as its proposer wants it; alone when nothing was prepared."""
    message = change.message
    lock = core.record.lock
    if lock is None or (lock.round, lock.hash) != (message.prepared_round, message.prepared_hash) or not lock.prepares:
        return change
    return PreparedRoundChange(change, lock.prepares)


def _request(core: Core, message: SignedKind) -> SignRequest:
    context = core.open.context
    if context.index is None:
        raise InvariantViolation("an observer signs nothing")
    return SignRequest(context.epoch, message, context.key(context.index))


def _send_proposal(core: Core, message: Proposal, index: int, signature: bytes) -> None:
    height = core.open
    record = core.record.proposals.get(message.round)
    candidate = height.candidates.get(message.hash)
    if record is None or candidate is None:
        return  # adopted from an answer: we know that we signed it, not what we proposed
    accepted = height.accepted.setdefault(message.round, Accepted(message.round, message.hash, True, None))
    recent = accepted.recent
    signed = SignedProposal(message, index, signature, candidate.block, recent, record.round_changes, record.prepares)
    accepted.signed = signed
    height.tally.raise_highest(index, message.round)
    if height.own.proposal is None or height.own.proposal.message.round < message.round:
        height.own.proposal = signed
    if message.round >= height.round:
        core.emit(Broadcast(signed))


def _send_vote(core: Core, signed: Signed) -> None:
    height = core.open
    height.own.votes[type(signed), signed.message.round] = signed
    height.tally.add(signed, height.round)
    core.emit(Broadcast(signed))
    if isinstance(signed, SignedRoundChange):
        proposer = height.context.proposer(signed.message.round)
        prepared = prepared_change(core, signed)
        if isinstance(prepared, PreparedRoundChange) and proposer != height.context.index:
            core.emit(Send(proposer, prepared))
