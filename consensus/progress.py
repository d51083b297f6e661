"""What follows from the state: called after every event, it derives each step that has become possible (CONSENSUS §1).

Handlers only record what they were told. Here the steps are tried in the protocol's order; each is idempotent, so it
does not matter which event made it possible. This is the state table of ``consensus/README.md``.
"""

from . import admission, propose, repair, rounds, voting
from .state import Core


def progress(core: Core) -> None:
    """Take every step that is possible now."""
    height = core.open
    if height.decided is not None:
        return
    voting.try_decide(core)
    if height.decided is not None:
        return
    admission.try_clear(core)
    if core.may_sign:
        admission.resume(core)
        rounds.join(core)
        rounds.start_timer(core)
        propose.try_propose(core)
        voting.try_prepare(core)
        voting.try_commit(core)
    repair.fetch_wanted(core)
