"""The arithmetic of redials, bans and addresses."""

import random

from p2p.clock import Alarm
from p2p.limits import (
    ADDRESSES_PER_PEER_MAX,
    BAN_FIRST_S,
    BAN_MAX_S,
    REDIAL_FIRST_S,
    REDIAL_MAX_S,
    REDIAL_RESET_AFTER_S,
    STRANGERS_MAX,
    STRIKES_FORGOTTEN_AFTER_S,
)
from p2p.peers import PeerState, Strangers, redial_delay_s
from p2p.reasons import REASONS, CloseReason, is_fault, told
from tests.p2p.harness import ManualClock

LOST = CloseReason("CONNECTION_LOST", "", "network")


def state() -> PeerState:
    return PeerState(b"k" * 32, Alarm(ManualClock()))


def test_redials_begin_at_once_double_and_never_wait_longer_than_the_limit() -> None:
    chance = random.Random(1)
    for failures in range(40):
        full = min(REDIAL_MAX_S, REDIAL_FIRST_S * 2**failures)
        delays = [redial_delay_s(failures, chance) for _ in range(50)]
        assert full / 2 <= min(delays) <= max(delays) <= full
        assert len(set(delays)) > 1


def test_a_good_link_makes_the_next_redial_quick_again_and_a_short_one_does_not() -> None:
    peer, chance = state(), random.Random(1)
    for _ in range(9):
        peer.failed(LOST, 0.0, 0, chance)
    peer.was_good(REDIAL_RESET_AFTER_S - 0.1)
    assert peer.failures == 9
    peer.was_good(REDIAL_RESET_AFTER_S)
    peer.failed(LOST, 100.0, 0, chance)
    assert peer.next_dial_s <= 100.0 + REDIAL_FIRST_S


def test_bans_double_up_to_a_limit_and_strikes_are_forgotten() -> None:
    peer = state()
    assert [peer.strike(0.0) for _ in range(3)] == [BAN_FIRST_S, 2 * BAN_FIRST_S, 4 * BAN_FIRST_S]
    assert [peer.strike(0.0) for _ in range(30)][-1] == BAN_MAX_S
    assert peer.strike(STRIKES_FORGOTTEN_AFTER_S) == BAN_MAX_S
    assert peer.strike(2 * STRIKES_FORGOTTEN_AFTER_S + 1) == BAN_FIRST_S
    assert peer.banned_until_s == 2 * STRIKES_FORGOTTEN_AFTER_S + 1 + BAN_FIRST_S


def test_static_addresses_come_first_and_all_take_turns() -> None:
    peer = state()
    assert peer.address_to_dial() is None
    peer.static = (("a", 1),)
    assert peer.tell([("b", 2), ("a", 1)])
    assert not peer.tell([("b", 2), ("a", 1)])
    dialled = []
    for _ in range(3):
        dialled.append(peer.address_to_dial())
        peer.failed(LOST, 0.0, 0, random.Random(1))
    assert dialled == [("a", 1), ("b", 2), ("a", 1)]
    peer.tell([("c", port) for port in range(100)])
    assert len(peer.addresses) == ADDRESSES_PER_PEER_MAX


def test_only_breaches_cost_a_strike_and_codes_of_upper_layers_are_breaches() -> None:
    assert {code for code in REASONS if is_fault(code)} == {
        "MALFORMED",
        "BAD_FRAME",
        "TOO_LARGE",
        "FLOOD",
        "UNSOLICITED",
        "NOT_PERMITTED",
    }
    assert is_fault("BAD_VOTE")


def test_what_a_peer_tells_cannot_disturb_our_log() -> None:
    assert told("IDLE", "a\nb\x1b[2J") == CloseReason("IDLE", "a?b?[2J", "peer")
    assert told("\x00EVIL", "x") == CloseReason("CLOSED_BY_PEER", "?EVIL: x", "peer")
    assert len(told("x" * 10_000, "y" * 10_000).detail) < 600


def test_the_last_refusals_of_strangers_are_remembered_bounded_and_forgotten_with_a_link() -> None:
    strangers = Strangers()
    refused = CloseReason("UNKNOWN_PEER", "", "us")
    strangers.note(b"k", "host", refused, 1)
    strangers.note(b"k", "host", refused, 2)
    assert [(item.times, item.error_ms) for item in strangers.all()] == [(2, 2)]
    strangers.note(b"k", "host", CloseReason("BANNED", "", "us"), 3)
    assert strangers.all()[0].times == 1
    for number in range(STRANGERS_MAX):
        strangers.note(None, f"host {number}", refused, number)
    assert len(strangers.all()) == STRANGERS_MAX
    assert strangers.all()[0].host == "host 0", "the oldest is forgotten"
    strangers.note(b"k", "host", refused, 9)
    strangers.forget(b"k")
    assert b"k" not in {item.key for item in strangers.all()}
