"""What a block announces is read in one go and changes nothing: rows, index entries, pages."""

from collections import Counter
from collections.abc import Sequence

import pytest

from ledger.errors import InvariantViolation
from ledger.rows import MemberKey
from ledger.state import BlockContext, Index, State
from ledger.store import Batch, MemoryStore, Overlay, Remembering
from ledger.table_writer import Tables
from ledger.tables import ROW_BYTES_MAX, MissingRow, Table
from tests.ledger.test_block_cache import row

ROWS = 600
BLOCK = BlockContext(bytes(32), 1, 1, 1, bytes(32), bytes(64))


class Asked(MemoryStore):
    """Notes which keys are asked for, singly and together."""

    def __init__(self) -> None:
        super().__init__()
        self.singly: Counter[bytes] = Counter()
        self.together: list[bytes] = []

    def get(self, key: bytes) -> bytes | None:
        self.singly[key] += 1
        return super().get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        self.together += keys
        return super().get_many(keys)


@pytest.fixture
def store() -> Asked:
    made, overlay = Asked(), Overlay(MemoryStore())
    state = State(overlay, BLOCK)
    state.append_many([row(number % 250) for number in range(ROWS)])
    state.root()
    made.write(overlay.batch())
    return made


def opened(store: Asked) -> State:
    state = State(Overlay(Remembering(store)), BLOCK, store)
    store.singly.clear()
    return state


def test_expected_rows_are_read_in_the_order_of_their_pages_and_never_again(store: Asked) -> None:
    state = opened(store)
    state.expect(MemberKey, [599, 3, -1, 20, 3, ROWS])
    pages = [int.from_bytes(key[2:], "big") for key in store.together if key[:1] == b"r"]
    assert pages == [0, 1, 37]
    assert [state.find(MemberKey, at) for at in (3, 20, 599, ROWS, -1)] == [row(3), row(20), row(99), None, None]
    assert not any(key[:1] == b"r" for key in store.singly)


def test_a_row_that_was_changed_is_not_read_over_the_change(store: Asked) -> None:
    state = opened(store)
    state.put(3, row(77))
    state.append(row(78))
    state.expect(MemberKey, [3, 4, ROWS])
    assert [state.get(MemberKey, at) for at in (3, 4, ROWS)] == [row(77), row(4), row(78)]
    with pytest.raises(MissingRow):
        state.get(MemberKey, ROWS + 1)


def test_no_more_rows_are_expected_than_may_be(store: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(State, "EXPECTED_MAX", 17)
    state = opened(store)
    state.expect(MemberKey, range(ROWS))
    assert [int.from_bytes(key[2:], "big") for key in store.together if key[:1] == b"r"] == [0, 1]


def test_expected_rows_leave_the_root_and_what_is_written_alone(store: Asked) -> None:
    state, plain = opened(store), opened(store)
    state.expect(MemberKey, range(0, ROWS, 7))
    assert state.root() == plain.root()
    assert len(state.overlay) == 0


def test_expected_entries_are_asked_for_once_in_the_order_of_their_keys(store: Asked) -> None:
    keys = [Index.REFERENCE.prefix + key for key in (b"c", b"a", b"b")]
    store.write(Batch({keys[1]: b"1"}))
    state = opened(store)
    state.expect_keys(Index.REFERENCE, [b"c", b"a", b"b", b"a"])
    assert store.together == sorted(keys)
    assert [state.index_get(Index.REFERENCE, key) for key in (b"a", b"b", b"c")] == [b"1", None, None]
    state.expect_keys(Index.REFERENCE, [b"a", b"d"])
    assert store.together[3:] == [Index.REFERENCE.prefix + b"d"]
    assert not any(store.singly[key] for key in keys)
    state.index_put(Index.REFERENCE, b"b", 7)
    state.expect_keys(Index.REFERENCE, [b"b"])
    assert state.index_id(Index.REFERENCE, b"b") == 7


def test_what_is_remembered_of_expected_entries_is_bounded(store: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Remembering, "BYTES_MAX", 1_000)
    store.write(Batch({b"a": bytes(900), b"b": b"x"}))
    reader = Remembering(store)
    reader.expect([b"a", b"b"])
    assert (reader.get(b"b"), store.singly[b"b"]) == (b"x", 1), "forgotten, and read again"


def test_an_overlay_over_anything_else_expects_nothing(store: Asked) -> None:
    Overlay(store).expect([b"a"])
    assert store.together == []


def test_rows_asked_for_together_are_those_of_now(store: Asked) -> None:
    tables = Tables(Overlay(store), store)
    tables.put(Table.MEMBER_KEYS, 5, b"changed")
    tables.append(Table.MEMBER_KEYS, b"new")
    found = tables.get_many(Table.MEMBER_KEYS, [5, 6, ROWS])
    assert found == [b"changed", tables.get(Table.MEMBER_KEYS, 6), b"new"]
    with pytest.raises(MissingRow):
        tables.get_many(Table.MEMBER_KEYS, [ROWS + 1])


def test_rows_put_together_are_put_one_by_one(store: Asked) -> None:
    tables, singly = (Tables(Overlay(store), store) for _ in range(2))
    puts = [(Table.MEMBER_KEYS, row_id, b"put %d" % row_id) for row_id in (0, 1, 2, 17, 599, 1)]
    tables.get(Table.MEMBER_KEYS, 1)
    tables.put_many(puts)
    for put in puts:
        singly.put(*put)
    assert tables.root() == singly.root()
    refused: list[tuple[Table, int, bytes]] = [
        (Table.META, 0, b"x"),
        (Table.MEMBER_KEYS, 3, b""),
        (Table.MEMBER_KEYS, 3, bytes(ROW_BYTES_MAX + 1)),
        (Table.MEMBER_KEYS, ROWS, b"x"),
        (Table.MEMBER_KEYS, -1, b"x"),
    ]
    tables.get_many(Table.MEMBER_KEYS, [3, 599])
    tables.get(Table.META, 0)
    for put in refused:
        with pytest.raises(InvariantViolation):
            tables.put_many([put])
