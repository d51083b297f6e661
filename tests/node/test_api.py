"""The API's reading side: what is shown equals the ledger, proofs verify, and every refusal is a clear problem."""

import json
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgpack
import pytest
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import bills, proofs
from ledger.blocks import decode_certificate, decode_header, header_hash, validators_hash
from ledger.codec import decode_own
from ledger.errors import CODES, InvariantViolation, OperatorError
from ledger.rows import Clock, Member
from ledger.transactions import AdvanceClock, EnrolBatch
from ledger.votes import ValidatorEntry, certificate_fault
from node.api.answers import RETRYABLE, STATUS
from node.api.asked import LIMIT_MAX
from node.api.connections import Connections
from node.api.feed import Feeds
from node.api.server import ApiServer, routes
from node.config import ApiSection
from tests.node.api_kit import FakeNode

LOGGER = logging.getLogger("test")

BIRTH_MONTH = 1985 * 12
IDENTITIES = [number.to_bytes(32, "big") for number in range(1, 41)]


@asynccontextmanager
async def serving(node: FakeNode, section: ApiSection | None = None) -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(node.app(section))) as client:
        yield client


def with_members() -> FakeNode:
    node = FakeNode()
    node.commit(("platform", EnrolBatch(0, tuple((identity, BIRTH_MONTH) for identity in IDENTITIES))))
    node.commit()
    return node


async def get(client: TestClient[Any, Any], path: str, status: int = 200) -> Any:
    response = await client.get(path)
    body = await response.text()
    assert response.status == status, body
    if status >= 400 and not path.startswith(("/readyz", "/livez")):
        assert response.content_type == "application/problem+json"
    return json.loads(body)


async def refused(client: TestClient[Any, Any], path: str, code: str) -> dict[str, Any]:
    found: dict[str, Any] = await get(client, path, STATUS[code].value)
    assert found["code"] == code
    assert found["status"] == STATUS[code].value
    assert found["detail"]
    return found


# ---- the node ----


@pytest.mark.asyncio
async def test_the_index_names_every_route_with_a_sentence() -> None:
    node = FakeNode()
    async with serving(node) as client:
        index = await get(client, "/")
    assert [(entry["method"], entry["path"]) for entry in index["routes"]] == [
        (route.method, route.path) for route in routes(node, node.waiters, Feeds(node, node.waiters))
    ]
    assert all(entry["about"] for entry in index["routes"])


@pytest.mark.asyncio
async def test_status_names_head_and_roots() -> None:
    node = with_members()
    async with serving(node) as client:
        status = await get(client, "/v1/status")
    view = node.chain.view
    assert (status["height"], status["hash"]) == (2, view.header_hash.hex())
    assert (status["state_root"], status["chain_id"]) == (view.state_root.hex(), node.chain_id.hex())
    assert status["ledger_time_ms"] == view.header.time_ms + node.chain.state.get(Clock, 1).offset_ms
    assert status["mempool"] == {"transactions": 0, "bytes": 0}
    assert status["verifier"] == {"restarts": 0}


@pytest.mark.asyncio
async def test_readiness_gives_reasons() -> None:
    node = with_members()
    async with serving(node) as client:
        assert await get(client, "/readyz") == {"ready": True, "reasons": []}
        assert (await get(client, "/readyz?min_peers=4", 503))["reasons"] == ["3 peers connected, at least 4 asked for"]
        node.best_height = 5
        await get(client, "/readyz?max_blocks_behind=3")
        assert "3 blocks behind" in (await get(client, "/readyz", 503))["reasons"][0]
        node.informed = False
        assert "told their heads" in (await get(client, "/readyz", 503))["reasons"][0]
        node.informed = True
        node.best_height, node.syncing, node.signing = 0, True, False
        reasons = (await get(client, "/readyz", 503))["reasons"]
        assert reasons == ["catching up", "not signing: the disk is full"]
        response = await client.get("/readyz")
        assert "Retry-After" in response.headers


@pytest.mark.asyncio
async def test_liveness_follows_the_loops_heartbeat() -> None:
    node = FakeNode()
    async with serving(node) as client:
        assert await get(client, "/livez") == {"alive": True}
        node.loop_alive = False
        assert await get(client, "/livez", 503) == {"alive": False}


