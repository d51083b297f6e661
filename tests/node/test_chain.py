"""The owner of the head: one batch a block, resumed as it was left, built and checked by the rules, undone exactly."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from consensus.events import Verdict
from consensus.log import Position
from ledger import beacon
from ledger.blocks import header_hash
from ledger.calendar import MS_PER_DAY
from ledger.codec import encode
from ledger.errors import InvariantViolation, PeerError
from ledger.proposers import proposer
from ledger.rows import Clock as ClockRow
from ledger.state import StateReader
from ledger.store import Batch, MemoryStore
from ledger.transactions import AdvanceClock, transaction_id
from ledger.votes import Certificate
from node.blockstore import BlockReader, HeadRecord
from node.building import EXECUTION_S, FILL_BYTES_MIN, SPEED_BODY_BYTES_MIN, Builder, Committing
from node.chain import AHEAD_MS_MAX, BEHIND_MS_MAX, Committed
from node.chain import Chain as NodeChain
from node.checking import CheckedBlock
from node.resume import load_view
from node.steps import Steps
from node.wire import RawBlock
from tests.ledger.chain import START_MS, Block, Chain, seed
from tests.node.chains import Clock, compact, open_chain, put, raw


def advanced(source: Chain, days: int) -> Block:
    return source.block(("clock", AdvanceClock(START_MS + days * MS_PER_DAY)))


async def imported(source: Chain, count: int = 3, **changes: Any) -> tuple[NodeChain, MemoryStore]:
    """A node's chain that has taken ``count`` blocks of the source."""
    store = MemoryStore()
    chain = open_chain(source.genesis, store, **changes)
    for day in range(count):
        assert await chain.import_block(raw(advanced(source, day + 1)))
    return chain, store


def built_by(chain: NodeChain) -> CheckedBlock:
    creator = proposer(chain.view.proposers(), 0)
    name = ("platform", "bank", "firm-a", "firm-b")[creator.seat]
    return chain.build(creator, lambda alpha: beacon.prove(seed(f"{name} beacon"), alpha))


@pytest.mark.asyncio
async def test_every_block_is_exactly_one_write() -> None:
    batches: list[Batch] = []
    store = MemoryStore()

    async def write(batch: Batch) -> None:
        batches.append(batch)
        store.write(batch)

    source = Chain()
    chain = open_chain(source.genesis, store, write=write)
    await chain.import_block(raw(advanced(source, 1)))
    await chain.import_block(raw(source.block()))
    assert len(batches) == 2


@pytest.mark.asyncio
async def test_a_chain_resumes_exactly_as_it_was_left() -> None:
    source = Chain()
    chain, store = await imported(source)
    assert chain.view == source.view
    again = open_chain(source.genesis, store)
    assert again.view == chain.view
    assert again.certificate == chain.certificate
    assert await again.import_block(raw(advanced(source, 9)))
    assert again.view == source.view


@pytest.mark.asyncio
async def test_the_batch_says_where_the_signing_log_stood() -> None:
    source = Chain()
    chain, store = await imported(source, 1, log_position=lambda: Position(7, 42))
    assert load_view(store, source.genesis)[1] == chain.synced_position == Position(7, 42)


@pytest.mark.asyncio
async def test_nobody_is_told_before_the_batch_is_written() -> None:
    source, store = Chain(), MemoryStore()
    order: list[str] = []

    async def write(batch: Batch) -> None:
        order.append("written")
        store.write(batch)

    def listener(committed: Committed) -> None:
        head = BlockReader(store).head()
        assert isinstance(head, HeadRecord)
        order.append(f"told {committed.height}, stored {head.height}")

    chain = open_chain(source.genesis, store, write=write)
    chain.listen(listener)
    await chain.import_block(raw(advanced(source, 1)))
    assert order == ["written", "told 1, stored 1"]


@pytest.mark.asyncio
async def test_a_block_built_here_is_valid_to_the_others() -> None:
    source = Chain()
    chain, _ = await imported(source)
    other = open_chain(source.genesis, clock=Clock(source.next_time_ms))
    for block in source.blocks:
        await other.import_block(raw(block))
    put(chain, source, source.transaction("clock", AdvanceClock(START_MS + 30 * MS_PER_DAY)))
    built = built_by(chain)
    assert len(built.transactions) == 1
    verdict = await other.check(chain.compact(built), built.body.transactions)
    assert verdict in (Verdict.VALID, Verdict.STALE)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("offset_ms", "verdict"),
    [
        (AHEAD_MS_MAX, Verdict.VALID),
        (AHEAD_MS_MAX + 1, Verdict.STALE),
        (-BEHIND_MS_MAX, Verdict.VALID),
        (-BEHIND_MS_MAX - 1, Verdict.STALE),
    ],
)
async def test_a_fresh_block_too_far_from_our_clock_is_stale(offset_ms: int, verdict: Verdict) -> None:
    source = Chain()
    block = source.block(time_ms=source.next_time_ms + 50_000)
    chain = open_chain(source.genesis, clock=Clock(block.header.time_ms - offset_ms))
    assert await chain.check(compact(block), ()) is verdict


