"""How transactions spread: pushed once by the node that admitted them, announced by the others, asked for on a miss.

The admitting node pushes the bytes to all its peers, in batches; in a full mesh (NODE §1) that is all. A receiver tells
the ids of what it admitted to its peers, save the one it came from, after a delay and only while they are still
pending: that heals what a full queue or a fresh link lost, and it tells consensus who holds a transaction (CONSENSUS
§2, the due rule; so a peer that announced it to us is told all the same). One announcement is encoded once for all, so
the cost of a transaction is a few dictionary operations.

Rules of this file:

* ``GossipPolicy`` is pure: time is an argument, what is to be sent is returned. ``TransactionGossip`` is its shell.
* The mempool owns the transactions. This module holds ids only, each map bounded: the oldest known id is forgotten, a
  wanted id too many is not fetched.
* Nothing here verifies: the mempool reports what it ``admitted`` and what it ``refused``.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Annotated, Final, NamedTuple, Protocol, cast

from msgspec import Meta

from ledger.codec import Wire, decode, encode
from ledger.errors import MalformedBytes, PeerError

from .clock import Clock, TimerHandle
from .limits import (
    ANNOUNCE_DELAY_S,
    CHANNEL_LIMITS,
    IDS_PER_MESSAGE_MAX,
    KNOWN_IDS_MAX,
    PULL_ATTEMPTS_MAX,
    PULL_TIMEOUT_S,
    PUSH_BYTES,
    PUSH_DELAY_S,
    PUSH_ITEMS_MAX,
    WANTED_IDS_MAX,
    WANTED_PER_PEER_MAX,
    Channel,
)
from .meter import NO_METER, Meter
from .network import Network

ID_BYTES: Final = 32
Ids = Annotated[bytes, Meta(max_length=IDS_PER_MESSAGE_MAX * ID_BYTES)]
"""Transaction ids, 32 bytes each, one after the other."""


class Push(Wire, frozen=True, tag="push"):
    """Transactions in full: newly admitted by the sender, or asked for."""

    transactions: Annotated[tuple[bytes, ...], Meta(max_length=PUSH_ITEMS_MAX)]


class Announce(Wire, frozen=True, tag="announce"):
    """The sender holds these."""

    ids: Ids


class Get(Wire, frozen=True, tag="get"):
    """The sender wants these; what the receiver does not hold it leaves out."""

    ids: Ids


GossipMessage = Push | Announce | Get
_MESSAGE: Final = cast("type[GossipMessage]", GossipMessage)


def parse_gossip(payload: bytes) -> GossipMessage:
    """The message in ``payload``. Raises ``PeerError`` MALFORMED."""
    try:
        message = decode(_MESSAGE, payload, bytes_max=CHANNEL_LIMITS[Channel.TRANSACTIONS].message_bytes_max)
    except MalformedBytes as error:
        raise PeerError("MALFORMED", f"gossip: {error.detail}") from error
    if not isinstance(message, Push) and len(message.ids) % ID_BYTES:
        raise PeerError("MALFORMED", f"{len(message.ids)} bytes of ids")
    return message


def split_ids(ids: bytes) -> list[bytes]:
    """The ids of an ``Announce`` or ``Get``."""
    return [ids[at : at + ID_BYTES] for at in range(0, len(ids), ID_BYTES)]


def push_batches(raws: Iterable[bytes]) -> Iterator[bytes]:
    """``raws`` as encoded ``Push`` messages, each closed once it reaches ``PUSH_BYTES`` or ``PUSH_ITEMS_MAX``."""
    batch: list[bytes] = []
    size = 0
    for raw in raws:
        batch.append(raw)
        size += len(raw)
        if size >= PUSH_BYTES or len(batch) == PUSH_ITEMS_MAX:
            yield encode(Push(tuple(batch)))
            batch, size = [], 0
    if batch:
        yield encode(Push(tuple(batch)))


def id_batches(ids: Iterable[bytes]) -> Iterator[bytes]:
    """``ids`` joined, in pieces of ``IDS_PER_MESSAGE_MAX``."""
    rest = iter(ids)
    while piece := b"".join(islice(rest, IDS_PER_MESSAGE_MAX)):
        yield piece


class Pool(Protocol):
    """What gossip asks of the mempool's owner; none of it may block."""

    def lookup(self, transaction_id: bytes) -> bytes | None:
        """The bytes of a pending transaction."""
        ...

    def is_known(self, transaction_id: bytes) -> bool:
        """Whether it is pending, or was decided or refused lately."""
        ...

    def pending_ids(self) -> Iterable[bytes]:
        """Ids of what is pending, to be told to a peer that came up."""
        ...

    def deliver(self, peer: bytes, transactions: Sequence[bytes]) -> None:
        """``peer`` sent these. Report later which were ``admitted``, and which are ``refused`` for good."""
        ...


