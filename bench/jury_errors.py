"""How often juries err, and how often they reach no verdict: a seeded simulation; its page is ``docs/jury.md``.

Each drawn juror opens a valid ballot with the probability of the turnout, and errs with his own probability, all
independently. The verdict is the ledger's (``ledger.jury.verdict``): a quorum of valid ballots, more than half on one
side. Jurors who err *together* (a campaign, a misleading file) err more often than this says.

    .venv/bin/python -m bench.jury_errors > docs/jury.md
"""

import sys
from bisect import bisect
from collections.abc import Iterator
from itertools import accumulate
from math import exp, lgamma, log
from random import Random
from typing import Final

from ledger.disputes import Outcome
from ledger.jury import verdict

PANELS: Final = (5, 11, 25, 51, 101, 301, 501, 1_001)
ERRORS: Final = (10, 20, 30)
TURNOUTS: Final = (30, 50, 70)
QUORUMS: Final = (50, 100, 150, 200, 250, 300, 350)
TRIALS: Final = 10_000
SEED: Final = 20_181_016


class Binomial:
    """Numbers of successes in ``trials`` tries of ``percent``, drawn by inverting the exact distribution."""

    def __init__(self, trials: int, percent: int) -> None:
        p = percent / 100
        head = lgamma(trials + 1)
        self._below = list(
            accumulate(
                exp(head - lgamma(k + 1) - lgamma(trials - k + 1) + k * log(p) + (trials - k) * log(1 - p))
                for k in range(trials + 1)
            )
        )

    def draw(self, random: Random) -> int:
        """One number of successes."""
        return min(bisect(self._below, random.random()), len(self._below) - 1)


def quorum_of(panel: int) -> int:
    """The plan's ratio: 100 of 501, rounded up."""
    return -(-panel * 100 // 501)


def simulate(panel: int, quorum: int, error: int, turnout: int, trials: int, seed: int) -> tuple[float, float, float]:
    """Per cent of all trials: (wrong verdicts, quorum missed, tied), for a claim that ought to be cleared."""
    random = Random(f"{seed} {panel} {quorum} {error} {turnout}")
    valid_of = Binomial(panel, turnout)
    wrong_of: dict[int, Binomial] = {}
    wrong = missed = tied = 0
    for _ in range(trials):
        valid = valid_of.draw(random)
        if valid not in wrong_of:
            wrong_of[valid] = Binomial(valid, error)
        refuse = wrong_of[valid].draw(random)
        outcome = verdict(valid - refuse, refuse, quorum)
        wrong += outcome is Outcome.REFUSED
        missed += outcome is Outcome.NO_QUORUM and valid < quorum
        tied += outcome is Outcome.NO_QUORUM and valid >= quorum
    return 100 * wrong / trials, 100 * missed / trials, 100 * tied / trials


def page(trials: int = TRIALS, seed: int = SEED) -> str:
    """The text of ``docs/jury.md``."""
    return "\n".join(_lines(trials, seed)) + "\n"


def _lines(trials: int, seed: int) -> Iterator[str]:
    turnouts = " | ".join(f"turnout {turnout} %" for turnout in TURNOUTS)
    yield "# How often a jury errs"
    yield ""
    yield f"{trials:,} juries a cell, seed {seed}; a test compares. To write this file again:"
    yield ""
    yield "    .venv/bin/python -m bench.jury_errors > docs/jury.md"
    yield ""
    yield "Each juror drawn votes with the probability of the turnout and errs with his own, independently of others."
    yield "The verdict is the ledger's: a quorum of valid ballots, and more than half of them on one side; else EXPERT."
    yield ""
    yield "A cell is: wrong verdicts in per cent of all juries (in brackets those without one: quorum missed + tied)."
    yield "The quorum is 100 of 501 in proportion, rounded up."
    for error in ERRORS:
        yield ""
        yield f"## Each juror errs {error} % of the time"
        yield ""
        yield f"| panel | quorum | {turnouts} |"
        yield "|---|---|" + "---|" * len(TURNOUTS)
        for panel in PANELS:
            quorum = quorum_of(panel)
            cells = []
            for turnout in TURNOUTS:
                wrong, missed, tied = simulate(panel, quorum, error, turnout, trials, seed)
                cells.append(f"{wrong:.2f} ({missed:.2f} + {tied:.2f})")
            yield f"| {panel:,} | {quorum} | " + " | ".join(cells) + " |"
    yield ""
    yield "## How often a panel of 501 misses the quorum"
    yield ""
    yield f"| quorum | {turnouts} |"
    yield "|---|" + "---|" * len(TURNOUTS)
    for quorum in QUORUMS:
        missed_of = [simulate(501, quorum, 20, turnout, trials, seed)[1] for turnout in TURNOUTS]
        yield f"| {quorum} | " + " | ".join(f"{missed:.2f} %" for missed in missed_of) + " |"
    yield ""
    yield "Independent errors vanish with size; errors that jurors share do not, and no panel is large enough for them."
    yield "That is why the experts and a court stand behind the jury."


if __name__ == "__main__":
    sys.stdout.write(page())
