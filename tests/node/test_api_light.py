"""Routes for light clients: what they hand out verifies offline, whatever is decided meanwhile."""

import asyncio
from collections import Counter
from io import BytesIO
from random import Random
from typing import Any

import msgpack
import pytest

from ledger import proofs
from ledger.blocks import decode_header, header_hash
from ledger.codec import decode, decode_own, encode
from ledger.errors import CODES, ProofFailed
from ledger.light import ChainProof, genesis_trust, make_chain, verify_chain
from ledger.rows import Draw, Settlement
from ledger.statement import (
    FILE_BYTES_MAX,
    Answer,
    DrawProof,
    Inclusion,
    Parts,
    SettlementProof,
    Statement,
    assemble,
    verify,
)
from ledger.tables import Table
from ledger.transactions import EnrolBatch, Exit, transaction_id
from ledger.votes import ValidatorEntry
from node.api import light
from node.api.answers import STATUS
from node.api.proving import PROVABLE
from tests.ledger.proof_kit import CLAIMANTS, RETURNED, told
from tests.node.api_kit import FakeNode
from tests.node.test_api import BIRTH_MONTH, get, refused, serving, with_members


def told_node() -> FakeNode:
    """A node that holds the told chain."""
    chain, _ = told()
    node = FakeNode(values=chain.values)
    node.replay(*chain.blocks)
    return node


async def raw(client: Any, path: str) -> bytes:
    response = await client.get(path)
    body: bytes = await response.read()
    assert response.status == 200, body
    assert response.content_type == "application/msgpack"
    return body


async def headers(client: Any, first: int, last: int) -> ChainProof:
    records = []
    for header, certificate, validators in msgpack.Unpacker(
        BytesIO(await raw(client, f"/v1/headers?from={first}&to={last}"))
    ):
        entries = None if validators is None else decode_own(tuple[ValidatorEntry, ...], encode(validators))
        records.append((header, certificate, entries))
    assert len(records) == last - first + 1
    return make_chain(b"", records)


async def verified(client: Any, node: FakeNode, path: str, kind: Any) -> Answer:
    """What a member would do: ask for the parts, then for the headers up to the one that certifies them."""
    parts = decode(Parts, await raw(client, path), bytes_max=FILE_BYTES_MAX)
    chain = await headers(client, 1, parts.height)
    return verify(assemble(node.chain_id, chain, parts.rows, parts.subject), node.chain.genesis, kind)


@pytest.mark.asyncio
async def test_headers_come_in_ranges_with_each_new_validator_set_once() -> None:
    node = told_node()
    async with serving(node) as client:
        whole = await headers(client, 1, node.current.height)
        assert verify_chain(genesis_trust(node.chain.genesis), whole).newest.height == node.current.height
        assert len(whole.sets) == 1
        part = await headers(client, 40, 60)
        assert part.links == whole.links[39:60]
        assert len(await raw(client, "/v1/headers")) > 60_000
        for wrong in ("from=5&to=4", f"to={node.current.height + 1}", "from=x"):
            await refused(client, f"/v1/headers?{wrong}", "BAD_REQUEST")


@pytest.mark.asyncio
async def test_a_range_of_headers_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    node = told_node()
    monkeypatch.setattr(light, "HEADERS_MAX", 10)
    async with serving(node) as client:
        assert len((await headers(client, 1, 10)).links) == 10
        await refused(client, "/v1/headers?from=1&to=11", "BAD_REQUEST")


@pytest.mark.asyncio
@pytest.mark.parametrize("member", [0, CLAIMANTS[0], RETURNED])
async def test_a_statement_of_a_node_verifies(member: int) -> None:
    node = told_node()
    async with serving(node) as client:
        answer = await verified(client, node, f"/v1/members/{member}/statement", Statement)
        bill = await get(client, f"/v1/members/{member}/bill")
        assert answer.figures["bill_fen"] == bill["bill_fen"]
        await refused(client, "/v1/members/300/statement", "NOT_FOUND")


@pytest.mark.asyncio
async def test_settlements_draws_and_transactions_of_a_node_verify() -> None:
    node = told_node()
    async with serving(node) as client:
        for _, row in node.certified.state.rows(Settlement):
            answer = await verified(client, node, f"/v1/settlements/0/{row.period}/proof", SettlementProof)
            assert answer.figures["charged_fen"] == row.charged_fen
        for draw_id, draw in node.certified.state.rows(Draw):
            answer = await verified(client, node, f"/v1/draws/{draw_id}/proof", DrawProof)
            assert answer.figures["seed"] == draw.running.hex()
        name = transaction_id(node.chain.blocks[0].body.transactions[0]).hex()
        answer = await verified(client, node, f"/v1/transactions/{name}/proof", Inclusion)
        assert answer.figures["kind"] == "enrol_batch"
        await refused(client, "/v1/settlements/0/1/proof", "NOT_FOUND")
        await refused(client, "/v1/draws/99/proof", "NOT_FOUND")
        await refused(client, f"/v1/transactions/{'00' * 32}/proof", "NOT_FOUND")


@pytest.mark.asyncio
async def test_what_no_header_certifies_yet_has_no_file() -> None:
    node = FakeNode()
    async with serving(node) as client:
        await refused(client, "/v1/members/0/statement", "NOT_PROVABLE_YET")
        block = node.commit(("platform", EnrolBatch(0, ((bytes(32), BIRTH_MONTH),))))
        name = transaction_id(block.body.transactions[0]).hex()
        await refused(client, f"/v1/transactions/{name}/proof", "NOT_PROVABLE_YET")
        await refused(client, "/v1/members/0/statement", "NOT_FOUND")
        node.commit()
        await verified(client, node, f"/v1/transactions/{name}/proof", Inclusion)
        await verified(client, node, "/v1/members/0/statement", Statement)
        node.step_to_day(2018, 10, 25)
        await refused(client, "/v1/settlements/0/19/proof", "NOT_PROVABLE_YET")


