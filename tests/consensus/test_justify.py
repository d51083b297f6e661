"""Every clause of a proposal's justification, violated alone (CONSENSUS §2)."""

from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pytest

from consensus import justify
from consensus.context import HeightContext
from consensus.messages import SignedPrepare, SignedProposal, SignedRoundChange
from ledger.blocks import Header, decode_header, header_hash
from ledger.codec import encode
from ledger.votes import Prepare, Proposal, RoundChange, quorum
from tests.consensus.harness import make_block, make_context

N = 7
Q = quorum(N)
ROUND = 3
SIGNATURE = bytes(64)


@dataclass(frozen=True)
class Case:
    context: HeightContext
    proposal: SignedProposal
    header: Header

    def fault(self) -> str | None:
        return justify.proposal_fault(self.context, self.proposal, self.header)

    def change(self, **fields: Any) -> "Case":
        return replace(self, proposal=msgspec.structs.replace(self.proposal, **fields))


def change(
    index: int, prepared: tuple[int, bytes] = (-1, b""), round: int = ROUND, height: int = 1
) -> SignedRoundChange:
    return SignedRoundChange(RoundChange(height, round, *prepared), index, SIGNATURE)


def prepare(index: int, hash: bytes, round: int) -> SignedPrepare:
    return SignedPrepare(Prepare(1, round, hash), index, SIGNATURE)


def case(round: int, creator: int | None, changes: Any = (), prepares: Any = ()) -> Case:
    context = make_context(N, 0, [])
    leader = context.proposer(round)
    key = context.key(leader if creator is None else creator)
    block = make_block(1, context.parent_hash, key, context.parent_certificate, (), context.validators)
    hash = header_hash(block.header)
    proposal = SignedProposal(Proposal(1, round, hash), leader, SIGNATURE, block, (), tuple(changes), tuple(prepares))
    return Case(context, proposal, decode_header(block.header))


def fresh() -> Case:
    return case(ROUND, None, [change(i) for i in range(Q)])


def prepared_at(m: int = 1) -> Case:
    """The block of another creator, prepared at m by one of the changes."""
    context = make_context(N, 0, [])
    creator = next(i for i in range(N) if i != context.proposer(ROUND))
    bare = case(ROUND, creator)
    hash = bare.proposal.message.hash
    changes = [change(0, (m, hash)), change(1, (0, b"\7" * 32)), *(change(i) for i in range(2, Q))]
    return bare.change(round_changes=tuple(changes), prepares=tuple(prepare(i, hash, m) for i in range(Q)))


def test_round_zero_needs_nothing() -> None:
    assert case(0, None).fault() is None


def test_q_unprepared_round_changes_justify_a_fresh_block() -> None:
    assert fresh().fault() is None


def test_the_highest_prepared_value_is_justified_and_the_others_need_not_agree() -> None:
    assert prepared_at().fault() is None


def test_more_than_a_quorum_is_as_good() -> None:
    assert fresh().change(round_changes=tuple(change(i) for i in range(N))).fault() is None


def test_violated_is_of_the_height() -> None:
    wrong = fresh()
    message = msgspec.structs.replace(wrong.proposal.message, height=2)
    assert wrong.change(message=message).fault() == "is_of_the_height"


def test_violated_is_by_the_proposer() -> None:
    ours = fresh()
    assert ours.change(index=(ours.proposal.index + 1) % N).fault() == "is_by_the_proposer"


def test_violated_is_unjustified_at_round_zero() -> None:
    assert case(0, None, [change(i, round=0) for i in range(Q)]).fault() == "is_unjustified"
    assert case(0, None, (), [prepare(0, bytes(32), 0)]).fault() == "is_unjustified"


@pytest.mark.parametrize("wrong", [change(0, round=ROUND - 1), change(0, round=ROUND + 1), change(0, height=2)])
def test_violated_target_exactly(wrong: SignedRoundChange) -> None:
    assert fresh().change(round_changes=(wrong, *(change(i) for i in range(1, Q)))).fault() == "target_exactly"


