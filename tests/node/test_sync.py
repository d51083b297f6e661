"""Catching up from peers that serve, lie, dawdle or vanish: the chain is reached, the right peer is blamed."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from ledger.blocks import header_hash
from ledger.calendar import MS_PER_DAY
from ledger.codec import encode
from ledger.errors import PeerError
from ledger.transactions import AdvanceClock
from ledger.votes import Certificate, faults
from node import sync_fetch
from node.ahead import AheadBlock
from node.chain import Chain as NodeChain
from node.meanwhile import Work, nothing
from node.sync import Sync
from node.sync_fetch import ANSWER_TIMEOUT_S
from node.wire import Blocks, GetBlocks, Head, RawBlock, decode_head, decode_question, encode_wire
from p2p.clock import SystemClock
from p2p.limits import Channel
from p2p.requests import PeerGone, RequestRefused, RequestTimeout
from tests.ledger.chain import START_MS, Chain
from tests.node.chains import open_chain, raw

Serve = Callable[[GetBlocks], Awaitable[bytes]]


class Links:
    """Peers as functions from question to answer."""

    def __init__(self) -> None:
        self.peers: dict[bytes, Serve] = {}
        self.asked: list[tuple[bytes, GetBlocks]] = []
        self.penalized: list[tuple[bytes, str]] = []
        self.sent: list[tuple[bytes, Channel, bytes]] = []

    def connected(self) -> list[bytes]:
        return sorted(self.peers)

    def send(self, peer: bytes, channel: Channel, payload: bytes) -> bool:
        self.sent.append((peer, channel, payload))
        return True

    async def request(self, peer: bytes, payload: bytes, *, timeout_s: float) -> bytes:
        question = decode_question(payload)
        self.asked.append((peer, question))
        assert timeout_s == ANSWER_TIMEOUT_S
        return await self.peers[peer](question)

    def penalize(self, peer: bytes, error: PeerError) -> None:
        self.penalized.append((peer, error.code))


class Follower:
    """A node without a seat that follows the ``source``."""

    def __init__(self, blocks: int, *, votes: bool = False) -> None:
        self.source = Chain()
        for day in range(1, blocks + 1):
            self.source.block(("clock", AdvanceClock(START_MS + day * MS_PER_DAY)))
        self.links = Links()
        self.chain: NodeChain = open_chain(self.source.genesis)
        self.refuted: list[bytes] = []
        self._votes = votes
        self.follow()

    def follow(self, work: Work = nothing) -> None:
        """Follow from here on, with ``work`` to be done while a block is not proven."""
        self.sync = Sync(
            chain=self.chain,
            links=self.links,
            clock=SystemClock(),
            seat_of=lambda peer: int(peer.split()[1]) if peer.startswith(b"validator") else None,
            votes=lambda: self._votes,
            refuted=self.refuted.append,
            work=work,
        )

    def peer(self, name: bytes, serve: Serve, *, claims: int | None = None) -> None:
        """A peer that serves so, and tells its head."""
        self.links.peers[name] = serve
        height = len(self.source.blocks) if claims is None else claims
        self.sync.received(name, encode_wire(Head(height, b"h" * 32, Certificate(height, 0, b"h" * 32, ()))))

    async def honest(self, question: GetBlocks) -> bytes:
        """At most three blocks an answer, so that several are needed."""
        last = min(question.last, question.first + 2, len(self.source.blocks))
        if question.first > last:
            raise RequestRefused("NOT_FOUND")
        return encode_wire(Blocks(tuple(raw(block) for block in self.source.blocks[question.first - 1 : last])))

    async def run(self, until: Callable[[], bool]) -> None:
        """Synchronise until the condition holds."""
        task = asyncio.get_running_loop().create_task(self.sync.run())
        try:
            for _ in range(2_000):
                if until() or task.done():
                    break
                await asyncio.sleep(0)
            assert until(), task
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def caught_up(self) -> None:
        await self.run(lambda: self.chain.height == len(self.source.blocks))
        assert self.chain.hash == self.source.view.header_hash
        assert self.chain.view == self.source.view


@pytest.mark.asyncio
async def test_a_node_behind_reaches_the_head_in_several_answers() -> None:
    follower = Follower(10)
    follower.peer(b"a", follower.honest)
    await follower.caught_up()
    assert [question.first for _, question in follower.links.asked] == [1, 4, 7, 10]
    assert follower.links.penalized == []


@pytest.mark.asyncio
async def test_the_next_answer_is_asked_for_while_the_one_before_is_executed() -> None:
    follower = Follower(6)
    heights: list[int] = []

    async def serve(question: GetBlocks) -> bytes:
        heights.append(follower.chain.height)
        return await follower.honest(question)

    follower.peer(b"a", serve)
    await follower.caught_up()
    assert heights[1] < 3


@pytest.mark.asyncio
async def test_while_a_block_is_not_proven_the_loop_does_a_part_of_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    follower = Follower(3)
    proving: list[int] = []
    asked: list[int] = []
    prove, wait = follower.chain.prove, asyncio.Event()

    async def slowly(block: AheadBlock) -> AheadBlock:
        proving.append(block.header.height)
        if block.header.height == 1:
            await wait.wait()
        return await prove(block)

    def work() -> bool:
        asked.append(follower.chain.height)
        if len(asked) == 5:
            wait.set()
        return True

    monkeypatch.setattr(follower.chain, "prove", slowly)
    follower.follow(work)
    follower.peer(b"a", follower.honest)
    await follower.caught_up()
    assert asked[:5] == [0] * 5
    assert proving == [1, 2, 3]


async def _forged(follower: Follower, question: GetBlocks) -> bytes:
    block = raw(follower.source.blocks[question.first - 1])
    seal = block.certificate[:-1] + bytes((block.certificate[-1] ^ 1,))
    return encode_wire(Blocks((RawBlock(block.header, block.body, seal),)))


async def _swapped_body(follower: Follower, question: GetBlocks) -> bytes:
    block, other = follower.source.blocks[question.first - 1], follower.source.blocks[question.first]
    return encode_wire(Blocks((RawBlock(encode(block.header), encode(other.body), encode(block.certificate)),)))


async def _later_block(follower: Follower, question: GetBlocks) -> bytes:
    return encode_wire(Blocks((raw(follower.source.blocks[question.first]),)))


async def _noise(follower: Follower, question: GetBlocks) -> bytes:
    return b"noise"


@pytest.mark.asyncio
@pytest.mark.parametrize("lie", [_forged, _swapped_body, _later_block, _noise])
async def test_a_lying_peer_is_penalized_and_left_for_another(
    lie: Callable[[Follower, GetBlocks], Awaitable[bytes]],
) -> None:
    follower = Follower(8)
    follower.peer(b"liar", lambda question: lie(follower, question))
    await follower.run(lambda: bool(follower.links.penalized))
    assert [peer for peer, _ in follower.links.penalized] == [b"liar"]
    assert follower.refuted == [b"liar"]
    assert follower.chain.height == 0
    follower.peer(b"a", follower.honest)
    await follower.caught_up()


async def _vanished(question: GetBlocks) -> bytes:
    raise PeerGone(b"x", "no link")


async def _slow(question: GetBlocks) -> bytes:
    raise RequestTimeout(b"x", "no answer")


async def _busy(question: GetBlocks) -> bytes:
    raise RequestRefused("BUSY")


async def _empty_handed(question: GetBlocks) -> bytes:
    raise RequestRefused("NOT_FOUND")


@pytest.mark.asyncio
@pytest.mark.parametrize("serve", [_vanished, _slow, _busy])
async def test_a_peer_that_does_not_deliver_loses_its_claim_but_not_its_link(serve: Serve) -> None:
    follower = Follower(8)
    follower.peer(b"x", serve, claims=1_000)
    follower.peer(b"a", follower.honest)
    await follower.caught_up()
    await follower.run(lambda: follower.refuted == [b"x"] or follower.sync.best_claim == 8)
    assert follower.links.penalized == []


@pytest.mark.asyncio
async def test_a_claim_nobody_can_keep_leaves_the_node_waiting_not_spinning() -> None:
    follower = Follower(3)
    follower.peer(b"x", _empty_handed, claims=50)
    await follower.run(lambda: follower.refuted == [b"x"])
    assert follower.sync.blocks_behind == 0
    assert len(follower.links.asked) == 1
    assert follower.links.penalized == [(b"x", "EMPTY_HEAD")]


@pytest.mark.asyncio
async def test_a_validator_leaves_the_block_it_is_deciding_to_consensus_until_it_is_told_it_is_behind() -> None:
    follower = Follower(2, votes=True)
    follower.peer(b"a", follower.honest)
    task = asyncio.get_running_loop().create_task(follower.sync.run())
    for _ in range(20):
        await asyncio.sleep(0)
    assert follower.links.asked == []
    task.cancel()
    await asyncio.wait([task])
    follower.sync.behind(b"a", 2)
    await follower.caught_up()


@pytest.mark.asyncio
async def test_a_head_counts_only_with_a_valid_certificate_or_when_f_plus_one_validators_claim_it() -> None:
    follower = Follower(5)
    validators = len(follower.chain.view.next_validators)
    for liar in (b"x", b"y", b"z", b"validator 0"):
        follower.peer(liar, follower.honest, claims=1_000)
        assert follower.sync.best_claim == 1_000
        assert follower.sync.blocks_behind == 0
    follower.peer(b"validator 0 with a second node", follower.honest, claims=1_000)
    assert follower.sync.blocks_behind == 0, "the same seat twice is one"
    for honest in range(1, faults(validators) + 1):
        follower.peer(b"validator %d" % honest, follower.honest, claims=700)
    assert follower.sync.blocks_behind == 700, "of f + 1 one at least is honest"

    follower = Follower(5)
    block = follower.source.blocks[-1]
    head = Head(5, header_hash(encode(block.header)), block.certificate)
    follower.sync.received(b"x", encode_wire(head))
    assert follower.sync.blocks_behind == 5
    await follower.chain.import_block(raw(follower.source.blocks[0]))
    assert follower.sync.blocks_behind == 4


@pytest.mark.asyncio
async def test_a_node_knows_how_far_behind_it_is_once_f_plus_one_validators_have_told_their_heads() -> None:
    observer, validator = Follower(1), Follower(1, votes=True)
    needed = faults(len(observer.chain.view.next_validators)) + 1
    for follower, alone in ((observer, 0), (validator, 1)):
        follower.peer(b"x", follower.honest)
        follower.peer(b"y", follower.honest)
        for seat in range(needed - alone):
            assert not follower.sync.informed
            follower.peer(b"validator %d" % seat, follower.honest)
        assert follower.sync.informed


@pytest.mark.asyncio
async def test_heads_go_to_those_who_do_not_follow_by_consensus() -> None:
    follower = Follower(1)
    follower.links.peers = {b"validator 1": _vanished, b"observer": follower.honest}
    follower.chain.listen(follower.sync.committed)
    await follower.chain.import_block(raw(follower.source.blocks[0]))
    assert [peer for peer, _, _ in follower.links.sent] == [b"observer"]
    assert decode_head(follower.links.sent[0][2]).height == 1
    follower.sync.peer_up(b"validator 1")
    assert follower.links.sent[1][0] == b"validator 1"


@pytest.mark.asyncio
async def test_blocks_are_served_as_they_are_stored_and_only_those_there_are() -> None:
    follower = Follower(3)
    for block in follower.source.blocks:
        await follower.chain.import_block(raw(block))
    served = await follower.sync.serve(b"p", encode_wire(GetBlocks(2, 9)))
    assert served == encode_wire(Blocks(tuple(raw(block) for block in follower.source.blocks[1:])))
    with pytest.raises(RequestRefused):
        await follower.sync.serve(b"p", encode_wire(GetBlocks(4, 9)))
    with pytest.raises(PeerError):
        await follower.sync.serve(b"p", b"noise")


async def _pruned(question: GetBlocks) -> bytes:
    raise RequestRefused("PRUNED")


@pytest.mark.asyncio
async def test_a_peer_that_has_pruned_the_block_is_left_for_another_and_not_blamed() -> None:
    follower = Follower(8)
    follower.peer(b"x", _pruned)
    follower.peer(b"a", follower.honest)
    await follower.caught_up()
    assert follower.links.penalized == []
    assert follower.sync.out_of_reach is None


@pytest.mark.asyncio
async def test_a_node_behind_the_pruning_of_everybody_knows_it_until_somebody_comes_who_has_the_block() -> None:
    follower = Follower(8)
    assert follower.sync.out_of_reach is None, "nobody was asked"
    for name in (b"x", b"y"):
        follower.peer(name, _pruned)
    await follower.run(lambda: follower.sync.out_of_reach is not None)
    assert follower.sync.out_of_reach == 1
    follower.sync.peer_down(b"x")
    assert follower.sync.out_of_reach == 1, "the other has not got it either"
    follower.peer(b"a", follower.honest)
    assert follower.sync.out_of_reach is None
    await follower.caught_up()
    assert follower.sync.out_of_reach is None
    assert follower.links.penalized == []


@pytest.mark.asyncio
async def test_ranges_are_asked_of_several_peers_at_once() -> None:
    follower = Follower(40)
    heights: dict[bytes, int] = {}

    def serve(name: bytes) -> Serve:
        async def answer(question: GetBlocks) -> bytes:
            heights.setdefault(name, follower.chain.height)
            last = min(question.last, len(follower.source.blocks))
            return encode_wire(Blocks(tuple(raw(block) for block in follower.source.blocks[question.first - 1 : last])))

        return answer

    for name in (b"a", b"b", b"c"):
        follower.peer(name, serve(name))
    await follower.caught_up()
    assert heights == {b"a": 0, b"b": 0, b"c": 0}, "before a block was executed"


@pytest.mark.asyncio
async def test_blocks_below_the_lie_are_committed_and_nobody_but_the_liar_is_blamed() -> None:
    follower = Follower(12)
    blocks = [raw(block) for block in follower.source.blocks]

    async def lying(question: GetBlocks) -> bytes:
        served = [*blocks[question.first - 1 : min(question.last, len(blocks))]]
        if question.first <= 5 <= question.last:
            at = 5 - question.first
            served[at] = RawBlock(served[at].header, served[at].body, served[at].certificate[:-1] + b"\0")
        return encode_wire(Blocks(tuple(served)))

    follower.peer(b"liar", lying)
    await follower.run(lambda: bool(follower.links.penalized))
    assert follower.links.penalized == [(b"liar", "BAD_CERTIFICATE")]
    assert follower.chain.height == 4
    follower.peer(b"a", follower.honest)
    await follower.caught_up()
    assert [peer for peer, _ in follower.links.penalized] == [b"liar"]


@pytest.mark.asyncio
async def test_a_block_is_executed_before_those_above_it_are_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    follower = Follower(8)
    follower.peer(b"a", follower.honest)
    held = asyncio.Event()
    prove = follower.chain.prove

    async def slow(block: AheadBlock) -> AheadBlock:
        if block.header.height == 6:
            await held.wait()
        return await prove(block)

    monkeypatch.setattr(follower.chain, "prove", slow)
    await follower.run(lambda: follower.chain.height == 5)
    held.set()
    await follower.caught_up()


@pytest.mark.asyncio
@pytest.mark.parametrize(("limit", "value"), [("AHEAD_BLOCKS", 2), ("AHEAD_BYTES", 1)])
async def test_what_is_decoded_ahead_is_bounded_in_blocks_and_bytes(
    monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(sync_fetch, limit, value)
    follower = Follower(20)
    follower.peer(b"a", follower.honest)
    ahead: list[int] = []
    prepare = follower.chain.prepare

    async def counted(block: RawBlock) -> AheadBlock:
        prepared = await prepare(block)
        ahead.append(prepared.header.height - follower.chain.height)
        return prepared

    monkeypatch.setattr(follower.chain, "prepare", counted)
    await follower.caught_up()
    most = {"AHEAD_BLOCKS": 2, "AHEAD_BYTES": 1}[limit]
    assert max(ahead) <= most + 2, "those that wait, the one that is executed, and the one that is decoded"
    monkeypatch.undo()
    assert len(follower.links.asked) >= 7


@pytest.mark.asyncio
async def test_what_is_under_way_ends_with_the_node() -> None:
    follower = Follower(6)
    asked = asyncio.Event()

    async def never(question: GetBlocks) -> bytes:
        asked.set()
        await asyncio.Event().wait()
        return b""

    follower.peer(b"a", never)
    task = asyncio.get_running_loop().create_task(follower.sync.run())
    await asked.wait()
    task.cancel()
    await asyncio.wait([task])
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.asyncio
async def test_who_answers_with_blocks_that_were_not_asked_for_is_blamed_and_not_who_sends_the_next() -> None:
    follower = Follower(12)
    liars: list[bytes] = []

    def serve(name: bytes) -> Serve:
        async def answer(question: GetBlocks) -> bytes:
            if question.first == 1 or liars:
                return await follower.honest(question)
            liars.append(name)
            return encode_wire(Blocks(tuple(raw(block) for block in follower.source.blocks[:2])))

        return answer

    for name in (b"a", b"b"):
        follower.peer(name, serve(name))
    await follower.run(lambda: bool(follower.links.penalized))
    assert follower.links.penalized == [(liars[0], "WRONG_BLOCK")]
    assert follower.chain.height == 3


@pytest.mark.asyncio
async def test_after_a_lie_nobody_who_is_slow_is_waited_for() -> None:
    follower = Follower(40)

    async def forges_or_dawdles(question: GetBlocks) -> bytes:
        if question.first > 1:
            await asyncio.Event().wait()
        return await _forged(follower, question)

    follower.peer(b"x", forges_or_dawdles)
    follower.peer(b"a", follower.honest)
    await follower.caught_up()
    assert follower.links.penalized == [(b"x", "BAD_CERTIFICATE")]
    assert [question.first for peer, question in follower.links.asked if peer == b"x"] != [1]
