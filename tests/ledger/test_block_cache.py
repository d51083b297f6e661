"""What a block keeps between its transactions: decoded rows, open pages, running sums. Never seen, only quicker."""

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger import bills, cohorts, plans, table_writer
from ledger.errors import InvariantViolation, TransactionRejected
from ledger.members import _new_member
from ledger.rows import NO_END, Member, MemberKey, Plan
from ledger.standing import Changes
from ledger.state import BlockContext, State
from ledger.store import Batch, MemoryStore, Overlay, Reader, Remembering
from ledger.tables import MissingRow, Table, TableReader
from tests.ledger.chain import PLAN_PARAMS

ROWS = 40
"""More than two pages."""
OPERATIONS = st.tuples(st.sampled_from(("put", "append", "get", "scan")), st.integers(0, 99), st.integers(0, 3))
STEPS = st.lists(
    st.tuples(st.sampled_from(("bare", "kept", "refused", "rehearsed", "root")), st.lists(OPERATIONS, max_size=6)),
    max_size=12,
)


def row(value: int) -> MemberKey:
    return MemberKey(value, bytes([value]), value)


def new_state(reader: Reader) -> State:
    return State(Overlay(reader), BlockContext(bytes(32), 1, 1, 1, bytes(32), bytes(64)))


def stored() -> MemoryStore:
    store, made = MemoryStore(), new_state(MemoryStore())
    made.append_many([row(9)] * ROWS)
    made.root()
    store.write(made.overlay.batch())
    return store


def take(state: State, model: list[MemberKey], operations: list[tuple[str, int, int]]) -> None:
    for name, number, value in operations:
        if name == "append":
            assert state.append(row(value)) == len(model)
            model.append(row(value))
        elif name == "put":
            state.put(number % len(model), row(value))
            model[number % len(model)] = row(value)
        elif name == "get":
            assert state.get(MemberKey, number % len(model)) == model[number % len(model)]
            assert state.find(MemberKey, len(model)) is None
        else:
            assert list(state.rows(MemberKey, number % 50)) == list(enumerate(model))[number % 50 :]


@given(STEPS, st.sampled_from([1, 3, State.KNOWN_MAX]), st.sampled_from([1, 2, table_writer.OPEN_PAGES_MAX]))
@settings(max_examples=150, deadline=None)
def test_a_block_that_keeps_rows_and_pages_is_the_block_that_keeps_nothing(
    steps: list[tuple[str, list[tuple[str, int, int]]]], known_max: int, pages_max: int
) -> None:
    store = stored()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(State, "KNOWN_MAX", known_max)
        patch.setattr(table_writer, "OPEN_PAGES_MAX", pages_max)
        state, model = new_state(store), [row(9)] * ROWS
        for kind, operations in steps:
            tried = list(model)
            if kind == "bare":
                take(state, model, operations)
            elif kind == "kept":
                with state.attempt():
                    take(state, model, operations)
            elif kind == "refused":
                with pytest.raises(TransactionRejected), state.attempt():
                    take(state, tried, operations)
                    raise TransactionRejected("NOT_FOUND")
            elif kind == "rehearsed":
                with state.attempt():
                    take(state, model, operations)
                    tried = list(model)
                    with state.rehearsal():
                        take(state, tried, operations)
                    take(state, model, [("scan", 0, 0)])
            else:
                state.root()
        take(state, model, [("get", number, 0) for number in range(len(model))])
        root = state.root()
    reference = new_state(MemoryStore())
    reference.append_many(model)
    assert root == reference.root()
    store.write(state.overlay.batch())
    assert [raw for _, raw in TableReader(store).scan(Table.MEMBER_KEYS)] == [
        raw for _, raw in TableReader(reference.overlay).scan(Table.MEMBER_KEYS)
    ]


def test_a_row_that_does_not_exist_cannot_be_put() -> None:
    state = new_state(stored())
    for row_id in (-1, ROWS):
        with pytest.raises(MissingRow):
            state.put(row_id, row(1))
        with pytest.raises(MissingRow), state.attempt():
            state.put(row_id, row(1))


def test_the_row_of_a_refused_append_is_not_taken_for_the_next_one() -> None:
    state = new_state(stored())
    with pytest.raises(TransactionRejected), state.attempt():
        state.append(row(1))
        assert state.get(MemberKey, ROWS) == row(1)
        raise TransactionRejected("NOT_FOUND")
    assert state.append(row(2)) == ROWS
    assert state.get(MemberKey, ROWS) == row(2)


