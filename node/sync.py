"""Catching up: a node that is behind fetches blocks from peers, and everybody serves them (NODE §1, CONSENSUS §3).

Rules of this file

* A ``Head`` is a claim until its blocks verify. A node without a seat fetches at once when told of a new head, so a
  block reaches an observer a round trip after its decision; a validator leaves its open height to consensus and
  fetches when consensus says that it is behind, or a head is further away.
* Every block is checked like a proposal, carries a certificate of V(h), and is committed the one way of ``node.chain``;
  how several are under way at once is ``sync_fetch``.
* Whose next block is of an epoch that does not begin on our head is on another branch as long as its link lasts: a
  recovery dropped blocks, and one of us has missed it. Its claims are nothing to us, and nobody is blamed. When f + 1
  validators are in a later epoch it was us, and we say so.
* A peer that lies, also about what it has, is penalized; one that is slow or gone loses its claim, and another one is
  asked. Consensus is told of every claim that was not kept.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from ledger.votes import certificate_fault, faults
from p2p.clock import Alarm, Clock
from p2p.limits import Channel
from p2p.requests import RequestRefused

from . import sync_fetch
from .chain import Chain, Committed
from .meanwhile import Work, nothing
from .wire import (
    ANSWER_BYTES,
    BLOCKS_PER_ANSWER_MAX,
    Blocks,
    GetBlocks,
    Head,
    RawBlock,
    decode_head,
    decode_question,
    encode_wire,
)

VALIDATOR_GRACE_S: Final = 1.0
"""How long a validator that hears of the block it is deciding leaves it to consensus."""
CLAIMS_MAX: Final = 1_024


class Links(sync_fetch.Links, Protocol):
    """What synchronisation needs of the network."""

    def connected(self) -> list[bytes]: ...

    def send(self, peer: bytes, channel: Channel, payload: bytes) -> bool: ...


class Sync:
    """See the head of this file. ``run`` belongs to the node's TaskGroup."""

    def __init__(
        self,
        *,
        chain: Chain,
        links: Links,
        clock: Clock,
        seat_of: Callable[[bytes], int | None],
        votes: Callable[[], bool],
        refuted: Callable[[bytes], None],
        work: Work = nothing,
    ) -> None:
        """``seat_of(peer)``: the position in V(open height) behind the link; ``votes()``: whether we do.

        ``refuted(peer)``: its claim was not kept. ``work``: done while the next block is not proven yet.
        """
        self._chain = chain
        self._links = links
        self._clock = clock
        self._seat_of = seat_of
        self._votes = votes
        self._refuted = refuted
        self._claims: dict[bytes, int] = {}
        self._forced = 0
        """Consensus says that the chain is at least this high."""
        self._certified = 0
        """The highest head that came with a valid certificate."""
        self._pruned: dict[bytes, int] = {}
        """The block that a connected peer has said to have given up, and so all below it."""
        self._parted: dict[bytes, int] = {}
        """Connected peers on another branch, and the epoch of their block above our head."""
        self._grace_since: float | None = None
        self._alarm = Alarm(clock)
        self._turn = 0
        self._held = False
        self._catch_up = sync_fetch.CatchUp(chain=chain, links=links, claims=self, work=work)

    # ---- what is heard ----

    def peer_up(self, peer: bytes) -> None:
        """Tell a new peer where we are."""
        self._links.send(peer, Channel.SYNC, self._own_head())

    def peer_down(self, peer: bytes) -> None:
        """Its claim is void."""
        self._claims.pop(peer, None)
        self._pruned.pop(peer, None)
        self._parted.pop(peer, None)
        self._alarm.ring()

    def received(self, peer: bytes, payload: bytes) -> None:
        """A message of the sync class that is no question. Raises ``PeerError``."""
        head = decode_head(payload)
        if head.height > max(self._chain.height + 1, self._certified) and self._proves(head):
            self._certified = head.height
        self._claim(peer, head.height)

    def _proves(self, head: Head) -> bool:
        view = self._chain.view
        return certificate_fault(head.certificate, view.next_validators, view.chain_id, view.epoch) is None

    def behind(self, peer: bytes, height: int) -> None:
        """Consensus heard that ``peer`` has decided ``height``."""
        if peer not in self._parted:
            self._forced = max(self._forced, height)
            self._claim(peer, height)

    def _claim(self, peer: bytes, height: int) -> None:
        if peer in self._parted:
            return
        if len(self._claims) < CLAIMS_MAX or peer in self._claims:
            self._claims[peer] = max(height, self._claims.get(peer, 0))
        if height > self._chain.height:
            self._alarm.ring()

    def committed(self, committed: Committed) -> None:
        """A listener of the chain: tell those who do not follow by consensus."""
        head = encode_wire(Head(committed.height, committed.hash, committed.certificate))
        for peer in self._links.connected():
            if self._seat_of(peer) is None:
                self._links.send(peer, Channel.SYNC, head)

    def _own_head(self) -> bytes:
        return encode_wire(Head(self._chain.height, self._chain.hash, self._chain.certificate))

    def hold(self) -> None:
        """Fetch nothing until ``release``: a snapshot may come instead."""
        self._held = True

    def release(self) -> None:
        """Fetch blocks from now on."""
        self._held = False
        self._alarm.ring()

    # ---- how far behind ----

    @property
    def best_claim(self) -> int:
        """The highest head any connected peer claims; our own when nobody is ahead."""
        return max([self._chain.height, *self._claims.values()])

    @property
    def best_known(self) -> int:
        """The highest head that is certified or that f + 1 validators claim (CONSENSUS §3); ours if none is above.

        A claim by fewer is worth a question, but must not make the node refuse its clients.
        """
        return max(self._chain.height, self._certified, self._vouched(self._claims))

    def _vouched(self, said: dict[bytes, int]) -> int:
        """The highest number that f + 1 validators have said, or a higher one: an honest one is among them. Else 0."""
        numbers = sorted(self._by_seat(said).values(), reverse=True)
        f = faults(len(self._chain.view.next_validators))
        return numbers[f] if len(numbers) > f else 0

    def _by_seat(self, said: dict[bytes, int]) -> dict[int, int]:
        by_seat: dict[int, int] = {}
        for peer, number in said.items():
            seat = self._seat_of(peer)
            if seat is not None:  # an organisation with two nodes still is one
                by_seat[seat] = max(number, by_seat.get(seat, 0))
        return by_seat

    @property
    def informed(self) -> bool:
        """Whether f + 1 validators (ourselves included) told their heads: one of them at least is honest.

        Until then nobody here can say how far behind this node is.
        """
        heard = len(self._by_seat(self._claims)) + self._votes()
        return heard > faults(len(self._chain.view.next_validators))

    @property
    def blocks_behind(self) -> int:
        """Blocks between our head and the best known one."""
        return self.best_known - self._chain.height

    @property
    def out_of_reach(self) -> int | None:
        """The next block, when a peer that is ahead has pruned it and none that is connected may still have it.

        Blocks will not bring this node further: its database must go, so that a snapshot comes (``huzhu reset``).
        """
        wanted = self._chain.height + 1
        refused = {peer for peer, height in self._pruned.items() if height >= wanted}
        hope = any(height >= wanted for peer, height in self._claims.items() if peer not in refused)
        return wanted if refused and not hope else None

    @property
    def later_epoch(self) -> int | None:
        """The epoch of f + 1 validators, when it is later than ours and did not begin on our head: ours was dropped.

        No block of theirs will bring this node further either.
        """
        epoch = self._vouched(self._parted)
        return epoch if epoch > self._chain.epoch else None

    @property
    def target(self) -> int:
        """The height to fetch up to now; our own when there is nothing to fetch."""
        best, own = self.best_claim, self._chain.height
        if self._held or best <= own:
            self._grace_since = None
            return own
        if not self._votes() or self._forced > own or best > own + 2:
            return best
        now_s = self._clock.monotonic_s()
        if self._grace_since is None:
            self._grace_since = now_s
        return best if now_s - self._grace_since >= VALIDATOR_GRACE_S else own

    # ---- serving ----

    async def serve(self, peer: bytes, payload: bytes) -> bytes:
        """The answer to an encoded question for blocks. Raises ``PeerError``, ``RequestRefused``."""
        return await self.answer(decode_question(payload))

    async def answer(self, question: GetBlocks) -> bytes:
        """The blocks asked for. Raises ``RequestRefused``: NOT_FOUND above the head, PRUNED for what was removed."""
        blocks: list[RawBlock] = []
        size = 0
        last = min(question.last, self._chain.height, question.first + BLOCKS_PER_ANSWER_MAX - 1)
        for height in range(question.first, last + 1):
            block = self._chain.raw_block(height)
            if block is None or size >= ANSWER_BYTES:
                break
            blocks.append(block)
            size += block.size
            if size >= ANSWER_BYTES >> 3:
                await asyncio.sleep(0)
        if not blocks:
            code = "PRUNED" if question.first <= self._chain.height else "NOT_FOUND"
            raise RequestRefused(code, f"block {question.first}")
        return encode_wire(Blocks(tuple(blocks)))

    # ---- fetching ----

    async def run(self) -> None:
        """Catch up whenever somebody is ahead, for ever."""
        while True:
            if self.target > self._chain.height:
                await self._catch_up.run()
            else:
                await self._alarm.wait(VALIDATOR_GRACE_S if self._grace_since is not None else None)

    def holder(self, height: int) -> tuple[bytes, int] | None:
        """A peer that claims ``height``, each in turn, and what it claims (``sync_fetch.Claims``)."""
        able = sorted(peer for peer, claimed in self._claims.items() if claimed >= height)
        if not able:
            return None
        self._turn += 1
        peer = able[self._turn % len(able)]
        return peer, self._claims[peer]

    def give_up(self, peer: bytes) -> None:
        """Its claim is worth nothing; until it claims again, others are asked."""
        self._claims.pop(peer, None)
        if not any(height > self._chain.height for height in self._claims.values()):
            self._forced = self._chain.height
        self._refuted(peer)

    def pruned(self, peer: bytes, height: int) -> None:
        """It has said that it gave up the content of ``height``."""
        self._pruned[peer] = max(height, self._pruned.get(peer, 0))

    def parted(self, peer: bytes, epoch: int) -> None:
        """Its block above our head is of ``epoch``, which does not begin there: one of us must drop blocks, restart."""
        self._parted[peer] = epoch
