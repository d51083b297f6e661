"""What ``configs/`` offers to operators names only what exists; the dashboard asks in the order an operator looks."""

import json
import re
from pathlib import Path
from typing import Any

import configs
from cli.reference import pages

ROOT = Path(__file__).resolve().parents[2]
QUESTIONS = ["Moving?", "Behind?", "Who is missing?", "Proposer?", "Disk?"]
SUFFIXES = ("_bucket", "_sum", "_count")


def known_metrics() -> set[str]:
    return set(re.findall(r"\| `(huzhu_[a-z_]+)` \|", pages()["docs/reference/metrics.md"]))


def named(text: str) -> set[str]:
    """Metric names in a text, histograms by their own name."""
    found = set(re.findall(r"\bhuzhu_[a-z_]+", text))
    return {next((name.removesuffix(end) for end in SUFFIXES if name.endswith(end)), name) for name in found}


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(configs.text("grafana.json"))
    return loaded


def test_every_metric_of_the_dashboard_and_of_the_alerts_exists() -> None:
    for name in ("grafana.json", "alerts.yml"):
        unknown = named(configs.text(name)) - known_metrics()
        assert not unknown, name


def test_the_dashboard_asks_in_the_order_an_operator_looks() -> None:
    rows = [panel["title"] for panel in dashboard()["panels"] if panel["type"] == "row"]
    assert rows[: len(QUESTIONS)] == QUESTIONS


def test_every_panel_says_what_it_shows_and_overlaps_no_other() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    for panel in panels:
        if panel["type"] != "row":
            assert panel["description"]
            assert all("$node" in target["expr"] for target in panel["targets"])


def test_the_container_file_names_settings_and_routes_that_exist() -> None:
    text = (ROOT / "Dockerfile").read_text()
    variables = set(re.findall(r"\bHUZHU_[A-Z0-9_]+", text))
    documented = pages()["docs/reference/config.md"]
    assert variables - {"HUZHU_HOME"} <= set(re.findall(r"HUZHU_[A-Z0-9_]+", documented))
    assert "`/livez`" in pages()["docs/reference/api.md"].replace("GET ", "")
