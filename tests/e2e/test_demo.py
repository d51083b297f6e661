"""The main job in small, and the command line that runs it: real processes, started and ended as an operator would."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cli.processes import command
from tests.running import Ended, ended

from .command import in_json
from .network import group_members, until

RUN_SECONDS = 120


def huzhu(*arguments: str) -> tuple[Ended, dict[str, Any]]:
    ran = in_json(*arguments, seconds=RUN_SECONDS)
    return ran.exit_code, ran.json


@pytest.mark.e2e
def test_a_short_demo_kills_a_proposer_joins_an_observer_and_satisfies_the_slow_oracle(tmp_path: Path) -> None:
    code, report = huzhu("demo", "--rows", "5", "--scale", "10000", "--case-scale", "1", "--dir", str(tmp_path))
    assert code == 0, report
    assert [period["cases"] for period in report["periods"]] == [1, 1, 2, 3, 4]
    assert report["nodes_agree"] is True
    assert len(report["nodes"]) == 5
    assert report["restarts"] == 1
    audit = [sys.executable, "-m", "tests.reference.audit", str(tmp_path)]
    assert subprocess.run(audit, timeout=RUN_SECONDS).returncode == 0
    audited = json.loads((tmp_path / "report.json").read_text())
    assert audited["share_error_max"] == 0
    assert audited["bills_checked"] == audited["bills_equal"] >= 200
    assert audited["accounts_balanced"] is True
    sabotage = [sys.executable, "-m", "tests.reference.sabotage", str(tmp_path)]
    assert subprocess.run(sabotage, timeout=RUN_SECONDS).returncode == 0


@pytest.mark.e2e
def test_a_demo_that_is_told_to_end_leaves_no_node_behind(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*command(), "demo", "--rows", "5", "--scale", "10000", "--dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as run:
        state = tmp_path / "network" / "testnet.json"

        def running() -> list[int]:
            nodes = json.loads(state.read_text())["nodes"] if state.exists() else []
            return [node["process"]["pid"] for node in nodes if node["process"] is not None]

        leaders = until(lambda: found if len(found := running()) == 4 else None, 30, "four nodes run")
        os.kill(run.pid, signal.SIGTERM)
        assert ended(["demo"], run.wait(30)) == 1
    assert [member for leader in leaders for member in group_members(leader)] == []


@pytest.mark.e2e_deep  # tests/e2e/test_testnet.py runs two networks at once as well
def test_several_networks_at_once_and_nothing_is_left_after_down(tmp_path: Path) -> None:
    places = [tmp_path / "one", tmp_path / "two"]
    leaders = []
    try:
        for place in places:
            code, network = huzhu("testnet", "up", "-n", "1", "--observers", "1", "--dir", str(place))
            assert code == 0, network
            leaders += [node["pid"] for node in network["nodes"]]
            api = network["nodes"][0]["api"]
            key = f"{network['keys']}/platform.key"
            code, enrolled = huzhu("member", "enrol", "--node", api, "--key", key, "--birth-month", "1990-05")
            assert (code, enrolled["member"]) == (0, 0)
            code, shown = huzhu("tx", "wait", enrolled["transaction"], "--node", api)
            assert (code, shown["height"]) == (0, enrolled["height"])
        assert len(set(leaders)) == 4
        code, status = huzhu("testnet", "status", "--dir", str(places[0]))
        assert code == 0
        assert {name: node["running"] for name, node in status["nodes"].items()} == {
            "platform": True,
            "regulator": True,
        }
    finally:
        downs = [huzhu("testnet", "down", "--dir", str(place)) for place in places]
    assert [code for code, _ in downs] == [0, 0]
    assert [member for leader in leaders for member in group_members(leader)] == []
    assert huzhu("testnet", "down", "--dir", str(places[0]))[0] == 0
