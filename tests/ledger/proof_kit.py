"""Proof files of a chain in memory: what a node would hand out, from real headers, certificates and rows."""

from functools import cache
from hashlib import sha256

from msgspec.structs import replace

from ledger import calendar
from ledger import transactions as tx
from ledger.blocks import validators_hash
from ledger.codec import encode
from ledger.genesis import GenesisPlan
from ledger.light import ChainProof, inclusion_path, make_chain
from ledger.params import ClassBand
from ledger.proven import prove_rows
from ledger.rows import Plan
from ledger.statement import Inclusion, Subject, assemble, rows_needed
from ledger.store import Reader
from ledger.transactions import transaction_id
from ledger.votes import ValidatorEntry
from tests.ledger.chain import PLAN_PARAMS, START_DAY, Chain, genesis_values
from tests.ledger.test_life import MEMBERS, cleared

CLAIMANTS = (3, 6, 9)
LEAVER = 21
RETURNED = 33
FAILING = 42
AGES = (30, 39, 50)
"""Age in years on joining of members 0, 1, 2, then again; the second turns 40 on the way."""


def identity(number: int) -> bytes:
    return sha256(f"person {number}".encode()).digest()


def birth_month(number: int) -> int:
    return calendar.month_of(START_DAY) - AGES[number % 3] * 12 - (6 if number % 3 == 1 else 0)


@cache
def told() -> tuple[Chain, Reader]:
    """(a chain, the state that its newest header certifies).

    Two weighted classes; 300 members of three birth months; three periods with a claim; one member left,
    one came back, one failed to pay; the second sixth of the year's cap is reached in the third.
    """
    classes = (ClassBand(0, 1, 1), ClassBand(40, 2, 3))
    params = replace(PLAN_PARAMS, classes=classes, year_cap_fen=150)
    chain = Chain(genesis_values(plans=(GenesisPlan("main", params),)))
    people = tuple((identity(number), birth_month(number)) for number in range(MEMBERS))
    assert chain.ok("platform", tx.EnrolBatch(0, people)) == (0, MEMBERS, 0)
    chain.step_to_day(2019, 3, 1)
    for number, (member, (month, day)) in enumerate(zip(CLAIMANTS, ((3, 14), (4, 14), (4, 28)), strict=True)):
        cleared(chain, member)
        chain.step_to_day(2019, month, day)
        plan = chain.state.get(Plan, 0)
        failures = (FAILING,) if number == 0 else ()
        chain.ok("platform", tx.Collect(0, plan.period, 0, MEMBERS - 1, failures, 0))
        if number == 0:
            both = chain.block(("platform", tx.Exit(LEAVER)), ("platform", tx.Exit(RETURNED)))
            assert both.codes == ["OK", "OK"]
            chain.step_to_day(2019, 4, 2)
            chain.ok("platform", tx.Enrol(0, identity(RETURNED), birth_month(RETURNED), b""))
    before = chain.fork().store
    chain.block()
    return chain, before


def headers(chain: Chain, first: int = 1, last: int | None = None) -> ChainProof:
    """The header chain from ``first`` to ``last`` (default: the newest)."""
    blocks = chain.blocks[first - 1 : last]
    anchor = b"" if first == 1 else encode(chain.blocks[first - 2].header)
    sets: dict[bytes, tuple[ValidatorEntry, ...]] = {validators_hash(chain.view.validators): chain.view.validators}
    records = [
        (encode(block.header), encode(block.certificate), sets[block.header.validators_hash] if at == 0 else None)
        for at, block in enumerate(blocks)
    ]
    return make_chain(anchor, records)


def file_of(chain: Chain, reader: Reader, subject: Subject, *, first: int = 1) -> bytes:
    """A file about ``subject`` in the state of ``reader``, which the chain's newest header certifies."""
    rows = tuple(prove_rows(reader, rows_needed(reader, subject)))
    return assemble(chain.genesis.chain_id, headers(chain, first), rows, subject)


def inclusion(chain: Chain, height: int, position: int, *, first: int = 1) -> bytes:
    """A file about the transaction at ``position`` of a block that has a successor."""
    block = chain.blocks[height - 1]
    raw = block.body.transactions[position]
    ids = [transaction_id(item) for item in block.body.transactions]
    receipts = [encode(receipt) for receipt in block.applied.receipts]
    at = len(receipts) - len(ids) + position
    subject = Inclusion(height, raw, inclusion_path(ids, position), receipts[at], inclusion_path(receipts, at))
    return assemble(chain.genesis.chain_id, headers(chain, first, height + 1), (), subject)
