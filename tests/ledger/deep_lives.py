"""`make deep`: ten thousand random lives against the slow oracle, by seed, in bounded memory, resumable.

    .venv/bin/python -m tests.ledger.deep_lives [--lives 10000] [--first-seed 0] [--resume build/deep/lives.jsonl]

A *life* is one row of a member of one plan, compared at 24 or more consecutive periods from his first one on, that is
a year or longer (``Lives.lives``). *Eventful* are those who left, failed, lapsed, died, came back or claimed.

One seed is one chain with three plans, in a child process of its own: nothing is kept between seeds. What a seed found
is a line of the progress file; a later run goes on after it, while the texts of rules and tests are the same. Every
feature of ``REQUIRED`` must have occurred, else the run fails: what never happens was never compared. A seed that fails
is cut down to a short list of steps, which is printed.
"""

import json
import os
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import click

from tests.ledger.lives import Lives, life
from tests.ledger.lives_kit import Step
from tests.ledger.lockstep import Lockstep
from tests.ledger.lockstep_kit import with_params
from tests.ledger.test_settlement import FOUR_CLASSES, MONTHS, OTHER_CLASSES
from tests.ledger.test_settlement import life as plan_life

PEOPLE: Final = 150
"""Members of each plan at the start."""
LOCKSTEP_SEEDS: Final = 60
LOCKSTEP_PERIODS: Final = 95
REQUIRED: Final[dict[str, str]] = {
    "exit": "exits",
    "void": "illness while waiting: void, refunded",
    "accident": "claims for accidents",
    "birthday into another class": "birthdays",
    "year cap reached": "caps, paid by the sponsor above",
    "failed debit": "failures",
    "lapse": "lapses",
    "return": "returns",
    "return within a year that has charges": "returns within a year, with its earlier payments",
    "return before any notice": "returns that reopen the span",
    "reinstatement": "reinstatements",
    "return long after a lapse": "returns too late to be reinstated",
    "dead": "deaths, reported up to 59 days late",
    "charges taken back": "charges refunded to the dead and the void",
    "suspension": "suspensions",
    "expulsion": "expulsions",
    "helped": "members helped",
    "paid": "aid paid",
    "payment bounced": "payments that bounce",
    "clawback": "clawbacks",
    "recovered": "clawbacks recovered",
    "clawback written off": "clawbacks written off",
    "stopped": "payments stopped",
    "resumed": "and resumed",
    "reversed at once": "settlements reversed before another notice",
    "reversed after a gap": "reversed after notices without him",
    "reversed, but his arrears were written off": "reversed, with arrears written off",
    "reversed, he had left before": "reversed, the member had left before",
    "withdrawn from a closed batch": "claims that leave a closed batch",
    "objected out of a closed batch": "objections that take a claim out of its batch",
    "held in a closed batch": "fraud holds in a closed batch",
    "released to the next notice": "released too late for the batch",
    "refused out of a closed batch": "refused for fraud out of a closed batch",
    "released": "fraud holds released",
    "appeal": "appeals",
    "jury clears": "juries that clear",
    "jury refuses": "juries that refuse",
    "jury without verdict": "juries without quorum or majority",
    "experts clear": "experts who clear",
    "experts refuse": "experts who refuse",
    "court order": "court orders",
    "DOCS_PENDING ran out": "documents that never come",
    "INVESTIGATING ran out": "investigators drawn again",
    "ASSESSED ran out": "reviewers drawn again",
    "SETTLED ran out": "aid that nobody takes for two years",
    "plan version": "plan versions, by governance",
    "sponsored period": "sponsored periods",
    "close with too little money": "forced closes",
    "close with too much money": "surpluses",
    "outage": "outages",
    "many deadlines in one block": "blocks with eight deadlines or more",
}
"""What must occur, and what it is."""


def passes(seed: int) -> int:
    """Times that time passes: some 31 periods; every fourth seed 63, so that aid can lie unclaimed for two years."""
    return 150 if seed % 4 else 300


def texts() -> str:
    """Of everything a result depends on."""
    files = [
        each for place in ("ledger", "tests/ledger", "tests/reference") for each in sorted(Path(place).glob("*.py"))
    ]
    return sha256(b"".join(each.read_bytes() for each in files)).hexdigest()


def in_child(work: Callable[[], Any]) -> Any:
    """What ``work`` returns, as JSON through a pipe; a failure's text as {"failed": ...}."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reading)
        try:
            answer = work()
        except AssertionError:
            answer = {"failed": traceback.format_exc()}
        finally:
            if sys.exc_info()[0] is not None:
                answer = {"failed": traceback.format_exc()}
            with os.fdopen(writing, "w") as pipe:
                json.dump(answer, pipe)
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = json.load(pipe)
    os.waitpid(process, 0)
    return answer


def of_seed(seed: int) -> dict[str, Any]:
    """One chain's lives."""
    run = Lives(PEOPLE, checked=False)
    run.run(life(seed, passes(seed)))
    run.finish()
    lives, eventful = run.lives()
    periods = sum(len(plan.hand.results) for plan in run.plans)
    return {
        "lives": lives,
        "eventful": eventful,
        "blocks": run.blocks,
        "periods": periods,
        "deadlines_max": run.deadlines_max,
        "seen": dict(run.seen),
    }


