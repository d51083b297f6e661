"""The jury of a dispute, drawn and counted once more by somebody without a node (LEDGER §7, §10).

Rules of this file
- The seed comes from the beacons of the headers, the panel from the seed; who was hit and could not serve stands in the
  dispute's row with a reason, which is the validators' word: whoever has no state cannot see arrears or exams.
- Every counted ballot is shown, of a drawn juror, one each; so nobody is counted who was not drawn.
- The quorum is not recomputed: it is that of the day of the diagnosis, and the claim's row is the claimant's.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from . import dispute_view, jury
from .disputes import Exclusion, Outcome
from .errors import ProofFailed
from .findings import Finding, certified, recomputed
from .rows import Ballot, Dispute, Draw
from .state import Index, StateReader, u64

_OUTCOMES: Final = {
    Outcome.NONE: "The jury has not ended.",
    Outcome.CLEARED: "More than half of the opened ballots clear the claim, and so did the jury.",
    Outcome.REFUSED: "More than half of the opened ballots refuse the claim, and so did the jury.",
    Outcome.NO_QUORUM: "The jury decided nothing: too few ballots, or no majority.",
    Outcome.NO_PANEL: "Too few jurors could serve; the experts judged.",
    Outcome.TOO_FEW_OBJECTIONS: "The objections were too few.",
    Outcome.ABANDONED: "The dispute was abandoned.",
}
_DECIDED: Final = (Outcome.CLEARED, Outcome.REFUSED)


@dataclass(frozen=True, slots=True)
class JurySums:
    """The jury of a dispute, drawn once more."""

    row: Dispute
    draw: Draw


def jury_sums(
    state: StateReader, dispute_id: int, ballots: tuple[int, ...], draw_of: Callable[[int], Draw]
) -> JurySums:
    """Draw the panel of a dispute again from its closed draw (``draw_of`` checks it), and count the opened ballots.

    ``ballots`` are rows of opened ballots, ascending: of drawn jurors, one each, as many as the dispute counts. Raises
    ``ProofFailed``.
    """
    row, where = state.get(Dispute, dispute_id), f"disputes {dispute_id}"
    if not row.seed:
        raise ProofFailed(where, "no jury was drawn for it")
    draw = draw_of(row.draw)
    wrong = dispute_view.verify(row, draw)
    if wrong:
        raise ProofFailed(where, f"the draw gives another jury: its {wrong} is not what the rules make of the beacons")
    votes: dict[int, int] = {}
    if any(low >= high for low, high in zip(ballots, ballots[1:], strict=False)):
        raise ProofFailed("ballots", "the file does not name them ascending")
    for ballot_id in ballots:
        ballot = state.get(Ballot, ballot_id)
        if ballot.dispute != dispute_id or ballot.juror not in row.drawn or ballot.juror in votes or not ballot.vote:
            raise ProofFailed(f"ballots {ballot_id}", "not an opened ballot of a juror of this dispute, one each")
        votes[ballot.juror] = ballot.vote
    counted = [sum(vote == side for vote in votes.values()) for side in (jury.Vote.CLEAR, jury.Vote.REFUSE)]
    if counted != [row.clear, row.refuse]:
        raise ProofFailed(where, f"the ballots count {counted}, the dispute says {[row.clear, row.refuse]}")
    if row.outcome in _DECIDED and jury.verdict(row.clear, row.refuse, 1) != row.outcome:
        raise ProofFailed(where, "its outcome is not what most of the ballots say")
    return JurySums(row, draw)


def opened_ballots(state: StateReader, dispute_id: int) -> tuple[int, ...]:
    """Rows of the opened ballots of a dispute, ascending; reads the index."""
    row = state.get(Dispute, dispute_id)
    found = (state.index_id(Index.BALLOT, u64(dispute_id, juror)) for juror in row.drawn)
    return tuple(sorted(at for at in found if at is not None and state.get(Ballot, at).vote))


def sentences(dispute_id: int, sums: JurySums) -> list[Finding]:
    """What a checked jury proves, in words."""
    row, draw = sums.row, sums.draw
    found = [
        recomputed(
            f"Dispute {dispute_id} of claim {row.claim} has its row in this state. Its draw, {row.draw}, was "
            f"opened in block {draw.opened_height} and closed in block {draw.closed_height}: the seed is the hash of "
            f"the beacons of these {draw.blocks} blocks, each the only one that its creator could give, and of the "
            "claim's number."
        ),
        recomputed(
            f"This seed hits, among {row.jurors} jurors, the {len(row.drawn)} who were drawn and the "
            f"{len(row.rejected)} who were rejected, in this order and nobody else; {row.panel} were wanted."
        ),
        certified(
            f"There were {row.jurors} jurors when the draw was opened, and each who was rejected was so for the reason "
            f"in the row{_reasons(row)}."
        ),
        recomputed(
            f"{row.clear + row.refuse} ballots of drawn jurors were opened, one each: {row.clear} clear the claim, "
            f"{row.refuse} refuse it."
        ),
    ]
    said = _OUTCOMES[Outcome(row.outcome)]
    if row.outcome not in _DECIDED:
        return [*found, certified(said)]
    return [*found, recomputed(said), certified("The ballots were as many as the quorum of the plan, or more.")]


def figures(dispute_id: int, row: Dispute) -> dict[str, int | str]:
    """The same for programs."""
    return {
        "dispute": dispute_id,
        "claim": row.claim,
        "draw": row.draw,
        "seed": row.seed.hex(),
        "jurors": row.jurors,
        "drawn": ",".join(str(juror) for juror in row.drawn),
        "rejected": ",".join(str(juror) for juror, _ in row.rejected),
        "clear": row.clear,
        "refuse": row.refuse,
        "outcome": Outcome(row.outcome).name,
    }


def _reasons(row: Dispute) -> str:
    counted = Counter(Exclusion(reason).name for _, reason in row.rejected)
    return f" ({', '.join(f'{name} {number}' for name, number in sorted(counted.items()))})" if counted else ""
