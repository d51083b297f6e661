"""Input: the fresh block we asked for."""

from ledger.errors import InvariantViolation

from ..events import BlockBuilt, Verdict
from ..propose import propose
from ..state import Core


def handle(core: Core, event: BlockBuilt) -> None:
    """Propose it, unless its round is over."""
    height = core.open
    building = height.building
    if event.height != height.context.height or building is None or building.round != event.round:
        return
    if height.decided is not None or height.round != event.round or event.round in height.accepted:
        return
    if not core.may_sign:
        return
    height.building = None
    candidate = height.candidates.add(event.block)
    if isinstance(candidate, str):
        raise InvariantViolation(f"we built an invalid block: {candidate}")
    candidate.fill(event.transactions)
    if not candidate.complete:
        raise InvariantViolation("we built a block without all its transactions")
    candidate.verdict = Verdict.VALID
    propose(core, candidate, building.round_changes, (), event.recent)
