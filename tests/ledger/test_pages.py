"""How tables lie in the store: keys, seals, splices, and pages of every shape. Private, but databases hold it."""

import struct
from hashlib import sha256
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import pages
from ledger.errors import InvariantViolation
from ledger.pages import (
    NODE_BYTES,
    WIDTH,
    Flushed,
    Fresh,
    Patched,
    amendments_key,
    layout,
    node_key,
    open_value,
    page_key,
    read_node,
    read_page,
    rows_of,
    seal,
    splice,
    spliced,
    unsealed,
)
from ledger.store import AMENDMENTS, NODES, ROWS, Batch, MemoryStore

SHORT, LONG = 0xFFFF, 0x10000


def leaf(table: int, row_id: int, row: bytes) -> bytes:
    """By the definition, for rows whose length takes one byte."""
    return sha256(b"\x00\x09" + bytes((table,)) + row_id.to_bytes(8, "big") + bytes((len(row),)) + row).digest()


def encoded_at_3(rows: list[bytes]) -> bytes:
    return bytes(Fresh(list(rows)).flush(6, 3).body or b"")


def encoded(rows: list[bytes]) -> bytes:
    return bytes(Fresh(list(rows)).flush(6, 0).body or b"")


@pytest.mark.parametrize(("table", "number"), [(0, 0), (6, 1), (255, 2**64 - 1)])
def test_a_pages_and_a_nodes_key_are_space_table_level_and_8_bytes_of_number(table: int, number: int) -> None:
    assert page_key(table, number) == ROWS + struct.pack(">BQ", table, number)
    assert amendments_key(table, number) == AMENDMENTS + struct.pack(">BQ", table, number)
    assert node_key(table, 3, number) == NODES + struct.pack(">BBQ", table, 3, number)


def test_a_seal_is_the_checksum_that_starts_from_the_key() -> None:
    assert seal(b"key", b"body") == b"body" + struct.pack(">I", crc32(b"keybody"))
    assert unsealed(b"key", seal(b"key", b"x")) == b"x"
    assert unsealed(b"yek", seal(b"key", b"x")) is None
    assert unsealed(b"key", seal(b"key", b"")) is None, "nothing was never stored"


def test_a_value_that_is_lost_or_damaged_is_named_and_so_is_what_to_do() -> None:
    store = MemoryStore()
    with pytest.raises(InvariantViolation, match="lost the value 6b6579: run"):
        open_value(store, b"key")
    store.write(Batch({b"key": seal(b"key", b"body")[:-1] + b"\x00"}))
    with pytest.raises(InvariantViolation, match="6b6579 is damaged"):
        open_value(store, b"key")


def test_a_node_has_16_hashes() -> None:
    store = MemoryStore()
    for body in (bytes(NODE_BYTES - 1), bytes(NODE_BYTES + 1)):
        store.write(Batch({node_key(6, 1, 0): seal(node_key(6, 1, 0), body)}))
        with pytest.raises(InvariantViolation, match="512 are due"):
            read_node(store, 6, 1, 0)


# ---- splices


def test_splices_touch_each_other_and_both_ends_or_replace_nothing() -> None:
    whole = splice(0, 2, b"") + splice(2, 4, b"abc") + splice(4, 4, b"-") + splice(8, 8, b"end")
    assert spliced(b"12345678", whole) == b"abc-5678end"
    assert spliced(b"12345678", splice(0, 8, b"")) == b""
    assert spliced(b"12345678", b"") == b"12345678"


@pytest.mark.parametrize("places", [[(3, 2)], [(7, 9)], [(9, 9)], [(0, 4), (3, 5)]])
def test_splices_that_overlap_or_do_not_lie_in_the_body_are_refused(places: list[tuple[int, int]]) -> None:
    with pytest.raises(InvariantViolation, match="does not lie in 8 bytes"):
        spliced(b"12345678", b"".join(splice(start, stop, b"x") for start, stop in places))


# ---- pages


SHAPES = [
    [b"x"],
    [b"%d" % at for at in range(WIDTH)],
    [bytes(SHORT), b"y"],
    [bytes(LONG), b"y"],
    [b"%d" % at for at in range(WIDTH - 1)] + [bytes(LONG)],
]


