"""``huzhu bench ledger``, tiny: every key is there, a killed run goes on, and a wrong ledger gets no figures."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from cli.bench import ledger_bills, ledger_probe, ledger_tally, probes
from cli.bench.ledger import TARGETS, result
from cli.bench.ledger_chain import SoloChain
from cli.bench.ledger_probe import Appended
from cli.bench.ledger_script import PERIODS, Script
from cli.bench.ledger_tally import Tally
from cli.bench.ledger_walk import Phase, Walk
from ledger.errors import OperatorError
from tests.running import run

MEMBERS = 1_000


def test_a_run_prints_every_key_of_the_table_and_may_be_asked_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "spread", lambda values: 0.0)  # whether the machine is quiet is not asked here
    arguments = ["bench", "ledger", "--members", str(MEMBERS), "--dir", str(tmp_path / "run"), "--output", "json"]
    assert run(arguments) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["members"] == MEMBERS
    assert {"append_rows_per_s", "missed", "unstable", *TARGETS} <= figures.keys()
    assert all(figures[key] > 0 for key in TARGETS)
    assert len(figures["shares_fen"]) == PERIODS
    assert run([*arguments, "--resume"]) == 0
    assert json.loads(capsys.readouterr().out) == figures


@pytest.mark.parametrize("arguments", [["--members", "2000", "--resume"], ["--members", "1000"]])
def test_the_directory_of_another_run_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    Tally(MEMBERS).save(tmp_path)
    assert run(["bench", "ledger", *arguments, "--dir", str(tmp_path), "--output", "json"]) == 3
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "BENCH_DIRECTORY"


def test_to_resume_needs_a_directory() -> None:
    assert run(["bench", "ledger", "--resume"]) == 2


@pytest.mark.parametrize("text", ["", "[]", '{"members": 1000, "phases": {"enrol": {"x": 1}}, "appended": []}'])
def test_a_tally_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / ledger_tally.FILE).write_text(text)
    with pytest.raises(OperatorError) as caught:
        ledger_tally.load(tmp_path, MEMBERS)
    assert caught.value.code == "BENCH_DIRECTORY"


def walked(directory: Path, script: Script, *, reopened: bool) -> tuple[bytes, list[Phase]]:
    """Root and kinds of the blocks of a whole run; ``reopened``: the process ends after every block."""
    chain = SoloChain(directory)
    phases = []
    while not Walk(chain, script).done:
        phases.append(Walk(chain, script).step().phase)
        if reopened:
            chain.close()
            chain = SoloChain(directory)
    root = chain.view.state_root
    chain.close()
    return root, phases


def test_a_run_that_ends_after_every_block_and_goes_on_is_the_same_run(tmp_path: Path) -> None:
    script = Script(MEMBERS)
    whole = walked(tmp_path / "whole", script, reopened=False)
    assert walked(tmp_path / "pieces", script, reopened=True) == whole
    assert [whole[1].count(phase) for phase in (Phase.SETTLE, Phase.COLLECT, Phase.CLOSE)] == [PERIODS] * 3


def test_what_the_script_says_and_the_ledger_does_not_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk = Walk(SoloChain(tmp_path), Script(MEMBERS))
    while not walk.done:
        walk.step()

    def one_period_less(script: Script, members: Sequence[int]) -> Iterator[tuple[int, int]]:
        yield from ((member, PERIODS - 1) for member in members)

    assert len(ledger_bills.times_s(walk)) == ledger_bills.BILLS
    monkeypatch.setattr(ledger_bills, "charged", one_period_less)
    with pytest.raises(OperatorError, match="another bill"):
        ledger_bills.times_s(walk)
    walk.chain.close()


def test_who_fails_twice_in_a_row_shares_no_later_period_and_singles_never_fail_what_they_paid() -> None:
    script = Script(50_000)
    failures = script.failures(0, 49_999, PERIODS - 1)
    assert sum(len(found.again) for found in failures) > 5
    for number, found in enumerate(failures):
        assert 0.008 < len(found.ids) / script.members < 0.0101
        gone = set().union(*(before.again for before in failures[:number]))
        assert not gone & found.ids
        assert found.lapsed_before == len(gone)
    assert not failures[0].ids & set(script.singles)
    lapsed = {member: number for number, found in enumerate(failures) for member in found.again}
    assert dict(ledger_bills.charged(script, sorted(lapsed))) == {m: number + 1 for m, number in lapsed.items()}
    assert list(ledger_bills.charged(script, [0, 49_999]))[0] == (0, 1), "the first is helped with the first period"


def test_a_store_is_measured_between_two_keys(tmp_path: Path) -> None:
    chain = SoloChain(tmp_path)
    walk = Walk(chain, Script(20_000))
    walk.step()
    walk.step()
    chain.store.compact()
    assert 20_000 * 90 < chain.store.size_between(b"r", b"s") < 20_000 * 120
    assert chain.store.size_between(b"s", b"r") == 0
    chain.close()


def test_probes_that_differ_by_more_than_a_fifth_make_a_run_unstable(tmp_path: Path) -> None:
    tally = finished()
    assert not result(tally)["unstable"]
    tally.appended[1] = Appended(1_000, 0.0131, 0.01)
    figures = result(tally)
    assert figures["unstable"]
    assert figures["missed"] == ["enrol_share"]


def finished() -> Tally:
    """A tally that keeps every target but the share of the append ceiling."""
    tally = Tally(MEMBERS)
    tally.appended = [Appended(1_000, 0.0100, 0.01), Appended(1_000, 0.0101, 0.01), Appended(1_000, 0.0119, 0.01)]
    tally.phases = {
        "enrol": ledger_tally.Spent(1, 1_000, 0.02, 0.02, 0.02, 0.02),
        "singles": ledger_tally.Spent(1, 1_000, 0.04, 0.04, 0.04),
    }
    times = {"settle": 0.0012, "small_settle": 0.001, "collect": 1.0, "confirm": 0.01, "close": 0.01}
    tally.periods = {str(number): dict(times) for number in range(PERIODS)}
    tally.memory_tenth_bytes = tally.memory_enrol_bytes = tally.memory_bytes = 80_000_000
    tally.results = {
        "ceiling": {"rows": 1_000, "seconds": 0.0101, "cpu_s": 0.01},
        "bill_s": [[0.0001, 0.0001]] * 1_000,
        "shares_fen": [7] * PERIODS,
        "state_bytes": 120_000,
        "state_members": 1_000,
        "block_bytes": 50_000,
        "open_s": 0.5,
    }
    return tally


def test_the_bare_loop_appends_what_it_says_and_leaves_nothing_behind(tmp_path: Path) -> None:
    appended = ledger_probe.append(tmp_path / "bare", 12_000)
    assert appended.rows == 12_000
    assert appended.seconds > 0
    assert not (tmp_path / "bare").exists()
