"""Evidence in blocks: two messages of one validator that no honest one signs both (CONSENSUS §4).

Rules of this file
- Two kinds: two different messages for one (height, round, kind of message); and ``Commit(h, m, X)`` with
  ``RoundChange(h, r > m)`` whose prepared round is below m. The second one breaks the promise without which
  the network forks (CONSENSUS §1).
- A block holds evidence only of validators, by the keys they had in V(h), of the last ``AGE_BLOCKS_MAX`` heights; the
  pair stands in canonical order, so that one contradiction has one form.
- One open record a validator, and none for a height at or below that of his newest one: whoever contradicts himself a
  thousand times fills one row. So the key (validator, height, kind) is never recorded twice.
- It records and asks: the row comes with a proposal to remove the seat, which the organisations vote on or let expire.
  Nobody is removed automatically. While the proposal is undecided the record is open.

V(h) of past heights are values of the view (``SetSince``), never read from the state: the rows know the present only.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

from .actions import RemoveValidator
from .blocks import Evidence, SignedVote
from .codec import digest, encode
from .errors import InvariantViolation, PeerError
from .limits import EVIDENCE_BYTES_MAX, EVIDENCE_ITEMS_MAX
from .proposals import UNDECIDED, open_proposal
from .rows import NONE, Contradiction, Validator
from .rows import Proposal as ProposalRow
from .signing import verify
from .state import Index, State, StateReader, u64
from .votes import Commit, Prepare, Proposal, RoundChange, ValidatorEntry

AGE_BLOCKS_MAX: Final = 1_000
"""Evidence of a height so far below its block, or further, is void. Nodes find it while the height is open."""


class Kind(IntEnum):
    """What was contradicted. Numbers are in rows: append only."""

    PROPOSAL = 1
    PREPARE = 2
    COMMIT = 3
    ROUND_CHANGE = 4
    ABANDONED = 5
    """A Commit in a round that a RoundChange had promised to abandon without it."""


_TWICE: Final[dict[type, Kind]] = {
    Proposal: Kind.PROPOSAL,
    Prepare: Kind.PREPARE,
    Commit: Kind.COMMIT,
    RoundChange: Kind.ROUND_CHANGE,
}


# ---- what a view knows of the past ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SetSince:
    """From ``height`` on, up to the next of its kind, V is ``validators`` and votes are signed for ``epoch``."""

    height: int
    epoch: int
    validators: tuple[ValidatorEntry, ...]


@dataclass(frozen=True, slots=True)
class Accused:
    """A seat with a record: of which height the newest is, and whether it is open."""

    seat: int
    height: int
    open: bool


def sets_with(known: Sequence[SetSince], newest: SetSince) -> tuple[SetSince, ...]:
    """``known`` (ascending) and V(newest.height), without what no evidence in block ``newest.height`` can name.

    What ``known`` says of ``newest.height`` and above is replaced: a recovery has decided otherwise.
    """
    sets = [item for item in known if item.height < newest.height]
    if not sets or (sets[-1].epoch, sets[-1].validators) != (newest.epoch, newest.validators):
        sets.append(newest)
    oldest = max(0, newest.height - AGE_BLOCKS_MAX + 1)
    while len(sets) > 1 and sets[1].height <= oldest:
        del sets[0]
    sets[0] = replace(sets[0], height=max(sets[0].height, oldest))
    return tuple(sets)


def accused(state: StateReader) -> tuple[Accused, ...]:
    """Every seat with a record, ascending."""
    found = []
    for key, raw in state.index_scan(Index.CONTRADICTION):
        row = state.get(Contradiction, int.from_bytes(raw, "big"))
        is_open = row.proposal != NONE and state.get(ProposalRow, row.proposal).state in UNDECIDED
        found.append(Accused(int.from_bytes(key, "big"), row.height, is_open))
    return tuple(found)


# ---- checking ------------------------------------------------------------------------------------------------------


def kind_of(evidence: Evidence) -> Kind | None:
    """What the two messages contradict; ``None`` when an honest validator may have signed both."""
    one, other = evidence.first.message, evidence.second.message
    if one == other or one.height != other.height:
        return None
    if type(one) is type(other):
        return _TWICE[type(one)] if one.round == other.round else None
    return Kind.ABANDONED if _denies(one, other) or _denies(other, one) else None


def _denies(change: object, commit: object) -> bool:
    if not isinstance(change, RoundChange) or not isinstance(commit, Commit):
        return False
    return change.round > commit.round > change.prepared_round


def signer_of(sets: Sequence[SetSince], evidence: Evidence) -> ValidatorEntry:
    """Who signed both. Raises ``PeerError`` EVIDENCE_TOO_OLD, BAD_EVIDENCE."""
    height, index = evidence.first.message.height, evidence.first.index
    if not sets or height < sets[0].height:
        raise PeerError("EVIDENCE_TOO_OLD", f"of height {height}")
    then = next(item for item in reversed(sets) if item.height <= height)
    if evidence.second.index != index or not 0 <= index < len(then.validators):
        raise PeerError("BAD_EVIDENCE", "not two messages of one validator")
    if evidence.epoch != then.epoch:
        raise PeerError("BAD_EVIDENCE", f"of epoch {evidence.epoch}, that height was of {then.epoch}")
    return then.validators[index]


def check_item(
    sets: Sequence[SetSince], accused: Sequence[Accused], chain_id: bytes, height: int, evidence: Evidence
) -> ValidatorEntry:
    """Check one piece for a block of ``height``; who signed it. ``sets`` reach up to V(height).

    Raises ``PeerError``: BAD_EVIDENCE, EVIDENCE_TOO_OLD, EVIDENCE_KNOWN.
    """
    if len(encode(evidence)) > EVIDENCE_BYTES_MAX:
        raise PeerError("BAD_EVIDENCE", f"larger than {EVIDENCE_BYTES_MAX} bytes")
    if kind_of(evidence) is None:
        raise PeerError("BAD_EVIDENCE", "the two messages do not contradict each other")
    if not 1 <= evidence.first.message.height <= height:
        raise PeerError("BAD_EVIDENCE", f"of height {evidence.first.message.height}, in block {height}")
    if encode(evidence.first) >= encode(evidence.second):
        raise PeerError("BAD_EVIDENCE", "the pair is not in canonical order")
    signer = signer_of(sets, evidence)
    known = next((item for item in accused if item.seat == signer.seat), None)
    if known is not None and (known.open or known.height >= evidence.first.message.height):
        raise PeerError("EVIDENCE_KNOWN", f"seat {signer.seat}")
    for vote in _votes(evidence):
        message = vote.message.signing_digest(chain_id, evidence.epoch)
        if not verify(signer.validator_key, message, vote.signature):
            raise PeerError("BAD_EVIDENCE", "a signature does not verify")
    return signer


def check_items(
    sets: Sequence[SetSince],
    accused: Sequence[Accused],
    chain_id: bytes,
    height: int,
    items: Sequence[Evidence],
) -> None:
    """Check the evidence of a body. Raises ``PeerError`` like ``check_item``, and TOO_MUCH_EVIDENCE."""
    if len(items) > EVIDENCE_ITEMS_MAX:
        raise PeerError("TOO_MUCH_EVIDENCE", f"{len(items)} items, at most {EVIDENCE_ITEMS_MAX}")
    seats: set[int] = set()
    for item in items:
        seat = check_item(sets, accused, chain_id, height, item).seat
        if seat in seats:
            raise PeerError("EVIDENCE_KNOWN", f"seat {seat} twice in one block")
        seats.add(seat)


def _votes(evidence: Evidence) -> Iterator[SignedVote]:
    yield evidence.first
    yield evidence.second


# ---- recording -----------------------------------------------------------------------------------------------------


def record(state: State, sets: Sequence[SetSince], items: Sequence[Evidence]) -> None:
    """At the end of the block that holds it: one row and one question to the organisations for each piece."""
    for item in items:
        signer, kind = signer_of(sets, item), kind_of(item)
        if kind is None:
            raise InvariantViolation("checked evidence contradicts nothing")
        proposal = NONE
        if state.get(Validator, signer.seat).active:
            action = RemoveValidator(signer.seat, forced=False)
            proposal, _ = open_proposal(state, action, NONE, state.block.ledger_time_ms)
        row = Contradiction(
            seat=signer.seat,
            validator_key=signer.validator_key,
            epoch=item.epoch,
            height=item.first.message.height,
            kind=int(kind),
            recorded_height=state.block.height,
            evidence_hash=digest(encode(item)),
            proposal=proposal,
        )
        state.index_put(Index.CONTRADICTION, u64(signer.seat), state.append(row))
