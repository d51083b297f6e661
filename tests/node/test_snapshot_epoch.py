"""A snapshot of a chain that lost its quorum and began a new epoch: believed by its recovery record (CONSENSUS §6)."""

import pytest
from msgspec.structs import replace

from ledger.blocks import RecoveryRecord, decode_header, header_hash, validators_hash
from ledger.codec import encode
from ledger.errors import PeerError
from ledger.limits import RECOVERY_SIGNATURES_MAX
from ledger.recovery import with_signature
from ledger.signing import sign
from ledger.store import Batch, MemoryStore
from ledger.tables import TableReader
from ledger.transactions import Enrol
from ledger.votes import Certificate, Commit, Seal, ValidatorEntry
from node import blockstore
from node.blockstore import BlockReader
from node.snapshot_offer import check_offer, make_offer
from node.snapshot_wire import GetSnapshot, Snapshot, Transition, decode_offer
from tests.ledger.chain import Chain, key, seed
from tests.node.chains import open_chain
from tests.node.snapshots import Holder, Joiner, grown
from tests.node.test_snapshot_sync import whole

SIGNERS = ("platform", "bank", "firm-a")


def _entry(seat: int, organisation: int, name: str) -> ValidatorEntry:
    owner = ("platform", "bank", "firm-a", "firm-b")[organisation]
    return ValidatorEntry(seat, organisation, key(owner), key(f"{name} validator"), key(f"{name} beacon"))


def signed(source: Chain, validators: tuple[ValidatorEntry, ...], *names: str) -> RecoveryRecord:
    view = source.view
    record = RecoveryRecord(view.chain_id, view.epoch + 1, view.height, view.header_hash, validators, ())
    for name in names or SIGNERS:
        record = with_signature(record, seed(name))
    return record


def replaced(source: Chain, word: str) -> tuple[ValidatorEntry, ...]:
    """The platform keeps its keys, the others have new machines."""
    names = [f"{name} {word}" for name in ("bank", "firm-a", "firm-b")]
    for name in names:
        source.learn(f"{name} validator", f"{name} beacon")
    return (_entry(0, 0, "platform"), *(_entry(at, at, name) for at, name in enumerate(names, start=1)))


def recover(source: Chain, validators: tuple[ValidatorEntry, ...], more: int = 3) -> None:
    source.recover(signed(source, validators))
    for number in range(more):
        source.ok("platform", Enrol(0, bytes((source.view.height, number)) * 16, 1990 * 12, b""))


@pytest.fixture(scope="module")
def crossed() -> Chain:
    """Epoch 1 with other validators, epoch 2 at once with others again, epoch 3 with the same."""
    source = grown(40, 3)
    recover(source, replaced(source, "two"), more=1)
    recover(source, replaced(source, "three"))
    recover(source, source.view.next_validators)
    return source


async def offer_of(source: Chain) -> Snapshot:
    holder = await Holder(source).follow()
    return decode_offer(await holder.answer(encode(GetSnapshot(len(source.blocks)))))


@pytest.mark.asyncio
async def test_a_node_joins_across_epochs_and_serves_the_next_from_what_it_was_given(crossed: Chain) -> None:
    first, second = Joiner(crossed), Joiner(crossed)
    first.links.peers = {b"a": (await Holder(crossed).follow()).answer}
    assert await first.sync().run()
    assert first.links.penalized == []
    await whole(first, crossed)
    holder = Holder(crossed, open_chain(crossed.genesis, first.store))
    crossed.block()
    second.links.peers = {b"b": (await holder.follow()).answer}
    assert await second.sync().run()
    assert second.links.penalized == []
    await whole(second, crossed)


@pytest.mark.asyncio
async def test_what_was_pruned_is_offered_like_what_is_there(crossed: Chain) -> None:
    offer = await offer_of(crossed)
    holder = await Holder(crossed).follow()
    store = MemoryStore()
    store.write(Batch(dict(holder.chain.current.reader.scan(b"", b"\xff" * 16))))
    tables, prune = TableReader(holder.chain.certified.reader), Batch()
    for height in range(1, len(crossed.blocks)):
        blockstore.delete_content(prune, store, height)
    store.write(prune)
    assert make_offer(offer.height, offer.header, offer.certificate, tables, BlockReader(store)) == offer


@pytest.mark.asyncio
async def test_the_set_in_force_is_the_records_and_the_epoch_is_the_headers(crossed: Chain) -> None:
    offer = await offer_of(crossed)
    assert [item.recovery.epoch if item.recovery else 0 for item in offer.transitions] == [0, 1, 2, 0, 3]
    target = check_offer(crossed.genesis, offer)
    assert target.header.epoch == 3
    assert target.sets[-1] == crossed.view.next_validators


def _with(offer: Snapshot, at: int, **changes: object) -> Snapshot:
    items = list(offer.transitions)
    items[at] = replace(items[at], **changes)
    return replace(offer, transitions=tuple(items))


def _without(offer: Snapshot, at: int) -> Snapshot:
    return replace(offer, transitions=offer.transitions[:at] + offer.transitions[at + 1 :])


