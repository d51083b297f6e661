"""Evidence from the moment it is found to the block that records it: kept, told, due, proposed, forgotten."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from consensus.messages import SignedPrepare, encode_framed
from ledger import beacon
from ledger.blocks import Evidence
from ledger.codec import encode
from ledger.errors import PeerError
from ledger.limits import EVIDENCE_BYTES_MAX
from ledger.rows import Contradiction
from ledger.signing import sign
from ledger.store import META, MemoryStore
from ledger.votes import Prepare
from node.evidence import EvidencePool
from node.keys import load_node_keys
from node.wire import FOUND_BYTES_MAX, Found, RawBlock, decode_found, encode_wire, is_found
from tests.ledger.chain import Chain
from tests.ledger.test_evidence import X, Y, pair, twice
from tests.node.chains import open_chain, raw
from tests.node.network import Network, running


class Bench:
    """A pool over a chain that grows by hand."""

    def __init__(self, source: Chain | None = None, store: MemoryStore | None = None) -> None:
        self.source = source or Chain()
        self.store = store or MemoryStore()
        self.told: list[Evidence] = []
        self.added = 0
        self.pool = self.open()

    def open(self) -> EvidencePool:
        return EvidencePool(
            self.store,
            view=lambda: self.source.view,
            write=self.store.write,
            tell=self.told.append,
            added=self._count,
        )

    def _count(self) -> None:
        self.added += 1

    @property
    def kept(self) -> int:
        return len(list(self.store.scan(META, META + b"\xff")))


def test_a_new_piece_is_kept_told_and_makes_a_block_due_once() -> None:
    bench = Bench()
    item = twice(bench.source, 1)
    assert bench.pool.add(item)
    assert not bench.pool.add(item)
    assert (bench.told, bench.added, bench.pool.pick(), bench.kept) == ([item], 1, (item,), 1)


def test_what_waits_survives_a_restart() -> None:
    bench = Bench()
    item = twice(bench.source, 1)
    bench.pool.add(item)
    assert bench.open().pick() == (item,)


def test_a_seat_has_one_place_however_often_it_contradicts_itself() -> None:
    bench = Bench()
    for _ in range(8):
        bench.source.block()
    for height in range(1, 9):
        bench.pool.add(twice(bench.source, height))
    assert (len(bench.pool), bench.kept) == (1, 1)


def test_what_proves_nothing_is_the_peers_fault_and_what_is_known_is_not() -> None:
    bench = Bench()
    bad = pair(bench.source, Prepare(1, 0, X), Prepare(1, 1, Y))
    with pytest.raises(PeerError, match="BAD_EVIDENCE"):
        bench.pool.add(bad)
    item = twice(bench.source, 1)
    bench.source.raw_block(evidence=(item,))
    assert not bench.pool.add(item)
    assert (bench.told, bench.kept) == ([], 0)


def test_once_a_block_has_recorded_the_validator_its_piece_is_forgotten() -> None:
    bench = Bench()
    mine, other = twice(bench.source, 1), twice(bench.source, 1, index=2)
    bench.pool.add(mine)
    bench.pool.add(other)
    bench.source.raw_block(evidence=(mine,))
    bench.pool.committed()
    assert (bench.pool.pick(), bench.kept) == ((other,), 1)


@pytest.mark.asyncio
async def test_the_proposer_puts_it_into_its_block_and_the_others_accept_it() -> None:
    source = Chain()
    item = twice(source, 1)
    builder, checker = open_chain(source.genesis, evidence=lambda: (item,)), open_chain(source.genesis)
    entry = source.view.proposers()[0]
    _, beacon_seed = source._seeds[entry.validator_key]
    built = builder.build(entry, lambda alpha: beacon.prove(beacon_seed, alpha))
    assert built.body.evidence == (item,)
    verdict = await checker.check(builder.compact(built), built.body.transactions)
    assert verdict.value == "valid"


@pytest.mark.asyncio
async def test_a_node_opened_anew_still_knows_who_is_accused_and_the_old_sets() -> None:
    source, store = Chain(), MemoryStore()
    chain = open_chain(source.genesis, store)
    source.block()
    source.raw_block(evidence=(twice(source, 1),))
    for block in source.blocks:
        await chain.import_block(raw(block))
    assert open_chain(source.genesis, store).view == chain.view == source.view


def test_a_message_of_evidence_is_told_from_a_head_and_has_its_largest_size() -> None:
    item = twice(Chain(), 1)
    payload = encode_wire(Found(item))
    assert is_found(payload)
    assert decode_found(payload).evidence == item
    assert len(encode(item)) < EVIDENCE_BYTES_MAX
    long = pair(Chain(), Prepare(1, 0, bytes(EVIDENCE_BYTES_MAX)), Prepare(1, 0, Y))
    assert len(encode_wire(Found(long))) > FOUND_BYTES_MAX
    with pytest.raises(PeerError, match="MALFORMED"):
        decode_found(encode_wire(Found(long)))


def test_a_piece_may_have_1_024_bytes_and_no_more() -> None:
    bench = Bench()
    empty = len(encode(pair(bench.source, Prepare(1, 0, X), Prepare(1, 0, bytes(256)))))
    fits = pair(bench.source, Prepare(1, 0, X), Prepare(1, 0, bytes(256 + EVIDENCE_BYTES_MAX - empty)))
    assert len(encode(fits)) == EVIDENCE_BYTES_MAX
    over = pair(bench.source, Prepare(1, 0, X), Prepare(1, 0, bytes(257 + EVIDENCE_BYTES_MAX - empty)))
    with pytest.raises(PeerError, match="larger than"):
        bench.pool.add(over)
    assert bench.pool.add(fits)


@pytest.mark.asyncio
async def test_a_validator_that_votes_twice_is_on_the_chain_of_all_although_one_node_saw_it(tmp_path: Path) -> None:
    """firm-b's key signs two Prepares of a height that is open; only the platform's node gets both."""
    network = Network(tmp_path, observers=0)
    async with running(network):
        platform = network.nodes["platform"]
        await network.until(lambda node: node.driver.signing)
        secret = load_node_keys(network.members["firm-b"].home / "keys").validator
        assert secret is not None
        view = platform.chain.view
        index = next(at for at, e in enumerate(view.next_validators) if e.validator_key == secret.public)
        peer = network.members["firm-b"].started
        assert peer is not None
        for value in (X, Y):
            prepare = Prepare(view.height + 1, 0, value)
            signature = sign(secret.secret, prepare.signing_digest(view.chain_id, 0))
            platform.driver.received(peer.node_key, encode_framed(0, SignedPrepare(prepare, index, signature)))
        await network.until(lambda node: node.chain.current.state.length(Contradiction) == 1)
        await network.until(lambda node: len(node.evidence) == 0)
        (seat,) = {node.chain.current.state.get(Contradiction, 0).seat for node in network.nodes.values()}
        assert seat == view.next_validators[index].seat
        assert all(node.evidence.seen == 1 for node in network.nodes.values())
        assert {len(node.chain.view.next_validators) for node in network.nodes.values()} == {4}


@pytest.mark.asyncio
async def test_a_peer_that_puts_evidence_beside_a_decided_header_is_blamed_and_stops_nobody() -> None:
    source = Chain()
    block = source.block()
    chain = open_chain(source.genesis)
    body = replace(block.body, evidence=(twice(source, 1),))
    with pytest.raises(PeerError, match="WRONG_BODY"):
        await chain.import_block(RawBlock(encode(block.header), encode(body), encode(block.certificate)))
    assert await chain.import_block(raw(block))