class Outgoing(NamedTuple):
    """One encoded message and who gets it."""

    peers: tuple[bytes, ...]
    payload: bytes


@dataclass(slots=True)
class _Want:
    """A transaction heard of, but not here."""

    sources: list[bytes]
    """Peers that announced it, the next one to ask first."""
    asked: bytes | None = None
    deadline_s: float = 0.0
    attempts: int = 0


@dataclass(slots=True)
class _Batch:
    """Ids admitted from one source, to be announced together."""

    due_s: float
    ids: list[bytes] = field(default_factory=list)


class GossipPolicy:
    """Who is told what and when. Times are seconds of one monotonic clock."""

    def __init__(self, pool: Pool, is_coming: Callable[[bytes], bool] = lambda transaction_id: False) -> None:
        """``is_coming``: whether a transaction is here but not checked yet, and so need not be asked for."""
        self._pool = pool
        self._is_coming = is_coming
        self._bits: dict[bytes, int] = {}
        """One bit for each connected peer; a set of holders is the sum of theirs."""
        self._known: OrderedDict[bytes, int] = OrderedDict()
        self._push: list[bytes] = []
        self._push_ids: list[bytes] = []
        self._push_bytes = 0
        self._push_due_s: float | None = None
        self._pushed_s = -PUSH_DELAY_S
        """When the last push left: a quiet node does not wait for others to join the next one."""
        self._announce: dict[bytes, _Batch] = {}
        self._wanted: OrderedDict[bytes, _Want] = OrderedDict()
        """By deadline: every asking lasts equally long and goes to the end."""
        self._asked: dict[bytes, int] = {}

    def peer_up(self, peer: bytes) -> list[Outgoing]:
        """A new peer learns what is pending."""
        if peer not in self._bits:
            taken = sum(self._bits.values())
            self._bits[peer] = ~taken & (taken + 1)
        return [Outgoing((peer,), encode(Announce(ids))) for ids in id_batches(self._pool.pending_ids())]

    def peer_down(self, peer: bytes) -> None:
        """A peer that is gone holds nothing, and is asked for nothing."""
        bit = self._bits.pop(peer, 0)
        for transaction_id, holders in self._known.items():
            if holders & bit:
                self._known[transaction_id] = holders & ~bit
        for transaction_id in [i for i, want in self._wanted.items() if want.asked == peer]:
            self._wanted[transaction_id].deadline_s = 0.0
            self._wanted.move_to_end(transaction_id, last=False)

    def submit(self, transactions: Sequence[tuple[bytes, bytes]], now_s: float) -> None:
        """Push transactions, (id, bytes) each, to all: admitted by this node, or old and pushed again."""
        ids, raws = [item[0] for item in transactions], [item[1] for item in transactions]
        self._remember(ids, 0)
        self._push += raws
        self._push_ids += ids
        self._push_bytes += sum(map(len, raws))
        if self._push_bytes >= PUSH_BYTES or len(self._push) >= PUSH_ITEMS_MAX:
            self._push_due_s = now_s
        elif self._push_due_s is None:
            self._push_due_s = max(now_s, self._pushed_s + PUSH_DELAY_S)

    def admitted(self, source: bytes, ids: Sequence[bytes], now_s: float) -> None:
        """The mempool took these, which ``source`` had sent."""
        batch = self._announce.get(source)
        if batch is None:
            batch = self._announce[source] = _Batch(now_s + ANNOUNCE_DELAY_S)
        batch.ids.extend(ids)
        self._remember(ids, self._bits.get(source, 0))
        self._settle(ids)

    def refused(self, ids: Sequence[bytes]) -> None:
        """These will never be admitted: remembered, so that they are not fetched again."""
        self._remember(ids, 0)
        self._settle(ids)

    def holders(self, transaction_id: bytes) -> frozenset[bytes]:
        """Connected peers known to hold it: they announced it, sent it, or were pushed it."""
        holders = self._known.get(transaction_id, 0)
        return frozenset(peer for peer, bit in self._bits.items() if holders & bit)

    def _remember(self, ids: Sequence[bytes], holders: int) -> None:
        known = self._known
        for transaction_id in ids:
            known[transaction_id] = known.get(transaction_id, 0) | holders
        while len(known) > KNOWN_IDS_MAX:
            known.popitem(last=False)

    def _settle(self, ids: Sequence[bytes]) -> None:
        """These, known now, are wanted no longer; those that had announced one hold it."""
        if not self._wanted:
            return
        for transaction_id in ids:
            want = self._wanted.pop(transaction_id, None)
            if want is not None:
                self._unask(want)
                self._remember([transaction_id], sum(self._bits.get(peer, 0) for peer in want.sources))

    def _unask(self, want: _Want) -> None:
        if want.asked is not None:
            self._asked[want.asked] -= 1
            if not self._asked[want.asked]:
                del self._asked[want.asked]
            want.asked = None

    def received(self, peer: bytes, message: GossipMessage, now_s: float) -> list[Outgoing]:
        """What ``message`` from ``peer`` calls for at once."""
        if isinstance(message, Push):
            self._pool.deliver(peer, message.transactions)
            return []
        if isinstance(message, Get):
            held = map(self._pool.lookup, split_ids(message.ids))
            return [Outgoing((peer,), batch) for batch in push_batches(raw for raw in held if raw is not None)]
        return self.heard(peer, split_ids(message.ids), now_s)

    def heard(self, peer: bytes, ids: Sequence[bytes], now_s: float) -> list[Outgoing]:
        """``peer`` announced these: what is not here is asked for."""
        missing: list[bytes] = []
        bit, known = self._bits.get(peer, 0), self._known
        for transaction_id in ids:
            holders = known.get(transaction_id)
            if holders is not None:
                known[transaction_id] = holders | bit
            elif transaction_id in self._wanted:
                sources = self._wanted[transaction_id].sources
                if peer not in sources:
                    sources.append(peer)
            elif self._is_coming(transaction_id):
                continue  # it will be admitted or refused soon, and remembered then
            elif self._pool.is_known(transaction_id):
                self._remember([transaction_id], bit)
            elif len(self._wanted) < WANTED_IDS_MAX:
                self._wanted[transaction_id] = _Want([peer])
                missing.append(transaction_id)
        return self._ask(missing, now_s)

    def _ask(self, ids: Iterable[bytes], now_s: float) -> list[Outgoing]:
        questions: dict[bytes, list[bytes]] = {}
        for transaction_id in ids:
            want = self._wanted[transaction_id]
            peer = want.sources[0]
            want.deadline_s = now_s + PULL_TIMEOUT_S
            want.attempts += 1
            if self._asked.get(peer, 0) < WANTED_PER_PEER_MAX:
                self._asked[peer] = self._asked.get(peer, 0) + 1
                want.asked = peer
                questions.setdefault(peer, []).append(transaction_id)
        return [Outgoing((peer,), encode(Get(part))) for peer, asked in questions.items() for part in id_batches(asked)]

    def poll(self, now_s: float) -> list[Outgoing]:
        """What is due by ``now_s``."""
        out: list[Outgoing] = []
        if self._push_due_s is not None and self._push_due_s <= now_s:
            self._pushed_s = now_s
            out += self._pushes()
        for source in [source for source, batch in self._announce.items() if batch.due_s <= now_s]:
            out += self._announcements(source, self._announce.pop(source).ids)
        return out + self._retries(now_s)

    def _pushes(self) -> list[Outgoing]:
        everybody, bits = tuple(self._bits), sum(self._bits.values())
        out = [Outgoing(everybody, batch) for batch in push_batches(self._push)] if everybody else []
        self._remember(self._push_ids, bits)
        self._push, self._push_ids, self._push_bytes, self._push_due_s = [], [], 0, None
        return out

    def _announcements(self, source: bytes, ids: list[bytes]) -> list[Outgoing]:
        others = tuple(peer for peer in self._bits if peer != source)
        if not others:
            return []
        pending = (i for i in ids if self._pool.lookup(i) is not None)
        return [Outgoing(others, encode(Announce(part))) for part in id_batches(pending)]

    def _retries(self, now_s: float) -> list[Outgoing]:
        late: list[bytes] = []
        while self._wanted:
            transaction_id, want = next(iter(self._wanted.items()))
            if want.deadline_s > now_s:
                break
            self._unask(want)
            # Who had his turn goes to the end of the line; who is gone leaves it.
            turn = want.sources[1:] + want.sources[:1]
            want.sources = [peer for peer in turn if peer in self._bits]
            hopeless = not want.sources or want.attempts >= PULL_ATTEMPTS_MAX
            if hopeless or self._pool.is_known(transaction_id):
                del self._wanted[transaction_id]
            else:
                self._wanted.move_to_end(transaction_id)
                want.deadline_s = now_s + PULL_TIMEOUT_S
                late.append(transaction_id)
        return self._ask(late, now_s)

    def next_due_s(self) -> float | None:
        """When ``poll`` is to be called next; none: not before something else happens."""
        times = [batch.due_s for batch in self._announce.values()]
        if self._push_due_s is not None:
            times.append(self._push_due_s)
        if self._wanted:
            times.append(next(iter(self._wanted.values())).deadline_s)
        return min(times, default=None)


