"""The figures of ``docs/jury.md`` come from the simulation, and the simulation from the ledger's own verdict."""

from math import comb
from pathlib import Path

import pytest

from bench.jury_errors import page, quorum_of, simulate

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "jury.md"


def test_the_document_is_what_the_simulation_says() -> None:
    assert DOCUMENT.read_text() == page(), "docs/jury.md is stale: write it again with the command in its head"


def test_the_quorum_follows_the_plans_ratio() -> None:
    assert [quorum_of(panel) for panel in (5, 501, 1_001)] == [1, 100, 200]


@pytest.mark.parametrize(("panel", "error", "turnout"), [(5, 30, 50), (11, 20, 30), (25, 30, 70)])
def test_the_simulation_agrees_with_the_exact_sum(panel: int, error: int, turnout: int) -> None:
    quorum, vote, err = quorum_of(panel), turnout / 100, error / 100
    wrong = missed = 0.0
    for valid in range(panel + 1):
        chance = comb(panel, valid) * vote**valid * (1 - vote) ** (panel - valid)
        if valid < quorum:
            missed += chance
            continue
        wrong += chance * sum(
            comb(valid, refuse) * err**refuse * (1 - err) ** (valid - refuse)
            for refuse in range(valid + 1)
            if 2 * refuse > valid
        )
    found = simulate(panel, quorum, error, turnout, 10_000, 1)
    assert abs(found[0] - 100 * wrong) < 1.5
    assert abs(found[1] - 100 * missed) < 1.5
