"""Which transactions are known to carry a valid signature, and the one place that finds it out (NODE §2).

A signature is verified once per node: on admission. A block's transactions that were admitted here before are found in
``VerifiedIds``; only the others are sent to the verifier. The id is the hash of *all* bytes of a transaction, its
signature included, so a remembered id vouches for exactly those bytes, on this chain, in this epoch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import compress
from typing import Final

from ledger.transactions import Transaction, signed_digests

from .steps import Steps
from .verifier import Verifier

Item = tuple[bytes, bytes, Transaction]
"""Id, bytes and value of a transaction."""
BULK_MIN: Final = 64
"""So many signatures of a block go to the pool in bulk."""


class VerifiedIds:
    """The ids verified last: half of ``count_max`` at least, ``count_max`` at most. Cleared when the epoch changes.

    Two sets, filled in turn: when the young one is full the old one is forgotten whole.
    """

    def __init__(self, count_max: int) -> None:
        """``count_max``: at least 2."""
        self._half = count_max // 2
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def unknown(self, ids: Sequence[bytes]) -> list[int]:
        """The places of those that are not known; counts hits and misses."""
        young, old = self._young, self._old
        places = [at for at, tx_id in enumerate(ids) if tx_id not in young and tx_id not in old]
        self.misses += len(places)
        self.hits += len(ids) - len(places)
        return places

    def add(self, ids: Iterable[bytes]) -> None:
        """The signatures of these transactions are valid."""
        young = self._young
        for tx_id in ids:
            young.add(tx_id)
            if len(young) >= self._half:
                self._old, self._young = young, set()
                young = self._young

    def clear(self) -> None:
        """A new epoch: old signatures say nothing."""
        self._young.clear()
        self._old.clear()


class TransactionVerifier:
    """Signatures of transactions: from memory, else from the pool of verifier processes."""

    def __init__(self, verifier: Verifier, verified: VerifiedIds, chain_id: bytes, steps: Steps | None = None) -> None:
        self._verifier = verifier
        self._preparing = (steps if steps is not None else Steps()).of("verify")
        self._chain_id = chain_id
        self._epoch = 0
        self.verified = verified

    async def verify(self, items: Sequence[Item], epoch: int, *, urgent: bool = False) -> list[bool]:
        """Whether the signature of each (id, raw, decoded transaction) is valid in ``epoch``, in order."""
        with self._preparing:
            self._enter(epoch)
            unknown = self.verified.unknown([tx_id for tx_id, _, _ in items])
            if not unknown:
                return [True] * len(items)
            records = self._records([items[at] for at in unknown] if len(unknown) < len(items) else items, epoch)
        verdicts = await self._verifier.verify(records, urgent=urgent)
        with self._preparing:
            if epoch == self._epoch:
                self.verified.add(items[at][0] for at in compress(unknown, verdicts))
            if len(unknown) == len(items):
                return verdicts
            results = [True] * len(items)
            for at, valid in zip(unknown, verdicts, strict=True):
                results[at] = valid
            return results

    async def valid_in(self, items: Sequence[Item], epoch: int) -> list[bool]:
        """Whether the signature of each is valid in an ``epoch`` that is not the present one. Nothing is remembered."""
        with self._preparing:
            records = self._records(items, epoch)
        return await self._verifier.verify(records)

    async def verify_block(self, items: Sequence[Item], seals: Sequence[bytes], epoch: int) -> tuple[bool, list[bool]]:
        """Whether every transaction of a block is signed validly in ``epoch``; and each seal, given as a record.

        What is found is not remembered: a block that is caught up with is committed next, and then its transactions are
        known by their ids. What was verified on admission is not verified again.
        """
        with self._preparing:
            self._enter(epoch)
            places = self.verified.unknown([tx_id for tx_id, _, _ in items])
            records = self._records([items[at] for at in places], epoch)
            unknown = len(records)
            records += seals
        if len(records) < BULK_MIN:
            verdicts = await self._verifier.verify(records, urgent=True)
        else:
            verdicts = await self._verifier.verify_bulk(b"".join(records))
        return all(verdicts[:unknown]), verdicts[unknown:]

    def _enter(self, epoch: int) -> None:
        if epoch != self._epoch:
            self._epoch = epoch
            self.verified.clear()

    def _records(self, items: Sequence[Item], epoch: int) -> list[bytes]:
        """As ``verifier.record`` makes them; decoding has checked how long keys and signatures are."""
        digests = signed_digests([raw for _, raw, _ in items], self._chain_id, epoch)
        return [
            transaction.signature + digest + transaction.signer
            for (_, _, transaction), digest in zip(items, digests, strict=True)
        ]
