"""Collecting a settled period: ranges with failures, corrections, confirmations (LEDGER §8).

Rules of this file
- A debit is due + arrears, all or nothing. The platform reports disjoint id ranges; only the failures touch member
  rows.
- A range is refused whole when one of its failures was not chargeable or owes nothing (he paid by single contribution).
- A correction takes the old failures back, exactly, before it applies its own; it names the range it replaces.
- What counts at the close is what is in the rows then: ``expected = DUE + ARREARS - Σ (due + arrears) of failures``. A
  single contribution (``contributions``) lowers DUE or ARREARS itself, so nobody is counted twice.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from . import journal
from .bills import chargeable
from .errors import TransactionRejected
from .limits import BATCH_ITEMS_MAX
from .plans import STAGE_CLOSE, need_plan, open_settled
from .references import PaymentKind, use
from .rows import NONE, Collection, Member, Plan, Settlement
from .standing import Changes
from .state import Index, State, StateReader, u32, u64
from .transactions import Collect, ConfirmCollection

# ---- ranges --------------------------------------------------------------------------------------------------------


def collect(state: State, body: Collect, reporter: int) -> tuple[int, ...]:
    """A reported range of the open period; detail: (collection id, failures, Σ (due + arrears) of the failures).

    Raises ``TransactionRejected``: UNKNOWN_PLAN, UNKNOWN_PERIOD, PERIOD_NOT_SETTLED, PERIOD_CLOSED, NOTHING_OWED (the
    period charges nobody), BATCH_TOO_LARGE, BAD_RANGE, RANGE_OVERLAP, UNKNOWN_COLLECTION, COLLECTION_REPLACED,
    BAD_CORRECTION, NOT_CHARGEABLE.
    """
    plan = need_plan(state, body.plan)
    open_settled(plan, body.period)
    settlement = state.get(Settlement, plan.settlement)
    if settlement.charged_fen == 0:
        raise TransactionRejected("NOTHING_OWED", f"period {body.period}")
    if not 0 <= body.first <= body.last < state.length(Member):
        raise TransactionRejected("BAD_RANGE", f"{body.first} to {body.last}")
    failed = failed_ids(body.first, body.last, body.failures)
    replaced = _to_replace(state, body, reporter)
    if replaced is None:
        _check_disjoint(state, body)
    rows = _Rows(state, Changes(state, body.plan, plan))
    if replaced is not None:
        rows.take_back(failed_ids(replaced.first, replaced.last, replaced.failures))
    failed_fen = rows.fail(failed)
    rows.store()
    collection_id = state.append(
        Collection(
            plan=body.plan,
            period=body.period,
            reporter=reporter,
            first=body.first,
            last=body.last,
            failures=body.failures,
            failed_fen=failed_fen,
            corrected_by=NONE,
            confirmed_fen=0,
        )
    )
    if replaced is not None:
        state.put(body.corrects - 1, replace(replaced, corrected_by=collection_id))
    state.index_put(Index.COLLECTION, u32(body.plan, body.period) + u64(body.first), collection_id)
    return collection_id, len(failed), failed_fen


def failed_ids(first: int, last: int, differences: Sequence[int]) -> list[int]:
    """The member ids of a range's failures. Raises ``TransactionRejected``: BATCH_TOO_LARGE, BAD_RANGE."""
    if len(differences) > BATCH_ITEMS_MAX:
        raise TransactionRejected("BATCH_TOO_LARGE", f"{len(differences)} failures, at most {BATCH_ITEMS_MAX}")
    ids: list[int] = []
    position = first
    for number, difference in enumerate(differences):
        position += difference
        if difference < (1 if number else 0) or position > last:
            raise TransactionRejected("BAD_RANGE", f"failure {number} is not above the one before it, or not in range")
        ids.append(position)
    return ids


def differences_of(first: int, ids: Sequence[int]) -> tuple[int, ...]:
    """The failures field of a range that begins at ``first``; ``ids`` ascending. Inverse of ``failed_ids``."""
    return tuple(later - earlier for earlier, later in zip((first, *ids), ids, strict=False))


