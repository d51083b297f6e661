"""Where a node is, as values for its API, its logs and its metrics. Read from the parts; it changes none of them."""

import asyncio
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from ledger.rows import Organisation
from p2p.clock import Clock
from p2p.network import Network
from p2p.peers import PeerInfo, Stranger

from .admission import Admission
from .agreement import agreement
from .api.view import NodeStatus
from .chain import Chain, Committed, StateView
from .disk import DiskGuard
from .driver import Driver
from .health import Heartbeat
from .joining import Joining
from .keys import NodeKeys
from .logs import Log, summary
from .mempool import Mempool
from .metrics import Metrics
from .sync import Sync

SYNCING_BLOCKS_BEHIND: Final = 2
CLOCK_WARN_MS: Final = 1_000
"""A node whose clock differs from its peers' median by more says so (DESIGN §4)."""
SPEED_WINDOW_S: Final = 1.0


def clock_offset_ms(peers: Iterable[PeerInfo]) -> float | None:
    """Own clock minus the median of the connected peers'; None when nobody was measured."""
    offsets = [peer.clock_offset_ms for peer in peers if peer.connected and peer.clock_offset_ms is not None]
    return -statistics.median(offsets) if offsets else None


class Speed:
    """Blocks a second while catching up: an average that forgets, for the estimate of the remaining time."""

    def __init__(self, height: int, now_s: float) -> None:
        self._height = height
        self._since_s = now_s
        self._per_s = 0.0

    def note(self, height: int, now_s: float) -> None:
        """The head is at ``height`` now."""
        elapsed_s = now_s - self._since_s
        if elapsed_s >= SPEED_WINDOW_S:
            fresh = (height - self._height) / elapsed_s
            self._per_s = fresh if not self._per_s else 0.7 * self._per_s + 0.3 * fresh
            self._since_s, self._height = now_s, height

    def eta_s(self, blocks: int) -> float | None:
        """Seconds for so many blocks; None when there are none or nothing moves."""
        return blocks / self._per_s if blocks > 0 and self._per_s > 0 else None


