"""Faults for the golden scenarios (``script.py``): who lies, who is two, and what a disk does.

| line | meaning |
|---|---|
| `byzantine Z` | Z may be blamed; every honest node's blame fails the story |
| `twin A2 of A` | a second process with A's key and a record of its own; both hear what is sent to A |
| `forge CLAUSE from Z to A` | Z leads round 3 and proposes, violating this clause of the justification alone |
| `forge nothing from Z to A` | the same proposal without a fault |
| `vote prepare X in round 0 from Z to A B` | Z's Prepare (or commit) for a block, which need not exist, arrives |
| `lie D head 9 to A` | D answers A's LastSeen with a head of height 9 that does not exist |
| `refute D to A` | synchronisation could not get that head from D |
| `disk A full` · `disk A free` | what is written waits · goes on |
| `disk A fails` | the next fsync gives an error: the process ends |
| `disk A tears` | power goes during the next write: its last record is cut |
| `damage A` | a byte in the middle of A's log flips while it is down |
| `expect A refused CLAUSE` | A blamed a proposal for it |
| `expect A blames Z` | |
| `expect A reports Z` | A holds evidence against Z |
| `expect A down` · `expect A refuses LOG_DAMAGED` | |
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from consensus import effects as fx
from consensus import events as ev
from consensus.log import START, decode_log, encode_frame
from consensus.messages import LastSeenAnswer, SignedCommit, SignedPrepare, SignedProposal, SignedRoundChange
from consensus.records import Record
from ledger import blocks
from ledger.codec import encode
from ledger.errors import OperatorError
from ledger.votes import Certificate, Commit, Prepare, Proposal, RoundChange
from tests.consensus.harness import CHAIN_ID, FAST, make_block, seed_of

if TYPE_CHECKING:
    from tests.consensus.script import Actor, Script

ROUND = 3
OTHER = b"\7" * 32


class ScenarioFailed(AssertionError):
    """The line and what was found instead."""


# ---- disks ---------------------------------------------------------------------------------------------------------


def log_bytes(records: list[Record]) -> bytes:
    """The file of a log whose every record was durable before the next one."""
    raw, position = b"", START
    for record in records:
        frame, position = encode_frame(record, position, position.sequence)
        raw += frame
    return raw


class Disk:
    """What the log of one process lies on."""

    def __init__(self) -> None:
        self.state = "sound"
        self.stalled: list[fx.Persist] = []
        self.copy: list[Record] = []
        self.refused = ""
        """Why the process does not start."""

    def takes(self, actor: Actor, effect: fx.Persist) -> bool:
        """Whether the records are durable now."""
        if self.state == "full":
            self.stalled.append(effect)
            return False
        if self.state in ("fails", "tears"):
            raw = log_bytes([*actor.durable, *effect.records])
            if self.state == "tears":
                actor.durable = decode_log(raw[:-7]).records
            self.state = "sound"
            actor.crash()
            return False
        return True

    def free(self, actor: Actor) -> None:
        """There is room again: what waits is written, in its order."""
        self.state = "sound"
        waiting, self.stalled = self.stalled, []
        for effect in waiting:
            todo: deque[ev.Event] = deque()
            actor.synced(effect, todo)
            for event in todo:
                actor.step(event)

    def damage(self, actor: Actor) -> None:
        """A bit flips in the middle of the file; a start reads it."""
        raw = bytearray(log_bytes(actor.durable))
        raw[len(raw) // 2] ^= 1
        try:
            decode_log(bytes(raw))
        except OperatorError as error:
            self.refused = error.code


# ---- forgeries -----------------------------------------------------------------------------------------------------


class Forger:
    """A proposal of Z for round 3, with everybody's real signatures: the forger may have collected them all."""

    def __init__(self, script: Script, leader: Actor, prepared: bool) -> None:
        self.context = script.context(leader)
        self.leader = leader.index
        raw = b"transaction of %s in round %d" % (leader.name.encode(), ROUND)
        creator = self.context.key(self.leader)
        self.block = make_block(
            1, self.context.parent_hash, creator, self.context.parent_certificate, (raw,), self.context.validators, 9
        )
        hash = blocks.header_hash(self.block.header)
        script.names[f"{leader.name}{ROUND}"] = hash
        changes = tuple(self.change(i, *((1, hash) if prepared and i == 0 else (-1, b""))) for i in range(3))
        prepares = tuple(self.prepare(i, 1, hash) for i in range(3)) if prepared else ()
        self.proposal: SignedProposal = self.signed(Proposal(1, ROUND, hash), changes, prepares, raw)

    def signed(self, message: Proposal, changes: Any, prepares: Any, raw: bytes) -> SignedProposal:
        return SignedProposal(
            message, self.leader, self.sign(self.leader, message), self.block, (raw,), changes, prepares
        )

    def sign(self, index: int, message: Any) -> bytes:
        return FAST.sign(seed_of(index), message.signing_digest(CHAIN_ID, 0))

    def change(self, index: int, pr: int = -1, pv: bytes = b"", round: int = ROUND) -> SignedRoundChange:
        message = RoundChange(1, round, pr, pv)
        return SignedRoundChange(message, index, self.sign(index, message))

    def prepare(self, index: int, round: int, hash: bytes) -> SignedPrepare:
        message = Prepare(1, round, hash)
        return SignedPrepare(message, index, self.sign(index, message))

    def by(self, index: int) -> SignedProposal:
        return replace(self.proposal, index=index, signature=self.sign(index, self.proposal.message))


