"""Mutation testing of the rules: every small wrong change (``bench.mutate``) must make a test fail, or be explained.

    .venv/bin/python -m bench.mutants [--module ledger/settlement.py ...] [--fresh]

How it works
- The tests are collected once. A profile of function calls says which test runs which function, and how long it takes.
- Each mutant runs in a forked child: a function's code is exchanged in place, then the tests that run it, quick ones
  and those of the module's own file first, until one fails. Module-level data (the claim table) is computed again in
  the child. Where a change stands in the body of a class, the module is imported anew, in a child of its own. A child
  that does not end is killed, and counts as noticed.
- Nothing in the tree is written but ``build/mutants/*.jsonl``, from which an interrupted run goes on. What was killed
  is not tried again while the module's text is the same; a survivor not while the tests are the same, too.
- ``bench/mutants_explained.toml`` explains survivors in one line each. The run fails on a survivor without an
  explanation, and on an explanation without a survivor.
"""

import ast
import gc
import importlib
import importlib.abc
import importlib.machinery
import json
import os
import resource
import signal
import sys
import time
import tomllib
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any, Final

import click
import pytest

from .mutate import Mutant, mutants, mutated

MODULES: Final[dict[str, tuple[str, ...]]] = {
    "consensus/quorum.py": ("test_quorum",),
    "ledger/votes.py": ("test_votes", "test_quorum", "test_messages"),
    "ledger/claim_table.py": ("test_claim_sets", "test_claim_table", "test_claim_diagram", "test_life", "test_holds"),
    "ledger/settlement.py": ("test_settlement", "test_settlement_rows", "test_bills"),
    "ledger/jury.py": ("test_jury", "test_jury_draw", "test_disputes"),
    "ledger/tables.py": ("test_tables",),
    "ledger/pages.py": ("test_tables",),
    "ledger/claims.py": ("test_life", "test_claim_table", "test_documents"),
    "ledger/collection.py": ("test_collection", "test_settlement"),
    "ledger/bills.py": ("test_bills", "test_settlement"),
}
"""Module -> names of the test files that are about it: asked first."""
TESTS: Final = ("tests/ledger", "tests/reference", "tests/consensus/test_quorum.py", "tests/consensus/test_messages.py")
PROGRESS: Final = Path("build/mutants")
EXPLAINED: Final = Path("bench/mutants_explained.toml")
CHILD_SECONDS: Final = 90
_OWN: Final = 0.2
"""How much sooner the tests of the module's own file are asked."""
PROFILE_SECONDS: Final = 1_200
CHILD_BYTES_MAX: Final = 3 * 2**30
KILLED, SURVIVED, HUNG = "killed", "SURVIVED", "hung"
_CODES: Final = {0: SURVIVED, 1: KILLED, 2: KILLED}


@dataclass(frozen=True, slots=True)
class Profile:
    """What a test needs: seconds, and the functions it runs."""

    passes: bool
    """Without any mutant."""
    seconds: float
    functions: frozenset[tuple[str, str]]


def main_of(code: CodeType) -> str:
    """The qualified name of the outermost function a code object belongs to."""
    return code.co_qualname.split(".<locals>")[0]


def in_child(work: Callable[[], int], seconds: int, *, silent: bool = True) -> int:
    """Run ``work`` in a forked child with so many seconds of the processor (ten times that by the clock), in bounded
    memory: its result, or 128 + the signal that ended it."""
    process = os.fork()
    if process == 0:
        code = 2
        try:
            signal.alarm(10 * seconds)
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            resource.setrlimit(resource.RLIMIT_AS, (CHILD_BYTES_MAX, CHILD_BYTES_MAX))
            if silent:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, 1)
                os.dup2(nowhere, 2)
            code = work()
        finally:
            if sys.exc_info()[0] is not None:
                traceback.print_exc()
            os._exit(code)
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


# ---- what is being asked ---------------------------------------------------------------------------------------------


