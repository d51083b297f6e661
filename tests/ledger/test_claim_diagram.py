"""The diagram in the documentation is the table that the ledger runs on."""

from pathlib import Path

from ledger.claim_diagram import page
from ledger.claim_table import REASONS, TABLE

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "claims.md"


def test_the_document_is_what_the_table_says() -> None:
    assert DOCUMENT.read_text() == page(), "docs/claims.md is stale: `make reference`"


def test_every_row_and_every_reason_is_in_it() -> None:
    lines = page().splitlines()
    for row in TABLE:
        assert any(line.startswith(f"| {row.source.name} | {row.event.name} | {row.target.name} |") for line in lines)
    assert all(f"| {code} | {meaning} |" in lines for code, meaning in REASONS.items())
