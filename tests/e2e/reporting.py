"""What the manifests measured: one table behind the tests' own summary."""

from tests.e2e.manifest import Manifest
from tests.e2e.perturb import Measured

LINES: list[str] = []


def tell(manifest: Manifest, measured: list[Measured]) -> None:
    """Keep a manifest's figures for the end of the run."""
    total_s = sum(item.total_s for item in measured)
    LINES.append(f"{manifest.name}: {manifest.title} ({manifest.validators} validators, {total_s:.0f} s)")
    LINES.extend(
        f"  {item.step:<44} first transaction after {item.resumed_s:5.1f} s, step {item.total_s:5.1f} s"
        for item in measured
    )
