"""A snapshot in a directory: made of a node's own state by the code that joins by snapshot, and checked from its rows.

Rules of this file

* The directory holds ``genesis.toml`` with its signatures, the certified ``offer``, and the database as a node that
  joined would have it. So whoever has the directory needs nobody to check it: genesis to header, header to roots, roots
  to every row.
* It is made piece by piece from a held state, and each piece is checked as if a stranger had sent it: a damaged
  database makes no snapshot.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ledger.codec import encode
from ledger.errors import OperatorError, PeerError
from ledger.genesis import SIGNATURES_FILE, Genesis
from ledger.pages import WIDTH
from ledger.store import Batch
from ledger.subtrees import Subtree, build, read_page, root_level, root_of, rows_under
from ledger.tables import TABLES, Table
from p2p.clock import SystemClock

from .founding import read_signed_genesis
from .snapshot_offer import Target, check_lengths, check_offer
from .snapshot_place import DATABASE_DIRECTORY, SORTING_DIRECTORY
from .snapshot_progress import Progress
from .snapshot_sync import SnapshotSync
from .snapshot_wire import PIECE_LEVEL, Snapshot, decode_offer
from .storage import LevelStore, open_store

GENESIS_FILE: Final = "genesis.toml"
OFFER_FILE: Final = "offer"
_NODE: Final = b"the node itself"


@dataclass(frozen=True, slots=True)
class Found:
    """A snapshot in a directory."""

    path: Path
    chain: str
    chain_id: str
    height: int
    """Of the header that certifies it."""
    time_ms: int
    rows: int
    state_root: str
    database_bytes: int


class _Links:
    """The node whose state it is, as the only peer."""

    def __init__(self, ask: Callable[[bytes], Awaitable[bytes]]) -> None:
        self._ask = ask
        self.fault: PeerError | None = None

    def connected(self) -> list[bytes]:
        return [] if self.fault is not None else [_NODE]

    async def request(self, peer: bytes, payload: bytes, *, timeout_s: float) -> bytes:
        return await self._ask(payload)

    def penalize(self, peer: bytes, error: PeerError) -> None:
        self.fault = error


class _Quiet:
    """Nothing is logged: the command tells its progress itself."""

    def debug(self, event: str, **particulars: Any) -> None:
        """Say nothing."""

    info = warning = error = debug


async def create(
    genesis: Genesis, signatures: str, ask: Callable[[bytes], Awaitable[bytes]], out: Path, progress: Progress
) -> Found:
    """Write a snapshot of the node that answers ``ask`` to the new directory ``out``.

    Raises ``OperatorError``: SNAPSHOT_EXISTS, SNAPSHOT_FAILED.
    """
    store = _begin(genesis, out)
    links = _Links(ask)

    async def write(batch: Batch) -> None:
        store.write(batch)

    sync = SnapshotSync(
        genesis=genesis,
        store=store,
        scratch=out / SORTING_DIRECTORY,
        write=write,
        links=links,
        clock=SystemClock(),
        head=lambda: 0,
        progress=progress,
        log=_Quiet(),
    )
    try:
        done = await sync.run()
    finally:
        store.close()
    target = sync.target
    if not done or target is None:
        why = "the node holds no certified state yet" if links.fault is None else str(links.fault)
        raise OperatorError(
            "SNAPSHOT_FAILED", f"no snapshot was made in {out}", why, "wait for a block, or `huzhu doctor`", exit_code=1
        )
    return _keep(genesis, signatures, target, out)


def _begin(genesis: Genesis, out: Path) -> LevelStore:
    if out.exists():
        raise OperatorError("SNAPSHOT_EXISTS", f"{out} exists already", "", "name a new directory")
    out.mkdir(parents=True)
    return open_store(out / DATABASE_DIRECTORY, create=True, chain_id=genesis.chain_id)


def _keep(genesis: Genesis, signatures: str, target: Target, out: Path) -> Found:
    (out / GENESIS_FILE).write_bytes(genesis.raw)
    (out / SIGNATURES_FILE).write_text(signatures)
    (out / OFFER_FILE).write_bytes(encode(_offer(target)))
    return describe(out)


def _offer(target: Target) -> Snapshot:
    return Snapshot(
        height=target.height,
        header=target.header_raw,
        certificate=encode(target.certificate),
        transitions=target.transitions,
        lengths=target.lengths[1:],
        roots=target.roots[1:],
    )


def describe(path: Path) -> Found:
    """What the directory holds, its header proven from the genesis. Raises ``OperatorError`` SNAPSHOT_INVALID."""
    genesis, target = _read(path)
    database = path / DATABASE_DIRECTORY
    return Found(
        path=path,
        chain=genesis.name,
        chain_id=genesis.chain_id.hex(),
        height=target.height,
        time_ms=target.header.time_ms,
        rows=target.rows,
        state_root=target.header.state_root.hex(),
        database_bytes=sum(item.stat().st_size for item in database.iterdir()) if database.is_dir() else 0,
    )


def verify(path: Path, done: Callable[[int], None]) -> Found:
    """Hash every row up to the certified root; ``done(n)``: n more rows. Raises ``OperatorError`` SNAPSHOT_INVALID."""
    genesis, target = _read(path)
    store = open_store(path / DATABASE_DIRECTORY, create=False, chain_id=genesis.chain_id)
    try:
        check_lengths(target, read_page(store, Table.META, 0, target.lengths[Table.META])[0])
        for tag in range(1, TABLES + 1):
            _verify_table(store, target, Table(tag), done)
    except PeerError as error:
        raise _invalid(path, error.detail) from error
    finally:
        store.close()
    return describe(path)


def _verify_table(store: LevelStore, target: Target, table: Table, done: Callable[[int], None]) -> None:
    length = target.lengths[table]
    if not length:
        return
    level = min(root_level(length), PIECE_LEVEL)
    hashes = []
    for index in range(-(-length // rows_under(level))):
        where = Subtree(table, level, index)
        first = where.first // WIDTH
        pages = range(first, first + -(-where.rows(length) // WIDTH))
        rows = [row for number in pages for row in read_page(store, table, number, length)]
        hashes.append(build(where, rows).root)
        done(len(rows))
    if root_of(hashes, root_level(length) - level) != target.roots[table]:
        raise PeerError("BAD_ROWS", f"the rows of {table.name.lower()} have another root than the header binds")


def _read(path: Path) -> tuple[Genesis, Target]:
    genesis = read_signed_genesis(path / GENESIS_FILE)
    try:
        return genesis, check_offer(genesis, decode_offer((path / OFFER_FILE).read_bytes()))
    except OSError as error:
        raise _invalid(path, str(error)) from error
    except PeerError as error:
        raise _invalid(path, error.detail) from error


def _invalid(path: Path, why: str) -> OperatorError:
    return OperatorError("SNAPSHOT_INVALID", f"{path} is no snapshot that holds", why, "make another one", exit_code=6)
