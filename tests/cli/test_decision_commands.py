"""What organisations decide about each other and about plans, command by command."""

from pathlib import Path

import pytest

from ledger import calendar
from ledger.genesis_file import plan_params_lines
from ledger.governance import OBJECTION_DAYS
from ledger.proposals import VOTE_DAYS
from ledger.rows import Organisation
from tests.cli.consortium_kit import HEX, Desk, decided
from tests.ledger.chain import key
from tests.ledger.claim_kit import PARAMS
from tests.running import run


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


def test_a_suspended_organisation_is_reinstated(at: Desk) -> None:
    decided(at, "platform", "org suspend 3")
    assert at.say("org list")["organisations"][3]["state"] == "SUSPENDED"
    proposal = at.as_("bank", "org reinstate 3")["proposal"]
    for name in ("platform", "firm-c", "other bank"):
        at.as_(name, f"org approve {proposal}")
    at.node.step_days(OBJECTION_DAYS + 1)
    assert at.say("org list")["organisations"][3]["state"] == "ACTIVE"


def test_any_action_is_proposed_by_its_name_and_fields(at: Desk) -> None:
    proposal = at.as_("bank", 'gov propose ["run_off_plan",0]')["proposal"]
    assert at.say(f"gov show {proposal}")["action"]["type"] == "run_off_plan"


def test_an_application_needs_a_home_and_a_card_that_its_organisation_signed(
    at: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home, card = str(tmp_path / "home"), tmp_path / "card"
    apply = ["org", "apply", "--home", home, "--name", "newcomer", "--roles", "bank", "--out", str(card)]
    assert run([*apply, "--address", "127.0.0.1:7000"]) == 3
    assert "MISSING_CONFIG" in capsys.readouterr().err
    assert run(["init", "--home", home]) == 0
    assert run([*apply, "--address", "127.0.0.1:7000"]) == 0
    raw = card.read_text()
    card.write_text(raw.replace("newcomer", "somebody"))
    assert at.refused("bank", "org propose", str(card), code=3) == "CARD_INVALID"
    assert at.refused("bank", "org propose", str(tmp_path / "none"), code=2) == "CANNOT_READ"
    assert at.say("gov list")["proposals"] == []


def test_an_organisation_names_its_nodes_anew(at: Desk) -> None:
    (old,) = at.say("org list")["organisations"][1]["node_keys"]
    done = at.as_("bank", f"org nodes --node-key {old} --node-key {HEX} --address bank.example:7040")
    assert done["nodes"] == [old, HEX]
    listed = at.say("org list")["organisations"][1]
    assert (listed["node_keys"], listed["address"]) == ([old, HEX], "bank.example:7040")
    assert at.refused("bank", f"org nodes --node-key {HEX} --node-key {HEX}") == "BAD_FIELD"
    assert at.refused("platform", f"org nodes --node-key {HEX}") == "KEY_IN_USE"
    assert at.refused("bank", "org nodes --node-key ab", code=3) == "KEY_MISSING"