class Ledger:
    """Results so far, in a file a module: one line a mutant."""

    def __init__(self, path: str, tests: str, fresh: bool, seconds: float) -> None:
        self._file = PROGRESS / (path.replace("/", ".") + ".jsonl")
        self._tests = tests
        self._seconds = seconds
        self._text = sha256(Path(path).read_bytes() + Path("bench/mutate.py").read_bytes()).hexdigest()
        self.known: dict[int, dict[str, Any]] = {}
        if self._file.exists() and not fresh:
            for line in self._file.read_text().splitlines():
                entry = json.loads(line)
                asked = entry["tests"] == tests and entry.get("seconds", 0) >= seconds
                if entry["text"] == self._text and (entry["result"] != SURVIVED or asked):
                    self.known[entry["at"]] = entry
        PROGRESS.mkdir(parents=True, exist_ok=True)
        self._file.write_text("".join(json.dumps(entry) + "\n" for entry in self.known.values()))

    def add(self, mutant: Mutant, result: str) -> None:
        """Remember a result at once."""
        entry = {"at": mutant.at, "result": result, "text": self._text, "tests": self._tests, "seconds": self._seconds}
        self.known[mutant.at] = entry
        with self._file.open("a") as file:
            file.write(json.dumps(entry) + "\n")


@dataclass
class Target:
    """A module under test."""

    path: str
    source: str
    mutants: list[Mutant]
    ledger: Ledger

    @property
    def name(self) -> str:
        """As imported."""
        return self.path.removesuffix(".py").replace("/", ".")

    def left(self, *, anew: bool) -> list[Mutant]:
        """Not yet tried mutants that need a new import, or that do not."""
        return [each for each in self.mutants if each.at not in self.ledger.known and _imported(each) == anew]


def _imported(mutant: Mutant) -> bool:
    """Whether the change stands in a class's body or in a function's defaults: those exist since the import."""
    return mutant.scope.startswith(("class ", "def "))


def targets(paths: Sequence[str], asked: Sequence[str], fresh: bool, seconds: float) -> list[Target]:
    """The modules with their mutants; they are imported in a child, so that this process stays without them."""
    tests = _digest(*(Path(each) for each in asked))
    found = []
    for path in paths:
        source = Path(path).read_text()
        made = _imported_in_child(path, source)
        found.append(Target(path, source, made, Ledger(path, tests, fresh, seconds)))
    return found


def _digest(*places: Path) -> str:
    """Of all Python files there."""
    files = [each for place in places for each in ([place] if place.is_file() else sorted(place.rglob("*.py")))]
    return sha256(b"".join(each.read_bytes() for each in files)).hexdigest()


def _imported_in_child(path: str, source: str) -> list[Mutant]:
    PROGRESS.mkdir(parents=True, exist_ok=True)
    answer = PROGRESS / "names.json"

    def work() -> int:
        module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
        rows = [[getattr(each, name) for name in Mutant.__slots__] for each in mutants(path, source, vars(module))]
        answer.write_text(json.dumps(rows))
        return 0

    if in_child(work, CHILD_SECONDS):
        raise click.ClickException(f"{path} cannot be imported")
    return [Mutant(*row) for row in json.loads(answer.read_text())]


class Derandomised:
    """A pytest plugin: hypothesis tries the same examples every time, and does not shrink what it finds."""

    def pytest_configure(self) -> None:
        """Imported here, not above: pytest wants to see its plugins imported first."""
        hypothesis = importlib.import_module("hypothesis")
        phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
        hypothesis.settings.register_profile("mutants", derandomize=True, database=None, phases=phases, deadline=None)
        hypothesis.settings.load_profile("mutants")


# ---- functions and data: exchanged in place -------------------------------------------------------------------------


