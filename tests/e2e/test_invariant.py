"""A node whose disk lies ends by itself, says so, and does not start to believe it (NODE §2: exit non-zero, issue 6).

One bit of one row is turned on the disk of an observer, and the checksum with it, so that nothing but the state root
can tell. The next block that touches the row's page gives another root than the one that the validators agreed on.
"""

import json
from pathlib import Path
from typing import Final

import pytest

from cli.output import Exit
from ledger.pages import open_value, page_key, seal
from ledger.store import Batch
from ledger.tables import Table, TableReader
from node.opening import DATABASE_DIRECTORY
from node.storage import open_store

from .command import in_json
from .network import COMMIT_SECONDS, READY_SECONDS, LiveNetwork

pytestmark = pytest.mark.e2e

NAME: Final = "regulator-2"
PAGE_ROWS: Final = 16
IDENTITY: Final = b"\xc4\x20"
"""What stands before the 32 bytes of a member's identity."""


def turn_a_bit_of_the_last_member(home: Path, chain_id: bytes) -> bool:
    """Whether it was done: a page that is full is touched by no enrolment any more, and left as it is."""
    store = open_store(home / "data" / DATABASE_DIRECTORY, create=False, chain_id=chain_id)
    try:
        tables = TableReader(store)
        length = tables.length(Table.MEMBERS)
        if length % PAGE_ROWS == 0:
            return False
        row, key = tables.get(Table.MEMBERS, length - 1), page_key(Table.MEMBERS, length // PAGE_ROWS)
        at = row.index(IDENTITY) + len(IDENTITY)
        turned = row[:at] + bytes((row[at] ^ 1,)) + row[at + 1 :]
        body = open_value(store, key)
        assert body.count(row) == 1
        store.write(Batch({key: seal(key, body.replace(row, turned))}))
        return True
    finally:
        store.close()


def test_a_node_whose_state_is_not_what_the_others_agreed_on_ends_says_so_and_comes_back_after_a_reset(
    four: LiveNetwork,
) -> None:
    node, other = four.nodes[NAME], four.nodes["platform"]
    turned = False
    while not turned:
        four.up([NAME])
        four.commit_one(other)
        four.await_agreement()
        node.stop()
        turned = turn_a_bit_of_the_last_member(node.home, four.chain_id)
    node.start()
    four.await_ready(node)
    four.commit_one(other)
    certified = four.commit_one(other)["height"]

    assert node.wait(COMMIT_SECONDS) == Exit.INTEGRITY.value
    lines = node.log.read_text().splitlines()
    at, last = max((at, line) for at, line in enumerate(lines) if line.startswith("{"))
    said = json.loads(last)
    assert (said["level"], said["event"]) == ("error", "invariant violated")
    assert "carries a valid certificate, but by our rules it is invalid" in said["error"]
    assert "WRONG_STATE_ROOT" in said["error"]
    assert lines[at + 1].startswith("error INVARIANT:")

    # It ends again as often as it is started; the others go on; what the documents advise makes it whole.
    node.start()
    assert node.wait(READY_SECONDS) == Exit.INTEGRITY.value
    assert in_json("reset", "--home", node.home, "--yes").exit_code == 0
    four.up([NAME])
    four.await_height(certified, node, seconds=READY_SECONDS)
    four.await_agreement()
    node.stop()
