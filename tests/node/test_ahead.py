"""Blocks before their turn: what is found of them is what the rules would find; what is not proven is not believed."""

import asyncio
from dataclasses import replace as changed
from typing import Any

import pytest
from msgspec.structs import replace

from ledger import votes
from ledger.calendar import MS_PER_DAY
from ledger.codec import encode
from ledger.errors import InvariantViolation, PeerError
from ledger.transactions import AdvanceClock
from node import ahead as module
from node.ahead import AheadBlock
from node.chain import Chain as NodeChain
from node.verified import TransactionVerifier, VerifiedIds
from node.verifier import Verifier
from node.wire import RawBlock
from tests.ledger.chain import START_MS, Block, Chain
from tests.node.chains import open_chain, put, raw


class Counting(Verifier):
    """Verifies here, and counts."""

    def __init__(self) -> None:
        super().__init__(0)
        self.bulks = 0

    async def verify_bulk(self, records: bytes) -> list[bool]:
        self.bulks += 1
        return await super().verify_bulk(records)


def opened(source: Chain, **changes: Any) -> tuple[NodeChain, Counting]:
    pool = Counting()
    signatures = TransactionVerifier(pool, VerifiedIds(4_096), source.genesis.chain_id)
    return open_chain(source.genesis, signatures=signatures, **changes), pool


def advanced(source: Chain, day: int) -> Block:
    return source.block(("clock", AdvanceClock(START_MS + day * MS_PER_DAY)))


async def proven(chain: NodeChain, block: Block | RawBlock) -> AheadBlock:
    return await chain.prove(await chain.prepare(block if isinstance(block, RawBlock) else raw(block)))


def forbid_verifying(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(public: bytes, digest: bytes, signature: bytes) -> bool:
        raise AssertionError("a seal was verified in the event loop")

    monkeypatch.setattr(module, "verify", refuse)


@pytest.mark.asyncio
async def test_of_a_proven_block_no_signature_is_verified_again_when_its_turn_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = Chain()
    blocks = [advanced(source, day) for day in (1, 2, 3)]
    chain, pool = opened(source)
    found = [await proven(chain, block) for block in blocks]
    assert [block.verified for block in found] == [True] * 3
    seals = len(blocks[0].certificate.seals)
    assert [len(block.proven) for block in found] == [seals, 2 * seals, 2 * seals], "the first one's parent has none"
    verified = pool.stats.records
    forbid_verifying(monkeypatch)
    for block in found:
        assert await chain.import_block(block)
    assert pool.stats.records == verified
    assert chain.view == source.view


@pytest.mark.asyncio
async def test_a_full_block_goes_to_the_pool_in_bulk_and_what_was_admitted_is_not_verified_again() -> None:
    source = Chain()
    items = [source.transaction("clock", AdvanceClock(START_MS + number)) for number in range(1, 101)]
    block = source.raw_block(items)
    chain, pool = opened(source)
    assert (await proven(chain, block)).verified
    seals = len(block.certificate.seals)
    assert (pool.bulks, pool.stats.records) == (1, 100 + seals)
    put(chain, source, *items[:90])
    for tx_id in (await chain.prepare(raw(block))).ids[:90]:
        chain._ahead._signatures.verified.add([tx_id])
    assert (await proven(chain, block)).verified
    assert (pool.bulks, pool.stats.records) == (1, 100 + seals + 10 + seals)


@pytest.mark.asyncio
async def test_a_forged_signature_is_not_proven_and_a_certificate_over_it_is_our_bug() -> None:
    source = Chain()
    item = bytearray(source.transaction("clock", AdvanceClock(START_MS + MS_PER_DAY)))
    item[-1] ^= 1
    chain, _ = opened(source)
    found = await proven(chain, source.raw_block([bytes(item)]))
    assert not found.verified
    with pytest.raises(InvariantViolation, match="signature"):
        await chain.import_block(found)


@pytest.mark.asyncio
async def test_a_transaction_that_is_none_leaves_the_block_unproven() -> None:
    source = Chain()
    chain, pool = opened(source)
    block = advanced(source, 1)
    body = replace(block.body, transactions=(*block.body.transactions, b"\xc0"))
    with pytest.raises(PeerError, match="WRONG_BODY"):
        await chain.prepare(RawBlock(encode(block.header), encode(body), encode(block.certificate)))
    found = changed(await chain.prepare(raw(block)), transactions=None)
    assert await chain.prove(found) == found
    assert pool.stats.records == 0
    assert await chain.import_block(found), "it is decoded and verified in its turn"


@pytest.mark.asyncio
async def test_a_seal_that_is_not_proven_is_verified_in_its_turn_and_its_lack_is_the_peers_fault() -> None:
    source = Chain()
    block = advanced(source, 1)
    chain, _ = opened(source)
    first, *rest = block.certificate.seals
    forged = votes.Seal(first.index, bytes(64))
    for seals in ((forged, *rest), (votes.Seal(first.index, b"short"), *rest), (votes.Seal(99, bytes(64)), *rest)):
        certificate = replace(block.certificate, seals=seals)
        found = await proven(chain, RawBlock(encode(block.header), encode(block.body), encode(certificate)))
        assert len(found.proven) == len(rest)
        with pytest.raises(PeerError, match="BAD_CERTIFICATE"):
            await chain.import_block(found)
    unproven = changed(await proven(chain, block), proven=frozenset())
    assert await chain.import_block(unproven)


@pytest.mark.asyncio
async def test_the_seals_of_another_validator_set_are_left_to_the_blocks_turn() -> None:
    source = Chain()
    chain, _ = opened(source)
    prepared = await chain.prepare(raw(advanced(source, 1)))
    fewer = changed(chain.view, next_validators=chain.view.next_validators[1:])
    found = await chain._ahead.prove(prepared, fewer)
    assert (found.verified, found.proven) == (True, frozenset())
    assert await chain.import_block(found)


@pytest.mark.asyncio
async def test_nothing_is_proven_of_an_epoch_that_has_not_begun_here() -> None:
    source = Chain()
    chain, pool = opened(source)
    prepared = await chain.prepare(raw(advanced(source, 1)))
    assert await chain._ahead.prove(prepared, changed(chain.view, epoch=1)) == prepared
    assert pool.stats.records == 0
    assert await chain.import_block(prepared)


@pytest.mark.asyncio
@pytest.mark.parametrize("part", ["header", "body", "certificate"])
async def test_bytes_that_are_no_block_are_the_peers_fault(part: str) -> None:
    source = Chain()
    block, other = raw(advanced(source, 1)), raw(advanced(source, 2))
    chain, _ = opened(source)
    for wrong in (b"", b"\xc1", getattr(block, part) + b"\0", getattr(other, part)):
        with pytest.raises(PeerError):
            await chain.prepare(replace(block, **{part: wrong}))


@pytest.mark.asyncio
async def test_a_large_block_is_decoded_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLICE_TRANSACTIONS", 10)
    monkeypatch.setattr(module, "SLICE_S", 0.0)
    source = Chain()
    block = source.raw_block([source.transaction("clock", AdvanceClock(START_MS + n)) for n in range(1, 101)])
    chain, _ = opened(source)
    task = asyncio.get_running_loop().create_task(chain.prepare(raw(block)))
    turns = 0
    while not task.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 9
    assert [tx_id for tx_id, _ in task.result().transactions or ()] == list(task.result().ids)
