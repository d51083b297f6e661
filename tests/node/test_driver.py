"""The shell of the agreement: order of effects, when a block is due, whom messages go to; the core is scripted."""

from dataclasses import replace
from typing import Any, cast

import pytest

from consensus.effects import (
    Behind,
    Blame,
    Broadcast,
    BuildBlock,
    Compact,
    Decide,
    FetchBody,
    Persist,
    Send,
    SetTimer,
    Sign,
    SignRequest,
)
from consensus.events import (
    BlockBuilt,
    BlockDue,
    BodyAvailable,
    DueReason,
    HeightStarted,
    PeerUp,
    Persisted,
    Received,
    Signed,
    Timeout,
    Timer,
    TimerKind,
)
from consensus.log import Position
from consensus.messages import GetCertificate, SignedPrepare, encode_framed
from ledger.errors import InvariantViolation, MalformedBytes
from ledger.transactions import AdvanceClock, transaction_id
from node.due import PUSH_AGAIN_S
from p2p.limits import Channel
from tests.node.chains import put, raw
from tests.node.driver_bench import PREPARE, VOTE, Bench


def test_safety_rules_open_a_height_before_the_core_does() -> None:
    bench = Bench()
    bench.answer(HeightStarted, Compact(0, 0))
    bench.driver.start()
    assert bench.told == ["begin 1", "batched 0", "compact 0"]
    (started,) = bench.core.of(HeightStarted)
    assert (started.context.height, started.context.index) == (1, 0)


def test_a_vote_is_persisted_then_signed_then_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    executed = note_executions(monkeypatch, bench)
    bench.driver.start()
    bench.told.clear()
    key = bench.chain.view.next_validators[0].validator_key
    bench.answer(Timeout, SetTimer(Timer(TimerKind.RESEND, 1, 0), 10), Persist(7, (VOTE,)))
    bench.answer(Persisted, Sign(8, SignRequest(0, PREPARE, key)))
    bench.answer(Signed, Broadcast(SignedPrepare(PREPARE, 0, b"s" * 64)))
    bench.driver._feed(Timeout(Timer(TimerKind.RESEND, 1, 0)))
    assert bench.told == ["append 1"], "nothing more before the log says that it is durable"
    bench.driver.durable(Position(1, 0))
    assert bench.told == ["append 1", "recorded 1", "sign", "send", "send", "send"]
    assert bench.core.of(Persisted) == [Persisted(7)]
    assert sorted(peer for peer, _ in bench.links.sent) == sorted(bench.link(index) for index in (1, 2, 3))
    assert executed == [], "the votes that are here come first"
    bench.clock.advance(0)
    assert executed == [PREPARE.hash], "while the others' prepares are on their way"


def note_executions(monkeypatch: pytest.MonkeyPatch, bench: Bench) -> list[bytes]:
    executed: list[bytes] = []

    async def execute_ahead(hash_: bytes) -> None:
        executed.append(hash_)

    monkeypatch.setattr(bench.chain, "execute_ahead", execute_ahead)
    return executed


def test_a_stopped_driver_executes_nothing_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    executed = note_executions(monkeypatch, bench)
    bench.driver.start()
    bench.answer(Signed, Broadcast(SignedPrepare(PREPARE, 0, b"s" * 64)))
    bench.driver._feed(Signed(1, b"s" * 64))
    bench.driver.stop()
    bench.clock.advance(0)
    assert executed == []


def test_positions_are_reported_in_order_and_several_at_once() -> None:
    bench = Bench()
    bench.driver.start()
    bench.answer(Timeout, Persist(1, (VOTE,)), Persist(2, (VOTE, VOTE)), Persist(3, (VOTE,)))
    bench.driver._feed(Timeout(Timer(TimerKind.ROUND, 1, 0)))
    bench.driver.durable(Position(2, 0))
    assert [event.token for event in bench.core.of(Persisted)] == [1, 2]
    bench.driver.durable(Position(3, 0))
    assert [event.token for event in bench.core.of(Persisted)] == [1, 2, 3]


def test_while_the_disk_is_nearly_full_nothing_is_persisted_and_afterwards_all_in_order() -> None:
    bench = Bench()
    bench.driver.start()
    bench.told.clear()
    bench.driver.hold()
    bench.answer(Timeout, Persist(1, (VOTE,)), Persist(2, (VOTE, VOTE)))
    bench.driver._feed(Timeout(Timer(TimerKind.ROUND, 1, 0)))
    assert bench.told == [] and not bench.driver.signing
    bench.driver.release()
    assert bench.told == ["append 1", "append 2"]


