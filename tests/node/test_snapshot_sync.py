"""Joining by snapshot: the same state, whoever serves it; lies are found by themselves; a kill costs what was open."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ledger import indexes
from ledger.blocks import Body, decode_body
from ledger.codec import encode
from ledger.errors import PeerError
from ledger.store import META, MemoryStore, prefix_stop
from ledger.tables import Table
from ledger.transactions import transaction_id
from node import snapshot_sources, snapshot_sync, snapshot_wire
from node.blockstore import BlockReader
from node.resume import load_view
from node.snapshot_wire import GetRows, Rows, decode_any_question, decode_rows
from node.wire import Blocks, GetBlocks, RawBlock, decode_answer
from p2p.requests import PeerGone, RequestRefused, RequestTimeout
from tests.ledger.chain import Chain
from tests.node.chains import open_chain, raw
from tests.node.snapshots import Holder, Joiner, KilledError, grown

Serve = Callable[[bytes], Awaitable[bytes]]


@pytest.fixture(scope="module")
def source() -> Chain:
    return grown()


async def whole(joiner: Joiner, source: Chain) -> None:
    """The joined store is the chain's, and goes on like it."""
    view, _ = load_view(joiner.store, source.genesis)
    height = view.height
    assert list(indexes.differences(joiner.store)) == []
    assert view.state_root == source.blocks[height].header.state_root
    chain = open_chain(source.genesis, joiner.store)
    for block in source.blocks[height:]:
        assert await chain.import_block(raw(block))
    assert chain.view == source.view
    assert chain.hash == source.view.header_hash


@pytest.mark.asyncio
async def test_a_node_that_joins_by_snapshot_has_the_state_the_window_of_blocks_and_goes_on(source: Chain) -> None:
    joiner = Joiner(source)
    for name in (b"a", b"b", b"c"):
        joiner.links.peers[name] = (await Holder(source).follow()).answer
    assert await joiner.sync().run()
    assert joiner.links.penalized == []
    head = BlockReader(joiner.store).head()
    assert head is not None
    assert head.height == len(source.blocks) - 1
    blocks = BlockReader(joiner.store)
    for block in source.blocks[: head.height]:
        height = block.header.height
        assert blocks.header_raw(height) == encode(block.header)
        assert blocks.body_raw(height) == encode(block.body)
        assert blocks.receipts(height) == block.applied.receipts
        for transaction in block.body.transactions:
            assert blocks.place_of(transaction_id(transaction)) is not None
    assert all(count > 1 for count in joiner.links.asked.values()), "all of them were asked"
    await whole(joiner, source)


@pytest.mark.asyncio
async def test_peers_at_different_heights_pin_the_same_height_for_who_joins(source: Chain) -> None:
    early, late = Holder(source), Holder(source)
    await early.follow(5)
    await late.follow(4)
    joiner = Joiner(source)
    joiner.head = 5
    joiner.links.peers = {b"early": early.answer, b"late": late.answer}
    joining = asyncio.get_running_loop().create_task(joiner.sync().run())
    for _ in range(20):
        await asyncio.sleep(0)
    await late.follow(6)
    await early.follow(6)
    assert await joining
    assert early.server.heights == late.server.heights == (6,)
    await whole(joiner, source)


async def _other_rows(serve: Serve, payload: bytes) -> bytes:
    """One byte of one row is another."""
    answer = await serve(payload)
    if isinstance(decode_any_question(payload), GetRows):
        rows = list(decode_rows(answer))
        rows[-1] = rows[-1][:-1] + bytes((rows[-1][-1] ^ 1,))
        return encode(Rows(tuple(rows)))
    return answer


async def _one_row_less(serve: Serve, payload: bytes) -> bytes:
    answer = await serve(payload)
    if isinstance(decode_any_question(payload), GetRows):
        return encode(Rows(decode_rows(answer)[:-1]))
    return answer


def _changed(field: str, change: Callable[[Any], Any]) -> Callable[[Serve, bytes], Awaitable[bytes]]:
    """An offer with another value in one field."""

    async def lie(serve: Serve, payload: bytes) -> bytes:
        answer = await serve(payload)
        if isinstance(decode_any_question(payload), snapshot_wire.GetSnapshot):
            offer = snapshot_wire.decode_offer(answer)
            values = {name: getattr(offer, name) for name in offer.__struct_fields__}
            values[field] = change(values[field])
            return encode(snapshot_wire.Snapshot(**values))
        return answer

    return lie


async def _noise(serve: Serve, payload: bytes) -> bytes:
    await serve(payload)
    return b"noise"


def _other_answer(kind: type[Any]) -> Callable[[Serve, bytes], Awaitable[bytes]]:
    """The last byte but one of an answer to one kind of question is another."""

    async def lie(serve: Serve, payload: bytes) -> bytes:
        answer = await serve(payload)
        if isinstance(decode_any_question(payload), kind):
            return answer[:-2] + bytes((answer[-2] ^ 1,)) + answer[-1:]
        return answer

    return lie


