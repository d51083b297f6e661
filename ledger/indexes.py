"""Rebuilding the derived indexes from rows: after a snapshot, or when ``doctor`` finds a difference (LEDGER §1).

``SOURCES`` says for each row type which entries a row makes; a test compares the result with the live indexes after
long random runs. Nothing of an index is ever taken from a peer. Entries of rows that grow with the number of members
are streamed: memory is bounded by ``CHUNK`` entries.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

from . import claims, governance
from .deadlines import deadline_key
from .members import ID_BYTES, IDENTITY_INDEX_BYTES
from .organisations import OrganisationState
from .plan_cycle import STAGE_KINDS
from .rows import (
    NONE,
    Ballot,
    Claim,
    Cohort,
    Collection,
    Contradiction,
    Draw,
    Fingerprint,
    Juror,
    Member,
    MemberKey,
    Organisation,
    Payment,
    Plan,
    PlanVersion,
    Proposal,
    Row,
    Settlement,
)
from .state import Index, StateReader, u32, u64
from .store import INDEXES, Batch, Reader, Store, index_key, prefix_stop

Entry = tuple[Index, bytes, bytes]
CHUNK: Final = 50_000
"""Most entries held before they are written."""

LISTS: Final = frozenset({Index.IDENTITY, Index.FINGERPRINT, Index.VERSION, Index.MEMBER_KEY_ROWS})
"""Indexes whose value is the concatenation of the entries of one key, ascending by id."""


def _organisation(row_id: int, row: Organisation) -> Iterator[Entry]:
    if row.state != OrganisationState.REMOVED:
        yield Index.ORGANISATION_KEY, row.key, u64(row_id)


def _plan(row_id: int, row: Plan) -> Iterator[Entry]:
    if not (row.closed or row.frozen):
        yield Index.DEADLINE, deadline_key(row.due_ms, STAGE_KINDS[row.stage], row_id), b""


def _version(row_id: int, row: PlanVersion) -> Iterator[Entry]:
    yield Index.VERSION, u32(row.plan), u64(row_id)


def _member(row_id: int, row: Member) -> Iterator[Entry]:
    key = u32(row.plan) + row.identity[:IDENTITY_INDEX_BYTES]
    yield Index.IDENTITY, key, row_id.to_bytes(ID_BYTES, "big")


def _cohort(row_id: int, row: Cohort) -> Iterator[Entry]:
    yield Index.COHORT, u32(row.plan, row.birth_month), u64(row_id)


def _settlement(row_id: int, row: Settlement) -> Iterator[Entry]:
    yield Index.SETTLEMENT, u32(row.plan, row.period), u64(row_id)


def _collection(row_id: int, row: Collection) -> Iterator[Entry]:
    if row.corrected_by == NONE:
        yield Index.COLLECTION, u32(row.plan, row.period) + u64(row.first), u64(row_id)


def _draw(row_id: int, row: Draw) -> Iterator[Entry]:
    if row.closed_height == 0:
        yield Index.OPEN_DRAW, u64(row_id), b""


def _payment(row_id: int, row: Payment) -> Iterator[Entry]:
    yield Index.REFERENCE, row.reference, u64(row_id)


def _member_key(row_id: int, row: MemberKey) -> Iterator[Entry]:
    yield Index.MEMBER_KEY, row.key, u64(row.member)
    yield Index.MEMBER_KEY_ROWS, u64(row.member), u64(row_id)


def _fingerprint(row_id: int, row: Fingerprint) -> Iterator[Entry]:
    yield Index.FINGERPRINT, row.fingerprint, u64(row_id)


def _juror(row_id: int, row: Juror) -> Iterator[Entry]:
    yield Index.JUROR, u64(row.member), u64(row_id)


def _ballot(row_id: int, row: Ballot) -> Iterator[Entry]:
    yield Index.BALLOT, u64(row.dispute, row.juror), u64(row_id)


def _contradiction(row_id: int, row: Contradiction) -> Iterator[Entry]:
    yield Index.CONTRADICTION, u64(row.seat), u64(row_id)  # ascending by id: the newest stays


SOURCES: Final[dict[type[Row], Callable[[int, Any], Iterator[Entry]]]] = {
    Organisation: _organisation,
    Plan: _plan,
    PlanVersion: _version,
    Member: _member,
    Cohort: _cohort,
    Claim: claims.entries,
    Settlement: _settlement,
    Collection: _collection,
    Draw: _draw,
    Payment: _payment,
    MemberKey: _member_key,
    Fingerprint: _fingerprint,
    Proposal: governance.entries,
    Juror: _juror,
    Ballot: _ballot,
    Contradiction: _contradiction,
}


def entries(reader: Reader) -> Iterator[Entry]:
    """Every index entry that the rows make; those of a list one by one, ascending by id."""
    state = StateReader(reader)
    for kind, source in SOURCES.items():
        for row_id, row in state.rows(kind):
            yield from source(row_id, row)


def rebuild(store: Store) -> int:
    """Replace all derived indexes by what the rows say; returns how many entries the rows made.

    Not atomic: the caller marks the store as incomplete before, and removes the mark after. Interrupted, do it again.
    """
    _clear(store)
    batch, count = Batch(), 0
    for index, key, value in entries(store):
        where = index_key(index.value, key)
        if index in LISTS:
            value = (batch.changes.get(where) or store.get(where) or b"") + value
        batch.put(where, value)
        count += 1
        if len(batch) >= CHUNK:
            store.write(batch)
            batch = Batch()
    store.write(batch)
    return count


def differences(reader: Reader) -> Iterator[tuple[Index | None, bytes, str]]:
    """(index, key, what) of each entry that the rows make and the store does not hold, or the other way round.

    Reads the whole index into memory: for tests and small stores; a large one is rebuilt instead.
    """
    expected: dict[bytes, bytes] = {}
    for index, key, value in entries(reader):
        where = index_key(index.value, key)
        expected[where] = expected.get(where, b"") + value if index in LISTS else value
    present = dict(reader.scan(INDEXES, prefix_stop(INDEXES)))
    for where in sorted(expected.keys() | present.keys()):
        if expected.get(where) != present.get(where):
            what = "missing" if where not in present else "unexpected" if where not in expected else "different"
            yield _name(where), where[len(INDEXES) + 1 :], what


def _clear(store: Store) -> None:
    batch = Batch()
    for key, _ in store.scan(INDEXES, prefix_stop(INDEXES)):
        batch.delete(key)
        if len(batch) >= CHUNK:
            store.write(batch)
            batch = Batch()
    store.write(batch)


def _name(where: bytes) -> Index | None:
    byte = where[len(INDEXES) : len(INDEXES) + 1]
    return next((index for index in Index if index.value == byte), None)
