"""Wire messages: canonical, within limits, refused otherwise (CONSENSUS §2)."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus import messages as wire
from consensus.messages import decode_framed, decode_message, encode_framed, encode_message
from ledger.blocks import SignedVote, genesis_certificate
from ledger.codec import encode
from ledger.errors import MalformedBytes
from ledger.limits import BLOCK_TRANSACTIONS_MAX, EVIDENCE_ITEMS_MAX, HEADER_BYTES_MAX, VALIDATORS_MAX
from ledger.votes import Certificate, Commit, Prepare, Proposal, RoundChange, Seal
from tests.consensus.harness import GENESIS_HASH, make_block, make_context

X, SIG = b"\1" * 32, bytes(64)
CONTEXT = make_context(4, 0, [])
BLOCK = make_block(1, GENESIS_HASH, CONTEXT.key(0), CONTEXT.parent_certificate, (b"a", b"b"), CONTEXT.validators)
PREPARE = wire.SignedPrepare(Prepare(1, 0, X), 0, SIG)
CHANGE = wire.SignedRoundChange(RoundChange(1, 1, 0, X), 0, SIG)
LOCK = wire.Lock(1, 0, X, (PREPARE,))
ANSWER = wire.LastSeenAnswer(X, 0, X, genesis_certificate(GENESIS_HASH), (SignedVote(Prepare(1, 0, X), 0, SIG),), LOCK)
PROPOSAL = wire.SignedProposal(Proposal(1, 1, X), 0, SIG, BLOCK, (b"a",), (CHANGE,), (PREPARE,))
STATUS = wire.Status(1, 2, X, -1, (0, -1), (-1, -1), (2, 0))
MESSAGES: list[wire.Message] = [
    PROPOSAL,
    PREPARE,
    wire.SignedCommit(Commit(1, 0, X), 0, SIG),
    CHANGE,
    wire.PreparedRoundChange(CHANGE, (PREPARE,)),
    wire.CommitCertificate(Certificate(1, 0, X, (Seal(0, SIG),))),
    STATUS,
    wire.LastSeenQuestion(1, X, X),
    ANSWER,
    wire.GetBlock(1, X),
    wire.Block(1, BLOCK),
    wire.GetBodies(1, X, b"\3"),
    wire.Bodies(1, X, (b"a", b"b")),
    wire.GetPrepares(1, 0, X),
    wire.Prepares((PREPARE,)),
    wire.GetCertificate(1),
]


def with_(base: Any, /, **fields: Any) -> Any:
    return msgspec.structs.replace(base, **fields)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_every_message_comes_back(message: wire.Message) -> None:
    assert decode_message(encode_message(message)) == message


@pytest.mark.parametrize("epoch", [0, 1, 2**32 - 1])
def test_on_a_link_the_epoch_stands_before_it(epoch: int) -> None:
    raw = encode_framed(epoch, PREPARE)
    assert raw == epoch.to_bytes(4, "big") + encode_message(PREPARE)
    assert decode_framed(raw) == (epoch, PREPARE)
    for cut in range(wire.EPOCH_BYTES + 1):
        with pytest.raises(MalformedBytes):
            decode_framed(raw[:cut])


def test_all_kinds_are_covered() -> None:
    assert {type(message) for message in MESSAGES} == set(wire.Message.__args__)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_cut_or_longer_bytes_are_refused(message: wire.Message) -> None:
    raw = encode_message(message)
    for wrong in (raw[:-1], raw + b"\0", b""):
        with pytest.raises(MalformedBytes):
            decode_message(wrong)


REFUSED: list[Any] = [
    with_(PREPARE, index=-1),
    with_(PREPARE, index=VALIDATORS_MAX),
    with_(PREPARE, signature=bytes(63)),
    with_(PREPARE, message=Prepare(-1, 0, X)),
    with_(PREPARE, message=Prepare(2**63, 0, X)),
    with_(PREPARE, message=Prepare(1, -1, X)),
    with_(PREPARE, message=Prepare(1, 2**31, X)),
    with_(PREPARE, message=Prepare(1, 0, X[1:])),
    with_(CHANGE, message=RoundChange(1, 1, -1, X)),
    with_(CHANGE, message=RoundChange(1, 1, 0, b"")),
    with_(CHANGE, message=RoundChange(1, 1, -2, b"")),
    with_(CHANGE, message=RoundChange(1, 1, 2**31, X)),
    wire.PreparedRoundChange(CHANGE, (with_(PREPARE, index=-1),)),
    wire.PreparedRoundChange(CHANGE, (PREPARE,) * (VALIDATORS_MAX + 1)),
    with_(PROPOSAL, recent=(bytes(wire.RECENT_BYTES_MAX + 1),)),
    with_(PROPOSAL, round_changes=(CHANGE,) * (VALIDATORS_MAX + 1)),
    with_(PROPOSAL, block=with_(BLOCK, ids=bytes(31))),
    with_(PROPOSAL, block=with_(BLOCK, ids=bytes(32 * (BLOCK_TRANSACTIONS_MAX + 1)))),
    with_(PROPOSAL, block=with_(BLOCK, header=bytes(HEADER_BYTES_MAX + 1))),
    with_(PROPOSAL, block=with_(BLOCK, parent_certificate=Certificate(0, 0, b"", ()))),
    wire.CommitCertificate(Certificate(1, 0, X, (Seal(0, SIG),) * (VALIDATORS_MAX + 1))),
    wire.CommitCertificate(Certificate(1, -1, X, ())),
    with_(STATUS, prepares=(-2,)),
    with_(STATUS, commits=(0,) * (VALIDATORS_MAX + 1)),
    with_(STATUS, head_hash=b""),
    with_(STATUS, round=-1),
    wire.LastSeenQuestion(1, X, X[1:]),
    wire.LastSeenQuestion(-1, X, X),
    with_(ANSWER, votes=ANSWER.votes * (wire.LAST_SEEN_VOTES_MAX + 1)),
    with_(ANSWER, votes=(SignedVote(Prepare(1, 0, b""), 0, SIG),)),
    with_(ANSWER, lock=with_(LOCK, round=-1)),
    with_(ANSWER, nonce=b""),
    wire.GetBlock(1, b""),
    wire.GetBodies(1, X, bytes(BLOCK_TRANSACTIONS_MAX // 8 + 1)),
    wire.Bodies(1, X, (b"",) * (BLOCK_TRANSACTIONS_MAX + 1)),
    wire.GetPrepares(-1, 0, X),
    wire.Prepares((with_(PREPARE, signature=b""),)),
    wire.GetCertificate(-1),
    wire.Block(-1, BLOCK),
]


@pytest.mark.parametrize("message", REFUSED, ids=lambda m: type(m).__name__)
def test_a_field_out_of_range_is_refused(message: wire.Message) -> None:
    with pytest.raises(MalformedBytes):
        decode_message(encode(message))


ALLOWED: list[Any] = [
    with_(PREPARE, index=VALIDATORS_MAX - 1),
    with_(PREPARE, message=Prepare(2**63 - 1, 2**31 - 1, X)),
    with_(CHANGE, message=RoundChange(1, 1, -1, b"")),
    with_(PROPOSAL, recent=(bytes(wire.RECENT_BYTES_MAX),)),
    with_(PROPOSAL, block=with_(BLOCK, ids=bytes(32 * BLOCK_TRANSACTIONS_MAX))),
    with_(PROPOSAL, block=with_(BLOCK, header=bytes(HEADER_BYTES_MAX))),
    with_(ANSWER, votes=ANSWER.votes * wire.LAST_SEEN_VOTES_MAX),
    wire.PreparedRoundChange(CHANGE, (PREPARE,) * VALIDATORS_MAX),
    wire.GetBodies(1, X, bytes(BLOCK_TRANSACTIONS_MAX // 8)),
    wire.Bodies(1, X, (b"",) * BLOCK_TRANSACTIONS_MAX),
]


@pytest.mark.parametrize("message", ALLOWED, ids=lambda m: type(m).__name__)
def test_at_the_limit_a_message_passes(message: wire.Message) -> None:
    assert decode_message(encode(message)) == message


def test_too_much_evidence_is_refused() -> None:
    from ledger.blocks import Evidence

    item = Evidence(0, ANSWER.votes[0], ANSWER.votes[0])
    full = with_(PROPOSAL, block=with_(BLOCK, evidence=(item,) * EVIDENCE_ITEMS_MAX))
    assert decode_message(encode(full)) == full
    with pytest.raises(MalformedBytes):
        decode_message(encode(with_(PROPOSAL, block=with_(BLOCK, evidence=(item,) * (EVIDENCE_ITEMS_MAX + 1)))))


def test_a_message_above_the_size_limit_is_refused_unread() -> None:
    with pytest.raises(MalformedBytes, match="at most"):
        decode_message(bytes(wire.MESSAGE_BYTES_MAX + 1))
    with pytest.raises(MalformedBytes, match="at most"):
        decode_framed(bytes(wire.EPOCH_BYTES + wire.MESSAGE_BYTES_MAX + 1))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_are_a_message_or_malformed(raw: bytes) -> None:
    try:
        epoch, message = decode_framed(raw)
    except MalformedBytes:
        return
    assert encode_framed(epoch, message) == raw


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(MESSAGES), st.data())
def test_mutated_messages_are_a_message_or_malformed(message: wire.Message, data: st.DataObject) -> None:
    raw = bytearray(encode_message(message))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = decode_message(bytes(raw))
    except MalformedBytes:
        return
    assert wire.shape_fault(decoded) is None