@pytest.mark.asyncio
async def test_metrics_count_requests_by_route_and_never_by_path() -> None:
    node = with_members()
    async with serving(node) as client:
        for member in range(3):
            await get(client, f"/v1/members/{member}")
        await get(client, "/v1/nothing", 404)
        response = await client.get("/metrics")
        text = await response.text()
    assert response.headers["Content-Type"].startswith("text/plain")
    assert 'huzhu_http_requests_total{route="/v1/members/{id}",status="200"} 3.0' in text
    assert 'huzhu_http_requests_total{route="unknown",status="404"} 1.0' in text


@pytest.mark.asyncio
async def test_the_genesis_is_served_byte_for_byte() -> None:
    node = FakeNode()
    async with serving(node) as client:
        assert await (await client.get("/v1/genesis")).read() == node.genesis_raw


@pytest.mark.asyncio
async def test_peers_are_shown_as_they_are() -> None:
    async with serving(FakeNode()) as client:
        known = {"key": "02" * 32, "connected": True, "last_error": None}
        assert await get(client, "/v1/peers") == {"peers": [known], "strangers": []}


# ---- blocks ----


@pytest.mark.asyncio
async def test_a_block_is_found_by_height_hash_and_as_the_latest() -> None:
    node = with_members()
    block = node.chain.blocks[0]
    async with serving(node) as client:
        by_height = await get(client, "/v1/blocks/1")
        assert await get(client, f"/v1/blocks/{by_height['hash']}") == by_height
        assert (await get(client, "/v1/blocks/latest"))["height"] == 2
        assert (await get(client, "/v1/blocks/0"))["transactions"] == []
        await refused(client, "/v1/blocks/3", "NOT_FOUND")
        await refused(client, f"/v1/blocks/{'00' * 32}", "NOT_FOUND")
        await refused(client, f"/v1/blocks/{'zz' * 32}", "BAD_REQUEST")
        await refused(client, "/v1/blocks/-1", "BAD_REQUEST")
        await refused(client, "/v1/blocks/1?raw=yes", "BAD_REQUEST")
    assert by_height["header"]["parent"] == block.header.parent.hex()
    assert by_height["signatures"] == 3
    (transaction,) = by_height["transactions"]
    assert (transaction["type"], transaction["code"]) == ("enrol_batch", "OK")
    assert transaction["detail"] == list(block.transaction_receipts[0].detail)


@pytest.mark.asyncio
async def test_blocks_are_listed_newest_first_in_pages() -> None:
    node = with_members()
    async with serving(node) as client:
        assert [item["height"] for item in (await get(client, "/v1/blocks"))["blocks"]] == [2, 1, 0]
        assert [item["height"] for item in (await get(client, "/v1/blocks?limit=2"))["blocks"]] == [2, 1]
        assert [item["height"] for item in (await get(client, "/v1/blocks?before=1"))["blocks"]] == [0]
        assert (await get(client, "/v1/blocks?before=0"))["blocks"] == []
        await get(client, f"/v1/blocks?limit={LIMIT_MAX}")
        for limit in ("0", str(LIMIT_MAX + 1), "x", "1.5", "-1", "9" * 30):
            await refused(client, f"/v1/blocks?limit={limit}", "BAD_REQUEST")


@pytest.mark.asyncio
async def test_raw_blocks_and_exports_are_the_exact_bytes_a_stranger_can_verify() -> None:
    node = with_members()
    async with serving(node) as client:
        raw = await (await client.get("/v1/blocks/1?raw=true")).read()
        exported = await (await client.get("/v1/blocks/export?from=0")).read()
        part = await (await client.get("/v1/blocks/export?from=1&to=1")).read()
        await refused(client, "/v1/blocks/export?from=2&to=1", "BAD_REQUEST")
        await refused(client, "/v1/blocks/export?to=3", "BAD_REQUEST")
    assert part == raw
    unpacker = msgpack.Unpacker(raw=False)
    unpacker.feed(exported)
    blocks = list(unpacker)
    assert [block[1] is None for block in blocks] == [True, False, False]
    for height, (header, _, certificate, receipts) in enumerate(blocks):
        assert decode_header(header).height == height
        assert decode_certificate(certificate).block_hash == header_hash(header)
        if height:
            assert len(receipts) == len(node.chain.blocks[height - 1].applied.receipts)


