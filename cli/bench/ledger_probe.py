"""The bare loops that the ledger's figures are ratios to: what appending a member costs without any rule.

Pack the row, hash its leaf, put its entry of the identity index, and write synced batches of 10,000 through the node's
own store. No lookup, no tree above the leaves, no undo, no block. The entries are put in the order of their keys, as
the ledger does: LevelDB takes them quicker so, sorting included, and a ceiling must not be low for lack of it.
"""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ledger.codec import encode
from ledger.members import ID_BYTES, IDENTITY_INDEX_BYTES
from ledger.proofs import leaf_hash
from ledger.rows import NO_END, NONE, Member
from ledger.state import Index, u32
from ledger.store import ROWS, Batch, index_key
from ledger.tables import Table, row_key
from node.storage import open_store

from .ledger_chain import PLAN
from .ledger_script import Script

BATCH: Final = 10_000


@dataclass(frozen=True, slots=True)
class Appended:
    """One run of the bare loop."""

    rows: int
    seconds: float
    cpu_s: float


def append(directory: Path, rows: int) -> Appended:
    """Append so many bare rows to a new store in ``directory``, which is removed afterwards."""
    shutil.rmtree(directory, ignore_errors=True)
    store = open_store(directory, create=True, chain_id=bytes(32))
    script, seconds, cpu_s = Script(rows), 0.0, 0.0
    try:
        for first in range(0, rows, BATCH):
            people = script.batch(first).members
            since_s, since_cpu_s = time.perf_counter(), time.process_time()
            store.write(_batch(people, first))
            seconds += time.perf_counter() - since_s
            cpu_s += time.process_time() - since_cpu_s
    finally:
        store.close()
        shutil.rmtree(directory, ignore_errors=True)
    return Appended(rows, seconds, cpu_s)


def _batch(people: tuple[tuple[bytes, int], ...], first: int) -> Batch:
    prefix = index_key(Index.IDENTITY.value, u32(PLAN))
    batch = Batch()
    put = batch.put
    entries: list[tuple[bytes, bytes]] = []
    for row_id, (identity, birth_month) in enumerate(people, start=first):
        member = Member(identity, 17_820, birth_month, PLAN, 0, 19, NO_END, 0, 0, 0, NONE, 0, 0, NONE, NONE)
        key, raw = row_key(Table.MEMBERS, row_id), encode(member)
        put(ROWS + key, raw + leaf_hash(key, raw))
        entries.append((prefix + identity[:IDENTITY_INDEX_BYTES], row_id.to_bytes(ID_BYTES, "big")))
    for key, row_id_raw in sorted(entries):
        put(key, row_id_raw)
    return batch
