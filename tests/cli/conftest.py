"""Fixtures of the command line's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.consortium_kit import Desk, desk
from tests.ledger import claim_kit


@pytest.fixture
def at(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """A desk at a chain with members, jurors and three assessors; it is 2019-03-01."""
    with desk(claim_kit.enrolled(jurors=16), tmp_path, capsys, monkeypatch) as found:
        yield found
