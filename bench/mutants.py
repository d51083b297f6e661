"""Mutation testing of the rules: every small wrong change (``bench.mutate``) must make a test fail, or be explained.

    .venv/bin/python -m bench.mutants [--module ledger/settlement.py ...] [--fresh] [--own]

How it works
- A mutant is first asked the tests of the files that are about its module (``MODULES``): few and quick. A survivor that
  is not explained is then asked every test that runs the function, up to a budget (``bench.mutant_asking``).
- Nothing in the tree is written but ``build/mutants``, from which an interrupted run goes on
  (``bench.mutant_progress``).
- ``bench/mutants_explained.toml`` explains survivors in one line each. The run fails on a survivor without an
  explanation, and on an explanation without a survivor.
"""

import os
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import click

from .mutant_asking import ask, ask_anew
from .mutant_progress import HUNG, KILLED, SURVIVED, Target, digest_of, imported, target_of
from .mutate import Mutant

_LEDGER: Final = "tests/ledger/"


def _files(*names: str) -> tuple[str, ...]:
    return tuple(f"{_LEDGER}{name}.py" for name in names)


MODULES: Final[dict[str, tuple[str, ...]]] = {
    "consensus/quorum.py": ("tests/consensus/test_quorum.py",),
    "ledger/votes.py": (*_files("test_votes"), "tests/consensus/test_quorum.py", "tests/consensus/test_messages.py"),
    "ledger/claim_table.py": _files(
        "test_claim_sets", "test_claim_table", "test_claim_diagram", "test_life", "test_holds"
    ),
    "ledger/settlement.py": _files(
        "test_settlement", "test_settlement_rows", "test_bills", "test_collection", "test_caps_and_reversals"
    ),
    "ledger/jury.py": _files("test_jury", "test_jury_draw", "test_disputes"),
    "ledger/tables.py": _files("test_tables", "test_tables_in_a_block", "test_expected", "test_undo", "test_store"),
    "ledger/table_writer.py": _files(
        "test_tables", "test_tables_in_a_block", "test_expected", "test_undo", "test_store"
    ),
    "ledger/pages.py": _files("test_pages", "test_tables", "test_tables_in_a_block", "test_expected", "test_undo"),
    "ledger/bills.py": _files("test_bills", "test_members", "test_collection", "test_settlement", "test_reversals"),
    "ledger/collection.py": _files("test_collection", "test_settlement", "test_journal_events", "test_run_off"),
    "ledger/contributions.py": _files(
        "test_runs", "test_expected", "test_collection", "test_settlement", "test_journal_events", "test_run_off"
    ),
    "ledger/claims.py": _files(
        "test_claim_rows",
        "test_life",
        "test_claim_table",
        "test_documents",
        "test_experts",
        "test_disputes",
        "test_holds",
        "test_endings",
    ),
}
"""Module -> the test files that are about it: asked first."""
TESTS: Final = ("tests/ledger", "tests/reference", "tests/consensus/test_quorum.py", "tests/consensus/test_messages.py")
"""Asked about what survives those."""
EXPLAINED: Final = Path("bench/mutants_explained.toml")
Key = tuple[str, str, str, str]


def explanations() -> dict[Key, str]:
    """(path, scope, line, change) -> why its survival is no gap."""
    found: dict[Key, str] = {}
    for row in tomllib.loads(EXPLAINED.read_text()).get("survivor", []):
        for change in row["changes"]:
            found[row["path"], row["scope"], row["line"], change] = row["why"]
    return found


def report(work: Sequence[Target]) -> Iterator[str]:
    """Totals a module, then what is wrong: nothing when every survivor is explained, and every explanation used."""
    known = explanations()
    wrong = []
    yield f"{'module':<26}{'mutants':>9}{'killed':>8}{'hung':>6}{'explained':>11}{'unexplained':>13}{'left':>6}"
    for target in work:
        found = Counter(target.progress.result(each) for each in target.mutants)
        survivors = [each for each in target.mutants if target.progress.result(each) == SURVIVED]
        open_ones = [each for each in survivors if each.key not in known]
        explained = len(survivors) - len(open_ones)
        counts = (len(target.mutants), found[KILLED], found[HUNG], explained, len(open_ones), found[None])
        widths = zip(counts, (9, 8, 6, 11, 13, 6), strict=True)
        yield f"{target.path:<26}" + "".join(f"{count:>{width}}" for count, width in widths)
        wrong += [f"unexplained: {at.path}:{at.line_number} {at.scope} | {at.change} | {at.line}" for at in open_ones]
        if found[None]:
            wrong.append(f"not tried yet: {found[None]} of {target.path}")
        else:
            used = {each.key for each in survivors}
            mine = [key for key in known if key[0] == target.path and key not in used]
            wrong += [f"explains nothing: {' | '.join(key)}" for key in mine]
    yield from wrong


def try_own(target: Target, say: Callable[[str], None], seconds: float) -> None:
    """Ask what is not tried yet the tests of the module's own files."""
    asked = target.left(anew=False)
    if asked:
        ask([(target, asked)], list(MODULES), target.files, target.tests, say, seconds)
    for mutant in target.left(anew=True):
        result = ask_anew(target, mutant)
        target.progress.add(mutant, result, target.tests)
        if result != KILLED:
            say(f"{result} {mutant.path}:{mutant.line_number} {mutant.change} | {mutant.line}")


def unexplained(target: Target, all_tests: str) -> list[Mutant]:
    """Survivors that nobody has explained, nor asked all tests."""
    known = explanations()
    return [
        each
        for each in target.mutants
        if target.progress.result(each) == SURVIVED
        and each.key not in known
        and not imported(each)
        and not target.progress.asked(each, all_tests)
    ]


@click.command()
@click.option("--module", "chosen", multiple=True, type=click.Choice(list(MODULES)), help="Only these; else all.")
@click.option("--fresh", is_flag=True, help="Forget what earlier runs found.")
@click.option("--own", is_flag=True, help="Ask only the tests of the modules' own files.")
@click.option("--seconds", default=20.0, show_default=True, help="Of tests asked about one mutant, by their profile.")
@click.option("--only-report", is_flag=True, help="Try nothing; say what is known.")
def main(chosen: tuple[str, ...], fresh: bool, own: bool, seconds: float, only_report: bool) -> None:
    """Change the rules a little, many times, and see that a test notices."""
    all_tests = digest_of(*map(Path, TESTS))

    def targets(*, fresh: bool = False) -> list[Target]:
        return [target_of(path, MODULES[path], all_tests, fresh=fresh) for path in chosen or MODULES]

    shown = os.fdopen(os.dup(1), "w")

    def say(text: str) -> None:
        shown.write(text + "\n")
        shown.flush()

    work = targets(fresh=fresh)
    if not only_report:
        for target in work:
            try_own(target, say, seconds)
        work = targets()
        survivors = [(target, found) for target in work if (found := unexplained(target, all_tests))]
        if survivors and not own:
            ask(survivors, list(MODULES), TESTS, all_tests, say, seconds)
        work = targets()
    lines = list(report(work))
    for line in lines:
        say(line)
    if len(lines) > 1 + len(work):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
