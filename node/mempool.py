"""The mempool's pure part: which transactions wait for a block, in which order, and for how long (NODE §2).

Rules of this file

* Pure: no clock, no I/O; time comes in. The node's shell around it is ``admission.py``; the simulator uses this alone.
* First come, first served. What is in stays in until it is committed or expires: there is no fee to outbid anybody
  with, so a full pool refuses the newcomer (MEMPOOL_FULL) and evicts nobody.
* Bounded in count and bytes; each signer has a quota by what the chain knows about its key, and members and unknown
  keys together can never fill the pool: keys cost nothing to make.
* Expiry follows the time of *committed* blocks alone. A transaction is expired when a committed block is past its
  ``valid_until_ms``; until then it is pending, or a client that sends again would be executed twice (DESIGN §2).
* Which validators announced a transaction is kept per validator and bounded per validator (CONSENSUS §2: a block is due
  when a transaction older than the bound was announced by q of them).
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from ledger.errors import TransactionRejected
from ledger.limits import VALIDITY_WINDOW_MS
from ledger.transactions import Transaction

ITEM_OVERHEAD_BYTES: Final = 5
"""What MessagePack adds to a transaction inside a body: the head of a bin 32."""
EARLY_ANNOUNCEMENTS_MAX: Final = 4_096
"""Announcements of transactions not here yet, remembered for each validator."""
EXPIRED_IDS_MAX: Final = 16_384
"""Ids remembered as expired, so that their submitters can be told."""
PINS_MAX: Final = 64
"""Proposals whose transactions are kept; beyond it the oldest goes (its body is in the consensus log)."""


class SignerClass(Enum):
    """What the chain knows about a signer's key."""

    ORGANISATION = "organisation"
    MEMBER = "member"
    UNKNOWN = "unknown"

    part: int
    """All signers of the class together may have 1 / ``part`` of the pool."""

    __hash__ = object.__hash__  # members are single; the inherited one hashes the name, in Python, each time


