"""What must hold at every event, whatever happens: the invariants of CONSENSUS §7, by name.

Rules of this file:

* No check knows a bug. Each is a sentence of the specification, judged on what can be seen from outside: signatures
  given, messages sent, bytes on disk, blocks committed. Where the protocol must be recomputed, ``oracle`` does it,
  which shares no code with ``consensus``.
* Promises are made to whoever keeps its record. Byzantine nodes are not judged. A node whose record was lost or
  rolled back is not judged at the heights it may have signed at before.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from consensus import effects as fx
from consensus import events as ev
from consensus.candidates import CANDIDATES_MAX
from consensus.log import Decoded
from consensus.logstate import BODIES_MAX, LogState
from consensus.messages import (
    CommitCertificate,
    LastSeenAnswer,
    Message,
    PreparedRoundChange,
    SignedCommit,
    SignedPrepare,
    SignedProposal,
    SignedRoundChange,
)
from consensus.records import AdoptRecord, BodyRecord, LockRecord, ProposalRecord, Record, VoteRecord
from consensus.scheme import Scheme
from consensus.tally import ROUNDS_MAX
from ledger.blocks import decode_header
from ledger.limits import VALIDATORS_MAX
from ledger.transactions import transaction_id
from ledger.votes import Certificate, Commit, Prepare, Proposal, RoundChange

from .marks import Marks
from .names import number_of
from .node import SimNode
from .oracle import Oracle, enough
from .replica import CHAIN_ID, Sealed

Vote = Proposal | Prepare | Commit | RoundChange
OWN: Final = (SignedProposal, SignedPrepare, SignedCommit, SignedRoundChange)
ROUND_ENDLESS: Final = 2**62
"""What a Byzantine validator may have signed."""


class Violation(Exception):
    """An invariant does not hold."""

    def __init__(self, invariant: str, detail: str) -> None:
        super().__init__(f"{invariant}: {detail}")
        self.invariant = invariant
        self.detail = detail


@dataclass(slots=True)
class KeyHistory:
    """What one seat signed at one height."""

    signed: dict[tuple[type[Vote], int], Vote] = field(default_factory=dict)
    round: int = -1
    lock: tuple[int, bytes] = (-1, b"")
    """The highest round in which it committed, and what."""


@dataclass(slots=True)
class Seen:
    """What one node received in its present life."""

    answered: set[int] = field(default_factory=set)
    """Seats whose LastSeen answer to this life's nonce arrived."""
    cleared: bytes = b""
    """The key that signed in this life, after LastSeen."""
    heads: dict[int, int] = field(default_factory=dict)
    """Certified heads that honest nodes answered, by node; without those that could not be had."""
    height: int = 0
    commits: dict[tuple[int, bytes], set[int]] = field(default_factory=lambda: defaultdict(set))


