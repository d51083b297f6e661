"""The process: every part made, wired, started in order, ended in order (NODE §2).

Rules of this file

* One ``TaskGroup`` owns every task. What a callback of the loop raises ends the group as well: nothing is only logged.
* Start: genesis, keys, store, signing log, links, API. Stop: no new work, links told, the batch being written is
  finished, the log synced, the store closed last.
* An ``InvariantViolation`` or an ``OperatorError`` ends the process with a non-zero status; SIGTERM and SIGINT with 0.
"""

import asyncio
import gc
import os
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from consensus.core import Consensus
from ledger.blocks import Evidence
from ledger.errors import HuzhuError, InvariantViolation
from ledger.protocol import NEWEST
from p2p.clock import Clock, SystemClock
from p2p.gossip import TransactionGossip
from p2p.limits import Channel
from p2p.peers import Address

from .admin import Admin
from .admission import Admission, signer_class
from .api.answers import plain
from .api.connections import Connections
from .api.http_log import http_logger
from .api.operating import status_of
from .api.server import ApiServer, make_app, tls_context
from .api.waiters import CommitWaiters, Result
from .applicants import Applicants
from .chain import Chain, Committed
from .config import Config
from .decoded import Decoder
from .disk import DiskGuard, free_bytes
from .draw_watch import DrawWatch
from .driver import Driver
from .evidence import EvidencePool
from .files import Files
from .health import Heartbeat
from .joining import Joining
from .keys import NodeKeys, load_node_keys
from .known_answers import check_rule
from .logs import Log, NodeLog
from .mempool import Limits, Mempool
from .metrics import Metrics
from .neighbours import VERSION, Neighbours
from .opening import check_clock, open_disk, read_genesis
from .pool import PeerPool
from .questions import Questions
from .roster import SIGNERS_FROM, SignerClasses
from .shortage import Shortage
from .snapshot_serve import SnapshotServer
from .status import Window
from .steps import Steps
from .sync import Sync
from .upgrade_watch import UpgradeWatch
from .verified import TransactionVerifier, VerifiedIds
from .verifier import HERE_RECORDS_MAX, Verifier
from .votelog import ROTATE_BYTES
from .wire import Found, decode_found, encode_wire, is_found

SWITCH_INTERVAL_S: Final = 0.0005
"""A thread that comes back from an fsync gets the interpreter within this (DESIGN §6: 5 ms is too long)."""
GC_THRESHOLD: Final = 50_000
READY_BLOCKS_BEHIND: Final = 16
"""A node further behind does not judge clients' transactions."""


@dataclass(frozen=True, slots=True)
class Started:
    """Where a running node is found."""

    node_key: bytes
    chain_id: bytes
    p2p: Address
    api: Address


