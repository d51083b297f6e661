"""Proposing: a fresh block when one is due, or the highest prepared value (CONSENSUS §2)."""

from ledger.votes import Prepare, Proposal

from .candidates import Candidate
from .effects import BuildBlock
from .events import Verdict
from .justify import choose
from .messages import SignedPrepare, SignedRoundChange
from .own import body_records, persist
from .quorum import quorum
from .records import ProposalRecord, Record, VoteRecord
from .state import Accepted, Building, Core

Usable = dict[tuple[int, bytes], tuple[SignedPrepare, ...]]


def try_propose(core: Core) -> None:
    """If we lead the current round and have not proposed in it: propose, or ask for a block to propose."""
    height = core.open
    round = height.round
    if height.context.proposer(round) != height.context.index or core.record.signed(Proposal, round) is not None:
        return
    if round in height.accepted or (height.building is not None and height.building.round == round):
        return
    if round == 0:
        if height.due or height.pending or height.certify_over:
            _build(core, ())
        return
    chosen = choose(height.context, changes_of(core), usable_prepares(core))
    if chosen is None:
        return
    changes, prepares = chosen
    if not prepares:
        _build(core, changes)
        return
    candidate = height.candidates.get(prepares[0].message.hash)
    if candidate is not None:
        propose(core, candidate, changes, prepares, recent=())


def propose(
    core: Core,
    candidate: Candidate,
    changes: tuple[SignedRoundChange, ...],
    prepares: tuple[SignedPrepare, ...],
    recent: tuple[bytes, ...],
) -> None:
    """Make the proposal, its justification and the body durable, with our Prepare if we know the block to be valid."""
    height = core.open
    context, round, hash = height.context, height.round, candidate.hash
    height.accepted[round] = Accepted(round, hash, not prepares, None, recent)
    records: list[Record] = body_records(core, candidate)
    records.append(ProposalRecord(context.epoch, Proposal(context.height, round, hash), changes, prepares))
    welcome = (Verdict.VALID, Verdict.STALE) if prepares else (Verdict.VALID,)
    if candidate.verdict in welcome:
        records.append(VoteRecord(context.epoch, Prepare(context.height, round, hash)))
    persist(core, records)


def changes_of(core: Core) -> list[SignedRoundChange]:
    """Every validator's round change that targets exactly our current round."""
    height = core.open
    return [change for change in height.tally.changes.values() if change.message.round == height.round]


def usable_prepares(core: Core) -> Usable:
    """The values prepared, of the round changes for our round, whose q prepares *and body* are here."""
    height = core.open
    usable: Usable = {}
    for change in changes_of(core):
        round, hash = change.message.prepared_round, change.message.prepared_hash
        candidate = height.candidates.get(hash) if round >= 0 else None
        if candidate is None or not candidate.complete or (round, hash) in usable:
            continue
        prepares = core.prepares_of(round, hash)
        if len(prepares) >= quorum(len(height.context.validators)):
            usable[round, hash] = prepares
    return usable


def _build(core: Core, changes: tuple[SignedRoundChange, ...]) -> None:
    height = core.open
    height.building = Building(height.round, changes)
    core.emit(BuildBlock(height.context.height, height.round))