class Checker:
    """Watches all nodes of a run; raises ``Violation``."""

    def __init__(self, scheme: Scheme, byzantine: frozenset[int], marks: Marks) -> None:
        self.oracle = Oracle(scheme, CHAIN_ID, 0)
        self.marks = marks
        self.byzantine = byzantine
        """Seats."""
        self.head = 0
        """The highest block any honest node has committed."""
        self.blocks: dict[int, bytes] = {}
        self.roots: dict[int, bytes] = {}
        self.next_sets: dict[int, bytes] = {}
        """By height, the hash of V(height + 1)."""
        self.placed: dict[bytes, int] = {}
        """Height of each transaction."""
        self.history: dict[tuple[int, int], KeyHistory] = defaultdict(KeyHistory)
        """By (seat, height)."""
        self.committed_by: dict[tuple[int, int, bytes], set[int]] = defaultdict(set)
        """Seats that signed Commit(h, r, hash)."""
        self.chosen: dict[int, tuple[int, bytes]] = {}
        """(round, hash) of which q Commits exist at a height: the only block it may ever have."""
        self.tainted: dict[int, int] = {}
        """Seat to the height up to which it may contradict itself, for its record was lost there."""
        self.life: dict[int, tuple[int, Seen]] = {}

    # ---- signatures ----

    def signed(self, node: SimNode, request: fx.SignRequest) -> None:
        """A signature was given."""
        message, seat = request.message, node.seat
        history = self.history[seat, message.height]
        if node.honest and self.tainted.get(seat, 0) < message.height:
            self._judge_signature(node, message, history)
        if node.honest:
            self._judge_permission(node, message)
        slot = (type(message), message.round)
        history.signed.setdefault(slot, message)
        history.round = max(history.round, message.round)
        if isinstance(message, Commit):
            self._count_commit(node, message, history)
        if node.honest:
            self._judge_round(node, message)

    def _judge_signature(self, node: SimNode, message: Vote, history: KeyHistory) -> None:
        before = history.signed.get((type(message), message.round))
        if before is not None:
            if before != message:
                raise Violation("one_message_a_round", f"{node} signed {before} and {message}")
            return
        if message.round < history.round:
            raise Violation("no_past_round", f"{node} signed {message} after round {history.round}")
        decided = self.blocks.get(message.height)
        if decided is not None and node.height >= message.height:
            raise Violation("no_decided_height", f"{node} signed {message} after it committed that height")
        if isinstance(message, RoundChange) and (message.prepared_round, message.prepared_hash) != history.lock:
            locked = history.lock[0]
            lower = message.prepared_round < locked
            other = message.prepared_round == locked and message.prepared_hash != history.lock[1]
            if lower or other:
                raise Violation("lock_rule", f"{node} committed in round {locked} and signed {message}")
        chosen = self.chosen.get(message.height)
        if (
            chosen is not None
            and isinstance(message, Prepare | Commit)
            and message.round >= chosen[0] + isinstance(message, Prepare)
            and message.hash != chosen[1]
        ):
            raise Violation("lock_rule", f"{node} signed {message}; round {chosen[0]} chose another block")

    def _judge_permission(self, node: SimNode, message: Vote) -> None:
        """LastSeen came first, and the node has caught up with what it was told (CONSENSUS §3)."""
        seen = self._seen(node)
        validators = node.replica.view.next_validators
        seats = {entry.seat for entry in validators}
        key = next((entry.validator_key for entry in validators if entry.seat == node.seat), b"")
        if key != seen.cleared and not enough(len((seen.answered | {node.seat}) & seats), len(validators)):
            raise Violation("last_seen_first", f"{node} signed {message} after {len(seen.answered)} answers")
        seen.cleared = key
        if message.height != node.synced_height + 1:
            raise Violation("open_height", f"{node} signed {message}; {node.synced_height} is what its database holds")
        if any(head > node.height for head in seen.heads.values()):
            raise Violation("caught_up_first", f"{node} signed {message}; it was told of {max(seen.heads.values())}")

    def _judge_round(self, node: SimNode, message: Vote) -> None:
        """Round synchrony: at most one above the q-th highest round ever signed at that height."""
        rounds = []
        for entry in node.replica.view.next_validators:
            if entry.seat in self.byzantine:
                rounds.append(ROUND_ENDLESS)
            else:
                rounds.append(max(0, self.history[entry.seat, message.height].round))
        rounds.sort(reverse=True)
        q = next(count for count in range(len(rounds) + 1) if enough(count, len(rounds)))
        if message.round > rounds[q - 1] + 1:
            raise Violation("round_synchrony", f"{node} signed {message}; the q-th highest round is {rounds[q - 1]}")

    def _count_commit(self, node: SimNode, message: Commit, history: KeyHistory) -> None:
        if message.round > history.lock[0]:
            if history.lock[0] >= 0:
                self.marks.hit("two_locks")
            history.lock = (message.round, message.hash)
        self.count_commit(node.seat, message, len(node.replica.view.next_validators))

    def count_commit(self, seat: int, message: Commit, n: int) -> None:
        """A Commit of ``seat`` exists, honest or not."""
        signers = self.committed_by[message.height, message.round, message.hash]
        signers.add(seat)
        if enough(len(signers), n):
            chosen = self.chosen.setdefault(message.height, (message.round, message.hash))
            if chosen[1] != message.hash:
                raise Violation("one_block", f"q Commits for two blocks at height {message.height}")

    # ---- sending ----

    def sending(self, node: SimNode, message: Message) -> None:
        """A message leaves: what it says of its sender must be on the disk."""
        if not node.honest:
            return
        signed = message.change if isinstance(message, PreparedRoundChange) else message
        if not isinstance(signed, OWN) or node.context is None or signed.index != node.context.index:
            return
        if signed.message.height != node.height + 1:
            return
        fault = _durable_fault(node.disk.durable_records, signed.message)
        if fault is not None:
            raise Violation("durable_before_sent", f"{node} sent {signed.message} without {fault}")

    # ---- receiving ----

    def received(self, node: SimNode, sender: int, message: Message) -> None:
        """A message arrives."""
        if not node.honest:
            return
        seen = self._seen(node)
        if isinstance(message, LastSeenAnswer):
            pending = node.core.state.last_seen
            if pending is not None and message.nonce == pending.nonce:
                answerer = node.peers.nodes[sender]
                seen.answered.add(answerer.seat)
                if answerer.honest:
                    seen.heads[sender] = message.head_height
            self._hold_certificate(node, seen, message.head_certificate)
        elif isinstance(message, CommitCertificate):
            self._hold_certificate(node, seen, message.certificate)
        elif isinstance(message, SignedCommit):
            self._hold(node, seen, message)

    def _hold_certificate(self, node: SimNode, seen: Seen, certificate: Certificate) -> None:
        """A whole certificate counts, whoever signed it."""
        commit = Commit(certificate.height, certificate.round, certificate.block_hash)
        votes = [SignedCommit(commit, seal.index, seal.signature) for seal in certificate.seals]
        if all(self._hold(node, seen, vote) for vote in votes):
            seen.commits[commit.round, commit.hash].update(vote.index for vote in votes)

    def _hold(self, node: SimNode, seen: Seen, vote: SignedCommit) -> bool:
        """Note a valid Commit that the core must count too.

        Of a liar only two votes a round are ever counted, and of rounds above its own a node keeps the highest: neither
        is held against it.
        """
        message, core = vote.message, node.core
        if message.height != core.height:
            return False
        digest = message.signing_digest(CHAIN_ID, 0)
        validators = node.replica.view.next_validators
        if not 0 <= vote.index < len(validators):
            return False
        if not self.oracle.verify(validators[vote.index].validator_key, digest, vote.signature):
            return False
        if message.round <= core.round and validators[vote.index].seat not in self.byzantine:
            seen.commits[message.round, message.hash].add(vote.index)
        return True

    # ---- after a step ----

    def stepped(self, node: SimNode, event: ev.Event) -> None:
        """The core took an event in."""
        if not node.honest or not node.core.height:
            return
        seen = self._seen(node)
        self.head = max(self.head, node.height)
        if isinstance(event, ev.Received):
            if isinstance(event.message, SignedProposal):
                self._judge_acceptance(node, event.message)
            elif isinstance(event.message, SignedRoundChange | PreparedRoundChange):
                self._judge_round_change(node, event.message)
            elif isinstance(event.message, SignedPrepare | SignedCommit):
                self._judge_signer_bound(node, event.message)
            self._judge_decision(node, seen)
        elif isinstance(event, ev.BodyAvailable | ev.HeightStarted):
            self._judge_decision(node, seen)
        elif isinstance(event, ev.HeadRefuted):
            seen.heads.pop(number_of(event.peer), None)
        self._judge_bounds(node)

    def _judge_round_change(self, node: SimNode, message: SignedRoundChange | PreparedRoundChange) -> None:
        change = message.change if isinstance(message, PreparedRoundChange) else message
        state = node.core.state.open
        if state.tally.changes.get(change.index) == change and change.message.height == state.context.height:
            fault = self.oracle.round_change_fault(change, state.context.validators)
            if fault is not None:
                raise Violation("justified", f"{node} counts {change.message}: {fault}")

    def _judge_acceptance(self, node: SimNode, proposal: SignedProposal) -> None:
        state = node.core.state.open
        accepted = state.accepted.get(proposal.message.round)
        if accepted is None or accepted.signed is not proposal:
            return
        context = state.context
        header = decode_header(proposal.block.header)
        leaders = node.replica.leaders()
        proposer = leaders[proposal.message.round % len(leaders)]
        index = next(i for i, entry in enumerate(context.validators) if entry.seat == proposer.seat)
        fault = self.oracle.proposal_fault(proposal, context.validators, index, header.creator)
        if fault is not None:
            raise Violation("justified", f"{node} accepted {proposal.message}: {fault}")
        changes = proposal.round_changes
        if proposal.prepares:
            self.marks.hit("proposed_again")
            if header.creator != proposer.validator_key:
                self.marks.hit("proposed_again_other")
        elif changes:
            self.marks.hit("fresh_above_0")

    def _judge_decision(self, node: SimNode, seen: Seen) -> None:
        state = node.core.state.open
        if state.decided is not None or seen.height != state.context.height:
            return
        n = len(state.context.validators)
        for (round, hash), signers in seen.commits.items():
            if enough(len(signers), n):
                candidate = state.candidates.get(hash)
                if candidate is not None and candidate.complete:
                    raise Violation("decide_on_commits", f"{node} holds q Commits of round {round} and the body")

    def _judge_signer_bound(self, node: SimNode, vote: SignedPrepare | SignedCommit) -> None:
        """Of one signer: every round up to our own, and one above; two hashes a round."""
        state = node.core.state.open
        box = state.tally.prepares if isinstance(vote, SignedPrepare) else state.tally.commits
        held = len(box.by(vote.index))
        if held > 2 * (min(state.round + 1, ROUNDS_MAX) + 1):
            raise Violation("bounded", f"{node} holds {held} votes of index {vote.index} in round {state.round}")

    def _judge_bounds(self, node: SimNode) -> None:
        core = node.core.state
        state = core.open
        tally, n = state.tally, len(state.context.validators)
        votes = 2 * n * (min(state.round + 1, ROUNDS_MAX) + 1)
        if (
            len(tally.prepares) > votes
            or len(tally.commits) > votes
            or len(tally.changes) > n
            or len(state.candidates) > CANDIDATES_MAX
            or len(core.early) > 5 * VALIDATORS_MAX
            or len(core.record.bodies) > BODIES_MAX
            or len(state.asked) > 4 * n + CANDIDATES_MAX
            or len(state.accused) > 4 * n
            or len(state.accepted) > 2 * ROUNDS_MAX
        ):
            raise Violation("bounded", f"{node} holds {tally_sizes(node)}")

    # ---- effects ----

    def effect(self, node: SimNode, effect: fx.Effect) -> None:
        """An effect is about to be performed."""
        if not node.honest:
            return
        if isinstance(effect, fx.Decide):
            self._judge_certificate(node, effect.certificate, node.replica.view.next_validators)
            self._judge_block(effect.height, effect.hash)
            if effect.certificate.round < node.core.round:
                self.marks.hit("past_round")
        elif isinstance(effect, fx.ReportEvidence):
            self._judge_evidence(node, effect)
        elif isinstance(effect, fx.Blame):
            blamed = node.peers.nodes[number_of(effect.peer)]
            if blamed.honest:
                raise Violation("honest_blamed", f"{node} blames {blamed}: {effect.code}: {effect.detail}")
            self.marks.hit("blamed")

    def _judge_certificate(self, node: SimNode, certificate: Certificate, validators: Sequence[object]) -> None:
        fault = self.oracle.certificate_fault(certificate, node.replica.view.next_validators)
        if fault is not None:
            raise Violation("certificate", f"{node} decided height {certificate.height}: {fault}")

    def _judge_block(self, height: int, hash: bytes) -> None:
        if self.blocks.setdefault(height, hash) != hash:
            raise Violation("one_block", f"two blocks at height {height}")

    def _judge_evidence(self, node: SimNode, effect: fx.ReportEvidence) -> None:
        evidence = effect.evidence
        first, second = evidence.first, evidence.second
        validators = node.replica.view.next_validators
        for vote in (first, second):
            digest = vote.message.signing_digest(CHAIN_ID, evidence.epoch)
            if not self.oracle.verify(validators[vote.index].validator_key, digest, vote.signature):
                raise Violation("evidence", f"{node} reports what was not signed: {vote.message}")
        seat = validators[first.index].seat
        height = first.message.height
        if seat not in self.byzantine and self.tainted.get(seat, 0) < height:
            raise Violation("honest_accused", f"{node} accuses seat {seat}: {first.message}, {second.message}")
        same = type(first.message) is type(second.message)
        self.marks.hit("evidence_twice" if same else "evidence_abandoned")

    # ---- blocks ----

    def committed(self, node: SimNode, sealed: Sealed) -> None:
        """A block was executed and written."""
        if not node.honest:
            return
        self._judge_block(sealed.height, sealed.hash)
        header = sealed.header
        bound = self.next_sets.setdefault(header.height, header.next_validators_hash)
        if bound != header.next_validators_hash or self.next_sets.get(header.height - 1, header.validators_hash) != (
            header.validators_hash
        ):
            raise Violation("set_bound", f"V({header.height}) is not what header {header.height - 1} says")
        root = node.replica.view.state_root
        if self.roots.setdefault(sealed.height, root) != root:
            raise Violation("equal_roots", f"{node} has another state after height {sealed.height}")
        fault = node.replica.fault()
        if fault is not None:
            raise Violation("books", f"{node} after height {sealed.height}: {fault}")
        for raw in sealed.transactions:
            tx_id = transaction_id(raw)
            if self.placed.setdefault(tx_id, sealed.height) != sealed.height:
                raise Violation("once", f"{tx_id.hex()[:8]} in blocks {self.placed[tx_id]} and {sealed.height}")
        if sealed.certificate.round > 0:
            self.marks.hit("round_above_0")

    # ---- lives ----

    def opened(self, node: SimNode, decoded: Decoded, written: Sequence[Record]) -> None:
        """A log was read again: nothing durable may be missing, and the record must be what it was."""
        if node.life > 1 and node.honest:
            kept = decoded.records[: len(written)]
            if kept != list(written):
                raise Violation("log_replay", f"{node} reads {len(decoded.records)} of {len(written)} durable records")
            self._judge_replay(node, decoded)
        if decoded.torn:
            self.marks.hit("torn")

    def _judge_replay(self, node: SimNode, decoded: Decoded) -> None:
        """What the seat signed at its open height is still granted to it, and to nobody anything else."""
        height = node.height + 1
        if self.tainted.get(node.seat, 0) >= height:
            return
        record = LogState(decoded.records)
        record.raise_to(0, height)
        for (kind, round), message in self.history[node.seat, height].signed.items():
            if record.height == height and record.signed(kind, round) != message:
                raise Violation("log_replay", f"{node} has forgotten that it signed {message}")

    def lost(self, node: SimNode) -> None:
        """A record was lost or rolled back: what the seat signed before counts among the f."""
        signed = [height for (seat, height), history in self.history.items() if seat == node.seat and history.signed]
        self.tainted[node.seat] = max([self.tainted.get(node.seat, 0), *signed])
        self.marks.hit("record_lost")

    def _seen(self, node: SimNode) -> Seen:
        """What this life of the node received; commits are those of its open height."""
        life, seen = self.life.get(node.number, (0, Seen()))
        if life != node.life:
            seen = Seen()
            self.life[node.number] = (node.life, seen)
        if seen.height != node.core.height:
            seen.height = node.core.height
            seen.commits.clear()
        return seen


