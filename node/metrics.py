"""The node's numbers for Prometheus, in its naming: ``huzhu_``, base units, ``_total`` for counters (NODE §2).

An object that is passed to whoever counts something; nothing here is global, so a test runs ten nodes in one process.
What other parts already count (mempool, verifier, admission) is not counted twice: it is read when Prometheus asks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from p2p.limits import Channel
from p2p.peers import PeerInfo

from .admission import Admission
from .mempool import Mempool
from .steps import PHASES, Steps
from .verified import VerifiedIds
from .verifier import Verifier

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_FAST: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_SLOW: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Metrics:
    """Every metric is an attribute; whoever owns the event calls it."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        # the chain
        self.height = Gauge("huzhu_height", "Height of the newest committed block.", registry=registry)
        self.epoch = Gauge("huzhu_epoch", "Epoch of the newest committed block.", registry=registry)
        self.blocks_behind = Gauge("huzhu_blocks_behind", "Blocks the best known head is ahead.", registry=registry)
        self.transactions = Counter(
            "huzhu_transactions", "Committed transactions by receipt code.", ["code"], registry=registry
        )
        self.block_bytes = Histogram(
            "huzhu_block_bytes",
            "Body sizes of committed blocks.",
            buckets=(1_000, 10_000, 100_000, 500_000, 1_000_000, 2_000_000, 4_194_304),
            registry=registry,
        )
        self.block_seconds = Histogram(
            "huzhu_block_execution_seconds", "Execution of a block.", buckets=_SLOW, registry=registry
        )
        self.upgrade_needed = Gauge(
            "huzhu_upgrade_needed", "1 when a protocol was decided that this program does not speak.", registry=registry
        )
        # the agreement
        self.round = Gauge("huzhu_round", "Round of the open height.", registry=registry)
        self.rounds_above_zero = Counter(
            "huzhu_rounds_above_zero", "Blocks decided in a round above 0.", registry=registry
        )
        self.phase_seconds = Histogram(
            "huzhu_phase_seconds", "Time from phase to phase of a height.", ["phase"], buckets=_SLOW, registry=registry
        )
        self._phases = {phase: self.phase_seconds.labels(phase) for phase in PHASES}
        self.signing = Gauge("huzhu_signing", "1 while this node votes.", registry=registry)
        self.clock_offset_seconds = Gauge(
            "huzhu_clock_offset_seconds", "Own clock minus the median of the peers'.", registry=registry
        )
        # the machine
        self.fsync_seconds = Histogram(
            "huzhu_fsync_seconds", "Making something durable, by file.", ["file"], buckets=_FAST, registry=registry
        )
        self.ledger_fsync_seconds = self.fsync_seconds.labels("ledger")
        self.signing_fsync_seconds = self.fsync_seconds.labels("signing")
        self.loop_lag_seconds = Histogram(
            "huzhu_loop_lag_seconds", "How late the event loop runs a timer.", buckets=_FAST, registry=registry
        )
        self.disk_free_bytes = Gauge("huzhu_disk_free_bytes", "Free disk below the data directory.", registry=registry)
        self.disk_has_room = Gauge(
            "huzhu_disk_has_room", "1 while there is room to sign and to store.", registry=registry
        )
        # links
        self.peers = Gauge("huzhu_peers", "Peers connected.", registry=registry)
        # HTTP
        self.requests = Counter(
            "huzhu_http_requests", "HTTP requests by route and status.", ["route", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            "huzhu_http_request_seconds",
            "HTTP requests, waiting included.",
            ["route"],
            buckets=_SLOW,
            registry=registry,
        )
        self.connections_dropped = Counter(
            "huzhu_http_connections_dropped",
            "Connections dropped: idle or half shaken ones to make room, new ones when full, or by the system.",
            ["why"],
            registry=registry,
        )
        self.waiters = Gauge("huzhu_http_waiters", "Requests that wait for a block.", registry=registry)

    def phase(self, phase: str, seconds: float) -> None:
        """A height has reached one of ``steps.PHASES``, so long after the one before."""
        self._phases[phase].observe(seconds)

    def watch(self, *, mempool: Mempool, admission: Admission, verifier: Verifier, verified: VerifiedIds) -> None:
        """Read the counters of these parts at each scrape."""
        self.registry.register(_Reading(lambda: _readings(mempool, admission, verifier, verified)))

    def watch_links(self, peers: Callable[[], Sequence[PeerInfo]], admission: Admission) -> None:
        """Read the traffic of all links, those that are over included, and what was dropped, at each scrape."""
        self.registry.register(_Reading(lambda: _link_readings(peers(), admission)))

    def watch_steps(self, steps: Steps) -> None:
        """Read what transactions cost, step by step, at each scrape."""
        self.registry.register(_Reading(lambda: _step_readings(steps)))

    def render(self) -> bytes:
        """The text of ``/metrics``."""
        return generate_latest(self.registry)


class _Reading(Collector):
    def __init__(self, read: Callable[[], Iterable[Metric]]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        return self._read()


def _readings(mempool: Mempool, admission: Admission, verifier: Verifier, verified: VerifiedIds) -> Iterable[Metric]:
    yield GaugeMetricFamily("huzhu_mempool_transactions", "Transactions that wait for a block.", len(mempool))
    yield GaugeMetricFamily("huzhu_mempool_bytes", "Their bytes.", mempool.size_bytes)
    yield GaugeMetricFamily("huzhu_admission_inbox_bytes", "Bytes offered and not checked yet.", admission.inbox_bytes)
    admitted = CounterMetricFamily(
        "huzhu_admission", "Transactions that came in, by source and outcome.", labels=["source", "outcome"]
    )
    for (source, outcome), count in sorted(admission.counts.items(), key=lambda item: (item[0][0].value, item[0][1])):
        admitted.add_metric([source.value, outcome], count)
    yield admitted
    yield CounterMetricFamily("huzhu_verifier_signatures", "Signatures verified.", verifier.stats.records)
    yield CounterMetricFamily("huzhu_verifier_invalid", "Signatures found invalid.", verifier.stats.invalid)
    yield CounterMetricFamily("huzhu_verifier_restarts", "Verifier processes replaced.", verifier.stats.restarts)
    yield GaugeMetricFamily("huzhu_verifier_queue", "Signatures that wait for a verifier.", verifier.queued)
    yield CounterMetricFamily("huzhu_verified_hits", "Signatures not verified again.", verified.hits)
    yield CounterMetricFamily("huzhu_verified_misses", "Signatures not known yet.", verified.misses)


def _link_readings(peers: Sequence[PeerInfo], admission: Admission) -> Iterable[Metric]:
    carried = CounterMetricFamily(
        "huzhu_link_bytes", "Payload bytes on links, by class.", labels=["direction", "channel"]
    )
    queued = GaugeMetricFamily(
        "huzhu_link_queue_bytes", "Bytes that wait to be sent, by peer and class.", labels=["peer", "channel"]
    )
    for peer in peers:
        if peer.connected:
            for channel, size in peer.queued_bytes.items():
                queued.add_metric([peer.key.hex()[:8], channel.name.lower()], size)
    yield queued
    dropped = CounterMetricFamily("huzhu_drops", "Messages or transactions dropped, by reason.", labels=["reason"])
    for channel in Channel:
        name = channel.name.lower()
        carried.add_metric(["in", name], sum(peer.bytes_in[channel] for peer in peers))
        carried.add_metric(["out", name], sum(peer.bytes_out[channel] for peer in peers))
        dropped.add_metric([f"link_queue_full_{name}"], sum(peer.drops[channel] for peer in peers))
    inbox = sum(count for (_, outcome), count in admission.counts.items() if outcome == "INBOX_FULL")
    dropped.add_metric(["inbox_full"], inbox)
    yield carried
    yield dropped


def _step_readings(steps: Steps) -> Iterable[Metric]:
    seconds = CounterMetricFamily(
        "huzhu_transaction_step_seconds",
        "CPU of the event loop's thread, by step; a step inside another is its own.",
        labels=["step"],
    )
    for step, spent_s in sorted(steps.seconds.items()):
        seconds.add_metric([step], spent_s)
    yield seconds
    yield CounterMetricFamily(
        "huzhu_loop_cpu_seconds", "CPU of the event loop's thread, the steps and all the rest.", time.thread_time()
    )
    work = CounterMetricFamily("huzhu_transaction_work", "Transactions hashed, decoded, executed.", labels=["work"])
    for kind, times in sorted(steps.work.items()):
        work.add_metric([kind], times)
    yield work
