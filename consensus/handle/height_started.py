"""Input: the next height is open, for its parent's batch is synced (CONSENSUS §3)."""

from ledger.errors import InvariantViolation

from .. import admission, rounds
from ..context import RESEND_MS_MAX
from ..effects import Compact, SetTimer
from ..events import HeightStarted, Timer, TimerKind
from ..state import Core


def handle(core: Core, event: HeightStarted) -> None:
    """Forget the height before, open this one, take up what the log holds of it."""
    context = event.context
    if core.started:
        _leave(core, event)
    core.start(context)
    core.record.raise_to(context.epoch, context.height)
    core.persisting.clear()
    core.signing.clear()
    core.adopting = None
    if context.height > 1:
        core.emit(Compact(context.epoch, context.height - 1))
    admission.load_bodies(core)
    active = context.certify or core.record.round >= 0
    rounds.set_resend(core, context.timing.resend_ms(0) if active else RESEND_MS_MAX)
    admission.begin(core, event.nonce)
    if context.certify and context.proposer(0) == context.index:
        core.emit(SetTimer(Timer(TimerKind.CERTIFY, context.height, 0), context.timing.certify_wait_ms))


def _leave(core: Core, event: HeightStarted) -> None:
    left, context = core.open, event.context
    if (context.epoch, context.height) <= (left.context.epoch, left.context.height):
        raise InvariantViolation(f"height {context.height} started after {left.context.height}")
    core.previous = None
    if left.decided is not None and context.height == left.context.height + 1:
        if context.parent_hash != left.decided:
            raise InvariantViolation(f"height {left.context.height} was decided otherwise than it was executed")
        core.previous = left.candidates.get(left.decided)
