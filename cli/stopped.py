"""A stopped node's database, opened by a command: only with the home's own genesis, and never beside a running node."""

from collections.abc import Iterator
from contextlib import contextmanager

from ledger.genesis import Genesis
from node.config import Config
from node.founding import read_signed_genesis
from node.opening import DATABASE_DIRECTORY
from node.storage import LevelStore, open_store


@contextmanager
def stopped_database(config: Config) -> Iterator[tuple[LevelStore, Genesis]]:
    """The database of a stopped node, and its genesis. Raises ``OperatorError``, LOCKED_DATABASE while it runs."""
    genesis = read_signed_genesis(config.genesis_path)
    store = open_store(config.data_path / DATABASE_DIRECTORY, create=False, chain_id=genesis.chain_id)
    try:
        yield store, genesis
    finally:
        store.close()
