"""The tables of a block in the making: what is read, kept open and written, each as often as it must be."""

from collections import Counter
from collections.abc import Sequence

import pytest

from ledger import table_writer
from ledger.errors import InvariantViolation
from ledger.store import AMENDMENTS, LENGTHS, NODES, ROWS, MemoryStore, Overlay
from ledger.table_writer import Tables
from ledger.tables import ROW_BYTES_MAX, MissingRow, Table, TableReader
from tests.ledger.test_tables import assert_proves, committed, rows_of, slow_state_root, slow_table_root


class Watched(Overlay):
    """Counts the values that are read and written."""

    def __init__(self, base: MemoryStore) -> None:
        super().__init__(base)
        self.reads: Counter[bytes] = Counter()
        self.puts: Counter[bytes] = Counter()

    def get(self, key: bytes) -> bytes | None:
        self.reads[key] += 1
        return super().get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        self.reads.update(keys)
        return super().get_many(keys)

    def put(self, key: bytes, value: bytes) -> None:
        self.puts[key] += 1
        super().put(key, value)

    def read_pages(self) -> int:
        return sum(count for key, count in self.reads.items() if key[:1] == ROWS)

    def pages_in_order(self, table: Table) -> list[int]:
        """Numbers of the table's pages that were read, in the order of their first reading."""
        return [int.from_bytes(key[2:], "big") for key in self.reads if key[:2] == ROWS + bytes((table,))]


@pytest.mark.parametrize("size", [0, 16, 32])
def test_the_row_behind_a_full_page_is_missing_and_not_lost(size: int) -> None:
    store = committed((Table.PLANS, rows_of(size)))
    for reader in (TableReader(store), Tables(Overlay(store))):
        for asked in (reader.get, reader.prove):
            with pytest.raises(MissingRow) as caught:
                asked(Table.PLANS, size)
            assert (caught.value.table, caught.value.row_id) == (Table.PLANS, size)


def test_a_scan_begins_with_row_0() -> None:
    reader = TableReader(committed((Table.PLANS, rows_of(20))))
    assert list(reader.scan(Table.PLANS)) == list(enumerate(rows_of(20)))


@pytest.mark.parametrize("table", [Table.META, Table.CONTRADICTIONS])
def test_the_first_and_the_last_table_are_in_the_root(table: Table) -> None:
    tables = Tables(Overlay(MemoryStore()))
    tables.append(table, b"a row")
    rows = [b"", b"a row"] if table is Table.META else [b"a row"]
    assert tables.root() == slow_state_root({table: rows})


def test_the_root_of_a_table_and_a_proof_are_of_all_changes_so_far() -> None:
    store = committed((Table.PLANS, rows_of(20)))
    tables = Tables(Overlay(store))
    tables.put(Table.PLANS, 3, b"new")
    assert tables.table_root(Table.PLANS) == slow_table_root(Table.PLANS, [*rows_of(3), b"new", *rows_of(20)[4:]])
    tables = Tables(Overlay(store))
    tables.put(Table.PLANS, 3, b"new")
    proof = tables.prove(Table.PLANS, 3)
    assert proof.value == b"new"
    assert_proves(tables, proof.root(), Table.PLANS, 3, b"new")


def test_a_page_is_read_once_though_it_is_asked_for_often() -> None:
    overlay = Watched(committed((Table.PLANS, rows_of(20))))
    tables = Tables(overlay)
    for row_id in (0, 3, 3, 15):
        tables.get(Table.PLANS, row_id)
        tables.put(Table.PLANS, row_id, b"x")
    assert overlay.read_pages() == 1


def test_pages_that_were_only_read_are_let_go_when_too_many_are_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_writer, "OPEN_PAGES_MAX", 3)
    rows = rows_of(100)
    overlay = Watched(committed((Table.PLANS, rows)))
    tables = Tables(overlay)
    tables.put(Table.PLANS, 0, b"changed")
    tables.get(Table.PLANS, 16)
    tables.get(Table.PLANS, 32)
    assert overlay.read_pages() == 3
    for row_id in (0, 16, 32):
        tables.get(Table.PLANS, row_id)
    assert overlay.read_pages() == 3, "three may be open"
    tables.get(Table.PLANS, 48)
    assert overlay.read_pages() == 4
    assert tables.get(Table.PLANS, 0) == b"changed"
    assert overlay.read_pages() == 4, "a changed page is kept"
    tables.get(Table.PLANS, 16)
    assert overlay.read_pages() == 5, "one that was read is let go"
    assert tables.root() == slow_state_root({Table.PLANS: [b"changed", *rows[1:]]})


