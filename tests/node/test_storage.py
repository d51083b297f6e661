"""The store on disk: the stores' contract, what survives, and the sentences an operator gets."""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import plyvel
import pytest
from hypothesis import settings

from ledger.errors import InvariantViolation, OperatorError
from ledger.store import Batch, Overlay, Reader, Store
from ledger.table_writer import Tables
from ledger.tables import Table, TableReader
from node import storage
from node.storage import MARKER_KEY, LevelStore, open_store
from tests.ledger.store_contract import MACHINE_SETTINGS, StoreContract, StoreMachine, apply_changes

CHAIN = bytes(range(32))
OTHER_CHAIN = bytes(32)


def open_here(path: Path, *, create: bool = True, chain_id: bytes = CHAIN) -> LevelStore:
    return open_store(path, create=create, chain_id=chain_id, block_cache_bytes=1 << 20)


def without_marker(store: LevelStore) -> LevelStore:
    """The contract's cases look at all keys; the marker is not among those of a dict."""
    store.write(Batch({MARKER_KEY: None}))
    return store


class TestLevelStore(StoreContract):
    @pytest.fixture(autouse=True)
    def home(self, tmp_path: Path) -> None:
        self.path = tmp_path / "db"

    def open(self) -> Store:
        return without_marker(open_here(self.path))


class LevelMachine(StoreMachine):
    def open(self) -> Store:
        self.path = Path(tempfile.mkdtemp()) / "db"
        return without_marker(open_here(self.path))

    def reopen(self) -> Store:
        self.store.write(Batch({MARKER_KEY: marker(CHAIN)}))
        self.store.close()
        return without_marker(open_here(self.path, create=False))

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.path.parent)


TestLevelMachine = LevelMachine.TestCase
TestLevelMachine.settings = settings(MACHINE_SETTINGS, max_examples=25, stateful_step_count=20)


def marker(chain_id: bytes, version: int = storage.FORMAT_VERSION) -> bytes:
    return b"huzhu-store" + bytes((version,)) + chain_id


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "db"


@pytest.fixture
def store(path: Path) -> Iterator[LevelStore]:
    opened = open_here(path)
    yield opened
    opened.close()


def refused(code: str, action: Callable[[], object]) -> OperatorError:
    """Run `action`; it must fail with this code, and say what and what next."""
    with pytest.raises(OperatorError) as caught:
        action()
    assert caught.value.code == code, caught.value
    assert caught.value.what
    assert caught.value.next
    assert caught.value.exit_code in (1, 3, 6)
    return caught.value


# ---- what survives


def test_a_write_survives_the_death_of_the_process(path: Path) -> None:
    """The child dies without closing anything; what `write` returned for is there."""
    code = "store.write(Batch({b'a': b'1', b'b': b'2'})); store.write(Batch({b'a': None, b'c': b'3'})); os._exit(7)"
    assert in_another_process(path, code) == 7
    store = open_here(path, create=False)
    assert list(store.scan(b"a", b"d")) == [(b"b", b"2"), (b"c", b"3")]
    store.close()


def in_another_process(path: Path, code: str) -> int:
    """The exit status of a process that opens the store at `path` and runs `code`; 3 if the database was locked."""
    program = f"""
import os, pathlib
from ledger.errors import OperatorError
from ledger.store import Batch
from node.storage import open_store
try:
    store = open_store(pathlib.Path({str(path)!r}), create=True, chain_id={CHAIN!r})
except OperatorError as error:
    os._exit(3 if error.code == "LOCKED_DATABASE" else 4)
{code}
"""
    root = Path(__file__).parents[2]
    return subprocess.run([sys.executable, "-c", program], cwd=root, timeout=60, check=False).returncode


def newest_log(path: Path) -> Path:
    return max(path.glob("*.log"))


def test_a_batch_whose_end_never_reached_the_disk_is_gone_as_a_whole(path: Path) -> None:
    store = open_here(path)
    store.write(Batch({b"a": b"1"}))
    store.write(Batch({b"b": b"x" * 5000, b"c": b"y" * 5000}))
    store.close()
    log = newest_log(path)
    os.truncate(log, log.stat().st_size - 1)
    store = open_here(path, create=False)
    assert [key for key, _ in store.scan(b"a", b"d")] == [b"a"]
    store.close()


def test_a_write_is_one_synced_batch(store: LevelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, bool]] = []

    class Watched:
        def write_batch(self, **options: bool) -> Any:
            asked.append(options)
            return database.write_batch(**options)

    database = store._database
    monkeypatch.setattr(store, "_database", Watched())
    store.write(Batch({b"a": b"1", b"b": None}))
    assert asked == [{"sync": True, "transaction": True}]
    monkeypatch.undo()
    assert store.get(b"a") == b"1"


def test_a_new_database_and_its_directory_entry_are_synced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(storage, "_sync_directory", synced.append)
    open_here(path).close()
    assert synced == [path.parent.parent, path.parent, path], "each directory made, in its parent; then the files"
    synced.clear()
    open_here(path).close()
    assert synced == []


# ---- opening


