"""``huzhu recover``: a consortium that lost its quorum begins a new epoch (CONSENSUS §6).

One operator drafts a record from the home of a survivor; the file goes from hand to hand, and each organisation signs
with its own key on its own machine; then every operator applies the same file. Keys never leave machines.

Rules of this file

* The head that is named must be the highest certified one among the survivors. *No program can know that*: the command
  says which head it names, and that acknowledged blocks that only lost machines held are gone.
* ``apply`` checks everything before it writes anything. A validator's signing record is told first, durably, in its
  signer's process if it has one: from then on nothing is signed in an older epoch. Then the database, in one batch;
  applying again mends a crash in between.
* Blocks above the named head are dropped only when the operator says so, after they were listed.
* The node is stopped meanwhile: the database's lock says so.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgspec

from consensus.records import RecoveredRecord
from ledger.blocks import RecoveryRecord, decode_body, header_hash
from ledger.codec import encode
from ledger.errors import OperatorError, PeerError
from ledger.organisations import OrganisationState
from ledger.recovery import Standing, same_record, set_fault, standing, with_signature
from ledger.rows import Organisation
from ledger.state import StateReader
from ledger.store import Batch, Overlay
from ledger.validity import HeightView, recovered_view
from ledger.votes import ValidatorEntry

from . import blockstore
from .blockstore import BlockReader
from .config import Config
from .files import Files
from .founding import read_signed_genesis
from .keys import load_node_keys
from .opening import DATABASE_DIRECTORY
from .resume import load_view, view_of
from .rollback import DroppedBlock, above, roll_back
from .signer.remote import RemoteSigner, open_remote
from .storage import LevelStore, open_store
from .votelog import VoteLog, open_log

KIND: Final = "huzhu recovery record"
VERSION: Final = 1
FILE_BYTES_MAX: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class NewSeat:
    """A seat with keys that it did not have before. ``seat`` is ``None`` for one that did not exist."""

    seat: int | None
    organisation: str
    """Its name; empty to keep the organisation of an existing seat."""
    validator_key: bytes
    beacon_key: bytes


@dataclass(frozen=True, slots=True)
class Judged:
    """What a home says of a record."""

    standing: Standing
    dropped: list[DroppedBlock]
    """Blocks of this home above the named head."""
    fault: str
    """Why it cannot be applied here; empty when it can (but for blocks to be dropped, and missing signatures)."""
    applied: bool
    """Whether it is in force here already."""


# ---- the file ------------------------------------------------------------------------------------------------------


def render(record: RecoveryRecord) -> str:
    """The text of a record's file: JSON that people can read and compare."""
    entries = [{name: _shown(getattr(entry, name)) for name in entry.__struct_fields__} for entry in record.validators]
    value = {
        "kind": KIND,
        "version": VERSION,
        "chain_id": record.chain_id.hex(),
        "epoch": record.epoch,
        "head_height": record.head_height,
        "head_hash": record.head_hash.hex(),
        "validators": entries,
        "signatures": [{"key": key.hex(), "signature": signature.hex()} for key, signature in record.signatures],
    }
    return json.dumps(value, indent=2) + "\n"


def parse(raw: bytes) -> RecoveryRecord:
    """The record of a file. Raises ``OperatorError`` RECOVERY_MALFORMED."""
    try:
        value = json.loads(raw[: FILE_BYTES_MAX + 1])
        if (value["kind"], value["version"]) != (KIND, VERSION):
            raise _malformed(f"it is {value['kind']!r}, version {value['version']!r}")
        record = msgspec.convert(
            (
                bytes.fromhex(value["chain_id"]),
                value["epoch"],
                value["head_height"],
                bytes.fromhex(value["head_hash"]),
                tuple(_entry(item) for item in value["validators"]),
                tuple((bytes.fromhex(item["key"]), bytes.fromhex(item["signature"])) for item in value["signatures"]),
            ),
            RecoveryRecord,
        )
    except (ValueError, KeyError, TypeError, msgspec.ValidationError) as error:
        raise _malformed(str(error) or type(error).__name__) from error
    fault = set_fault(record.validators)
    if fault is not None:
        raise _malformed(fault)
    return record


def _entry(item: Mapping[str, Any]) -> ValidatorEntry:
    names = ValidatorEntry.__struct_fields__
    if set(item) != set(names):
        raise ValueError(f"a validator has {', '.join(names)}")
    values = [item[name] if isinstance(item[name], int) else bytes.fromhex(item[name]) for name in names]
    return msgspec.convert(values, ValidatorEntry)


