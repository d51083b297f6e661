"""Routes on claims, disputes, decisions and money: what they show, what they keep, what they refuse."""

from collections import Counter

import pytest

from ledger import transactions as tx
from ledger.access import Purpose
from ledger.actions import RunOffPlan
from ledger.disputes import Exclusion
from ledger.jury import Vote
from ledger.rows import Claim, Dispute, Draw, Evidence
from ledger.transactions import decode_transaction, transaction_id
from node.api import paging
from tests.ledger.chain import Chain
from tests.ledger.claim_kit import before_jury, enrolled, filed, noticed, objected, panel, person, row, voted
from tests.ledger.claim_kit import commit as commit_ballot
from tests.ledger.test_life import HASH, filing
from tests.ledger.test_plans_together import in_two_plans
from tests.node.api_kit import FakeNode
from tests.node.test_api import get, refused, serving


def holding(chain: Chain) -> FakeNode:
    node = FakeNode(values=chain.values)
    node.replay(*chain.blocks)
    return node


def judged() -> tuple[FakeNode, int]:
    """A claim that a jury cleared; another with papers; a proposal, an attestation, an entry of the access log."""
    chain = enrolled(jurors=16)
    claim = noticed(chain)
    objected(chain, claim, (1, 2, 3))
    chain.ok("bank", tx.ExcludeJuror(claim, person(4), Exclusion.FAMILY))
    before_jury(chain, claim)
    commit_ballot(chain, claim, panel(chain, claim)[-1], Vote.REFUSE)
    voted(chain, claim, [Vote.CLEAR] * 6)
    other = filed(chain, person(20))
    chain.ok("firm-a", tx.AskDocuments(other))
    chain.ok("person 20", tx.GiveDocuments(person(20), other, HASH, b"0123456789abcdef"))
    chain.ok("firm-a", tx.NoteAccess(other, int(Purpose.REVIEW)))
    chain.ok("bank", tx.Propose(RunOffPlan(0)))
    chain.ok("bank", tx.Advance(0, 700, False, b"lent"))
    chain.ok("bank", tx.AttestBalance(0, 100, 650))
    return holding(chain), claim


@pytest.mark.asyncio
async def test_a_claim_shows_what_it_waits_for_and_who_works_on_it() -> None:
    node, claim = judged()
    async with serving(node) as client:
        found = await get(client, f"/v1/claims/{claim}")
        assert (found["judge"], found["reason_text"]) == ("JURY", "cleared")
        assert found["investigator_name"].startswith("firm-")
        other = await get(client, "/v1/claims/1")
        assert (other["state"], other["waits_for"], other["reason_text"]) == ("FILED", "INVESTIGATE", None)
        assert other["investigator_name"] == ""
        assert other["same_event"] == []
        listed = await get(client, f"/v1/claims?member={person(20)}&state=FILED")
        assert [one["id"] for one in listed["claims"]] == [1]


@pytest.mark.asyncio
async def test_a_dispute_shows_its_jury_its_ballots_and_whether_the_rules_give_it() -> None:
    node, claim = judged()
    async with serving(node) as client:
        (found,) = (await get(client, f"/v1/disputes?claim={claim}"))["disputes"]
        assert (found["outcome"], found["clear"], found["refuse"]) == ("CLEARED", 6, 0)
        whole = await get(client, f"/v1/disputes/{found['id']}")
        assert whole["draw_by_the_rules"] is True
        assert [one["vote"] for one in whole["ballots"]].count("CLEAR") == 6
        assert [one["vote"] for one in whole["ballots"]].count(None) == 1, "one was never opened"
        assert {"juror": 4, "reason": "FAMILY", "by": 1} in whole["excluded"]
        assert (await get(client, "/v1/disputes?claim=1"))["disputes"] == []
        jurors = (await get(client, "/v1/jurors?limit=3"))["jurors"]
        assert [one["id"] for one in jurors] == [0, 1, 2]
        assert (await get(client, f"/v1/jurors?member={person(3)}"))["jurors"][0]["id"] == 3


@pytest.mark.asyncio
async def test_papers_access_decisions_and_money_are_listed() -> None:
    node, _ = judged()
    async with serving(node) as client:
        (paper,) = (await get(client, "/v1/evidence?claim=1"))["evidence"]
        assert paper["commitment"] == HASH.hex()
        (entry,) = (await get(client, "/v1/access?claim=1&organisation=2"))["access"]
        assert (entry["name"], entry["purpose"]) == ("firm-a", "REVIEW")
        (open_,) = (await get(client, "/v1/proposals?state=OPEN&proposer=1"))["proposals"]
        assert open_["action"] == {"type": "run_off_plan", "plan": 0}
        whole = await get(client, "/v1/proposals/0")
        assert (whole["votes"], whole["needed"], whole["proposer_name"]) == (1, 4, "bank")
        assert (await get(client, "/v1/proposals?state=PASSED"))["proposals"] == []
        (said,) = (await get(client, "/v1/attestations?plan=0&bank=1"))["attestations"]
        assert (said["balance_fen"], said["cash_fen"], said["difference_fen"]) == (650, 700, -50)
        (payment,) = (await get(client, "/v1/payments?kind=ADVANCE&subject=0"))["payments"]
        assert payment["reference"] == b"lent".hex()
        assert (await get(client, "/v1/events"))["events"] == []