def test_creating_again_opens_what_is_there(path: Path) -> None:
    store = open_here(path)
    store.write(Batch({b"a": b"1"}))
    store.close()
    store.close()
    store = open_here(path)
    assert store.get(b"a") == b"1"
    store.close()


def test_a_missing_database_is_not_made_by_opening(path: Path) -> None:
    refused("MISSING_DATABASE", lambda: open_here(path, create=False))
    assert not path.exists()
    path.mkdir(parents=True)
    refused("MISSING_DATABASE", lambda: open_here(path, create=False))
    assert not any(path.iterdir())


def test_a_database_in_use_is_locked(store: LevelStore, path: Path) -> None:
    assert refused("LOCKED_DATABASE", lambda: open_here(path)).exit_code == 1


def test_a_database_in_use_by_another_process_is_locked(path: Path) -> None:
    store = open_here(path)
    assert in_another_process(path, "os._exit(0)") == 3
    store.close()
    assert in_another_process(path, "os._exit(0)") == 0


def test_another_chains_database_is_foreign(path: Path) -> None:
    open_here(path).close()
    error = refused("FOREIGN_DATABASE", lambda: open_here(path, chain_id=OTHER_CHAIN))
    assert CHAIN.hex() in error.why
    assert OTHER_CHAIN.hex() in error.why
    open_here(path).close()


def test_a_directory_with_other_things_is_foreign_and_left_alone(path: Path) -> None:
    path.mkdir(parents=True)
    (path / "holiday.jpg").write_bytes(b"sea")
    refused("FOREIGN_DATABASE", lambda: open_here(path))
    assert [entry.name for entry in path.iterdir()] == ["holiday.jpg"]
    refused("FOREIGN_DATABASE", lambda: open_here(path / "holiday.jpg"))


def raw_database(path: Path, values: dict[bytes, bytes]) -> None:
    path.mkdir(parents=True)
    database = plyvel.DB(str(path), create_if_missing=True)
    for key, value in values.items():
        database.put(key, value)
    database.close()


def test_another_programs_leveldb_is_foreign(path: Path) -> None:
    raw_database(path, {b"their": b"data"})
    refused("FOREIGN_DATABASE", lambda: open_here(path))


def test_a_marker_that_is_not_ours_is_foreign(path: Path) -> None:
    raw_database(path, {MARKER_KEY: b"something else"})
    refused("FOREIGN_DATABASE", lambda: open_here(path))


def test_another_format_version_is_unsupported(path: Path) -> None:
    raw_database(path, {MARKER_KEY: marker(CHAIN, storage.FORMAT_VERSION + 1)})
    refused("UNSUPPORTED_DATABASE", lambda: open_here(path))


def test_a_creation_cut_short_before_its_marker_can_be_repeated(path: Path) -> None:
    raw_database(path, {})
    refused("MISSING_DATABASE", lambda: open_here(path, create=False))
    open_here(path, create=True).close()
    open_here(path, create=False).close()


def test_a_directory_that_cannot_be_made_is_the_operators_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    refused("STORAGE_FAILED", lambda: open_here(tmp_path / "file" / "db"))


def test_a_refused_database_is_not_left_locked(path: Path) -> None:
    open_here(path).close()
    refused("FOREIGN_DATABASE", lambda: open_here(path, chain_id=OTHER_CHAIN))
    open_here(path).close()


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_chain_id_has_32_bytes(path: Path, size: int) -> None:
    with pytest.raises(InvariantViolation):
        open_here(path, chain_id=bytes(size))


# ---- damage


def filled(path: Path) -> None:
    """Two blocks, the first one in a table file, the second one in the log only."""
    store = open_here(path)
    store.write(Batch({b"i%04d" % i: b"%d" % i * 100 for i in range(500)}))
    store.compact()
    store.write(Batch({b"z%04d" % i: b"%d" % i * 100 for i in range(500)}))
    store.close()


def flip(file: Path, at: int) -> None:
    raw = bytearray(file.read_bytes())
    raw[at] ^= 0x40
    file.write_bytes(raw)


