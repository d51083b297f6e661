"""Between gossip and mempool: what is pushed on, what is announced, who is blamed, whose announcement counts."""

from collections.abc import Sequence
from typing import Any, cast

import pytest

from ledger.calendar import MS_PER_DAY
from ledger.codec import encode
from ledger.errors import PeerError
from ledger.transactions import AdvanceClock, transaction_id
from node.admission import Admission, Source
from node.mempool import SignerClass
from node.pool import PeerPool
from node.roster import SignerClasses, make_roster
from node.verified import TransactionVerifier, VerifiedIds
from node.verifier import Verifier
from p2p.gossip import Announce, Push, TransactionGossip, parse_gossip, split_ids
from p2p.network import Network
from tests.ledger.chain import START_MS, Chain
from tests.node.chains import open_chain, raw


class Gossip:
    """Notes what the pool reports."""

    def __init__(self) -> None:
        self.submitted: list[bytes] = []
        self.taken: list[tuple[bytes, list[bytes]]] = []
        self.turned_down: list[bytes] = []
        self.messages: list[bytes] = []

    def submit(self, transactions: Sequence[tuple[bytes, bytes]]) -> None:
        self.submitted += [transaction_id for transaction_id, _ in transactions]

    def admitted(self, source: bytes, ids: Sequence[bytes]) -> None:
        self.taken.append((source, list(ids)))

    def refused(self, ids: Sequence[bytes]) -> None:
        self.turned_down.extend(ids)

    def on_message(self, peer: bytes, payload: bytes) -> list[bytes]:
        self.messages.append(payload)
        message = parse_gossip(payload)
        return split_ids(message.ids) if isinstance(message, Announce) else []


class Penalties:
    """Notes who is penalized."""

    def __init__(self) -> None:
        self.codes: list[tuple[bytes, str]] = []

    def penalize(self, peer: bytes, error: PeerError) -> None:
        self.codes.append((peer, error.code))


class Bench:
    def __init__(self) -> None:
        self.source = Chain()
        self.chain = open_chain(self.source.genesis)
        self.mempool = self.chain.mempool
        self.gossip, self.penalties = Gossip(), Penalties()
        self.entered = 0
        self.own: int | None = 0
        self.roster = make_roster(self.chain.current.state, self.chain.view.next_validators)
        self.pool = PeerPool(
            mempool=self.mempool,
            chain=self.chain,
            network=cast(Network, self.penalties),
            roster=lambda: self.roster,
            own_index=lambda: self.own,
            entered=self._entered,
        )
        signatures = TransactionVerifier(Verifier(0), VerifiedIds(1_024), self.source.genesis.chain_id)
        self.admission = Admission(
            mempool=self.mempool,
            signatures=signatures,
            chain=cast(Any, _View(self.chain)),
            clock_ms=lambda: self.source.next_time_ms,
            hand_off=self.pool.entered,
        )
        self.pool.connect(self.admission, cast(TransactionGossip, self.gossip))

    def _entered(self) -> None:
        self.entered += 1

    def link(self, index: int) -> bytes:
        return self.roster.links[index][0]

    def transaction(self) -> bytes:
        return self.source.transaction("clock", AdvanceClock(START_MS + MS_PER_DAY))

    async def deliver(self, peer: bytes, *raws: bytes) -> None:
        outcomes = await self.admission.submit(raws, Source.PEER)
        self.pool._checked(peer, outcomes)

    def announced(self, tx_id: bytes) -> int:
        entry = self.mempool.get(tx_id)
        return entry.announced if entry is not None else -1


class _View:
    """The chain as admission asks it."""

    def __init__(self, chain: Any) -> None:
        self._chain = chain
        self.ready = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chain, name)


@pytest.mark.asyncio
async def test_a_clients_transaction_is_pushed_and_a_peers_is_announced() -> None:
    bench = Bench()
    ours, theirs = bench.transaction(), bench.transaction()
    await bench.admission.submit([ours], Source.CLIENT)
    await bench.deliver(bench.link(1), theirs)
    assert bench.gossip.submitted == [transaction_id(ours)]
    assert bench.gossip.taken == [(bench.link(1), [transaction_id(theirs)])]
    assert bench.entered == 2


@pytest.mark.asyncio
async def test_we_and_the_sender_count_as_announcers_and_later_ones_are_added() -> None:
    bench = Bench()
    item = bench.transaction()
    tx_id = transaction_id(item)
    await bench.deliver(bench.link(2), item)
    assert bench.announced(tx_id) == 0b101
    bench.pool.received(bench.link(3), encode(Announce(tx_id)))
    bench.pool.received(b"o" * 32, encode(Announce(tx_id)))
    assert bench.announced(tx_id) == 0b1101, "an observer's word does not count"
    assert len(bench.gossip.messages) == 2


@pytest.mark.asyncio
async def test_when_the_validators_change_what_waits_here_is_ours_to_announce_at_once() -> None:
    """Else three of four, who can decide, would never count three announcers of it: none would count himself."""
    bench = Bench()
    item = bench.transaction()
    tx_id = transaction_id(item)
    await bench.deliver(bench.link(2), item)
    bench.own = 3
    bench.pool.validators_changed()
    assert bench.announced(tx_id) == 0b1000
    await bench.deliver(bench.link(1), item)
    assert bench.announced(tx_id) == 0b1010, "who pushes it again counts again"
    bench.own = None
    bench.pool.validators_changed()
    assert bench.announced(tx_id) == 0, "without a seat we are nobody"


@pytest.mark.asyncio
async def test_pushes_go_to_gossip_as_they_came() -> None:
    bench = Bench()
    payload = encode(Push((bench.transaction(),)))
    bench.pool.received(bench.link(1), payload)
    assert bench.gossip.messages == [payload]


@pytest.mark.asyncio
async def test_a_peer_that_pushes_what_nobody_honest_would_have_admitted_is_penalized() -> None:
    for bad in (b"noise", bytearray(Bench().transaction())):
        bench = Bench()
        if isinstance(bad, bytearray):
            bad[-1] ^= 1
        await bench.deliver(bench.link(1), bytes(bad))
        assert bench.penalties.codes == [(bench.link(1), "BAD_TRANSACTION")]
        assert bench.gossip.turned_down == [transaction_id(bytes(bad))]


@pytest.mark.asyncio
async def test_a_repeated_or_expired_transaction_is_no_breach() -> None:
    bench = Bench()
    item = bench.transaction()
    await bench.chain.import_block(raw(bench.source.raw_block([item])))
    old = bench.source.transaction("clock", AdvanceClock(START_MS), valid_until_ms=1)
    await bench.deliver(bench.link(1), item, old)
    assert bench.penalties.codes == []
    assert bench.gossip.turned_down == [transaction_id(item), transaction_id(old)]
    assert bench.pool.is_known(transaction_id(item))
    assert not bench.pool.is_known(transaction_id(old))


def test_a_signers_class_is_looked_up_once_a_block() -> None:
    asked: list[bytes] = []

    def look(key: bytes) -> SignerClass:
        asked.append(key)
        return SignerClass.MEMBER

    classes = SignerClasses(look)
    assert [classes(b"a"), classes(b"a"), classes(b"b")] == [SignerClass.MEMBER] * 3
    assert asked == [b"a", b"b"]
    classes.forget()
    classes(b"a")
    assert asked == [b"a", b"b", b"a"]
