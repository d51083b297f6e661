"""Retransmission goes on while rounds end: found by seed 394 of the simulator, a healed core of q that stood still."""

from consensus import effects as fx
from consensus import events as ev
from tests.consensus.solo import Solo, follower, of


def resends(effects: list[fx.Effect]) -> list[ev.Timer]:
    return [e.timer for e in of(fx.SetTimer, effects) if e.timer.kind is ev.TimerKind.RESEND]


def test_the_resend_begins_anew_with_the_first_round_of_a_height() -> None:
    solo = Solo(follower())
    assert len(resends(solo.step(ev.BlockDue(1, ev.DueReason.ANNOUNCED)))) == 1


def test_the_end_of_a_round_does_not_put_the_resend_off() -> None:
    solo = Solo(follower())
    solo.step(ev.BlockDue(1, ev.DueReason.ANNOUNCED))
    others = [index for index in range(4) if index != solo.context.index]
    for round in range(3):
        effects = solo.step(ev.Timeout(ev.Timer(ev.TimerKind.ROUND, 1, round)))
        for index in others:
            effects += solo.receive(index, solo.change(index, round + 1))
        timers = [e.timer for e in of(fx.SetTimer, effects)]
        assert ev.Timer(ev.TimerKind.ROUND, 1, round + 1) in timers
        assert resends(effects) == []
