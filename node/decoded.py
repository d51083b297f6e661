"""Transactions decoded at most once, whoever needs them first: admission, or the check of a proposal (NODE §2).

A transaction may lie in the inbox when a proposal names it; then the proposal's check decodes it, and admission finds
it here, or the other way round. The id is the hash of all bytes, so what is kept under it is what these bytes say.
"""

from collections import OrderedDict
from typing import Final

from ledger.transactions import Transaction, decode_transaction

from .steps import Steps

KEPT_MAX: Final = 4_096
"""The newest so many are kept, a few blocks of them; what is older lies in the mempool, or is committed."""


class Decoder:
    """See the head of this file."""

    def __init__(self, steps: Steps | None = None) -> None:
        self._kept: OrderedDict[bytes, Transaction] = OrderedDict()
        self._steps = steps if steps is not None else Steps()

    def decode(self, tx_id: bytes, raw: bytes) -> Transaction:
        """The transaction of these bytes, whose hash is ``tx_id``. Raises ``TransactionRejected``; that is not kept."""
        found = self._kept.get(tx_id)
        if found is None:
            self._steps.count("decode", 1)
            found = self._kept[tx_id] = decode_transaction(raw)
            if len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)
        return found