def _changes(forger: Forger, *changes: SignedRoundChange) -> SignedProposal:
    return replace(forger.proposal, round_changes=changes)


def _round_zero(forger: Forger) -> SignedProposal:
    message = replace(forger.proposal.message, round=0)
    return replace(forger.by(0), message=message, signature=forger.sign(0, message))


def _created_by(forger: Forger, creator: bytes) -> SignedProposal:
    header = replace(blocks.decode_header(forger.block.header), creator=creator)
    block = replace(forger.block, header=encode(header))
    hash = blocks.header_hash(block.header)
    message = replace(forger.proposal.message, hash=hash)
    changes = tuple(
        forger.change(c.index, c.message.prepared_round, hash if c.message.prepared_hash else b"")
        for c in forger.proposal.round_changes
    )
    prepares = tuple(forger.prepare(p.index, p.message.round, hash) for p in forger.proposal.prepares)
    signature = forger.sign(forger.leader, message)
    return replace(
        forger.proposal, message=message, signature=signature, block=block, round_changes=changes, prepares=prepares
    )


FORGERIES: dict[str, tuple[bool, Callable[[Forger], SignedProposal]]] = {
    # clause: (whether the honest form proposes a prepared block again, how it is violated)
    "nothing": (False, lambda f: f.proposal),
    "is_by_the_proposer": (False, lambda f: f.by(1)),
    "is_unjustified": (False, _round_zero),
    "target_exactly": (False, lambda f: _changes(f, f.change(0, round=2), f.change(1), f.change(2))),
    "are_distinct": (False, lambda f: _changes(f, f.change(0), f.change(0), f.change(1))),
    "are_a_quorum": (False, lambda f: _changes(f, f.change(0), f.change(1))),
    "prepared_below": (True, lambda f: _changes(f, f.change(0, 3, OTHER), f.change(1), f.change(2))),
    "no_prepares_for_a_fresh_block": (False, lambda f: replace(f.proposal, prepares=(f.prepare(0, 0, OTHER),))),
    "proposes_the_prepared": (True, lambda f: _changes(f, f.change(0, 2, OTHER), f.change(1), f.change(2))),
    "prepares_match": (True, lambda f: replace(f.proposal, prepares=tuple(f.prepare(i, 0, OTHER) for i in range(3)))),
    "prepares_are_a_quorum": (True, lambda f: replace(f.proposal, prepares=f.proposal.prepares[:2])),
    "is_created_by_the_proposer": (False, lambda f: _created_by(f, f.context.key(0))),
    "is_created_by_a_validator": (True, lambda f: _created_by(f, bytes(32))),
}


