"""The report: what is in it, and when the run must fail."""

from typing import Any

import pytest

from cli.demo.ledger import Settled
from cli.demo.operations import Timetable, timetable
from cli.demo.report import Agreement, faults, nodes_agree, period_entry, published_error_max, text
from cli.demo.script import Step


def step(date: str, published: int | None = None) -> Step:
    return Step(date, 35, 72_200, (5, 2, 0), published, sponsored=False)


def settled(share: int) -> Settled:
    return Settled(35, 72_200, 7, 3_400_000, 272_000, 3_672_000, share, sponsored=False, carry_fen=40_506)


def report(**changes: Any) -> dict[str, Any]:
    periods = [period_entry(step("2019-06-28", 51), settled(51)), period_entry(step("2019-07-14"), settled(90))]
    base = {"periods": periods, "published_error_max": published_error_max(periods), "nodes_agree": True}
    counts = {"blocks": 10, "transactions": 20, "rounds_above_zero": 0, "restarts": 1, "seconds": 1.5}
    return base | counts | changes


def test_a_period_has_exactly_the_keys_of_the_contract() -> None:
    assert list(period_entry(step("2019-06-28", 51), settled(51))) == [
        "date",
        "members",
        "cases",
        "aid_fen",
        "fee_fen",
        "carry_fen",
        "share_fen",
        "published_fen",
    ]


def test_only_published_shares_are_compared() -> None:
    periods = [period_entry(step("2019-06-28", 50), settled(51)), period_entry(step("2019-07-14"), settled(90))]
    assert published_error_max(periods) == 0.02
    assert published_error_max(periods[1:]) is None


@pytest.mark.parametrize(("error", "fails"), [(0.02, False), (0.020001, True), (None, False)])
def test_more_than_two_percent_fails(error: float | None, fails: bool) -> None:
    assert bool(faults(report(published_error_max=error), [])) is fails


def test_disagreement_and_different_bills_fail() -> None:
    assert faults(report(nodes_agree=False), []) == ["the nodes do not agree on height and state root"]
    assert faults(report(), ["bill"]) == ["bill"]


def test_nodes_agree_only_when_all_have_answered_alike() -> None:
    five = [Agreement(str(at), 9, "ab") for at in range(5)]
    assert nodes_agree(five, 5)
    assert not nodes_agree(five[:4], 5)
    assert not nodes_agree([*five[:4], Agreement("4", 9, "cd")], 5)
    assert not nodes_agree([*five[:4], Agreement("4", 8, "ab")], 5)


def test_the_text_shows_every_row_and_the_verdict() -> None:
    shown = text(report())
    assert "2019-06-28" in shown
    assert "published shares met within 0.00%" in shown


def test_the_whole_demo_follows_the_calendar() -> None:
    dates = [f"{2019 + at // 24}-{at // 2 % 12 + 1:02}-{14 if at % 2 == 0 else 28}" for at in range(74)]
    assert timetable([step(date) for date in dates]) == Timetable(kill=20, restart=24, observer=36)
    assert dates[20] == "2019-11-14"
    assert dates[36] == "2020-07-14"


def test_a_short_demo_kills_half_way_and_mends_at_its_end() -> None:
    assert timetable([step("2019-01-14"), step("2019-01-28"), step("2019-02-14")]) == Timetable(1, None, None)
    assert timetable([step("2019-01-14")]) == Timetable(None, None, None)
