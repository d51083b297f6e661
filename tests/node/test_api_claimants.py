"""The proof of a claim's row: for the claimant, who signs the question, and for nobody else."""

import json
from typing import Any

import pytest

from ledger import proofs
from ledger import transactions as tx
from ledger.actions import SetOrganisation
from ledger.blocks import decode_header
from ledger.claim_question import ASKED_WITHIN_MS, question_digest
from ledger.codec import decode_own
from ledger.rows import Claim
from ledger.signing import sign
from node.api.answers import STATUS
from tests.ledger.chain import key, seed
from tests.ledger.claim_kit import enrolled, filed, person
from tests.ledger.test_roles_in_effect import SUSPENDED, decided, ids
from tests.node.api_kit import FakeNode
from tests.node.test_api import serving
from tests.node.test_api_claims import holding

MINE = 20


def two_claims() -> tuple[FakeNode, int, int]:
    """(a node, the claim of a member with his own key, that of a member whom the platform serves)."""
    chain = enrolled()
    mine, served = filed(chain, person(MINE)), filed(chain)
    chain.block()
    return holding(chain), mine, served


async def ask(client: Any, node: FakeNode, claim: int, name: str, **changes: Any) -> tuple[int, dict[str, Any]]:
    """(status, answer) of the question as ``name`` signs it, sent with some ``changes``."""
    asked_ms = node.clock_ms()
    signature = sign(seed(name), question_digest(node.chain_id, claim, asked_ms))
    body = {"signer": key(name).hex(), "asked_ms": asked_ms, "signature": signature.hex()} | changes
    response = await client.post(f"/v1/claims/{claim}/proof", data=json.dumps(body).encode())
    found = json.loads(await response.text())
    if response.status != 200:
        assert response.content_type == "application/problem+json"
        assert response.status == STATUS[found["code"]].value
    return response.status, found


async def code_of(client: Any, node: FakeNode, claim: int, name: str, **changes: Any) -> str:
    return str((await ask(client, node, claim, name, **changes))[1].get("code", "OK"))


@pytest.mark.asyncio
@pytest.mark.parametrize("own", [True, False], ids=["own key", "served by the platform"])
async def test_the_claimant_gets_a_proof_of_his_claim_as_certified(own: bool) -> None:
    node, mine, served = two_claims()
    claim = mine if own else served
    async with serving(node) as client:
        status, found = await ask(client, node, claim, f"person {MINE}" if own else "platform")
    assert status == 200
    root = decode_header(bytes.fromhex(found["header"])).state_root
    part = {name: bytes.fromhex(found[name]) for name in ("key", "value", "proof")}
    assert proofs.verify(root, part["key"], part["value"], part["proof"])
    row = decode_own(Claim, part["value"])
    assert row == node.certified.state.get(Claim, claim)
    assert row.salt.hex() == found["row"]["salt"], "it is his own"


@pytest.mark.asyncio
async def test_nobody_else_gets_one() -> None:
    node, mine, served = two_claims()
    async with serving(node) as client:
        for name in ("person 21", "platform", "bank", "firm-a", "regulator", "a stranger"):
            assert await code_of(client, node, mine, name) == "NOT_THE_CLAIMANT", name
        for name in (f"person {MINE}", "bank", "firm-a", "a stranger"):
            assert await code_of(client, node, served, name) == "NOT_THE_CLAIMANT", name
    assert node.bugs == []


@pytest.mark.asyncio
async def test_a_question_is_signed_for_one_claim_one_chain_and_now() -> None:
    node, mine, served = two_claims()
    now = node.clock_ms()
    other_claim = sign(seed("platform"), question_digest(node.chain_id, mine, now)).hex()
    other_chain = sign(seed("platform"), question_digest(bytes(32), served, now)).hex()
    async with serving(node) as client:
        for signature in (other_claim, other_chain):
            assert await code_of(client, node, served, "platform", signature=signature) == "BAD_SIGNATURE"
        assert await code_of(client, node, served, "platform", asked_ms=now + 1) == "BAD_SIGNATURE"
        assert await code_of(client, node, served, "platform", signer=key("other bank").hex()) == "BAD_SIGNATURE"
        for beside in (-ASKED_WITHIN_MS, ASKED_WITHIN_MS):
            at_limit = sign(seed("platform"), question_digest(node.chain_id, served, now + beside)).hex()
            assert await code_of(client, node, served, "platform", asked_ms=now + beside, signature=at_limit) == "OK"
            beyond = now + beside + (1 if beside > 0 else -1)
            late = sign(seed("platform"), question_digest(node.chain_id, served, beyond)).hex()
            assert await code_of(client, node, served, "platform", asked_ms=beyond, signature=late) == "BAD_REQUEST"


@pytest.mark.asyncio
async def test_the_key_that_acts_now_asks_and_a_suspended_organisation_does_not() -> None:
    chain = enrolled()
    mine, served = filed(chain, person(MINE)), filed(chain)
    chain.ok(f"person {MINE}", tx.RotateMemberKey(person(MINE), key("rotated")))
    decided(chain, SetOrganisation(ids(chain)["other bank"], SUSPENDED))
    node = holding(chain)
    node.commit()
    async with serving(node) as client:
        assert await code_of(client, node, mine, f"person {MINE}") == "NOT_THE_CLAIMANT"
        assert await code_of(client, node, mine, "rotated") == "OK"
        assert await code_of(client, node, served, "platform") == "OK"
        assert await code_of(client, node, served, "other bank") == "SIGNER_SUSPENDED"


@pytest.mark.asyncio
async def test_what_is_no_question_is_refused() -> None:
    node, mine, _ = two_claims()
    async with serving(node) as client:
        for changes in (
            {"asked_ms": "1"},
            {"asked_ms": -1},
            {"asked_ms": 2**63},
            {"asked_ms": True},
            {"signer": 1},
            {"signer": "00"},
            {"signer": "zz" * 32},
            {"signature": "00" * 63},
            {"signature": None},
            {"more": 1},
        ):
            assert await code_of(client, node, mine, f"person {MINE}", **changes) == "BAD_REQUEST", changes
        for raw in (b"", b"[]", b"{}", b"\xff", b"[" * 100_000):
            response = await client.post(f"/v1/claims/{mine}/proof", data=raw)
            assert response.status == 400, raw[:10]
        assert await code_of(client, node, 99, "platform") == "NOT_FOUND"
        assert (await client.get(f"/v1/claims/{mine}/proof")).status == 405
    assert node.bugs == []


@pytest.mark.asyncio
async def test_a_claim_that_no_header_certifies_yet_has_no_proof() -> None:
    chain = enrolled()
    claim = filed(chain)
    node = holding(chain)
    async with serving(node) as client:
        assert await code_of(client, node, claim, "platform") == "NOT_FOUND"
        node.commit()
        assert await code_of(client, node, claim, "platform") == "OK"
