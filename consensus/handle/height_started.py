"""Input: the next height is open, for its parent's batch is synced (CONSENSUS §3)."""

from typing import Final

from ledger.errors import InvariantViolation

from .. import admission, rounds
from ..context import RESEND_MS_MAX
from ..effects import Broadcast, Compact, SetTimer
from ..events import HeightStarted, Timer, TimerKind
from ..quorum import faults
from ..repair import status_of
from ..state import Core

MISSED_HEIGHTS_MAX: Final = 4
"""Further below the others synchronisation does the work, and asking at each height would help nobody."""


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
    if context.index is not None and _missed_some(core):
        core.emit(Broadcast(status_of(core)))
    if context.certify and context.proposer(0) == context.index:
        core.emit(SetTimer(Timer(TimerKind.CERTIFY, context.height, 0), context.timing.certify_wait_ms))


def _missed_some(core: Core) -> bool:
    """Whether f + 1 validators were heard to be at this height, or a little above, while we were too far below to keep
    what they said. It is not sent again before their timers run off; and if we lead this height, all wait for us.
    """
    context = core.open.context
    core.missed = {index: height for index, height in core.missed.items() if height >= context.height}
    heights = sorted(core.missed.values(), reverse=True)
    f = faults(len(context.validators))
    return len(heights) > f and heights[f] < context.height + MISSED_HEIGHTS_MAX


def _leave(core: Core, event: HeightStarted) -> None:
    left, context = core.open, event.context
    if (context.epoch, context.height) <= (left.context.epoch, left.context.height):
        raise InvariantViolation(f"height {context.height} started after {left.context.height}")
    if context.epoch != left.context.epoch:
        core.early.clear()  # said in the epoch that is over
    core.previous = None
    if left.decided is not None and context.height == left.context.height + 1:
        if context.parent_hash != left.decided:
            raise InvariantViolation(f"height {left.context.height} was decided otherwise than it was executed")
        core.previous = left.candidates.get(left.decided)
