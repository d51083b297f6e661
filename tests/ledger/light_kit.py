"""Proof files over the told chain, for the tests of those who verify them."""

from functools import cache

from ledger.blocks import header_hash
from ledger.codec import decode
from ledger.rows import Settlement
from ledger.state import StateReader
from ledger.statement import (
    FILE_BYTES_MAX,
    Answer,
    ProofFile,
    statement_of,
)
from tests.ledger.proof_kit import (
    file_of,
    inclusion,
    told,
)

CHAIN, BEFORE = told()
GENESIS = CHAIN.genesis
STATE = StateReader(BEFORE)
SHARED = max(row_id for row_id, row in STATE.rows(Settlement) if row.charged_fen)
"""The newest settlement that charged somebody."""


def sentences(answer: Answer, *, recomputed: bool) -> str:
    return "\n".join(finding.text for finding in answer.findings if finding.recomputed is recomputed)


def opened(raw: bytes) -> ProofFile:
    return decode(ProofFile, raw, bytes_max=FILE_BYTES_MAX)


@cache
def statement_file(member: int) -> bytes:
    return file_of(CHAIN, BEFORE, statement_of(BEFORE, member))


def inclusion_file() -> bytes:
    """Of the first of two transactions in a block, with the headers from the one before it on."""
    height = next(block.header.height for block in CHAIN.blocks if len(block.codes) > 1)
    return inclusion(CHAIN, height, 0, first=height)


def trusted(raw: bytes) -> bytes:
    """The hash of the header at which a file begins."""
    return header_hash(opened(raw).chain.anchor)