def test_a_timer_of_a_kind_replaces_the_one_that_runs() -> None:
    bench = Bench()
    bench.driver.start()
    early, late = Timer(TimerKind.ROUND, 1, 0), Timer(TimerKind.ROUND, 1, 1)
    bench.answer(Timeout, SetTimer(early, 100), SetTimer(late, 300))
    bench.driver._feed(Timeout(Timer(TimerKind.CERTIFY, 1, 0)))
    bench.clock.advance(0.29)
    assert bench.core.of(Timeout)[1:] == []
    bench.clock.advance(0.02)
    assert bench.core.of(Timeout)[1:] == [Timeout(late)]


def test_a_built_block_carries_what_nobody_else_is_known_to_hold() -> None:
    bench = Bench()
    spread, fresh = bench.transaction(), bench.transaction()
    bench.gossip.held[transaction_id(spread)] = frozenset({b"somebody"})
    put(bench.chain, bench.source, spread, fresh)
    bench.answer(HeightStarted, BuildBlock(1, 0))
    bench.driver.start()
    (built,) = bench.core.of(BlockBuilt)
    assert built.transactions == (spread, fresh)
    assert built.recent == (fresh,)


def test_bodies_come_from_the_mempool_and_gaps_are_told() -> None:
    bench = Bench()
    here, missing = bench.transaction(), bench.transaction()
    put(bench.chain, bench.source, here)
    ids = (transaction_id(missing), transaction_id(here))
    bench.answer(HeightStarted, FetchBody(1, bytes(32), ids))
    bench.driver.start()
    assert bench.core.of(BodyAvailable) == [BodyAvailable(1, bytes(32), (None, here))]


def test_a_waiting_transaction_is_told_once_a_height() -> None:
    bench = Bench()
    bench.driver.start()
    bench.wait_for_block(bench.transaction())
    bench.wait_for_block(bench.transaction())
    assert bench.due() == [DueReason.PENDING]


def test_an_old_transaction_makes_a_block_due_once_a_quorum_announced_it() -> None:
    bench = Bench()
    bench.driver.start()
    tx_id, _ = bench.wait_for_block(bench.transaction(), bench.transaction())
    bound_s = bench.chain.view.params.announce_bound_ms / 1_000
    bench.clock.advance(2 * bound_s)
    assert DueReason.ANNOUNCED not in bench.due(), "age alone is not enough"
    for index in range(3):
        bench.chain.mempool.announce(index, [tx_id])
    bench.clock.advance(bound_s)
    assert bench.due().count(DueReason.ANNOUNCED) == 1


def test_transactions_that_still_wait_are_pushed_to_all_again() -> None:
    bench = Bench()
    bench.driver.start()
    ids = bench.wait_for_block(bench.transaction())
    bench.clock.advance(PUSH_AGAIN_S - 1)
    assert bench.gossip.pushed == []
    bench.clock.advance(2 * PUSH_AGAIN_S)
    assert bench.gossip.pushed[:1] == ids


def test_the_heartbeat_makes_a_block_due_when_the_parent_is_old() -> None:
    bench = Bench()
    bench.driver.start()
    beat_s = bench.chain.view.params.heartbeat_ms / 1_000
    bench.clock.advance(beat_s - 2)
    assert bench.due() == []
    bench.clock.advance(2)
    assert bench.due() == [DueReason.HEARTBEAT]


@pytest.mark.asyncio
async def test_a_deadline_that_the_clock_was_stepped_over_makes_a_block_due_at_once() -> None:
    bench = Bench()
    bench.driver.start()
    due_ms = bench.source.view.next_due_ms
    assert due_ms is not None
    await bench.chain.import_block(raw(bench.source.block(("clock", AdvanceClock(due_ms)))))
    assert bench.due() == [DueReason.DEADLINE]
    assert bench.core.of(BlockDue)[0].height == 2


@pytest.mark.asyncio
async def test_a_deadline_is_due_by_real_time_too() -> None:
    bench = Bench()
    bench.driver.start()
    due_ms = bench.source.view.next_due_ms
    assert due_ms is not None
    block = bench.source.block(("clock", AdvanceClock(due_ms - 30_000)))
    await bench.chain.import_block(raw(block))
    bench.wall.ms = block.header.time_ms
    assert bench.due() == []
    bench.clock.advance(31)
    assert DueReason.DEADLINE in bench.due()


