"""What a running node holds open: the database with its one writer thread, and a validator's signing log or signer.

Opened in that order, for the database remembers where the signing log stood; closed after what is being written
has been written. An observer has no signing log, and its validator keys are not even read.

When a batch finds the disk full the database takes no more until it was closed and opened (``node.storage``). Then
``write`` does not return: whoever waits for it waits until ``give_up``, and nothing is told of a block that is not
on the disk. Reads go on. The process opens everything anew when there is room; to the rules that is a restart.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from consensus.log import Position
from consensus.records import Record
from consensus.safety import SafetyRules
from ledger.errors import HuzhuError, OperatorError
from ledger.genesis import Genesis
from ledger.store import Batch
from ledger.validity import HeightView

from .config import Config
from .files import Files
from .founding import read_signed_genesis
from .keys import NodeKeys
from .meanwhile import Work, meanwhile, nothing
from .resume import load_view
from .seat import Seat
from .signer.remote import RemoteSigner, open_remote
from .snapshot_place import DATABASE_DIRECTORY as DATABASE_DIRECTORY
from .snapshot_place import take_over
from .storage import LevelStore, open_store
from .votelog import VoteLog, open_log

_NOWHERE: Final = Position(0, 0)
_FULL: Final = "DISK_FULL"


class Disk:
    """See the head of this file. Made by ``open_disk``; ``close`` it last."""

    def __init__(self, path: Path, store: LevelStore, view: HeightView) -> None:
        self.path = path
        self.store = store
        self.view = view
        """The head as it was found."""
        self.vote_log: VoteLog | RemoteSigner | None = None
        self.seat: Seat | None = None
        self.records: Sequence[Record] = ()
        """What the signing log held."""
        self.full = False
        """Whether the database has met a full disk, and takes no more until it was opened anew."""
        self._on_full: Callable[[OperatorError], object] = lambda error: None
        self._work: Work = nothing
        self._waiting: set[asyncio.Future[None]] = set()
        self._given_up = False
        self._writer = ThreadPoolExecutor(1, "ledger-writer")

    def watch(self, on_full: Callable[[OperatorError], object]) -> None:
        """Tell ``on_full``, once, when the database has met a full disk."""
        self._on_full = on_full

    def work_meanwhile(self, work: Work) -> None:
        """Do this while a batch is being written."""
        self._work = work

    async def write(self, batch: Batch) -> None:
        """One synced batch, in the writer thread. Does not return once the disk is full (``full``)."""
        try:
            writing = asyncio.get_running_loop().run_in_executor(self._writer, self.store.write, batch)
            await meanwhile(writing, self._work)
        except OperatorError as error:
            if error.code != _FULL:
                raise
            if not self.full:
                self.full = True
                self._on_full(error)
            await self._until_given_up()

    async def _until_given_up(self) -> None:
        """Wait to be cancelled."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._given_up:
            waiter.cancel()
        self._waiting.add(waiter)
        try:
            await waiter
        finally:
            self._waiting.discard(waiter)

    def give_up(self) -> None:
        """The node ends: cancel whoever waits for a batch that the full disk has refused."""
        self._given_up = True
        for waiter in tuple(self._waiting):
            waiter.cancel()

    def log_position(self) -> Position:
        """Where the signing log stands, durably."""
        return _NOWHERE if self.vote_log is None else self.vote_log.durable

    def close(self) -> None:
        """Finish what is being written, then give everything back."""
        self._writer.shutdown(wait=True)
        if self.vote_log is not None:
            self.vote_log.close()
        self.store.close()


def open_disk(config: Config, genesis: Genesis, keys: NodeKeys, *, files: Files | None, rotate_bytes: int) -> Disk:
    """Open the node's database and signing log; a new database begins with the genesis. Raises ``OperatorError``."""
    data = config.data_path
    take_over(data)
    store = open_store(
        data / DATABASE_DIRECTORY,
        create=True,
        chain_id=genesis.chain_id,
        block_cache_bytes=config.storage.cache_bytes,
    )
    try:
        view, known = load_view(store, genesis)
        disk = Disk(data, store, view)
        if config.signer_path is not None:
            remote, disk.records = open_remote(config.signer_path, chain_id=genesis.chain_id, known=known)
            disk.vote_log, disk.seat = remote, Seat(remote.keys, remote, remote)
        elif keys.validator is not None and keys.beacon is not None:
            disk.vote_log, decoded = open_log(
                data, chain_id=genesis.chain_id, known=known, files=files, rotate_bytes=rotate_bytes
            )
            disk.records = tuple(decoded.records)
            pairs = [pair for pair in (keys.validator, keys.validator_next) if pair is not None]
            safety = SafetyRules(
                genesis.chain_id,
                [pair.secret for pair in pairs],
                keys.beacon.secret,
                disk.records,
                next_beacon_seed=keys.beacon_next.secret if keys.beacon_next is not None else None,
            )
            disk.seat = Seat(tuple(pair.public for pair in pairs), safety, disk.vote_log)
    except HuzhuError:
        store.close()
        raise
    return disk


def check_clock(config: Config, genesis: Genesis) -> None:
    """Only a test network's clock may be wrong on purpose. Raises ``OperatorError`` CLOCK_OFFSET_REFUSED."""
    if config.node.clock_offset_ms and not genesis.stepped:
        raise OperatorError(
            "CLOCK_OFFSET_REFUSED",
            f"node.clock_offset_ms is {config.node.clock_offset_ms}, and this chain's clock is real",
            "a validator whose clock is wrong refuses good proposals",
            'remove the key; it is for chains with clock = "stepped", which are tests',
        )


def read_genesis(config: Config) -> Genesis:
    """The genesis of the node's home, signed by every founder. Raises ``OperatorError``."""
    return read_signed_genesis(config.genesis_path)
