"""Rounds: the quorum-gated timer, the join rule, entering a round (CONSENSUS §2).

A round above 0 is entered by signing a RoundChange for it (or by adopting a lock): so whoever is in round r has said
so, durably, and has abandoned every round below.
"""

from ledger.votes import RoundChange

from .effects import SetTimer
from .events import Timer, TimerKind
from .own import persist
from .quorum import join_round, reached
from .records import VoteRecord
from .state import Core


def join(core: Core) -> None:
    """Join the (f+1)-th highest round: at least one honest validator is there."""
    height = core.open
    if height.tally.highest_of_all <= height.round:
        return
    target = join_round(height.known_rounds(), len(height.context.validators))
    if target > height.round:
        enter_round(core, target)


def enter_round(core: Core, round: int) -> None:
    """Leave every round below ``round`` for good: the promise is the RoundChange."""
    height = core.open
    context = height.context
    lock = core.record.lock
    prepared = (lock.round, lock.hash) if lock is not None else (-1, b"")
    height.round = round
    height.timer_started = False
    persist(core, [VoteRecord(context.epoch, RoundChange(context.height, round, *prepared))])


def start_timer(core: Core) -> None:
    """T(r) starts when q validators are known at >= r; T(0) when a block is due or a proposal is seen."""
    height = core.open
    if height.timer_started:
        return
    context = height.context
    if height.round == 0:
        ready = height.due or context.certify or 0 in height.accepted
    else:
        ready = reached(height.known_rounds(), height.round, len(context.validators))
    if ready:
        height.timer_started = True
        timer = Timer(TimerKind.ROUND, context.height, height.round)
        core.emit(SetTimer(timer, context.timing.round_timeout_ms(height.round)))
        if height.round == 0:
            # Only once a height, to end the idle period. Were it set anew in every round, a round timeout that is not
            # longer than the period would put it off for ever, and what is lacking would never be asked for again.
            set_resend(core, context.timing.resend_ms(0))


def set_resend(core: Core, delay_ms: int) -> None:
    """Say what we have, and ask again for what we lack, after ``delay_ms``."""
    core.emit(SetTimer(Timer(TimerKind.RESEND, core.open.context.height, 0), delay_ms))