class TransactionGossip:
    """The policy on a network: give it the transaction class's messages and the comings and goings of peers.

    Needs no task: a timer runs until the next thing is due. ``stop`` it at the end.
    """

    def __init__(
        self,
        network: Network,
        pool: Pool,
        clock: Clock,
        is_coming: Callable[[bytes], bool] = lambda transaction_id: False,
        meter: Meter = NO_METER,
    ) -> None:
        self._network = network
        self._gossiping = meter.of("gossip")
        self._policy = GossipPolicy(pool, is_coming)
        self._clock = clock
        self._planned_s: float | None = None
        """When the timer runs off."""
        self._timer: TimerHandle | None = None
        self._stopped = False

    def submit(self, transactions: Sequence[tuple[bytes, bytes]]) -> None:
        """Push transactions, (id, bytes) each, that this node admitted, or old ones again."""
        self._policy.submit(transactions, self._clock.monotonic_s())
        self._replan()

    def admitted(self, source: bytes, ids: Sequence[bytes]) -> None:
        """The mempool took these, which ``source`` had sent."""
        self._policy.admitted(source, ids, self._clock.monotonic_s())
        self._replan()

    def refused(self, ids: Sequence[bytes]) -> None:
        """The mempool refused these for good. (Not for a full mempool: then say nothing.)"""
        self._policy.refused(ids)

    def holders(self, transaction_id: bytes) -> frozenset[bytes]:
        """Connected peers known to hold the transaction."""
        return self._policy.holders(transaction_id)

    def on_message(self, peer: bytes, payload: bytes) -> list[bytes]:
        """A message of the transaction class; the ids that ``peer`` announced in it. Raises ``PeerError`` MALFORMED."""
        with self._gossiping:
            message, now_s = parse_gossip(payload), self._clock.monotonic_s()
            ids = split_ids(message.ids) if isinstance(message, Announce) else []
            self._send(self._policy.heard(peer, ids, now_s) if ids else self._policy.received(peer, message, now_s))
            self._replan()
            return ids

    def on_peer(self, peer: bytes, up: bool) -> None:
        """A peer came or went."""
        if up:
            self._send(self._policy.peer_up(peer))
        else:
            self._policy.peer_down(peer)
            self._replan()

    def _replan(self) -> None:
        """Send what is due; a timer runs until the next thing will be."""
        if self._stopped:
            return
        now_s, due_s = self._clock.monotonic_s(), self._policy.next_due_s()
        if due_s is not None and due_s <= now_s:
            with self._gossiping:
                self._send(self._policy.poll(now_s))
            due_s = self._policy.next_due_s()
        if due_s is not None and (self._planned_s is None or due_s < self._planned_s):
            if self._timer is not None:
                self._timer.cancel()
            self._planned_s = due_s
            self._timer = self._clock.call_later(max(0.0, due_s - now_s), self._look)

    def _look(self) -> None:
        self._planned_s = None
        self._replan()

    def stop(self) -> None:
        """Nothing is sent on time any more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def _send(self, outgoing: list[Outgoing]) -> None:
        if outgoing:
            with self._network.turn:
                for peers, payload in outgoing:
                    self._network.broadcast(Channel.TRANSACTIONS, payload, to=peers)