SignerClass.ORGANISATION.part = 1
SignerClass.MEMBER.part = 4
SignerClass.UNKNOWN.part = 16


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the pool, from the configuration. Each quota is of one signer."""

    transactions_max: int = 50_000
    bytes_max: int = 134_217_728
    organisation_transactions_max: int = 20_000
    member_transactions_max: int = 16
    unknown_transactions_max: int = 2

    def of_signer(self, kind: SignerClass) -> int:
        """Most transactions of one signer of this class."""
        if kind is SignerClass.ORGANISATION:
            return self.organisation_transactions_max
        return self.member_transactions_max if kind is SignerClass.MEMBER else self.unknown_transactions_max

    def of_class(self, kind: SignerClass) -> int:
        """Most transactions of all signers of this class together."""
        return max(1, self.transactions_max // kind.part)

    def bytes_of_class(self, kind: SignerClass) -> int:
        """Most bytes of all signers of this class together."""
        return self.bytes_max // kind.part


@dataclass(slots=True, eq=False)
class Entry:
    """A transaction that waits. ``announced`` has bit i when validator i of the present set announced it."""

    id: bytes
    raw: bytes
    transaction: Transaction
    arrived_ms: int
    kind: SignerClass
    announced: int


@dataclass(slots=True)
class _Usage:
    count: int = 0
    bytes: int = 0


class Mempool:
    """See the head of this file. ``signer_class`` says what the newest state knows about a public key."""

    def __init__(self, limits: Limits, signer_class: Callable[[bytes], SignerClass]) -> None:
        self.limits = limits
        self._signer_class = signer_class
        self._bounds = {
            kind: (limits.of_signer(kind), limits.of_class(kind), limits.bytes_of_class(kind)) for kind in SignerClass
        }
        self._entries: dict[bytes, Entry] = {}  # in order of arrival
        self._bytes = 0
        self._of_signer: dict[bytes, int] = {}
        self._of_class = {kind: _Usage() for kind in SignerClass}
        self._expiry: list[tuple[int, bytes]] = []
        self._expired: OrderedDict[bytes, None] = OrderedDict()
        self._early: dict[int, OrderedDict[bytes, None]] = {}
        self._ripe: list[tuple[int, bytes]] = []
        self._ripe_quorum = 0
        self._pins: OrderedDict[bytes, dict[bytes, bytes]] = OrderedDict()

    # ---- looking ----

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, tx_id: bytes) -> bool:
        return tx_id in self._entries

    @property
    def size_bytes(self) -> int:
        """Bytes of all transactions that wait."""
        return self._bytes

    def get(self, tx_id: bytes) -> Entry | None:
        """The waiting transaction."""
        return self._entries.get(tx_id)

    def raw(self, tx_id: bytes) -> bytes | None:
        """The bytes of a transaction that waits or is pinned by a proposal in flight."""
        entry = self._entries.get(tx_id)
        if entry is not None:
            return entry.raw
        for pinned in self._pins.values():
            raw = pinned.get(tx_id)
            if raw is not None:
                return raw
        return None

    def missing(self, ids: Iterable[bytes]) -> list[bytes]:
        """Those of ``ids`` that neither wait here nor are pinned, in their order."""
        return [tx_id for tx_id in ids if self.raw(tx_id) is None]

    def expired(self, tx_id: bytes) -> bool:
        """Whether the transaction waited here until a block was past its ``valid_until_ms``, or began a new epoch."""
        return tx_id in self._expired

    def ids(self) -> list[bytes]:
        """All waiting ids, oldest first."""
        return list(self._entries)

    # ---- in ----

    def check(self, tx_id: bytes, raw: bytes, transaction: Transaction) -> SignerClass:
        """Whether there is room for the transaction; returns its signer's class.

        Raises ``TransactionRejected`` DUPLICATE (it waits already), QUOTA_EXCEEDED or MEMPOOL_FULL. Asked before the
        signature is verified, so that a full node does no work for what it cannot keep.
        """
        if tx_id in self._entries:
            raise TransactionRejected("DUPLICATE", "it already waits for a block")
        limits = self.limits
        kind = self._signer_class(transaction.signer)
        of_signer, of_class, bytes_of_class = self._bounds[kind]
        if self._of_signer.get(transaction.signer, 0) >= of_signer:
            raise TransactionRejected("QUOTA_EXCEEDED", f"at most {of_signer} of one {kind.value} signer wait")
        if len(self._entries) >= limits.transactions_max or self._bytes + len(raw) > limits.bytes_max:
            raise TransactionRejected("MEMPOOL_FULL", f"{len(self._entries)} transactions, {self._bytes} bytes wait")
        usage = self._of_class[kind]
        if usage.count >= of_class or usage.bytes + len(raw) > bytes_of_class:
            raise TransactionRejected("MEMPOOL_FULL", f"the share of {kind.value} signers is full")
        return kind

    def add(self, tx_id: bytes, raw: bytes, transaction: Transaction, now_ms: int) -> None:
        """Let a verified transaction wait. ``now_ms`` is the node's clock, for its age. Raises like ``check``."""
        kind = self.check(tx_id, raw, transaction)
        announced = self._take_early(tx_id) if self._early else 0
        entry = Entry(tx_id, raw, transaction, now_ms, kind, announced)
        self._entries[tx_id] = entry
        self._bytes += len(raw)
        self._of_signer[transaction.signer] = self._of_signer.get(transaction.signer, 0) + 1
        usage = self._of_class[kind]
        usage.count += 1
        usage.bytes += len(raw)
        heapq.heappush(self._expiry, (transaction.valid_until_ms, tx_id))
        if announced:
            self._ripen(entry)

    # ---- out ----

    def pick(
        self,
        bytes_max: int,
        count_max: int,
        time_ms: int,
        exclude: Collection[bytes] = frozenset(),
        *,
        alone_bytes_max: int | None = None,
    ) -> list[tuple[bytes, bytes]]:
        """(id, raw) for a block at ``time_ms``, oldest first, within ``bytes_max`` of body and ``count_max``.

        One that is too large for the rest of the block waits for the next one, where it comes first. The first one may
        be as large as ``alone_bytes_max`` (default ``bytes_max``): when ``bytes_max`` is only a wish for speed, a large
        transaction still gets a block of its own, or it would wait for ever.
        """
        picked: list[tuple[bytes, bytes]] = []
        room = bytes_max
        alone = bytes_max if alone_bytes_max is None else alone_bytes_max
        for tx_id, entry in self._entries.items():
            if len(picked) >= count_max or room <= ITEM_OVERHEAD_BYTES:
                break
            size = len(entry.raw) + ITEM_OVERHEAD_BYTES
            if size <= (room if picked else alone) and tx_id not in exclude and valid_at(entry.transaction, time_ms):
                picked.append((tx_id, entry.raw))
                room -= size
        return picked

    def still_valid(self, picked: Iterable[tuple[bytes, bytes]], time_ms: int) -> list[tuple[bytes, bytes]]:
        """Those of ``picked``, picked earlier, that wait still and may stand in a block at ``time_ms``."""
        found = ((item, self._entries.get(item[0])) for item in picked)
        return [item for item, entry in found if entry is not None and valid_at(entry.transaction, time_ms)]

    def remove_committed(self, ids: Iterable[bytes], block_time_ms: int) -> list[bytes]:
        """A block was committed: its transactions leave, and those it is past expire. Returns the expired ids."""
        for tx_id in ids:
            self._remove(tx_id)
        expired: list[bytes] = []
        while self._expiry and self._expiry[0][0] < block_time_ms:
            _, tx_id = heapq.heappop(self._expiry)
            if self._remove(tx_id) is not None:
                expired.append(tx_id)
        self._remember_expired(expired)
        if len(self._expiry) > 2 * len(self._entries) + 1_024:  # most of the heap is committed long ago
            self._expiry = [(entry.transaction.valid_until_ms, tx_id) for tx_id, entry in self._entries.items()]
            heapq.heapify(self._expiry)
        if len(self._ripe) > 2 * len(self._entries) + 1_024:
            self._ripe = [item for item in self._ripe if item[1] in self._entries]
            heapq.heapify(self._ripe)
        return expired

    def expire_all(self) -> list[bytes]:
        """A new epoch has begun: what waits is signed for the old one, and can never be in a block. Their ids."""
        expired = self.ids()
        for tx_id in expired:
            self._remove(tx_id)
        self._remember_expired(expired)
        return expired

    def _remember_expired(self, ids: Iterable[bytes]) -> None:
        for tx_id in ids:
            self._expired[tx_id] = None
        while len(self._expired) > EXPIRED_IDS_MAX:
            self._expired.popitem(last=False)

    def _remove(self, tx_id: bytes) -> Entry | None:
        entry = self._entries.pop(tx_id, None)
        if entry is None:
            return None
        self._bytes -= len(entry.raw)
        signer = entry.transaction.signer
        self._of_signer[signer] -= 1
        if not self._of_signer[signer]:
            del self._of_signer[signer]
        usage = self._of_class[entry.kind]
        usage.count -= 1
        usage.bytes -= len(entry.raw)
        return entry

    # ---- announcements ----

    def announce(self, index: int, ids: Iterable[bytes]) -> None:
        """Validator ``index`` of the present set has these transactions; those not here yet are remembered a while."""
        bit = 1 << index
        for tx_id in ids:
            entry = self._entries.get(tx_id)
            if entry is None:
                early = self._early.setdefault(index, OrderedDict())
                early[tx_id] = None
                if len(early) > EARLY_ANNOUNCEMENTS_MAX:
                    early.popitem(last=False)
            elif not entry.announced & bit:
                entry.announced |= bit
                if entry.announced.bit_count() == self._ripe_quorum:  # this announcement completed the quorum
                    self._ripen(entry)

    def forget_announcements(self) -> None:
        """The validator set changed: positions in it mean somebody else now."""
        self._early.clear()
        self._ripe.clear()
        for entry in self._entries.values():
            entry.announced = 0

    def oldest_due(self, bound_ms: int, quorum: int, now_ms: int) -> bytes | None:
        """The oldest transaction that waits for ``bound_ms`` or more and was announced by ``quorum`` validators."""
        if quorum != self._ripe_quorum:
            self._ripe_quorum = quorum
            self._ripe.clear()
            for entry in self._entries.values():
                self._ripen(entry)
        while self._ripe and self._ripe[0][1] not in self._entries:
            heapq.heappop(self._ripe)
        if self._ripe and now_ms - self._ripe[0][0] >= bound_ms:
            return self._ripe[0][1]
        return None

    def older_than(self, age_ms: int, now_ms: int, count_max: int) -> list[bytes]:
        """Up to ``count_max`` ids that have waited for ``age_ms`` or more, oldest first: to be pushed to all again."""
        old: list[bytes] = []
        for tx_id, entry in self._entries.items():
            if len(old) >= count_max or now_ms - entry.arrived_ms < age_ms:
                break
            old.append(tx_id)
        return old

    def _take_early(self, tx_id: bytes) -> int:
        announced = 0
        for index, early in self._early.items():
            if tx_id in early:
                del early[tx_id]
                announced |= 1 << index
        return announced

    def _ripen(self, entry: Entry) -> None:
        """Note the entry if a quorum announced it."""
        if self._ripe_quorum and entry.announced.bit_count() >= self._ripe_quorum:
            heapq.heappush(self._ripe, (entry.arrived_ms, entry.id))

    # ---- proposals in flight ----

    def pin(self, key: bytes, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Keep (id, raw) of the proposal ``key`` (block hash) until it is unpinned, whatever becomes of the pool."""
        self._pins.setdefault(key, {}).update(items)
        self._pins.move_to_end(key)
        if len(self._pins) > PINS_MAX:
            self._pins.popitem(last=False)

    def unpin(self, key: bytes) -> None:
        """The height of this proposal is decided; unknown keys are fine."""
        self._pins.pop(key, None)

    def unpin_all(self) -> None:
        """A height was decided: no proposal is in flight any more."""
        self._pins.clear()


def valid_at(transaction: Transaction, time_ms: int) -> bool:
    """Whether the transaction may stand in a block at ``time_ms`` (DESIGN §2)."""
    return time_ms <= transaction.valid_until_ms <= time_ms + VALIDITY_WINDOW_MS
