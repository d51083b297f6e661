"""The API's writing side: one or many, three ways to wait, and each refusal with its own code."""

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.codec import encode
from ledger.errors import TransactionRejected
from ledger.transactions import AdvanceClock, Enrol, EnrolBatch, Exit, transaction_id
from node.api.submitting import TRANSACTIONS_MAX, _json, _msgpack
from node.api.waiters import CommitWaiters
from node.config import ApiSection
from node.mempool import Limits
from tests.node.api_kit import FakeNode

OCTETS = {"Content-Type": "application/octet-stream"}
MSGPACK = {"Content-Type": "application/msgpack"}
JSON = {"Content-Type": "application/json"}
ROUTE = "/v1/transactions"


@asynccontextmanager
async def serving(node: FakeNode, section: ApiSection | None = None) -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(node.app(section))) as client:
        yield client


def enrolment(node: FakeNode, number: int = 1) -> bytes:
    return node.chain.transaction("platform", Enrol(0, number.to_bytes(32, "big"), 1985 * 12, b""))


async def post(
    client: TestClient[Any, Any], body: bytes, headers: dict[str, str], query: str = "", status: int = 200
) -> Any:
    response = await client.post(ROUTE + query, data=io.BytesIO(body), headers=headers)
    text = await response.text()
    assert response.status == status, text
    if status >= 400:
        assert response.content_type == "application/problem+json"
        assert ("Retry-After" in response.headers) == (status in (429, 503))
    return json.loads(text)


async def when(client_waits: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        for _ in range(100_000):
            if client_waits():
                return
            await asyncio.sleep(0)
    raise AssertionError("nobody waits")


@pytest.mark.asyncio
async def test_one_transaction_goes_its_way_from_pending_to_committed() -> None:
    node = FakeNode()
    raw = enrolment(node)
    path = f"{ROUTE}/{transaction_id(raw).hex()}"
    async with serving(node) as client:
        assert (await client.get(path)).status == 404
        found = await post(client, raw, OCTETS)
        assert (found["id"], found["status"]) == (transaction_id(raw).hex(), "pending")
        pending = await (await client.get(path)).json()
        assert (pending["status"], pending["type"], pending["body"]["plan"]) == ("pending", "enrol", 0)
        node.commit()
        done = await (await client.get(path)).json()
        assert (done["status"], done["height"], done["code"], done["detail"][0]) == ("committed", 1, "OK", 0)
        assert await (await client.get(path + "?raw=true")).read() == raw
        again = await post(client, raw, OCTETS)  # sent again, it is answered with what became of it
        assert (again["status"], again["height"]) == ("committed", 1)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("headers", "wrap"),
    [
        (MSGPACK, lambda raws: encode(raws)),
        (JSON, lambda raws: json.dumps({"transactions": [raw.hex() for raw in raws]}).encode()),
        (JSON, lambda raws: json.dumps({"transactions": [base64.b64encode(raw).decode() for raw in raws]}).encode()),
    ],
)
async def test_many_are_submitted_at_once_and_answered_in_order(
    headers: dict[str, str], wrap: Callable[[list[bytes]], bytes]
) -> None:
    node = FakeNode()
    raws = [enrolment(node, number) for number in range(1, 30)]
    raws[3] = raws[3][:-1] + bytes((raws[3][-1] ^ 1,))
    async with serving(node) as client:
        found = await post(client, wrap(raws), headers)
    assert (found["accepted"], found["refused"]) == (28, 1)
    assert [item["id"] for item in found["transactions"]] == [transaction_id(raw).hex() for raw in raws]
    assert found["transactions"][3]["code"] == "BAD_SIGNATURE"
    assert len(node.mempool) == 28


@pytest.mark.asyncio
@pytest.mark.parametrize("text", [bytes.hex, lambda raw: base64.b64encode(raw).decode()])
async def test_json_takes_a_single_one_in_hex_or_base64(text: Callable[[bytes], str]) -> None:
    node = FakeNode()
    raw = enrolment(node)
    async with serving(node) as client:
        found = await post(client, json.dumps({"transaction": text(raw)}).encode(), JSON)
    assert (found["id"], found["status"]) == (transaction_id(raw).hex(), "pending")


@pytest.mark.asyncio
async def test_waiting_for_the_commit_answers_with_the_receipts() -> None:
    node = FakeNode()
    raws = [enrolment(node), enrolment(node), node.chain.transaction("bank", Exit(0))]
    async with serving(node) as client:
        waiting = asyncio.create_task(post(client, encode(raws), MSGPACK, "?wait=committed"))
        await when(lambda: len(node.waiters) == 1)
        node.commit()
        found = await waiting
        assert len(node.waiters) == 0
    assert [item["code"] for item in found["transactions"]] == ["OK", "DUPLICATE_MEMBER", "NOT_PERMITTED"]
    assert {item["status"] for item in found["transactions"]} == {"committed"}