class Node:
    """One node. ``run`` it once."""

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock | None = None,
        log: Log | None = None,
        files: Files | None = None,
        rotate_bytes: int = ROTATE_BYTES,
        protocol_newest: int = NEWEST,
    ) -> None:
        """Reads the genesis and the keys; opens nothing. ``files`` and ``rotate_bytes`` are the signing log's;
        ``protocol_newest``: the newest version of the protocol that it speaks.

        Raises ``OperatorError``."""
        self.config = config
        self._files = files
        self._rotate_bytes = rotate_bytes
        self._protocol_newest = protocol_newest
        self.clock: Clock = clock or SystemClock(config.node.clock_offset_ms)
        self._node_log = NodeLog(config.log, config.log_path, name=config.node.name) if log is None else None
        self.log: Log = log if self._node_log is None and log is not None else self._own_log()
        self.genesis = read_genesis(config)
        check_clock(config, self.genesis)
        check_rule()
        self.keys: NodeKeys = load_node_keys(config.keys_path, observer=not config.holds_validator_keys)
        self.metrics = Metrics()
        self.heartbeat = Heartbeat(self.clock.monotonic_s, self.metrics.loop_lag_seconds.observe)
        self.reopening = False
        """Whether the node ended to be started anew: there is room again after a full disk, or a snapshot is there."""
        self._stop = asyncio.Event()
        self._fatal: asyncio.Future[None] | None = None
        self._api: ApiServer | None = None
        self._admin: Admin | None = None

    def _own_log(self) -> Log:
        if self._node_log is None:
            raise InvariantViolation("a node without a log")
        return self._node_log.log

    # ---- life ----

    def stop(self) -> None:
        """End in order, for good; ``run`` returns when that is done."""
        self.reopening = False
        self._stop.set()

    def _reopen(self) -> None:
        """End in order, and be started anew on what is on the disk then."""
        self.stop()
        self.reopening = True

    async def run(self, ready: Callable[[Started], None] | None = None) -> None:
        """Run until ``stop``. Raises ``InvariantViolation`` or ``OperatorError`` when the node cannot go on."""
        loop = asyncio.get_running_loop()
        self._fatal = loop.create_future()
        loop.set_exception_handler(self._callback_failed)
        try:
            self._disk = open_disk(
                self.config, self.genesis, self.keys, files=self._files, rotate_bytes=self._rotate_bytes
            )
            try:
                await self._run(ready)
            finally:
                self._disk.close()
        finally:
            if self._node_log is not None:
                self._node_log.close()

    async def _run(self, ready: Callable[[Started], None] | None) -> None:
        self._make()
        self.chain.check_spoken()
        try:
            async with asyncio.TaskGroup() as tasks:
                owned: list[asyncio.Task[None]] = []
                try:
                    await self._start(tasks, ready)
                    owned += [tasks.create_task(work, name=name) for name, work in self._work().items()]
                    await self._stop.wait()
                finally:
                    await self._stop_parts()
                    for task in owned:
                        task.cancel()
        except BaseExceptionGroup as group:
            raise _first_error(group) from group

    def _make(self) -> None:
        """Make every part but the driver, which needs the tasks' group."""
        config, clock = self.config, self.clock
        self.disk = DiskGuard(config.storage.free_bytes_min, lambda: free_bytes(config.data_path))
        self.steps = Steps()
        decoder = Decoder(self.steps)
        self.verifier = Verifier(
            config.verifier.workers,
            on_restart=lambda reason: self.log.warning("verifier replaced", why=reason),
            here_max=HERE_RECORDS_MAX,
        )
        self._disk.work_meanwhile(self.verifier.verify_part)
        self.verified = VerifiedIds(config.verifier.verified_ids_max)
        signatures = TransactionVerifier(self.verifier, self.verified, self.genesis.chain_id, self.steps)
        self._signers = SignerClasses(lambda key: signer_class(self.chain.current.state, key))
        self.mempool = Mempool(_limits(config), self._signers)
        self.chain = Chain(
            self._disk.store,
            self.genesis,
            self._disk.view,
            mempool=self.mempool,
            signatures=signatures,
            clock_ms=clock.time_ms,
            write=self._disk.write,
            log_position=self._disk.log_position,
            steps=self.steps,
            evidence=lambda: self.evidence.pick(),
            on_committing=lambda committing: self.driver.committing(committing),
            decoder=decoder,
            protocol_newest=self._protocol_newest,
        )
        self.neighbours = Neighbours(
            config, self.keys.node.secret, self.chain, clock, self, self.steps, self._protocol_newest
        )
        self.network = self.neighbours.network
        self.peer_pool = PeerPool(
            mempool=self.mempool,
            chain=self.chain,
            network=self.network,
            roster=lambda: self.neighbours.roster,
            own_index=self._own_index,
            entered=lambda: self.driver.pending(),
            steps=self.steps,
        )
        self.gossip = TransactionGossip(
            self.network,
            self.peer_pool,
            clock,
            is_coming=lambda tx_id: self.admission.is_coming(tx_id),
            meter=self.steps,
        )
        self.sync = Sync(
            chain=self.chain,
            links=self.network,
            clock=clock,
            seat_of=self.neighbours.seat_of,
            votes=lambda: self._own_index() is not None,
            refuted=lambda peer: self.driver.head_refuted(peer),
            work=self.verifier.verify_part,
        )
        self.waiters = CommitWaiters(config.api.waiters_max)
        """A block may be decided before the API is open: a lone validator decides its newest again as it starts."""
        self.snapshots = SnapshotServer(self.chain, clock)
        self.questions = Questions(self.sync, self.snapshots, Applicants(self.chain), self.network.status_only)
        self.joining = Joining(
            mode=config.sync.mode,
            home=config.home,
            data=config.data_path,
            genesis=self.genesis,
            chain=self.chain,
            sync=self.sync,
            network=self.network,
            clock=clock,
            log=self.log,
            reopen=self._reopen,
        )
        self.admission = Admission(
            mempool=self.mempool,
            signatures=signatures,
            chain=self,
            clock_ms=clock.time_ms,
            hand_off=self.peer_pool.entered,
            steps=self.steps,
            decoder=decoder,
        )
        self.peer_pool.connect(self.admission, self.gossip)
        self.metrics.watch(
            mempool=self.mempool, admission=self.admission, verifier=self.verifier, verified=self.verified
        )
        self.metrics.watch_links(self.network.peers, self.admission)
        self.metrics.watch_steps(self.steps)

    async def _start(self, tasks: asyncio.TaskGroup, ready: Callable[[Started], None] | None) -> None:
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        gc.freeze()  # what the start has made stays: no collection need look at it again
        gc.set_threshold(GC_THRESHOLD, 20, 50)
        loop = asyncio.get_running_loop()
        self.evidence = EvidencePool(
            self._disk.store,
            view=lambda: self.chain.view,
            write=lambda batch: self._spawn(tasks, self._disk.write(batch)),
            tell=self._tell_evidence,
            added=lambda: self.driver.evidence_waits(),
        )
        self.driver = Driver(
            core=Consensus(self._disk.records),
            seat=self._disk.seat,
            chain=self.chain,
            mempool=self.mempool,
            evidence=self.evidence,
            gossip=self.gossip,
            links=self.network,
            clock=self.clock,
            roster=lambda: self.neighbours.roster,
            spawn=lambda work: self._spawn(tasks, work),
            behind=self.sync.behind,
            random_bytes=os.urandom,
            log=self.log,
            steps=self.steps,
            coming=self.admission.raw,
            on_phase=self.metrics.phase,
            turn=self.network.turn,
        )
        self.shortage = Shortage(
            disk=self._disk,
            guard=self.disk,
            driver=self.driver,
            clock=self.clock,
            log=self.log,
            reopen=self._reopen,
            synced=self.metrics.signing_fsync_seconds.observe,
        )
        self._disk.watch(self.shortage.database_full)
        if self._disk.vote_log is not None:
            self._disk.vote_log.start(loop.call_soon_threadsafe, self.shortage.durable, self.shortage.log_stalled)
        self.window = Window(
            name=self.config.node.name,
            version=VERSION,
            keys=self.keys,
            chain=self.chain,
            mempool=self.mempool,
            admission=self.admission,
            sync=self.sync,
            joining=self.joining,
            network=self.network,
            driver=self.driver,
            disk=self.disk,
            heartbeat=self.heartbeat,
            metrics=self.metrics,
            clock=self.clock,
        )
        self.chain.listen(self._committed)
        self.driver.start()
        self.chain.listen(self.sync.committed)
        self.chain.listen(self.snapshots.committed)
        self.chain.listen(self.window.committed)
        self.chain.listen(self._settled)
        self.chain.listen(DrawWatch(self.chain, self.log).committed)
        upgrades = UpgradeWatch(self.chain, self.log, self._bug)
        self.chain.listen(lambda committed: upgrades.look())
        await self.network.start(tasks)
        self.neighbours.tell_addresses()
        api = await self._start_api()
        self._admin = Admin(
            self.config,
            self._disk.store,
            write=self._disk.write,
            facts=self._facts,
            answer_question=lambda raw: self.questions.answer(self.keys.node.public, raw),
            logger=http_logger(self.log),
        )
        await self._admin.start()
        address = self.network.address
        if address is None:
            raise InvariantViolation("the network listens nowhere")
        upgrades.look()
        self.log.info("started", height=self.chain.height, p2p=_shown(address), api=_shown(api))
        if ready is not None:
            ready(Started(self.keys.node.public, self.genesis.chain_id, address, api))

    async def _start_api(self) -> Address:
        section = self.config.api
        app = make_app(
            self.window,
            section,
            self.metrics,
            self.waiters,
            self._bug,
            now_s=self.clock.monotonic_s,
            steps=self.steps,
        )
        tls = self.config.tls_paths
        malformed = self.metrics.requests.labels("malformed", "400").inc
        connections = Connections(
            section.connections_max,
            lambda why, count: self.metrics.connections_dropped.labels(why).inc(count),
            tls=None if tls is None else tls_context(*tls),
        )
        logger = http_logger(self.log, malformed)
        self._api = ApiServer(app, section.listen, connections=connections, logger=logger)
        return await self._api.start()

    def _facts(self) -> dict[str, Any]:
        """What a defect report says of the running node."""
        return {
            "status": status_of(self.window),
            "peers": [plain(peer) for peer in self.window.peers()],
            "metrics": self.window.render_metrics().decode(),
        }

    def _work(self) -> dict[str, Coroutine[Any, Any, None]]:
        """The tasks of the node's whole life."""
        return {
            "verifier": self.verifier.run(),
            "admission": self.admission.run(),
            "sync": self.sync.run(),
            "joining": self.joining.run(),
            "joining told": self.joining.tell(),
            "application": self.joining.ask(),
            "heartbeat": self.heartbeat.run(),
            "disk": self.disk.run(self.shortage.room_changed),
            "summary": self.window.summaries(self.log, self.config.log.summary_seconds),
            "fatal": self._await_fatal(),
        }

    def _spawn(self, tasks: asyncio.TaskGroup, work: Coroutine[Any, Any, None]) -> None:
        if self._stop.is_set():
            work.close()
        else:
            tasks.create_task(work)

    async def _stop_parts(self) -> None:
        self.log.info("stopping", height=self.chain.height)
        self._stop.set()
        self.driver.stop()
        self.gossip.stop()
        self._disk.give_up()
        if self._api is not None:
            await self._api.stop()
        if self._admin is not None:
            await self._admin.stop()
        await self.network.stop()
        self.snapshots.close()

    # ---- errors ----

    def _bug(self, error: Exception) -> None:
        if self._fatal is not None and not self._fatal.done():
            self._fatal.set_exception(error)

    def _callback_failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A callback of the loop raised: that ends the node like an error of a task."""
        error = context.get("exception")
        if isinstance(error, Exception) and not isinstance(error, OSError):
            self._bug(error)
        else:
            self.log.debug("event loop", message=context.get("message", ""), error=repr(error))

    async def _await_fatal(self) -> None:
        if self._fatal is not None:
            await self._fatal

    # ---- what follows a block ----

    def _committed(self, committed: Committed) -> None:
        """First of the listeners: everybody after it sees the present roster."""
        if not committed.touched.isdisjoint(SIGNERS_FROM):
            self._signers.forget()
        if self.neighbours.refresh(committed.touched):
            self.peer_pool.validators_changed()

    def _settled(self, committed: Committed) -> None:
        self.admission.committed(committed.ids, len(self.mempool), self.clock.monotonic_s())
        self.waiters.settled((*committed.ids, *committed.expired), lambda: _results(committed))

    def _own_index(self) -> int | None:
        seat = self._disk.seat
        if seat is None:
            return None
        validators = self.chain.view.next_validators
        return next((at for at, entry in enumerate(validators) if entry.validator_key in seat.keys), None)

    # ---- what arrives (``node.neighbours.Receivers``) ----

    def consensus_message(self, peer: bytes, payload: bytes) -> None:
        """A message of the agreement."""
        self.driver.received(peer, payload)

    def sync_message(self, peer: bytes, payload: bytes) -> None:
        """A peer's head, or evidence it has found."""
        if is_found(payload):
            self.evidence.add(decode_found(payload).evidence)
        else:
            self.sync.received(peer, payload)

    def transactions_message(self, peer: bytes, payload: bytes) -> None:
        """Transactions, announcements, requests."""
        self.peer_pool.received(peer, payload)

    async def sync_question(self, peer: bytes, payload: bytes) -> bytes:
        """A peer asks for blocks, for a snapshot, or for its admission."""
        return await self.questions.answer(peer, payload)

    def peer_changed(self, peer: bytes, up: bool) -> None:
        """A link came up, or the last one to a peer went down."""
        self.log.debug("peer up" if up else "peer down", peer=peer)
        self.gossip.on_peer(peer, up)
        if up:
            self.sync.peer_up(peer)
            for evidence in self.evidence:
                self.network.send(peer, Channel.SYNC, encode_wire(Found(evidence)))
            self.driver.peer_up(peer)
        else:
            self.sync.peer_down(peer)

    def _tell_evidence(self, evidence: Evidence) -> None:
        payload = encode_wire(Found(evidence))
        for peer in self.network.connected():
            self.network.send(peer, Channel.SYNC, payload)

    # ---- what admission asks (``node.admission.ChainView``) ----

    @property
    def epoch(self) -> int:
        """In force for the next block."""
        return self.chain.epoch

    @property
    def head_time_ms(self) -> int:
        """Consensus time of the newest block."""
        return self.chain.head_time_ms

    @property
    def ready(self) -> bool:
        """Whether the node is near enough to the head to judge a client's transaction."""
        return self.sync.blocks_behind <= READY_BLOCKS_BEHIND

    def seen(self, tx_id: bytes) -> bool:
        """Whether the transaction was committed within the validity window."""
        return self.chain.seen(tx_id)


def _limits(config: Config) -> Limits:
    pool = config.mempool
    return Limits(
        transactions_max=pool.transactions_max,
        bytes_max=pool.bytes_max,
        organisation_transactions_max=pool.organisation_transactions_max,
        member_transactions_max=pool.member_transactions_max,
        unknown_transactions_max=pool.unknown_transactions_max,
    )


def _results(committed: Committed) -> dict[bytes, Result]:
    """Where each transaction of the block stands, with its receipt."""
    of_transactions = (receipt for receipt in committed.receipts if isinstance(receipt.subject, bytes))
    return {
        tx_id: (committed.height, position, receipt)
        for position, (tx_id, receipt) in enumerate(zip(committed.ids, of_transactions, strict=True))
    }


def _shown(address: Address) -> str:
    return f"{address[0]}:{address[1]}"


def _first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that ended the group; our own kinds come first."""
    leaves: list[BaseException] = []
    pending: list[BaseException] = [group]
    while pending:
        error = pending.pop()
        if isinstance(error, BaseExceptionGroup):
            pending.extend(error.exceptions)
        else:
            leaves.append(error)
    return next((error for error in leaves if isinstance(error, HuzhuError)), leaves[0])
