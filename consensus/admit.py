"""Votes on their way in: each verified at most once, counted, and held against what the signer said before (§2, §4)."""

from collections.abc import Sequence

from ledger.blocks import Evidence

from .early import EarlyMessage, vote_height
from .effects import Behind, Blame, ReportEvidence
from .messages import Signed, SignedCommit, SignedPrepare
from .state import Core


def is_later(core: Core, peer: bytes, index: int | None, message: EarlyMessage) -> bool:
    """Whether ``message`` is of a later height: of the next one it is kept, beyond that its sender is ahead of us.

    Whoever votes at h has committed h − 1. Without this a validator that lags by two would hear of it only when the
    others fall silent, for under load their Status timers never run off. Said once a peer and period. That messages
    were dropped is remembered: when we come to that height, they are asked for at once (``handle.height_started``).
    """
    ours, theirs = core.open.context.height, vote_height(message)
    if theirs > ours and index is not None:
        if theirs == ours + 1:
            core.early.keep(peer, index, message)
            return True
        core.missed[index] = max(theirs, core.missed.get(index, 0))
        is_ahead(core, peer, theirs)
    return theirs > ours


def is_ahead(core: Core, peer: bytes, height: int) -> None:
    """``peer`` speaks of ``height``, above ours: it has what is below. Said once a peer and period."""
    if ("behind", peer) not in core.open.asked:
        core.open.asked.add(("behind", peer))
        core.emit(Behind(peer, height - 1))


def take(core: Core, peer: bytes, index: int | None, signed: Signed) -> None:
    """A vote by itself. One that nothing waits for any more is kept unverified, from its signer's own link only: so a
    wrong one hides nothing but what its sender signed. (Of four validators two votes a height are such spares.)
    """
    height = core.open
    if index is not None and index == signed.index and signed.message.height == height.context.height:
        decided = height.decided is not None
        if not height.tally.known(signed) and height.tally.keep_spare(signed, height.round, decided):
            return
    admit(core, peer, signed)


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
    for spare in height.tally.spares_against(signed):
        if core.verified(spare):
            height.tally.add(spare, height.round)
    evidence = height.tally.add(signed, height.round)
    if evidence is not None:
        report(core, evidence)
    return True


def admit_prepares(core: Core, peer: bytes, votes: Sequence[SignedPrepare]) -> bool:
    """Prepares that came together: q of them for one value are kept whole."""
    if not all(admit(core, peer, vote) for vote in votes):
        return False
    core.open.tally.prepares.add_set(votes)
    return True


def admit_commits(core: Core, peer: bytes, votes: Sequence[SignedCommit]) -> bool:
    """Commits that came together: q of them for one value are kept whole."""
    if not all(admit(core, peer, vote) for vote in votes):
        return False
    core.open.tally.commits.add_set(votes)
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
