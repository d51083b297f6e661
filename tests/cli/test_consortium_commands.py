"""What every command of the consortium has: a node to ask, a key to sign with, and what it says when there is none."""

import json
from pathlib import Path

import click
import pytest

from cli.main import huzhu
from tests.cli.consortium_kit import HEX, Desk
from tests.running import run

GROUPS = ("claim", "jury", "gov", "org", "plan", "member")
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
    "member card": "0 --out never",
    "org list": "",
    "org nodes": f"--node-key {HEX}",
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
"""They read a file first."""


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
