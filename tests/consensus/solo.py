"""One core alone: the other validators are played by the test, with their keys. Disk and signer answer at once."""

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

from consensus import effects as fx
from consensus import events as ev
from consensus import messages as wire
from consensus.context import HeightContext
from consensus.core import Consensus
from consensus.logstate import SignedKind
from consensus.records import Record
from consensus.safety import SafetyRules
from ledger.blocks import SignedVote, decode_header, header_hash
from ledger.votes import Certificate, Commit, Prepare, Proposal, RoundChange, Seal
from tests.consensus.harness import CHAIN_ID, FAST, Decided, make_block, make_context, seed_of

EffectT = TypeVar("EffectT")
NONCE = b"\x0e" * 32
TWO = (b"one", b"two")


class Solo:
    """``index`` None is an observer. Everybody else is addressed by index; peers are ``bytes([index]) * 32``."""

    def __init__(
        self,
        index: int | None,
        n: int = 4,
        *,
        records: Iterable[Record] = (),
        verdict: ev.Verdict | None = ev.Verdict.VALID,
        certify: bool = False,
        chain: list[Decided] | None = None,
        ask_others: bool = False,
        body_found: bool = True,
        epoch: int = 0,
    ) -> None:
        self.durable = list(records)
        self.verdict, self.body_found = verdict, body_found
        self.hold_disk = self.hold_signer = False
        self.held: list[ev.Event] = []
        self.context: HeightContext = replace(make_context(n, index, chain or [], certify=certify), epoch=epoch)
        own = seed_of(index) if index is not None else bytes(32)
        self.safety = SafetyRules(CHAIN_ID, [own], bytes(32), list(self.durable), FAST)
        self.core = Consensus(list(self.durable), FAST)
        self.all: list[fx.Effect] = []
        self.bodies: dict[bytes, tuple[bytes, ...]] = {}
        self.start(self.context)
        if not ask_others:
            for other in range(n):
                if other != index:
                    self.receive(other, self.answer())

    def start(self, context: HeightContext) -> None:
        self.context = context
        self.safety.begin(context.epoch, context.height, tuple(entry.validator_key for entry in context.validators))
        self.step(ev.HeightStarted(context, NONCE))

    def step(self, event: ev.Event) -> list[fx.Effect]:
        """All effects of the event and of what disk, signer and node answer at once."""
        todo, seen = [event], []
        while todo:
            for effect in self.core.step(todo.pop(0)):
                seen.append(effect)
                todo += self.perform(effect)
        self.all += seen
        return seen

    def perform(self, effect: fx.Effect) -> list[ev.Event]:
        match effect:
            case fx.Persist(token, records):
                if self.hold_disk:
                    self.held.append(ev.Persisted(token))
                    return []
                self.durable.extend(records)
                self.safety.recorded(records)
                return [ev.Persisted(token)]
            case fx.Sign(token, request):
                signed = ev.Signed(token, self.safety.sign(request))
                if self.hold_signer:
                    self.held.append(signed)
                    return []
                return [signed]
            case fx.CheckBlock(height, hash):
                return [ev.BlockChecked(height, hash, self.verdict)] if self.verdict else []
            case fx.FetchBody(height, hash, ids):
                found = self.bodies.get(hash) if self.body_found else None
                return [ev.BodyAvailable(height, hash, found or (None,) * len(ids))]
        return []

    def receive(self, sender: int, message: wire.Message, *, epoch: int | None = None) -> list[fx.Effect]:
        epoch = self.context.epoch if epoch is None else epoch
        return self.step(ev.Received(bytes([sender]) * 32, sender, message, epoch))

    def answer(self, **fields: object) -> wire.LastSeenAnswer:
        context = self.context
        values: dict[str, object] = {
            "nonce": NONCE,
            "head_height": context.height - 1,
            "head_hash": context.parent_hash,
            "head_certificate": context.parent_certificate,
            "votes": (),
            "lock": None,
            **fields,
        }
        return wire.LastSeenAnswer(**values)  # type: ignore[arg-type]

    def sign(self, index: int, message: SignedKind) -> bytes:
        return FAST.sign(seed_of(index), message.signing_digest(CHAIN_ID, self.context.epoch))

    def prepare(self, index: int, hash: bytes, round: int = 0, height: int | None = None) -> wire.SignedPrepare:
        message = Prepare(height or self.context.height, round, hash)
        return wire.SignedPrepare(message, index, self.sign(index, message))

    def commit(self, index: int, hash: bytes, round: int = 0, height: int | None = None) -> wire.SignedCommit:
        message = Commit(height or self.context.height, round, hash)
        return wire.SignedCommit(message, index, self.sign(index, message))

    def change(self, index: int, round: int, prepared: tuple[int, bytes] = (-1, b"")) -> wire.SignedRoundChange:
        message = RoundChange(self.context.height, round, *prepared)
        return wire.SignedRoundChange(message, index, self.sign(index, message))

    def vote(self, signed: wire.Signed) -> SignedVote:
        return SignedVote(signed.message, signed.index, signed.signature)

    def block(
        self, creator: int, tag: int = 0, transactions: tuple[bytes, ...] = (b"one", b"two")
    ) -> wire.CompactBlock:
        context = self.context
        block = make_block(
            context.height,
            context.parent_hash,
            context.key(creator),
            context.parent_certificate,
            transactions,
            context.validators,
            1_000 + tag,
        )
        self.bodies[header_hash(block.header)] = transactions
        return block

    def proposal(
        self,
        block: wire.CompactBlock,
        round: int = 0,
        changes: Iterable[wire.SignedRoundChange] = (),
        prepares: Iterable[wire.SignedPrepare] = (),
        recent: tuple[bytes, ...] = (),
    ) -> wire.SignedProposal:
        leader = self.context.proposer(round)
        message = Proposal(self.context.height, round, header_hash(block.header))
        return wire.SignedProposal(
            message, leader, self.sign(leader, message), block, recent, tuple(changes), tuple(prepares)
        )


def of(kind: type[EffectT], effects: Iterable[object]) -> list[EffectT]:
    return [effect for effect in effects if isinstance(effect, kind)]


def said(effects: Iterable[fx.Effect]) -> list[wire.Message]:
    """What was broadcast, Status left out."""
    return [b.message for b in of(fx.Broadcast, effects) if not isinstance(b.message, wire.Status)]


def kinds(messages: Iterable[object]) -> list[str]:
    return [type(message).__name__ for message in messages]


def follower(round: int = 0, n: int = 4) -> int:
    """An index that does not lead this round of height 1."""
    context = make_context(n, 0, [])
    return next(index for index in range(n) if index != context.proposer(round))


def leader(round: int = 0, n: int = 4) -> int:
    return make_context(n, 0, []).proposer(round)


def built(solo: Solo, round: int = 0, tag: int = 0) -> ev.BlockBuilt:
    block = solo.block(solo.context.index or 0, tag)
    return ev.BlockBuilt(1, round, block, solo.bodies[header_hash(block.header)], ())


def others(*known: int) -> list[int]:
    return [index for index in range(4) if index not in known]


def decided_by(solo: Solo) -> Decided:
    block = solo.block(leader())
    seals = tuple(Seal(i, solo.commit(i, header_hash(block.header)).signature) for i in range(3))
    certificate = Certificate(1, 0, header_hash(block.header), seals)
    return Decided(decode_header(block.header), block, (b"one", b"two"), certificate)
