"""Bills with proofs of random members: how long one takes, and that each is what the script says."""

import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from ledger import bills, proofs
from ledger.state import StateReader
from ledger.tables import Table, TableReader, row_key

from .ledger_chain import failed
from .ledger_script import PERIODS, RANGE, Script
from .ledger_walk import Walk

BILLS: Final = 1_000


def times_s(walk: Walk) -> list[tuple[float, float]]:
    """(wall, CPU) seconds of each of ``BILLS`` bills with its proof, from a snapshot; every one is checked."""
    shares = [walk.share_fen(number) for number in range(walk.settled)]
    root = walk.chain.view.state_root
    taken = []
    with walk.chain.store.snapshot() as snapshot:
        tables = TableReader(snapshot)
        state = StateReader(snapshot, tables)
        for member, periods in charged(walk.script, walk.script.sample(BILLS)):
            since_s, since_cpu_s = time.perf_counter(), time.thread_time()
            total, charges = bills.bill(state, member)
            proof = tables.prove(Table.MEMBERS, member)
            raw = proof.encode()
            taken.append((time.perf_counter() - since_s, time.thread_time() - since_cpu_s))
            if (total, [charge.charge_fen for charge in charges]) != (sum(shares[:periods]), shares[:periods]):
                raise failed(f"member {member} has another bill", f"{total} fen, {charges}")
            if not proofs.verify(root, row_key(Table.MEMBERS, member), proof.value, raw):
                raise failed(f"the proof of member {member} does not verify", root.hex())
    return taken


def charged(script: Script, members: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(member, how many periods he shares) of ascending members: fewer after he was helped, or lapsed."""
    for at, group in groupby(members, lambda member: member // RANGE):
        first, last = script.ranges()[at]
        failures = script.failures(first, last, PERIODS - 1)
        for member in group:
            ends = [number + 1 for number in range(PERIODS) if member in script.ill(number)]
            ends += [number + 1 for number, found in enumerate(failures) if member in found.again]
            yield member, min(ends, default=PERIODS)
