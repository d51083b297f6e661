"""Declaring a signing record lost: how a validator goes on whose log is gone for good (CONSENSUS §3).

A record marked *lost* is a first record like any other; what makes going on safe is LastSeen, which every start asks
before the first signature. Agreement is promised while lost records and Byzantine validators together are at most f.

Rules of this file

* The old log, if there is one, is set aside and never deleted: it may still be the truth.
* The new log is durable before the database names it. A crash between the two leaves LOG_ROLLED_BACK, and declaring
  the record lost once more mends it.
* The database's lock is held meanwhile, so no running node loses its record.
"""

from pathlib import Path

from msgspec.structs import replace

from consensus.log import decode_log
from consensus.records import FirstRecord
from ledger.codec import encode
from ledger.errors import OperatorError
from ledger.store import Batch

from .blockstore import HEAD_KEY, BlockReader
from .config import Config
from .founding import read_signed_genesis
from .keys import load_node_keys
from .opening import DATABASE_DIRECTORY
from .storage import open_store
from .votelog import LOG_FILE, create_log


def declare_lost(config: Config) -> Path | None:
    """Put a record marked lost in the place of the home's signing record.

    Returns where the old one was set aside; ``None`` when there was none. Raises ``OperatorError``: what opening the
    genesis, the keys and the database raises, NOT_A_VALIDATOR for an observer, LOG_FAILED.
    """
    genesis = read_signed_genesis(config.genesis_path)
    validator = load_node_keys(config.keys_path, observer=not config.holds_validator_keys).validator
    if validator is None:
        raise OperatorError("NOT_A_VALIDATOR", "an observer has no signing record", "", "start it without the option")
    data = config.data_path
    store = open_store(data / DATABASE_DIRECTORY, create=True, chain_id=genesis.chain_id)
    try:
        aside = _set_aside(data / LOG_FILE)
        create_log(data, FirstRecord(genesis.chain_id, validator.public, lost=True))
        head = BlockReader(store).head()
        if head is not None:
            position = decode_log((data / LOG_FILE).read_bytes()).end
            named = replace(head, log_sequence=position.sequence, log_crc=position.crc)
            store.write(Batch({HEAD_KEY: encode(named)}))
    finally:
        store.close()
    return aside


def _set_aside(path: Path) -> Path | None:
    if not path.exists():
        return None
    number = 1
    while (aside := path.with_name(f"{path.name}.set-aside-{number}")).exists():
        number += 1
    return path.rename(aside)