class Window:
    """The node as its API sees it (``node.api.view.NodeView``)."""

    def __init__(
        self,
        *,
        name: str,
        version: str,
        keys: NodeKeys,
        chain: Chain,
        mempool: Mempool,
        admission: Admission,
        sync: Sync,
        joining: Joining,
        network: Network,
        driver: Driver,
        disk: DiskGuard,
        heartbeat: Heartbeat,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self.mempool = mempool
        self.admission = admission
        self._name = name or keys.node.public.hex()[:8]
        self._version = version
        self._keys = keys
        self._chain = chain
        self._sync = sync
        self._joining = joining
        self._network = network
        self._driver = driver
        self._disk = disk
        self._heartbeat = heartbeat
        self._metrics = metrics
        self._clock = clock
        self._started_s = clock.monotonic_s()
        self._speed = Speed(chain.height, self._started_s)
        self._committed_s: float | None = None

    @property
    def chain_id(self) -> bytes:
        """Of the genesis."""
        return self._chain.genesis.chain_id

    @property
    def genesis_raw(self) -> bytes:
        """The exact bytes of the genesis file."""
        return self._chain.genesis.raw

    @property
    def current(self) -> StateView:
        """The state after the newest block."""
        return self._chain.current

    @property
    def certified(self) -> StateView:
        """The state that the newest header certifies."""
        return self._chain.certified

    @property
    def loop_alive(self) -> bool:
        """Whether the event loop's heartbeat is recent."""
        return self._heartbeat.alive

    def clock_ms(self) -> int:
        """The node's clock in consensus time."""
        return self._clock.time_ms()

    def peers(self) -> Sequence[PeerInfo]:
        """Every known peer."""
        return self._network.peers()

    def strangers(self) -> Sequence[Stranger]:
        """Who dialled lately and was refused."""
        return self._network.strangers()

    def status(self) -> NodeStatus:
        """Where the node is, now."""
        chain, driver, sync = self._chain, self._driver, self._sync
        peers = self._network.peers()
        index = driver.own_index
        behind = sync.blocks_behind
        return NodeStatus(
            name=self._name,
            version=self._version,
            network=chain.genesis.name,
            node_key=self._keys.node.public,
            role="observer" if index is None else "validator",
            validator_index=index,
            epoch=chain.epoch,
            round=driver.round,
            step=driver.step,
            signing=driver.signing,
            not_signing_because=driver.not_signing_because,
            syncing=behind >= SYNCING_BLOCKS_BEHIND,
            informed=sync.informed,
            best_height=sync.best_known,
            eta_seconds=self._speed.eta_s(behind),
            peers_connected=sum(peer.connected for peer in peers),
            clock_offset_ms=clock_offset_ms(peers),
            disk_free_bytes=self._disk.free_bytes,
            disk_shortage=self._disk.shortage,
            uptime_seconds=self._clock.monotonic_s() - self._started_s,
            more=self._joining.status
            | {"rounds_above_zero": driver.rounds_above_zero, "evidence_seen": driver.evidence_seen}
            | {"protocol": self._protocol(), "reset_needed": self._reset_needed()}
            | {"last_commit_age_s": self._last_commit_age_s(), "agreement": self._agreement()},
        )

    def _reset_needed(self) -> str | None:
        """Why neither blocks nor a snapshot can bring this node further as it is; None: they can."""
        block, epoch = self._sync.out_of_reach, self._sync.later_epoch
        if epoch is not None:
            return f"the others are in epoch {epoch}, and dropped block {self._chain.height} before it began"
        if self._chain.height == 0 and self._joining.by_snapshot:
            return None
        return None if block is None else f"block {block} is needed, and every peer that is ahead has pruned it"

    def _protocol(self) -> dict[str, Any]:
        """The version of the next block, what this program speaks, and what was decided and what it lacks for that."""
        chain = self._chain
        ahead = chain.view.upgrade
        return {
            "version": chain.view.version,
            "newest": chain.protocol_newest,
            "upgrade": None if ahead is None else {"version": ahead.version, "height": ahead.height},
            "upgrade_needed": chain.upgrade_needed,
        }

    def _last_commit_age_s(self) -> float | None:
        """Since this process saw its last block; None: none yet."""
        return None if self._committed_s is None else self._clock.monotonic_s() - self._committed_s

    def _agreement(self) -> dict[str, Any] | None:
        state = self._driver.open_height
        if state is None:
            return None
        rows, validators = self._chain.current.state, state.context.validators
        return agreement(state, lambda index: rows.get(Organisation, validators[index].organisation).name)

    def committed(self, committed: Committed) -> None:
        """A listener of the chain: counts."""
        metrics = self._metrics
        self._committed_s = self._clock.monotonic_s()
        self._speed.note(committed.height, self._clock.monotonic_s())
        metrics.height.set(committed.height)
        metrics.epoch.set(committed.header.epoch)
        metrics.block_bytes.observe(committed.body_bytes)
        metrics.block_seconds.observe(committed.execution_s)
        metrics.ledger_fsync_seconds.observe(committed.write_s)
        if committed.certificate.round > 0:
            metrics.rounds_above_zero.inc()
        codes = Counter(receipt.code for receipt in committed.receipts if isinstance(receipt.subject, bytes))
        for code, count in codes.items():
            metrics.transactions.labels(code).inc(count)

    async def summaries(self, log: Log, every_s: float) -> None:
        """One line an interval, for ever; nothing at all when the interval is 0."""
        while every_s:
            await asyncio.sleep(every_s)
            status = self.status()
            summary(
                log,
                {
                    "height": self._chain.height,
                    "round": status.round,
                    "peers": status.peers_connected,
                    "behind": status.best_height - self._chain.height,
                    "eta_s": status.eta_seconds,
                    "mempool": len(self.mempool),
                    "signing": status.signing,
                    "clock_offset_ms": status.clock_offset_ms,
                },
            )
            if abs(status.clock_offset_ms or 0) > CLOCK_WARN_MS:
                log.warning("clock differs from the peers'", offset_ms=status.clock_offset_ms)
            if self._chain.upgrade_needed is not None:
                log.warning("protocol upgrade needed", why=self._chain.upgrade_needed)
            if (why := self._reset_needed()) is not None:
                log.warning("reset needed", why=why, next="stop, `huzhu reset --yes`, start: a snapshot comes")

    def render_metrics(self) -> bytes:
        """The text of ``/metrics``."""
        metrics, status = self._metrics, self.status()
        metrics.blocks_behind.set(self._sync.blocks_behind)
        metrics.upgrade_needed.set(self._chain.upgrade_needed is not None)
        metrics.round.set(status.round)
        metrics.signing.set(status.signing)
        metrics.peers.set(status.peers_connected)
        metrics.disk_free_bytes.set(status.disk_free_bytes)
        metrics.disk_has_room.set(self._disk.has_room)
        metrics.clock_offset_seconds.set((status.clock_offset_ms or 0) / 1_000)
        return metrics.render()
