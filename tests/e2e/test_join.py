"""A fifth organisation joins a loaded network in three commands plus approvals, becomes a validator, and then the first
four are restarted one by one without a pause longer than one timeout (issue 6, "Must hold")."""

from pathlib import Path
from typing import Any

import pytest

from cli.ports import HOST, hold_ports
from cli.testnet import default_params
from ledger.calendar import day_from_civil, start_of_day
from node.keys import KeyKind, key_path, read_key
from tests.e2e.api import Api
from tests.e2e.command import Ran, in_json
from tests.e2e.decisions import asks, objection_passes
from tests.e2e.load import Load
from tests.e2e.network import VALIDATORS, LiveNetwork, LiveNode, until

pytestmark = pytest.mark.e2e

BEGIN_MS = start_of_day(day_from_civil(2018, 10, 16))
NAME = "bank-two"
JOIN_SECONDS = 60.0
TIMEOUT_MS = default_params().timeout_ms


class Newcomer:
    """A home outside the network, and what its operator does."""

    def __init__(self, network: LiveNetwork, place: Path) -> None:
        self.network = network
        self.place = place
        with hold_ports(2) as (p2p, api):
            self.node = LiveNode(NAME, place / NAME, Api(f"http://{HOST}:{api}"), (HOST, p2p), False)
        network.nodes[NAME] = self.node  # so that it is closed with the others, and its log shown
        self.bundle = place / "bundle.huzhu"

    @property
    def application(self) -> Path:
        return self.node.home / "application.card"

    @property
    def key(self) -> str:
        """Of its node, in hexadecimal."""
        return read_key(key_path(self.node.home / "keys", KeyKind.NODE), KeyKind.NODE).public.hex()

    def key_file(self, name: str) -> Path:
        if name == NAME:
            return key_path(self.node.home / "keys", KeyKind.ORGANISATION)
        return key_path(self.network.directory / "keys", KeyKind.ORGANISATION, name)

    def accept(self) -> Ran:
        host, port = self.node.p2p
        listen = f"api.listen={self.node.api.url.removeprefix('http://')}"
        settings = ["--set", listen, "--set", "sync.mode=snapshot", "--set", "verifier.workers=1"]
        what = ["--name", NAME, "--roles", "bank", "--address", f"{host}:{port}"]
        return in_json("join", "accept", self.bundle, "--home", self.node.home, *what, *settings)

    def stage(self) -> dict[str, Any]:
        ran = in_json("join", "status", "--node", self.node.api.url)
        told = ran.json
        assert ran.exit_code == (0 if told["stage"] == "in sync" else 5), ran
        return told

    def await_stage(self, stage: str, **values: Any) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            told = self.stage()
            return told if told["stage"] == stage and values.items() <= told.items() else None

        return until(found, JOIN_SECONDS, f"the newcomer is at {stage!r} {values}")

    def org(self, verb: str, *arguments: str | Path, by: str) -> dict[str, Any]:
        """``huzhu org VERB`` by an organisation, at its own node."""
        return asks(self.network, by, "org", verb, *arguments, key=self.key_file(by))


def why(node: LiveNode, key: str) -> dict[str, Any]:
    ran = in_json("peers", "why", key, "--node", node.api.url)
    assert ran.exit_code == 0, ran
    return ran.json