def of_plan(seed: int) -> dict[str, Any]:
    """One plan in lockstep without blocks, 95 periods: stranger orders of steps than blocks allow."""
    one = [(date(2018, 1, 1), with_params(year_cap_fen=600 + 50 * seed))]
    other = [(date(2018, 1, 1), FOUR_CLASSES), (date(2019, 1, 1), OTHER_CLASSES), (date(2019, 6, 10), FOUR_CLASSES)]
    run = Lockstep(other if seed % 2 else one, 18, MONTHS)
    run.run(plan_life(10_000 + seed, LOCKSTEP_PERIODS))
    run.compare_statements()
    return {"people": len(run.hand.people)}


def shortest(steps: Sequence[Step], fails: Callable[[Sequence[Step]], bool]) -> list[Step]:
    """Fewer steps that still fail: ever smaller pieces are left out."""
    kept = list(steps)
    size = len(kept) // 2
    while size:
        at = 0
        while at < len(kept):
            less = kept[:at] + kept[at + size :]
            if fails(less):
                kept = less
            else:
                at += size
        size //= 2
    return kept


def fails(steps: Sequence[Step]) -> bool:
    """Whether these steps make the two sides differ."""

    def work() -> dict[str, Any]:
        Lives(PEOPLE, checked=False).run(steps)
        return {}

    return "failed" in in_child(work)


def explain(seed: int, failed: str) -> None:
    """Print a failing seed, cut down."""
    click.echo(f"seed {seed}: {failed}")
    steps = life(seed, passes(seed))
    cut = next((end for end in range(50, len(steps), 50) if fails(steps[:end])), len(steps))
    click.echo("\n".join(str(step) for step in shortest(steps[:cut], fails)))


@click.command()
@click.option("--lives", "wanted", default=10_000, show_default=True)
@click.option("--first-seed", default=0, show_default=True)
@click.option("--resume", default="build/deep/lives.jsonl", show_default=True, help="What is known already.")
@click.option("--lockstep/--no-lockstep", default=True, show_default=True, help="Also single plans without blocks.")
def main(wanted: int, first_seed: int, resume: str, lockstep: bool) -> None:
    """Live ten thousand lives twice, once in the ledger and once by hand."""
    progress = Path(resume)
    digest = texts()
    progress.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.loads(line) for line in progress.read_text().splitlines()] if progress.exists() else []
    known = {line["seed"]: line for line in lines if line["texts"] == digest}
    total: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    seed = first_seed
    while total["lives"] < wanted:
        found = known.get(seed)
        if found is None:
            found = in_child(partial(of_seed, seed))
            if "failed" in found:
                explain(seed, found["failed"])
                raise SystemExit(1)
            with progress.open("a") as file:
                file.write(json.dumps({**found, "seed": seed, "texts": digest}) + "\n")
        for name in ("lives", "eventful", "blocks", "periods"):
            total[name] += found[name]
        total["deadlines"] = max(total["deadlines"], found["deadlines_max"])
        seen.update(found["seen"])
        click.echo(f"seed {seed}: {found['lives']} lives, {found['blocks']} blocks; {total['lives']} of {wanted}")
        seed += 1
    if lockstep:
        _lockstep()
    click.echo(f"seeds {first_seed} to {seed - 1}: {total['lives']} lives ({total['eventful']} eventful), ", nl=False)
    click.echo(f"{total['periods']} settled periods, {total['blocks']} blocks applied and replayed, ", nl=False)
    click.echo(f"at most {total['deadlines']} deadlines in a block: equal to the fen")
    for feature, words in REQUIRED.items():
        click.echo(f"  {words:<55}{seen[feature]:>8}")
    missing = [feature for feature in REQUIRED if not seen[feature]]
    if missing:
        raise click.ClickException(f"never happened: {', '.join(missing)}")


def _lockstep() -> None:
    people = 0
    for seed in range(LOCKSTEP_SEEDS):
        found = in_child(partial(of_plan, seed))
        if "failed" in found:
            raise click.ClickException(f"lockstep seed {seed}: {found['failed']}")
        people += found["people"]
    click.echo(
        f"{LOCKSTEP_SEEDS} single plans of {LOCKSTEP_PERIODS} periods in lockstep, {people} members: equal to the fen"
    )


if __name__ == "__main__":
    main()