@pytest.mark.parametrize("rows", SHAPES, ids=["one", "full", "longest short", "shortest long", "full and long"])
def test_a_page_gives_back_its_rows(rows: list[bytes]) -> None:
    body = encoded(rows)
    assert rows_of(body, len(rows)) == rows
    assert [Patched(body, len(rows)).row(slot) for slot in range(len(rows))] == rows
    width = 4 if len(max(rows, key=len)) > SHORT else 2
    assert len(body) == 1 + len(rows) * (width + 32) + sum(map(len, rows))


def test_a_pages_leaves_and_node_are_those_of_the_definition() -> None:
    rows = [b"%d" % at for at in range(5)]
    for number in (0, 1, 16, 17, 0x12345):
        flushed = Fresh(list(rows)).flush(6, number)
        body = bytes(flushed.body or b"")
        _, hashes_at, rows_at = layout(body, 5)
        hashes = b"".join(leaf(6, number * WIDTH + slot, row) for slot, row in enumerate(rows))
        assert body[hashes_at:rows_at] == hashes
        assert flushed.digest == sha256(b"\x01" + hashes + bytes(32 * 11)).digest()


def test_a_new_page_has_the_rows_it_has() -> None:
    page = Fresh([b"a", b"b"])
    assert [page.row(slot) for slot in range(3)] == [b"a", b"b", None]


CHANGES: list[dict[int, bytes]] = [
    {0: b"same"},
    {0: b"longer than it was"},
    {4: b""},
    {0: b"a", 1: b"bcd", 4: b"e"},
    {2: bytes(LONG)},
    {1: bytes(LONG), 3: b"short"},
]


