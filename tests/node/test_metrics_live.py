"""Every documented metric is fed by a running network, and its name follows Prometheus' rules (promtool's lint)."""

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ledger.transactions import Enrol
from node.app import Node
from tests.node.network import Network, running

QUIET = {
    "huzhu_upgrade_needed",
    "huzhu_rounds_above_zero_total",
    "huzhu_verifier_invalid_total",
    "huzhu_verifier_restarts_total",
    "huzhu_verifier_queue",
    "huzhu_admission_inbox_bytes",
    "huzhu_http_waiters",
    "huzhu_blocks_behind",
    "huzhu_round",
    "huzhu_epoch",
    "huzhu_mempool_transactions",
    "huzhu_mempool_bytes",
    "huzhu_clock_offset_seconds",
    "huzhu_verified_hits_total",
}
"""Nothing went wrong and nothing waits: these say 0. (Hits: of all but the proposer, see below.)"""
STEPS = {"receive", "hash", "decode", "verify", "enter", "gossip", "execute", "tree", "batch", "send", "consensus"}
PHASES = {"due", "proposed", "checked", "prepared", "committed", "applied"}


def samples(node: Node) -> dict[tuple[str, ...], float]:
    text = node.window.render_metrics().decode()
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.asyncio
async def test_a_running_network_feeds_every_metric(tmp_path: Path) -> None:
    network = Network(tmp_path, observers=0)
    async with running(network):
        await network.until(lambda node: node.driver.signing)
        joining = [("platform", Enrol(0, bytes([number]) * 32, 23_880, b"")) for number in (1, 2)]
        outcomes = await network.submit("platform", *joining)
        ids = [outcome.id for outcome in outcomes]
        await network.until(lambda node: not len(node.mempool) and all(map(node.chain.seen, ids)))
        hits, passed = 0.0, set[str]()
        for node in network.nodes.values():
            node.heartbeat.beat()
            found = samples(node)
            passed |= {key[1] for key, value in found.items() if key[0] == "huzhu_phase_seconds_count" and value}
            for step in STEPS:
                assert found["huzhu_transaction_step_seconds_total", step] > 0, step
            for file in ("signing", "ledger"):
                assert found["huzhu_fsync_seconds_count", file] > 0
            for direction in ("in", "out"):
                assert found["huzhu_link_bytes_total", "consensus", direction] > 0
            assert found["huzhu_loop_lag_seconds_count",] > 0
            assert found["huzhu_drops_total", "inbox_full"] == 0
            for work in ("decode", "hash", "execute"):
                assert found["huzhu_transaction_work_total", work] == 2, work
            assert found["huzhu_verifier_signatures_total",] == 2
            hits += found["huzhu_verified_hits_total",]
            unlabelled = {key[0] for key, value in found.items() if len(key) == 1 and value == 0}
            assert not {name for name in unlabelled if not name.endswith(("_sum", "_created"))} - QUIET
        assert passed == PHASES
        assert hits >= 6, "all but the proposer know the block's signatures"
        lint(node.window.render_metrics().decode())


def lint(text: str) -> None:
    """The rules of ``promtool check metrics``: help, ``_total`` for counters only, base units, no type in the name."""
    for family in text_string_to_metric_families(text):
        name = family.name
        assert re.fullmatch(r"huzhu_[a-z][a-z0-9_]*[a-z0-9]", name), name
        assert family.documentation.endswith("."), name
        assert not re.search(
            r"_(milliseconds|ms|minutes|kilobytes|megabytes|mb|kb|percent|info|counter|gauge)$", name
        ), name
        if family.type == "counter":
            assert all(sample.name.endswith(("_total", "_created")) for sample in family.samples), name
        else:
            assert not name.endswith(("_total", "_count", "_sum", "_bucket")), name
