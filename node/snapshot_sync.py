"""Joining by snapshot: choose one that enough peers hold, fetch it, rebuild what is derived, and call it whole.

Rules of this file

* All peers are asked for one height just above the head, so that they hold the same state; of what they offer and the
  genesis proves, the one most of them hold is fetched, the higher of two. A height that was begun before is asked for
  first.
* Nothing of an index is taken from a peer: they are rebuilt from the rows that have been checked (LEDGER §1).
* The head record is written last. A store that has one is whole; before, it is only something to go on with.
* Finding a snapshot is limited in time: then ``run`` answers false, and the node fetches blocks instead.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ledger.blocks import decode_header
from ledger.codec import decode_own, encode
from ledger.errors import InvariantViolation, PeerError
from ledger.genesis import Genesis
from ledger.store import LENGTHS, META, Batch, Store
from ledger.tables import TableReader, heads_value
from p2p.clock import Alarm, Clock
from p2p.requests import RequestFailed

from . import blockstore
from .blockstore import BlockReader, HeadRecord, StoredTransition
from .logs import Log
from .snapshot_blocks import BlockFetch
from .snapshot_indexes import IndexRebuild
from .snapshot_offer import Target, check_offer
from .snapshot_progress import Phase, Progress
from .snapshot_sources import Links, NoSource, Sources
from .snapshot_tables import TableFetch
from .snapshot_wire import GetSnapshot, decode_offer, encode_answer

TARGET_KEY: Final = META + b"joining"
"""The height of the snapshot that is being fetched into this store."""
DISCOVERY_S: Final = 30.0
"""After so long without a snapshot, or without anything new fetched, blocks are fetched instead."""
RETRY_S: Final = 1.0
OFFER_TIMEOUT_S: Final = 8.0
PEERS_MAX: Final = 16
HEIGHT_MIN: Final = 2


@dataclass
class _Group:
    """The peers that offer the same."""

    target: Target
    peers: list[bytes] = field(default_factory=list)


class SnapshotSync:
    """See the head of this file. ``run`` it once over an open store that nobody else uses."""

    def __init__(
        self,
        *,
        genesis: Genesis,
        store: Store,
        scratch: Path,
        write: Callable[[Batch], Awaitable[None]],
        links: Links,
        clock: Clock,
        head: Callable[[], int],
        progress: Progress,
        log: Log,
        floor: int = 0,
    ) -> None:
        """``head()``: the height the peers are known to have reached. ``scratch``: a directory for sorting.

        ``floor``: no snapshot below this height, for somebody trusted has seen the chain there."""
        self._genesis = genesis
        self._store = store
        self._scratch = scratch
        self._write = write
        self._links = links
        self._clock = clock
        self._head = head
        self._progress = progress
        self._log = log
        self._floor = max(floor, HEIGHT_MIN)
        self.target: Target | None = None
        """The snapshot that was chosen last."""

    async def run(self) -> bool:
        """Whether a snapshot was fetched: then the store is a whole database, to be opened by a node."""
        since_s, kept = self._clock.monotonic_s(), -1
        while self._clock.monotonic_s() - since_s < DISCOVERY_S:
            group = await self._choose()
            if group is None:
                await Alarm(self._clock).wait(RETRY_S)
                continue
            try:
                await self._fetch(group)
            except (NoSource, PeerError) as error:
                self._log.info("the snapshot is left", height=group.target.height, why=str(error))
                if self._progress.shown.bytes > kept:
                    since_s, kept = self._clock.monotonic_s(), self._progress.shown.bytes
                continue
            return True
        return False

    # ---- choosing ----

    async def _choose(self) -> _Group | None:
        self._progress.begin(Phase.WAITING, 0)
        begun = self._store.get(TARGET_KEY)
        wanted = decode_own(int, begun) if begun is not None else self._head() + 1
        found = await self._offers(wanted)
        if begun is not None and not any(group.target.height == wanted for group in found):
            found = await self._offers(self._head() + 1)  # nobody holds it any more: all of them the same new one
        return max(found, key=lambda group: (len(group.peers), group.target.height), default=None)

    async def _offers(self, height: int) -> list[_Group]:
        groups: dict[object, _Group] = {}
        peers = self._links.connected()[:PEERS_MAX]
        async with asyncio.TaskGroup() as tasks:
            asked = [(peer, tasks.create_task(self._offer(peer, height))) for peer in peers]
        for peer, task in asked:
            target = task.result()
            if target is not None and target.height >= self._floor:
                groups.setdefault(target.identity, _Group(target)).peers.append(peer)
        return list(groups.values())

    async def _offer(self, peer: bytes, height: int) -> Target | None:
        question = encode_answer(GetSnapshot(height))
        try:
            raw = await self._links.request(peer, question, timeout_s=OFFER_TIMEOUT_S)
            return check_offer(self._genesis, decode_offer(raw))
        except RequestFailed:
            return None
        except PeerError as error:
            self._links.penalize(peer, error)
            return None

    # ---- fetching ----

    async def _fetch(self, group: _Group) -> None:
        target, progress = group.target, self._progress
        self.target = target
        sources = Sources(self._links, self._clock, group.peers)
        progress.height, progress.peers = target.height, len(group.peers)
        self._log.info("snapshot", height=target.height, rows=target.rows, peers=len(group.peers))
        await self._write(Batch({TARGET_KEY: encode(target.height)}))
        progress.begin(Phase.TABLES, target.rows)
        await TableFetch(self._store, self._write, target, sources, progress).run()
        progress.begin(Phase.BLOCKS, 0)
        await BlockFetch(self._write, target, sources, progress).run()
        await self._write(Batch({LENGTHS: heads_value(target.lengths, target.roots)}))
        if TableReader(self._store).root() != target.header.state_root:
            raise InvariantViolation("the fetched tables have another root than the header they were checked against")
        await self._rebuild(target)
        await self._finish(target)
        progress.begin(Phase.DONE, 0)

    async def _rebuild(self, target: Target) -> None:
        """All derived indexes anew from the rows."""
        progress = self._progress
        progress.begin(Phase.INDEXES, 2 * sum(target.lengths))
        await IndexRebuild(self._store, self._write, self._scratch, progress.fetched).run()

    async def _finish(self, target: Target) -> None:
        head = target.height - 1
        batch = Batch()
        blockstore.put_validators(batch, *target.sets)
        for item in target.transitions:
            height = decode_header(item.header).height
            blockstore.put_transition(batch, height, StoredTransition(item.header, item.certificate))
            if item.recovery is not None:
                blockstore.put_epoch_begun(batch, height, item.recovery)
        blockstore.put_head(
            batch,
            HeadRecord(
                height=head,
                hash=target.header.parent,
                state_root=target.header.state_root,
                receipts_root=target.header.receipts_root,
                log_sequence=0,
                log_crc=0,
            ),
        )
        batch.delete(TARGET_KEY)
        await self._write(batch)


def is_whole(store: Store) -> bool:
    """Whether the store has a head: a fetched one has it last."""
    return BlockReader(store).head() is not None
