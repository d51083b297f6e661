"""What is wrong with a node's home: one check after the other, each telling what it found (NODE §3, ``doctor``).

Rules of this file

* Nothing is mended and nothing is written (but what LevelDB does when it opens a database after a crash).
* One broken part does not hide the others: a check that cannot go on says so, and the next one begins.
* The database and the record can only be looked at while the node is stopped. While it runs, that is said, not guessed.
* ``INTEGRITY`` means that what is on the disk cannot be trusted; ``ERROR`` that the node would not start; ``WARNING``
  that it runs, but not as it should.
"""

import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import Final

from consensus.log import START, Position, decode_log
from consensus.records import FirstRecord
from ledger.blocks import header_hash
from ledger.errors import InvariantViolation, OperatorError
from ledger.genesis import Genesis
from ledger.indexes import differences
from ledger.protocol import check_known
from ledger.state import StateReader
from ledger.store import Store
from ledger.tables import TableReader
from ledger.upgrades import upgrade

from .blockstore import BlockReader, HeadRecord
from .config import Config
from .file_limit import check_file_limit
from .founding import read_signed_genesis
from .keys import load_node_keys
from .known_answers import check_rule, check_worker
from .opening import DATABASE_DIRECTORY
from .pruning import first_kept
from .storage import open_store
from .votelog import LOG_FILE

DIFFERENCES_MAX: Final = 20
"""Differences of indexes that are named."""
LINKED_BLOCKS: Final = 1_000
"""Newest blocks whose chain of hashes is walked."""
_INTEGRITY_EXIT: Final = 6


class Severity(Enum):
    """How bad a finding is."""

    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"
    INTEGRITY = "integrity"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be: what, why, and what to do next."""

    code: str
    severity: Severity
    what: str
    why: str = ""
    next: str = ""


def of_error(error: OperatorError) -> Finding:
    """An operator's error as a finding."""
    severity = Severity.INTEGRITY if error.exit_code == _INTEGRITY_EXIT else Severity.ERROR
    return Finding(error.code, severity, error.what, error.why, error.next)


def examine(config: Config, *, with_indexes: bool = True) -> list[Finding]:
    """Everything found in the home of ``config``. ``with_indexes``: read every row and every index entry as well."""
    findings = [
        *_guarded(lambda: _keys(config)),
        *_disk(config),
        *_guarded(_signatures),
        *_guarded(lambda: _files(config)),
    ]
    try:
        genesis = read_signed_genesis(config.genesis_path)
    except OperatorError as error:
        return [*findings, of_error(error)]
    findings += _guarded(lambda: _stored(config, genesis, with_indexes))
    return findings