def test_a_damaged_table_file_is_an_error_on_every_read(path: Path) -> None:
    filled(path)
    table = min(path.glob("*.ldb"))
    flip(table, table.stat().st_size // 2)
    store = open_here(path, create=False)
    with store.snapshot() as snapshot:
        refused("CORRUPT_DATABASE", lambda: list(snapshot.scan(b"i", b"j")))
        assert refused("CORRUPT_DATABASE", lambda: list(store.scan(b"i", b"j"))).exit_code == 6
        assert damaged_rows(store) == damaged_rows(snapshot) > 0
    store.close()


def test_a_damaged_page_of_a_table_is_an_error_and_never_a_row(path: Path) -> None:
    """Pages carry their own checksum, LevelDB's is not verified for them."""
    rows = [b"member %d" % i * 20 for i in range(2000)]
    store = open_here(path)
    overlay = Overlay(store)
    tables = Tables(overlay)
    tables.append_many(Table.MEMBERS, rows)
    tables.root()
    store.write(overlay.batch())
    store.compact()
    store.close()
    table = min(path.glob("*.ldb"))
    for part in range(1, 8):
        flip(table, table.stat().st_size * part // 8)
    store = open_here(path, create=False)
    reader = TableReader(store)
    damaged = 0
    for row_id, row in enumerate(rows):
        try:
            assert reader.get(Table.MEMBERS, row_id) == row
        except (InvariantViolation, OperatorError):
            damaged += 1
    assert 0 < damaged < len(rows)
    store.close()


def damaged_rows(reader: Reader) -> int:
    """How many rows of `filled` cannot be read; those that can are right."""
    damaged = 0
    for i in range(500):
        try:
            assert reader.get(b"i%04d" % i) == b"%d" % i * 100
        except OperatorError as error:
            assert error.code == "CORRUPT_DATABASE"
            damaged += 1
    return damaged


def test_a_damaged_log_is_an_error_and_not_an_older_state(path: Path) -> None:
    """LevelDB's default would drop the damaged blocks and go on without a word."""
    filled(path)
    log = newest_log(path)
    flip(log, log.stat().st_size // 2)
    refused("CORRUPT_DATABASE", lambda: open_here(path, create=False))


def damage_current(path: Path) -> None:
    (path / "CURRENT").write_text("nonsense")


def damage_manifest(path: Path) -> None:
    flip(path / (path / "CURRENT").read_text().strip(), 12)


def lose_manifest(path: Path) -> None:
    (path / (path / "CURRENT").read_text().strip()).unlink()


def lose_table(path: Path) -> None:
    min(path.glob("*.ldb")).unlink()


@pytest.mark.parametrize("damage", [damage_current, damage_manifest, lose_manifest, lose_table])
def test_a_database_with_damaged_or_lost_files_does_not_open(path: Path, damage: Callable[[Path], None]) -> None:
    filled(path)
    damage(path)
    refused("CORRUPT_DATABASE", lambda: open_here(path, create=False))


class Failing:
    """A LevelDB that fails as the given error says."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def write_batch(self, **_: bool) -> Any:
        raise self.error


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (f"IO error: 000003.log: {os.strerror(errno.ENOSPC)}", "DISK_FULL"),
        (f"IO error: 000003.log: {os.strerror(errno.EDQUOT)}", "DISK_FULL"),
        (f"IO error: 000003.log: {os.strerror(errno.EIO)}", "STORAGE_FAILED"),
    ],
)
def test_a_write_that_fails_says_why(tmp_path: Path, text: str, code: str) -> None:
    store = LevelStore(tmp_path, Failing(plyvel.IOError(text.encode())))
    assert refused(code, lambda: store.write(Batch({b"a": b"1"}))).exit_code == 1


# ---- use


def test_readers_in_other_threads_see_whole_blocks(store: LevelStore) -> None:
    """Each block writes the same number to two keys; no snapshot ever shows two numbers."""
    torn: list[tuple[bytes | None, bytes | None]] = []
    seen: set[bytes | None] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            with store.snapshot() as snapshot:
                pair = snapshot.get(b"a"), snapshot.get(b"b")
            seen.add(pair[0])
            if pair[0] != pair[1]:
                torn.append(pair)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(200):
        store.write(Batch({b"a": b"%d" % number, b"b": b"%d" % number}))
    done.set()
    for reader in readers:
        reader.join()
    assert torn == []
    assert seen


def test_compaction_leaves_nothing_of_what_was_overwritten_at_any_level(store: LevelStore) -> None:
    keys = [b"%05d" % number for number in range(6_000)]
    for turn in range(4):
        store.write(Batch({key: bytes([turn]) * 1_000 for key in keys[turn * 1_500 :]}))
        store.compact(b"0", b"9")
    store.write(Batch(dict.fromkeys(keys[::2], b"new" * 300)))
    store.compact()
    live = sum(len(key) + len(value) for key, value in store.scan(b"0", b"9"))
    assert live < store.size_between(b"0", b"9") < 1.1 * live


def test_compaction_frees_what_was_deleted(store: LevelStore) -> None:
    values = {b"%06d" % i: os.urandom(1000) for i in range(4000)}
    store.write(Batch(dict(values)))
    store.compact()
    full = store.approximate_size()
    assert full > 4_000_000
    store.write(Batch(dict.fromkeys(values)))
    store.compact(b"0", b"9")
    assert store.approximate_size() < full / 4


def test_tables_live_on_disk(store: LevelStore, path: Path) -> None:
    overlay = Overlay(store)
    tables = Tables(overlay)
    tables.append_many(Table.MEMBERS, [b"member %d" % i for i in range(300)])
    root = tables.root()
    store.write(overlay.batch())
    store.close()
    reopened = open_here(path, create=False)
    with reopened.snapshot() as snapshot:
        reader = TableReader(snapshot)
        assert reader.root() == root == reader.prove(Table.MEMBERS, 299).root()
    reopened.close()


def test_the_models_of_both_contract_runs_are_one() -> None:
    model: dict[bytes, bytes] = {b"a": b"1"}
    apply_changes(model, {b"a": None, b"b": b""})
    assert model == {b"b": b""}