def test_a_fifth_organisation_joins_a_loaded_network_and_becomes_a_validator_then_all_are_restarted(
    tmp_path: Path,
) -> None:
    with LiveNetwork(tmp_path / "net", clock_ms=BEGIN_MS) as network, Load(network.up()) as load:
        newcomer = Newcomer(network, tmp_path)
        member = network.nodes["platform"]
        load.await_more(50, 30)

        # three commands: bundle, accept, start
        ran = in_json(
            "join", "bundle", "--home", member.home, "--key", newcomer.key_file("platform"), "--out", newcomer.bundle
        )
        assert ran.exit_code == 0, ran
        assert (ran.json["signed_by"], len(ran.json["peers"])) == ("platform", len(VALIDATORS))
        accepted = newcomer.accept()
        assert accepted.exit_code == 0, accepted
        assert accepted.json["chain_id"] == network.chain_id.hex()
        assert {item["state"] for item in newcomer.accept().json["paths"]} == {"kept"}, "a second time changes nothing"
        newcomer.node.start()

        # not proposed yet: both sides say so
        newcomer.await_stage("not proposed yet")
        assert why(member, newcomer.key[:16])["because"].startswith("UNKNOWN_PEER (said by: us)")
        assert why(newcomer.node, "platform")["because"].startswith("UNKNOWN_PEER (said by: peer)")

        # approvals, and how many there are
        proposal = newcomer.org("propose", newcomer.application, by="platform")["proposal"]
        newcomer.await_stage("application open", approvals=1, needed=3)
        newcomer.org("approve", str(proposal), by="bank")
        newcomer.await_stage("application open", approvals=2)
        assert newcomer.org("approve", str(proposal), by="assessor-east")["state"] == "PASSED"
        newcomer.await_stage("application passed", approvals=3)
        objection_passes(network)

        # an observer, by snapshot
        newcomer.await_stage("in sync", role="observer")
        log = newcomer.node.log.read_text("utf-8")
        assert "snapshot complete" in log
        assert "no snapshot could be fetched" not in log
        height = newcomer.node.height
        network.await_height(height + 2, newcomer.node)
        load.await_more(50, 30)

        # a validator
        organisations = member.api.get("/v1/organisations")["organisations"]
        number = next(item["id"] for item in organisations if item["name"] == NAME)
        promotion = newcomer.org("promote", str(number), "--card", newcomer.application, by="platform")["proposal"]
        for name in ("bank", "assessor-east", NAME):
            newcomer.org("approve", str(promotion), by=name)
        objection_passes(network)
        newcomer.node.await_signing(JOIN_SECONDS)
        load.await_more(50, 30)

        # the first four are restarted one by one
        first = member.height
        for name in VALIDATORS:
            node = network.nodes[name]
            node.stop()
            load.await_more(20, 30)
            node.start()
            network.await_ready(node)
            node.await_signing()
            load.await_more(20, 30)
        load.stop()
        network.await_agreement(*network.nodes.values())
        last = member.height
        during = blocks(member, first, last)
        assert max(int(block["round"]) for block in during) <= 1, "at a height no second timeout was waited for"
        # One timeout and the block itself: how long that takes is the machine's, so it only has to be short of another.
        assert longest_ms(during) < 2 * TIMEOUT_MS


def blocks(node: LiveNode, first: int, last: int) -> list[dict[str, Any]]:
    """The blocks from ``first`` to ``last``."""
    return [node.api.get(f"/v1/blocks/{height}") for height in range(first, last + 1)]


def longest_ms(found: list[dict[str, Any]]) -> int:
    """The longest time from one block to the next."""
    times = [int(block["time_ms"]) for block in found]
    return max(after - before for before, after in zip(times, times[1:], strict=False))


def test_a_bundle_that_does_not_hold_makes_no_home(tmp_path: Path, four: LiveNetwork) -> None:
    member = four.nodes["platform"]
    key = key_path(four.directory / "keys", KeyKind.ORGANISATION, "platform")
    file, home = tmp_path / "bundle", tmp_path / "home"
    what: list[str | Path] = ["--home", home, "--name", NAME, "--roles", "bank", "--address", "127.0.0.1:1"]
    assert in_json("join", "bundle", "--home", member.home, "--key", key, "--out", file).exit_code == 0
    raw = file.read_bytes()
    for at in (10, len(raw) // 2, len(raw) - 1):
        file.write_bytes(raw[:at] + bytes((raw[at] ^ 1,)) + raw[at + 1 :])
        assert in_json("join", "accept", file, *what).error["code"] == "BUNDLE_INVALID"
    assert in_json("join", "accept", tmp_path / "none", *what).error["code"] == "BUNDLE_UNREADABLE"
    assert not home.exists()


def test_a_snapshot_is_made_of_a_running_node_listed_and_proves_itself(tmp_path: Path, four: LiveNetwork) -> None:
    member, target = four.nodes["platform"], tmp_path / "snapshots" / "one"
    four.commit_one(member)
    four.commit_one(member)
    made = in_json("snapshot", "create", target, "--home", member.home)
    assert made.exit_code == 0, made
    again = in_json("snapshot", "create", target, "--home", member.home)
    assert again.error["code"] == "SNAPSHOT_EXISTS"
    ran = in_json("snapshot", "list", target.parent)
    assert ran.exit_code == 0, ran
    (listed,) = ran.json["snapshots"]
    assert listed["state_root"] == made.json["state_root"]
    verified = in_json("snapshot", "verify", target)
    assert (verified.exit_code, verified.json["verified"]) == (0, True), verified

    offer = (target / "offer").read_bytes()
    (target / "offer").write_bytes(offer[:-1] + bytes((offer[-1] ^ 1,)))
    broken = in_json("snapshot", "verify", target)
    assert (broken.error["code"], broken.exit_code) == ("SNAPSHOT_INVALID", 6)
    (target / "offer").write_bytes(b"rubbish")
    assert in_json("snapshot", "list", target.parent).error["code"] == "SNAPSHOT_INVALID"
    unborn = tmp_path / "unborn"
    assert in_json("init", "--home", unborn).exit_code == 0
    assert in_json("snapshot", "create", tmp_path / "x", "--home", unborn).error["code"] == "NODE_NOT_RUNNING"