@pytest.mark.asyncio
@pytest.mark.parametrize("offset_ms", [1_000_000, -1_000_000])
async def test_a_block_one_millisecond_after_its_parent_is_never_stale(offset_ms: int) -> None:
    """Nor when the chain ran ahead of all clocks, as after wrong ones: it would stand still until they arrive."""
    source = Chain()
    block = source.block(time_ms=source.view.header.time_ms + 1)
    chain = open_chain(source.genesis, clock=Clock(block.header.time_ms + offset_ms))
    assert await chain.check(compact(block), ()) is Verdict.VALID


@pytest.mark.asyncio
async def test_a_transaction_committed_before_makes_a_block_invalid() -> None:
    source = Chain()
    item = source.transaction("clock", AdvanceClock(START_MS + MS_PER_DAY))
    first = source.raw_block([item])
    twice = source.raw_block([item])
    chain = open_chain(source.genesis, clock=Clock(twice.header.time_ms))
    await chain.import_block(raw(first))
    assert await chain.check(compact(twice), (item,)) is Verdict.INVALID


@pytest.mark.asyncio
async def test_a_wrong_signature_makes_a_block_invalid() -> None:
    source = Chain()
    item = bytearray(source.transaction("clock", AdvanceClock(START_MS + MS_PER_DAY)))
    item[-1] ^= 1
    block = source.raw_block([bytes(item)])
    chain = open_chain(source.genesis, clock=Clock(block.header.time_ms))
    assert await chain.check(compact(block), (bytes(item),)) is Verdict.INVALID


@pytest.mark.asyncio
async def test_proofs_are_read_from_the_state_the_head_certifies_also_after_a_restart() -> None:
    source = Chain()
    chain, store = await imported(source)
    for opened in (chain, open_chain(source.genesis, store)):
        header = opened.view.header
        assert opened.certified.height == opened.height - 1
        proof = opened.certified.state.tables.prove(ClockRow.table, 1)  # type: ignore[attr-defined]
        assert proof.root() == header.state_root


@pytest.mark.asyncio
async def test_a_block_is_taken_back_by_its_undo_pages() -> None:
    source = Chain()
    chain, store = await imported(source, 2)
    before = chain.certified.state.get(ClockRow, 1)
    undo = chain.blocks.undo(2)
    assert undo is not None
    store.write(undo)
    assert StateReader(store).get(ClockRow, 1) == before != chain.current.state.get(ClockRow, 1)


def without_seal(block: Block) -> RawBlock:
    certificate = block.certificate
    fewer = Certificate(certificate.height, certificate.round, certificate.block_hash, certificate.seals[1:])
    return RawBlock(encode(block.header), encode(block.body), encode(fewer))


def forged_seal(block: Block) -> RawBlock:
    certificate = encode(block.certificate)
    return RawBlock(encode(block.header), encode(block.body), certificate[:-1] + bytes((certificate[-1] ^ 1,)))


def other_body(block: Block) -> RawBlock:
    return RawBlock(encode(block.header), encode(Chain().block().body), encode(block.certificate))


@pytest.mark.asyncio
@pytest.mark.parametrize("lie", [without_seal, forged_seal, other_body])
async def test_a_block_without_proof_is_the_peers_fault_and_changes_nothing(lie: Callable[[Block], RawBlock]) -> None:
    source = Chain()
    block = advanced(source, 1)
    chain = open_chain(source.genesis)
    with pytest.raises(PeerError):
        await chain.import_block(lie(block))
    assert chain.height == 0
    assert await chain.import_block(raw(block))


@pytest.mark.asyncio
async def test_a_certified_block_that_our_rules_refuse_stops_the_node() -> None:
    source = Chain()
    item = bytearray(source.transaction("clock", AdvanceClock(START_MS + MS_PER_DAY)))
    item[-1] ^= 1
    chain = open_chain(source.genesis)
    with pytest.raises(InvariantViolation):
        await chain.import_block(raw(source.raw_block([bytes(item)])))


@pytest.mark.asyncio
async def test_a_block_below_the_head_is_ignored() -> None:
    source = Chain()
    chain, _ = await imported(source)
    assert not await chain.import_block(raw(source.blocks[0]))


def test_a_proposer_fills_no_more_than_this_machine_executes_quickly() -> None:
    chain = open_chain(Chain().genesis)
    builder: Builder = chain._builder
    allowed = chain.view.params.block_bytes_max
    assert builder.room(chain.view) == allowed, "nothing was measured yet"
    builder.note_speed(SPEED_BODY_BYTES_MIN - 1, 60.0)
    assert builder.room(chain.view) == allowed, "a small body says nothing"
    builder.note_speed(allowed, 2.5 * EXECUTION_S)
    assert builder.room(chain.view) == int(allowed / 2.5)
    builder.note_speed(allowed, 600.0)
    assert builder.room(chain.view) == FILL_BYTES_MIN, "a slow machine still proposes"


