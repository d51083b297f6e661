"""The authenticated tables against a slow tree built from their definition, and against a damaged store."""

from collections.abc import Callable
from hashlib import sha256

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import proofs
from ledger.errors import InvariantViolation
from ledger.pages import seal
from ledger.store import AMENDMENTS, LENGTHS, NODES, ROWS, Batch, MemoryStore, Overlay, Store
from ledger.table_writer import Tables
from ledger.tables import ROW_BYTES_MAX, MissingRow, Table, TableReader, depth, read_lengths, row_key

SIZES = [0, 1, 2, 15, 16, 17, 31, 32, 33, 255, 256, 257, 272, 273, 4095, 4096, 4097]
State = dict[Table, list[bytes]]


# ---- the definition of LEDGER §1, slowly and with nothing from `ledger`


def slow_varint(number: int) -> bytes:
    return bytes((number,)) if number < 128 else bytes((number % 128 + 128,)) + slow_varint(number // 128)


def slow_inner(children: list[bytes]) -> bytes:
    return sha256(b"\x01" + b"".join(children + [bytes(32)] * (16 - len(children)))).digest()


def slow_table_root(tag: int, rows: list[bytes]) -> bytes:
    if not rows:
        return bytes(32)
    level = []
    for row_id, row in enumerate(rows):
        key = bytes((tag,)) + row_id.to_bytes(8, "big")
        level.append(sha256(b"\x00" + slow_varint(len(key)) + key + slow_varint(len(row)) + row).digest())
    while True:
        level = [slow_inner(level[at : at + 16]) for at in range(0, len(level), 16)]
        if len(level) == 1:
            return level[0]


def slow_state_root(state: State) -> bytes:
    lengths = [len(state.get(table, [])) for table in Table]
    meta = [msgpack.packb([max(lengths[0], 1), *lengths[1:]]), *state.get(Table.META, [])[1:]]
    roots = [bytes(32)] * 256
    for table in Table:
        roots[table] = slow_table_root(table, meta if table is Table.META else state.get(table, []))
    lower = [roots[at : at + 16] for at in range(0, 256, 16)]
    return slow_inner([slow_inner(part) if any(map(any, part)) else bytes(32) for part in lower])


# ---- helpers


def committed(*appends: tuple[Table, list[bytes]]) -> MemoryStore:
    """A store after one block with these appends."""
    store = MemoryStore()
    overlay = Overlay(store)
    tables = Tables(overlay)
    for table, rows in appends:
        tables.append_many(table, rows)
    tables.root()
    store.write(overlay.batch())
    return store


def rows_of(count: int) -> list[bytes]:
    return [b"row %d" % i * (1 + i % 30) for i in range(count)]


def assert_proves(reader: TableReader, root: bytes, table: Table, row_id: int, value: bytes) -> None:
    proof = reader.prove(table, row_id)
    assert (proof.key, proof.value) == (row_key(table, row_id), value)
    assert len(proof.path) == depth(reader.length(table)) + 2
    assert proofs.verify(root, proof.key, value, proof.encode())


# ---- roots


@pytest.mark.parametrize("size", SIZES)
def test_the_root_is_that_of_the_definition(size: int) -> None:
    rows = rows_of(size)
    store = committed((Table.MEMBERS, rows), (Table.FINGERPRINTS, [b"f"]))
    root = TableReader(store).root()
    assert root == slow_state_root({Table.MEMBERS: rows, Table.FINGERPRINTS: [b"f"]})
    assert Tables(Overlay(store)).root() == root


def test_the_root_of_the_empty_state_binds_25_empty_tables() -> None:
    tables = Tables(Overlay(MemoryStore()))
    assert tables.root() == slow_state_root({})
    assert read_lengths(tables.get(Table.META, 0)) == [1] + [0] * 24
    assert tables.table_root(Table.PLANS) == bytes(32)


def test_the_tags_are_the_positions_of_ledger_1() -> None:
    names = [
        "meta", "plans", "plan_versions", "organisations", "validators", "members", "spans", "cohorts", "frozen",
        "accounts", "claims", "settlements", "collections", "draws", "disputes", "ballots", "jurors", "proposals",
        "attestations", "evidence", "access_log", "member_keys", "bank_attestations", "fingerprints",
        "contradictions",
    ]  # fmt: skip
    assert [(table.name.lower(), int(table)) for table in Table] == [(name, at) for at, name in enumerate(names, 1)]


@pytest.mark.parametrize(
    ("length", "levels"), [(1, 1), (2, 1), (16, 1), (17, 2), (256, 2), (257, 3), (4096, 3), (4097, 4), (2**64, 16)]
)
def test_depth_is_the_least_that_holds_the_rows_and_never_0(length: int, levels: int) -> None:
    assert depth(length) == levels


STEP = st.one_of(
    st.tuples(st.just("append"), st.integers(1, 40)),
    st.tuples(st.just("append"), st.just(240)),
    st.tuples(st.just("append one"), st.just(1)),
    st.tuples(st.just("put"), st.integers(0, 2**32)),
    st.tuples(st.just("root"), st.just(0)),
    st.tuples(st.just("commit"), st.just(0)),
)


@settings(max_examples=120, deadline=None)
@given(
    steps=st.lists(
        st.tuples(STEP, st.sampled_from([Table.META, Table.PLANS, Table.MEMBERS, Table.JURORS])), max_size=25
    )
)
def test_any_order_of_appends_puts_roots_and_commits_gives_the_root_of_the_rows(
    steps: list[tuple[tuple[str, int], Table]],
) -> None:
    store: Store = MemoryStore()
    state: State = {Table.META: [b""]}
    overlay = Overlay(store)
    tables = Tables(overlay)
    for serial, ((step, number), table) in enumerate(steps):
        rows = state.setdefault(table, [])
        fresh = b"%d " % serial
        match step:
            case "append":
                values = [fresh + b"%d" % i for i in range(number)]
                assert tables.append_many(table, values) == range(len(rows), len(rows) + number)
                rows.extend(values)
            case "append one":
                assert tables.append(table, fresh) == len(rows)
                rows.append(fresh)
            case "put" if len(rows) > (table is Table.META):
                row_id = max(number % len(rows), table is Table.META)
                rows[row_id] = fresh * (1 + number % 50)
                tables.put(table, row_id, rows[row_id])
            case "root":
                assert tables.root() == tables.root() == slow_state_root(state)
            case "commit":
                tables.root()
                store.write(overlay.batch())
                overlay = Overlay(store)
                tables = Tables(overlay)
        assert tables.length(table) == len(rows)
    first = {table: int(table is Table.META) for table in state}
    for table, rows in state.items():
        assert list(tables.scan(table, first[table])) == list(enumerate(rows))[first[table] :]
    root = tables.root()
    assert root == slow_state_root(state)
    store.write(overlay.batch())
    reader = TableReader(store)
    assert reader.root() == root
    for table, rows in state.items():
        assert list(reader.scan(table, first[table])) == list(enumerate(rows))[first[table] :]
        for row_id in {first[table], len(rows) // 2, len(rows) - 1}:
            if first[table] <= row_id < len(rows):
                assert reader.get(table, row_id) == rows[row_id]
                assert_proves(reader, root, table, row_id, rows[row_id])


@pytest.mark.parametrize("size", [1, 16, 17, 256, 257, 300])
def test_every_row_of_a_table_is_provable(size: int) -> None:
    rows = rows_of(size)
    reader = TableReader(committed((Table.CLAIMS, rows)))
    for row_id in range(size):
        assert_proves(reader, reader.root(), Table.CLAIMS, row_id, rows[row_id])


def test_a_lengths_proof_binds_every_length() -> None:
    reader = TableReader(committed((Table.PLANS, [b"p"]), (Table.MEMBERS, rows_of(300))))
    proof = reader.prove(Table.META, 0)
    assert proofs.verify(reader.root(), row_key(Table.META, 0), proof.value, proof.encode())
    assert read_lengths(proof.value) == [reader.length(table) for table in Table] == [1, 1, 0, 0, 0, 300] + [0] * 19


def test_a_tree_that_grows_over_a_full_one_keeps_it() -> None:
    """The old root is not among the changed children when the last page was exactly full."""
    for size in (16, 256, 4096):
        store = committed((Table.SPANS, rows_of(size)))
        overlay = Overlay(store)
        tables = Tables(overlay)
        tables.append(Table.SPANS, b"one more")
        assert tables.root() == slow_state_root({Table.SPANS: [*rows_of(size), b"one more"]})
        for row_id in (0, size - 1, size):
            assert_proves(tables, tables.root(), Table.SPANS, row_id, tables.get(Table.SPANS, row_id))


def test_a_tree_may_grow_by_several_levels_at_once() -> None:
    for size in (0, 1, 16, 17):
        store = committed((Table.SPANS, rows_of(size)))
        tables = Tables(Overlay(store))
        more = [b"more %d" % i for i in range(5000)]
        tables.append_many(Table.SPANS, more)
        assert tables.root() == slow_state_root({Table.SPANS: rows_of(size) + more})


# ---- reads and writes within a block


def test_a_block_reads_its_own_changes_and_nobody_else_does() -> None:
    store = committed((Table.PLANS, rows_of(20)))
    tables = Tables(Overlay(store))
    tables.put(Table.PLANS, 3, b"new")
    assert tables.append(Table.PLANS, b"last") == 20
    assert tables.get(Table.PLANS, 3) == b"new"
    assert tables.get(Table.PLANS, 4) == rows_of(20)[4]
    assert tables.get(Table.PLANS, 20) == b"last"
    assert dict(tables.scan(Table.PLANS, 2, 5)) == {2: rows_of(20)[2], 3: b"new", 4: rows_of(20)[4]}
    tables.put(Table.PLANS, 20, b"changed")
    assert tables.get(Table.PLANS, 20) == b"changed"
    reader = TableReader(store)
    assert (reader.length(Table.PLANS), reader.get(Table.PLANS, 3)) == (20, rows_of(20)[3])


def test_a_snapshot_serves_rows_and_proofs_of_its_state_after_later_blocks() -> None:
    store = committed((Table.PLANS, rows_of(20)))
    with store.snapshot() as snapshot:
        old = TableReader(snapshot)
        overlay = Overlay(store)
        tables = Tables(overlay)
        tables.append_many(Table.PLANS, rows_of(300))
        tables.put(Table.PLANS, 3, b"new")
        tables.root()
        store.write(overlay.batch())
        assert old.root() != TableReader(store).root()
        assert_proves(old, old.root(), Table.PLANS, 3, rows_of(20)[3])


@pytest.mark.parametrize(
    ("start", "stop"), [(0, None), (0, 0), (5, 5), (6, 5), (3, 17), (15, 16), (16, 40), (39, 99), (40, None)]
)
def test_a_scan_is_a_slice(start: int, stop: int | None) -> None:
    rows = rows_of(40)
    expected = list(enumerate(rows))[start:stop]
    store = committed((Table.PLANS, rows))
    assert list(TableReader(store).scan(Table.PLANS, start, stop)) == expected
    assert list(Tables(Overlay(store)).scan(Table.PLANS, start, stop)) == expected


def test_a_row_may_be_put_while_its_table_is_scanned() -> None:
    tables = Tables(Overlay(committed((Table.PLANS, rows_of(40)))))
    for row_id, row in tables.scan(Table.PLANS):
        assert row == rows_of(40)[row_id]
        tables.put(Table.PLANS, row_id, b"seen")
    assert {row for _, row in tables.scan(Table.PLANS)} == {b"seen"}


def test_a_scan_does_not_depend_on_which_pages_were_changed_before() -> None:
    """A page's rows are those of the moment the scan reaches it, be the page stored, patched or new."""
    stored = committed((Table.PLANS, rows_of(5)))
    clean, patched, fresh = Tables(Overlay(stored)), Tables(Overlay(stored)), Tables(Overlay(MemoryStore()))
    patched.put(Table.PLANS, 0, rows_of(5)[0])
    fresh.append_many(Table.PLANS, rows_of(5))
    for tables in (clean, patched, fresh):
        seen = []
        for _, row in tables.scan(Table.PLANS):
            seen.append(row)
            tables.put(Table.PLANS, 4, b"later")
        assert seen == rows_of(5)


@pytest.mark.parametrize("row_id", [-1, -16, 20, 21, 32, 2**64])
def test_a_row_that_is_not_there_is_missing(row_id: int) -> None:
    store = committed((Table.PLANS, rows_of(20)))
    tables = Tables(Overlay(store))
    tables.put(Table.PLANS, 19, b"so that the last page is a changed one")
    for reader in (TableReader(store), tables):
        with pytest.raises(MissingRow, match="plans has no row"):
            reader.get(Table.PLANS, row_id)
        with pytest.raises(MissingRow):
            reader.prove(Table.PLANS, row_id)
    with pytest.raises(MissingRow):
        tables.put(Table.PLANS, row_id, b"x")


def test_a_scan_does_not_start_below_0() -> None:
    with pytest.raises(InvariantViolation):
        TableReader(MemoryStore()).scan(Table.PLANS, -1)


def test_a_row_has_1_byte_to_1_mib() -> None:
    store = MemoryStore()
    overlay = Overlay(store)
    tables = Tables(overlay)
    for bad in (b"", bytes(ROW_BYTES_MAX + 1)):
        with pytest.raises(InvariantViolation, match="are allowed"):
            tables.append(Table.PLANS, bad)
        with pytest.raises(InvariantViolation, match="are allowed"):
            tables.append_many(Table.PLANS, [b"good", bad])
    assert tables.length(Table.PLANS) == 0, "nothing of a refused batch is added"
    rows = [b"x", bytes(0xFFFF), bytes(0x10000), bytes(ROW_BYTES_MAX), b"y"]
    tables.append_many(Table.PLANS, rows)
    with pytest.raises(InvariantViolation, match="are allowed"):
        tables.put(Table.PLANS, 0, b"")
    root = tables.root()
    assert root == slow_state_root({Table.PLANS: rows})
    store.write(overlay.batch())
    for row_id, row in enumerate(rows):
        assert_proves(TableReader(store), root, Table.PLANS, row_id, row)
    tables = Tables(Overlay(store))
    tables.put(Table.PLANS, 3, b"short again")
    assert tables.root() == slow_state_root({Table.PLANS: [*rows[:3], b"short again", b"y"]})


def test_row_0_of_meta_is_written_by_root_alone() -> None:
    tables = Tables(Overlay(MemoryStore()))
    with pytest.raises(InvariantViolation, match="row 0 of meta"):
        tables.put(Table.META, 0, b"x")
    assert tables.append(Table.META, b"a fact of the ledger") == 1
    tables.put(Table.META, 1, b"another")
    assert tables.root() == slow_state_root({Table.META: [b"", b"another"]})


def test_a_root_without_changes_writes_nothing() -> None:
    store = committed((Table.PLANS, rows_of(20)))
    overlay = Overlay(store)
    Tables(overlay).root()
    assert len(overlay) == 0


def test_a_put_amends_one_page_and_rewrites_one_node_a_level_and_the_lengths() -> None:
    overlay = Overlay(committed((Table.MEMBERS, rows_of(5000))))
    tables = Tables(overlay)
    tables.put(Table.MEMBERS, 4321, b"x")
    tables.root()
    spaces = [key[:1] for key in overlay.batch().changes]
    assert sorted(spaces) == sorted([AMENDMENTS, NODES, NODES, NODES, LENGTHS])


# ---- a damaged store


def stored(store: MemoryStore, space: bytes, table: Table) -> list[bytes]:
    return [key for key, _ in store.scan(space, space + b"\xff") if space == LENGTHS or key[1] == table]


def flipped(raw: bytes, at: int) -> bytes:
    return raw[:at] + bytes((raw[at] ^ 1,)) + raw[at + 1 :]


@pytest.mark.parametrize("space", [ROWS, NODES, LENGTHS], ids=["page", "node", "lengths"])
@pytest.mark.parametrize(
    "damage",
    [lambda raw: flipped(raw, 0), lambda raw: flipped(raw, len(raw) // 2), lambda raw: flipped(raw, len(raw) - 1),
     lambda raw: raw[:-1], lambda raw: raw + b"\x00", lambda raw: b"", lambda raw: raw[:4], lambda raw: None],
    ids=["first bit", "middle bit", "last bit", "shorter", "longer", "empty", "only a checksum", "lost"],
)  # fmt: skip
def test_a_damaged_value_is_an_error_and_never_a_row(space: bytes, damage: Callable[[bytes], bytes | None]) -> None:
    store = committed((Table.MEMBERS, rows_of(300)))
    root = TableReader(store).root()
    key = stored(store, space, Table.MEMBERS)[0]
    raw = store.get(key)
    assert raw is not None
    store.write(Batch({key: damage(raw)}))
    if space == LENGTHS and store.get(key) is None:
        assert TableReader(store).root() != root, "a state without lengths is an empty one; the header tells"
        return
    with pytest.raises(InvariantViolation):
        TableReader(store).prove(Table.MEMBERS, 0)
    with pytest.raises(InvariantViolation):
        tables = Tables(Overlay(store))
        tables.put(Table.MEMBERS, 0, b"x")
        tables.root()
    if space == ROWS:
        for read in (lambda r: r.get(Table.MEMBERS, 0), lambda r: list(r.scan(Table.MEMBERS))):
            with pytest.raises(InvariantViolation, match="damaged|lost"):
                read(TableReader(store))


def test_a_page_at_another_pages_key_is_an_error() -> None:
    store = committed((Table.MEMBERS, rows_of(300)))
    first, second, *_ = stored(store, ROWS, Table.MEMBERS)
    raw = store.get(second)
    assert raw is not None
    store.write(Batch({first: raw}))
    with pytest.raises(InvariantViolation, match="damaged"):
        TableReader(store).get(Table.MEMBERS, 0)


def test_an_older_page_of_the_same_place_is_an_error() -> None:
    """Its checksum is right; the count of rows, or the proof against the root, tells."""
    store = committed((Table.MEMBERS, rows_of(5)))
    key = stored(store, ROWS, Table.MEMBERS)[0]
    old = store.get(key)
    assert old is not None
    overlay = Overlay(store)
    tables = Tables(overlay)
    tables.append(Table.MEMBERS, b"sixth")
    tables.root()
    store.write(overlay.batch())
    store.write(Batch({key: old}))
    with pytest.raises(InvariantViolation, match="5 rows"):
        TableReader(store).get(Table.MEMBERS, 0)

    store = committed((Table.MEMBERS, rows_of(5)))
    overlay = Overlay(store)
    tables = Tables(overlay)
    tables.put(Table.MEMBERS, 0, b"changed")
    tables.root()
    store.write(overlay.batch())
    store.write(Batch({key: old}))
    with pytest.raises(InvariantViolation, match="does not lead"):
        TableReader(store).prove(Table.MEMBERS, 0)


def test_lengths_of_more_tables_than_we_know_are_an_error() -> None:
    store = committed((Table.MEMBERS, rows_of(5)))
    raw = store.get(LENGTHS)
    assert raw is not None
    store.write(Batch({LENGTHS: seal(LENGTHS, raw[:-4] + bytes(40))}))
    with pytest.raises(InvariantViolation, match="more tables"):
        TableReader(store)