def test_pages_asked_for_together_are_read_once_in_the_order_of_their_keys_half_as_many_as_may_be_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    overlay = Watched(committed((Table.MEMBERS, rows_of(112))))
    tables = Tables(overlay)
    tables.get(Table.MEMBERS, 40)
    tables.open_pages(Table.MEMBERS, [-1, 112, 200])
    assert overlay.pages_in_order(Table.MEMBERS) == [2], "ids of no rows are passed over"
    tables.open_pages(Table.MEMBERS, [111, 47, 0, 111, 16])
    assert overlay.pages_in_order(Table.MEMBERS) == [2, 0, 1, 6]
    assert overlay.read_pages() == 4
    assert [tables.get(Table.MEMBERS, row_id) for row_id in (0, 16, 111)] == [rows_of(112)[at] for at in (0, 16, 111)]
    assert overlay.read_pages() == 4, "nothing is read again"

    monkeypatch.setattr(table_writer, "OPEN_PAGES_MAX", 8)
    overlay = Watched(committed((Table.MEMBERS, rows_of(112))))
    Tables(overlay).open_pages(Table.MEMBERS, range(96))
    assert overlay.pages_in_order(Table.MEMBERS) == [0, 1, 2, 3]


def test_pages_read_together_push_out_those_that_were_only_read_when_too_many_would_be_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(table_writer, "OPEN_PAGES_MAX", 8)
    rows = rows_of(320)
    overlay = Watched(committed((Table.MEMBERS, rows)))
    tables = Tables(overlay)
    for first in (0, 64):
        tables.open_pages(Table.MEMBERS, range(first, first + 64))
    tables.put(Table.MEMBERS, 0, b"changed")
    tables.get(Table.MEMBERS, 127)
    assert overlay.read_pages() == 8, "eight may be open"
    tables.open_pages(Table.MEMBERS, [128])
    tables.get(Table.MEMBERS, 128)
    assert tables.get(Table.MEMBERS, 0) == b"changed"
    assert overlay.read_pages() == 9, "what was changed and what was just read is there"
    tables.get(Table.MEMBERS, 127)
    assert overlay.read_pages() == 10, "what was only read is let go"
    assert tables.root() == slow_state_root({Table.MEMBERS: [b"changed", *rows[1:]]})


def test_many_rows_are_read_and_put_where_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of(320)
    tables = Tables(Overlay(committed((Table.MEMBERS, rows))))
    assert tables.get_many(Table.MEMBERS, range(320)) == rows
    changed = [b"changed %d" % number for number in range(320)]
    tables.put_many((Table.MEMBERS, number, row) for number, row in enumerate(changed))
    assert tables.get_many(Table.MEMBERS, range(320)) == changed
    assert tables.root() == slow_state_root({Table.MEMBERS: changed})

    monkeypatch.setattr(table_writer, "OPEN_PAGES_MAX", 8)
    tables = Tables(Overlay(committed((Table.MEMBERS, rows))))
    assert tables.get_many(Table.MEMBERS, range(320)) == rows, "also those whose pages are not read together"


def test_a_page_that_was_only_read_is_not_written() -> None:
    overlay = Watched(committed((Table.MEMBERS, rows_of(300))))
    tables = Tables(overlay)
    tables.get(Table.MEMBERS, 200)
    tables.put(Table.MEMBERS, 7, b"x")
    tables.root()
    assert sorted(key[:1] for key in overlay.puts) == sorted([AMENDMENTS, NODES, NODES, LENGTHS])


def test_what_is_written_is_written_once() -> None:
    overlay = Watched(committed((Table.MEMBERS, rows_of(300))))
    tables = Tables(overlay)
    tables.put(Table.MEMBERS, 7, b"x")
    tables.append(Table.MEMBERS, b"one more")
    first = tables.root()
    before = Counter(overlay.puts)
    assert set(before.values()) == {1}
    assert tables.root() == first
    assert overlay.puts == before


@pytest.mark.parametrize("direct", [False, True], ids=["through the overlay", "from what lies under it"])
def test_a_row_may_be_changed_again_after_the_root(direct: bool) -> None:
    """Its page is read again from what the root has written."""
    store = committed((Table.MEMBERS, rows_of(20)))
    tables = Tables(Overlay(store), store if direct else None)
    tables.put(Table.MEMBERS, 7, b"x")
    tables.root()
    assert tables.get(Table.MEMBERS, 7) == b"x"
    tables.put(Table.MEMBERS, 8, b"y")
    assert tables.root() == slow_state_root({Table.MEMBERS: [*rows_of(7), b"x", b"y", *rows_of(20)[9:]]})


def test_a_row_of_the_greatest_length_may_be_put_and_none_above_it() -> None:
    tables = Tables(Overlay(committed((Table.PLANS, rows_of(3)))))
    with pytest.raises(InvariantViolation, match="are allowed"):
        tables.put(Table.PLANS, 2, bytes(ROW_BYTES_MAX + 1))
    tables.put(Table.PLANS, 2, bytes(ROW_BYTES_MAX))
    tables.put(Table.PLANS, 0, b"x")
    assert tables.root() == slow_state_root({Table.PLANS: [b"x", rows_of(3)[1], bytes(ROW_BYTES_MAX)]})
