"""Admission: one way in; each transaction is decoded and verified once; every refusal has its code."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger.limits import SINGLE_TRANSACTION_BYTES_MAX, TRANSACTION_BYTES_MAX, VALIDITY_WINDOW_MS
from ledger.rows import Organisation
from ledger.signing import public_key
from ledger.state import BlockContext, State
from ledger.store import Overlay
from ledger.transactions import Enrol, EnrolBatch, Exit, ExitBatch, sign_transaction, transaction_id
from node.admission import Admission, Outcome, Source, signer_class
from node.mempool import Limits, Mempool, SignerClass
from node.verified import TransactionVerifier, VerifiedIds
from node.verifier import Verifier
from tests.ledger.chain import Chain, key

CHAIN = b"c" * 32
SEED = b"\x07" * 32
NOW_MS = 1_700_000_000_000


@dataclass
class FakeChain:
    epoch: int = 0
    head_time_ms: int = NOW_MS
    ready: bool = True
    committed: set[bytes] = field(default_factory=set)

    def seen(self, tx_id: bytes) -> bool:
        return tx_id in self.committed


class Node:
    """Everything around one admission, with a hand that holds the verifier back on request."""

    def __init__(self, limits: Limits | None = None, *, inbox_bytes_max: int = 1_000_000) -> None:
        self.chain = FakeChain()
        self.pool = Mempool(limits or Limits(), lambda key: SignerClass.ORGANISATION)
        self.verifier = HeldVerifier()
        self.signatures = TransactionVerifier(self.verifier, VerifiedIds(100), CHAIN)
        self.handed: list[tuple[list[bytes], Source]] = []
        self.admission = Admission(
            mempool=self.pool,
            signatures=self.signatures,
            chain=self.chain,
            clock_ms=lambda: NOW_MS,
            hand_off=lambda ids, source: self.handed.append((ids, source)),
            inbox_bytes_max=inbox_bytes_max,
        )

    async def codes(self, *raws: bytes) -> list[str]:
        return [outcome.code for outcome in await self.admission.submit(raws, Source.CLIENT)]


class HeldVerifier(Verifier):
    def __init__(self) -> None:
        super().__init__(0)
        self.gate = asyncio.Event()
        self.gate.set()
        self.calls: list[int] = []
        self.urgent: list[bool] = []

    async def verify(self, records: Sequence[bytes], *, urgent: bool = False) -> list[bool]:
        self.calls.append(len(records))
        self.urgent.append(urgent)
        await self.gate.wait()
        return await super().verify(records, urgent=urgent)


def signed(number: int = 0, *, chain: bytes = CHAIN, epoch: int = 0, until_ms: int = NOW_MS + 1_000) -> bytes:
    return sign_transaction(
        Exit(number),
        seed=SEED,
        signer=public_key(SEED),
        valid_until_ms=until_ms,
        salt=bytes(16),
        chain_id=chain,
        epoch=epoch,
    )


def batch_of_bytes(size: int) -> bytes:
    body = EnrolBatch(0, ((bytes(size - 200), 1),))
    return sign_transaction(
        body,
        seed=SEED,
        signer=public_key(SEED),
        valid_until_ms=NOW_MS,
        salt=bytes(16),
        chain_id=CHAIN,
        epoch=0,
    )


@pytest.mark.asyncio
async def test_a_list_is_admitted_in_order_and_handed_to_gossip_once() -> None:
    node = Node()
    raws = [signed(number) for number in range(600)]
    outcomes = await node.admission.submit(raws, Source.CLIENT)
    assert [outcome.id for outcome in outcomes] == [transaction_id(raw) for raw in raws]
    assert all(outcome.code == "OK" and outcome.fresh for outcome in outcomes)
    assert node.pool.ids() == [outcome.id for outcome in outcomes]
    assert [tx_id for ids, _ in node.handed for tx_id in ids] == node.pool.ids()
    assert {source for _, source in node.handed} == {Source.CLIENT}


@pytest.mark.asyncio
async def test_one_bad_transaction_of_a_list_says_nothing_about_the_others() -> None:
    node = Node()
    damaged = bytearray(signed(2))
    damaged[-1] ^= 1
    raws = [signed(1), bytes(damaged), b"", signed(3, chain=b"x" * 32), signed(4, epoch=1), signed(5)]
    assert await node.codes(*raws) == ["OK", "BAD_SIGNATURE", "MALFORMED", "BAD_SIGNATURE", "BAD_SIGNATURE", "OK"]
    assert len(node.pool) == 2
    assert node.admission.counts[Source.CLIENT, "BAD_SIGNATURE"] == 3


@pytest.mark.asyncio
async def test_the_window_is_closed_at_both_ends() -> None:
    node = Node()
    assert await node.codes(
        signed(1, until_ms=NOW_MS - 1),
        signed(2, until_ms=NOW_MS),
        signed(3, until_ms=NOW_MS + VALIDITY_WINDOW_MS),
        signed(4, until_ms=NOW_MS + VALIDITY_WINDOW_MS + 1),
    ) == ["EXPIRED", "OK", "OK", "NOT_YET_VALID"]


@pytest.mark.asyncio
async def test_expired_is_said_only_when_a_committed_block_is_past_it() -> None:
    node = Node()
    node.chain.head_time_ms = NOW_MS - 60_000
    assert await node.codes(signed(1, until_ms=NOW_MS - 30_000)) == ["OK"]


@pytest.mark.asyncio
async def test_sizes_are_limited_by_kind_at_the_limit_and_one_past() -> None:
    node = Node()
    largest = batch_of_bytes(TRANSACTION_BYTES_MAX)
    delta = TRANSACTION_BYTES_MAX - len(largest)
    codes = await node.codes(
        batch_of_bytes(TRANSACTION_BYTES_MAX + delta), batch_of_bytes(TRANSACTION_BYTES_MAX + delta + 1)
    )
    assert codes == ["OK", "TOO_LARGE"]
    exits = sign_transaction(
        ExitBatch(0, tuple(range(2_000))),
        seed=SEED,
        signer=public_key(SEED),
        valid_until_ms=NOW_MS,
        salt=bytes(16),
        chain_id=CHAIN,
        epoch=0,
    )
    assert len(exits) > SINGLE_TRANSACTION_BYTES_MAX
    assert await node.codes(exits) == ["OK"]


@pytest.mark.asyncio
async def test_a_repeated_submission_is_answered_without_being_verified_again() -> None:
    node = Node()
    raw = signed()
    assert await node.codes(raw) == ["OK"]
    verified = sum(node.verifier.calls)
    outcomes = await node.admission.submit([raw, raw], Source.PEER)
    assert [(outcome.code, outcome.fresh) for outcome in outcomes] == [("OK", False), ("OK", False)]
    assert sum(node.verifier.calls) == verified == 1
    node.chain.committed.add(transaction_id(raw))
    node.pool.remove_committed([transaction_id(raw)], NOW_MS)
    assert await node.codes(raw) == ["DUPLICATE"]
    assert sum(node.verifier.calls) == 1


@pytest.mark.asyncio
async def test_the_same_transaction_twice_at_once_is_verified_once() -> None:
    node = Node()
    node.verifier.gate.clear()
    raw = signed()
    first = asyncio.create_task(node.admission.submit([raw, raw], Source.CLIENT))
    second = asyncio.create_task(node.admission.submit([raw], Source.PEER))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    node.verifier.gate.set()
    assert [outcome.fresh for outcome in await first] == [True, False]
    assert [(outcome.code, outcome.fresh) for outcome in await second] == [("OK", False)]
    assert sum(node.verifier.calls) == 1


@pytest.mark.asyncio
async def test_a_submission_broken_off_releases_those_who_waited_for_it() -> None:
    node = Node()
    node.verifier.gate.clear()
    raw = signed()
    first = asyncio.create_task(node.admission.submit([raw], Source.CLIENT))
    await asyncio.sleep(0)
    second = asyncio.create_task(node.admission.submit([raw], Source.PEER))
    await asyncio.sleep(0)
    first.cancel()
    assert [outcome.code for outcome in await second] == ["NOT_READY"]
    node.verifier.gate.set()
    assert await node.codes(raw) == ["OK"]


@pytest.mark.asyncio
async def test_committed_meanwhile_by_others_is_a_duplicate() -> None:
    node = Node()
    node.verifier.gate.clear()
    raw = signed()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(node.admission.submit([raw], Source.CLIENT))
        other = tasks.create_task(node.admission.submit([signed(1)], Source.CLIENT))
        await asyncio.sleep(0)
        node.admission.committed([transaction_id(signed(2)), transaction_id(raw)], 0, 1.0)
        node.verifier.gate.set()
    assert [outcome.code for outcome in task.result()] == ["DUPLICATE"]
    assert [outcome.code for outcome in other.result()] == ["OK"]
    assert node.pool.ids() == [transaction_id(signed(1))]
    assert await node.codes(raw) == ["OK"]  # this chain has not seen it: nothing is remembered of the block


@pytest.mark.parametrize(("source", "next_epoch"), [(Source.CLIENT, "BAD_SIGNATURE"), (Source.PEER, "NOT_YET_VALID")])
@pytest.mark.asyncio
async def test_who_signed_for_the_epoch_before_or_after_has_not_lied(source: Source, next_epoch: str) -> None:
    node = Node()
    node.chain.epoch = 5
    raws = [signed(number, epoch=number) for number in range(3, 8)]
    outcomes = await node.admission.submit(raws, source)
    assert [outcome.code for outcome in outcomes] == ["BAD_SIGNATURE", "EXPIRED", "OK", next_epoch, "BAD_SIGNATURE"]
    assert outcomes[1].detail == "signed for epoch 4, this node is in epoch 5"
    assert node.pool.ids() == [outcomes[2].id]
    assert sum(node.verifier.calls) == len(raws) + 4 * (2 if source is Source.PEER else 1)


@pytest.mark.asyncio
async def test_an_epoch_that_begins_while_a_signature_is_verified_leaves_it_outside() -> None:
    node = Node()
    node.verifier.gate.clear()
    task = asyncio.create_task(node.admission.submit([signed(1)], Source.CLIENT))
    await asyncio.sleep(0)
    node.chain.epoch = 1
    node.verifier.gate.set()
    assert [(outcome.code, outcome.detail) for outcome in await task] == [
        ("EXPIRED", "epoch 1 began while it was verified")
    ]
    assert (len(node.pool), node.handed) == (0, [])
    assert await node.codes(signed(1), signed(1, epoch=1)) == ["EXPIRED", "OK"]


@pytest.mark.asyncio
async def test_a_full_pool_does_no_work_for_what_it_cannot_keep() -> None:
    node = Node(Limits(transactions_max=2))
    assert await node.codes(signed(1), signed(2)) == ["OK", "OK"]
    calls = sum(node.verifier.calls)
    assert await node.codes(signed(3)) == ["MEMPOOL_FULL"]
    assert sum(node.verifier.calls) == calls


@pytest.mark.asyncio
async def test_what_peers_push_is_verified_before_what_clients_bring() -> None:
    node = Node()
    await node.admission.submit([signed(1)], Source.CLIENT)
    await node.admission.submit([signed(2)], Source.PEER)
    await node.admission.submit([signed(number) for number in range(3, 600)], Source.PEER)
    assert node.verifier.urgent == [False, True, True, True, True]


@pytest.mark.asyncio
async def test_a_node_that_catches_up_takes_transactions_of_peers_only() -> None:
    node = Node()
    node.chain.ready = False
    assert await node.codes(signed(1)) == ["NOT_READY"]
    assert [outcome.code for outcome in await node.admission.submit([signed(1)], Source.PEER)] == ["OK"]


@pytest.mark.asyncio
async def test_offers_wait_in_an_inbox_of_bounded_bytes() -> None:
    raw = signed(1)
    node = Node(inbox_bytes_max=256 + 64 + len(raw))
    seen: asyncio.Queue[list[Outcome]] = asyncio.Queue()
    assert node.admission.offer([raw], Source.PEER, seen.put_nowait)
    assert not node.admission.offer([], Source.PEER)
    assert node.admission.counts[Source.PEER, "INBOX_FULL"] == 0
    assert not node.admission.offer([raw], Source.PEER)
    assert node.admission.counts[Source.PEER, "INBOX_FULL"] == 1
    task = asyncio.create_task(node.admission.run())
    async with asyncio.timeout(5):
        outcomes = await seen.get()
    assert [outcome.code for outcome in outcomes] == ["OK"]
    assert node.admission.inbox_bytes == 0
    assert node.admission.offer([signed(2)], Source.PEER)
    task.cancel()


@pytest.mark.asyncio
async def test_a_blocks_transactions_admitted_here_are_not_verified_again() -> None:
    node = Node()
    raw, other = signed(1), signed(2)
    await node.codes(raw)
    entry = node.pool.get(transaction_id(raw))
    assert entry is not None
    items = [(entry.id, raw, entry.transaction), (transaction_id(other), other, entry.transaction)]
    assert await node.signatures.verify(items, 0) == [True, False]
    assert node.verifier.calls == [1, 1]
    assert (node.signatures.verified.hits, node.signatures.verified.misses) == (1, 2)


def test_verified_ids_are_bounded_and_the_oldest_half_goes() -> None:
    ids = VerifiedIds(6)
    names = [bytes((number,)) for number in range(8)]
    ids.add(names[:5])
    assert len(ids) == 5
    assert ids.unknown(names) == [5, 6, 7]
    ids.add(names[5:])
    assert ids.unknown(names) == [0, 1, 2]
    for number in range(50):
        ids.add([b"more %d" % number])
        assert 3 <= len(ids) <= 6
    assert (ids.hits, ids.misses) == (10, 6)
    ids.clear()
    assert len(ids) == 0


def test_a_signers_class_is_what_the_state_says() -> None:
    chain = Chain()
    names = ("platform", "hospital", "clock", "alice", "nobody")
    organisation, unknown = SignerClass.ORGANISATION, SignerClass.UNKNOWN
    classes = [signer_class(chain.state, key(name)) for name in names]
    assert classes == [organisation, organisation, organisation, unknown, unknown]
    chain.ok("alice", Enrol(0, bytes(32), 1985 * 12, key("alice")))
    assert [signer_class(chain.state, key(name)) for name in names[3:]] == [SignerClass.MEMBER, unknown]


def test_a_suspended_organisation_has_a_strangers_quota() -> None:
    chain = Chain()
    state = State(Overlay(chain.store), BlockContext(CHAIN, 1, 1, 1, bytes(32), bytes(64)))
    state.put(1, replace(state.get(Organisation, 1), state=1))
    assert signer_class(state, key("bank")) is SignerClass.UNKNOWN
    assert signer_class(state, key("platform")) is SignerClass.ORGANISATION


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 400), st.integers(0, 255))
def test_whatever_the_bytes_the_answer_is_an_outcome(junk: bytes, at: int, value: int) -> None:
    async def check() -> None:
        node = Node()
        damaged = bytearray(signed(1))
        damaged[at % len(damaged)] = value
        outcomes = await node.admission.submit([junk, bytes(damaged)], Source.PEER)
        assert outcomes[0].code == "MALFORMED"
        assert outcomes[1].code == "OK" or bytes(damaged) != signed(1)

    asyncio.run(check())


@pytest.mark.asyncio
async def test_what_was_offered_is_coming_until_it_was_checked() -> None:
    node = Node()
    raw = signed(1)
    assert not node.admission.is_coming(transaction_id(raw))
    checked: asyncio.Queue[list[Outcome]] = asyncio.Queue()
    assert node.admission.offer([raw, raw], Source.PEER, checked.put_nowait)
    assert node.admission.is_coming(transaction_id(raw))
    running = asyncio.create_task(node.admission.run())
    async with asyncio.timeout(5):
        await checked.get()
    assert not node.admission.is_coming(transaction_id(raw))
    assert transaction_id(raw) in node.pool
    running.cancel()