# ---- the ledger ----


@pytest.mark.asyncio
async def test_a_member_is_shown_with_state_and_debts() -> None:
    node = with_members()
    async with serving(node) as client:
        found = await get(client, "/v1/members/3")
        assert found["state"] == "WAITING"
        assert (found["row"]["identity"], found["joined"]) == (IDENTITIES[3].hex(), "2018-10-16")
        assert (found["bill_fen"], found["owed"]["total_fen"]) == (0, 0)
        assert await get(client, f"/v1/members?identity={IDENTITIES[3].hex()}") == found
        await refused(client, "/v1/members/40", "NOT_FOUND")
        await refused(client, f"/v1/members?identity={'11' * 32}", "NOT_FOUND")
        await refused(client, f"/v1/members?identity={IDENTITIES[3].hex()}&plan=1", "NOT_FOUND")
        await refused(client, "/v1/members?identity=11", "BAD_REQUEST")
        await refused(client, "/v1/members/x", "BAD_REQUEST")
        await refused(client, f"/v1/members/{2**63}", "BAD_REQUEST")


@pytest.mark.asyncio
async def test_a_bill_equals_the_ledgers_and_adds_up() -> None:
    node = with_members()
    node.step_to_day(2019, 1, 1)
    async with serving(node) as client:
        found = await get(client, "/v1/members/3/bill")
        assert found["bill_fen"] == bills.total(node.chain.state, node.chain.state.get(Member, 3))
        assert sum(charge["charge_fen"] for charge in found["charges"]) == found["bill_fen"]
        assert [charge["date"] for charge in found["charges"]][:2] == ["2018-10-28", "2018-11-14"]
        assert (await get(client, "/v1/members/3"))["state"] == "WAITING"
        await refused(client, "/v1/members/99/bill", "NOT_FOUND")
        settlements = await get(client, "/v1/settlements?plan=0")
        periods = [item["period"] for item in settlements["settlements"]]
        assert periods == sorted(periods)
        assert [charge["period"] for charge in found["charges"]] == periods[: len(found["charges"])]
        page = await get(client, "/v1/settlements?limit=2")
        assert [item["period"] for item in page["settlements"]] == periods[:2]
        rest = await get(client, f"/v1/settlements?after={page['next']}")
        assert [item["period"] for item in rest["settlements"]] == periods[2:]
        one = await get(client, f"/v1/settlements/0/{periods[0]}")
        assert one == settlements["settlements"][0] | {"height": one["height"]}
        assert one["stage"] == "CLOSED"
        await refused(client, "/v1/settlements/0/1", "NOT_FOUND")
        await refused(client, "/v1/settlements?plan=1", "NOT_FOUND")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "path",
    ["/v1/members/7?prove=true", "/v1/plans/0?prove=true", "/v1/proofs/organisations/2", "/v1/proofs/members/39"],
)
async def test_a_proof_verifies_against_the_newest_certified_header(path: str) -> None:
    node = with_members()
    async with serving(node) as client:
        found = await get(client, path)
    proof = found.get("proof")
    proof = found if isinstance(proof, str) else proof
    header_raw = bytes.fromhex(proof["header"])
    header = decode_header(header_raw)
    validators = decode_own(tuple[ValidatorEntry, ...], bytes.fromhex(proof["validators"]))
    certificate = decode_certificate(bytes.fromhex(proof["certificate"]))
    assert validators_hash(validators) == header.validators_hash
    assert certificate.block_hash == header_hash(header_raw)
    assert certificate_fault(certificate, validators, node.chain_id, header.epoch) is None
    key, value = bytes.fromhex(proof["key"]), bytes.fromhex(proof["value"])
    assert proofs.verify(header.state_root, key, value, bytes.fromhex(proof["proof"]))
    assert proof["state_height"] == header.height - 1 == node.current.height - 1