class _Rows:
    """The member rows a range changes: each read once, changed in memory, stored once."""

    def __init__(self, state: State, changes: Changes) -> None:
        self._state = state
        self._changes = changes
        self._before: dict[int, Member] = {}
        self._now: dict[int, Member] = {}

    def take_back(self, ids: Sequence[int]) -> None:
        for member_id in ids:
            self._now[member_id] = self._changes.lift(self._read(member_id))

    def fail(self, ids: Sequence[int]) -> int:
        lapse_fails = self._changes.lapse_fails()
        self._state.expect(Member, ids)
        total = 0
        for member_id in ids:
            after = self._fail(member_id, lapse_fails)
            self._now[member_id] = after
            total += after.arrears_fen
        return total

    def _fail(self, member_id: int, lapse_fails: int) -> Member:
        plan = self._changes.plan
        member = self._read(member_id)
        if member.plan != self._changes.plan_id or not chargeable(member, plan.period):
            raise TransactionRejected("NOT_CHARGEABLE", f"member {member_id} does not share period {plan.period}")
        after = self._changes.fail(member, lapse_fails)
        if after.arrears_fen == 0:
            raise TransactionRejected("NOT_CHARGEABLE", f"member {member_id} owes nothing")
        return after

    def store(self) -> None:
        for member_id, member in self._now.items():
            self._changes.put(member_id, self._before[member_id], member)
        self._changes.flush()

    def _read(self, member_id: int) -> Member:
        now = self._now.get(member_id)
        if now is None:
            now = self._now[member_id] = self._before[member_id] = self._state.get(Member, member_id)
        return now


def _to_replace(state: StateReader, body: Collect, reporter: int) -> Collection | None:
    if body.corrects == 0:
        return None
    replaced = state.need(Collection, body.corrects - 1, "UNKNOWN_COLLECTION")
    if replaced.corrected_by != NONE:
        raise TransactionRejected("COLLECTION_REPLACED", f"by {replaced.corrected_by}")
    theirs = (replaced.plan, replaced.period, replaced.reporter, replaced.first, replaced.last)
    if theirs != (body.plan, body.period, reporter, body.first, body.last):
        raise TransactionRejected("BAD_CORRECTION", f"collection {body.corrects - 1}")
    return replaced


def _check_disjoint(state: StateReader, body: Collect) -> None:
    """Ranges of a period are disjoint, so only the last one that begins at or below ``body.last`` can overlap."""
    head = Index.COLLECTION.prefix + u32(body.plan, body.period)
    for _, raw_id in state.reader.scan(head + u64(0), head + u64(body.last + 1), reverse=True):
        other = state.get(Collection, int.from_bytes(raw_id, "big"))
        if other.last >= body.first:
            raise TransactionRejected("RANGE_OVERLAP", f"{other.first} to {other.last} was reported")
        return


def confirm(state: State, body: ConfirmCollection) -> tuple[int, ...]:
    """The bank confirms a range's money into CLEARING, once a collection; detail: (fen confirmed for the period,).

    Raises ``TransactionRejected``: UNKNOWN_COLLECTION, COLLECTION_REPLACED, PERIOD_CLOSED, ALREADY_CONFIRMED,
    BAD_FIELD, DUPLICATE_REFERENCE. Money for a closed period comes as the sponsor's payment: he owes it since the
    close.
    """
    collection = state.need(Collection, body.collection, "UNKNOWN_COLLECTION")
    if collection.corrected_by != NONE:
        raise TransactionRejected("COLLECTION_REPLACED", f"by {collection.corrected_by}")
    plan = state.get(Plan, collection.plan)
    if collection.period != plan.period or plan.stage != STAGE_CLOSE:
        raise TransactionRejected("PERIOD_CLOSED", f"period {collection.period}")
    if collection.confirmed_fen:
        raise TransactionRejected("ALREADY_CONFIRMED", f"collection {body.collection}")
    if body.amount_fen <= 0:
        raise TransactionRejected("BAD_FIELD", f"an amount of {body.amount_fen} fen")
    use(state, body.reference, PaymentKind.COLLECTION, body.collection, body.amount_fen)
    journal.post(state, collection.plan, "cash", "clearing", body.amount_fen)
    state.put(body.collection, replace(collection, confirmed_fen=body.amount_fen))
    settlement = state.get(Settlement, plan.settlement)
    collected = settlement.collected_fen + body.amount_fen
    state.put(plan.settlement, replace(settlement, collected_fen=collected))
    return (collected,)