class Asking:
    """A pytest plugin that, in place of running the tests once, runs some of them for every mutant."""

    def __init__(self, work: Sequence[Target], say: Callable[[str], None], seconds: float) -> None:
        self._targets = work
        self._say = say
        self._seconds = seconds

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """All mutants of functions."""
        if session.testsfailed:
            raise click.ClickException("the tests cannot be collected")
        profiles = self._profiles(session)
        for node in sorted(item.nodeid for item in session.items if not profiles[item.nodeid].passes):
            self._say(f"fails without any mutant, and is left out: {node}")
        for target in self._targets:
            module = sys.modules[target.name]
            live = _functions(module)
            for mutant in target.left(anew=False):
                tree = mutated(target.source, vars(module), mutant.at)
                early = not mutant.scope or _runs_at_import(tree, mutant.scope)
                items = self._chosen(session.items, profiles, target.path, "" if early else mutant.scope)
                changes: list[Callable[[], None]] = []
                if mutant.scope:
                    code = _code(tree, mutant.scope, module.__file__ or "")
                    changes.append(_exchange(live.get(mutant.scope, []), code))
                if early:
                    changes.append(partial(_redo, module, tree))
                result = self._ask(session, items, changes)
                target.ledger.add(mutant, result)
                if result == SURVIVED:
                    self._say(f"{SURVIVED} {mutant.path}:{mutant.line_number} {mutant.change} | {mutant.line}")
        return True

    def _profiles(self, session: pytest.Session) -> dict[str, Profile]:
        """Of every test, in a child; from a file when nothing has changed since."""
        asked = sorted({item.path for item in session.items})
        answer = PROGRESS / f"profiles.{_digest(Path('ledger'), Path('consensus'), Path('tests'), *asked)[:16]}.json"
        if not answer.exists():

            def work() -> int:
                text = json.dumps(_profile_all(session))
                answer.write_text(text)
                return 0

            if in_child(work, PROFILE_SECONDS):
                raise click.ClickException("the tests could not be run without any mutant")
        rows = json.loads(answer.read_text())
        return {node: Profile(row[0], row[1], frozenset(map(tuple, row[2]))) for node, row in rows.items()}

    def _chosen(
        self, items: Sequence[pytest.Item], profiles: dict[str, Profile], path: str, scope: str
    ) -> list[pytest.Item]:
        """The tests that run the function, the quick ones first, those of its own file sooner than others."""
        own = MODULES.get(path, ())
        good = [item for item in items if profiles[item.nodeid].passes]
        if scope:
            running = [item for item in good if (path, scope) in profiles[item.nodeid].functions]
        else:
            touching = {node for node, profile in profiles.items() if any(path == of for of, _ in profile.functions)}
            running = [item for item in good if item.path.stem in own or item.nodeid in touching]
        running.sort(key=lambda item: profiles[item.nodeid].seconds * (_OWN if item.path.stem in own else 1))
        chosen: list[pytest.Item] = []
        spent = 0.0
        for item in running:
            spent += profiles[item.nodeid].seconds
            if spent > self._seconds and chosen:
                break
            chosen.append(item)
        return chosen

    def _ask(self, session: pytest.Session, items: Sequence[pytest.Item], changes: Sequence[Callable[[], None]]) -> str:
        def work() -> int:
            for change in changes:
                change()
            return _run(session, items)

        return _CODES.get(in_child(work, CHILD_SECONDS), HUNG) if items else SURVIVED


def _run(session: pytest.Session, items: Sequence[pytest.Item]) -> int:
    """1 as soon as a test fails."""
    for at, item in enumerate(items):
        following = items[at + 1] if at + 1 < len(items) else None
        session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.testsfailed:
            return 1
    return 0