SECRET_ROUTES = (
    "/v1/claims",
    "/v1/claims/0",
    "/v1/claims/1",
    "/v1/disputes",
    "/v1/disputes/0",
    "/v1/evidence",
    "/v1/events",
    "/v1/access",
)


@pytest.mark.asyncio
async def test_salts_and_fingerprints_are_never_shown() -> None:
    node, _ = judged()
    state = node.current.state
    secrets = {found.fingerprint for _, found in state.rows(Claim)} | {found.salt for _, found in state.rows(Evidence)}
    assert len(secrets) == 3
    async with serving(node) as client:
        for route in SECRET_ROUTES:
            text = await (await client.get(route)).text()
            assert "salt" not in text, route
            assert not any(secret.hex() in text for secret in secrets), route


@pytest.mark.asyncio
async def test_a_transaction_is_shown_without_salt_and_fingerprint_and_its_bytes_are_exact() -> None:
    node, _ = judged()
    withheld, opened = Counter[str](), 0
    async with serving(node) as client:
        for block in node.chain.blocks:
            for raw in block.body.transactions:
                body = decode_transaction(raw).body
                found = await get(client, f"/v1/transactions/{transaction_id(raw).hex()}")
                secret = {"salt", "fingerprint"} & found["body"].keys()
                if isinstance(body, tx.RevealBallot):
                    assert found["body"]["salt"] == body.salt.hex(), "it was sent to be seen"
                    opened += 1
                elif secret:
                    assert {found["body"][name] for name in secret} == {"withheld"}
                    withheld[found["type"]] += 1
                    assert not any(getattr(body, name).hex() in str(found) for name in secret)
                    exact = await client.get(f"/v1/transactions/{transaction_id(raw).hex()}?raw=true")
                    assert await exact.read() == raw
    assert opened == 6
    assert withheld["file_claim"] == 2
    assert withheld["give_documents"] == 1


@pytest.mark.asyncio
async def test_what_is_not_there_or_makes_no_sense_is_refused() -> None:
    node, _ = judged()
    async with serving(node) as client:
        for route in ("claims", "disputes", "proposals"):
            await refused(client, f"/v1/{route}/99", "NOT_FOUND")
            await refused(client, f"/v1/{route}/x", "BAD_REQUEST")
        for query in ("claims?state=x", "proposals?state=x", "payments?kind=x", "evidence?claim=x", "jurors?member=-1"):
            await refused(client, f"/v1/{query}", "BAD_REQUEST")
        await refused(client, "/v1/disputes/99/proof", "NOT_FOUND")
    assert node.bugs == []


@pytest.mark.asyncio
async def test_a_jury_that_is_not_drawn_has_no_file() -> None:
    chain = enrolled(jurors=16)
    claim = noticed(chain)
    objected(chain, claim)
    chain.block()
    node = holding(chain)
    dispute = row(chain, claim).dispute
    assert chain.state.get(Dispute, dispute).seed == b""
    assert chain.state.length(Draw) > 0
    async with serving(node) as client:
        await refused(client, f"/v1/disputes/{dispute}/proof", "NOT_PROVABLE_YET")
        found = await get(client, f"/v1/disputes/{dispute}")
        assert (found["draw_by_the_rules"], found["ballots"]) == (None, [])


@pytest.mark.asyncio
async def test_a_page_looks_at_a_bounded_number_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = enrolled()
    for number in range(6):
        filed(chain, number)
    monkeypatch.setattr(paging, "SCAN_ROWS_MAX", 2)
    node = holding(chain)
    async with serving(node) as client:
        found = await get(client, "/v1/claims?member=5")
        assert (found["claims"], found["next"]) == ([], 1)
        while found["next"] is not None:
            found = await get(client, f"/v1/claims?member=5&after={found['next']}")
        assert [one["member"] for one in found["claims"]] == [5]


@pytest.mark.asyncio
async def test_the_same_event_in_two_plans_is_listed() -> None:
    chain, ids = in_two_plans()
    event = bytes([7]) * 32
    first = chain.ok("platform", filing(chain, ids[0], fingerprint=event))[0]
    second = chain.ok("platform", filing(chain, ids[2], fingerprint=event))[0]
    node = holding(chain)
    async with serving(node) as client:
        found = [(one["claim"], one["same_event"]) for one in (await get(client, "/v1/events"))["events"]]
        assert found == [(first, [second]), (second, [first])]
        assert (await get(client, f"/v1/claims/{second}"))["same_event"] == [first]
