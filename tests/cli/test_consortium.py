"""Every command of the consortium against a node that decides what it is sent: claims, juries, decisions, money."""

import json
import stat
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import click
import pytest

from cli.claim import STEPS
from cli.main import huzhu
from cli.plan import _failures
from ledger import calendar
from ledger.claim_table import ClaimState
from ledger.disputes import Stage
from ledger.execute import RULES
from ledger.genesis_file import plan_params_lines
from ledger.governance import OBJECTION_DAYS
from ledger.jury import Vote, commitment
from ledger.proposals import VOTE_DAYS
from ledger.rows import BankAttestation, Claim, Dispute, Juror, Member, Organisation, Plan, Settlement
from node.keys import KeyKind
from tests.cli.consortium_kit import Desk, desk
from tests.ledger import claim_kit
from tests.ledger.chain import key
from tests.ledger.claim_kit import PARAMS, person
from tests.ledger.test_life import AID, CLAIMANT, MEMBERS
from tests.running import run

HEX = "ab" * 32
GROUPS = ("claim", "jury", "gov", "org", "plan", "member")


@pytest.fixture
def at(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    with desk(claim_kit.enrolled(jurors=16), tmp_path, capsys, monkeypatch) as found:
        yield found


def state_of(at: Desk, claim: int) -> str:
    return str(at.say(f"claim show {claim}")["state"])


def filed(at: Desk, member: int = CLAIMANT) -> int:
    day = calendar.day_of(at.node.chain.now_ms) - 2
    date = "-".join(f"{part:02}" for part in calendar.civil_from_day(day))
    done = at.as_("platform", f"claim file --member {member} --tier 1 --illness 1 --diagnosis-day {date}")
    assert done["amount_fen"] == AID
    return int(done["claim"])


def assessed(at: Desk, paper: Path) -> tuple[int, str, str]:
    """(claim, the firm that investigated, another)."""
    claim = filed(at)
    at.as_("hospital", f"claim diagnose {claim} --document {paper}")
    at.node.step_days(PARAMS.investigate_after_days + 1)
    first = at.say(f"claim show {claim}")["investigator_name"]
    at.as_(first, f"claim assess {claim} --commitment {HEX}")
    return claim, first, next(firm for firm in ("firm-a", "firm-b", "firm-c") if firm != first)


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


def test_a_refused_claim_is_appealed_and_a_jury_votes_by_files(at: Desk, tmp_path: Path) -> None:
    claim, _, second = assessed(at, _paper(tmp_path))
    at.as_(second, f"claim review {claim} --reason 2")
    at.as_("platform", f"claim appeal {claim} --member {CLAIMANT}")
    at.as_("bank", f"jury exclude {claim} --member {person(5)} --reason family")
    assert at.refused("person 1", f"jury commit {claim} --member 301 --vote clear --ballot x") == "NO_JURY"
    at.node.step_days(PARAMS.notice_days + 1)
    (found,) = at.say(f"jury list --claim {claim}")["disputes"]
    dispute = at.say(f"jury show {found['id']}")
    assert (dispute["stage"], dispute["draw_by_the_rules"], len(dispute["drawn"])) == ("COMMIT", True, 9)
    panel = [at.node.current.state.get(Juror, juror).member for juror in dispute["drawn"]]
    assert person(5) not in panel
    outside = next(person(number) for number in range(16) if person(number) not in panel)
    ballot = tmp_path / "no ballot"
    assert at.refused("platform", f"jury commit {claim} --member {outside} --vote clear --ballot", str(ballot)) == (
        "NOT_ON_THE_JURY"
    )
    assert not ballot.exists()
    files = {member: tmp_path / f"ballot {member}" for member in panel[:5]}
    for member, path in files.items():
        name = f"person {member - MEMBERS}"
        done = at.as_(name, f"jury commit {claim} --member {member} --vote clear --ballot", str(path))
        assert done["file"] == str(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert at.refused(name, "jury reveal", str(path) + "s", code=3) == "KEY_MISSING"
        assert at.refused(name, "jury reveal", str(path)) == "WRONG_WINDOW"
    again = at.as_("platform", f"jury commit {claim} --member {panel[0]} --vote refuse --ballot", str(path), code=2)
    assert again["error"]["code"] == "BALLOT_EXISTS"
    second_ = tmp_path / "second ballot"
    first_ = f"person {panel[0] - MEMBERS}"
    assert at.refused(first_, f"jury commit {claim} --member {panel[0]} --vote refuse --ballot", str(second_)) == (
        "ALREADY_VOTED"
    )
    assert second_.exists(), "what may have been sent can be opened, whatever became of it"
    at.node.step_to(at.node.current.state.get(Claim, claim).due_ms)
    for member, path in files.items():
        at.as_(f"person {member - MEMBERS}", "jury reveal", str(path))
    dispute = at.say(f"jury show {found['id']}")
    assert (dispute["clear"], dispute["stage"]) == (5, "REVEAL")
    assert {one["vote"] for one in dispute["ballots"]} == {"CLEAR"}
    at.node.step_to(at.node.current.state.get(Claim, claim).due_ms)
    assert state_of(at, claim) in ("CLEARED", "NOTICED")
    assert at.node.current.state.get(Dispute, found["id"]).stage == Stage.ENDED
    _verify_the_jury(at, tmp_path, found["id"], dispute["drawn"])


def _verify_the_jury(at: Desk, tmp_path: Path, dispute: int, drawn: list[int]) -> None:
    """Offline, from public data alone: the file of a node and the genesis file."""
    at.node.commit()
    genesis, file = tmp_path / "genesis.toml", tmp_path / "jury.proof"
    genesis.write_bytes(at.node.genesis_raw)
    written = at.say(f"proof jury {dispute} --out {file}")
    assert written["bytes"] == file.stat().st_size
    verified = ["verify", "jury", str(file), "--genesis", str(genesis)]
    assert run(verified) == 0
    raw = file.read_bytes()
    for place in (len(raw) // 2, len(raw) - 5, len(raw) - 2_000):
        file.write_bytes(raw[:place] + bytes((raw[place] ^ 1,)) + raw[place + 1 :])
        assert run(verified) == 6
    file.write_bytes(raw)
    assert at.offline(*verified)["drawn"] == ",".join(str(juror) for juror in drawn)
    assert at.say(f"proof jury 99 --out {file}", code=1)["error"]["code"] == "NOT_FOUND"


def _paper(tmp_path: Path) -> Path:
    path = tmp_path / "paper"
    path.write_bytes(b"paper")
    return path


def test_a_ballot_that_does_not_open_its_commitment_is_not_sent(at: Desk, tmp_path: Path) -> None:
    path = tmp_path / "ballot"
    whole = {
        "format": "huzhu-ballot-1",
        "chain_id": "00" * 32,
        "claim": 0,
        "dispute": 0,
        "member": person(1),
        "juror": 1,
        "vote": "clear",
        "salt": "00" * 16,
        "commitment": "00" * 32,
    }
    for wrong in ({"vote": "perhaps"}, {"salt": "0"}, {"salt": ""}, {"juror": -1}, {"claim": "0"}, {"format": "x"}, {}):
        path.write_text(json.dumps(whole | wrong))
        path.chmod(0o600)
        assert at.refused("person 1", "jury reveal", str(path), code=2) == "BAD_BALLOT", wrong
    for text in ("", "[]", "{}", "[" * 4_000):
        path.write_text(text)
        assert at.refused("person 1", "jury reveal", str(path), code=2) == "BAD_BALLOT", text
    path.chmod(0o644)
    assert at.refused("person 1", "jury reveal", str(path), code=3) == "KEY_EXPOSED"


def test_a_ballot_of_another_chain_is_not_sent(at: Desk, tmp_path: Path) -> None:
    path = tmp_path / "ballot"
    salt = bytes(16)
    opened = {
        "format": "huzhu-ballot-1",
        "chain_id": "00" * 32,
        "claim": 0,
        "dispute": 0,
        "member": person(1),
        "juror": 1,
        "vote": "clear",
        "salt": salt.hex(),
        "commitment": commitment(0, 1, Vote.CLEAR, salt).hex(),
    }
    path.write_text(json.dumps(opened))
    path.chmod(0o600)
    assert at.refused("person 1", "jury reveal", str(path), code=2) == "WRONG_CHAIN"


def test_objections_and_experts(at: Desk, tmp_path: Path) -> None:
    claim, first, second = assessed(at, _paper(tmp_path))
    at.as_(second, f"claim review {claim} --reason 0")
    at.node.step_to_day(2019, 3, 7)
    for number in (21, 22, 23):
        done = at.as_(f"person {number}", f"claim object {claim} --member {person(number)}")
    assert done["objections"] == 3
    assert state_of(at, claim) == "DISPUTED"
    other = filed(at, CLAIMANT + 1)
    assert at.refused("bank", f"claim opinion {other} --reason 0") == "NO_SUCH_TRANSITION"
    assert at.refused(first, f"claim opinion {claim} --reason 0") == "NO_SUCH_TRANSITION"


# ---- what organisations decide -------------------------------------------------------------------------------------


def decided(at: Desk, name: str, command: str, *more: str) -> dict[str, Any]:
    """Propose it, vote for it, wait until it is enacted."""
    proposal = at.as_(name, command, *more)["proposal"]
    voters = [voter for voter in ("platform", "bank", "firm-a", "firm-b", "firm-c", "other bank") if voter != name]
    for voter in voters[:3]:
        done = at.as_(voter, f"gov vote {proposal}")
    assert done["state"] == "PASSED"
    shown = at.say(f"gov show {proposal}")
    assert (shown["votes"], shown["needed"], len(shown["electorate"])) == (4, 4, 6)
    at.node.step_days(OBJECTION_DAYS + 1)
    found = at.say(f"gov show {proposal}")
    assert (found["state"], found["code"]) == ("ENACTED", "OK"), found
    return dict(found)


def test_an_organisation_applies_is_admitted_promoted_suspended_and_removed(
    at: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home, card = tmp_path / "home", tmp_path / "card"
    assert run(["init", "--home", str(home)]) == 0
    apply = ["org", "apply", "--home", str(home), "--name", "newcomer", "--roles", "bank"]
    assert run([*apply, "--address", "127.0.0.1:7000", "--out", str(card)]) == 0
    found = decided(at, "bank", "org propose", str(card))
    assert found["action"]["type"] == "admit_organisation"
    newcomer = at.node.current.state.length(Organisation) - 1
    listed = at.say("org list")["organisations"][newcomer]
    assert (listed["name"], listed["roles"], listed["state"]) == ("newcomer", ["BANK"], "ACTIVE")
    assert at.refused("bank", f"org promote {newcomer}", code=2) == "USAGE"
    proposal = at.as_("platform", f"org promote {newcomer} --card", str(card))["proposal"]
    assert at.as_("bank", f"org approve {proposal}")["state"] == "OPEN"
    assert at.refused("bank", f"org approve {proposal}") == "ALREADY_CONSENTED"
    hexed = f"--validator-key {key('v').hex()} --beacon-key {key('b').hex()}"
    at.as_("platform", f"org promote {newcomer} {hexed}")
    at.as_("platform", "org demote 3 --force")
    at.as_("platform", f"org roles {newcomer} --roles bank,hospital")
    assert at.refused("platform", f"org roles {newcomer} --roles king", code=2) == "USAGE"
    at.as_("platform", f"org suspend {newcomer}")
    assert at.refused("platform", f"org reinstate {newcomer}") == "NOTHING_TO_DECIDE"
    at.as_("platform", f"org remove {newcomer}")
    at.as_("platform", f"org replace-key {newcomer} --new-key {key('another').hex()}")
    height = at.node.current.height
    assert at.refused("platform", f"gov upgrade 3 --height {height + 100}") == "NOT_NEXT_VERSION"
    assert at.refused("platform", f"gov upgrade 2 --height {height + 2}") == "UPGRADE_TOO_LATE"
    assert at.refused("platform", "gov upgrade 1 --height 100", code=2) == "USAGE"
    at.as_("platform", f"gov upgrade 2 --height {height + 100}")
    open_ = at.say("gov list --state open")["proposals"]
    assert [one["action"]["type"] for one in open_] == [
        "add_validator",
        "add_validator",
        "remove_validator",
        "set_roles",
        "set_organisation",
        "set_organisation",
        "replace_key",
        "activate_protocol",
    ]
    at.as_("regulator", f"gov veto {proposal}")
    assert at.refused("bank", f"gov vote {proposal}") == "PROPOSAL_DECIDED"
    assert "replace_key" in at.text("gov list")
    at.node.step_days(VOTE_DAYS + 1)
    assert at.say("gov list --state open")["proposals"] == []


def test_an_organisation_replaces_its_own_key(at: Desk) -> None:
    at.as_("bank", "org rotate-key --new-key @bank-2")
    assert at.refused("bank", "plan advance 0 --amount-fen 5 --reference x") == "UNKNOWN_SIGNER"
    at.as_("bank-2", "plan advance 0 --amount-fen 5 --reference x")
    assert at.refused("bank-2", "org rotate-key --new-key @platform") == "KEY_IN_USE"


def test_a_plan_is_proposed_gets_a_version_stands_still_and_runs_off(at: Desk, tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text("\n".join(['name = "senior"', "[params]", *plan_params_lines(PARAMS)]))
    decided(at, "platform", "plan propose", str(file))
    assert [found["name"] for found in at.say("plan list")["plans"]] == ["main", "senior"]
    day = "-".join(f"{part:02}" for part in calendar.civil_from_day(calendar.day_of(at.node.chain.now_ms) + 20))
    version = f"plan propose {file} --plan 1 --effective-day"
    decided(at, "platform", version, day)
    assert len(at.say("plan show 1")["versions"]) == 2
    assert at.refused("platform", version, "2019-01-01") == "NOT_EFFECTIVE_YET"
    assert at.refused("platform", f"plan propose {file} --plan 1", code=2) == "USAGE"
    at.as_("regulator", "plan freeze 1")
    assert at.refused("bank", "plan pay-fee 1 --amount-fen 1 --reference x") == "PLAN_FROZEN"
    at.as_("regulator", "plan unfreeze 1")
    decided(at, "bank", "plan run-off 1")
    assert at.refused("bank", "plan run-off 1") == "PLAN_CLOSED"
    assert at.refused("bank", 'gov propose ["run_off_plan",7]') == "UNKNOWN_PLAN"
    assert at.refused("bank", "gov propose [7]", code=2) == "USAGE"


# ---- money -----------------------------------------------------------------------------------------------------------


def test_a_period_is_collected_paid_and_attested(at: Desk, tmp_path: Path) -> None:
    claim, _, second = assessed(at, _paper(tmp_path))
    at.as_(second, f"claim review {claim} --reason 0")
    at.node.step_to_day(2019, 3, 14)
    plan = at.node.current.state.get(Plan, 0)
    last = at.node.current.state.length(Member) - 1
    listed = at.say("plan settlements 0")["settlements"]
    assert listed[-1]["period"] == plan.period
    assert at.say(f"plan settlement 0 {plan.period}")["charged_fen"] == listed[-1]["charged_fen"] > 0
    share = listed[-1]["shares"][0][1]
    collect = f"plan collect 0 --period {plan.period} --first 0 --last {last}"
    first = at.as_("platform", f"{collect} --failed 9 --failed 7")["collection"]
    second_ = at.as_("platform", f"{collect} --failed 7 --corrects {first}")["collection"]
    due = at.node.current.state.get(Settlement, plan.settlement).due_fen
    at.as_("bank", f"plan collected --collection {second_} --amount-fen {due - share} --reference money")
    at.as_("bank", f"member contribute 7 --period {plan.period} --amount-fen {share} --reference single")
    at.as_("bank", f"claim pay {claim} --amount-fen {AID} --reference order")
    at.as_("bank", f"claim paid {claim} --reference order")
    at.as_("bank", "plan pay-fee 0 --amount-fen 100 --reference fee")
    at.as_("bank", "plan advance 0 --amount-fen 50 --reference lent")
    at.as_("bank", "plan repay 0 --amount-fen 50 --reference lent-back")
    day = "-".join(f"{part:02}" for part in calendar.civil_from_day(calendar.day_of(at.node.chain.now_ms)))
    at.as_("bank", f"plan attest 0 --day {day} --balance-fen 1")
    (said,) = at.say("plan attestations --plan 0")["attestations"]
    row = at.node.current.state.get(BankAttestation, 0)
    assert (said["balance_fen"], said["difference_fen"]) == (1, 1 - row.cash_fen)
    assert at.refused("bank", f"plan attest 0 --day {day} --balance-fen {2**62}") == "BAD_FIELD"
    assert at.refused("bank", "plan pay-refund 0 --amount-fen 5 --reference r") == "WRONG_AMOUNT"
    assert at.refused("bank", f"plan refund-surplus 0 --period {plan.period} --amount-fen 5 --reference r") == (
        "WRONG_AMOUNT"
    )
    at.as_("platform", f"plan sponsor 0 --period {plan.period + 1}")
    assert at.refused("bank", "plan sponsor-paid 0 --amount-fen 5 --reference s") == "WRONG_AMOUNT"
    assert "AID" in at.text("plan payments")


def test_failures_are_sent_as_differences() -> None:
    assert _failures().read({"first": 5, "failed": (9, 7, 5)}, {}) == (0, 2, 2)
    assert _failures().read({"first": 5, "failed": ()}, {}) == ()


# ---- members ---------------------------------------------------------------------------------------------------------


def test_members_rotate_their_keys_are_suspended_and_die(at: Desk) -> None:
    assert at.say("member list --limit 2")["next"] == 1
    at.as_("person 1", f"member rotate-key {person(1)} --new-key", at.key("person 1 again", KeyKind.MEMBER))
    assert at.say(f"member show {person(1)}")["own_key"] == key("person 1 again").hex()
    assert at.refused("person 1", f"member exit {person(1)}") == "UNKNOWN_SIGNER"
    recovery = at.as_("platform", f"member rotate-key {person(2)} --new-key {key('found').hex()}")
    assert recovery["acts_from_ms"] > 0
    at.as_("platform", "member suspend 8")
    assert at.say("member show 8")["state"] == "SUSPENDED"
    at.as_("regulator", "member lift 8")
    at.as_("regulator", "member expel 8")
    assert at.refused("regulator", "member expel 8") == "NOT_A_CURRENT_MEMBER"
    assert at.as_("platform", "member report-death 9 --day 2019-02-20")["refund_fen"] == 0
    assert at.refused("platform", "member report-death 9 --day soon", code=2) == "USAGE"
    assert at.refused("bank", "member contribute 10 --period 28 --amount-fen 5 --reference c") == "UNKNOWN_PERIOD"


def test_a_member_sees_events_claimed_twice_and_jurors_are_registered(at: Desk) -> None:
    assert at.say("claim doubles")["events"] == []
    assert at.refused("platform", "jury register 7") == "NO_OWN_KEY"
    assert at.as_("platform", f"jury register {person(20)}")["juror"] == 16
    assert at.say(f"jury jurors --member {person(20)}")["jurors"][0]["id"] == 16
    assert at.say("jury jurors --member 7")["jurors"] == []
    assert len(at.say("jury jurors")["jurors"]) == 17
    assert at.refused("platform", f"jury exclude 9 --member {person(1)} --reason family") == "UNKNOWN_CLAIM"


# ---- what every command has ------------------------------------------------------------------------------------------

ARGUMENTS = {
    "gov upgrade": "2 --height 100",
    "claim file": "--member 0 --tier 1 --illness 1 --diagnosis-day 2019-01-01",
    "claim list": "",
    "claim access-log": "",
    "claim doubles": "",
    "claim note-access": "0 --purpose review",
    "claim pay": "0 --amount-fen 1 --reference x",
    "claim paid": "0 --reference x",
    "claim bounced": "0 --reference x",
    "claim recover": "0 --amount-fen 1 --reference x",
    "claim diagnose": f"0 --commitment {HEX}",
    "claim assess": f"0 --commitment {HEX}",
    "claim give-documents": f"0 --member 0 --commitment {HEX}",
    "claim review": "0 --reason 0",
    "claim reject": "0 --reason 12",
    "claim opinion": "0 --reason 0",
    "claim appeal": "0 --member 0",
    "claim withdraw": "0 --member 0",
    "claim object": "0 --member 0",
    "claim court-order": f"0 --judgment {HEX}",
    "claim claw-back": f"0 --judgment {HEX}",
    "claim write-off": f"0 --judgment {HEX}",
    "jury list": "",
    "jury jurors": "",
    "jury exclude": "0 --member 0 --reason family",
    "jury commit": "0 --member 0 --vote clear --ballot new-ballot",
    "gov list": "",
    "gov propose": '["run_off_plan",0]',
    "org list": "",
    "org roles": "0 --roles bank",
    "org promote": f"0 --validator-key {HEX} --beacon-key {HEX}",
    "org replace-key": f"0 --new-key {HEX}",
    "org rotate-key": f"--new-key {HEX}",
    "plan list": "",
    "plan settlement": "0 20",
    "plan attestations": "",
    "plan payments": "",
    "plan sponsor": "0 --period 1",
    "plan sponsor-paid": "0 --amount-fen 1 --reference x",
    "plan collect": "0 --period 1 --first 0 --last 1",
    "plan collected": "--collection 0 --amount-fen 1 --reference x",
    "plan pay-fee": "0 --amount-fen 1 --reference x",
    "plan pay-refund": "0 --amount-fen 1 --reference x",
    "plan refund-surplus": "0 --period 1 --amount-fen 1 --reference x",
    "plan advance": "0 --amount-fen 1 --reference x",
    "plan repay": "0 --amount-fen 1 --reference x",
    "plan attest": "0 --day 2019-01-01 --balance-fen 1",
    "member list": "",
    "member enrol": "--birth-month 1990-01",
    "member contribute": "0 --period 1 --amount-fen 1 --reference x",
    "member rotate-key": f"0 --new-key {HEX}",
    "member report-death": "0 --day 2019-01-01",
    "member statement": "0 --out never",
}
OFFLINE = {"org apply", "org propose", "plan propose", "jury reveal"}
"""They read a file first: their tests are above."""


def commands() -> list[tuple[str, click.Command]]:
    found = []
    for name in GROUPS:
        group = huzhu.get_command(click.Context(huzhu), name)
        assert isinstance(group, click.Group)
        found += [(f"{name} {verb}", command) for verb, command in group.commands.items()]
    return found


def wants_key(command: click.Command) -> bool:
    return any(param.name == "key_path" for param in command.params)


@pytest.mark.parametrize("name", sorted(name for name, _ in commands() if name not in OFFLINE))
def test_every_command_says_when_no_node_answers_and_needs_its_key(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = dict(commands())[name]
    words = [*name.split(), *ARGUMENTS.get(name, "0").split(), "--node", "http://127.0.0.1:9", "--output", "json"]
    if wants_key(command):
        assert run(words) == 2, "no key is named"
        assert json.loads(capsys.readouterr().out)["error"]["code"] == "USAGE"
        assert run([*words, "--key", "nowhere"]) in (3, 4)
        capsys.readouterr()
        words += ["--key", Desk(None, "", tmp_path, capsys).key("somebody")]  # type: ignore[arg-type]
    assert run(words) == 4
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "NOT_REACHABLE"
    assert not (tmp_path / "new-ballot").exists()


def test_every_step_of_a_claim_that_people_take_has_a_command() -> None:
    sent = {step.body for step in STEPS}
    of_claims = {body for body in RULES if "claim" in body.__struct_fields__}
    elsewhere = {"ExcludeJuror", "CommitBallot", "RevealBallot"}
    assert {body.__name__ for body in of_claims - sent} == elsewhere


def test_a_paper_is_named_once(at: Desk, tmp_path: Path) -> None:
    claim = filed(at)
    paper = _paper(tmp_path)
    assert at.refused("hospital", f"claim diagnose {claim}", code=2) == "USAGE"
    assert at.refused("hospital", f"claim diagnose {claim} --commitment {HEX} --document {paper}", code=2) == "USAGE"
    assert at.refused("hospital", f"claim diagnose {claim} --document {tmp_path / 'none'}", code=2) == "CANNOT_READ"
    assert ClaimState(at.node.current.state.get(Claim, claim).state) is ClaimState.FILED


def test_an_unknown_thing_is_not_found(at: Desk) -> None:
    for command in (
        "claim show 9",
        "jury show 9",
        "gov show 9",
        "plan show 9",
        "plan settlement 0 9",
        "member show 999",
    ):
        assert at.say(command, code=1)["error"]["code"] == "NOT_FOUND", command
    for path in ("claims?state=x", "proposals?state=x", "payments?kind=x", "disputes?claim=x"):
        assert at.node.bugs == []
        assert path