@pytest.mark.asyncio
async def test_waiting_ends_with_202_when_the_time_is_over() -> None:
    node = FakeNode()
    async with serving(node) as client:
        found = await post(client, enrolment(node), OCTETS, "?wait=committed&timeout=0", 202)
        assert found["status"] == "pending"
        node.commit()
        found = await post(client, node.chain.blocks[0].body.transactions[0], OCTETS, "?wait=committed")
        assert found["status"] == "committed"


@pytest.mark.asyncio
async def test_waiting_ends_when_a_committed_block_is_past_valid_until() -> None:
    node = FakeNode()
    raw = node.chain.transaction("platform", Exit(0), valid_until_ms=node.chain.next_time_ms + 10)
    path = f"{ROUTE}/{transaction_id(raw).hex()}"
    async with serving(node) as client:
        waiting = asyncio.create_task(post(client, raw, OCTETS, "?wait=committed"))
        await when(lambda: len(node.waiters) == 1)
        node.store(node.chain.raw_block())
        assert (await (await client.get(path)).json())["status"] == "pending"
        node.store(node.chain.raw_block())
        assert (await waiting)["status"] == "expired"
        assert (await (await client.get(path)).json())["code"] == "EXPIRED"


@pytest.mark.asyncio
async def test_expired_is_said_of_an_unknown_id_only_with_its_valid_until_and_a_block_past_it() -> None:
    node = FakeNode()
    node.commit()
    head_ms = node.chain.view.header.time_ms
    path = f"{ROUTE}/{'ab' * 32}"
    async with serving(node) as client:
        assert (await client.get(path)).status == 404
        assert (await client.get(f"{path}?valid_until_ms={head_ms}")).status == 404
        assert (await (await client.get(f"{path}?valid_until_ms={head_ms - 1}")).json())["status"] == "expired"


@pytest.mark.asyncio
async def test_those_who_wait_are_bounded() -> None:
    node = FakeNode(waiters_max=1)
    async with serving(node) as client:
        waiting = asyncio.create_task(post(client, enrolment(node, 1), OCTETS, "?wait=committed"))
        await when(lambda: len(node.waiters) == 1)
        found = await post(client, enrolment(node, 2), OCTETS, "?wait=committed", 503)
        assert found["code"] == "TOO_MANY_WAITERS"
        node.commit()
        await waiting
        assert len(node.mempool) == 0  # the refused wait had submitted its transaction all the same


@pytest.mark.asyncio
async def test_without_waiting_the_list_is_left_in_the_inbox() -> None:
    node = FakeNode(inbox_bytes_max=2_000)
    raw = enrolment(node)
    async with serving(node) as client:
        found = await post(client, encode([raw]), MSGPACK, "?wait=none", 202)
        assert found["transactions"] == [{"id": transaction_id(raw).hex(), "status": "received"}]
        assert len(node.mempool) == 0
        many = [enrolment(node, number) for number in range(2, 12)]
        assert (await post(client, encode(many), MSGPACK, "?wait=none", 503))["code"] == "MEMPOOL_FULL"
        worker = asyncio.create_task(node.admission.run())
        await when(lambda: len(node.mempool) == 1)
        worker.cancel()


@pytest.mark.asyncio
async def test_each_refusal_of_a_single_one_has_its_own_status_and_code() -> None:
    node = FakeNode(Limits(transactions_max=32, organisation_transactions_max=2, unknown_transactions_max=0))
    chain = node.chain
    good = enrolment(node)
    late = chain.transaction("platform", Exit(0), valid_until_ms=node.head_time_ms - 1)
    early = chain.transaction("platform", Exit(0), valid_until_ms=chain.next_time_ms + 600_001)
    large = chain.transaction("platform", EnrolBatch(0, ((bytes(2**20), 1),)))
    cases = [
        (good[:-1] + bytes((good[-1] ^ 1,)), 422, "BAD_SIGNATURE"),
        (late, 422, "EXPIRED"),
        (early, 422, "NOT_YET_VALID"),
        (good + b"\0", 400, "MALFORMED"),
        (b"", 400, "MALFORMED"),
        (large, 413, "TOO_LARGE"),
        (chain.transaction("stranger", Exit(0)), 429, "QUOTA_EXCEEDED"),
    ]
    async with serving(node) as client:
        for raw, status, code in cases:
            assert (await post(client, raw, OCTETS, "", status))["code"] == code
        for number in (1, 2):
            await post(client, enrolment(node, number), OCTETS)
        assert (await post(client, enrolment(node, 3), OCTETS, "", 429))["code"] == "QUOTA_EXCEEDED"
        node.ready = False
        assert (await post(client, enrolment(node, 4), OCTETS, "", 503))["code"] == "NOT_READY"
        assert (await (await client.get("/v1/status")).json())["mempool"]["transactions"] == 2


