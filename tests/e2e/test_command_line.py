"""Every command of the command line once for people and once for programs, against a live stepped network (NODE §3)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from cli.output import Exit

from .command import Ran, huzhu, in_json
from .network import group_members

pytestmark = pytest.mark.e2e

BEGIN: Final = "2019-01-07"
LATER: Final = "2019-01-10"
NOBODY: Final = "http://127.0.0.1:1"


@dataclass(frozen=True)
class Running:
    """The network as ``testnet up`` described it, and what was put on its chain."""

    directory: Path
    up: dict[str, Any]

    @property
    def node(self) -> str:
        """HTTP address of the first node."""
        address: str = self.up["nodes"][0]["api"]
        return address

    def key(self, name: str) -> Path:
        """Key file of an organisation."""
        return Path(self.up["keys"]) / f"{name}.key"

    @property
    def signed(self) -> list[str]:
        """Options of a command that the platform signs."""
        return ["--node", self.node, "--key", str(self.key("platform"))]


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("command-line") / "net"
    arguments: list[str | Path] = ["--dir", directory, "--observers", "1", "--clock", "stepped", "--begin", BEGIN]
    up: dict[str, Any] = {"nodes": []}
    try:
        ran = in_json("testnet", "up", *arguments)
        assert ran.exit_code == 0, ran
        up = ran.json
        yield Running(directory, up)
    finally:
        down = in_json("testnet", "down", "--dir", directory)
    assert down.exit_code == 0
    assert [pid for node in up["nodes"] for pid in group_members(node["pid"])] == []
    again = in_json("testnet", "down", "--dir", directory)
    assert (again.exit_code, again.json) == (0, {"ended": [], "removed": None})


@pytest.fixture(scope="module")
def member(net: Running) -> dict[str, Any]:
    """A member, enrolled by the command line."""
    ran = in_json("member", "enrol", "--birth-month", "1990-05", *net.signed)
    assert ran.exit_code == 0, ran
    return ran.json


@pytest.fixture(scope="module")
def claim(net: Running, member: dict[str, Any]) -> dict[str, Any]:
    """His claim, some days later: an accident, covered at once."""
    advanced = in_json("testnet", "advance", "--dir", net.directory, "--to", LATER)
    assert advanced.exit_code == 0, advanced
    return file_claim(net, member["member"], "2019-01-09", "--output", "json").json


def file_claim(net: Running, member: int, day: str, *output: str) -> Ran:
    """``claim file`` of an accident."""
    what = ["--member", str(member), "--tier", "2", "--illness", "1", "--cause", "accident", "--diagnosis-day", day]
    ran = huzhu("claim", "file", *what, *net.signed, *output)
    assert ran.exit_code == 0, ran
    return ran


# ---- what only looks -----------------------------------------------------------------------------------------------

Look = Callable[[Running, dict[str, Any], dict[str, Any]], list[Any]]
LOOKS: Final[dict[str, tuple[Look, list[str]]]] = {
    # command: (its arguments, keys of its object; the text shows their last words too)
    "status": (lambda net, m, c: ["status", "--node", net.node], ["chain_id", "height", "state_root", "signing"]),
    "plan list": (lambda net, m, c: ["plan", "list", "--node", net.node], ["plans"]),
    "plan show": (lambda net, m, c: ["plan", "show", "0", "--node", net.node], ["name", "versions"]),
    "member show": (lambda net, m, c: ["member", "show", m["member"], "--node", net.node], ["id", "state"]),
    "member show with a proof": (
        lambda net, m, c: ["member", "show", m["member"], "--prove", "--node", net.node],
        ["id", "proof"],
    ),
    "claim show": (lambda net, m, c: ["claim", "show", c["claim"], "--node", net.node], ["id", "state"]),
    "tx show": (lambda net, m, c: ["tx", "show", m["transaction"], "--node", net.node], ["status", "height", "code"]),
    "tx wait": (lambda net, m, c: ["tx", "wait", m["transaction"], "--node", net.node], ["transaction", "height"]),
    "testnet status": (lambda net, m, c: ["testnet", "status", "--dir", net.directory], ["nodes"]),
    "genesis check": (lambda net, m, c: ["genesis", "check", net.up["genesis"]], ["chain_id", "organisations"]),
    "keys list": (lambda net, m, c: ["keys", "list", "--dir", net.up["keys"]], ["keys"]),
    "start --check": (
        lambda net, m, c: ["start", "--check", "--home", net.up["nodes"][0]["home"]],
        ["chain_id", "validator"],
    ),
}


@pytest.mark.parametrize("what", LOOKS)
def test_a_command_that_looks_answers_people_and_programs(
    net: Running, member: dict[str, Any], claim: dict[str, Any], what: str
) -> None:
    arguments, keys = LOOKS[what]
    for_programs = in_json(*arguments(net, member, claim))
    assert for_programs.exit_code == 0, for_programs
    assert set(keys) <= set(for_programs.json), for_programs
    for_people = huzhu(*arguments(net, member, claim))
    assert (for_people.exit_code, for_people.stderr) == (0, ""), for_people
    assert for_people.stdout.strip()
    assert not for_people.stdout.lstrip().startswith("{")


def test_what_the_commands_show_is_what_the_chain_says(
    net: Running, member: dict[str, Any], claim: dict[str, Any]
) -> None:
    assert in_json("status", "--node", net.node).json["chain_id"] == net.up["chain_id"]
    assert in_json("genesis", "check", net.up["genesis"]).json["chain_id"] == net.up["chain_id"]
    shown = in_json("claim", "show", claim["claim"], "--node", net.node).json
    assert (shown["member"], shown["amount_fen"]) == (member["member"], claim["amount_fen"])
    nodes = in_json("testnet", "status", "--dir", net.directory).json["nodes"]
    assert {name: node["running"] for name, node in nodes.items()} == dict.fromkeys(nodes, True)
    assert len(nodes) == 5


# ---- what changes something ----------------------------------------------------------------------------------------


def test_enrol_exit_and_send_report_what_was_executed_in_text_too(net: Running, claim: dict[str, Any]) -> None:
    enrolled = huzhu("member", "enrol", "--birth-month", "1985-12", "--identity", "ab" * 32, *net.signed)
    assert enrolled.exit_code == 0, enrolled
    shown = dict(line.split(maxsplit=1) for line in enrolled.stdout.splitlines())
    assert shown["identity"] == "ab" * 32
    left = in_json("member", "exit", shown["member"], *net.signed)
    assert (left.exit_code, left.json["member"]) == (0, int(shown["member"]))
    sent = huzhu("tx", "send", f'["enrol", 0, "0x{"cd" * 32}", {1990 * 12}, "0x"]', *net.signed)
    assert sent.exit_code == 0, sent
    again = in_json("tx", "send", f'["enrol", 0, "0x{"cd" * 32}", {1990 * 12}, "0x"]', *net.signed)
    assert (again.exit_code, again.error["code"]) == (Exit.FAILURE.value, "DUPLICATE_MEMBER")


def test_a_claim_is_filed_in_text_too(net: Running, claim: dict[str, Any]) -> None:
    enrolled = in_json("member", "enrol", "--birth-month", "1990-05", *net.signed).json
    advanced = huzhu("testnet", "advance", "--dir", net.directory, "--to", "2019-01-11")
    assert advanced.exit_code == 0, advanced
    assert "claim" in file_claim(net, enrolled["member"], "2019-01-11").stdout


def test_init_makes_a_home_once_and_keeps_every_key(net: Running, tmp_path: Path) -> None:
    home, genesis = tmp_path / "home", net.up["genesis"]
    first = in_json("init", "--home", home, "--genesis", genesis)
    assert first.exit_code == 0, first
    assert {entry["state"] for entry in first.json["paths"]} == {"created"}
    before = {entry["path"]: Path(entry["path"]).read_bytes() for entry in first.json["paths"]}
    second = in_json("init", "--home", home, "--genesis", genesis)
    assert {entry["state"] for entry in second.json["paths"]} == {"kept"}
    assert {path: Path(path).read_bytes() for path in before} == before
    text = huzhu("init", "--home", tmp_path / "observer", "--observer", "--genesis", genesis)
    assert (text.exit_code, "huzhu start --home" in text.stdout) == (0, True)
    assert not (tmp_path / "observer/keys/validator.key").exists()


def test_keys_new_never_overwrites(tmp_path: Path) -> None:
    made = in_json("keys", "new", "member", "--name", "wang", "--dir", tmp_path)
    assert (made.exit_code, made.json["kind"]) == (0, "member")
    assert huzhu("keys", "new", "organisation", "--dir", tmp_path).exit_code == 0
    again = in_json("keys", "new", "member", "--name", "wang", "--dir", tmp_path)
    assert (again.exit_code, again.error["code"]) == (Exit.CONFIGURATION.value, "KEY_EXISTS")
    assert {key["kind"] for key in in_json("keys", "list", "--dir", tmp_path).json["keys"]} == {
        "member",
        "organisation",
    }


def test_advance_says_no_to_the_past_and_up_says_no_to_a_place_that_is_taken(
    net: Running, claim: dict[str, Any]
) -> None:
    back = in_json("testnet", "advance", "--dir", net.directory, "--to", BEGIN)
    assert (back.exit_code, back.error["code"]) == (Exit.FAILURE.value, "CLOCK_BACKWARDS")
    for_people = huzhu("testnet", "status", "--dir", net.directory)
    assert [line.split()[1] for line in for_people.stdout.splitlines()[1:]] == ["running"] * 5


# ---- errors --------------------------------------------------------------------------------------------------------

Ask = Callable[[Running], list[Any]]
ERRORS: Final[dict[str, tuple[Ask, str, Exit]]] = {
    "a node that is not there": (lambda net: ["status", "--node", NOBODY], "NOT_REACHABLE", Exit.NOT_REACHABLE),
    "an address that is none": (lambda net: ["status", "--node", "nowhere"], "USAGE", Exit.USAGE),
    "an unknown member": (lambda net: ["member", "show", "999999", "--node", net.node], "NOT_FOUND", Exit.FAILURE),
    "an unknown claim": (lambda net: ["claim", "show", "999999", "--node", net.node], "NOT_FOUND", Exit.FAILURE),
    "an unknown plan": (lambda net: ["plan", "show", "9", "--node", net.node], "NOT_FOUND", Exit.FAILURE),
    "an unknown transaction": (lambda net: ["tx", "show", "ab" * 32, "--node", net.node], "NOT_FOUND", Exit.FAILURE),
    "waiting for an unknown transaction": (
        lambda net: ["tx", "wait", "ab" * 32, "--node", net.node],
        "NOT_FOUND",
        Exit.NOT_READY,
    ),
    "a transaction id that is none": (lambda net: ["tx", "show", "x", "--node", net.node], "BAD_REQUEST", Exit.FAILURE),
    "a birth month that is none": (
        lambda net: ["member", "enrol", "--birth-month", "May", *net.signed],
        "USAGE",
        Exit.USAGE,
    ),
    "a key that is not there": (
        lambda net: ["member", "exit", "0", "--node", net.node, "--key", net.directory / "nobody.key"],
        "KEY_MISSING",
        Exit.CONFIGURATION,
    ),
    "an organisation that may not": (
        lambda net: ["member", "exit", "0", "--node", net.node, "--key", net.key("hospital")],
        "NOT_PERMITTED",
        Exit.FAILURE,
    ),
    "a body that is none": (lambda net: ["tx", "send", '["nothing"]', *net.signed], "USAGE", Exit.USAGE),
    "a genesis that is not there": (
        lambda net: ["genesis", "check", net.directory / "none.toml"],
        "GENESIS_UNREADABLE",
        Exit.CONFIGURATION,
    ),
    "a network that is not there": (
        lambda net: ["testnet", "status", "--dir", net.directory / "none"],
        "NO_NETWORK",
        Exit.CONFIGURATION,
    ),
    "a command that is not there": (lambda net: ["dance"], "USAGE", Exit.USAGE),
    "an option that is not there": (lambda net: ["status", "--loudly"], "USAGE", Exit.USAGE),
}


@pytest.mark.parametrize("what", ERRORS)
def test_an_error_is_one_object_with_a_stable_code_and_exit_code(net: Running, what: str) -> None:
    arguments, code, exit_code = ERRORS[what]
    ran = in_json(*arguments(net))
    assert (ran.error["code"], ran.exit_code) == (code, exit_code.value)
    assert "Traceback" not in ran.stderr
