"""`huzhu simulate`: its keys, its exit codes, and what a failing seed prints."""

import json
from pathlib import Path
from typing import Any

import pytest

from cli import simulate as command
from simulator.bugs import planted
from simulator.marks import MARKS
from tests.running import run

KEYS = {"seeds", "violations", "marks_unreached", "heights", "events", "seconds"}
ONE_PROCESS = ("--processes", "1")


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = run(["simulate", *arguments, *ONE_PROCESS])
    return code, capsys.readouterr().out


def test_the_keys_are_there_and_a_range_includes_both_ends(capsys: pytest.CaptureFixture[str]) -> None:
    code, out = said(capsys, "--seeds", "3..5", "--output", "json")
    data: dict[str, Any] = json.loads(out)
    assert code == 0 and data.keys() >= KEYS
    assert data["seeds"] == 3 and data["violations"] == [] and set(data["marks_unreached"]) < set(MARKS)


def test_a_resumed_range_has_the_same_traces_as_one_in_one_go(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = str(tmp_path / "progress")
    said(capsys, "--seeds", "24..24", "--resume", file)
    resumed = json.loads(said(capsys, "--seeds", "24..26", "--resume", file, "--output", "json")[1])
    whole = json.loads(said(capsys, "--seeds", "24..26", "--output", "json")[1])
    assert resumed["traces"] == whole["traces"] and resumed["marks"] == whole["marks"]
    assert said(capsys, "--seeds", "24..26", "--nodes", "5", "--resume", file)[0] == 3


def test_many_seeds_that_leave_a_mark_unreached_fail(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "MARKED_SEEDS_MIN", 2)
    assert said(capsys, "--seeds", "3..3")[0] == 0
    assert said(capsys, "--seeds", "3..4")[0] == 1


def test_a_failing_seed_prints_itself_the_invariant_and_its_log(capsys: pytest.CaptureFixture[str]) -> None:
    with planted("timer_not_gated"):
        code, out = said(capsys, "--seeds", "1")
    lines = out.splitlines()
    assert code == 6
    assert any(line.startswith("seed 1: round_synchrony: ") for line in lines)
    head = lines.index("ms node.life what checksum details")
    assert lines[head - 1] == "the last events of seed 1:" and len(lines) - head > 100
    when, who, *_ = lines[head + 1].split(" ")
    assert when.isdigit() and (who == "world" or who.startswith("n"))


def test_distances_are_one_table(capsys: pytest.CaptureFixture[str]) -> None:
    code, out = said(capsys, "--latency", "--nodes", "4", "--output", "json")
    data = json.loads(out)
    assert code == 0 and [row["nodes"] for row in data["rows"]] == [4] and "IBM" in data["source"]
