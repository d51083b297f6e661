"""A transaction whose time is over may stand in a block, although its id is not remembered any more."""

from collections.abc import Sequence

from ledger import validity
from ledger.blocks import Header
from ledger.errors import PeerError
from ledger.transactions import Transaction
from ledger.validity import HeightView
from simulator import replica

from .patch import Patch

RULE = "block.time <= valid_until"


def plant(patch: Patch) -> None:
    """Break the rule."""
    ordinary = validity.check_transactions

    def check(view: HeightView, header: Header, transactions: Sequence[tuple[bytes, Transaction]]) -> None:
        try:
            ordinary(view, header, transactions)
        except PeerError as error:
            if error.code != "TRANSACTION_EXPIRED":
                raise

    patch.replace(replica, "check_transactions", check)