def test_messages_come_with_the_position_of_their_sender() -> None:
    bench = Bench()
    bench.driver.start()
    message = GetCertificate(0)
    bench.driver.received(bench.link(2), encode_framed(0, message))
    bench.driver.received(b"an observer", encode_framed(0, message))
    assert [(event.index, event.message) for event in bench.core.of(Received)] == [(2, message), (None, message)]


def test_messages_carry_the_epoch_of_their_sender_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    context = bench.chain.context
    monkeypatch.setattr(bench.chain, "context", lambda keys: replace(context(keys), epoch=7))
    bench.answer(HeightStarted, Send(b"r", GetCertificate(0)), Broadcast(GetCertificate(0)))
    bench.driver.start()
    assert {payload for _, payload in bench.links.sent} == {encode_framed(7, GetCertificate(0))}
    for epoch in (0, 7, 8):
        bench.driver.received(bench.link(2), encode_framed(epoch, GetCertificate(0)))
    assert [event.epoch for event in bench.core.of(Received)] == [0, 7, 8]


def test_rubbish_is_the_senders_fault_and_never_reaches_the_core() -> None:
    bench = Bench()
    bench.driver.start()
    with pytest.raises(MalformedBytes):
        bench.driver.received(bench.link(1), b"rubbish")
    assert bench.core.of(Received) == []


def test_blame_and_being_behind_are_passed_on() -> None:
    bench = Bench()
    bench.answer(HeightStarted, Blame(b"p", "bodies", ""), Behind(b"q", 9), Send(b"r", GetCertificate(0)))
    bench.driver.start()
    assert bench.links.penalized == [(b"p", "bodies")]
    assert bench.behind == [(b"q", 9)]
    assert bench.links.sent == [(b"r", encode_framed(0, GetCertificate(0)))]


def test_an_observer_never_persists_nor_signs() -> None:
    for effect in (Persist(1, (VOTE,)), Sign(1, SignRequest(0, PREPARE, b""))):
        bench = Bench(observer=True)
        bench.answer(HeightStarted, effect)
        with pytest.raises(InvariantViolation):
            bench.driver.start()


def test_after_stop_nothing_is_said_any_more() -> None:
    bench = Bench()
    bench.driver.start()
    bench.driver.stop()
    assert bench.clock.running == {}
    before = len(bench.core.events)
    bench.driver.received(bench.link(1), encode_framed(0, GetCertificate(0)))
    bench.wait_for_block(bench.transaction())
    assert len(bench.core.events) == before


def test_a_timer_set_anew_later_runs_off_then_and_once_and_one_set_earlier_runs_off_earlier() -> None:
    bench = Bench()
    bench.driver.start()
    first, second, third = (Timer(TimerKind.RESEND, 1, number) for number in range(3))
    for timer, delay_ms in ((first, 100), (second, 300)):
        bench.answer(PeerUp, SetTimer(timer, delay_ms))
        bench.driver._feed(PeerUp(1))
    bench.clock.advance(0.2)
    assert bench.core.of(Timeout) == [], "the first one was replaced"
    bench.answer(PeerUp, SetTimer(third, 20))
    bench.driver._feed(PeerUp(1))
    bench.clock.advance(0.02)
    assert bench.core.of(Timeout) == [Timeout(third)]
    bench.clock.advance(10)
    assert bench.core.of(Timeout) == [Timeout(third)]


def test_what_was_sent_leaves_before_a_commit_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    bench, told = Bench(), list[str]()
    turn = bench.driver._turn

    async def decide(*block: object) -> None:
        told.append("commit")

    def send(peer: bytes, channel: Channel, payload: bytes) -> bool:
        turn.at_the_end(lambda: told.append("left"))
        return True

    monkeypatch.setattr(bench.chain, "decide", decide)
    monkeypatch.setattr(bench.links, "send", send)
    bench.driver.start()
    decided = Decide(1, PREPARE.hash, cast(Any, None), (), cast(Any, None))
    bench.answer(Signed, Broadcast(SignedPrepare(PREPARE, 0, b"s" * 64)), decided)
    with turn:
        bench.driver._feed(Signed(1, b"s" * 64))
        told.append("the event is over")
    assert told == ["left", "left", "left", "commit", "the event is over"]