async def _other_body(serve: Serve, payload: bytes) -> bytes:
    """A transaction is missing."""
    answer, question = await serve(payload), decode_any_question(payload)
    if not isinstance(question, GetBlocks):
        return answer
    *blocks, last = decode_answer(answer, question)
    body = decode_body(last.body)
    without = Body(body.transactions[1:], body.evidence, body.parent_certificate, body.recovery)
    return encode(Blocks((*blocks, RawBlock(last.header, encode(without), last.certificate))))


LIES = {
    "a byte of a row": _other_rows,
    "a row less": _one_row_less,
    "noise": _noise,
    "another root": _changed("roots", lambda roots: (roots[0], bytes(32), *roots[2:])),
    "another height": _changed("height", lambda height: height + 1),
    "another header": _changed("header", lambda header: header[:-1] + bytes((header[-1] ^ 1,))),
    "another certificate": _changed("certificate", lambda raw: raw[:-1] + bytes((raw[-1] ^ 1,))),
    "another node": _other_answer(snapshot_wire.GetNodes),
    "another header below": _other_answer(snapshot_wire.GetHeaders),
    "other receipts": _other_answer(snapshot_wire.GetReceipts),
    "a transaction less": _other_body,
}


@pytest.mark.asyncio
@pytest.mark.parametrize("lie", LIES)
async def test_a_liar_is_penalized_and_the_others_are_asked(source: Chain, lie: str) -> None:
    joiner = Joiner(source)
    honest, liar = await Holder(source).follow(), await Holder(source).follow()
    joiner.links.peers = {b"liar": lambda payload: LIES[lie](liar.answer, payload)}
    joiner.links.reserve = {b"honest": honest.answer}
    assert await joiner.sync().run()
    assert {peer for peer, _ in joiner.links.penalized} == {b"liar"}
    await whole(joiner, source)


@pytest.mark.asyncio
async def test_lengths_that_the_rows_do_not_bind_are_found_out_and_another_snapshot_is_taken(source: Chain) -> None:
    joiner = Joiner(source)
    honest, liars = await Holder(source).follow(), [await Holder(source).follow() for _ in range(2)]
    lie = _changed("lengths", lambda lengths: (*lengths[:5], lengths[5] - 1, *lengths[6:]))

    def lying(holder: Holder) -> Serve:
        return lambda payload: lie(holder.answer, payload)

    joiner.links.peers = {b"x": lying(liars[0]), b"y": lying(liars[1]), b"honest": honest.answer}
    assert await joiner.sync().run()
    assert {peer for peer, _ in joiner.links.penalized} == {b"x", b"y"}, "the two were more, and were believed first"
    await whole(joiner, source)


async def _gone(payload: bytes) -> bytes:
    raise PeerGone(b"x", "no link")


async def _slow(payload: bytes) -> bytes:
    raise RequestTimeout(b"x", "no answer")


def _after(count: int, then: Serve, serve: Serve) -> Serve:
    """Honest for so many questions."""
    left = [count]

    async def answer(payload: bytes) -> bytes:
        left[0] -= 1
        return await (serve if left[0] >= 0 else then)(payload)

    return answer


@pytest.mark.asyncio
@pytest.mark.parametrize("then", [_gone, _slow])
async def test_who_vanishes_or_dawdles_loses_its_place_but_not_its_link(source: Chain, then: Serve) -> None:
    joiner = Joiner(source)
    holder, other = await Holder(source).follow(), await Holder(source).follow()
    joiner.links.peers = {b"x": _after(5, then, holder.answer), b"y": other.answer}
    assert await joiner.sync().run()
    assert joiner.links.penalized == []
    assert b"x" in joiner.links.peers
    await whole(joiner, source)


@pytest.mark.asyncio
async def test_when_everybody_vanishes_what_was_fetched_is_kept_for_the_next_try(source: Chain) -> None:
    joiner = Joiner(source)
    holder = await Holder(source).follow()
    joiner.links.peers = {b"x": _after(7, _gone, holder.answer)}
    joining = asyncio.get_running_loop().create_task(joiner.sync().run())
    await joiner.log.said("the snapshot is left")
    asked = joiner.links.asked[b"x"]
    joiner.links.peers = {b"y": holder.answer}
    assert await joining
    again = joiner.links.asked[b"y"]
    fresh = Joiner(source)
    fresh.links.peers = {b"z": holder.answer}
    assert await fresh.sync().run()
    assert again < fresh.links.asked[b"z"] <= again + asked
    await whole(joiner, source)


