"""Inputs: Prepare, Commit, RoundChange (CONSENSUS §2). QBFT ``UponPrepare``, ``UponCommit``, ``UponRoundChange``."""

from ..admit import admit_prepares, blame, is_later, take
from ..justify import prepared_below
from ..messages import PreparedRoundChange, Signed, SignedRoundChange
from ..state import Core


def handle(core: Core, peer: bytes, index: int | None, signed: Signed) -> None:
    """Count it; what follows is progress."""
    if is_later(core, peer, index, signed):
        return
    if isinstance(signed, SignedRoundChange) and not prepared_below((signed,)):
        blame(core, peer, "round_change", "prepared in a round that is not below its target")
        return
    take(core, peer, index, signed)


def handle_prepared(core: Core, peer: bytes, index: int | None, message: PreparedRoundChange) -> None:
    """A round change with the q prepares of its value."""
    if is_later(core, peer, index, message):
        return
    handle(core, peer, index, message.change)
    admit_prepares(core, peer, message.prepares)
