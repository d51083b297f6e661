"""Whatever the others say, in any order, all of them Byzantine: the core never fails, and never contradicts itself."""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus import effects as fx
from consensus import events as ev
from consensus import messages as wire
from consensus.messages import Lock
from consensus.quorum import quorum
from ledger.blocks import header_hash
from ledger.votes import Certificate, Seal
from tests.consensus.solo import Solo, follower, of

ME = follower()
OTHERS = [index for index in range(4) if index != ME]
rounds = st.integers(0, 3)
others = st.sampled_from(OTHERS)
tags = st.integers(0, 1)
kinds = st.sampled_from(
    [
        "proposal",
        "again",
        "prepare",
        "commit",
        "change",
        "prepared",
        "certificate",
        "status",
        "question",
        "answer",
        "block",
        "bodies",
        "get",
        "prepares",
        "due",
        "timeout",
        "resend",
        "available",
    ]
)
steps = st.lists(st.tuples(kinds, others, rounds, rounds, tags, st.integers(0, 9)), min_size=5, max_size=45)


def make(solo: Solo, step: tuple[str, int, int, int, int, int]) -> ev.Event:
    kind, index, round, low, tag, noise = step
    block = solo.block(solo.context.proposer(low), tag)
    hash = header_hash(block.header)
    prepares = tuple(solo.prepare(i, hash, low) for i in (*OTHERS, *OTHERS)[: 2 + noise % 3])
    fresh = [solo.change(i, round) for i in OTHERS]
    again = [solo.change(index, round, (low, hash)), *(solo.change(i, round) for i in OTHERS if i != index)]
    if kind in ("proposal", "again") and solo.context.proposer(round) == ME:
        kind = "due"  # nobody else has our key
    match kind:
        case "due":
            return ev.BlockDue(1, list(ev.DueReason)[noise % 5])
        case "timeout":
            return ev.Timeout(ev.Timer(ev.TimerKind.ROUND, 1, round))
        case "resend":
            return ev.Timeout(ev.Timer(ev.TimerKind.RESEND, 1, 0))
        case "available":
            return ev.BodyAvailable(1, hash, (b"one", None) if noise % 2 else (None, b"two"))
    certificate = Certificate(1, round, hash, tuple(Seal(i, solo.commit(i, hash, round).signature) for i in OTHERS))
    messages: dict[str, Any] = {
        "proposal": solo.proposal(block, round, fresh if round else ()),
        "again": solo.proposal(block, round, again, prepares),
        "prepare": solo.prepare(index, hash, round, 1 + noise // 8),
        "commit": solo.commit(index, hash, round, 1 + noise // 8),
        "change": solo.change(index, round, (low, hash) if noise % 2 else (-1, b"")),
        "prepared": wire.PreparedRoundChange(solo.change(index, round, (low, hash)), prepares),
        "certificate": wire.CommitCertificate(certificate),
        "status": wire.Status(
            noise // 3, round, hash, low - 1, (low - 1,) * 4, (-1,) * 4, (round - 1,) * (4 - noise % 2)
        ),
        "question": wire.LastSeenQuestion(1, solo.context.key(index), hash),
        "answer": solo.answer(lock=Lock(1, low, hash, prepares), votes=(solo.vote(solo.prepare(ME, hash, low)),)),
        "block": wire.Block(1, block),
        "bodies": wire.Bodies(1, hash, (b"one", b"two", b"three")[: 1 + noise % 3]),
        "get": wire.GetBodies(1, hash, bytes([noise])) if noise % 2 else wire.GetBlock(1, hash),
        "prepares": wire.Prepares(prepares),
    }
    message = messages[kind]
    if noise == 9 and hasattr(message, "signature"):
        message = msgspec.structs.replace(message, signature=bytes(64))
    epoch, message = wire.decode_framed(wire.encode_framed(noise % 8 == 7, message))
    return ev.Received(bytes([index]) * 32, index, message, epoch)


@settings(max_examples=150, deadline=None)
@given(steps, st.booleans(), st.sampled_from([None, ev.Verdict.VALID, ev.Verdict.STALE, ev.Verdict.INVALID]))
def test_no_story_told_by_the_others_breaks_the_core(
    story: list[tuple[str, int, int, int, int, int]], found: bool, verdict: ev.Verdict | None
) -> None:
    solo = Solo(ME, body_found=found, verdict=verdict)
    said: dict[tuple[str, int], object] = {}
    decided = []
    for step in story:
        for effect in solo.step(make(solo, step)):
            if isinstance(effect, fx.Sign):
                message = effect.request.message
                assert said.setdefault((type(message).__name__, message.round), message) == message
            if isinstance(effect, fx.Decide):
                decided.append(effect.certificate)
    assert len(decided) <= 1
    assert all(len(certificate.seals) == quorum(4) for certificate in decided)
    for accused in of(fx.ReportEvidence, solo.all):
        assert accused.evidence.first.index != ME


@settings(max_examples=60, deadline=None)
@given(steps)
def test_a_restart_at_any_moment_takes_up_the_same_record(story: list[tuple[str, int, int, int, int, int]]) -> None:
    solo = Solo(ME)
    for step in story:
        solo.step(make(solo, step))
    live = solo.core.state.record
    again = Solo(ME, records=solo.durable)
    assert (again.core.state.record.granted, again.core.state.record.lock) == (live.granted, live.lock)
    if live.round >= 0 and again.core.state.open.decided is None:
        assert again.core.round == live.round