@pytest.mark.asyncio
async def test_an_epoch_is_not_believed_without_its_head_its_record_or_its_signatures(crossed: Chain) -> None:
    offer = await offer_of(crossed)
    first, second = offer.transitions[1], offer.transitions[2]
    record, later = first.recovery, second.recovery
    assert record is not None
    assert later is not None
    few = replace(record, signatures=record.signatures[:2])
    elsewhere = replace(record, head_height=record.head_height - 1)
    lies = {
        "no head": _without(offer, 0),
        "no first block": _without(offer, 1),
        "an epoch left out": _without(offer, 2),
        "the last epoch left out": _without(offer, 4),
        "no record": _with(offer, 1, recovery=None),
        "the record of another epoch": _with(offer, 1, recovery=later, following=later.validators),
        "too few signatures": _with(offer, 1, recovery=few),
        "another head": _with(offer, 1, recovery=elsewhere),
        "other validators than the record's": _with(offer, 1, following=second.following),
        "the certificate of another": _with(offer, 1, certificate=second.certificate),
        "a record where no epoch begins": _with(offer, 0, recovery=record, following=record.validators),
        "twice": replace(offer, transitions=(*offer.transitions, offer.transitions[-1])),
    }
    for what, lie in lies.items():
        with pytest.raises(PeerError, match="BAD_OFFER"):
            check_offer(crossed.genesis, lie)
            raise AssertionError(what)


@pytest.mark.asyncio
async def test_a_recovery_of_the_genesis_itself_is_crossed() -> None:
    source = Chain()
    recover(source, replaced(source, "two"), more=4)
    offer = await offer_of(source)
    assert [item.recovery is not None for item in offer.transitions] == [True]
    assert check_offer(source.genesis, offer).header.epoch == 1


@pytest.mark.asyncio
async def test_without_the_kept_heads_certificate_no_more_is_offered_than_there_is(crossed: Chain) -> None:
    offer = await offer_of(crossed)
    holder = await Holder(crossed).follow()
    store = MemoryStore()
    store.write(Batch(dict(holder.chain.current.reader.scan(b"", b"\xff" * 16))))
    blocks, tables = BlockReader(store), TableReader(holder.chain.certified.reader)
    gone = Batch()
    blockstore.delete_block(gone, store, 4, ())
    store.write(gone)
    poorer = make_offer(offer.height, offer.header, offer.certificate, tables, blocks)
    assert poorer == _without(offer, 0)
    with pytest.raises(PeerError, match="BAD_OFFER"):
        check_offer(crossed.genesis, poorer)


@pytest.mark.asyncio
async def test_who_begins_a_true_epoch_with_validators_of_his_own_is_not_believed(crossed: Chain) -> None:
    offer = await offer_of(crossed)
    own = (ValidatorEntry(0, 0, key("liar"), key("liar"), key("liar beacon")),)
    hash_ = validators_hash(own)
    header = encode(replace(decode_header(offer.header), validators_hash=hash_, next_validators_hash=hash_))
    digest = Commit(offer.height, 0, header_hash(header)).signing_digest(crossed.genesis.chain_id, 3)
    certificate = Certificate(offer.height, 0, header_hash(header), (Seal(0, sign(seed("liar"), digest)),))
    lie = replace(_with(offer, -1, following=own), header=header, certificate=encode(certificate))
    with pytest.raises(PeerError, match="other validators than its record's"):
        check_offer(crossed.genesis, lie)
    plain = offer.transitions[-2]
    lie = replace(lie, transitions=(*offer.transitions[:-2], replace(plain, following=own)))
    with pytest.raises(PeerError, match="does not announce"):
        check_offer(crossed.genesis, lie)


@pytest.mark.asyncio
async def test_true_headers_that_announce_nothing_are_not_listened_to(crossed: Chain) -> None:
    offer = await offer_of(crossed)
    block = crossed.blocks[1]
    idle = Transition(encode(block.header), encode(block.certificate), crossed.genesis.validators(), None)
    for transitions in ((idle, *offer.transitions), (*offer.transitions[:1], idle)):
        with pytest.raises(PeerError, match="announces nothing"):
            check_offer(crossed.genesis, replace(offer, transitions=transitions))


@pytest.mark.asyncio
async def test_a_record_carries_so_many_signatures_and_not_one_more(crossed: Chain) -> None:
    offer = await offer_of(crossed)
    record = offer.transitions[1].recovery
    assert record is not None
    for count in (RECOVERY_SIGNATURES_MAX, RECOVERY_SIGNATURES_MAX + 1):
        signatures = tuple((number.to_bytes(32, "big"), bytes(64)) for number in range(count))
        long = encode(_with(offer, 1, recovery=replace(record, signatures=signatures)))
        if count == RECOVERY_SIGNATURES_MAX:
            assert len(decode_offer(long).transitions) == len(offer.transitions)
        else:
            with pytest.raises(PeerError, match="out of range"):
                decode_offer(long)
