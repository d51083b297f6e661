"""A block is taken back byte for byte, though of a page only what it replaced is kept."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import InvariantViolation
from ledger.pages import amendments_key, splice, spliced
from ledger.store import LENGTHS, SEALED, Batch, MemoryStore, Overlay
from ledger.table_writer import Tables
from ledger.tables import Table, TableReader
from ledger.undo import Undo, undo_of

ROWS = st.builds(
    lambda count, value: [value + b"%d" % number for number in range(count)],
    st.integers(1, 600),
    st.binary(max_size=200),
)
PUTS = st.lists(st.tuples(st.integers(0, 599), st.binary(min_size=1, max_size=200)), max_size=20)
TABLE = Table.MEMBERS


def stored(rows: list[bytes]) -> MemoryStore:
    store, overlay = MemoryStore(), Overlay(MemoryStore())
    tables = Tables(overlay)
    tables.append_many(TABLE, rows)
    tables.root()
    store.write(overlay.batch())
    return store


def block(store: MemoryStore, puts: list[tuple[int, bytes]], appended: list[bytes], roots: int) -> tuple[Batch, Undo]:
    overlay = Overlay(store)
    tables = Tables(overlay)
    for _ in range(roots):
        for number, value in puts:
            tables.put(TABLE, number % tables.length(TABLE), value)
        tables.append_many(TABLE, appended)
        tables.root()
    return overlay.batch(), undo_of(overlay, tables)


@given(ROWS, PUTS, st.lists(st.binary(min_size=1, max_size=9), max_size=40), st.integers(1, 2))
@settings(max_examples=60, deadline=None)
def test_a_block_is_taken_back_byte_for_byte(
    rows: list[bytes], puts: list[tuple[int, bytes]], appended: list[bytes], roots: int
) -> None:
    store = stored(rows)
    batch, undo = block(store, puts, appended, roots)
    before = {key: store.get(key) for key in batch.changes}
    store.write(batch)
    store.write(undo.batch(store))
    assert {key: store.get(key) for key in batch.changes} == before


@given(ROWS, st.lists(st.tuples(PUTS, st.booleans()), min_size=2, max_size=6))
@settings(max_examples=40, deadline=None)
def test_blocks_that_amend_the_same_pages_are_taken_back_one_by_one(
    rows: list[bytes], blocks: list[tuple[list[tuple[int, bytes]], bool]]
) -> None:
    """Pages are amended, written anew and appended to in turn; the rows are always those of the changes."""
    store, rows = stored(rows), list(rows)
    undone = []
    for puts, appends in blocks:
        few = [(number % 40, value) for number, value in puts]
        whole = dict(store.scan(b"", b"\xff" * 9))
        batch, undo = block(store, few, [b"appended"] * appends, 1)
        store.write(batch)
        undone.append((undo, whole))
        for number, value in few:
            rows[number % len(rows)] = value
        rows += [b"appended"] * appends
        assert [row for _, row in TableReader(store).scan(TABLE)] == rows
        assert TableReader(store).table_root(TABLE) == TableReader(stored(rows)).table_root(TABLE)
        for row_id in {number % len(rows) for number, _ in few}:
            assert (
                TableReader(store).prove(TABLE, row_id).value == rows[row_id] == TableReader(store).get(TABLE, row_id)
            )
    for undo, whole in reversed(undone):
        store.write(undo.batch(store))
        assert dict(store.scan(b"", b"\xff" * 9)) == whole


@pytest.mark.parametrize("size", [1, 15, 16, 17, 255, 256, 257, 511, 512, 4095, 4096])
def test_pages_and_nodes_that_a_block_made_are_gone_when_it_is_taken_back(size: int) -> None:
    store = stored([b"%d" % number for number in range(size)])
    whole = dict(store.scan(b"", b"\xff" * 9))
    batch, undo = block(store, [(0, b"other")], [b"one more", b"and another"], 1)
    store.write(batch)
    store.write(undo.batch(store))
    assert dict(store.scan(b"", b"\xff" * 9)) == whole


def test_a_page_that_a_block_made_and_wrote_anew_is_gone_when_it_is_taken_back() -> None:
    store = stored([b"row"] * 20)
    whole = dict(store.scan(b"", b"\xff" * 9))
    overlay = Overlay(store)
    tables = Tables(overlay)
    tables.append_many(TABLE, [b"new"] * 40)
    tables.root()
    tables.put(TABLE, 50, b"so much that the page is written anew" * 40)
    tables.root()
    undo = undo_of(overlay, tables)
    store.write(overlay.batch())
    store.write(undo.batch(store))
    assert dict(store.scan(b"", b"\xff" * 9)) == whole


def test_one_changed_row_is_an_eighth_of_its_pages_in_the_undo() -> None:
    store = stored([bytes([number % 256]) * 60 for number in range(608)])
    batch, undo = block(store, [(7, b"other")], [], 1)
    whole = sum(len(store.get(key) or b"") for key in batch.changes if key != LENGTHS)
    amended = amendments_key(TABLE, 0)
    assert undo.changes == {LENGTHS: store.get(LENGTHS), amended: None}
    assert sum(map(len, undo.splices.values())) * 8 < whole


@pytest.mark.parametrize("damage", [None, b"", b"short", b"x" * 900])
def test_what_is_damaged_or_lost_is_left_as_it_is(damage: bytes | None) -> None:
    store = stored([b"row"] * 40)
    batch, undo = block(store, [(7, b"other")], [], 1)
    store.write(batch)
    page = next(iter(undo.splices))
    assert page[:1] in SEALED
    store.write(Batch({page: damage}))
    store.write(undo.batch(store))
    assert store.get(page) == damage


@pytest.mark.parametrize("place", [(2, 1), (0, 9), (8, 9)])
def test_what_was_replaced_lies_in_the_body(place: tuple[int, int]) -> None:
    assert spliced(b"12345678", splice(1, 3, b"old")) == b"1old45678"
    with pytest.raises(InvariantViolation):
        spliced(b"12345678", splice(*place, b"old"))
    with pytest.raises(InvariantViolation):
        spliced(b"12345678", splice(4, 5, b"") + splice(3, 5, b""))