def _guarded(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """The findings of a check; what ends it early is one more."""
    try:
        yield from check()
    except OperatorError as error:
        yield of_error(error)
    except InvariantViolation as error:
        yield _broken("DATABASE_DAMAGED", str(error))


def _broken(code: str, what: str, why: str = "") -> Finding:
    return Finding(
        code,
        Severity.INTEGRITY,
        what,
        why,
        "check the disk; then `huzhu reset`, and the node fetches every block again from its peers",
    )


# ---- keys, disk, signatures ------------------------------------------------------------------------------------------


def _keys(config: Config) -> Iterator[Finding]:
    directory = config.keys_path
    if directory.is_dir() and directory.stat().st_mode & 0o077:
        mode = stat.S_IMODE(directory.stat().st_mode)
        yield Finding(
            "KEYS_DIRECTORY_OPEN",
            Severity.WARNING,
            f"others can look into {directory} (mode {mode:04o})",
            "key files are private, and so is which keys there are",
            f"chmod 700 {directory}",
        )
    load_node_keys(directory, observer=not config.holds_validator_keys)


def _disk(config: Config) -> Iterator[Finding]:
    place = config.data_path if config.data_path.is_dir() else config.home
    free, floor = shutil.disk_usage(place).free, config.storage.free_bytes_min
    if free < floor:
        yield Finding(
            "DISK_BELOW_FLOOR",
            Severity.ERROR,
            f"{free:,} bytes are free below {place}, storage.free_bytes_min is {floor:,}",
            "the node does not sign below it",
            "free some space; the node resumes by itself",
        )
    elif free < 2 * floor:
        yield Finding(
            "DISK_LOW", Severity.WARNING, f"{free:,} bytes are free below {place}", "", "free some space soon"
        )


def _signatures() -> Iterator[Finding]:
    """Here and in a process of its own signatures are judged by the network's rule."""
    check_rule()
    check_worker()
    yield from ()


def _files(config: Config) -> Iterator[Finding]:
    check_file_limit(config)
    yield from ()


# ---- what only a stopped node shows ----------------------------------------------------------------------------------


def _stored(config: Config, genesis: Genesis, with_indexes: bool) -> Iterator[Finding]:
    path = config.data_path / DATABASE_DIRECTORY
    if not (path / "CURRENT").is_file() and not path.exists():
        yield Finding("NO_DATABASE_YET", Severity.NOTE, f"there is no database in {path} yet", "", "`huzhu start`")
        yield from _guarded(lambda: _log(config, genesis, START))
        return
    try:
        store = open_store(path, create=False, chain_id=genesis.chain_id)
    except OperatorError as error:
        if error.code != "LOCKED_DATABASE":
            raise
        yield Finding(
            "NODE_RUNS",
            Severity.NOTE,
            "the node runs: its database and signing record were not looked at",
            error.what,
            "stop it and run `huzhu doctor` again for the whole examination",
        )
        return
    try:
        head = BlockReader(store).head()
        if head is None:
            yield Finding("NO_DATABASE_YET", Severity.NOTE, f"the database in {path} is empty", "", "`huzhu start`")
        known = START if head is None else Position(head.log_sequence, head.log_crc)
        yield from _guarded(lambda: _log(config, genesis, known))
        if head is not None:
            yield from _guarded(lambda: missing_protocol(store))
            yield from _guarded(lambda: _blocks(store, head))
            yield from _guarded(lambda: _state(store, head))
            if with_indexes:
                yield from _guarded(lambda: _indexes(store))
    finally:
        store.close()


def _log(config: Config, genesis: Genesis, known: Position) -> Iterator[Finding]:
    """The signing record: there, intact, of this chain, and not older than the database."""
    if load_node_keys(config.keys_path, observer=not config.holds_validator_keys).validator is None:
        return
    path = config.data_path / LOG_FILE
    lost = "put the newest copy back; if it is gone for good: `huzhu start --record-lost`"
    try:
        decoded = decode_log(path.read_bytes())
    except FileNotFoundError:
        why = "without it this validator could contradict what it has signed before"
        yield Finding("LOG_MISSING", Severity.INTEGRITY, f"there is no signing log at {path}", why, lost)
        return
    first = next((record for record in decoded.records if isinstance(record, FirstRecord)), None)
    if first is None or first.chain_id != genesis.chain_id:
        what = f"the signing log {path} belongs to another chain"
        yield Finding("LOG_FOREIGN", Severity.ERROR, what, "", "check the home directory")
    elif known != START and not decoded.holds(known):
        why = f"record {known.sequence}, which the database remembers, is not in it"
        what = f"the signing log {path} is older than the database"
        yield Finding("LOG_ROLLED_BACK", Severity.INTEGRITY, what, why, lost)
    elif decoded.torn:
        what = f"the signing log {path} ends in the middle of a record"
        yield Finding("LOG_TORN", Severity.NOTE, what, "a crash; nobody was told of it", "the next start cuts it off")


def _blocks(store: Store, head: HeadRecord) -> Iterator[Finding]:
    """The newest blocks are there and each names its parent."""
    blocks, expected = BlockReader(store), head.hash
    full = max(first_kept(store, 0), next(blocks.content_heights(), 0))
    for height in range(head.height, max(-1, head.height - LINKED_BLOCKS), -1):
        raw = blocks.header_raw(height)
        if raw is None or header_hash(raw) != expected:
            what = f"block {height} is {'missing' if raw is None else 'another one'}"
            yield _broken("BLOCK_DAMAGED", what, f"{expected.hex()} is the hash that follows from the head")
            return
        if blocks.certificate_raw(height) is None:
            yield _broken("BLOCK_DAMAGED", f"block {height} has no certificate")
        if height >= full and (blocks.receipts(height) is None or blocks.body_raw(height) is None):
            yield _broken("BLOCK_DAMAGED", f"block {height} has no body or no receipts")
        header = blocks.header(height)
        expected = header.parent if header is not None else b""


def missing_protocol(store: Store) -> Iterator[Finding]:
    """A protocol was decided that this program does not speak."""
    ahead = upgrade(StateReader(store))
    try:
        if ahead is not None:
            check_known(ahead.version, ahead.height)
    except OperatorError as error:
        yield Finding("UPGRADE_AHEAD", Severity.WARNING, error.what, error.why, error.next)


def _state(store: Store, head: HeadRecord) -> Iterator[Finding]:
    """The tables have the root that the head record names."""
    root = TableReader(store).root()
    if root != head.state_root:
        why = f"the tables have {root.hex()}, the head record names {head.state_root.hex()}"
        yield _broken("STATE_ROOT_DIFFERS", f"the state is not the one after block {head.height}", why)


def _indexes(store: Store) -> Iterator[Finding]:
    found = list(islice(differences(store), DIFFERENCES_MAX + 1))
    for index, key, what in found[:DIFFERENCES_MAX]:
        name = "unknown" if index is None else index.name.lower()
        yield _broken("INDEX_DIFFERS", f"index {name}: entry {key.hex()} is {what}", "rows and indexes disagree")
    if len(found) > DIFFERENCES_MAX:
        yield _broken("INDEX_DIFFERS", f"more than {DIFFERENCES_MAX} entries of indexes differ")