def test_violated_are_distinct() -> None:
    assert fresh().change(round_changes=(change(0), *(change(i) for i in range(Q)))).fault() == "are_distinct"
    ours = prepared_at()
    twice = (*ours.proposal.prepares, ours.proposal.prepares[0])
    assert ours.change(prepares=twice).fault() == "are_distinct"


def test_violated_are_a_quorum() -> None:
    assert fresh().change(round_changes=tuple(change(i) for i in range(Q - 1))).fault() == "are_a_quorum"
    strangers = (*(change(i) for i in range(Q - 1)), change(N))
    assert fresh().change(round_changes=strangers).fault() == "are_a_quorum"


def test_a_proposal_above_round_zero_without_any_round_change_is_not_justified() -> None:
    assert case(ROUND, None).fault() == "are_a_quorum"


@pytest.mark.parametrize("m", [ROUND, ROUND + 1])
def test_violated_prepared_below(m: int) -> None:
    assert prepared_at(m).fault() == "prepared_below"


def test_violated_proposes_the_prepared_by_a_stale_value() -> None:
    ours = prepared_at()
    stale = tuple(change(i, (2, b"\1" * 32)) if i == 2 else c for i, c in enumerate(ours.proposal.round_changes))
    assert ours.change(round_changes=stale).fault() == "proposes_the_prepared"


def test_violated_prepares_match() -> None:
    ours = prepared_at()
    hash = ours.proposal.message.hash
    for wrong in (prepare(0, hash, 0), prepare(0, b"\1" * 32, 1), prepare(0, hash, 2)):
        assert ours.change(prepares=(wrong, *ours.proposal.prepares[1:])).fault() == "prepares_match"


def test_violated_prepares_are_a_quorum() -> None:
    ours = prepared_at()
    assert ours.change(prepares=ours.proposal.prepares[1:]).fault() == "prepares_are_a_quorum"
    assert ours.change(prepares=()).fault() == "prepares_are_a_quorum"


def test_violated_no_prepares_for_a_fresh_block() -> None:
    ours = fresh()
    extra = (prepare(0, ours.proposal.message.hash, 0),)
    assert ours.change(prepares=extra).fault() == "no_prepares_for_a_fresh_block"


def test_violated_is_created_by_the_proposer() -> None:
    context = make_context(N, 0, [])
    other = next(i for i in range(N) if i != context.proposer(0))
    assert case(0, other).fault() == "is_created_by_the_proposer"
    other = next(i for i in range(N) if i != context.proposer(ROUND))
    assert case(ROUND, other, [change(i) for i in range(Q)]).fault() == "is_created_by_the_proposer"


def test_violated_is_created_by_a_validator() -> None:
    ours = prepared_at()
    stranger = msgspec.structs.replace(ours.header, creator=b"\5" * 32)
    assert replace(ours, header=stranger).fault() == "is_created_by_a_validator"


def test_the_proposer_waits_for_prepares_and_body_but_may_use_any_other_quorum() -> None:
    context = make_context(N, 0, [])
    hash = b"\3" * 32
    prepared, others = change(0, (1, hash)), [change(i) for i in range(1, Q + 1)]
    assert justify.choose(context, [prepared, *others[: Q - 1]], {}) is None
    chosen = justify.choose(context, [prepared, *others], {})
    assert chosen == (tuple(others), ())
    certificate = tuple(prepare(i, hash, 1) for i in range(Q))
    chosen = justify.choose(context, [*others, prepared], {(1, hash): certificate})
    assert chosen is not None
    assert prepared in chosen[0]
    assert chosen[1] == certificate
    assert len(chosen[0]) == Q


def test_what_choose_gives_is_justified() -> None:
    ours = prepared_at()
    hash = ours.proposal.message.hash
    other = (0, b"\7" * 32)
    prepares_of = {(1, hash): ours.proposal.prepares, other: tuple(prepare(i, other[1], 0) for i in range(Q))}
    chosen = justify.choose(ours.context, list(ours.proposal.round_changes), prepares_of)
    assert chosen is not None
    assert ours.change(round_changes=chosen[0], prepares=chosen[1]).fault() is None


def test_the_encoded_justification_of_seven_is_small() -> None:
    assert len(encode(prepared_at().proposal)) < 4_096
