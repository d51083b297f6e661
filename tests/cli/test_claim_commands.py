"""The commands of a claim's life, against a node that decides what it is sent."""

from hashlib import sha256
from pathlib import Path

import pytest

from cli.claim import STEPS
from ledger.claim_table import ClaimState
from ledger.execute import RULES
from ledger.rows import Claim
from tests.cli.consortium_kit import HEX, Desk, assessed, desk, filed, paper_in, state_of
from tests.ledger import claim_kit
from tests.ledger.claim_kit import PARAMS, person
from tests.ledger.test_life import AID, CLAIMANT


def test_a_claim_from_its_filing_to_the_money_and_back(at: Desk, tmp_path: Path) -> None:
    paper = tmp_path / "report"
    paper.write_bytes(b"a diagnosis")
    claim = filed(at)
    at.as_("firm-a", f"claim ask-documents {claim}")
    given = at.as_("platform", f"claim give-documents {claim} --member {CLAIMANT} --document {paper}")
    salted = sha256(bytes.fromhex(given["document_salt"]) + b"a diagnosis").hexdigest()
    (kept,) = at.say(f"claim papers {claim}")["evidence"]
    assert kept["commitment"] == given["commitment"] == salted
    at.as_("hospital", f"claim diagnose {claim} --document {paper}")
    at.node.step_days(PARAMS.investigate_after_days + 1)
    first = at.say(f"claim show {claim}")["investigator_name"]
    at.as_(first, f"claim note-access {claim} --purpose investigation")
    (entry,) = at.say(f"claim access-log --claim {claim}")["access"]
    assert (entry["name"], entry["purpose"]) == (first, "INVESTIGATION")
    at.as_(first, f"claim assess {claim} --commitment {HEX}")
    assert at.refused(first, f"claim review {claim} --reason 0") == "SAME_FIRM"
    second = next(firm for firm in ("firm-a", "firm-b", "firm-c") if firm != first)
    at.as_(second, f"claim review {claim} --reason 0")
    assert at.say(f"claim list --state cleared --member {CLAIMANT}")["claims"][0]["id"] == claim
    at.node.step_to_day(2019, 3, 14)
    assert state_of(at, claim) == "SETTLED"
    at.as_("bank", f"plan advance 0 --amount-fen {AID} --reference advance")
    at.as_("bank", f"claim pay {claim} --amount-fen {AID} --reference order-1")
    at.as_("bank", f"claim bounced {claim} --reference order-1")
    at.as_("bank", f"claim pay {claim} --amount-fen {AID} --reference order-2")
    at.as_("bank", f"claim paid {claim} --reference order-2")
    assert [found["kind"] for found in at.say("plan payments --kind aid")["payments"]] == ["AID", "AID"]
    judgment = tmp_path / "judgment"
    judgment.write_bytes(b"in the name of the people")
    back = at.as_("regulator", f"claim claw-back {claim} --document {judgment}")
    assert back["judgment"] == sha256(b"in the name of the people").hexdigest()
    assert at.as_("bank", f"claim recover {claim} --amount-fen 10000 --reference back-1")["recovered_fen"] == 10_000
    assert at.as_("regulator", f"claim write-off {claim} --judgment {HEX}")["missing_fen"] == AID - 10_000
    assert state_of(at, claim) == "WRITTEN_OFF"


def test_holds_stops_and_courts(at: Desk, tmp_path: Path) -> None:
    claim = filed(at)
    assert at.as_("firm-a", f"claim hold {claim}")["agreed"] == 0
    consents = at.say(f"claim show {claim}")["consents"]
    assert consents == [{"step": "HOLD", "organisation": 2, "reason": 0}]
    assert at.as_("regulator", f"claim hold {claim}")["agreed"] == 1
    at.as_("firm-a", f"claim free {claim}")
    at.as_("regulator", f"claim free {claim}")
    assert state_of(at, claim) == "FILED"
    at.as_("firm-a", f"claim hold {claim}")
    at.as_("regulator", f"claim hold {claim}")
    for name in ("firm-a", "regulator"):
        at.as_(name, f"claim reject {claim} --reason 12")
    assert at.say(f"claim show {claim}")["reason_text"] == "fraud"
    assert at.refused("regulator", f"claim court-order {claim} --judgment ab", code=2) == "USAGE"
    at.as_("regulator", f"claim court-order {claim} --judgment {HEX}")
    assert state_of(at, claim) == "CLEARED"
    at.as_("platform", f"claim withdraw {claim} --member {CLAIMANT}")
    assert state_of(at, claim) == "WITHDRAWN"


def test_objections_and_experts(at: Desk, tmp_path: Path) -> None:
    claim, first, second = assessed(at, paper_in(tmp_path))
    at.as_(second, f"claim review {claim} --reason 0")
    at.node.step_to_day(2019, 3, 7)
    for number in (21, 22, 23):
        done = at.as_(f"person {number}", f"claim object {claim} --member {person(number)}")
    assert done["objections"] == 3
    assert state_of(at, claim) == "DISPUTED"
    other = filed(at, CLAIMANT + 1)
    assert at.refused("bank", f"claim opinion {other} --reason 0") == "NO_SUCH_TRANSITION"
    assert at.refused(first, f"claim opinion {claim} --reason 0") == "NO_SUCH_TRANSITION"


def test_every_step_of_a_claim_that_people_take_has_a_command() -> None:
    sent = {step.body for step in STEPS}
    of_claims = {body for body in RULES if "claim" in body.__struct_fields__}
    elsewhere = {"ExcludeJuror", "CommitBallot", "RevealBallot"}
    assert {body.__name__ for body in of_claims - sent} == elsewhere


def test_a_paper_is_named_once(at: Desk, tmp_path: Path) -> None:
    claim = filed(at)
    paper = paper_in(tmp_path)
    assert at.refused("hospital", f"claim diagnose {claim}", code=2) == "USAGE"
    assert at.refused("hospital", f"claim diagnose {claim} --commitment {HEX} --document {paper}", code=2) == "USAGE"
    assert at.refused("hospital", f"claim diagnose {claim} --document {tmp_path / 'none'}", code=2) == "CANNOT_READ"
    assert ClaimState(at.node.current.state.get(Claim, claim).state) is ClaimState.FILED


def test_without_jurors_the_experts_and_the_regulator_decide(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with desk(claim_kit.enrolled(), tmp_path, capsys, monkeypatch) as at:
        claim, first, second = assessed(at, paper_in(tmp_path))
        at.as_(second, f"claim review {claim} --reason 2")
        at.as_("platform", f"claim appeal {claim} --member {CLAIMANT}")
        at.node.step_days(PARAMS.notice_days + 1)
        assert state_of(at, claim) == "EXPERT"
        at.as_("regulator", f"claim opinion {claim} --reason 0")
        assert at.refused("regulator", f"claim opinion {claim} --reason 0") == "ALREADY_CONSENTED"
        assert at.refused("platform", f"claim opinion {claim} --reason 0") == "NOT_PERMITTED"
        (opinion,) = at.say(f"claim show {claim}")["consents"]
        assert opinion["reason"] == 0