def _profile_all(session: pytest.Session) -> dict[str, Any]:
    """Run every test once, noting calls of the targets' functions."""
    root = str(Path.cwd()) + "/"
    wanted = {root + path: path for path in MODULES}
    rows: dict[str, Any] = {}
    for at, item in enumerate(session.items):
        called: set[CodeType] = set()

        def note(frame: FrameType, event: str, argument: Any, called: set[CodeType] = called) -> None:
            called.add(frame.f_code)

        following = session.items[at + 1] if at + 1 < len(session.items) else None
        failed = session.testsfailed
        began = time.process_time()
        sys.settrace(note)
        session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        sys.settrace(None)
        seconds = time.process_time() - began
        functions = {(wanted[code.co_filename], main_of(code)) for code in called if code.co_filename in wanted}
        rows[item.nodeid] = [session.testsfailed == failed, seconds, sorted(functions)]
    return rows


def _functions(module: ModuleType) -> dict[str, list[FunctionType]]:
    """Every live function of a module's own text, by qualified name."""
    found: dict[str, list[FunctionType]] = {}
    for each in gc.get_objects():
        if isinstance(each, FunctionType) and each.__code__.co_filename == module.__file__:
            found.setdefault(each.__code__.co_qualname, []).append(each)
    return found


def _code(tree: ast.Module, scope: str, file: str) -> CodeType:
    pending: list[CodeType] = [compile(tree, file, "exec")]
    while pending:
        code = pending.pop()
        if code.co_qualname == scope:
            return code
        pending += [each for each in code.co_consts if isinstance(each, CodeType)]
    raise click.ClickException(f"{scope} is not in {file}")


def _exchange(functions: list[FunctionType], code: CodeType) -> Callable[[], None]:
    if not functions:
        raise click.ClickException(f"{code.co_qualname} has mutants and is not among the live functions")

    def change() -> None:
        for function in functions:
            function.__code__ = code

    return change


def _runs_at_import(tree: ast.Module, scope: str) -> bool:
    """Whether module-level data is what the function returned."""
    data = [each for each in tree.body if isinstance(each, ast.Assign | ast.AnnAssign)]
    calls = [node for each in data for node in ast.walk(each) if isinstance(node, ast.Call)]
    return any(isinstance(call.func, ast.Name) and call.func.id == scope for call in calls)


def _redo(module: ModuleType, tree: ast.Module) -> None:
    """Compute the module's data again, from its live classes and functions, also where others have imported it."""
    data: list[ast.stmt] = [each for each in tree.body if isinstance(each, ast.Assign | ast.AnnAssign)]
    before = dict(vars(module))
    exec(compile(ast.Module(data, []), module.__file__ or "", "exec"), vars(module))
    for name, fresh in list(vars(module).items()):
        old = before.get(name)
        if fresh is not old and name in before and not name.startswith("__"):
            for other in list(sys.modules.values()):
                if other is not module and vars(other).get(name) is old:
                    setattr(other, name, fresh)


# ---- bodies of classes: imported anew --------------------------------------------------------------------------------