@pytest.mark.asyncio
async def test_under_load_every_proof_is_against_the_newest_certified_header() -> None:
    """Each block changes the state; statements are read in slices between them."""
    node = with_members()
    seen: set[int] = set()

    async def decide() -> None:
        for member in range(40):
            node.commit(("platform", Exit(member)))
            await asyncio.sleep(0.002)

    async def ask(client: Any, member: int) -> None:
        for _ in range(5):
            before = node.certified.height
            found = await get(client, f"/v1/proofs/members/{member}")
            root = decode_header(bytes.fromhex(found["header"])).state_root
            assert proofs.verify(root, *(bytes.fromhex(found[part]) for part in ("key", "value", "proof")))
            assert before <= found["state_height"] <= node.certified.height
            await verified(client, node, f"/v1/members/{member}/statement", Statement)
            seen.add(found["state_height"])

    async with serving(node) as client, asyncio.TaskGroup() as tasks:
        tasks.create_task(decide())
        for member in range(4):
            tasks.create_task(ask(client, member))
    assert len(seen) > 4, "blocks were decided meanwhile"


@pytest.mark.asyncio
async def test_under_load_a_proof_of_any_row_of_any_table_is_against_the_newest_certified_header() -> None:
    """The state changes with each block; each answer is of the newest that a header certifies."""
    node = told_node()
    tables = {table: node.certified.state.tables.length(table) for table in PROVABLE}
    asked: Counter[Table] = Counter()

    async def decide(done: asyncio.Event) -> None:
        for member in range(120):
            node.commit(("platform", Exit(member)))
            await asyncio.sleep(0.001)
        done.set()

    async def ask(client: Any, seed: int, done: asyncio.Event) -> None:
        draw = Random(seed)
        while not done.is_set():
            table = draw.choice([table for table, length in tables.items() if length])
            row_id = draw.randrange(tables[table])
            before = node.certified.height
            found = await get(client, f"/v1/proofs/{table.name.lower()}/{row_id}")
            assert before <= found["state_height"] <= node.certified.height
            header = decode_header(bytes.fromhex(found["header"]))
            assert header.height == found["state_height"] + 1
            key, value, proof = (bytes.fromhex(found[part]) for part in ("key", "value", "proof"))
            assert proofs.verify(header.state_root, key, value, proof)
            asked[table] += 1

    async with serving(node) as client, asyncio.TaskGroup() as tasks:
        done = asyncio.Event()
        tasks.create_task(decide(done))
        for seed in range(4):
            tasks.create_task(ask(client, seed, done))
    assert len(asked) > 8, asked


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "text", ["-1", "x", "9" * 19, str(2**63), "None", "%C2%B2", "1e3", "0x1", "00" * 32, "zz" * 32]
)
async def test_junk_is_refused_by_every_route(text: str) -> None:
    node = with_members()
    async with serving(node) as client:
        for path in ("members/{}/statement", "settlements/0/{}/proof", "draws/{}/proof", "transactions/{}/proof"):
            response = await client.get("/v1/" + path.format(text))
            assert response.content_type == "application/problem+json", path
    assert node.bugs == []


@pytest.mark.asyncio
async def test_every_public_table_can_be_proven_meta_included() -> None:
    node = told_node()
    async with serving(node) as client:
        for table in PROVABLE:
            length = node.certified.state.tables.length(table)
            for row_id in {0, length - 1} if length else ():
                found = await get(client, f"/v1/proofs/{table.name.lower()}/{row_id}")
                assert found["row"]
        lengths = (await get(client, "/v1/proofs/meta/0"))["row"]
        assert lengths["members"] == node.certified.state.tables.length(Table.MEMBERS)
        for private in ("claims", "member_keys", "attestations", "fingerprints"):
            await refused(client, f"/v1/proofs/{private}/0", "NOT_FOUND")


@pytest.mark.asyncio
async def test_rows_that_contradict_each_other_are_said_to_and_stop_no_node(monkeypatch: pytest.MonkeyPatch) -> None:
    def contradicted(*_: object) -> None:
        raise ProofFailed("members 0", "the charges of the periods do not add up to the bill")

    node = told_node()
    monkeypatch.setattr(light, "rows_needed", contradicted)
    async with serving(node) as client:
        found = await refused(client, "/v1/members/0/statement", "NOT_BORNE_OUT")
        assert "do not add up" in found["detail"]
    assert node.bugs == []
    assert STATUS["NOT_BORNE_OUT"].value == 500
    assert "NOT_BORNE_OUT" in CODES


@pytest.mark.asyncio
async def test_a_client_that_trusts_a_header_asks_only_for_what_follows_it() -> None:
    node = told_node()
    async with serving(node) as client:
        parts = decode(Parts, await raw(client, "/v1/members/0/statement"), bytes_max=FILE_BYTES_MAX)
        anchor = encode(node.chain.blocks[99].header)
        chain = await headers(client, 101, parts.height)
        file = assemble(node.chain_id, ChainProof(anchor, chain.sets, chain.links, ()), parts.rows, parts.subject)
        verify(file, node.chain.genesis, Statement, trusted_hash=header_hash(anchor))
