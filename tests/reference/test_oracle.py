"""The slow oracle and the ledger agree to the fen over the whole replay, and the oracle notices what is altered.

The blocks come from the demo's own script over the ledger in memory; the oracle sees of them only what an export holds.
"""

import tomllib
from dataclasses import dataclass, field, replace
from typing import Any

import msgpack
import pytest

from cli.demo.script import Scale
from ledger.bills import bill
from ledger.blocks import DueKey, Receipt
from ledger.codec import encode
from ledger.genesis import render_genesis
from ledger.rows import Account, Settlement
from tests.cli import test_demo
from tests.cli.memory_ledger import MemoryLedger
from tests.reference.blockfile import AuditError, Block, Genesis
from tests.reference.days_by_hand import settle_date
from tests.reference.mutual_aid import MutualAid

SCALE = Scale(members=50_000, cases=1_000)
ROWS = 74


@dataclass(slots=True)
class RecordingLedger(MemoryLedger):
    """Keeps what the oracle would read from an export."""

    recorded: list[Block] = field(default_factory=list)

    def block(self, transactions: Any = ()) -> tuple[Receipt, ...]:
        receipts = MemoryLedger.block(self, transactions)
        due = [(r.subject, r.code) for r in receipts if isinstance(r.subject, DueKey)]
        done = [
            (msgpack.unpackb(encode(transaction.body)), transaction.signer, receipt.code, list(receipt.detail))
            for (_, transaction), receipt in zip(transactions, receipts[len(due) :], strict=True)
        ]
        deadlines = [(key.due_ms, key.kind, key.id, code) for key, code in due]
        self.recorded.append(Block(self.view.height, self.view.header.time_ms, deadlines, done))
        return receipts


@pytest.fixture(scope="module")
def ledger() -> RecordingLedger:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(test_demo, "MemoryLedger", RecordingLedger)
        replayed, _ = test_demo.replay(SCALE, ROWS)
    assert isinstance(replayed, RecordingLedger)
    return replayed


def genesis_of(ledger: RecordingLedger) -> Genesis:
    return Genesis(ledger.genesis.chain_id, tomllib.loads(render_genesis(ledger.genesis.values)))


def recompute(ledger: RecordingLedger, blocks: list[Block]) -> MutualAid:
    oracle = MutualAid(genesis_of(ledger))
    for block in blocks:
        oracle.block(block)
    return oracle


@pytest.fixture(scope="module")
def oracle(ledger: RecordingLedger) -> MutualAid:
    return recompute(ledger, ledger.recorded)


def test_every_account_is_the_same(ledger: RecordingLedger, oracle: MutualAid) -> None:
    account = ledger.state.get(Account, 0)
    assert oracle.accounts == {name: getattr(account, name) for name in oracle.accounts}


def test_every_share_is_the_same(ledger: RecordingLedger, oracle: MutualAid) -> None:
    settled = {row.period: row for _, row in ledger.state.rows(Settlement)}
    assert len(oracle.results) == len(settled)
    for result in oracle.results:
        row = settled[result.period]
        shares = row.would_be if row.sponsored else row.shares
        mine = (result.members, result.aid, result.fee, result.share if shares else 0)
        assert mine == (sum(n for _, n in row.counts), row.aid_fen, row.fee_fen, sum(u for _, u in shares)), (
            settle_date(result.period)
        )


def test_the_bills_of_members_are_the_same(ledger: RecordingLedger, oracle: MutualAid) -> None:
    assert len(oracle.people) > 1_000
    for member in range(0, len(oracle.people), 7):
        assert bill(ledger.state, member)[0] == oracle.people[member].bill, member


def first_success(blocks: list[Block], kind: str) -> tuple[int, int]:
    return next(
        (height, position)
        for height, block in enumerate(blocks)
        for position, (body, _, code, _) in enumerate(block.transactions)
        if body[0] == kind and code == "OK"
    )


def altered(blocks: list[Block], kind: str, index: int, change: Any) -> list[Block]:
    """The blocks with one argument of the first transaction of ``kind`` changed."""
    height, position = first_success(blocks, kind)
    block = blocks[height]
    body, signer, code, detail = block.transactions[position]
    other = [*body]
    other[index] = change(body[index])
    transactions = [*block.transactions]
    transactions[position] = (other, signer, code, detail)
    return [*blocks[:height], replace(block, transactions=transactions), *blocks[height + 1 :]]


@pytest.mark.parametrize(
    ("kind", "index", "change", "says"),
    [
        ("pay", 2, lambda amount: amount + 1, "fen were ordered"),
        ("confirm_payment", 2, lambda _: b"another", "not ordered"),
        ("advance_clock", 1, lambda _: 0, "clock went back"),
        ("collect", 2, lambda period: period - 1, "a collection of"),
        ("contribution", 3, lambda amount: amount + 1, "he owed"),
    ],
)
def test_the_oracle_refuses_what_breaks_a_rule(
    ledger: RecordingLedger, kind: str, index: int, change: Any, says: str
) -> None:
    with pytest.raises(AuditError, match=says):
        recompute(ledger, altered(ledger.recorded, kind, index, change))


def test_a_review_by_the_same_firm_is_refused(ledger: RecordingLedger) -> None:
    height, position = first_success(ledger.recorded, "review")
    claim = ledger.recorded[height].transactions[position][0][1]
    firm = next(
        signer
        for block in ledger.recorded
        for body, signer, code, _ in block.transactions
        if body[0] == "assess" and body[1] == claim and code == "OK"
    )
    block = ledger.recorded[height]
    transactions = [*block.transactions]
    body, _, code, detail = transactions[position]
    transactions[position] = (body, firm, code, detail)
    blocks = [*ledger.recorded]
    blocks[height] = replace(block, transactions=transactions)
    with pytest.raises(AuditError, match="reviewed by the firm that investigated"):
        recompute(ledger, blocks)


def test_one_fen_more_collected_shows_in_the_accounts(ledger: RecordingLedger, oracle: MutualAid) -> None:
    blocks = altered(ledger.recorded, "confirm_collection", 2, lambda amount: amount + 1)
    assert recompute(ledger, blocks).accounts != oracle.accounts
