"""Networks of real processes and what happens to them, each read from a manifest (issue: the real thing)."""

from pathlib import Path

import pytest

from tests.e2e.manifest import Manifest, manifests
from tests.e2e.perturb import perform
from tests.e2e.reporting import tell

SMALL = [manifest for manifest in manifests() if not manifest.deep]
DEEP = [manifest for manifest in manifests() if manifest.deep]


@pytest.mark.e2e
@pytest.mark.parametrize("manifest", SMALL, ids=lambda manifest: manifest.name)
def test_the_network_survives(manifest: Manifest, tmp_path: Path) -> None:
    tell(manifest, perform(manifest, tmp_path / "net"))


@pytest.mark.e2e_deep
@pytest.mark.parametrize("manifest", DEEP, ids=lambda manifest: manifest.name)
def test_the_network_survives_more(manifest: Manifest, tmp_path: Path) -> None:
    tell(manifest, perform(manifest, tmp_path / "net"))
