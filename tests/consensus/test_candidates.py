"""What the core itself checks of a block before it fetches or votes (CONSENSUS §2)."""

import dataclasses
from typing import Any

import msgspec
import pytest

from consensus import effects as fx
from consensus import messages as wire
from consensus.candidates import Candidate, Candidates
from ledger.blocks import Evidence as EvidenceItem
from ledger.blocks import SignedVote, decode_header, evidence_root
from ledger.codec import encode
from ledger.votes import Certificate, Prepare
from tests.consensus.harness import CHAIN_ID, make_context
from tests.consensus.solo import Solo, follower, leader, of, said

X = b"\1" * 32


def with_header(block: wire.CompactBlock, **fields: Any) -> wire.CompactBlock:
    header = msgspec.structs.replace(decode_header(block.header), **fields)
    return msgspec.structs.replace(block, header=encode(header))


WRONG_HEADERS: list[tuple[dict[str, Any], str]] = [
    ({"version": 2}, "version"),
    ({"epoch": 1}, "epoch"),
    ({"height": 2}, "height"),
    ({"parent": X}, "parent"),
    ({"tx_count": 1}, "tx_count"),
    ({"txs_root": X}, "txs_root"),
    ({"parent_certificate_hash": X}, "parent_certificate_hash"),
    ({"evidence_root": X}, "evidence_root"),
]


@pytest.mark.parametrize(("fields", "why"), WRONG_HEADERS)
def test_each_wrong_field_of_a_header_is_named_and_blamed(fields: dict[str, Any], why: str) -> None:
    solo = Solo(follower())
    block = with_header(solo.block(leader()), **fields)
    found = Candidates(solo.context).examine(block)
    assert isinstance(found, str)
    assert why in found
    effects = solo.receive(leader(), solo.proposal(block))
    assert [blame.code for blame in of(fx.Blame, effects)] == ["proposal"]
    assert not said(effects)


def test_at_a_height_of_version_2_a_block_of_version_1_is_wrong_and_one_of_version_2_right() -> None:
    solo = Solo(follower())
    context = dataclasses.replace(solo.context, version=2)
    old = solo.block(leader())
    assert "version" in str(Candidates(context).examine(old))
    assert not isinstance(Candidates(context).examine(with_header(old, version=2)), str)


def test_a_header_that_does_not_decode_is_blamed() -> None:
    solo = Solo(follower())
    block = msgspec.structs.replace(solo.block(leader()), header=b"\xc1")
    effects = solo.receive(leader(), solo.proposal(block))
    assert [blame.code for blame in of(fx.Blame, effects)] == ["proposal"]


def test_a_block_that_is_not_the_proposed_one_is_blamed() -> None:
    solo = Solo(follower())
    good = solo.proposal(solo.block(leader(), 1))
    swapped = msgspec.structs.replace(good, block=solo.block(leader(), 2))
    effects = solo.receive(leader(), swapped)
    assert [(blame.code, blame.detail) for blame in of(fx.Blame, effects)] == [
        ("proposal", "the header is not the proposed one")
    ]


def test_an_id_twice_in_a_block_is_refused() -> None:
    solo = Solo(follower())
    assert isinstance(Candidates(solo.context).examine(solo.block(leader(), transactions=(b"one", b"one"))), str)


def test_certificate_and_evidence_stand_in_full_and_are_bound_by_the_header() -> None:
    solo = Solo(follower())
    item = EvidenceItem(0, *(SignedVote(Prepare(1, 0, hash), 0, bytes(64)) for hash in (X, bytes(32))))
    block = solo.block(leader())
    candidates = Candidates(solo.context)
    assert isinstance(candidates.examine(msgspec.structs.replace(block, evidence=(item,))), str)
    bound = with_header(msgspec.structs.replace(block, evidence=(item,)), evidence_root=evidence_root((item,)))
    assert isinstance(candidates.examine(bound), Candidate)
    other = msgspec.structs.replace(block, parent_certificate=Certificate(1, 0, X, ()))
    assert isinstance(candidates.examine(other), str)


def test_a_compact_block_gives_the_canonical_body() -> None:
    from ledger.blocks import decode_body

    solo = Solo(follower())
    block = solo.block(leader())
    body = decode_body(block.body_bytes((b"one", b"two")))
    assert body.transactions == (b"one", b"two")
    assert body.parent_certificate == solo.context.parent_certificate


def test_two_round_changes_of_one_target_are_evidence() -> None:
    solo = Solo(follower())
    solo.receive(leader(), solo.change(leader(), 3))
    effects = solo.receive(leader(), solo.change(leader(), 3, (1, X)))
    (report,) = of(fx.ReportEvidence, effects)
    assert {report.evidence.first.message.round, report.evidence.second.message.round} == {3}
    assert solo.core.state.open.tally.changes[leader()].message.prepared_round == -1


def test_the_two_messages_of_evidence_verify_as_they_stand() -> None:
    solo = Solo(follower())
    solo.receive(leader(), solo.prepare(leader(), X))
    (report,) = of(fx.ReportEvidence, solo.receive(leader(), solo.prepare(leader(), bytes(32))))
    for vote in (report.evidence.first, report.evidence.second):
        digest = vote.message.signing_digest(CHAIN_ID, report.evidence.epoch)
        assert solo.core.state.scheme.verify(make_context(4, 0, []).key(vote.index), digest, vote.signature)


def test_prepared_round_changes_of_the_next_height_wait_for_it() -> None:
    solo = Solo(follower())
    later = msgspec.structs.replace(solo.change(leader(), 1).message, height=2)
    change = wire.SignedRoundChange(later, leader(), solo.sign(leader(), later))
    solo.receive(leader(), wire.PreparedRoundChange(change, ()))
    assert len(solo.core.state.early) == 1