def _durable_fault(records: Sequence[Record], message: Vote) -> str | None:
    """What of CONSENSUS §3's table is not on the disk for this own message; None when all of it is."""
    for record in records:
        if isinstance(record, AdoptRecord) and any(vote.message == message for vote in record.votes):
            return None
    intents = [r for r in records if isinstance(r, ProposalRecord | VoteRecord) and r.message == message]
    if not intents:
        return "its record"
    if isinstance(message, Proposal | Prepare) and not any(
        isinstance(r, BodyRecord) and r.hash == message.hash for r in records
    ):
        return "the body"
    if isinstance(message, Commit) and not any(
        isinstance(r, LockRecord)
        and (r.lock.height, r.lock.round, r.lock.hash) == (message.height, message.round, message.hash)
        for r in records
    ):
        return "its q prepares"
    return None


def tally_sizes(node: SimNode) -> dict[str, int]:
    """How much the node holds of what others may fill."""
    core = node.core.state
    state, tally = core.open, core.open.tally
    return {
        "round": state.round,
        "prepares": len(tally.prepares),
        "commits": len(tally.commits),
        "round changes": len(tally.changes),
        "candidates": len(state.candidates),
        "early": len(core.early),
        "bodies": len(core.record.bodies),
        "asked": len(state.asked),
        "accused": len(state.accused),
        "accepted": len(state.accepted),
    }