def test_an_attempt_in_progress_has_no_root_and_holds_no_other() -> None:
    state = new_state(stored())
    with state.attempt():
        with pytest.raises(InvariantViolation):
            state.root()
        with pytest.raises(InvariantViolation), state.attempt():
            pass


# ---- running sums ----------------------------------------------------------------------------------------------------


def with_plan() -> State:
    state = new_state(MemoryStore())
    plans.create(state, "main", PLAN_PARAMS, 19, 1, 17_000)
    return state


def sums(state: State) -> bills.RunningSums:
    return bills.sums_of(state, 0, state.get(Plan, 0))


def test_running_sums_are_kept_while_nothing_they_are_made_of_changes() -> None:
    state = with_plan()
    first = sums(state)
    with state.attempt():
        state.append(row(1))
        assert sums(state) is first
    assert sums(state) is first


def test_running_sums_are_made_anew_after_a_change_of_the_plan_or_its_versions() -> None:
    state = with_plan()
    first = sums(state)
    state.put(0, replace(state.get(Plan, 0), last_charged=3))
    second = sums(state)
    assert second is not first
    plans.add_version(state, 0, 18_000, PLAN_PARAMS)
    assert len(sums(state).versions) == len(second.versions) + 1


def test_what_was_derived_in_a_refused_attempt_is_forgotten() -> None:
    state = with_plan()
    with pytest.raises(TransactionRejected), state.attempt():
        plans.add_version(state, 0, 18_000, PLAN_PARAMS)
        assert len(sums(state).versions) == 2
        raise TransactionRejected("NOT_FOUND")
    assert len(sums(state).versions) == 1
    with state.rehearsal():
        plans.add_version(state, 0, 19_000, PLAN_PARAMS)
        assert [version.effective_day for _, version in sums(state).versions] == [17_000, 19_000]
    plans.add_version(state, 0, 20_000, PLAN_PARAMS)
    assert [version.effective_day for _, version in sums(state).versions] == [17_000, 20_000]


# ---- what was read ---------------------------------------------------------------------------------------------------


class Counting:
    """A reader that counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def get(self, key: bytes) -> bytes | None:
        self.asked += 1
        return None if key == b"absent" else key * 10

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self.get(key) for key in keys]

    def scan(self, start: bytes, stop: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        return iter(())


def test_each_key_is_asked_for_once_and_absence_is_an_answer() -> None:
    base = Counting()
    reader = Remembering(base)
    for _ in range(3):
        assert reader.get(b"a") == b"a" * 10
        assert reader.get(b"absent") is None
    assert base.asked == 2


def test_what_was_read_is_forgotten_past_the_limit_and_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Remembering, "BYTES_MAX", 1_000)
    base = Counting()
    reader = Remembering(base)
    keys = [b"%d" % number for number in range(20)]
    assert [reader.get(key) for key in keys * 2] == [key * 10 for key in keys * 2]
    assert base.asked == 40


def test_undo_is_what_the_base_held_under_every_changed_key() -> None:
    store = MemoryStore()
    store.write(Batch({b"a": b"1", b"b": b"2"}))
    overlay = Overlay(Remembering(store))
    overlay.put(b"a", b"9")
    overlay.delete(b"b")
    overlay.put(b"c", b"3")
    assert overlay.undo().changes == {b"a": b"1", b"b": b"2", b"c": None}


def test_nothing_derived_outlives_what_is_taken_back() -> None:
    state = new_state(stored())
    with pytest.raises(TransactionRejected), state.attempt():
        state.memo["derived"] = 1
        raise TransactionRejected("NOT_FOUND")
    assert state.memo == {}
    with state.rehearsal():
        state.memo["derived"] = 1
    assert state.memo == {}
    with state.attempt():
        state.memo["derived"] = 1
    assert state.memo == {"derived": 1}


@pytest.mark.parametrize("changes", [{"base_fen": 7}, {"from_period": 20}, {"to_period": 21}])
def test_a_change_that_moves_a_cohort_is_counted(changes: dict[str, int]) -> None:
    state = with_plan()
    member = _new_member(0, bytes(32), 1990 * 12, 17_900, 19)
    member_id = state.append(member)

    def counts() -> list[tuple[int, int, int]]:
        return [entry for _, cohort in cohorts.rows(state, 0) for entry in cohort.counts]

    def put(before: Member | None, after: Member) -> None:
        moving = Changes(state, 0, state.get(Plan, 0))
        moving.put(member_id, before, after)
        moving.flush()

    put(None, member)
    assert counts() == [(19, 0, 1)]
    after = replace(member, **changes)
    put(member, after)
    expected = [(after.from_period, after.base_fen, 1)] if after.to_period == NO_END else []
    assert counts() == expected
