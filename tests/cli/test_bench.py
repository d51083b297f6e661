"""The load generator's book-keeping and the probes; the scenarios themselves are run by hand (docs/benchmarks.md)."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from cli import testnet
from cli.bench import prepare, probes, usage
from cli.bench.load import Generator, Supply, Tally, percentiles
from cli.bench.sync import FIRST_POLL_S, POLL_MAX_S, POLL_S, pause_s
from cli.demo.ledger import BANK, CLOCK, HOSPITAL, PLATFORM
from ledger.roles import Role


def test_what_was_refused_is_offered_again_before_what_is_fresh() -> None:
    """What is fresh may be signed as it is taken: under overload that would be most of the generator's work."""
    supply = Supply([b"a", b"b", b"c"])
    assert supply.take(2) == [b"a", b"b"]
    supply.put_back([b"a", b"b"])
    assert supply.take(1) == [b"a"]
    assert supply.take(5) == [b"b", b"c"]
    assert supply.take(1) == []


def test_a_window_counts_what_was_answered_in_it() -> None:
    tally = Tally()
    tally.done += [(1.0, 2, 0.5), (2.0, 1, 0.1), (3.0, 7, 9.9)]
    assert tally.committed(1.0, 3.0) == 3
    assert tally.latencies_ms(1.0, 3.0) == pytest.approx([100, 500, 500])


def test_percentiles_are_of_the_sorted_values() -> None:
    assert percentiles([float(value) for value in range(1, 101)]) == {"p50": 51, "p90": 91, "p99": 100, "max": 100}
    assert percentiles([]) == {}


def answering(*answers: tuple[int, dict[str, Any]]) -> web.Application:
    left = list(answers)

    async def submit(request: web.Request) -> web.Response:
        msgspec.msgpack.decode(await request.read(), type=list[bytes])
        status, body = left.pop(0)
        return web.Response(status=status, text=json.dumps(body), content_type="application/json")

    app = web.Application()
    app.router.add_post("/v1/transactions", submit)
    return app


@pytest.mark.asyncio
async def test_only_what_was_committed_and_executed_counts() -> None:
    items = [
        {"status": "committed", "code": "OK"},
        {"status": "committed", "code": "NOTHING_OWED"},
        {"status": "refused", "code": "QUOTA_EXCEEDED"},
        {"status": "refused", "code": "MALFORMED"},
        {"status": "pending"},
    ]
    app = answering((200, {"transactions": items}), (503, {"code": "MEMPOOL_FULL"}))
    tally, supply = Tally(), Supply([])
    async with TestServer(app) as server:
        url = str(server.make_url("")).rstrip("/")
        async with Generator([url], supply, tally) as generator:
            assert await generator.send(url, [b"1", b"2", b"3", b"4", b"5"], 0.0) == 2
            assert await generator.send(url, [b"6"], 0.0) == 0
    assert [count for _, count, _ in tally.done] == [1]
    assert tally.failed == {"NOTHING_OWED": 1}
    assert tally.refused == {"QUOTA_EXCEEDED": 1, "MALFORMED": 1, "MEMPOOL_FULL": 1}
    assert supply.take(9) == [b"3", b"6"], "what can never be admitted is not offered again"


@pytest.mark.asyncio
async def test_an_open_loop_does_not_wait_for_answers() -> None:
    arrived = asyncio.Barrier(10)  # answers come when all ten have been sent

    async def submit(request: web.Request) -> web.Response:
        await arrived.wait()
        return web.json_response({"transactions": [{"status": "committed", "code": "OK"}]})

    app = web.Application()
    app.router.add_post("/v1/transactions", submit)
    tally = Tally()
    async with TestServer(app) as server:
        url = str(server.make_url("")).rstrip("/")
        async with Generator([url], Supply(b"%d" % n for n in range(10)), tally) as generator:
            async with asyncio.timeout(10):
                await generator.open_loop(1_000, 1, float("inf"))
    assert sum(count for _, count, _ in tally.done) == 10


def test_probes_that_differ_by_more_than_a_fifth_are_far_apart() -> None:
    assert probes.spread([60.0, 70.0]) < probes.UNSTABLE < probes.spread([60.0, 73.0])
    assert 1 < probes.verify_us() < 10_000


def test_a_bare_agreement_takes_time_and_leaves_nothing(tmp_path: Path) -> None:
    assert 0 < probes.floor_ms(tmp_path, 3, repeats=3) < 5_000
    assert list(tmp_path.iterdir()) == []


def test_usage_is_read_of_running_processes_only() -> None:
    assert os.getpid() in usage.tree(os.getpid())
    assert usage.memory_bytes([os.getpid()]) >= usage.memory_bytes([os.getpid()], "RssAnon") > 0
    assert usage.cpu_s([2**22 + 1]) == usage.memory_bytes([2**22 + 1]) == 0


@pytest.mark.parametrize(
    ("done", "left", "expected_s"),
    [(0, 100, POLL_S), (10, 1, 0.05), (10, 8, 0.4), (10, 90, POLL_MAX_S), (100, 1, FIRST_POLL_S)],
)
def test_a_node_that_catches_up_is_looked_at_when_half_of_what_is_left_is_done(
    done: int, left: int, expected_s: float
) -> None:
    assert pause_s(1.0, done, left) == pytest.approx(expected_s)


@pytest.mark.parametrize("validators", [1, 4, 7])
def test_a_bench_network_can_sign_for_every_assessor_that_may_be_drawn(tmp_path: Path, validators: int) -> None:
    signs = prepare.keys(prepare.found(tmp_path, validators))
    founders = testnet.consortium(validators, 0)
    assert {founder.name for founder in founders if founder.roles & Role.ASSESSOR} <= signs.keys()
    assert {PLATFORM, BANK, HOSPITAL, CLOCK} <= signs.keys()