@pytest.mark.asyncio
async def test_the_next_block_is_assembled_while_this_one_is_written_without_the_candidates_ids() -> None:
    source, store = Chain(), MemoryStore()
    chain: NodeChain
    clock = Clock(source.genesis.time_ms + 1_000)
    written, begun = asyncio.Event(), asyncio.Event()
    proofs: list[bytes] = []

    async def write(batch: Batch) -> None:
        await written.wait()
        store.write(batch)

    def prove(alpha: bytes) -> bytes:
        proofs.append(alpha)
        creator = proposer(chain.view.proposers() if len(proofs) > 1 else ahead[0].view.proposers(), 0)
        name = ("platform", "bank", "firm-a", "firm-b")[creator.seat]
        return beacon.prove(seed(f"{name} beacon"), alpha)

    ahead: list[Committing] = []

    def committing(of: Committing) -> None:
        ahead.append(of)
        chain.assemble_ahead(of, prove)
        begun.set()

    chain = open_chain(source.genesis, store, clock, write=write, on_committing=committing)
    chain._builder.note_speed(
        SPEED_BODY_BYTES_MIN, SPEED_BODY_BYTES_MIN
    )  # a second a byte: a machine so slow that a few hundred fill a block
    candidate = source.transaction("clock", AdvanceClock(START_MS + MS_PER_DAY))
    waiting = [source.transaction("clock", AdvanceClock(START_MS + (day + 2) * MS_PER_DAY)) for day in range(600)]
    put(chain, source, candidate, *waiting)
    importing = asyncio.create_task(chain.import_block(raw(source.raw_block([candidate]))))
    await begun.wait()
    assert chain.height == 0, "nothing is committed before the batch is written"
    written.set()
    assert await importing
    built = chain.build(proposer(chain.view.proposers(), 0), prove)
    assert len(proofs) == 1, "the proof was made while the batch was being written"
    assert [tx_id for tx_id, _ in built.transactions] == [
        transaction_id(item) for item in waiting[: len(built.transactions)]
    ]
    assert len(built.transactions) > 300
    assert await chain.check(chain.compact(built), built.body.transactions) is Verdict.VALID


# Executed ahead.


async def proposed(source: Chain, block: Block, items: tuple[bytes, ...], **changes: Any) -> tuple[NodeChain, Steps]:
    """A chain that has found ``block`` valid, and what it counts."""
    steps = Steps()
    chain = open_chain(source.genesis, clock=Clock(block.header.time_ms), steps=steps, **changes)
    assert await chain.check(compact(block), items) is Verdict.VALID
    return chain, steps


@pytest.mark.asyncio
async def test_a_block_executed_while_it_is_voted_on_is_not_executed_again() -> None:
    source = Chain()
    item = source.transaction("clock", AdvanceClock(START_MS + MS_PER_DAY))
    block = source.raw_block([item])
    batches: list[Batch] = []

    async def write(batch: Batch) -> None:
        batches.append(batch)

    chain, steps = await proposed(source, block, (item,), write=write)
    await chain.execute_ahead(header_hash(encode(block.header)))
    await chain.execute_ahead(header_hash(encode(block.header)))
    assert steps.work["execute"] == 1
    assert (chain.height, batches) == (0, []), "nothing is written and nothing told before it is decided"
    await chain.decide(compact(block), (item,), block.certificate)
    assert steps.work["execute"] == 1
    assert (chain.height, len(batches)) == (1, 1)
    assert chain.view.state_root == source.view.state_root


@pytest.mark.asyncio
async def test_when_another_block_is_decided_it_is_executed_as_if_nothing_had_been() -> None:
    source, other = Chain(), Chain()
    item = source.transaction("clock", AdvanceClock(START_MS + MS_PER_DAY))
    decided, dropped = source.raw_block([item]), other.block()
    chain, steps = await proposed(source, dropped, ())
    await asyncio.gather(
        chain.execute_ahead(header_hash(encode(dropped.header))),
        chain.import_block(raw(decided)),
    )
    assert steps.work["execute"] == 1, "the empty one counts for nothing"
    assert chain.view.state_root == source.view.state_root
    await chain.execute_ahead(header_hash(encode(dropped.header)))
    assert await chain.import_block(raw(advanced(source, 2)))
    assert chain.view.state_root == source.view.state_root


@pytest.mark.asyncio
async def test_a_commit_waits_for_an_execution_that_runs() -> None:
    source = Chain()
    item = source.transaction("clock", AdvanceClock(START_MS + MS_PER_DAY))
    block = source.raw_block([item])
    chain, steps = await proposed(source, block, (item,))
    await asyncio.gather(
        chain.execute_ahead(header_hash(encode(block.header))),
        chain.decide(compact(block), (item,), block.certificate),
    )
    assert steps.work["execute"] == 1
    assert chain.view.state_root == source.view.state_root
