"""Byzantine validators, up to f of them, who know what the others know (CONSENSUS §7).

A Byzantine node runs the ordinary core, so that it is trusted and takes part; but it signs without SafetyRules,
persists nothing, and passes what it says through *attacks*, anew for each recipient. Now and then it speaks out of
turn. Which attacks a node uses is chosen by the seed. Twins are another kind: two honest nodes with one key.

It forges nothing: everything is signed with keys of its own. What it signs is told to the checker, as a fact.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import structs

from consensus import effects as fx
from consensus import events as ev
from consensus.messages import (
    ROUND_MAX,
    Block,
    Bodies,
    CompactBlock,
    LastSeenAnswer,
    Lock,
    Message,
    PreparedRoundChange,
    Prepares,
    SignedCommit,
    SignedPrepare,
    SignedProposal,
    SignedRoundChange,
    Status,
    decode_message,
    encode_message,
    shape_fault,
)
from ledger.blocks import header_hash
from ledger.transactions import transaction_id
from ledger.votes import Commit, Prepare, Proposal, RoundChange

from .node import SimNode
from .replica import Sealed

HEARD_MAX: Final = 256
Vote = Proposal | Prepare | Commit | RoundChange
Own = SignedProposal | SignedPrepare | SignedCommit | SignedRoundChange
OWN: Final = (SignedProposal, SignedPrepare, SignedCommit, SignedRoundChange)


class Cabal:
    """What all Byzantine nodes of a run have heard, newest last."""

    def __init__(self) -> None:
        self.heard: deque[Message] = deque(maxlen=HEARD_MAX)
        self.hashes: deque[bytes] = deque(maxlen=16)

    def hear(self, message: Message) -> None:
        """Remember it for replay."""
        self.heard.append(message)
        if isinstance(message, SignedProposal):
            self.hashes.append(message.message.hash)

    def changes(self, height: int) -> list[SignedRoundChange]:
        """Round changes heard of this height."""
        found = [m.change if isinstance(m, PreparedRoundChange) else m for m in self.heard]
        return [m for m in found if isinstance(m, SignedRoundChange) and m.message.height == height]

    def prepares(self, height: int) -> list[SignedPrepare]:
        """Prepares heard of this height."""
        return [m for m in self.heard if isinstance(m, SignedPrepare) and m.message.height == height]


class ByzantineNode(SimNode):
    """See the head of this file."""

    cabal: Cabal
    report_commit: Callable[[int, Commit, int], None]
    new_transaction: Callable[[], bytes]

    def conspire(
        self,
        cabal: Cabal,
        report_commit: Callable[[int, Commit, int], None],
        new_transaction: Callable[[], bytes],
    ) -> None:
        """Join the others and choose attacks."""
        random = self.world.random
        self.cabal, self.report_commit, self.new_transaction = cabal, report_commit, new_transaction
        self.honest = False
        self._outgoing = random.sample(_OUTGOING, random.randint(1, 4))
        self._spoken = random.sample(_SPOKEN, random.randint(1, 4))
        self._often = random.choice((0.1, 0.5, 0.9))
        self.every_ms = random.choice((20, 100, 400))

    # ---- the ordinary core, without its scruples ----

    def _persist(self, effect: fx.Persist) -> None:
        self._queue.append(ev.Persisted(effect.token))

    def _sign(self, effect: fx.Sign) -> None:
        message = effect.request.message
        if isinstance(message, Commit):
            self.report_commit(self.seat, message, len(self.replica.view.next_validators))
        self._queue.append(ev.Signed(effect.token, self._signature(message)))

    def _build(self, effect: fx.BuildBlock) -> None:
        other = self.another_block() if self.world.chance(0.5) else None
        if other is None or effect.height != self.height + 1:
            super()._build(effect)
        else:
            self._queue.append(ev.BlockBuilt(effect.height, effect.round, *other, other[1]))

    def _signature(self, message: Vote) -> bytes:
        entry = self.entry()
        own = entry.validator_key if entry is not None else self.keys[0]
        seed = next((seed for seed, key in zip(self.seeds, self.keys, strict=True) if key == own), self.seeds[0])
        return self.peers.scheme.sign(seed, message.signing_digest(self.replica.view.chain_id, 0))

    def signed_anew(self, message: Vote, like: Own) -> Own:
        """``like`` with another message, signed by us."""
        if isinstance(message, Commit) and message.height == self.height + 1:
            self.report_commit(self.seat, message, len(self.replica.view.next_validators))
        return structs.replace(like, message=message, signature=self._signature(message))

    def take(self, sender: SimNode, message: Message) -> None:
        self.cabal.hear(message)
        super().take(sender, message)

    def blocks_from(self, first: int) -> tuple[Sealed, ...]:
        return () if self.world.chance(0.5) else super().blocks_from(first)

    # ---- attacks ----

    def _transmit(self, numbers: Sequence[int], message: Message) -> None:
        random = self.world.random
        attacks = [attack for attack in self._outgoing if isinstance(message, attack.of)]
        for number in numbers:
            said: Message | None = message
            if attacks and random.random() < self._often:
                said = random.choice(attacks).change(self, message)
            if said is not None:
                self.say(number, said)

    def say(self, number: int, message: Message) -> None:
        """Send one message that may be a lie, if it can be encoded at all."""
        if shape_fault(message) is None:
            raw = encode_message(message)
            self.world.trace(
                str(self), f"lie {type(message).__name__} {number}", raw, message if self.world.keep_log else ""
            )
            self.deliver(number, decode_message(raw))

    def speak(self) -> None:
        """Say something out of turn."""
        if self.alive and self.context is not None and self.context.index is not None:
            self.world.random.choice(self._spoken)(self)

    def others(self) -> list[int]:
        """Some of the others."""
        random = self.world.random
        numbers = [node.number for node in self.peers.nodes if node is not self]
        return random.sample(numbers, random.randint(1, len(numbers)))

    def another_block(self) -> tuple[CompactBlock, tuple[bytes, ...]] | None:
        """A valid block of ours that differs from every other."""
        context = self.context
        if context is None or context.index is None or context.height != self.height + 1:
            return None
        picked = []
        random, chain = self.world.random, self.replica.chain
        if random.random() < 0.5:
            raw = self.new_transaction()
            old = [again for sealed in chain for again in sealed.transactions]
            forgotten = [again for again in old if not self.replica.seen(transaction_id(again))]
            if old and random.random() < 0.5:
                raw = random.choice(forgotten or old)
            picked.append((transaction_id(raw), raw))
        shifted_ms = self.clock_ms + random.randint(-20, 20)
        block = self.replica.build(context.validators[context.index], self.safety.beacon_proof, picked, shifted_ms)
        return block, tuple(raw for _, raw in picked)

    def some_hash(self) -> bytes:
        """A block somebody proposed, or nobody."""
        hashes = self.cabal.hashes
        random = self.world.random
        return random.choice(list(hashes)) if hashes and random.random() < 0.8 else random.randbytes(32)


class Attack:
    """Changes an outgoing message of one of the classes ``of``; None: it is not sent."""

    def __init__(self, change: Callable[[ByzantineNode, Message], Message | None], *of: type) -> None:
        self.change = change
        self.of = of


def _withhold(_node: ByzantineNode, _message: Message) -> None:
    return None


def _equivocate(node: ByzantineNode, message: Message) -> Message | None:
    """A second block for this recipient; round and justification stay."""
    other = node.another_block()
    if other is None or not isinstance(message, SignedProposal) or message.prepares:
        return message
    block, transactions = other
    recent = transactions if node.world.chance(0.5) else ()
    vote = Proposal(message.message.height, message.message.round, header_hash(block.header))
    node.cabal.hashes.append(vote.hash)
    return structs.replace(node.signed_anew(vote, message), block=block, recent=recent)


def _swap_block(node: ByzantineNode, message: Message) -> Message | None:
    """Another block under the same signed hash."""
    other = node.another_block()
    if other is None or not isinstance(message, SignedProposal):
        return message
    return structs.replace(message, block=other[0], recent=other[1])


def _without_bodies(_node: ByzantineNode, message: Message) -> Message | None:
    return structs.replace(message, recent=()) if isinstance(message, SignedProposal) else None


def _spoil_justification(node: ByzantineNode, message: Message) -> Message | None:
    """Violate one clause of the justification."""
    if not isinstance(message, SignedProposal) or message.message.round == 0:
        return message
    random, changes, prepares = node.world.random, message.round_changes, message.prepares
    heard = tuple(node.cabal.changes(message.message.height))
    kind = random.randrange(7)
    if kind == 0:
        return structs.replace(message, round_changes=changes[1:])
    if kind == 1:
        return structs.replace(message, round_changes=changes[1:] + changes[-1:])
    if kind == 2:
        return structs.replace(message, prepares=prepares[1:] + prepares[-1:])
    if kind == 3:
        return structs.replace(message, prepares=())
    if kind == 4 and heard:
        return structs.replace(message, round_changes=(random.choice(heard), *changes[1:]))
    if kind == 5:
        return structs.replace(message, round_changes=_with_own_lie(node, message))
    other = node.another_block()
    if other is None:
        return message
    block, recent = other
    vote = Proposal(message.message.height, message.message.round, header_hash(block.header))
    return structs.replace(node.signed_anew(vote, message), block=block, recent=recent)


def _with_own_lie(node: ByzantineNode, proposal: SignedProposal) -> tuple[SignedRoundChange, ...]:
    """The round changes with our own saying something else about what we prepared."""
    found = []
    for change in proposal.round_changes:
        if change.index == proposal.index:
            lie = _lie_about_lock(node, change)
            found.append(lie if isinstance(lie, SignedRoundChange) else change)
        else:
            found.append(change)
    return tuple(found)


def _other_vote(node: ByzantineNode, message: Message) -> Message | None:
    if not isinstance(message, SignedPrepare | SignedCommit):
        return message
    vote = message.message
    return node.signed_anew(structs.replace(vote, hash=node.some_hash()), message)


def _other_round(node: ByzantineNode, message: Message) -> Message | None:
    if not isinstance(message, OWN):
        return message
    vote = message.message
    round = max(0, vote.round + node.world.random.choice((-1, 1, 1, 5)))
    return node.signed_anew(structs.replace(vote, round=round), message)


def _lie_about_lock(node: ByzantineNode, message: Message) -> Message | None:
    """A stale, a missing or an invented prepared value."""
    change = message.change if isinstance(message, PreparedRoundChange) else message
    if not isinstance(change, SignedRoundChange):
        return message
    vote, random = change.message, node.world.random
    stale = [prepare.message for prepare in node.cabal.prepares(vote.height)]
    kind = random.randrange(4)
    if kind == 0 or (kind == 1 and not stale):
        return node.signed_anew(structs.replace(vote, prepared_round=-1, prepared_hash=b""), change)
    if kind == 1:
        old = random.choice(stale)
        return node.signed_anew(structs.replace(vote, prepared_round=old.round, prepared_hash=old.hash), change)
    invented = random.choice((vote.round - 1, vote.round, vote.round + 3))
    lie = structs.replace(vote, prepared_round=max(0, invented), prepared_hash=node.some_hash())
    return node.signed_anew(lie, change)


def _lie_about_head(node: ByzantineNode, message: Message) -> Message | None:
    random = node.world.random
    if isinstance(message, Status):
        return structs.replace(message, height=message.height + random.choice((1, 2, 50)))
    if isinstance(message, LastSeenAnswer):
        return structs.replace(message, head_height=message.head_height + random.choice((1, 2, 50)))
    return message


def _lie_about_having(node: ByzantineNode, message: Message) -> Message | None:
    """Claim to lack, or to have, everything."""
    if not isinstance(message, Status):
        return message
    told = node.world.random.choice((-1, 7))
    n = len(message.prepares)
    return structs.replace(
        message, proposal_round=told, prepares=(told,) * n, commits=(told,) * n, round_changes=(told,) * n
    )


def _forget_last_seen(node: ByzantineNode, message: Message) -> Message | None:
    if not isinstance(message, LastSeenAnswer):
        return message
    height = message.head_height + 1
    prepares = tuple(node.cabal.prepares(height)[:4])
    lock = Lock(height, 3, node.some_hash(), prepares) if node.world.chance(0.5) else None
    return structs.replace(message, votes=(), lock=lock)


_OUTGOING: Final = (
    Attack(_withhold, *OWN, PreparedRoundChange),
    Attack(_withhold, Block, Bodies, Prepares),
    Attack(_withhold, SignedCommit),
    Attack(_equivocate, SignedProposal),
    Attack(_equivocate, SignedProposal),
    Attack(_without_bodies, SignedProposal),
    Attack(_swap_block, SignedProposal),
    Attack(_spoil_justification, SignedProposal),
    Attack(_spoil_justification, SignedProposal),
    Attack(_other_vote, SignedPrepare, SignedCommit),
    Attack(_other_round, *OWN),
    Attack(_lie_about_lock, SignedRoundChange, PreparedRoundChange),
    Attack(_lie_about_lock, SignedRoundChange, PreparedRoundChange),
    Attack(_lie_about_head, Status, LastSeenAnswer),
    Attack(_lie_about_having, Status),
    Attack(_forget_last_seen, LastSeenAnswer),
)


# ---- out of turn ----


def _vote_for_everything(node: ByzantineNode) -> None:
    """Prepare and Commit whatever is proposed, in some round."""
    context, random = node.context, node.world.random
    if context is None or context.index is None:
        return
    round = max(0, node.core.round + random.choice((-1, 0, 0, 0, 1)))
    hash = node.some_hash()
    prepare = SignedPrepare(Prepare(context.height, round, hash), context.index, bytes(64))
    commit = SignedCommit(Commit(context.height, round, hash), context.index, bytes(64))
    for number in node.others():
        node.say(number, node.signed_anew(prepare.message, prepare))
        node.say(number, node.signed_anew(commit.message, commit))


def _spam_the_future(node: ByzantineNode) -> None:
    """Valid votes of rounds and heights that nobody has reached."""
    context, random = node.context, node.world.random
    if context is None or context.index is None:
        return
    for _ in range(8):
        height = context.height + random.choice((0, 0, 0, 1, 1, 2, 1_000))
        round = random.choice((1, 2, 9, 1_000, ROUND_MAX, random.randrange(ROUND_MAX)))
        hash = random.randbytes(32)
        kind = random.randrange(3)
        said: Own
        if kind == 0:
            said = SignedPrepare(Prepare(height, round, hash), context.index, b"")
        elif kind == 1:
            said = SignedCommit(Commit(height, round, hash), context.index, b"")
        else:
            said = SignedRoundChange(RoundChange(height, round, -1, b""), context.index, b"")
        signed = node.signed_anew(said.message, said)
        for number in node.others():
            node.say(number, signed)


def _replay(node: ByzantineNode) -> None:
    """Something heard before, to anybody."""
    heard = node.cabal.heard
    if heard:
        node.say(node.world.random.choice(node.others()), node.world.random.choice(list(heard)))


def _claim_a_head(node: ByzantineNode) -> None:
    context = node.context
    if context is None:
        return
    far = context.height + node.world.random.choice((1, 3, 500))
    n = len(context.validators)
    for number in node.others():
        node.say(number, Status(far, 0, bytes(32), -1, (-1,) * n, (-1,) * n, (-1,) * n))


def _propose_out_of_turn(node: ByzantineNode) -> None:
    """A block of ours in a round that we lead, or not, with whatever round changes were heard."""
    context, other, random = node.context, node.another_block(), node.world.random
    if context is None or context.index is None or other is None:
        return
    block, recent = other
    changes = node.cabal.changes(context.height)
    rounds = {change.message.round for change in changes}
    round = random.choice(sorted(rounds)) if rounds and random.random() < 0.8 else node.core.round
    chosen = {change.index: change for change in changes if change.message.round == round}
    vote = Proposal(context.height, round, header_hash(block.header))
    signature = node._signature(vote)
    justification = tuple(chosen[index] for index in sorted(chosen))
    said = SignedProposal(vote, context.index, signature, block, recent, justification, ())
    node.cabal.hashes.append(vote.hash)
    for number in node.others():
        node.say(number, said)


def _keep_a_transaction(node: ByzantineNode) -> None:
    """A transaction that nobody else has, for the next block of ours."""
    node.pool.admit(node.new_transaction())


def _change_round(node: ByzantineNode) -> None:
    """Leave the round early, alone, saying anything about the lock."""
    context = node.context
    if context is None or context.index is None:
        return
    vote = RoundChange(context.height, node.core.round + node.world.random.randint(1, 3), -1, b"")
    said = SignedRoundChange(vote, context.index, b"")
    for number in node.others():
        lie = _lie_about_lock(node, said)
        if lie is not None:
            node.say(number, lie)


_SPOKEN: Final[tuple[Callable[[ByzantineNode], None], ...]] = (
    _vote_for_everything,
    _vote_for_everything,
    _spam_the_future,
    _replay,
    _claim_a_head,
    _propose_out_of_turn,
    _keep_a_transaction,
    _change_round,
)
