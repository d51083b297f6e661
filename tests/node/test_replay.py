"""A chain executed again gives the same roots, receipts and rows; whatever was altered is the first thing shown."""

from secrets import token_bytes
from typing import Any

import msgspec
import pytest

from ledger import execute
from ledger.blocks import Receipt
from ledger.calendar import MS_PER_DAY
from ledger.codec import decode_own, encode
from ledger.errors import OperatorError
from ledger.genesis import Genesis
from ledger.rows import Clock as ClockRow
from ledger.rows import Member
from ledger.state import StateReader
from ledger.store import BLOCKS, Batch, MemoryStore, Overlay
from ledger.table_writer import Tables
from ledger.tables import Table, TableReader
from ledger.transactions import AdvanceClock, Enrol
from ledger.votes import Certificate
from node.blockstore import HEAD_KEY, HeadRecord
from node.replay import Difference, Replayed, replay
from tests.ledger.chain import START_MS, Chain
from tests.node.chains import open_chain, raw

BLOCK_COUNT = 8


def enrolment() -> Enrol:
    return Enrol(0, token_bytes(32), 1990 * 12, b"")


async def stored() -> tuple[MemoryStore, Genesis]:
    """A node's store after a few blocks of enrolments."""
    source, store = Chain(), MemoryStore()
    chain = open_chain(source.genesis, store)
    await chain.import_block(raw(source.block(("clock", AdvanceClock(START_MS + MS_PER_DAY)))))
    while chain.height < BLOCK_COUNT:
        await chain.import_block(raw(source.block(("platform", enrolment()), ("platform", enrolment()))))
    return store, source.genesis


def run(store: MemoryStore, genesis: Genesis, to: int | None = None) -> Replayed:
    return replay(store, genesis, MemoryStore(), to=to, progress=lambda height, last: None)


def differs(found: Replayed) -> Difference:
    assert found.difference is not None
    return found.difference


def alter_row(store: MemoryStore, table: Table, row_id: int, value: bytes, *, and_head: bool) -> bytes:
    """Put another row, with all the hashes above it; with ``and_head`` the head record agrees. The new root."""
    overlay = Overlay(store)
    tables = Tables(overlay)
    tables.put(table, row_id, value)
    root = tables.root()
    batch = overlay.batch()
    if and_head:
        head = decode_own(HeadRecord, store.get(HEAD_KEY) or b"")
        batch.put(HEAD_KEY, encode(msgspec.structs.replace(head, state_root=root)))
    store.write(batch)
    return root


@pytest.mark.asyncio
async def test_a_good_chain_gives_the_same_again() -> None:
    store, genesis = await stored()
    found = run(store, genesis)
    assert found.difference is None
    assert (found.height, found.transactions) == (BLOCK_COUNT, 1 + 2 * (BLOCK_COUNT - 1))
    assert found.state_root == TableReader(store).root()


@pytest.mark.asyncio
async def test_a_replay_may_end_before_the_head() -> None:
    store, genesis = await stored()
    assert (run(store, genesis, to=3).height, run(store, genesis, to=99).height) == (3, BLOCK_COUNT)


@pytest.mark.asyncio
@pytest.mark.parametrize("and_head", [False, True])
async def test_a_row_that_was_altered_is_shown(and_head: bool) -> None:
    store, genesis = await stored()
    row = StateReader(store).get(Member, 5)
    altered = encode(msgspec.structs.replace(row, birth_month=row.birth_month + 1))
    alter_row(store, Table.MEMBERS, 5, altered, and_head=and_head)
    found = differs(run(store, genesis))
    assert found.height == BLOCK_COUNT
    assert found.what == ("state root" if and_head else "a row")
    assert found.row is not None
    assert (found.row.table, found.row.row_id, found.row.stored) == (Table.MEMBERS, 5, altered)
    assert found.row.computed == encode(row)


@pytest.mark.asyncio
async def test_a_receipt_that_was_altered_is_shown() -> None:
    store, genesis = await stored()
    key = BLOCKS + b"r" + (4).to_bytes(8, "big")
    receipts = list(decode_own(tuple[Receipt, ...], store.get(key) or b""))
    receipts[1] = msgspec.structs.replace(receipts[1], code="UNKNOWN_PLAN")
    store.write(Batch({key: encode(tuple(receipts))}))
    found = differs(run(store, genesis))
    assert (found.height, found.what) == (4, "receipt 1")
    assert "UNKNOWN_PLAN" in found.stored
    assert " OK " in found.computed


@pytest.mark.asyncio
async def test_rules_that_give_another_state_are_found_at_their_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the program had changed: from a late block on it executes otherwise than the one that wrote the chain."""
    store, genesis = await stored()
    rule = execute.RULES[Enrol]
    late = BLOCK_COUNT - 2

    def other(state, body, sender):  # type: ignore[no-untyped-def]
        detail = rule(state, body, sender)
        if state.block.height == late:
            clock = state.get(ClockRow, 1)
            state.put(1, msgspec.structs.replace(clock, offset_ms=clock.offset_ms + 1))
        return detail

    rules: dict[type[Any], Any] = {**execute.RULES, Enrol: other}
    monkeypatch.setattr(execute, "RULES", rules)
    found = differs(run(store, genesis))
    assert (found.height, found.what) == (late, "state root")
    assert found.row is not None, "the undo pages reach back to that block"
    assert (found.row.table, found.row.row_id) == (Table.META, 1)


@pytest.mark.asyncio
async def test_a_chain_without_its_first_blocks_is_an_operators_error() -> None:
    store, genesis = await stored()
    store.write(Batch({BLOCKS + b"b" + (2).to_bytes(8, "big"): None}))
    with pytest.raises(OperatorError) as caught:
        run(store, genesis)
    assert caught.value.code == "BLOCK_MISSING"


@pytest.mark.asyncio
async def test_a_certificate_of_too_few_is_found() -> None:
    store, genesis = await stored()
    key = BLOCKS + b"c" + (3).to_bytes(8, "big")
    certificate = decode_own(Certificate, store.get(key) or b"")
    store.write(Batch({key: encode(msgspec.structs.replace(certificate, seals=certificate.seals[:2]))}))
    assert (differs(run(store, genesis)).height, differs(run(store, genesis)).what) == (3, "certificate")


def test_an_empty_store_has_nothing_to_replay() -> None:
    with pytest.raises(OperatorError) as caught:
        run(MemoryStore(), Chain().genesis)
    assert caught.value.code == "NO_BLOCKS"
