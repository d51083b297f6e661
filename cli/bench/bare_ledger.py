"""Enrolment on a ledger without a network: the rules, the tree and one synced LevelDB batch a block, in one process."""

import time
from pathlib import Path
from typing import Final

from ledger import members
from ledger.genesis import initial_batch, parse_genesis
from ledger.state import BlockContext, State
from ledger.store import Overlay
from node.storage import open_store

from . import prepare

BLOCKS: Final = 12


def enrol_per_s(directory: Path, genesis_raw: bytes) -> float:
    """Members enrolled a second in batches of 10,000, each batch a block; the store lies in ``directory``."""
    genesis = parse_genesis(genesis_raw)
    batch, header, _ = initial_batch(genesis)
    store = open_store(directory / "store", create=True, chain_id=genesis.chain_id)
    try:
        store.write(batch)
        blocks = [next(prepare.batches(10_000, b"alone-%d" % number)) for number in range(BLOCKS)]
        since_s = time.perf_counter()
        for number, body in enumerate(blocks, 1):
            overlay = Overlay(store)
            context = BlockContext(
                chain_id=genesis.chain_id,
                height=number,
                time_ms=header.time_ms + number,
                ledger_time_ms=prepare.BEGIN_MS + number,
                creator=bytes(32),
                beacon=bytes(64),
            )
            state = State(overlay, context)
            members.enrol_batch(state, body)
            state.root()
            store.write(overlay.batch())
        taken_s = time.perf_counter() - since_s
    finally:
        store.close()
    return sum(len(body.members) for body in blocks) / taken_s
