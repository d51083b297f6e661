"""A node that begins with nothing: waiting to be admitted, then joining by snapshot, or falling back to blocks.

Rules of this file

* Blocks are held back only while this decides, and only on a chain that is still at height 0: a founding network, or
  one a few blocks old, never waits. Where everybody has pruned the first blocks, a short chain comes by snapshot too.
* The snapshot grows in a database of its own (``snapshot_place``); the node goes on serving the genesis state and says
  how far it is. When it is whole the node ends to be started anew on it. What a kill interrupts goes on at the start.
* Without full links a node asks those that know it as an applicant how many organisations are in favour, and tells it.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Protocol

from ledger.errors import OperatorError, PeerError
from ledger.genesis import Genesis
from ledger.store import Batch
from p2p.clock import Alarm, Clock
from p2p.peers import PeerInfo
from p2p.requests import RequestFailed

from . import snapshot_place
from .applicants import ADMITTED
from .bundle import head_floor
from .chain import Chain
from .logs import Log
from .snapshot_progress import Progress
from .snapshot_sources import Links
from .snapshot_sync import HEIGHT_MIN, SnapshotSync, is_whole
from .snapshot_wire import Admission, GetAdmission, decode_admission, encode_answer
from .storage import open_store
from .sync import Sync

MODES: Final = ("auto", "blocks", "snapshot")
BLOCKS_BEHIND_MIN: Final = 1_000
"""With mode ``auto`` a chain that is shorter is fetched block by block."""
INFORMED_S: Final = 15.0
"""After the first link: so long until f + 1 validators have told their heads."""
LOOK_S: Final = 0.25
PRUNED_LOOK_S: Final = 1.0
ASK_S: Final = 2.0
ANSWER_TIMEOUT_S: Final = 5.0
TOLD_S: Final = 5.0
"""Between two lines of progress in the log."""


class Network(Links, Protocol):
    """What joining needs of the network."""

    def peers(self) -> list[PeerInfo]: ...


class Joining:
    """See the head of this file. ``run``, ``ask`` and ``tell`` belong to the node's TaskGroup."""

    def __init__(
        self,
        *,
        mode: str,
        home: Path,
        data: Path,
        genesis: Genesis,
        chain: Chain,
        sync: Sync,
        network: Network,
        clock: Clock,
        log: Log,
        reopen: Callable[[], None],
    ) -> None:
        """``reopen()``: end this node, and start one on the database that is there then."""
        self._home = home
        self._data = data
        self._genesis = genesis
        self._chain = chain
        self._sync = sync
        self._network = network
        self._clock = clock
        self._log = log
        self._reopen = reopen
        self._height_min = HEIGHT_MIN if mode == "snapshot" else BLOCKS_BEHIND_MIN
        self.by_snapshot = mode != "blocks"
        """Whether a snapshot may come."""
        self._open = mode != "blocks" and chain.height == 0
        """Whether it is still to be decided or done."""
        self._progress: Progress | None = None
        self._admission: Admission | None = None
        if self._open:
            sync.hold()

    @property
    def status(self) -> dict[str, Any]:
        """For the node's status; empty when there is nothing to say."""
        said: dict[str, Any] = {}
        if self._progress is not None:
            said["snapshot"] = self._progress.shown.as_dict()
        if self._admission is not None:
            told = self._admission
            names = ("state", "proposal", "in_favour", "needed", "due_ms")
            said["application"] = {name: getattr(told, name) for name in names}
        return said

    # ---- the snapshot ----

    async def run(self) -> None:
        """Decide, fetch if it is worth it, and let blocks be fetched otherwise."""
        if self._open and await self._far_behind() and await self._joined():
            return
        self._open = False
        self._sync.release()
        while self.by_snapshot and self._chain.height == 0:
            if self._sync.out_of_reach is not None:
                self._log.info("the first blocks are pruned everywhere: a snapshot is fetched")
                self._sync.hold()
                if await self._joined():
                    return
                self._sync.release()
            await Alarm(self._clock).wait(PRUNED_LOOK_S)

    async def _joined(self) -> bool:
        """Whether a snapshot was fetched: then the node starts anew on it."""
        if await self._fetch():
            self._log.info("snapshot complete: the node starts anew on it")
            self._reopen()
            return True
        self._progress = None
        snapshot_place.forget(self._data)
        self._log.warning("no snapshot could be fetched: blocks are fetched instead")
        return False

    async def _far_behind(self) -> bool:
        since_s: float | None = None
        while self._chain.height == 0:
            now_s = self._clock.monotonic_s()
            if self._network.connected() and since_s is None:
                since_s = now_s
            far = self._sync.best_known >= self._height_min
            if far or (since_s is not None and (self._sync.informed or now_s - since_s >= INFORMED_S)):
                return far
            await Alarm(self._clock).wait(LOOK_S)
        return False

    async def _fetch(self) -> bool:
        path = snapshot_place.joining_path(self._data)
        store = open_store(path, create=True, chain_id=self._genesis.chain_id)
        writer = ThreadPoolExecutor(1, "joining-writer")

        async def write(batch: Batch) -> None:
            await asyncio.get_running_loop().run_in_executor(writer, store.write, batch)

        self._progress = Progress(self._clock)
        sync = SnapshotSync(
            genesis=self._genesis,
            store=store,
            scratch=self._data / snapshot_place.SORTING_DIRECTORY,
            write=write,
            links=self._network,
            clock=self._clock,
            head=lambda: self._sync.best_known,
            progress=self._progress,
            log=self._log,
            floor=self._floor(),
        )
        try:
            done = is_whole(store) or await sync.run()
        finally:
            writer.shutdown(wait=True)
            store.close()
        if done:
            snapshot_place.finish(self._data)
        return done

    def _floor(self) -> int:
        """The head that the bundle names, if this node joined by one that still holds."""
        try:
            return head_floor(self._home)
        except OperatorError as error:
            self._log.warning("the bundle in the home is not used", why=error.what)
            return 0

    async def tell(self) -> None:
        """A line in the log from time to time while a snapshot is fetched."""
        while True:
            await Alarm(self._clock).wait(TOLD_S)
            if self._progress is not None:
                shown = self._progress.shown
                self._log.info(
                    "joining",
                    phase=shown.phase,
                    percent=shown.percent,
                    per_second=shown.per_second,
                    eta_s=shown.eta_seconds,
                    peers=shown.peers,
                )

    # ---- the application ----

    async def ask(self) -> None:
        """While others know this node as an applicant only: how far is its organisation's application?"""
        while True:
            heard = await self._hear()
            if heard is not None and heard != self._admission:
                self._log.info("application", state=heard.state, in_favour=heard.in_favour, needed=heard.needed)
            if heard is not None:
                self._admission = heard
            elif self._admission is not None and self._network.connected():
                self._log.info("application", state=ADMITTED)
                self._admission = None
            await Alarm(self._clock).wait(ASK_S)

    async def _hear(self) -> Admission | None:
        """What the first of them says that answers."""
        asked = [info.key for info in self._network.peers() if info.connected and info.status_only]
        for peer in asked:
            try:
                raw = await self._network.request(peer, encode_answer(GetAdmission()), timeout_s=ANSWER_TIMEOUT_S)
                return decode_admission(raw)
            except RequestFailed:
                continue
            except PeerError as error:
                self._network.penalize(peer, error)
        return None
