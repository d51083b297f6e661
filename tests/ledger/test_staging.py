"""A refused transaction leaves no trace: the buffer of appended rows, and ``State.attempt``."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import TransactionRejected
from ledger.rows import MemberKey
from ledger.staging import StagedTables
from ledger.state import BlockContext, Index, State
from ledger.store import MemoryStore, Overlay
from ledger.table_writer import Tables
from ledger.tables import MissingRow, Table

Step = tuple[str, int, bytes]

STEPS = st.lists(
    st.tuples(st.sampled_from(("append", "many", "refused")), st.integers(0, 40), st.binary(min_size=1, max_size=4)),
    max_size=30,
)
TABLE = Table.MEMBERS


def tables(rows: Sequence[bytes]) -> Tables:
    made = Tables(Overlay(MemoryStore()))
    made.append_many(TABLE, rows)
    return made


def take(step: Step, target: Tables | StagedTables) -> None:
    name, number, value = step
    if name == "append":
        target.append(TABLE, value)
    elif name == "many":
        target.append_many(TABLE, [value] * (number % 5))
    elif isinstance(target, StagedTables):
        outer = target.savepoint()
        target.append(TABLE, b"kept by the inner one")
        inner = target.savepoint()
        target.append_many(TABLE, [value] * (number % 5))
        target.restore(inner)
        target.append(TABLE, value)
        target.restore(outer)
        target.settle()


@given(st.lists(st.binary(min_size=1, max_size=4), max_size=40), STEPS)
@settings(max_examples=100)
def test_the_buffer_reads_like_the_tables_it_becomes(rows: list[bytes], steps: list[Step]) -> None:
    direct, base = tables(rows), tables(rows)
    staged = StagedTables(base)
    for step in steps:
        take(step, direct)
        take(step, staged)
        assert staged.length(TABLE) == direct.length(TABLE)
    assert list(staged.scan(TABLE)) == list(direct.scan(TABLE))
    for start, stop in ((0, 3), (5, 40), (30, 31), (50, None)):
        assert list(staged.scan(TABLE, start, stop)) == list(direct.scan(TABLE, start, stop))
    assert [staged.get(TABLE, i) for i in range(staged.length(TABLE))] == [row for _, row in direct.scan(TABLE)]
    assert list(base.scan(TABLE)) == list(enumerate(rows))
    staged.flush()
    assert base.root() == direct.root()


def test_rows_that_do_not_exist_are_missing() -> None:
    staged = StagedTables(tables([b"a"]))
    for row_id in (-1, 1):
        with pytest.raises(MissingRow):
            staged.get(TABLE, row_id)
    staged.append(TABLE, b"b")
    assert staged.get(TABLE, 1) == b"b"
    with pytest.raises(MissingRow):
        staged.get(TABLE, 2)


def state() -> State:
    made = State(Overlay(MemoryStore()), BlockContext(bytes(32), 1, 1, 1, bytes(32), bytes(64)))
    made.append(MemberKey(0, b"zero", 0))
    made.index_put(Index.MEMBER_KEY, b"zero", 0)
    return made


def change(made: State) -> None:
    made.put(0, MemberKey(0, b"changed", 0))
    made.append(MemberKey(1, b"one", 0))
    made.index_put(Index.MEMBER_KEY, b"one", 1)
    made.index_delete(Index.MEMBER_KEY, b"zero")


def test_a_refusal_takes_back_rows_and_index_entries() -> None:
    made = state()
    root, before = made.root(), made.overlay.batch().changes
    with pytest.raises(TransactionRejected), made.attempt():
        change(made)
        assert made.get(MemberKey, 1).key == b"one"
        raise TransactionRejected("NOT_FOUND")
    assert made.root() == root
    assert made.overlay.batch().changes == before
    assert made.index_id(Index.MEMBER_KEY, b"zero") == 0


def test_a_success_is_the_same_as_writing_directly() -> None:
    made, direct = state(), state()
    with made.attempt():
        change(made)
    change(direct)
    assert made.root() == direct.root()
    assert made.overlay.batch().changes == direct.overlay.batch().changes
    assert made.index_get(Index.MEMBER_KEY, b"zero") is None
