"""The one way into the mempool, for clients and for peers (NODE §2).

    decode and size -> window -> seen, pending or in flight -> room -> signature -> mempool -> handed to gossip

Rules of this file

* A transaction is decoded, hashed and verified at most once per node: one that arrives again while it is being checked
  waits for the first one's result.
* Clients are sent away at the door while more waits than the chain commits soon (``node.door``); nothing is decoded.
* The cheap checks come first, and the room in the pool is asked for before the signature is verified.
* Who signed for the epoch before, or as a peer for the next, has not lied: EXPIRED or NOT_YET_VALID, not BAD_SIGNATURE.
* Refusals are outcomes, not exceptions: one bad transaction of a list says nothing about the others.
* Signatures of what peers push are verified before those of what clients bring: the next proposal names it, and who has
  not verified it by then holds the others up. It comes one list after the other, so a proposal waits for one at most.
* Work is cut into slices, so the votes that share the event loop never wait behind a long list.
* ``submit`` waits for its outcome; ``offer`` leaves the list in an inbox of bounded bytes, or refuses it.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import compress
from typing import Final, Protocol

import msgspec

from ledger.errors import OK, TransactionRejected
from ledger.limits import VALIDITY_WINDOW_MS
from ledger.rows import Clock, Organisation
from ledger.state import Index, StateReader
from ledger.transactions import Transaction, transaction_id

from .decoded import Decoder
from .door import Door
from .mempool import Mempool, SignerClass
from .steps import Steps
from .verified import TransactionVerifier

SLICE_TRANSACTIONS: Final = 256
"""Between two slices of this size other tasks run: 256 decodes and hashes take about 3 ms."""
SLICES_IN_FLIGHT: Final = 4
"""Of one submission: enough to keep the verifiers busy while the next slice is decoded."""
INBOX_BYTES_MAX: Final = 33_554_432


class Source(Enum):
    """Where a transaction came from."""

    CLIENT = "client"
    PEER = "peer"


class ChainView(Protocol):
    """What admission asks the chain."""

    @property
    def epoch(self) -> int: ...

    @property
    def head_time_ms(self) -> int:
        """Consensus time of the newest committed block."""
        ...

    @property
    def ready(self) -> bool:
        """Whether the node is near enough to the head to judge a client's transaction."""
        ...

    def seen(self, tx_id: bytes) -> bool:
        """Whether the id was committed within the validity window."""
        ...


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What became of one submitted transaction. ``code`` is OK when it waits for a block here."""

    id: bytes
    code: str
    detail: str = ""
    fresh: bool = False
    """Whether it entered the mempool by this submission; an OK that is not fresh waited there already."""


_Checked = tuple[bytes, bytes, Transaction]
"""Id, bytes and value of a transaction of which only the signature is still to be verified."""


@dataclass(slots=True, eq=False)
class _Slice:
    """A slice whose signatures are being verified."""

    epoch: int
    """Its signatures are verified for this one."""
    own: dict[int, _Checked] = field(default_factory=dict)
    """By place in the list."""
    of_other_epochs: dict[bytes, TransactionRejected] = field(default_factory=dict)
    """By id, what is signed for the epoch before or after."""
    verdicts: asyncio.Task[list[bool]] | None = None
    followers: asyncio.Future[dict[bytes, Outcome]] | None = None
    """What others wait for who brought one of ``own`` again; made when there is one."""


Done = Callable[[list[Outcome]], None]


@dataclass(frozen=True, slots=True)
class _Offered:
    """A list in the inbox; its ids are known from its arrival, so that nobody fetches what lies here."""

    raws: Sequence[bytes]
    ids: Sequence[bytes]
    source: Source
    done: Done | None


HandOff = Callable[[list[bytes], Source], None]
"""Told the ids that have just entered the mempool, in order: gossip pushes those of clients, announces the others."""


class Admission:
    """See the head of this file. ``run()`` belongs to the node's TaskGroup."""

    def __init__(
        self,
        *,
        mempool: Mempool,
        signatures: TransactionVerifier,
        chain: ChainView,
        clock_ms: Callable[[], int],
        hand_off: HandOff,
        inbox_bytes_max: int = INBOX_BYTES_MAX,
        steps: Steps | None = None,
        decoder: Decoder | None = None,
    ) -> None:
        """``clock_ms`` is the node's clock in consensus time (Unix milliseconds)."""
        self._mempool = mempool
        self._signatures = signatures
        self._chain = chain
        self._clock_ms = clock_ms
        self._hand_off = hand_off
        self._in_flight: dict[bytes, _Slice] = {}
        self._inbox: asyncio.Queue[_Offered] = asyncio.Queue()
        self._inbox_bytes = 0
        self._coming: dict[bytes, bytes] = {}
        """id -> bytes of what lies in the inbox and of the list being checked."""
        self._inbox_bytes_max = inbox_bytes_max
        self._steps = steps if steps is not None else Steps()
        self._overtaken: set[bytes] = set()
        """What a block has brought while its signature was being verified here."""
        self._decoder = decoder if decoder is not None else Decoder(self._steps)
        self._hashing, self._decoding = self._steps.of("hash"), self._steps.of("decode")
        self._admitting, self._entering = self._steps.of("admit"), self._steps.of("enter")
        self.door = Door()
        self.counts: Counter[tuple[Source, str]] = Counter()
        """Transactions by source and outcome; admitted ones as OK, repeated ones as KNOWN."""

    @property
    def inbox_bytes(self) -> int:
        """Bytes that were offered and are not checked yet."""
        return self._inbox_bytes

    def offer(self, raws: Sequence[bytes], source: Source, done: Done | None = None) -> bool:
        """Leave a list to be checked later; False when the inbox is full. ``done`` is called with the outcomes."""
        size = _inbox_size(raws)
        if self._inbox_bytes + size > self._inbox_bytes_max:
            self.counts[source, "INBOX_FULL"] += len(raws)
            return False
        self._inbox_bytes += size
        ids = self._hashed(raws)
        self._coming.update(zip(ids, raws, strict=True))
        self._inbox.put_nowait(_Offered(raws, ids, source, done))
        return True

    def committed(self, ids: Collection[bytes], left: int, now_s: float) -> None:
        """A block was committed, with these transactions; ``left`` wait still. To be told of every block."""
        self._overtaken |= self._in_flight.keys() & ids
        self.door.committed(len(ids), left, now_s)

    async def run(self) -> None:
        """Check what was offered, list by list, until cancelled."""
        while True:
            offered = await self._inbox.get()
            outcomes = await self._submit(offered.raws, offered.ids, offered.source)
            self._inbox_bytes -= _inbox_size(offered.raws)
            for tx_id in offered.ids:
                self._coming.pop(tx_id, None)
            if offered.done is not None:
                offered.done(outcomes)

    def is_coming(self, tx_id: bytes) -> bool:
        """Whether the transaction lies in the inbox or is being checked: it need not be fetched."""
        return tx_id in self._coming or tx_id in self._in_flight

    def raw(self, tx_id: bytes) -> bytes | None:
        """The bytes of a transaction that peers offered and that is not checked yet."""
        return self._coming.get(tx_id)

    def refused_at_the_door(self) -> bool:
        """Whether a client's list would be refused whole now: then it need not even be read."""
        return not self.door.is_open(self._waiting())

    def _waiting(self) -> int:
        return len(self._mempool) + len(self._in_flight) + len(self._coming)

    def _hashed(self, raws: Sequence[bytes]) -> list[bytes]:
        self._steps.count("hash", len(raws))
        with self._hashing:
            return [transaction_id(raw) for raw in raws]

    async def submit(self, raws: Sequence[bytes], source: Source) -> list[Outcome]:
        """Check a list and let what is valid wait for a block, in the list's order; the outcome of each, in order.

        While the signatures of one slice are verified the next ones are decoded. Those that another submission checks
        right now are waited for at the end, when nobody can wait for us any more.
        """
        return await self._submit(raws, self._hashed(raws), source)

    async def _submit(self, raws: Sequence[bytes], ids: Sequence[bytes], source: Source) -> list[Outcome]:
        outcomes: dict[int, Outcome] = {}
        followed: dict[int, asyncio.Future[dict[bytes, Outcome]]] = {}
        window: deque[_Slice] = deque()
        try:
            if len(raws) <= SLICE_TRANSACTIONS:  # nothing to overlap: no task for it
                window.append(self._begin(range(len(raws)), raws, ids, source, outcomes, followed))
                await self._finish(window, source, outcomes)
            else:
                await self._overlapped(raws, ids, source, outcomes, followed, window)
        finally:
            self._break_off(window)
        for at, future in followed.items():
            first = (await asyncio.shield(future))[ids[at]]
            outcomes[at] = Outcome(first.id, first.code, first.detail)
        in_order = [outcomes[at] for at in range(len(raws))]
        tally = Counter("KNOWN" if outcome.code == OK and not outcome.fresh else outcome.code for outcome in in_order)
        for code, count in tally.items():
            self.counts[source, code] += count
        return in_order

    async def _overlapped(
        self,
        raws: Sequence[bytes],
        ids: Sequence[bytes],
        source: Source,
        outcomes: dict[int, Outcome],
        followed: dict[int, asyncio.Future[dict[bytes, Outcome]]],
        window: deque[_Slice],
    ) -> None:
        """Slice by slice: while the signatures of some are verified the next one is decoded."""
        async with asyncio.TaskGroup() as group:
            for start in range(0, len(raws), SLICE_TRANSACTIONS):
                places = range(start, min(start + SLICE_TRANSACTIONS, len(raws)))
                piece = self._begin(places, raws, ids, source, outcomes, followed)
                piece.verdicts = group.create_task(self._verdicts(piece, source))
                window.append(piece)
                await asyncio.sleep(0)
                if len(window) == SLICES_IN_FLIGHT:
                    await self._finish(window, source, outcomes)
            while window:
                await self._finish(window, source, outcomes)

    def _begin(
        self,
        places: range,
        raws: Sequence[bytes],
        ids: Sequence[bytes],
        source: Source,
        outcomes: dict[int, Outcome],
        followed: dict[int, asyncio.Future[dict[bytes, Outcome]]],
    ) -> _Slice:
        """Check the transactions at ``places``; those that need their signature verified are now in flight."""
        begun, head_ms = _Slice(self._chain.epoch), self._chain.head_time_ms
        with self._admitting:
            wanted = self._wanted(places, ids, source, outcomes, followed)
            with self._decoding:
                decoded = [self._decoded(ids[at], raws[at]) for at in wanted]
            latest_ms = max(head_ms, self._clock_ms()) + VALIDITY_WINDOW_MS
            for at, transaction in zip(wanted, decoded, strict=True):
                tx_id = ids[at]
                if tx_id in self._in_flight:  # twice in this list
                    followed[at] = self._follow(self._in_flight[tx_id])
                    continue
                try:
                    if isinstance(transaction, TransactionRejected):
                        raise transaction
                    self._check(tx_id, raws[at], transaction, head_ms, latest_ms)
                    begun.own[at] = (tx_id, raws[at], transaction)
                    self._in_flight[tx_id] = begun
                except TransactionRejected as rejected:
                    outcomes[at] = Outcome(tx_id, rejected.code, rejected.detail)
        return begun

    def _wanted(
        self,
        places: range,
        ids: Sequence[bytes],
        source: Source,
        outcomes: dict[int, Outcome],
        followed: dict[int, asyncio.Future[dict[bytes, Outcome]]],
    ) -> list[int]:
        """The places of those to be decoded: not here yet and, of a client, within what may wait."""
        wanted: list[int] = []
        from_client = source is Source.CLIENT
        room = max(0, self.door.backlog_max - self._waiting()) if from_client else len(places)
        if from_client and not self._chain.ready:
            refusal = ("NOT_READY", "this node is catching up; try another one, or later")
            room = 0
        else:
            refusal = ("MEMPOOL_FULL", "more waits than the network commits in seconds")
        for at in places:
            tx_id = ids[at]
            if tx_id in self._in_flight:
                followed[at] = self._follow(self._in_flight[tx_id])
            elif tx_id in self._mempool:
                outcomes[at] = Outcome(tx_id, OK, "it already waits for a block")
            elif len(wanted) < room:
                wanted.append(at)
            else:
                outcomes[at] = Outcome(tx_id, *refusal)
        return wanted

    def _decoded(self, tx_id: bytes, raw: bytes) -> Transaction | TransactionRejected:
        try:
            return self._decoder.decode(tx_id, raw)
        except TransactionRejected as rejected:
            return rejected

    def _follow(self, first: _Slice) -> asyncio.Future[dict[bytes, Outcome]]:
        if first.followers is None:
            first.followers = asyncio.get_running_loop().create_future()
        return first.followers

    async def _verdicts(self, piece: _Slice, source: Source) -> list[bool]:
        items = list(piece.own.values())
        verdicts = await self._signatures.verify(items, piece.epoch, urgent=source is Source.PEER)
        if not all(verdicts):
            unsigned = [item for item, valid in zip(items, verdicts, strict=True) if not valid]
            await self._find_other_epochs(piece, unsigned, source)
        return verdicts

    async def _find_other_epochs(self, piece: _Slice, unsigned: list[_Checked], source: Source) -> None:
        """Which of those with no valid signature for this epoch have one for the last or, from a peer, for the next."""
        others = [(piece.epoch - 1, "EXPIRED")] if piece.epoch else []
        if source is Source.PEER:
            others.append((piece.epoch + 1, "NOT_YET_VALID"))
        for epoch, code in others:
            verdicts = await self._signatures.valid_in(unsigned, epoch)
            for tx_id, _, _ in compress(unsigned, verdicts):
                why = f"signed for epoch {epoch}, this node is in epoch {piece.epoch}"
                piece.of_other_epochs[tx_id] = TransactionRejected(code, why)

    async def _finish(self, window: deque[_Slice], source: Source, outcomes: dict[int, Outcome]) -> None:
        """Let the oldest slice enter the mempool, and tell those who wait for its results."""
        piece = window[0]
        verdicts = await (self._verdicts(piece, source) if piece.verdicts is None else piece.verdicts)
        window.popleft()
        entered = self._enter(piece, verdicts, source)
        outcomes.update(entered)
        self._release(piece, entered.values())

    def _release(self, piece: _Slice, results: Iterable[Outcome]) -> None:
        for tx_id, _, _ in piece.own.values():
            del self._in_flight[tx_id]
            self._overtaken.discard(tx_id)
        if piece.followers is not None:
            piece.followers.set_result({outcome.id: outcome for outcome in results})

    def _break_off(self, window: deque[_Slice]) -> None:
        """The submission was cancelled: release those who wait for what it had in flight."""
        for piece in window:
            gone = "its first submission was broken off; send it again"
            self._release(piece, [Outcome(tx_id, "NOT_READY", gone) for tx_id, _, _ in piece.own.values()])
        window.clear()

    def _check(self, tx_id: bytes, raw: bytes, transaction: Transaction, head_ms: int, latest_ms: int) -> None:
        """Everything but the signature. Raises ``TransactionRejected``."""
        until_ms = transaction.valid_until_ms
        if until_ms < head_ms:
            raise TransactionRejected("EXPIRED", f"valid until {until_ms}, the newest block is of {head_ms}")
        if until_ms > latest_ms:
            raise TransactionRejected("NOT_YET_VALID", f"valid until {until_ms}, at most {latest_ms} now")
        if self._chain.seen(tx_id):
            raise TransactionRejected("DUPLICATE", "it is in a block already")
        self._mempool.check(tx_id, raw, transaction)

    def _enter(self, piece: _Slice, verdicts: list[bool], source: Source) -> dict[int, Outcome]:
        """Add what has a valid signature to the mempool, and hand it to gossip."""
        outcomes: dict[int, Outcome] = {}
        entered: list[bytes] = []
        now_ms = self._clock_ms()
        with self._entering:
            for (at, (tx_id, raw, transaction)), valid in zip(piece.own.items(), verdicts, strict=True):
                try:
                    if not valid:
                        unsigned = TransactionRejected("BAD_SIGNATURE", "for this chain and epoch")
                        raise piece.of_other_epochs.get(tx_id, unsigned)
                    if piece.epoch != self._chain.epoch:
                        raise TransactionRejected("EXPIRED", f"epoch {self._chain.epoch} began while it was verified")
                    if tx_id in self._overtaken:
                        raise TransactionRejected("DUPLICATE", "it is in a block already")
                    self._mempool.add(tx_id, raw, transaction, now_ms)
                    entered.append(tx_id)
                    outcomes[at] = Outcome(tx_id, OK, fresh=True)
                except TransactionRejected as rejected:
                    outcomes[at] = Outcome(tx_id, rejected.code, rejected.detail)
        if entered:
            self._hand_off(entered, source)
        return outcomes


def _inbox_size(raws: Sequence[bytes]) -> int:
    """What a list costs while it waits: its bytes, and the objects that hold them."""
    return 256 + sum(map(len, raws)) + 64 * len(raws)


def signer_class(state: StateReader, key: bytes) -> SignerClass:
    """What the state knows about a public key. The clock key of a stepped chain counts as an organisation's."""
    organisation = state.index_id(Index.ORGANISATION_KEY, key)
    if organisation is not None:
        # A suspended organisation's transactions fail on execution; it gets no large quota for them.
        active = state.get(Organisation, organisation).state == 0
        return SignerClass.ORGANISATION if active else SignerClass.UNKNOWN
    if state.index_id(Index.MEMBER_KEY, key) is not None:
        return SignerClass.MEMBER
    clock = state.find(Clock, 1)
    if clock is not None and clock.clock_key and clock.clock_key == key:
        return SignerClass.ORGANISATION
    return SignerClass.UNKNOWN
