"""What must be on the disk before what is said, shown on the real adapters of a running node (CONSENSUS §3).

``ShadowFiles`` keeps what a power cut would leave: contents as of their last fsync, names as of the directory's. Each
message the node sends is compared with that. Taking out any one fsync, of the log, of its directory, or of the LevelDB
batch, makes the same run fail.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from consensus.log import Decoded, decode_log
from consensus.messages import (
    SignedCommit,
    SignedPrepare,
    SignedProposal,
    SignedRoundChange,
    Status,
    decode_framed,
)
from consensus.records import BodyRecord, FirstRecord, LockRecord, ProposalRecord, VoteRecord
from ledger.calendar import MS_PER_DAY
from ledger.codec import decode_own
from ledger.transactions import AdvanceClock
from node import opening
from node.blockstore import HEAD_KEY, HeadRecord
from node.files import SystemFiles
from node.keys import load_node_keys
from node.storage import LevelStore, open_store
from node.votelog import LOG_FILE, create_log
from node.wire import decode_head
from p2p.limits import Channel
from p2p.network import Network as Links
from tests.node.network import Network, running

NAME = "bank"


class ShadowFiles(SystemFiles):
    """The real files, and beside them what a power cut would leave."""

    def __init__(self) -> None:
        self.skip: str = ""
        self.replaced = 0
        self._contents: dict[int, bytes] = {}
        self._names: dict[Path, int] = {}
        self._paths: dict[int, Path] = {}

    def survives(self, path: Path) -> bytes:
        """The durable content under a durable name; nothing when there is none."""
        return self._contents.get(self._names.get(path, -1), b"")

    def open(self, path: Path) -> int:
        descriptor = super().open(path)
        self._paths[descriptor] = path
        return descriptor

    def create(self, path: Path) -> int:
        descriptor = super().create(path)
        self._paths[descriptor] = path
        return descriptor

    def replace(self, source: Path, target: Path) -> None:
        super().replace(source, target)
        self.replaced += 1
        for descriptor, path in self._paths.items():
            if path == source:
                self._paths[descriptor] = target

    def fsync(self, descriptor: int) -> None:
        if self.skip != "fsync":
            super().fsync(descriptor)
            self._contents[os.fstat(descriptor).st_ino] = self._paths[descriptor].read_bytes()

    def fsync_directory(self, path: Path) -> None:
        if self.skip != "fsync_directory":
            super().fsync_directory(path)
            for name in path.iterdir():
                self._names[name] = name.stat().st_ino


VOTES = {"SignedPrepare", "SignedCommit", "SignedProposal"}
BLOCKS_MIN = 8
BLOCKS_MAX = 64
"""Before so many blocks the node watched has proposed one, but for a chance of (3/4)^64."""


class RecordingDatabase:
    """plyvel's database, noting the height of the newest head written by a *synced* batch."""

    def __init__(self, database: Any, *, take_out_sync: bool) -> None:
        self._database = database
        self._take_out_sync = take_out_sync
        self.durable_height = -1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    @contextmanager
    def write_batch(self, *, sync: bool, transaction: bool) -> Iterator[Any]:
        sync = sync and not self._take_out_sync
        with self._database.write_batch(sync=sync, transaction=transaction) as writing:
            yield writing
        if sync:
            head = self._database.get(HEAD_KEY)
            self.durable_height = decode_own(HeadRecord, head).height if head is not None else -1