@pytest.mark.parametrize("first", [b"1234", bytes(LONG)], ids=["short", "long"])
@pytest.mark.parametrize("puts", CHANGES)
def test_a_patched_page_is_the_page_of_its_new_rows_and_tells_the_old_one(
    first: bytes, puts: dict[int, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "_AMENDMENTS_MAX", 0)
    rows = [first, b"22", b"3", b"4", b"55555"]
    old = encoded(rows)
    page = Patched(old, 5)
    assert not page.changed
    for slot, row in puts.items():
        page.put(slot, row)
    fresh = [puts.get(slot, row) for slot, row in enumerate(rows)]
    assert page.changed
    assert page.all_rows() == fresh == [page.row(slot) for slot in range(5)]
    assert page.row(5) is None
    flushed, whole = page.flush(6, 0), Fresh(list(fresh)).flush(6, 0)
    assert (flushed.digest, flushed.body, flushed.amendments) == (whole.digest, whole.body, b"")
    body, splices = flushed.body or b"", flushed.splices or b""
    assert spliced(body, splices) == old
    replaced = sum(len(rows[slot]) + 32 for slot in puts)
    assert len(splices) < replaced + 12 * (2 * len(puts) + 1) + 21 + 5 * 4, "no more than what was replaced"


def test_a_row_put_at_its_old_length_leaves_the_head_alone() -> None:
    page = Patched(encoded([b"1234", b"22"]), 2)
    page.put(1, b"zz")
    assert len(page.flush(6, 0).splices or b"") == 12 + 32 + 12 + 2


# ---- amendments


def member_rows(count: int = WIDTH) -> list[bytes]:
    return [bytes((slot,)) * 60 for slot in range(count)]


def put(page: Patched, puts: dict[int, bytes]) -> Flushed:
    for slot, row in puts.items():
        page.put(slot, row)
    return page.flush(6, 3)


def test_a_rows_change_lies_beside_its_page_until_such_changes_take_a_sixth_of_it() -> None:
    rows = member_rows()
    body, amendments = encoded_at_3(rows), b""
    kept = []
    for slot in (3, 9, 15):
        rows[slot] = b"changed" * 8
        flushed = put(Patched(body, WIDTH, amendments), {slot: rows[slot]})
        fresh = Fresh(list(rows)).flush(6, 3)
        assert flushed.digest == fresh.digest
        kept.append(flushed.body is None)
        if flushed.body is None:
            amendments = flushed.amendments
            assert flushed.splices is None
            read = Patched(body, WIDTH, amendments)
            assert read.all_rows() == rows == [read.row(slot) for slot in range(WIDTH)]
            whole = encoded_at_3(rows)
            _, hashes_at, rows_at = layout(whole, WIDTH)
            assert read.node() == whole[hashes_at:rows_at]
        else:
            assert (flushed.body, flushed.amendments) == (fresh.body, b"")
            assert spliced(bytes(flushed.body), flushed.splices or b"") == body
    assert kept == [True, True, False]


def test_amendments_take_a_sixth_of_the_page_and_no_byte_more() -> None:
    body = encoded([*[bytes(100)] * 9, bytes(103)])
    share, left = divmod(len(body), 6)
    assert left == 0
    assert put(Patched(body, 10), {0: bytes(share - 35)}).body is None
    assert put(Patched(body, 10), {0: bytes(share - 34)}).body is not None
    assert put(Patched(body, 10), {0: bytes(share - 71), 1: b"x"}).body is None
    assert put(Patched(body, 10), {0: bytes(share - 70), 1: b"x"}).body is not None


def test_amendments_never_take_more_than_a_length_of_two_bytes_can_tell() -> None:
    body = encoded([bytes(1 << 19), b"x"])
    assert put(Patched(body, 2), {1: bytes(SHORT - 35)}).body is None
    assert put(Patched(body, 2), {1: bytes(SHORT - 34)}).body is not None
    assert put(Patched(body, 2), {0: b"x", 1: bytes(SHORT - 71)}).body is None
    assert put(Patched(body, 2), {0: b"x", 1: bytes(SHORT - 70)}).body is not None


def test_a_row_amended_again_has_one_amendment() -> None:
    body = encoded_at_3(member_rows())
    once = put(Patched(body, WIDTH), {5: b"once"}).amendments
    twice = put(Patched(body, WIDTH, once), {5: b"and again"}).amendments
    assert twice == put(Patched(body, WIDTH), {5: b"and again"}).amendments
    assert Patched(body, WIDTH, twice).row(5) == b"and again"
    assert Patched(body, WIDTH, twice).row(WIDTH) is None


@given(st.dictionaries(st.integers(0, 15), st.binary(min_size=1, max_size=40), min_size=1), st.data())
@settings(max_examples=100, deadline=None)
def test_no_damage_of_amendments_that_passes_the_checksum_is_more_than_other_rows(
    puts: dict[int, bytes], data: st.DataObject
) -> None:
    body = encoded([bytes(300)] * WIDTH)
    amendments = put(Patched(body, WIDTH), puts).amendments
    if not amendments:
        return
    at = data.draw(st.integers(0, len(amendments)))
    wrong = data.draw(st.sampled_from([amendments[:at], amendments[:at] + b"\xff" + amendments[at + 1 :]]))
    try:
        page = Patched(body, WIDTH, wrong)
    except InvariantViolation:
        return
    assert len(page.all_rows()) == WIDTH
    assert all(row is not None for row in page.all_rows())


@pytest.mark.parametrize("wrong", [b"\x00", bytes(34), b"\x05" + bytes(34), b"\x00\x00\x02" + bytes(33)])
def test_amendments_of_another_page_or_cut_short_are_refused(wrong: bytes) -> None:
    with pytest.raises(InvariantViolation, match="no amendments of a page of 5 rows"):
        Patched(encoded([b"row"] * 5), 5, wrong)


def test_damaged_amendments_are_an_error_and_never_rows() -> None:
    store = MemoryStore()
    key, amended = page_key(6, 3), amendments_key(6, 3)
    body = encoded_at_3(member_rows())
    amendments = put(Patched(body, WIDTH), {5: b"other"}).amendments
    store.write(Batch({key: seal(key, body), amended: seal(amended, amendments)}))
    assert read_page(store, 6, 3, WIDTH).row(5) == b"other"
    store.write(Batch({amended: seal(amended, amendments)[:-1] + b"\x00"}))
    with pytest.raises(InvariantViolation, match="damaged"):
        read_page(store, 6, 3, WIDTH)


@pytest.mark.parametrize("rows", [[b"x"], [b"x", bytes(LONG)]], ids=["short", "long"])
def test_a_body_that_does_not_fit_its_own_lengths_is_refused(rows: list[bytes]) -> None:
    body = encoded(rows)
    count = len(rows)
    for wrong in (body + b"\x00", body[:-1]):
        with pytest.raises(InvariantViolation, match="add up"):
            layout(wrong, count)
    rows_at = layout(body, count)[2]
    for wrong in (body[:1], body[: rows_at - 1]):
        with pytest.raises(InvariantViolation, match=f"{count} rows are due"):
            layout(wrong, count)
    for expected in (count - 1, count + 1):
        with pytest.raises(InvariantViolation, match="are due"):
            layout(body, expected)
