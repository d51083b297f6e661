"""``promtool check rules`` and ``check config`` on what ``configs/`` offers for Prometheus."""

import shutil
from pathlib import Path

import pytest

from tests.interop import tools

pytestmark = pytest.mark.interop

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def test_promtool_takes_the_alert_rules_and_the_scrape_configuration(tmp_path: Path) -> None:
    for name in ("alerts.yml", "prometheus.yml"):
        shutil.copy(CONFIGS / name, tmp_path / name)
    said = tools.run([tools.promtool(), "check", "config", "prometheus.yml"], cwd=tmp_path)
    assert b"SUCCESS: 12 rules found" in said
