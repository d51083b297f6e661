"""What makes a block invalid, rule by rule, each with its own code (DESIGN §2). A valid block is then *executed*; that
never makes it invalid: every other refusal is a failed receipt.

Three parties share the checks:

* here: the header against the ``HeightView`` of its parent, and the body against the header;
* the node: each transaction decodes and its signature verifies (``transactions.signed_digest``; its verifier pool does
  it once, on admission), and no id was committed by an earlier block of the validity window (it owns the seen ids);
* consensus: the creator's turn, and how far a *fresh* proposal's time may be from the validator's own clock.

``HeightView`` is everything a check needs, as values: ``view_at_genesis`` makes the first, applying a block the next.
Nothing here reads a store, but the small helpers that make the view.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from . import beacon
from .blocks import (
    Body,
    Evidence,
    Header,
    RecoveryRecord,
    certificate_hash,
    evidence_root,
    header_hash,
    txs_root,
    validators_hash,
)
from .clock import clock
from .codec import encode
from .deadlines import backlog_ms, next_due
from .errors import InvariantViolation, PeerError
from .evidence import Accused, SetSince, accused, check_items, sets_with
from .limits import BLOCK_BODY_BYTES_MAX, BLOCK_TRANSACTIONS_MAX, HEADER_BYTES_MAX, VALIDITY_WINDOW_MS
from .organisations import validator_rows, validator_set
from .params import ChainParams
from .proposers import eligible, order, skips
from .recovery import check_signed, place_fault, same_record
from .rows import Clock, Contradiction, Organisation, Proposal, Row, Upgrade, Validator
from .signing import verify
from .state import Index, State, StateReader
from .store import Reader
from .transactions import Transaction
from .upgrades import upgrade, version_at
from .votes import Certificate, ValidatorEntry, Verifies, certificate_fault

_HASH_FIELDS: Final = ("txs_root", "evidence_root", "parent_certificate_hash")


@dataclass(frozen=True, slots=True)
class HeightView:
    """The newest decided block and what its execution left behind: all that the next block is checked against."""

    chain_id: bytes
    epoch: int
    params: ChainParams
    height: int
    """Of the newest decided block, the parent of what is checked."""
    header: Header
    header_hash: bytes
    parent_beacon: bytes
    """Beacon of height - 1: by it and V(height) the proposers of ``height`` are known. At height 0 its own."""
    validators: tuple[ValidatorEntry, ...]
    """V(height)."""
    next_validators: tuple[ValidatorEntry, ...]
    """V(height + 1)."""
    after_next_validators: tuple[ValidatorEntry, ...]
    """V(height + 2), read from the rows after ``height``."""
    state_root: bytes
    receipts_root: bytes
    clock_offset_ms: int
    """In force for block height + 1."""
    eligible: tuple[ValidatorEntry, ...]
    """eligible(height + 1), ascending by seat."""
    next_due_ms: int | None
    """Ledger time of the earliest deadline."""
    backlog_ms: int | None
    """Ledger time at which more deadlines are due than one block may execute; ``None``: there are not so many."""
    certifying_due: bool
    """Whether this block holds a transaction or changed the state root: then the next one is due at once."""
    recent_sets: tuple[SetSince, ...] = ()
    """The validator sets that evidence in block height + 1 may name, ascending; the last is V(height + 1)."""
    accused: tuple[Accused, ...] = ()
    """Seats whose contradiction is recorded, after this block."""
    seat_rows: tuple[tuple[int, Validator], ...] = ()
    """Every seat, active or not, and its row after this block."""
    organisations: int = 0
    """Rows of organisations."""
    upgrade: Upgrade | None = None
    """The newest one decided, in force or ahead."""
    recovery: RecoveryRecord | None = None
    """The record by which block height + 1 begins a new epoch (``recovered_view``)."""

    @property
    def seats(self) -> int:
        """Rows of validators, active or not: the number that a new seat takes."""
        return len(self.seat_rows)

    @property
    def version(self) -> int:
        """Of the protocol, of block height + 1."""
        return version_at(self.upgrade, self.height + 1)

    def ledger_time(self, time_ms: int) -> int:
        """Ledger time of the next block, had it the consensus time ``time_ms``."""
        return time_ms + self.clock_offset_ms

    def proposers(self) -> tuple[ValidatorEntry, ...]:
        """The proposers of height + 1: that of round r is number r mod length."""
        return order(self.header.beacon, self.height + 1, self.eligible)

    def leaves_deadlines(self, time_ms: int) -> bool:
        """Whether a block of this consensus time cannot execute all due deadlines, so may carry no transactions."""
        return self.backlog_ms is not None and self.backlog_ms <= self.ledger_time(time_ms)


def view_at_genesis(
    reader: Reader, *, chain_id: bytes, params: ChainParams, header: Header, state_root: bytes
) -> HeightView:
    """The view at height 0, of a reader that holds ``genesis.initial_batch``."""
    raw = encode(header)
    validators = validator_set(StateReader(reader))
    return derived(
        reader,
        HeightView(
            chain_id=chain_id,
            epoch=header.epoch,
            params=params,
            height=0,
            header=header,
            header_hash=header_hash(raw),
            parent_beacon=header.beacon,
            validators=validators,
            next_validators=validators,
            after_next_validators=validators,
            state_root=state_root,
            receipts_root=txs_root([]),
            clock_offset_ms=0,
            eligible=(),
            next_due_ms=None,
            backlog_ms=None,
            certifying_due=False,
            recent_sets=(SetSince(0, header.epoch, validators),),
        ),
    )


def view_after(
    view: HeightView,
    state: State,
    *,
    header: Header,
    header_raw: bytes,
    state_root: bytes,
    receipts_root: bytes,
) -> HeightView:
    """The view after a block on top of ``view``; ``state`` is the one after it, its ``root`` was asked."""
    if header.height != view.height + 1:
        raise InvariantViolation(f"block {header.height} on top of {view.height}")
    following = view.after_next_validators
    return replace(
        view,
        epoch=header.epoch,
        height=header.height,
        header=header,
        header_hash=header_hash(header_raw),
        parent_beacon=view.header.beacon,
        validators=view.next_validators,
        next_validators=following,
        state_root=state_root,
        receipts_root=receipts_root,
        certifying_due=header.tx_count > 0 or state_root != view.state_root,
        recovery=None,
        recent_sets=sets_with(view.recent_sets, SetSince(header.height + 1, header.epoch, following)),
        **_read_again(view, state, header.height + 1, following),
    )


def restored_view(
    reader: Reader,
    *,
    chain_id: bytes,
    params: ChainParams,
    header: Header,
    header_raw: bytes,
    parent_header: Header,
    validators: tuple[ValidatorEntry, ...],
    next_validators: tuple[ValidatorEntry, ...],
    state_root: bytes,
    receipts_root: bytes,
    recent_sets: tuple[SetSince, ...],
) -> HeightView:
    """The view at a stored head above 0, at a start: ``reader`` is the store.

    ``validators`` and ``next_validators`` are V(height) and V(height + 1) as the node kept them; ``header`` binds both.
    ``recent_sets`` are those of the headers of the last ``evidence.AGE_BLOCKS_MAX`` heights, folded by ``sets_with``.
    Raises ``InvariantViolation`` when they are not those.
    """
    if (validators_hash(validators), validators_hash(next_validators)) != (
        header.validators_hash,
        header.next_validators_hash,
    ):
        raise InvariantViolation(f"the stored validator sets are not those of header {header.height}")
    return derived(
        reader,
        HeightView(
            chain_id=chain_id,
            epoch=header.epoch,
            params=params,
            height=header.height,
            header=header,
            header_hash=header_hash(header_raw),
            parent_beacon=parent_header.beacon,
            validators=validators,
            next_validators=next_validators,
            after_next_validators=validator_set(StateReader(reader)),
            state_root=state_root,
            receipts_root=receipts_root,
            clock_offset_ms=0,
            eligible=(),
            next_due_ms=None,
            backlog_ms=None,
            certifying_due=header.tx_count > 0 or state_root != header.state_root,
            recent_sets=sets_with(recent_sets, SetSince(header.height + 1, header.epoch, next_validators)),
        ),
    )


def derived(reader: Reader, view: HeightView) -> HeightView:
    """The view with everything that is read from the state after ``view.height`` read afresh."""
    state = StateReader(reader)
    found: dict[str, Any] = {}
    for _, read in _FACTS:
        found |= read(state)
    rows = dict(found["seat_rows"])
    return replace(view, **found, eligible=eligible(view.next_validators, skips(rows), view.height + 1))


def _read_again(view: HeightView, state: State, height: int, validators: tuple[ValidatorEntry, ...]) -> dict[str, Any]:
    """What is read from the state after a block, as far as the block may have changed it; ``view`` is the one before.

    ``validators`` are V(``height``). Of most blocks nothing but who is eligible has to be looked at; a recovery's view
    is not the state's, so there everything is.
    """
    found: dict[str, Any] = {}
    for sources, read in _FACTS:
        if state.touched(*sources) or view.recovery is not None:
            found |= read(state)
    rows = dict(found.get("seat_rows", view.seat_rows))
    found["eligible"] = eligible(validators, skips(rows), height)
    return found


_FACTS: Final[tuple[tuple[tuple[type[Row] | Index, ...], Callable[[StateReader], dict[str, Any]]], ...]] = (
    ((Validator, Organisation), lambda state: {"after_next_validators": validator_set(state)}),
    ((Validator,), lambda state: {"seat_rows": tuple(validator_rows(state).items())}),
    ((Organisation,), lambda state: {"organisations": state.length(Organisation)}),
    ((Clock,), lambda state: {"clock_offset_ms": clock(state).offset_ms}),
    ((Index.DEADLINE,), lambda state: {"next_due_ms": next_due(state), "backlog_ms": backlog_ms(state)}),
    ((Index.CONTRADICTION, Contradiction, Proposal), lambda state: {"accused": accused(state)}),
    ((Upgrade,), lambda state: {"upgrade": upgrade(state)}),
)
"""Fields of a view that are read from the state: from which rows and indexes, and how."""


# ---- a new epoch ---------------------------------------------------------------------------------------------------


def recovered_view(view: HeightView, record: RecoveryRecord) -> HeightView:
    """The view on which block height + 1 begins the record's epoch (CONSENSUS §6). Raises ``PeerError`` BAD_RECOVERY.

    Applied twice, it changes nothing.
    """
    if view.recovery is not None:
        if same_record(view.recovery, record):
            return view
        raise PeerError("BAD_RECOVERY", "another record is in force")
    if record.epoch != view.epoch + 1:
        raise PeerError("BAD_RECOVERY", f"for epoch {record.epoch}, ours is {view.epoch}")
    if (record.head_height, record.head_hash) != (view.height, view.header_hash):
        raise PeerError("BAD_RECOVERY", f"it names block {record.head_height}, our head is block {view.height}")
    check_signed(record, view.chain_id, view.next_validators)
    fault = place_fault(record, view.seats, view.organisations)
    if fault is not None:
        raise PeerError("BAD_RECOVERY", fault)
    first = view.height + 1
    return replace(
        view,
        epoch=record.epoch,
        next_validators=record.validators,
        after_next_validators=record.validators,
        eligible=record.validators,
        recent_sets=sets_with(view.recent_sets, SetSince(first, record.epoch, record.validators)),
        recovery=record,
    )


def view_for(view: HeightView, recovery: RecoveryRecord | None) -> HeightView:
    """The view to check a block on whose body holds ``recovery``. Raises ``PeerError`` BAD_RECOVERY."""
    return view if recovery is None else recovered_view(view, recovery)


# ---- the header ----------------------------------------------------------------------------------------------------


def check_header(view: HeightView, header: Header, header_raw: bytes) -> None:
    """Check every field of a header that follows ``view`` without its body. Raises ``PeerError``."""
    if len(header_raw) > HEADER_BYTES_MAX or encode(header) != header_raw:
        raise PeerError("HEADER_MALFORMED", "not canonical, or too long")
    if any(len(getattr(header, field)) != 32 for field in _HASH_FIELDS):
        raise PeerError("HEADER_MALFORMED", "a hash has 32 bytes")
    _require(header.version == view.version, "WRONG_PROTOCOL_VERSION", header.version, view.version)
    _require(header.epoch == view.epoch, "WRONG_EPOCH", header.epoch, view.epoch)
    _require(header.height == view.height + 1, "WRONG_HEIGHT", header.height, view.height + 1)
    _require(header.parent == view.header_hash, "WRONG_PARENT", header.parent, view.header_hash)
    _require(header.time_ms > view.header.time_ms, "TIME_NOT_ABOVE_PARENT", header.time_ms, view.header.time_ms)
    _require(0 <= header.tx_count <= BLOCK_TRANSACTIONS_MAX, "WRONG_TX_COUNT", header.tx_count, BLOCK_TRANSACTIONS_MAX)
    own, following = validators_hash(view.next_validators), validators_hash(view.after_next_validators)
    _require(header.validators_hash == own, "WRONG_VALIDATORS_HASH", header.validators_hash, own)
    _require(
        header.next_validators_hash == following, "WRONG_NEXT_VALIDATORS_HASH", header.next_validators_hash, following
    )
    _require(header.params_hash == view.params.hash(), "WRONG_PARAMS_HASH", header.params_hash, view.params.hash())
    _require(header.state_root == view.state_root, "WRONG_STATE_ROOT", header.state_root, view.state_root)
    _require(
        header.receipts_root == view.receipts_root, "WRONG_RECEIPTS_ROOT", header.receipts_root, view.receipts_root
    )
    _check_creator(view, header)


def _check_creator(view: HeightView, header: Header) -> None:
    creator = next((entry for entry in view.next_validators if entry.validator_key == header.creator), None)
    if creator is None:
        raise PeerError("UNKNOWN_CREATOR", header.creator.hex())
    alpha = beacon.alpha(view.header.beacon, header.height)
    output = beacon.verify(creator.beacon_key, alpha, header.beacon_proof)
    if output is None or output != header.beacon:
        raise PeerError("BAD_BEACON", f"of seat {creator.seat}")


def _require(holds: bool, code: str, theirs: object, ours: object) -> None:
    if not holds:
        raise PeerError(code, f"theirs {_shown(theirs)}, ours {_shown(ours)}")


def _shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


# ---- the body ------------------------------------------------------------------------------------------------------


def check_body(
    view: HeightView,
    header: Header,
    body: Body,
    transactions: Sequence[tuple[bytes, Transaction]],
    *,
    body_bytes: int,
    verifies: Verifies = verify,
) -> None:
    """Check a body against its checked header. Raises ``PeerError``.

    ``transactions`` are the (id, decoded) of ``body.transactions`` in order, with their signatures verified by the
    caller, who also checks ids against those committed in the validity window; ``body_bytes`` is the encoded size.
    ``verifies``: asked for each seal of the parent's certificate, which by default is verified here.
    """
    if len(transactions) != len(body.transactions):
        raise InvariantViolation("the caller did not decode every transaction of the body")
    if body_bytes > BLOCK_BODY_BYTES_MAX:
        raise PeerError("BODY_TOO_LARGE", f"{body_bytes} bytes, at most {BLOCK_BODY_BYTES_MAX}")
    if view.recovery is None and body.recovery is not None:
        raise PeerError("UNEXPECTED_RECOVERY")
    if view.recovery is not None and (body.recovery is None or not same_record(body.recovery, view.recovery)):
        raise PeerError("MISSING_RECOVERY")
    check_items(view.recent_sets, view.accused, view.chain_id, header.height, body.evidence)
    if header.evidence_root != evidence_root(body.evidence):
        raise PeerError("WRONG_EVIDENCE_ROOT")
    check_transactions(view, header, transactions)
    check_parent_certificate(view, header, body.parent_certificate, verifies)


def check_transactions(view: HeightView, header: Header, transactions: Sequence[tuple[bytes, Transaction]]) -> None:
    """Count, root, duplicates, validity window, and none at all while due deadlines are left behind."""
    ids = [transaction_id for transaction_id, _ in transactions]
    _require(header.tx_count == len(ids), "WRONG_TX_COUNT", header.tx_count, len(ids))
    if header.txs_root != txs_root(ids):
        raise PeerError("WRONG_TXS_ROOT")
    if len(set(ids)) != len(ids):
        raise PeerError("DUPLICATE_TRANSACTION")
    if ids and view.leaves_deadlines(header.time_ms):
        raise PeerError("TRANSACTIONS_BEFORE_DEADLINES", f"{len(ids)} transactions")
    for transaction_id, transaction in transactions:
        if transaction.valid_until_ms < header.time_ms:
            raise PeerError("TRANSACTION_EXPIRED", transaction_id.hex())
        if transaction.valid_until_ms > header.time_ms + VALIDITY_WINDOW_MS:
            raise PeerError("TRANSACTION_NOT_YET_VALID", transaction_id.hex())


def check_parent_certificate(
    view: HeightView, header: Header, certificate: Certificate, verifies: Verifies = verify
) -> None:
    """Any valid certificate of the parent is accepted; in a body it becomes the canonical one."""
    if certificate.height != view.height or certificate.block_hash != view.header_hash:
        raise PeerError("BAD_PARENT_CERTIFICATE", f"of height {certificate.height}, the parent's is {view.height}")
    if header.parent_certificate_hash != certificate_hash(certificate):
        raise PeerError("WRONG_CERTIFICATE_HASH")
    fault = certificate_fault(certificate, view.validators, view.chain_id, view.header.epoch, verifies)
    if fault is not None:
        raise PeerError("BAD_PARENT_CERTIFICATE", fault)


# ---- making one ----------------------------------------------------------------------------------------------------


def assemble_header(
    view: HeightView,
    *,
    time_ms: int,
    transaction_ids: Sequence[bytes],
    creator: bytes,
    beacon_output: bytes,
    beacon_proof: bytes,
    parent_certificate: Certificate,
    evidence: tuple[Evidence, ...] = (),
) -> Header:
    """The header of a fresh block on top of ``view``; ``creator`` is a validator key of V(height + 1).

    ``beacon_proof`` = ``beacon.prove(seed, beacon.alpha(view.header.beacon, view.height + 1))``; ``beacon_output`` is
    its ``beacon.proof_to_hash``.
    """
    return Header(
        version=view.version,
        epoch=view.epoch,
        height=view.height + 1,
        time_ms=time_ms,
        parent=view.header_hash,
        creator=creator,
        txs_root=txs_root(list(transaction_ids)),
        tx_count=len(transaction_ids),
        evidence_root=evidence_root(evidence),
        validators_hash=validators_hash(view.next_validators),
        next_validators_hash=validators_hash(view.after_next_validators),
        params_hash=view.params.hash(),
        parent_certificate_hash=certificate_hash(parent_certificate),
        state_root=view.state_root,
        receipts_root=view.receipts_root,
        beacon=beacon_output,
        beacon_proof=beacon_proof,
    )
