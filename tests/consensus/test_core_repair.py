"""One core, repair by pull: what Status lacks, who is behind, what is served and asked for (CONSENSUS §2)."""

from dataclasses import replace

import pytest
from msgspec import structs

from consensus import effects as fx
from consensus import events as ev
from consensus import messages as wire
from consensus.handle.height_started import MISSED_HEIGHTS_MAX
from ledger.votes import Proposal, RoundChange
from tests.consensus.harness import make_context
from tests.consensus.solo import Solo, decided_by, follower, kinds, leader, of, others

LEADER, FOLLOWER = leader(), follower()


# Repair.


def test_what_status_lacks_is_sent_again() -> None:
    solo = Solo(FOLLOWER)
    proposal = solo.proposal(solo.block(LEADER))
    solo.receive(LEADER, proposal)
    nothing = wire.Status(1, 0, bytes(32), -1, (-1,) * 4, (-1,) * 4, (-1,) * 4)
    assert kinds(s.message for s in of(fx.Send, solo.receive(LEADER, nothing))) == ["SignedPrepare"]
    has = wire.Status(1, 0, bytes(32), 0, (0,) * 4, (-1,) * 4, (-1,) * 4)
    assert not of(fx.Send, solo.receive(LEADER, has))


def test_who_is_one_behind_is_shown_the_decision_who_is_ahead_is_followed() -> None:
    solo = Solo(FOLLOWER)
    chain = [decided_by(solo)]
    later = Solo(FOLLOWER, chain=chain)
    status = wire.Status(1, 0, bytes(32), -1, (-1,) * 4, (-1,) * 4, (-1,) * 4)
    assert [s.message for s in of(fx.Send, later.receive(0, status))] == [wire.CommitCertificate(chain[0].certificate)]
    effects = solo.receive(0, wire.Status(9, 0, bytes(32), -1, (), (), ()))
    assert of(fx.Behind, effects) == [fx.Behind(bytes(32), 8)]


def test_who_is_further_behind_is_told_how_far_we_are() -> None:
    later = Solo(FOLLOWER, chain=[decided_by(Solo(FOLLOWER))])
    status = wire.Status(0, 0, bytes(32), -1, (-1,) * 4, (-1,) * 4, (-1,) * 4)
    (sent,) = of(fx.Send, later.receive(0, status))
    assert isinstance(sent.message, wire.Status)
    assert sent.message.height == 2
    assert of(fx.Behind, Solo(FOLLOWER).receive(0, sent.message)) == [fx.Behind(bytes(32), 1)]


@pytest.mark.parametrize("kind", ["proposal", "prepare", "commit", "round change", "prepared round change"])
def test_a_vote_two_heights_above_ours_shows_that_its_sender_is_ahead_once_a_period(kind: str) -> None:
    solo = Solo(FOLLOWER)
    proposal = structs.replace(solo.proposal(solo.block(LEADER)), message=Proposal(7, 0, b"\1" * 32))
    high = RoundChange(7, 1, -1, b"")
    change = wire.SignedRoundChange(high, LEADER, solo.sign(LEADER, high))
    messages: dict[str, wire.Message] = {
        "proposal": proposal,
        "prepare": solo.prepare(LEADER, b"\1" * 32, height=7),
        "commit": solo.commit(LEADER, b"\1" * 32, height=7),
        "round change": change,
        "prepared round change": wire.PreparedRoundChange(change, ()),
    }
    message = messages[kind]
    assert of(fx.Behind, solo.receive(LEADER, message)) == [fx.Behind(bytes([LEADER]) * 32, 6)]
    assert not of(fx.Behind, solo.receive(LEADER, message))
    solo.step(ev.Timeout(ev.Timer(ev.TimerKind.RESEND, 1, 0)))
    assert of(fx.Behind, solo.receive(LEADER, message))


def test_who_votes_two_heights_above_is_ahead_and_that_is_said_once_a_period() -> None:
    solo = Solo(FOLLOWER)
    peer = bytes([LEADER]) * 32
    assert of(fx.Behind, solo.receive(LEADER, solo.prepare(LEADER, b"\1" * 32, height=3))) == [fx.Behind(peer, 2)]
    assert not of(fx.Behind, solo.receive(LEADER, solo.commit(LEADER, b"\1" * 32, height=4)))
    solo.step(ev.Timeout(ev.Timer(ev.TimerKind.RESEND, 1, 0)))
    assert of(fx.Behind, solo.receive(LEADER, solo.commit(LEADER, b"\1" * 32, height=4))) == [fx.Behind(peer, 3)]
    stranger = ev.Received(b"stranger", None, solo.prepare(LEADER, b"\1" * 32, height=9))
    assert not of(fx.Behind, solo.step(stranger))