class Altered(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a changed tree."""

    def __init__(self, target: Target, mutant: Mutant) -> None:
        self._target = target
        self._mutant = mutant

    def find_spec(self, fullname: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        """Only the target."""
        if fullname != self._target.name:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, origin=self._target.path)

    def exec_module(self, module: ModuleType) -> None:
        """The text as it is first, for the names of its enums; then with the change."""
        file = str(Path(self._target.path).resolve())
        module.__file__ = file
        names = dict(vars(module))
        sys.modules[module.__name__] = module
        exec(compile(self._target.source, file, "exec"), names)
        exec(compile(mutated(self._target.source, names, self._mutant.at), file, "exec"), vars(module))


def ask_data(target: Target, mutant: Mutant) -> str:
    """Run the module's own test files with a changed table."""
    files = [str(next(Path("tests").glob(f"*/{name}.py"))) for name in MODULES[target.path]]

    def work() -> int:
        sys.meta_path.insert(0, Altered(target, mutant))
        return min(2, int(pytest.main([*_OPTIONS, "-x", *files], plugins=[Derandomised()])))

    return _CODES.get(in_child(work, CHILD_SECONDS), HUNG)


_OPTIONS: Final = ("-o", "addopts=", "--import-mode=importlib", "-p", "no:cacheprovider", "-p", "no:terminal", "-s")


# ---- the run ---------------------------------------------------------------------------------------------------------


def explanations() -> dict[tuple[str, str, str, str], str]:
    """(path, scope, line, change) -> why its survival is no gap."""
    found: dict[tuple[str, str, str, str], str] = {}
    for row in tomllib.loads(EXPLAINED.read_text()).get("survivor", []):
        for change in row["changes"]:
            found[row["path"], row["scope"], row["line"], change] = row["why"]
    return found


def report(work: Sequence[Target]) -> Iterator[str]:
    """Totals a module, then what is wrong: nothing when every survivor is explained, and every explanation used."""
    known = explanations()
    used = set()
    wrong = []
    yield f"{'module':<26}{'mutants':>9}{'killed':>8}{'hung':>6}{'explained':>11}{'unexplained':>13}{'left':>6}"
    for target in work:
        tried = target.ledger.known
        results = {each.at: tried[each.at]["result"] for each in target.mutants if each.at in tried}
        found = Counter(results.values())
        survivors = [each for each in target.mutants if results.get(each.at) == SURVIVED]
        open_ones = [each for each in survivors if each.key not in known]
        used |= {each.key for each in survivors}
        left = len(target.mutants) - len(results)
        counts = (
            len(target.mutants),
            found[KILLED],
            found[HUNG],
            len(survivors) - len(open_ones),
            len(open_ones),
            left,
        )
        widths = zip(counts, (9, 8, 6, 11, 13, 6), strict=True)
        yield f"{target.path:<26}" + "".join(f"{count:>{width}}" for count, width in widths)
        wrong += [f"unexplained: {at.path}:{at.line_number} {at.scope} | {at.change} | {at.line}" for at in open_ones]
        if left:
            wrong.append(f"not tried yet: {left} of {target.path}")
        else:
            mine = [key for key in known if key[0] == target.path and key not in used]
            wrong += [f"explains nothing: {' | '.join(key)}" for key in mine]
    yield from wrong


@click.command()
@click.option("--module", "chosen", multiple=True, type=click.Choice(list(MODULES)), help="Only these; else all.")
@click.option("--tests", "asked", multiple=True, help="Ask only these files; what they kill stays killed.")
@click.option("--fresh", is_flag=True, help="Forget what earlier runs found.")
@click.option("--seconds", default=20.0, show_default=True, help="Of tests asked about one mutant, by their profile.")
@click.option("--only-report", is_flag=True, help="Try nothing; say what is known.")
def main(chosen: tuple[str, ...], asked: tuple[str, ...], fresh: bool, seconds: float, only_report: bool) -> None:
    """Change the rules a little, many times, and see that a test notices."""
    work = targets(chosen or tuple(MODULES), asked or TESTS, fresh, seconds)
    shown = os.fdopen(os.dup(1), "w")

    def say(text: str) -> None:
        shown.write(text + "\n")
        shown.flush()

    if not only_report:
        if any(target.left(anew=False) for target in work):

            def functions() -> int:
                return int(
                    pytest.main([*_OPTIONS, *(asked or TESTS)], plugins=[Derandomised(), Asking(work, say, seconds)])
                )

            if in_child(functions, 100_000, silent=False):
                raise click.ClickException("the run of functions ended early; run it again to see why, or to go on")
        work = targets(chosen or tuple(MODULES), asked or TESTS, False, seconds)
        for target in work:
            for mutant in target.left(anew=True):
                result = ask_data(target, mutant)
                target.ledger.add(mutant, result)
                if result == SURVIVED:
                    say(f"{SURVIVED} {mutant.path}:{mutant.line_number} {mutant.change} | {mutant.line}")
    lines = list(report(work))
    for line in lines:
        say(line)
    if len(lines) > 1 + len(work):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