def _shown(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value


def _malformed(why: str) -> OperatorError:
    return OperatorError("RECOVERY_MALFORMED", "this is not a recovery record", why, "ask for the file again")


# ---- a stopped home ------------------------------------------------------------------------------------------------


@contextmanager
def _opened(config: Config) -> Iterator[tuple[LevelStore, HeightView]]:
    genesis = read_signed_genesis(config.genesis_path)
    store = open_store(config.data_path / DATABASE_DIRECTORY, create=False, chain_id=genesis.chain_id)
    try:
        view, _ = load_view(store, genesis)
        yield store, view
    finally:
        store.close()


def draft(config: Config, keep: Sequence[int], seats: Sequence[NewSeat]) -> RecoveryRecord:
    """A record, not signed yet, for the head of this home: the seats of ``keep`` as they are, and ``seats``.

    Raises ``OperatorError`` RECOVERY_IN_FORCE, UNKNOWN_SEAT, UNKNOWN_ORGANISATION, RECOVERY_MALFORMED.
    """
    with _opened(config) as (store, view):
        if view.recovery is not None:
            raise OperatorError(
                "RECOVERY_IN_FORCE",
                f"epoch {view.epoch} begins with the next block of this home already",
                "a record was applied here",
                "start the node",
                exit_code=1,
            )
        state, present = StateReader(store), {entry.seat: entry for entry in view.next_validators}
        if not keep and not seats:
            there = ", ".join(
                f"{at} {state.get(Organisation, e.organisation).name}" for at, e in sorted(present.items())
            )
            raise OperatorError(
                "RECOVERY_MALFORMED",
                "no seat is named, and the record holds all that go on",
                f"the seats of this home: {there}",
                "--keep SEAT for each whose machine is there, --seat for each that gets new keys",
            )
        named = {seat: _kept(present, seat) for seat in keep}
        free = view.seats
        for item in seats:
            seat = free if item.seat is None else item.seat
            free += item.seat is None
            organisation = _organisation(state, item.organisation, present.get(seat))
            row = state.get(Organisation, organisation)
            named[seat] = ValidatorEntry(seat, organisation, row.key, item.validator_key, item.beacon_key)
    entries = tuple(entry for _, entry in sorted(named.items()))
    fault = set_fault(entries)
    if fault is not None:
        raise OperatorError("RECOVERY_MALFORMED", "these seats are no validator set", fault, "name other seats")
    return RecoveryRecord(view.chain_id, view.epoch + 1, view.height, view.header_hash, entries, ())


def _kept(present: Mapping[int, ValidatorEntry], seat: int) -> ValidatorEntry:
    entry = present.get(seat)
    if entry is None:
        raise OperatorError("UNKNOWN_SEAT", f"there is no seat {seat}", f"there are {sorted(present)}", "name others")
    return entry


def _organisation(state: StateReader, name: str, present: ValidatorEntry | None) -> int:
    if not name and present is not None:
        return present.organisation
    for number, row in state.rows(Organisation):
        if row.name == name and row.state == OrganisationState.ACTIVE:
            return number
    raise OperatorError(
        "UNKNOWN_ORGANISATION", f"no active organisation is called {name!r}", "", "see `huzhu org list`"
    )


def sign(record: RecoveryRecord, seed: bytes) -> RecoveryRecord:
    """The record with the signature of an organisation key."""
    return with_signature(record, seed)


def judge(config: Config, record: RecoveryRecord) -> Judged:
    """What the home of a stopped node says of a record; nothing is changed."""
    with _opened(config) as (store, view):
        return _judge(store, view, record)


def _judge(store: LevelStore, view: HeightView, record: RecoveryRecord) -> Judged:
    blocks = BlockReader(store)
    announced, fault = _announced(blocks, view, record)
    found = Standing((), 0)
    if not fault:
        try:
            found = standing(record, announced)
        except PeerError as error:
            fault = error.detail
    applied, other = _in_force(blocks, view, record)
    fault = fault or other
    dropped = [] if fault or applied else above(store, record.head_height)
    return Judged(found, dropped, fault, applied)


def _in_force(blocks: BlockReader, view: HeightView, record: RecoveryRecord) -> tuple[bool, str]:
    """Whether the record's epoch has begun or will begin here by this very record; and why not by it."""
    begun = view.recovery
    header, raw = blocks.header(record.head_height + 1), blocks.body_raw(record.head_height + 1)
    if header is not None and raw is not None and header.epoch == record.epoch:
        begun = decode_body(raw).recovery
    if begun is None or begun.epoch != record.epoch:
        return False, ""
    return (True, "") if same_record(begun, record) else (False, f"epoch {record.epoch} begins here by another record")


def _announced(blocks: BlockReader, view: HeightView, record: RecoveryRecord) -> tuple[tuple[ValidatorEntry, ...], str]:
    """V(head + 1) as the named head announced it; and why the record is not about this home's chain."""
    if record.chain_id != view.chain_id:
        return (), "it is of another chain"
    raw, header = blocks.header_raw(record.head_height), blocks.header(record.head_height)
    if raw is None or header is None:
        return (), f"this home has no block {record.head_height} yet: its head is {view.height}"
    if header_hash(raw) != record.head_hash:
        return (), f"block {record.head_height} is another one here"
    if record.epoch != header.epoch + 1:
        return (), f"it is for epoch {record.epoch}, block {record.head_height} is of {header.epoch}"
    announced = blocks.validators(header.next_validators_hash)
    return (announced, "") if announced is not None else ((), "the validators of that height are not here any more")


def apply(config: Config, record: RecoveryRecord, *, drop: bool = False, files: Files | None = None) -> Judged:
    """Put the record in force in the home of a stopped node.

    Raises ``OperatorError``: RECOVERY_REFUSED, BLOCKS_WOULD_GO (with ``drop`` they go), TOO_DEEP, and what opening
    the parts raises.
    """
    with _opened(config) as (store, view):
        found = _judge(store, view, record)
        if found.fault or not found.standing.enough:
            why = found.fault or f"signed for {len(found.standing.signed)} seats, {found.standing.wanted} are needed"
            raise OperatorError(
                "RECOVERY_REFUSED", "the recovery record does not count here", why, "see `recover show`"
            )
        if found.applied:
            return found
        if found.dropped and not drop:
            listed = ", ".join(f"{block.height} {block.hash.hex()[:16]}" for block in found.dropped)
            raise OperatorError(
                "BLOCKS_WOULD_GO",
                f"{len(found.dropped)} blocks above the named head would be dropped",
                listed,
                "if all agree that they go: `huzhu recover apply --drop-blocks`",
                exit_code=1,
            )
        announced, _ = _announced(BlockReader(store), view, record)
        batch = roll_back(store, record.head_height)
        _check_there(config, store, batch, record)
        blockstore.put_recovery(batch, record)
        _tell_signing_record(config, store, RecoveredRecord(record, announced), files)
        store.write(batch)
        return replace(found, applied=True)


def _check_there(config: Config, store: LevelStore, batch: Batch, record: RecoveryRecord) -> None:
    """Every rule, on the state at the named head. Raises ``OperatorError`` RECOVERY_REFUSED."""
    there = Overlay(store)
    there.apply(batch)
    view, _ = view_of(there, read_signed_genesis(config.genesis_path))
    try:
        recovered_view(view, record)
    except PeerError as error:
        raise OperatorError("RECOVERY_REFUSED", "the record does not fit", error.detail, "draft another") from error


def _tell_signing_record(config: Config, store: LevelStore, record: RecoveredRecord, files: Files | None) -> None:
    """The validator's log holds the record, durably: this home's, or that of its signer, which must run."""
    chain_id, (_, known) = record.recovery.chain_id, view_of(store, read_signed_genesis(config.genesis_path))
    log: VoteLog | RemoteSigner
    if config.signer_path is not None:
        log, held = open_remote(config.signer_path, chain_id=chain_id, known=known)
    elif config.holds_validator_keys and load_node_keys(config.keys_path).validator is not None:
        log, decoded = open_log(config.data_path, chain_id=chain_id, known=known, files=files)
        held = tuple(decoded.records)
    else:
        return
    try:
        if encode(record) not in [encode(item) for item in held if isinstance(item, RecoveredRecord)]:
            log.append_now([record])
    finally:
        log.close()


def read_file(path: Path) -> RecoveryRecord:
    """The record in a file. Raises ``OperatorError`` RECOVERY_MALFORMED, RECOVERY_UNREADABLE."""
    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise OperatorError("RECOVERY_UNREADABLE", f"cannot read {path}", str(error), "check the path") from error
