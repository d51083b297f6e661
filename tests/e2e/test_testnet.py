"""``huzhu testnet`` as a script uses it: every verb on real processes, several networks, nothing left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from cli.processes import command, strays

from .command import Ran, in_json
from .network import until

pytestmark = pytest.mark.e2e


def command_of(pid: int) -> bytes:
    """The command line of a process; empty when it has ended, also while nobody has reaped it yet."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


def run_verb(verb: str, place: Path, *arguments: str) -> Ran:
    """One verb on the network in ``place``."""
    return in_json("testnet", verb, *arguments, "--dir", place, seconds=120)


def told(verb: str, place: Path, *arguments: str) -> dict[str, Any]:
    """What it says; it must succeed."""
    ran = run_verb(verb, place, *arguments)
    assert ran.exit_code == 0, ran
    return ran.json


@pytest.fixture
def places(tmp_path: Path) -> Iterator[list[Path]]:
    """Where networks may be; whatever is left of them is ended."""
    with ExitStack() as stack:
        found = [tmp_path / "one", tmp_path / "two"]
        for place in found:
            stack.callback(run_verb, "down", place)
        yield found


def test_every_verb_on_two_networks_at_once(places: list[Path]) -> None:
    one, two = places
    up = [told("up", one), told("up", two, "-n", "1", "--direct")]
    assert up[0]["links"] == "proxied" and up[1]["links"] == "direct"
    assert up[0]["chain_id"] != up[1]["chain_id"]

    loaded = told("load", one, "--rate", "20", "--seconds", "2", "--ids", str(one / "ids"))
    assert loaded["sent"] == loaded["acknowledged"] == len(loaded["ids"]) and not loaded["unknown"]
    assert len((one / "ids").read_text().splitlines()) == loaded["sent"]
    (one / "ids").unlink()

    told("cut", one, "bank")
    assert len(told("status", one)["cut"]) == 6
    assert told("load", one, "--rate", "10", "--seconds", "1", "--node", "platform")["unknown"] == 0
    assert told("heal", one, "--all") == {"cut": []}
    assert told("cut", one, "bank", "platform", "--one-way") == {"cut": [["bank", "platform"]]}
    assert told("heal", one, "bank", "platform") == {"cut": []}
    assert run_verb("cut", two, "platform").error["code"] == "LINKS_NOT_PROXIED"

    assert told("pause", one, "assessor-east") == {"paused": ["assessor-east"]}
    assert told("status", one)["nodes"]["assessor-east"]["process"] == "paused"
    assert told("resume", one, "--all")["resumed"]

    assert told("kill", one, "bank")["killed"] == ["bank"]
    assert told("kill", one, "bank")["killed"] == [], "it is so already"
    assert run_verb("status", one).exit_code == 5
    pids = told("restart", one, "--all", "--kill")["restarted"]
    assert told("load", one, "--rate", "10", "--seconds", "1")["unknown"] == 0
    assert told("kill", one, "platform", "--term")["signal"] == "SIGTERM"
    logs = told("logs", one, "-n", "3")["logs"]
    assert any("stopping" in line for line in logs["platform"]) and len(logs) == 4

    told("pause", one, "bank")  # one that is paused cannot hear, and ends all the same
    begun = time.monotonic()
    assert "bank" in told("down", one)["ended"]
    assert time.monotonic() - begun < 15
    assert not one.exists() and not strays(one)
    assert told("down", one)["ended"] == []
    assert not [name for name, pid in pids.items() if str(one / name).encode() in command_of(pid)]
    assert told("status", two)["nodes"]["platform"]["running"], "the other network does not care"


@pytest.mark.parametrize("after_s", [0.6, 1.5])
def test_what_a_killed_up_has_started_is_found_by_down(places: list[Path], after_s: float) -> None:
    place = places[0]
    process = subprocess.Popen(
        [*command(), "testnet", "up", "--dir", str(place)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    begun = time.monotonic()
    until(lambda: time.monotonic() - begun > after_s or strays(place), after_s + 5, "it has begun")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert run_verb("down", place).exit_code == 0
    assert not strays(place)
    assert not place.exists() or not any(place.iterdir())


def test_a_process_that_nobody_wrote_down_is_ended_too(places: list[Path]) -> None:
    place = places[0]
    place.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"],
        stdin=subprocess.PIPE,
        env={**os.environ, "_HUZHU_TESTNET": str(place)},
        start_new_session=True,
    ) as stray:
        until(lambda: strays(place), 5, "it runs")
        assert run_verb("down", place).exit_code == 0
        assert stray.wait(5) == -signal.SIGTERM
