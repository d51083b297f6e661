"""Which transactions are known to carry a valid signature, and the one place that finds it out (NODE §2).

A signature is verified once per node: on admission. A block's transactions that were admitted here before are found in
``VerifiedIds``; only the others are sent to the verifier. The id is the hash of *all* bytes of a transaction, its
signature included, so a remembered id vouches for exactly those bytes, on this chain, in this epoch.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from ledger.transactions import Transaction, signed_digest

from .steps import Steps
from .verifier import Verifier, record

BULK_MIN: Final = 64
"""So many signatures of a block go to the pool in bulk."""


class VerifiedIds:
    """The ``count_max`` ids most recently verified or asked for. Cleared when the epoch changes."""

    def __init__(self, count_max: int) -> None:
        self._count_max = count_max
        self._ids: OrderedDict[bytes, None] = OrderedDict()  # a dict would look for its oldest through all it has lost
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._ids)

    def known(self, tx_id: bytes) -> bool:
        """Whether the transaction was verified; counts a hit or a miss."""
        if tx_id not in self._ids:
            self.misses += 1
            return False
        self.hits += 1
        self._ids.move_to_end(tx_id)  # asked for: the youngest again
        return True

    def add(self, tx_id: bytes) -> None:
        """The transaction's signature is valid."""
        self._ids[tx_id] = None
        if len(self._ids) > self._count_max:
            self._ids.popitem(last=False)

    def clear(self) -> None:
        """A new epoch: old signatures say nothing."""
        self._ids.clear()


class TransactionVerifier:
    """Signatures of transactions: from memory, else from the pool of verifier processes."""

    def __init__(self, verifier: Verifier, verified: VerifiedIds, chain_id: bytes, steps: Steps | None = None) -> None:
        self._verifier = verifier
        self._preparing = (steps if steps is not None else Steps()).of("verify")
        self._chain_id = chain_id
        self._epoch = 0
        self.verified = verified

    async def verify(
        self, items: Sequence[tuple[bytes, bytes, Transaction]], epoch: int, *, urgent: bool = False
    ) -> list[bool]:
        """Whether the signature of each (id, raw, decoded transaction) is valid in ``epoch``, in order."""
        with self._preparing:
            self._enter(epoch)
            results = [self.verified.known(tx_id) for tx_id, _, _ in items]
            unknown = [at for at, known in enumerate(results) if not known]
            if not unknown:
                return results
            records = [self._record(items[at], epoch) for at in unknown]
        verdicts = await self._verifier.verify(records, urgent=urgent)
        with self._preparing:
            for at, valid in zip(unknown, verdicts, strict=True):
                results[at] = valid
                if valid and epoch == self._epoch:
                    self.verified.add(items[at][0])
        return results

    async def verify_block(
        self, items: Sequence[tuple[bytes, bytes, Transaction]], seals: Sequence[bytes], epoch: int
    ) -> tuple[bool, list[bool]]:
        """Whether every transaction of a block is signed validly in ``epoch``; and each seal, given as a record.

        What is found is not remembered: a block that is caught up with is committed next, and then its transactions are
        known by their ids. What was verified on admission is not verified again.
        """
        with self._preparing:
            self._enter(epoch)
            records = [self._record(item, epoch) for item in items if not self.verified.known(item[0])]
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

    def _record(self, item: tuple[bytes, bytes, Transaction], epoch: int) -> bytes:
        _, raw, transaction = item
        return record(transaction.signer, signed_digest(raw, self._chain_id, epoch), transaction.signature)
