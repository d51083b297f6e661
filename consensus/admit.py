"""Votes on their way in: each verified at most once, counted, and held against what the signer said before (§2, §4)."""

from ledger.blocks import Evidence

from .effects import Blame, ReportEvidence
from .messages import Signed
from .state import Core


def admit(core: Core, peer: bytes, signed: Signed) -> bool:
    """Whether ``signed`` is a valid vote of the open height; it is counted then. An invalid signature is blamed."""
    height = core.open
    if signed.message.height != height.context.height:
        return False
    if not 0 <= signed.index < len(height.context.validators):
        blame(core, peer, "index", f"{signed.index} is outside the validator set")
        return False
    if height.tally.known(signed):
        return True
    if not core.verified(signed):
        blame(core, peer, "signature", f"{signed.message} of index {signed.index} does not verify")
        return False
    evidence = height.tally.add(signed, height.round)
    if evidence is not None:
        report(core, evidence)
    return True


def report(core: Core, evidence: Evidence) -> None:
    """Hand evidence out once for each validator and kind of message."""
    what = (evidence.first.index, type(evidence.second.message).__name__)
    if what not in core.open.accused:
        core.open.accused.add(what)
        core.emit(ReportEvidence(evidence))


def blame(core: Core, peer: bytes, code: str, detail: str) -> None:
    """``peer`` sent what no honest node sends."""
    core.emit(Blame(peer, code, detail))