# ---- lines ---------------------------------------------------------------------------------------------------------


def faults_line(script: Script, words: list[str]) -> bool:
    """Do a line of this file's; whether it is one."""
    match words:
        case ["byzantine", *names]:
            script.byzantine |= set(names)
        case ["twin", name, "of", other]:
            twin = type(script.actor(other))(script, script.actor(other).index, name)
            script.twins.append(twin)
            script.byzantine.add(other)
        case ["forge", clause, "from", leader, "to", name]:
            prepared, violate = FORGERIES[clause]
            forged = violate(Forger(script, script.actor(leader), prepared))
            sender, receiver = script.actor(leader), script.actor(name)
            receiver.step(ev.Received(bytes([sender.index]) * 32, sender.index, forged))
        case ["vote", kind, block, "in", "round", round, "from", liar, "to", *names]:
            for name in names:
                _vote(script, kind, script.names.get(block, block.encode() * 32), int(round), liar, name)
        case ["lie", liar, "head", height, "to", name]:
            _lie(script.actor(liar), int(height), script.actor(name))
        case ["refute", liar, "to", name]:
            script.actor(name).step(ev.HeadRefuted(bytes([script.actor(liar).index]) * 32))
        case ["disk", name, "free"]:
            script.actor(name).disk.free(script.actor(name))
        case ["disk", name, ("full" | "fails" | "tears") as state]:
            script.actor(name).disk.state = state
        case ["damage", name]:
            script.actor(name).disk.damage(script.actor(name))
        case _:
            return False
    return True


def _lie(liar: Actor, height: int, to: Actor) -> None:
    if to.core is None or to.core.state.last_seen is None:
        raise ScenarioFailed(f"{to.name} asks nobody")
    nonce = to.core.state.last_seen.nonce
    answer = LastSeenAnswer(nonce, height, OTHER, Certificate(height, 0, OTHER, ()), (), None)
    to.step(ev.Received(bytes([liar.index]) * 32, liar.index, answer))


def _vote(script: Script, kind: str, hash: bytes, round: int, liar: str, name: str) -> None:
    index = script.actor(liar).index

    def signature(message: Prepare | Commit) -> bytes:
        return FAST.sign(seed_of(index), message.signing_digest(CHAIN_ID, 0))

    signed: SignedPrepare | SignedCommit
    if kind == "prepare":
        prepare = Prepare(1, round, hash)
        signed = SignedPrepare(prepare, index, signature(prepare))
    else:
        commit = Commit(1, round, hash)
        signed = SignedCommit(commit, index, signature(commit))
    script.actor(name).step(ev.Received(bytes([index]) * 32, index, signed))


def faults_expectation(script: Script, actor: Actor, words: list[str]) -> bool:
    """Check an expectation of this file's; whether it is one."""
    reports = [effect for name, effect in script.reports if name == actor.name]
    match words:
        case ["down"]:
            script.check(actor.core is None, f"{actor.name} runs")
        case ["refuses", code]:
            script.check(actor.core is None and actor.disk.refused == code, f"{actor.name}: {actor.disk.refused!r}")
        case ["refused", clause]:
            blamed = [effect.detail for effect in reports if isinstance(effect, fx.Blame)]
            wanted = "not by the proposer of its round" if clause == "is_by_the_proposer" else clause
            script.check(bool(blamed) and blamed[-1] == wanted, f"{actor.name} blamed {blamed[-1:]}")
        case ["blames", name]:
            peers = {effect.peer[0] for effect in reports if isinstance(effect, fx.Blame)}
            script.check(script.actor(name).index in peers, f"{actor.name} blames {peers}")
        case ["reports", name]:
            context = script.context(actor)
            accused = {
                context.validators[effect.evidence.first.index].seat
                for effect in reports
                if isinstance(effect, fx.ReportEvidence)
            }
            script.check(script.actor(name).index in accused, f"{actor.name} accuses {accused}")
        case _:
            return False
    return True
