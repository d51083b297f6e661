"""Input: a timer has run off. One that was set for another height or round is stale and means nothing."""

from .. import admission, rounds
from ..effects import Broadcast
from ..events import Timeout, TimerKind
from ..repair import status_of
from ..state import Core


def handle(core: Core, event: Timeout) -> None:
    """Leave the round, end a wait, or say what we have."""
    timer, height = event.timer, core.open
    if timer.height != height.context.height and timer.kind is not TimerKind.LAST_SEEN:
        return
    match timer.kind:
        case TimerKind.ROUND:
            if timer.round == height.round and height.timer_started and core.may_sign:
                rounds.enter_round(core, height.round + 1)
        case TimerKind.CERTIFY:
            height.certify_over = True
        case TimerKind.LAST_SEEN:
            if core.last_seen is not None and core.last_seen.timer_set:
                core.last_seen.expired = True
        case TimerKind.RESEND:
            _resend(core)


def _resend(core: Core) -> None:
    height = core.open
    height.asked.clear()
    height.answered.clear()
    admission.ask(core)
    if height.context.index is not None:
        core.emit(Broadcast(status_of(core)))
    rounds.set_resend(core, height.context.timing.resend_ms(height.round))