class Witness:
    """Compares every message that the node named ``NAME`` sends with what its disk holds at that moment."""

    def __init__(self, log_path: Path, files: ShadowFiles) -> None:
        self.log_path = log_path
        self.files = files
        self.database: RecordingDatabase | None = None
        self.broken: list[str] = []
        self.kinds: set[str] = set()

    def sent(self, index: int | None, channel: Channel, payload: bytes) -> None:
        durable_height = self.database.durable_height if self.database is not None else -1
        if channel is Channel.SYNC:
            self._require(decode_head(payload).height <= durable_height, "a head told before its batch was synced")
        if channel is not Channel.CONSENSUS:
            return
        _, message = decode_framed(payload)
        if isinstance(message, Status):
            self._require(message.height - 1 <= durable_height, "a status told before its head was synced")
        own = (SignedProposal, SignedPrepare, SignedCommit, SignedRoundChange)
        if not isinstance(message, own) or message.index != index:
            return
        self.kinds.add(type(message).__name__)
        self._require(message.message.height - 1 <= durable_height, "a vote before the parent's batch was synced")
        self._check_record(decode_log(self.files.survives(self.log_path)), message)

    def _check_record(
        self, log: Decoded, message: SignedProposal | SignedPrepare | SignedCommit | SignedRoundChange
    ) -> None:
        vote = message.message
        intents = [r.message for r in log.records if isinstance(r, VoteRecord | ProposalRecord)]
        self._require(vote in intents, f"{type(vote).__name__} sent, its record would not survive")
        if isinstance(message, SignedProposal | SignedPrepare):
            bodies = {r.hash for r in log.records if isinstance(r, BodyRecord)}
            self._require(message.message.hash in bodies, "a body promised that would not survive")
        if isinstance(message, SignedCommit):
            locks = {(r.lock.round, r.lock.hash) for r in log.records if isinstance(r, LockRecord)}
            here = (message.message.round, message.message.hash)
            self._require(here in locks, "a Commit without a lock that would survive")

    @property
    def has_seen_enough(self) -> bool:
        """Whether the node proposed (the beacon draws who does), voted, and rotated its log."""
        return self.kinds >= VOTES and self.files.replaced > 1

    def _require(self, holds: bool, broken: str) -> None:
        if not holds:
            self.broken.append(broken)


async def watched_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, take_out: str) -> Witness:
    """A few blocks of four nodes with ``NAME`` watched, its log rotated at every block it may be."""
    network = Network(tmp_path, observers=1)
    home = network.members[NAME].home
    files = ShadowFiles()
    files.skip = take_out
    in_rotation = take_out == "fsync_directory in a rotation"
    keys = load_node_keys(home / "keys")
    own_key, key = keys.node.public, keys.validator
    assert key is not None
    (home / "data" / LOG_FILE).unlink()
    create_log(home / "data", FirstRecord(network.genesis.chain_id, key.public, False), files)
    if in_rotation:
        files.skip = "fsync_directory"
    network.options[NAME] = {"files": files, "rotate_bytes": 4_096}
    witness = Witness(home / "data" / LOG_FILE, files)

    def open_recorded(path: Path, **settings: Any) -> LevelStore:
        store = open_store(path, **settings)
        if path.is_relative_to(home):
            witness.database = RecordingDatabase(store._database, take_out_sync=take_out == "batch")
            store._database = witness.database
        return store

    def sending(links: Links, peer: bytes, channel: Channel, payload: bytes) -> bool:
        if links.key == own_key:
            witness.sent(network.members[NAME].running.driver.own_index, channel, payload)
        return send(links, peer, channel, payload)

    send = Links.send
    monkeypatch.setattr(opening, "open_store", open_recorded)
    monkeypatch.setattr(Links, "send", sending)
    async with running(network):
        start_ms = network.genesis.values.clock_start_ms
        for day in range(1, BLOCKS_MAX + 1):
            if day > BLOCKS_MIN and witness.has_seen_enough:
                break
            await network.submit("platform", ("clock", AdvanceClock(start_ms + day * MS_PER_DAY)))
            height = network.nodes[NAME].chain.height
            await network.until_height(height + 1)
    return witness


@pytest.mark.asyncio
async def test_everything_said_would_survive_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    witness = await watched_run(tmp_path, monkeypatch, take_out="")
    assert witness.broken == []
    assert witness.has_seen_enough, (witness.kinds, witness.files.replaced)


@pytest.mark.asyncio
@pytest.mark.parametrize("take_out", ["fsync", "fsync_directory", "fsync_directory in a rotation", "batch"])
async def test_taking_out_any_one_fsync_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, take_out: str
) -> None:
    witness = await watched_run(tmp_path, monkeypatch, take_out)
    assert witness.broken