def test_who_is_far_behind_is_told_where_we_are() -> None:
    later = Solo(FOLLOWER, chain=[decided_by(Solo(FOLLOWER))])
    old = wire.Status(0, 0, bytes(32), -1, (-1,) * 4, (-1,) * 4, (-1,) * 4)
    (sent,) = of(fx.Send, later.receive(0, old))
    assert isinstance(sent.message, wire.Status)
    assert sent.message.height == 2


def test_own_prepares_of_any_round_and_the_last_block_are_served() -> None:
    solo = Solo(FOLLOWER)
    proposal = solo.proposal(solo.block(LEADER))
    hash = proposal.message.hash
    solo.receive(LEADER, proposal)
    solo.step(ev.Timeout(ev.Timer(ev.TimerKind.ROUND, 1, 0)))
    (answer,) = of(fx.Send, solo.receive(1, wire.GetPrepares(1, 0, hash)))
    assert isinstance(answer.message, wire.Prepares)
    assert FOLLOWER in [vote.index for vote in answer.message.votes]
    for index in others(FOLLOWER):
        solo.receive(index, solo.commit(index, hash))
    decided = decided_by(solo)
    solo.start(make_context(4, FOLLOWER, [decided]))
    assert [type(s.message) for s in of(fx.Send, solo.receive(1, wire.GetBlock(1, hash)))] == [wire.Block]
    bodies = of(fx.Send, solo.receive(1, wire.GetBodies(1, hash, b"\2")))
    assert [s.message for s in bodies] == [wire.Bodies(1, hash, (b"two",))]


def test_f_plus_one_peers_at_the_next_height_make_us_ask_for_the_decision() -> None:
    solo = Solo(FOLLOWER)
    one, two = others(FOLLOWER)[:2]
    assert not of(fx.Send, solo.receive(one, solo.prepare(one, b"\1" * 32, height=2)))
    sent = of(fx.Send, solo.receive(two, solo.prepare(two, b"\1" * 32, height=2)))
    assert [s.message for s in sent] == [wire.GetCertificate(1)]


def test_early_messages_of_the_next_height_are_counted_when_it_starts() -> None:
    solo = Solo(FOLLOWER)
    early = solo.prepare(LEADER, b"\1" * 32, height=2)
    solo.receive(LEADER, early)
    solo.start(make_context(4, FOLLOWER, [decided_by(solo)]))
    assert solo.core.state.open.tally.known(early)


# What was dropped because we were too far behind.


def statuses(effects: list[fx.Effect]) -> list[wire.Status]:
    return [effect.message for effect in of(fx.Broadcast, effects) if isinstance(effect.message, wire.Status)]


def behind(heard: dict[int, int]) -> Solo:
    """A follower of height 1 that has heard, of each index, of a height that is too far ahead to keep what was said."""
    solo = Solo(follower())
    for index, height in heard.items():
        solo.receive(index, solo.prepare(index, bytes([7]) * 32, height=height))
    return solo


def opened(solo: Solo, heights: int) -> list[fx.Effect]:
    """The effects of opening a height so many above the present one, after synchronisation."""
    solo.context = replace(solo.context, height=solo.context.height + heights, parent_hash=bytes([9]) * 32)
    return solo.step(ev.HeightStarted(solo.context, bytes(32)))


def test_who_comes_to_a_height_whose_messages_it_dropped_asks_for_them_at_once() -> None:
    one, two, _ = others(follower())
    solo = behind({one: 3, two: 3})
    (status,) = statuses(opened(solo, 1))
    assert status.height == 2
    assert [status.height for status in statuses(opened(solo, 1))] == [3]
    assert not statuses(opened(solo, 1)), "of height 4 nothing was dropped"


def test_one_validator_alone_does_not_make_us_ask() -> None:
    solo = behind({others(follower())[0]: 3})
    assert not statuses(opened(solo, 2))


def test_far_below_the_others_we_do_not_ask_at_each_height() -> None:
    one, two, _ = others(follower())
    solo = behind({one: 1 + MISSED_HEIGHTS_MAX + 1, two: 1 + MISSED_HEIGHTS_MAX + 1})
    assert not statuses(opened(solo, 1))
    assert statuses(opened(solo, 1))
