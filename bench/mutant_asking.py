"""Asking tests about mutants: in place in a forked child, or with the module imported anew.

How it works
- The tests are collected once. A profile of function calls says which test runs which function, and how long it takes.
- Each mutant runs in a forked child: a function's code is exchanged in place, then the tests that run it, quick ones
  first, until one fails. Module-level data (the claim table) is computed again in the child.
- Where a change stands in the body of a class or in a default, the module is imported anew, in a child of its own.
- A child may use the processor five times as long as its tests take without the mutant, and ten seconds.
"""

import ast
import gc
import importlib
import importlib.abc
import importlib.machinery
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any, Final

import click
import pytest

from .mutant_progress import CHILD_SECONDS, KILLED, PROGRESS, SURVIVED, Target, digest_of, imported, in_child, outcome
from .mutate import Mutant, mutated

PROFILE_SECONDS: Final = 1_200
_SLOWER: Final = 5
_LEAST_SECONDS: Final = 10
_OWN: Final = 0.2
"""How much sooner the tests of the module's own files are asked."""
OPTIONS: Final = ("-o", "addopts=", "--import-mode=importlib", "-p", "no:cacheprovider", "-p", "no:terminal", "-s")


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

    def __init__(
        self,
        work: Sequence[tuple[Target, Sequence[Mutant]]],
        modules: Sequence[str],
        tests: str,
        say: Callable[[str], None],
        seconds: float,
    ) -> None:
        self._work = work
        self._modules = modules
        self._tests = tests
        self._say = say
        self._seconds = seconds

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """All the mutants."""
        if session.testsfailed:
            raise click.ClickException("the tests cannot be collected")
        profiles = self._profiles(session)
        for node in sorted(item.nodeid for item in session.items if not profiles[item.nodeid].passes):
            self._say(f"fails without any mutant, and is left out: {node}")
        for target, asked in self._work:
            module = sys.modules[target.name]
            live = _functions(module)
            for mutant in asked:
                result = self._about(session, profiles, target, mutant, module, live)
                target.progress.add(mutant, result, self._tests)
                if result != KILLED:
                    self._say(f"{result} {mutant.path}:{mutant.line_number} {mutant.change} | {mutant.line}")
        return True

    def _about(
        self,
        session: pytest.Session,
        profiles: dict[str, Profile],
        target: Target,
        mutant: Mutant,
        module: ModuleType,
        live: dict[str, list[FunctionType]],
    ) -> str:
        tree = mutated(target.source, vars(module), mutant.at)
        early = not mutant.scope or _runs_at_import(tree, mutant.scope)
        items = self._chosen(session.items, profiles, target, "" if early else mutant.scope)
        changes: list[Callable[[], None]] = []
        if mutant.scope:
            code = _code(tree, mutant.scope, module.__file__ or "")
            changes.append(_exchange(live.get(mutant.scope, []), code))
        if early:
            changes.append(partial(_redo, module, tree))

        def work() -> int:
            for change in changes:
                change()
            return _run(session, items)

        seconds = sum(profiles[item.nodeid].seconds for item in items)
        return outcome(work, min(CHILD_SECONDS, _LEAST_SECONDS + int(_SLOWER * seconds))) if items else SURVIVED

    def _profiles(self, session: pytest.Session) -> dict[str, Profile]:
        """Of every test, in a child; from a file when nothing has changed since."""
        asked = sorted({item.path for item in session.items})
        name = digest_of(Path("ledger"), Path("consensus"), Path("tests"), *asked)[:16]
        answer = PROGRESS / f"profiles.{name}.json"
        if not answer.exists():

            def work() -> int:
                answer.write_text(json.dumps(_profile_all(session, self._modules)))
                return 0

            if in_child(work, PROFILE_SECONDS):
                raise click.ClickException("the tests could not be run without any mutant")
        rows = json.loads(answer.read_text())
        return {node: Profile(row[0], row[1], frozenset(map(tuple, row[2]))) for node, row in rows.items()}

    def _chosen(
        self, items: Sequence[pytest.Item], profiles: dict[str, Profile], target: Target, scope: str
    ) -> list[pytest.Item]:
        """The tests that run the function, the quick ones first, those of its own files sooner than others."""
        own = {Path(file).resolve() for file in target.files}
        good = [item for item in items if profiles[item.nodeid].passes]
        if scope:
            running = [item for item in good if (target.path, scope) in profiles[item.nodeid].functions]
        else:
            touching = {node for node, seen in profiles.items() if any(target.path == of for of, _ in seen.functions)}
            running = [item for item in good if item.path in own or item.nodeid in touching]
        running.sort(key=lambda item: profiles[item.nodeid].seconds * (_OWN if item.path in own else 1))
        chosen: list[pytest.Item] = []
        spent = 0.0
        for item in running:
            spent += profiles[item.nodeid].seconds
            if spent > self._seconds and chosen:
                break
            chosen.append(item)
        return chosen


def ask(
    work: Sequence[tuple[Target, Sequence[Mutant]]],
    modules: Sequence[str],
    files: Sequence[str],
    tests: str,
    say: Callable[[str], None],
    seconds: float,
) -> None:
    """Ask the tests of ``files``, whose digest is ``tests``, about mutants of functions and data.

    What becomes known is in the files of progress only: the asking is done in a child.
    """

    def functions() -> int:
        plugins = [Derandomised(), Asking(work, modules, tests, say, seconds)]
        return int(pytest.main([*OPTIONS, *files], plugins=plugins))

    if in_child(functions, 100_000, silent=False):
        raise click.ClickException("the run of functions ended early; run it again to see why, or to go on")


def _run(session: pytest.Session, items: Sequence[pytest.Item]) -> int:
    """1 as soon as a test fails."""
    for at, item in enumerate(items):
        following = items[at + 1] if at + 1 < len(items) else None
        session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.testsfailed:
            return 1
    return 0


def _profile_all(session: pytest.Session, modules: Sequence[str]) -> dict[str, Any]:
    """Run every test once, noting calls of the modules' functions."""
    root = str(Path.cwd()) + "/"
    wanted = {root + path: path for path in modules}
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


# ---- bodies of classes and defaults: imported anew -------------------------------------------------------------------


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


def ask_anew(target: Target, mutant: Mutant) -> str:
    """Run the module's own test files with a module that was imported from a changed text."""
    if not imported(mutant):
        raise ValueError(f"{mutant.scope} is exchanged in place")

    def work() -> int:
        sys.meta_path.insert(0, Altered(target, mutant))
        return min(2, int(pytest.main([*OPTIONS, "-x", *target.files], plugins=[Derandomised()])))

    return outcome(work, CHILD_SECONDS)
