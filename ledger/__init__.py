"""The rules of the ledger, pure and deterministic: no I/O, no clock, no randomness, no float.

This module is also the embedding API: apply a block, prove a row, over any store of the key-value port (``Store``). The
names below are stable; each is loaded when it is first used, so that importing one small module stays cheap.

    genesis = ledger.parse_genesis(raw)
    batch, header, root = ledger.initial_batch(genesis)
    store.write(batch)
    view = ledger.view_at_genesis(
        store, chain_id=genesis.chain_id, params=genesis.params, header=header, state_root=root
    )
    applied = ledger.apply_block(store, view, header, parent_certificate, transactions)
    store.write(applied.batch)
    proof = ledger.TableReader(store).prove(ledger.Table.MEMBERS, member_id)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .apply import Applied as Applied
    from .apply import apply_block as apply_block
    from .apply import begin_block as begin_block
    from .errors import HuzhuError as HuzhuError
    from .errors import InvariantViolation as InvariantViolation
    from .errors import OperatorError as OperatorError
    from .errors import PeerError as PeerError
    from .errors import TransactionRejected as TransactionRejected
    from .genesis import Genesis as Genesis
    from .genesis import initial_batch as initial_batch
    from .genesis import parse_genesis as parse_genesis
    from .state import StateReader as StateReader
    from .store import Batch as Batch
    from .store import MemoryStore as MemoryStore
    from .store import Reader as Reader
    from .store import Store as Store
    from .tables import Table as Table
    from .tables import TableReader as TableReader
    from .transactions import decode_transaction as decode_transaction
    from .transactions import sign_transaction as sign_transaction
    from .transactions import transaction_id as transaction_id
    from .validity import HeightView as HeightView
    from .validity import check_body as check_body
    from .validity import check_header as check_header
    from .validity import view_at_genesis as view_at_genesis

_HOMES: Final = {
    "Applied": "apply",
    "apply_block": "apply",
    "begin_block": "apply",
    "HuzhuError": "errors",
    "InvariantViolation": "errors",
    "OperatorError": "errors",
    "PeerError": "errors",
    "TransactionRejected": "errors",
    "Genesis": "genesis",
    "initial_batch": "genesis",
    "parse_genesis": "genesis",
    "StateReader": "state",
    "Batch": "store",
    "MemoryStore": "store",
    "Reader": "store",
    "Store": "store",
    "Table": "tables",
    "TableReader": "tables",
    "decode_transaction": "transactions",
    "sign_transaction": "transactions",
    "transaction_id": "transactions",
    "HeightView": "validity",
    "check_body": "validity",
    "check_header": "validity",
    "view_at_genesis": "validity",
}
"""Which module of this package each exported name comes from."""

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'ledger' has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return __all__