@pytest.mark.asyncio
async def test_what_is_not_certified_yet_is_not_proven() -> None:
    node = FakeNode()
    async with serving(node) as client:
        found = await refused(client, "/v1/proofs/plans/0", "NOT_PROVABLE_YET")
        assert "block 1" in found["detail"]
        node.commit(("platform", EnrolBatch(0, ((IDENTITIES[0], BIRTH_MONTH),))))
        await get(client, "/v1/members/0")
        await refused(client, "/v1/members/0?prove=true", "NOT_FOUND")
        node.commit()
        await get(client, "/v1/members/0?prove=true")
        await refused(client, "/v1/proofs/claims/0", "NOT_FOUND")
        await refused(client, "/v1/proofs/nonsense/0", "NOT_FOUND")


@pytest.mark.asyncio
async def test_plans_organisations_and_validators_are_listed() -> None:
    node = with_members()
    async with serving(node) as client:
        (plan,) = (await get(client, "/v1/plans"))["plans"]
        assert (plan["name"], plan["stage"], plan["date"]) == ("main", "NOTICE", "2018-10-28")
        full = await get(client, "/v1/plans/0")
        assert full["account"]["cash"] == 0
        assert full["versions"][0]["params"]["fee_bps"] == 800
        await refused(client, "/v1/plans/1", "NOT_FOUND")
        organisations = (await get(client, "/v1/organisations"))["organisations"]
        assert [(item["name"], item["roles"]) for item in organisations][:2] == [
            ("platform", ["PLATFORM"]),
            ("bank", ["BANK"]),
        ]
        validators = await get(client, "/v1/validators")
        assert [item["name"] for item in validators["validators"]] == ["platform", "bank", "firm-a", "firm-b"]
        assert len(validators["seats"]) == 4


@pytest.mark.asyncio
async def test_members_are_listed_in_pages_that_end() -> None:
    node = with_members()
    async with serving(node) as client:
        seen: list[int] = []
        after = ""
        while True:
            page = await get(client, f"/v1/members?limit=15{after}")
            seen += [item["id"] for item in page["members"]]
            if page["next"] is None:
                break
            after = f"&after={page['next']}"
        assert seen == list(range(40))
        assert (await get(client, "/v1/members?after=39"))["members"] == []
        assert (await get(client, "/v1/members?after=5000000"))["next"] is None


@pytest.mark.asyncio
async def test_claims_can_be_filtered_and_wrong_filters_are_refused() -> None:
    node = with_members()
    async with serving(node) as client:
        assert await get(client, "/v1/claims?plan=0&state=FILED&period=1&member=1") == {
            "height": 2,
            "claims": [],
            "next": None,
        }
        await refused(client, "/v1/claims?state=LOST", "BAD_REQUEST")
        await refused(client, "/v1/claims?plan=x", "BAD_REQUEST")
        await refused(client, "/v1/claims/0", "NOT_FOUND")
        assert (await get(client, "/v1/collections?plan=0&period=3"))["collections"] == []


@pytest.mark.asyncio
async def test_the_next_deadline_tells_a_stepped_clock_when_to_wait() -> None:
    node = FakeNode()
    async with serving(node) as client:
        found = await get(client, "/v1/deadlines/next")
        assert (found["kind"], found["id"], found["overdue"]) == ("NOTICE", 0, 0)
        node.commit(("clock", AdvanceClock(found["next_due_ms"])))
        late = await get(client, "/v1/deadlines/next")
        assert (late["overdue"], late["ledger_time_ms"]) == (1, found["next_due_ms"])
        node.commit()
        after = await get(client, "/v1/deadlines/next")
        assert after["overdue"] == 0
        assert after["next_due_ms"] > found["next_due_ms"]


# ---- around every request ----


@pytest.mark.asyncio
async def test_unknown_routes_and_methods_are_problems_too() -> None:
    async with serving(FakeNode()) as client:
        await refused(client, "/v2/status", "NOT_FOUND")
        response = await client.delete("/v1/status")
        assert (response.status, (await response.json(content_type=None))["code"]) == (405, "METHOD_NOT_ALLOWED")
        assert "GET" in response.headers["Allow"]


