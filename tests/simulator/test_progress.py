"""A stopped run goes on where it was; nothing is counted twice, and a file of another run is refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from ledger.errors import OperatorError
from simulator import progress, runner
from simulator.progress import Progress, fingerprint
from simulator.runner import CHUNK, Report, report_of, run_seeds, shares


def counted(report: Report) -> tuple[object, ...]:
    values = report.values()
    return tuple(values[name] for name in sorted(values) if name != "seconds")


def test_a_run_that_was_stopped_counts_each_seed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, ran = tmp_path / "progress", []
    ordinary = runner.run_seed

    def run_seed(seed: int, nodes: int | None) -> runner.Result:
        ran.append(seed)
        if len(ran) == CHUNK + 3:
            raise KeyboardInterrupt
        return ordinary(seed, nodes)

    monkeypatch.setitem(runner.SCENARIOS, "seeds", replace(runner.SCENARIOS["seeds"], run=run_seed))
    with pytest.raises(KeyboardInterrupt):
        run_seeds(range(2 * CHUNK), processes=1, resume=file)
    resumed = run_seeds(range(2 * CHUNK), processes=1, resume=file)
    assert ran == [*range(CHUNK + 3), *range(CHUNK, 2 * CHUNK)], "the share that was done is not done again"
    monkeypatch.undo()
    assert counted(resumed) == counted(run_seeds(range(2 * CHUNK), processes=2))


def test_a_longer_range_goes_on_with_the_shares_of_a_shorter_one(tmp_path: Path) -> None:
    assert list(shares(range(60))) == ["0..24", "25..49", "50..59"]
    assert list(shares(range(10, 80))) == ["10..24", "25..49", "50..74", "75..79"]
    short, long = shares(range(50)), shares(range(100))
    assert set(short) < set(long)


def test_a_torn_last_line_is_dropped_and_its_share_done_again(tmp_path: Path) -> None:
    file = tmp_path / "progress"
    with Progress(file, {"run": "x"}) as begun:
        begun.add("a", {"n": 1})
        begun.add("b", {"n": 2})
    whole = file.read_bytes()
    for end in range(whole.index(b'{"share": "b"'), len(whole)):
        file.write_bytes(whole[:end])
        with Progress(file, {"run": "x"}) as again:
            assert again.done == {"a": {"n": 1}}
            again.add("b", {"n": 2})
        assert file.read_bytes() == whole


def test_a_first_line_cut_off_begins_the_file_anew(tmp_path: Path) -> None:
    file = tmp_path / "progress"
    file.write_bytes(b'{"format": 1, "co')
    with Progress(file, {"run": "x"}) as begun:
        assert begun.done == {}
    assert file.read_bytes().startswith(b'{"format": 1, "code": "' + fingerprint().encode())


def test_damage_before_the_last_line_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "progress"
    with Progress(file, {"run": "x"}) as begun:
        begun.add("a", {})
    for damaged in (b"{]\n", b'{"n": 1}\n', b"[]\n"):
        spoilt = tmp_path / "spoilt"
        spoilt.write_bytes(file.read_bytes() + damaged)
        with pytest.raises(OperatorError, match="line 3 is damaged"):
            Progress(spoilt, {"run": "x"})
    spoilt.write_bytes(b"7\n")
    with pytest.raises(OperatorError, match="line 1 is damaged"):
        Progress(spoilt, {"run": "x"})


def test_a_file_of_other_options_or_other_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "progress"
    run_seeds([7], resume=file)
    with pytest.raises(OperatorError, match="nodes = None, this one has 5"):
        run_seeds([7], 5, resume=file)
    monkeypatch.setattr(progress, "fingerprint", lambda: "other")
    with pytest.raises(OperatorError, match="this one has other"):
        run_seeds([7], resume=file)
    with pytest.raises(OperatorError, match="cannot be gone on with"):
        run_seeds([7], resume=tmp_path / "no folder" / "progress")


def test_a_report_survives_its_way_through_a_file() -> None:
    report = run_seeds(range(3), processes=1)
    report.violations.append(runner.Failure(9, "one_block: ä"))
    assert report_of(report.values()).values() == report.values()
