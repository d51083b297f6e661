"""The mutants themselves: each is a change, and the clock judges nobody."""

import ast
import importlib
import signal
from functools import partial
from pathlib import Path

import pytest

from bench import mutant_progress
from bench.mutant_progress import HUNG, KILLED, STOPPED, SURVIVED, Progress, outcome
from bench.mutants import MODULES
from bench.mutate import Mutant, mutants, mutated

SAMPLE = """
LIMIT = 5

def long(rows: list[int], least: int = 3) -> bool:
    return len(rows) >= least
"""


def test_every_mutant_changes_the_module_and_nothing_is_changed_twice_alike() -> None:
    plain = ast.dump(ast.parse(SAMPLE))
    found = mutants("sample.py", SAMPLE, {})
    trees = [ast.dump(mutated(SAMPLE, {}, each.at)) for each in found]
    assert plain not in trees
    assert {each.scope for each in found} == {"", "def long", "long"}
    assert len(set(trees)) == len(trees) == 7


def test_a_default_is_changed_where_it_stands() -> None:
    (more, _) = (each for each in mutants("sample.py", SAMPLE, {}) if each.scope == "def long")
    assert "least: int=4" in ast.unparse(mutated(SAMPLE, {}, more.at))


@pytest.mark.parametrize("path", MODULES)
def test_mutants_of_the_rules_are_changes(path: str) -> None:
    """A few of each module; of all defaults."""
    source, names = Path(path).read_text(), vars(importlib.import_module(path[:-3].replace("/", ".")))
    plain = ast.dump(ast.parse(source))
    found = mutants(path, source, names)
    asked = [each for each in found if each.at % 97 == 0 or each.scope.startswith("def ")]
    assert all(ast.dump(mutated(source, names, each.at)) != plain for each in asked)
    assert all(Path(file).is_file() for file in MODULES[path])


def never() -> int:
    while True:
        pass


def asleep() -> int:
    signal.pause()
    return 0


def test_a_mutant_that_never_ends_is_judged_by_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    assert outcome(never, 1) == HUNG
    assert [outcome(partial(int, code), 1) for code in (0, 1, 2)] == [SURVIVED, KILLED, KILLED]
    monkeypatch.setattr(mutant_progress, "CLOCK_FACTOR", 1)
    assert outcome(asleep, 1) == STOPPED


def test_who_was_stopped_by_the_clock_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutant_progress, "PROGRESS", tmp_path)
    first, second, third = (Mutant("a.py", "f", "x = 1", "1 to 2", 0, at, 1) for at in range(3))
    progress = Progress("a.py", "text", ("tests",), fresh=False)
    for mutant, result in ((first, KILLED), (second, STOPPED), (third, SURVIVED)):
        progress.add(mutant, result, "tests")
    again = Progress("a.py", "text", ("tests",), fresh=False)
    assert [again.result(each) for each in (first, second, third)] == [KILLED, None, SURVIVED]
    other = Progress("a.py", "text", ("other tests",), fresh=False)
    assert [other.result(each) for each in (first, second, third)] == [KILLED, None, None], "survivors are asked again"
    assert Progress("a.py", "other text", ("tests",), fresh=False).known == {}
