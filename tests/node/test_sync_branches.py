"""Peers on another branch, where a recovery has dropped blocks: nobody is blamed, and who missed it knows it (§6)."""

from dataclasses import replace
from functools import partial

import pytest
from msgspec import structs

from ledger.blocks import RecoveryRecord, header_hash
from ledger.codec import encode
from node.wire import Blocks, GetBlocks, RawBlock, encode_wire
from tests.node.test_sync import Follower, Serve


def _last_is(names: list[bytes], name: bytes) -> bool:
    return names[-1:] == [name]


def _of_epoch(follower: Follower, epoch: int) -> Serve:
    """Serves blocks that are of another epoch, and hold no recovery record."""

    async def serve(question: GetBlocks) -> bytes:
        block = follower.source.blocks[question.first - 1]
        header = encode(structs.replace(block.header, epoch=epoch))
        certificate = structs.replace(block.certificate, block_hash=header_hash(header))
        return encode_wire(Blocks((RawBlock(header, encode(block.body), encode(certificate)),)))

    return serve


@pytest.mark.asyncio
async def test_who_is_on_another_branch_is_not_blamed_and_not_asked_again_while_its_link_lasts() -> None:
    follower = Follower(8)
    follower.peer(b"x", _of_epoch(follower, 1))
    await follower.run(lambda: follower.refuted == [b"x"])
    asked = len(follower.links.asked)
    follower.peer(b"x", _of_epoch(follower, 1))
    follower.sync.behind(b"x", 8)
    assert (follower.sync.best_claim, follower.sync.target) == (0, 0)
    assert follower.links.penalized == []
    follower.peer(b"a", follower.honest)
    await follower.caught_up()
    assert {peer for peer, _ in follower.links.asked[asked:]} == {b"a"}
    follower.sync.peer_down(b"x")
    follower.peer(b"x", _of_epoch(follower, 1), claims=50)
    assert follower.sync.best_claim == 50


@pytest.mark.asyncio
@pytest.mark.parametrize(("epoch", "blamed"), [(0, ["BAD_RECOVERY"]), (1, ["BAD_RECOVERY"]), (2, [])])
async def test_a_recovery_that_does_not_follow_ours_is_of_another_branch_and_a_false_one_a_lie(
    epoch: int, blamed: list[str]
) -> None:
    follower = Follower(1)
    block = follower.source.blocks[0]
    record = RecoveryRecord(follower.chain.view.chain_id, epoch, 0, bytes(32), follower.chain.view.next_validators, ())

    async def serve(question: GetBlocks) -> bytes:
        header = encode(structs.replace(block.header, epoch=epoch or 1))
        certificate = structs.replace(block.certificate, block_hash=header_hash(header))
        body = encode(structs.replace(block.body, recovery=record))
        return encode_wire(Blocks((RawBlock(header, body, encode(certificate)),)))

    follower.peer(b"x", serve)
    await follower.run(lambda: follower.refuted == [b"x"])
    assert [code for _, code in follower.links.penalized] == blamed


@pytest.mark.asyncio
async def test_what_is_heard_of_another_branch_does_not_make_a_validator_fetch_what_it_is_deciding() -> None:
    follower = Follower(8, votes=True)
    follower.peer(b"x", _of_epoch(follower, 1))
    await follower.run(lambda: follower.refuted == [b"x"])
    follower.sync.behind(b"x", 8)
    follower.peer(b"a", follower.honest, claims=1)
    assert (follower.sync.best_claim, follower.sync.target) == (1, 0)


@pytest.mark.asyncio
async def test_that_our_branch_was_dropped_is_known_when_f_plus_one_validators_are_in_a_later_epoch() -> None:
    follower = Follower(8)
    assert follower.sync.later_epoch is None
    said: list[tuple[bytes, int, int | None]] = [
        (b"observer", 3, None),
        (b"validator 0 a", 3, None),
        (b"validator 0 b", 3, None),
        (b"validator 1", 2, 2),
        (b"validator 2", 3, 3),
    ]
    assert len(follower.chain.view.next_validators) == 4
    for name, epoch, known in said:
        follower.peer(name, _of_epoch(follower, epoch))
        await follower.run(partial(_last_is, follower.refuted, name))
        assert (name, follower.sync.later_epoch) == (name, known)
    follower.sync.peer_down(b"validator 2")
    assert follower.sync.later_epoch == 2
    assert follower.links.penalized == []
    follower.chain.view = replace(follower.chain.view, epoch=2)
    assert follower.sync.later_epoch is None, "it was they who missed the recovery"
