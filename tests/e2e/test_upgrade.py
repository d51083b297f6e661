"""An old release beside new ones across an upgrade of the protocol, as real processes (issue 6, item 7).

The old release is this program with the rows of later versions cut from its table (``ledger.protocol``): what a release
from before them was. It warns, votes up to the last block below the height, ends by naming what it needs, and comes
back on the same home when the new one is installed.
"""

import shutil
from pathlib import Path
from typing import Any, Final

import pytest

import ledger.protocol
from tests.e2e.command import huzhu, in_json
from tests.e2e.decisions import decide
from tests.e2e.network import STOP_SECONDS, LiveNetwork, LiveNode

pytestmark = pytest.mark.e2e

ROOT: Final = Path(ledger.protocol.__file__).parents[1]
PACKAGES: Final = ("ledger", "consensus", "p2p", "node", "cli", "simulator", "configs")
OLD: Final = "assessor-west"
AHEAD: Final = 30
"""Blocks between the proposal and the height: at its enactment 10 must be left."""
CATCH_UP_SECONDS: Final = 30.0


def old_release(place: Path) -> Path:
    """A tree of the program that speaks protocol 1 only."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, place / package, ignore=shutil.ignore_patterns("__pycache__"))
    table = place / "ledger" / "protocol.py"
    text = table.read_text()
    for newer in (f"NEWEST: Final = {ledger.protocol.NEWEST}\n", "    2: Rules(same_proposal_twice=False),\n"):
        assert newer in text, newer
    text = text.replace(f"NEWEST: Final = {ledger.protocol.NEWEST}\n", "NEWEST: Final = 1\n")
    table.write_text(text.replace("    2: Rules(same_proposal_twice=False),\n", ""))
    return place


def speaks(node: LiveNode) -> dict[str, Any]:
    found: dict[str, Any] = node.status()["protocol"]
    return found


def test_an_old_release_stops_before_the_height_and_comes_back_as_the_new_one(
    tmp_path: Path, clocked: LiveNetwork
) -> None:
    release = {"PYTHONPATH": str(old_release(tmp_path / "old"))}
    assert "protocol 1 to 1" in huzhu("--version", environ=release).stdout
    network = clocked
    old, asked = network.nodes[OLD], network.nodes["platform"]
    old.stop()
    old.prefix = ["env", *(f"{name}={value}" for name, value in release.items())]
    network.up()
    old.await_signing(CATCH_UP_SECONDS)
    height = asked.height + AHEAD
    decide(network, "gov", "upgrade", "2", "--height", str(height))
    network.await_agreement()

    needed = f"protocol 2 is needed from height {height}; this program speaks 1"
    assert (speaks(old)["upgrade_needed"], speaks(asked)["upgrade_needed"]) == (needed, None)
    assert "\nhuzhu_upgrade_needed 1.0\n" in old.api.request("GET", "/metrics").body.decode()
    doctor = in_json("doctor", "--home", old.home, "--quick")
    assert "UPGRADE_AHEAD" in {finding["code"] for finding in doctor.json["findings"]}

    while asked.height < height - 3:
        network.commit_one(asked)
    assert old.signing, "it votes up to the last block below the height"
    while asked.height < height + 2:
        network.commit_one(asked)
    assert old.wait(STOP_SECONDS) == 3
    assert f"protocol 2 is needed from height {height}" in old.log_tail()
    assert "PROTOCOL_UPGRADE_NEEDED" in old.log_tail()
    versions = [asked.api.get(f"/v1/blocks/{at}")["header"]["version"] for at in (height - 1, height)]
    assert versions == [1, 2]
    again = in_json("start", "--home", old.home, environ=release)
    assert (again.exit_code, again.error["code"]) == (3, "PROTOCOL_UPGRADE_NEEDED"), "nothing is opened by it"

    old.prefix = []
    network.up([OLD])
    old.await_signing(CATCH_UP_SECONDS)
    network.commit_one(old)
    network.await_agreement()
