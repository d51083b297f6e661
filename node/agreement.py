"""Where the open height stands, seat by seat: who proposes, who has voted. For ``status``; it changes nothing."""

from collections.abc import Callable
from typing import Any

from consensus.messages import SignedCommit, SignedPrepare
from consensus.state import HeightState
from consensus.tally import VoteBox


def agreement(state: HeightState, name_of: Callable[[int], str]) -> dict[str, Any]:
    """The round's proposer and voters by name; ``name_of`` names a validator by its position in V(height)."""
    validators, round_ = range(len(state.context.validators)), state.round
    voted = _voters(state.tally.prepares, round_, len(validators)) | _voters(
        state.tally.commits, round_, len(validators)
    )
    return {
        "height": state.context.height,
        "round": round_,
        "proposer": name_of(state.context.proposer(round_)),
        "proposed": round_ in state.accepted,
        "voted": [name_of(index) for index in validators if index in voted],
        "missing": [name_of(index) for index in validators if index not in voted],
    }


def _voters(box: VoteBox[SignedPrepare] | VoteBox[SignedCommit], round_: int, count: int) -> set[int]:
    return {index for index in range(count) if any(vote.message.round == round_ for vote in box.by(index))}