@pytest.mark.asyncio
async def test_a_list_that_may_be_sent_again_says_when() -> None:
    node = FakeNode(Limits(transactions_max=2))
    async with serving(node) as client:
        raws = [enrolment(node, number) for number in range(3)]
        response = await client.post(ROUTE, data=encode(raws), headers=MSGPACK)
        assert (response.status, response.headers["Retry-After"]) == (200, "1")
        found = await post(client, encode(raws[2:]), MSGPACK, "", 503)
        assert (found["code"], found["transactions"][0]["code"]) == ("MEMPOOL_FULL", "MEMPOOL_FULL")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        ({"Content-Type": "text/plain"}, b"x", 415, "UNSUPPORTED_MEDIA_TYPE"),
        (MSGPACK, b"", 400, "BAD_REQUEST"),
        (MSGPACK, b"\x90", 400, "BAD_REQUEST"),
        (MSGPACK, b"\x91\xa1x", 400, "BAD_REQUEST"),
        (MSGPACK, b"\x91" * 5_000, 400, "BAD_REQUEST"),
        (MSGPACK, b"\xdd\xff\xff\xff\xff", 400, "BAD_REQUEST"),
        (JSON, b"", 400, "BAD_REQUEST"),
        (JSON, b"{", 400, "BAD_REQUEST"),
        (JSON, b"\xff", 400, "BAD_REQUEST"),
        (JSON, b"[" * 100_000, 400, "BAD_REQUEST"),
        (JSON, b"[]", 400, "BAD_REQUEST"),
        (JSON, b"{}", 400, "BAD_REQUEST"),
        (JSON, b'{"transactions": []}', 400, "BAD_REQUEST"),
        (JSON, b'{"transactions": [1]}', 400, "BAD_REQUEST"),
        (JSON, b'{"transaction": "!"}', 400, "BAD_REQUEST"),
        (JSON, b'{"transaction": "00", "transactions": []}', 400, "BAD_REQUEST"),
    ],
)
async def test_a_body_of_another_shape_is_a_bad_request(
    headers: dict[str, str], body: bytes, status: int, code: str
) -> None:
    async with serving(FakeNode()) as client:
        assert (await post(client, body, headers, "", status))["code"] == code


@pytest.mark.asyncio
async def test_queries_are_checked() -> None:
    node = FakeNode()
    async with serving(node) as client:
        for query in ("?wait=for-ever", "?wait=committed&timeout=61", "?timeout=-1"):
            assert (await post(client, enrolment(node), OCTETS, query, 400))["code"] == "BAD_REQUEST"
        assert len(node.mempool) == 0
        await post(client, enrolment(node), OCTETS, "?wait=checked&timeout=60")


@pytest.mark.asyncio
async def test_the_number_and_the_bytes_of_a_request_are_limited() -> None:
    node = FakeNode()
    async with serving(node, ApiSection(requests_per_second=0, body_bytes_max=50_000)) as client:
        assert (await post(client, bytes(50_001), OCTETS, "", 413))["code"] == "TOO_LARGE"
        assert (await post(client, bytes(50_000), OCTETS, "", 400))["code"] == "MALFORMED"
        junk = [b""] * (TRANSACTIONS_MAX + 1)
        assert (await post(client, encode(junk), MSGPACK, "", 413))["code"] == "TOO_LARGE"
        found = await post(client, encode(junk[1:]), MSGPACK)
        assert found["refused"] == TRANSACTIONS_MAX


@pytest.mark.asyncio
async def test_a_receipt_is_found_behind_the_deadlines_of_its_block() -> None:
    node = FakeNode()
    due_ms = node.chain.view.next_due_ms
    assert due_ms is not None
    node.commit(("clock", AdvanceClock(due_ms)))
    raws = [enrolment(node, 1), enrolment(node, 2)]
    async with serving(node) as client:
        await post(client, encode(raws), MSGPACK)
        block = node.commit()
        assert block.deadline_receipts
        found = await post(client, encode(raws), MSGPACK)
    assert [item["detail"][0] for item in found["transactions"]] == [0, 1]


@pytest.mark.asyncio
async def test_a_waiter_that_goes_away_leaves_nothing_behind() -> None:
    waiters = CommitWaiters(2)
    gone = asyncio.create_task(waiters.wait([b"a", b"b"], 60))
    stays = asyncio.create_task(waiters.wait([b"b"], 60))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    assert len(waiters) == 1
    waiters.settled([b"x", b"b"])
    assert await stays is True
    assert len(waiters) == 0
    assert not waiters._of
    assert await waiters.wait([], 60) is True
    assert await waiters.wait([b"a"], 0) is False


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_no_body_escapes_as_another_error(body: bytes) -> None:
    for reader in (_json, _msgpack):
        try:
            reader(body)
        except TransactionRejected as rejected:
            assert rejected.code == "BAD_REQUEST"