@pytest.mark.asyncio
async def test_a_client_has_a_rate_and_liveness_is_exempt() -> None:
    async with serving(FakeNode(), ApiSection(requests_per_second=3)) as client:
        for _ in range(3):
            await get(client, "/v1/status")
        response = await client.get("/v1/status")
        assert response.status == 429
        assert response.headers["Retry-After"]
        await get(client, "/livez")
        await get(client, "/readyz")


@pytest.mark.asyncio
async def test_a_body_that_is_not_what_its_encoding_says_is_the_clients_fault() -> None:
    node = FakeNode()
    async with serving(node) as client:
        headers = {"Content-Type": "application/octet-stream", "Content-Encoding": "gzip"}
        response = await client.post("/v1/transactions", data=b"not gzip", headers=headers)
        assert (response.status, (await response.json(content_type=None))["code"]) == (400, "BAD_REQUEST")
    assert node.bugs == []


@pytest.mark.asyncio
async def test_a_bug_is_handed_to_the_node_and_not_dressed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    node = with_members()

    def broken() -> Any:
        raise InvariantViolation("seen by the API")

    monkeypatch.setattr(node, "status", broken)
    async with serving(node) as client:
        response = await client.get("/v1/status")
        assert response.status == 500
    assert [str(bug) for bug in node.bugs] == ["seen by the API"]


def test_every_code_the_api_answers_with_is_in_the_table() -> None:
    assert set(STATUS) <= set(CODES)
    assert {code for code in STATUS if STATUS[code].value in (429, 503)} == RETRYABLE


@pytest.mark.asyncio
async def test_the_server_tells_the_port_it_got_and_a_used_one_is_an_operators_error() -> None:
    node = FakeNode()
    first = ApiServer(node.app(), "127.0.0.1:0", connections=Connections(100, print), logger=LOGGER)
    host, port = await first.start()
    assert (host, port > 0) == ("127.0.0.1", True)
    with pytest.raises(OperatorError) as caught:
        await ApiServer(node.app(), f"127.0.0.1:{port}", connections=Connections(100, print), logger=LOGGER).start()
    assert caught.value.code == "API_PORT_IN_USE"
    await first.stop()
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind((host, port))
    with pytest.raises(OperatorError) as caught:
        await ApiServer(node.app(), "192.0.2.1:0", connections=Connections(100, print), logger=LOGGER).start()
    assert caught.value.code == "API_CANNOT_LISTEN"


PATHS = [
    "/v1/blocks/{}",
    "/v1/blocks?before={}",
    "/v1/blocks/export?from={}",
    "/v1/transactions/{}",
    "/v1/members/{}",
    "/v1/members/{}/bill",
    "/v1/members?identity={}",
    "/v1/members?after={}",
    "/v1/claims/{}",
    "/v1/claims?state={}",
    "/v1/plans/{}?prove={}",
    "/v1/settlements/0/{}",
    "/v1/settlements?after={}",
    "/v1/proofs/members/{}",
    "/v1/proofs/{}/1",
    "/readyz?min_peers={}",
]
JUNK = st.one_of(
    st.integers(-2, 2**70).map(str),
    st.text(st.characters(codec="ascii", exclude_characters="/?#&%\\"), min_size=1, max_size=70),
    st.binary(min_size=30, max_size=33).map(bytes.hex),
    st.sampled_from(["latest", "true", "²", "١", "None", "0x10", "1_0", "+1", "1e3"]),
)


@pytest.mark.asyncio
async def test_whatever_is_asked_the_answer_is_json_and_never_a_bug() -> None:
    node = with_members()
    junk: list[str] = []

    @settings(max_examples=150, deadline=None, database=None)
    @given(JUNK)
    def collect(text: str) -> None:
        junk.append(text)

    collect()
    async with serving(node) as client:
        for number, text in enumerate(junk):
            template = PATHS[number % len(PATHS)]
            response = await client.get(template.replace("{}", text))
            body = await response.text()
            assert response.status in (200, 400, 404, 503), (template, text, body)
            if response.status != 200:
                json.loads(body)
    assert not node.bugs
