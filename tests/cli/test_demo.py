"""The main job over the ledger in memory: the script that drives the real network, the same rules, no processes."""

import asyncio
import tomllib
from hashlib import sha256
from pathlib import Path
from random import Random

import msgpack
import pytest

from cli.demo.consortium import BEGIN_MS, FOUNDERS, chain_params, plan, table
from cli.demo.ledger import CLOCK, Settled
from cli.demo.run import Demo
from cli.demo.script import Scale, Step, make_steps
from ledger.apply import due_key
from ledger.bills import bill
from ledger.calendar import next_notice_period
from ledger.claim_table import ClaimState
from ledger.codec import encode
from ledger.genesis import GenesisOrganisation, GenesisValidator, GenesisValues, parse_genesis, render_genesis
from ledger.params import ACCIDENT
from ledger.rows import Claim, Settlement
from ledger.signing import public_key
from tests.cli.memory_ledger import MemoryLedger
from tests.reference import blockfile
from tests.reference.mutual_aid import MutualAid

Results = list[tuple[Step, Settled]]


def seed_of(name: str) -> bytes:
    return sha256(name.encode()).digest()


def make_ledger(scale: Scale) -> MemoryLedger:
    organisations = []
    for founder in FOUNDERS:
        validator = None
        if founder.validator:
            keys = [public_key(seed_of(f"{founder.name} {kind}")) for kind in ("validator", "beacon")]
            validator = GenesisValidator(*keys)
        organisations.append(
            GenesisOrganisation(
                founder.name,
                founder.roles,
                public_key(seed_of(founder.name)),
                (seed_of(f"{founder.name} node"),) if founder.has_node else (),
                "",
                validator,
            )
        )
    values = GenesisValues(
        name="demo",
        time_ms=1_700_000_000_000,
        clock="stepped",
        clock_key=public_key(seed_of(CLOCK)),
        clock_start_ms=BEGIN_MS,
        params=chain_params(),
        organisations=tuple(organisations),
        plans=(plan(scale),),
    )
    genesis = parse_genesis(render_genesis(values).encode())
    return MemoryLedger(genesis, {name: seed_of(name) for name in [CLOCK, *(f.name for f in FOUNDERS)]})


async def _nothing(_step: Step) -> None:
    return None


def replay(scale: Scale, rows: int, seed: int = 1) -> tuple[MemoryLedger, Results]:
    ledger = make_ledger(scale)
    results: list[tuple[Step, Settled]] = []
    demo = Demo(
        ledger=ledger,
        params=plan(scale).params,
        aid_fen=(scale.aid_fen(0), scale.aid_fen(1), scale.aid_fen(2)),
        steps=make_steps(table()[:rows], scale),
        begin_period=next_notice_period(BEGIN_MS),
        random=Random(seed),
        before=_nothing,
        after=lambda step, settled: results.append((step, settled)),
    )
    asyncio.run(demo.run())
    return ledger, results


def oracle_of(ledger: MemoryLedger) -> MutualAid:
    """The slow oracle after the ledger's blocks."""
    oracle = MutualAid(blockfile.Genesis(ledger.genesis.chain_id, tomllib.loads(ledger.genesis.raw.decode())))
    for header, transactions, receipts in ledger.history:
        codes = receipts[len(receipts) - len(transactions) :]
        oracle.block(
            blockfile.Block(
                header.height,
                header.time_ms,
                [(key.due_ms, key.kind, key.id, r.code) for r in receipts if (key := due_key(r)) is not None],
                [
                    (msgpack.unpackb(encode(transaction.body)), transaction.signer, receipt.code, list(receipt.detail))
                    for (_, transaction), receipt in zip(transactions, codes, strict=True)
                ],
            )
        )
    return oracle


@pytest.fixture(scope="module")
def whole() -> tuple[MemoryLedger, Results]:
    """All 74 rows with a fiftieth of the demo's members."""
    return replay(Scale(50_000, 1000), 74)


def test_every_row_settles_with_the_tables_members_and_cases(whole: tuple[MemoryLedger, Results]) -> None:
    rows = [(step, settled) for step, settled in whole[1] if step.settle_date]
    assert len(rows) == 74
    for step, settled in rows:
        assert (settled.members, settled.claims, settled.sponsored) == (step.members, step.case_count, step.sponsored)


def test_the_slow_oracle_finds_the_same_shares_accounts_and_bills(whole: tuple[MemoryLedger, Results]) -> None:
    ledger, results = whole
    oracle = oracle_of(ledger)
    assert oracle.accounts == asyncio.run(ledger.accounts())
    found = [(r.period, r.members, r.cases, r.aid, r.fee, r.carry, r.share) for r in oracle.results]
    assert found == [
        (s.period, s.members, s.claims, s.aid_fen, s.fee_fen, s.carry_fen, s.share_fen) for _, s in results
    ]
    assert [person.bill for person in oracle.people] == [bill(ledger.state, m)[0] for m in range(len(oracle.people))]


def test_every_debit_is_accounted_for(whole: tuple[MemoryLedger, Results]) -> None:
    """The bank confirms exactly what the ledger expects: nobody owes a difference, nothing is left in clearing."""
    ledger = whole[0]
    for _, row in ledger.state.rows(Settlement):
        assert (row.short_fen, row.surplus_fen) == (0, 0), row.period
    accounts = asyncio.run(ledger.accounts())
    assert {name: accounts[name] for name in ("due", "clearing", "sponsor", "claims", "refunds")} == {
        "due": 0,
        "clearing": 0,
        "sponsor": 0,
        "claims": 0,
        "refunds": 0,
    }


def test_every_claim_went_through_every_step_and_was_paid(whole: tuple[MemoryLedger, Results]) -> None:
    claims = [row for _, row in whole[0].state.rows(Claim)]
    assert {ClaimState(claim.state) for claim in claims} == {ClaimState.PAID}
    assert all(claim.investigator != claim.reviewer and claim.hospital >= 0 for claim in claims)
    assert {claim.investigator for claim in claims} == {2, 3}, "both firms were drawn"


def test_a_seed_gives_one_run_and_another_seed_another() -> None:
    first, again, other = (replay(Scale(50_000, 1000), 12, seed)[0] for seed in (5, 5, 6))
    assert first.view.state_root == again.view.state_root
    assert first.view.state_root != other.view.state_root


def test_without_waiting_members_the_first_claims_are_accidents() -> None:
    ledger, results = replay(Scale(10_000, 1), 3)
    assert [settled.claims for step, settled in results if step.settle_date] == [1, 1, 2]
    assert next(row.cause for _, row in ledger.state.rows(Claim)) == ACCIDENT


def test_the_rest_of_the_system_does_not_know_of_the_demo() -> None:
    for package in ("ledger", "consensus", "p2p", "node", "simulator"):
        for file in Path(package).rglob("*.py"):
            assert "demo" not in file.read_text(), file


def test_the_first_published_shares_come_out_within_two_percent() -> None:
    results = replay(Scale(1000, 20), 14)[1]
    shares = {step.settle_date: (settled.share_fen, step.published_fen) for step, settled in results}
    assert shares["2019-06-28"] == (51, 51)
    for share, published in shares.values():
        assert published is None or abs(share - published) <= 0.02 * published