@pytest.mark.asyncio
async def test_a_killed_node_goes_on_where_it_was_and_with_a_newer_snapshot_keeps_what_is_the_same(
    source: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.snapshot_tables.BATCH_BYTES", 100_000)
    store, first = MemoryStore(), await Holder(source).follow(5)
    asked = []
    for writes in (4, 7, None):
        joiner = Joiner(source, store)
        joiner.head, joiner.writes_max = 5, writes
        newer = await Holder(source).follow()
        joiner.links.peers = {b"a": (first if writes is not None else newer).answer}
        if writes is None:
            joiner.head = len(source.blocks)
            assert await joiner.sync().run()
        else:
            with pytest.raises(KilledError):
                await joiner.sync().run()
            assert not snapshot_sync.is_whole(store)
        asked.append(joiner.links.asked[b"a"])
    assert snapshot_sync.is_whole(store)
    assert list(store.scan(META + b"joining", prefix_stop(META + b"joining"))) == []
    fresh = Joiner(source)
    fresh.links.peers = {b"a": (await Holder(source).follow()).answer}
    assert await fresh.sync().run()
    assert asked[2] < fresh.links.asked[b"a"], "pieces that did not change are not fetched again"
    await whole(joiner, source)


@pytest.mark.asyncio
async def test_without_a_snapshot_in_time_the_node_is_told_to_fetch_blocks(
    source: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_sync, "DISCOVERY_S", 0.05)
    joiner = Joiner(source)
    assert not await joiner.sync().run()

    async def refuse(payload: bytes) -> bytes:
        raise RequestRefused("NOT_FOUND")

    joiner.links.peers = {b"a": refuse}
    assert not await joiner.sync().run()
    assert not snapshot_sync.is_whole(joiner.store)


@pytest.mark.asyncio
async def test_a_piece_too_large_for_an_answer_is_fetched_by_its_children(
    source: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.snapshot_serve.ROWS_BYTES", 3_000)
    joiner = Joiner(source)
    joiner.links.peers = {b"a": (await Holder(source).follow()).answer}
    assert await joiner.sync().run()
    await whole(joiner, source)


@pytest.mark.asyncio
async def test_who_says_busy_for_ever_or_too_large_of_a_page_loses_its_place(
    source: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_sources, "BUSY_MAX", 3)
    monkeypatch.setattr(snapshot_sources, "BUSY_PAUSE_S", 0.001)
    holder = await Holder(source).follow()
    for code in ("BUSY", "TOO_LARGE", "GONE"):

        async def refuse(payload: bytes, code: str = code) -> bytes:
            if isinstance(decode_any_question(payload), snapshot_wire.GetSnapshot):
                return await holder.answer(payload)
            raise RequestRefused(code)

        joiner = Joiner(source)
        joiner.links.peers = {b"a": refuse, b"b": holder.answer}
        assert await joiner.sync().run()
        assert joiner.links.penalized == []
        await whole(joiner, source)


@pytest.mark.asyncio
async def test_no_snapshot_is_taken_below_the_head_that_the_bundle_names(
    source: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_sync, "DISCOVERY_S", 0.05)
    joiner = Joiner(source)
    joiner.links.peers = {b"past": (await Holder(source).follow(4)).answer}
    joiner.floor = 5
    assert not await joiner.sync().run()
    joiner.links.peers = {b"present": (await Holder(source).follow(5)).answer}
    assert await joiner.sync().run()


@pytest.mark.asyncio
async def test_one_byte_more_or_less_of_the_limits_of_a_held_state(source: Chain) -> None:
    holder = await Holder(source).follow()
    height = holder.chain.height
    await holder.answer(encode(snapshot_wire.GetSnapshot(height)))
    members = int(Table.MEMBERS)
    assert await holder.answer(encode(GetRows(height, members, 2, 1)))
    for question in (
        GetRows(height, members, 2, 2),
        GetRows(height, members, 4, 0),
        snapshot_wire.GetNodes(height, members, 3, 0, 2),
        snapshot_wire.GetNodes(height, members, 4, 0, 1),
        GetRows(height, int(Table.CLAIMS), 0, 0),
    ):
        with pytest.raises(PeerError) as refused:
            await holder.answer(encode(question))
        assert refused.value.code == "BAD_QUESTION"
    with pytest.raises(RequestRefused) as gone:
        await holder.answer(encode(GetRows(height - 1, members, 2, 0)))
    assert gone.value.code == "GONE"


@pytest.mark.asyncio
async def test_a_state_that_nobody_asks_for_is_let_go_and_there_are_never_more_than_a_few(
    source: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = await Holder(source).follow(2)
    for height in range(3, 7):
        await holder.answer(encode(snapshot_wire.GetSnapshot(height - 1)))
        await holder.follow(height)
    assert holder.server.heights == (2, 3, 4), "the fourth found no room"
    monkeypatch.setattr("node.snapshot_serve.PIN_IDLE_S", -1.0)
    await holder.follow(7)
    assert not holder.server.heights
