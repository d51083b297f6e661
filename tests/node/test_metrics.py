"""Metrics in Prometheus naming; disk floor and heartbeat, which feed them."""

import asyncio
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ledger.errors import OperatorError
from node.admission import Source
from node.disk import DiskGuard, free_bytes
from node.health import BEAT_S, STALE_AFTER_S, Heartbeat
from node.metrics import Metrics
from tests.node.test_admission import Node, signed


@pytest.mark.asyncio
async def test_every_metric_follows_the_naming_and_reads_what_its_owner_counts() -> None:
    node, metrics = Node(), Metrics()
    metrics.watch(
        mempool=node.pool, admission=node.admission, verifier=node.verifier, verified=node.signatures.verified
    )
    await node.admission.submit([signed(1), signed(2), b"junk"], Source.CLIENT)
    metrics.height.set(7)
    families = {family.name: family for family in text_string_to_metric_families(metrics.render().decode())}
    assert all(name.startswith("huzhu_") for name in families)
    assert all(family.documentation for family in families.values())
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert samples["huzhu_height",] == 7
    assert samples["huzhu_mempool_transactions",] == 2
    assert samples["huzhu_verifier_signatures_total",] == 2
    assert samples["huzhu_admission_total", "OK", "client"] == 2
    assert samples["huzhu_admission_total", "MALFORMED", "client"] == 1


def test_two_nodes_of_one_process_do_not_share_numbers() -> None:
    first, second = Metrics(), Metrics()
    first.height.set(1)
    assert b"huzhu_height 1.0" in first.render()
    assert b"huzhu_height 0.0" in second.render()


def test_signing_stops_below_the_floor_and_resumes_a_tenth_above_it() -> None:
    free = [1_000]
    guard = DiskGuard(1_000, lambda: free[0])
    assert guard.has_room
    seen = []
    for free[0] in (999, 1_000, 1_099, 1_100, 1_000, 999):
        seen.append((guard.check(), guard.has_room))
    assert seen == [(True, False), (False, False), (False, False), (True, True), (False, True), (True, False)]
    assert guard.free_bytes == 999


@pytest.mark.asyncio
async def test_the_guard_tells_when_the_room_changes() -> None:
    free = [1_000]
    told: asyncio.Queue[bool] = asyncio.Queue()
    task = asyncio.create_task(DiskGuard(1_000, lambda: free[0]).run(told.put_nowait, every_s=0.001))
    free[0] = 0
    async with asyncio.timeout(5):
        assert await told.get() is False
        free[0] = 2_000
        assert await told.get() is True
    task.cancel()


def test_free_space_is_measured_where_the_data_is(tmp_path: Path) -> None:
    assert free_bytes(tmp_path) > 0
    with pytest.raises(OperatorError) as caught:
        free_bytes(tmp_path / "absent")
    assert caught.value.code == "DISK_UNREADABLE"


def test_a_loop_that_does_not_run_is_not_alive() -> None:
    now = [100.0]
    lags: list[float] = []
    heart = Heartbeat(lambda: now[0], lags.append)
    now[0] += BEAT_S
    heart.beat()
    now[0] += BEAT_S + 0.5
    heart.beat()
    assert lags == pytest.approx([0.0, 0.5])
    assert heart.lag_max_s == pytest.approx(0.5)
    now[0] += STALE_AFTER_S
    assert heart.alive
    now[0] += 0.1
    assert not heart.alive
