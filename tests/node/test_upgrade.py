"""Two versions of the program side by side across an upgrade of the protocol (issue 6, item 7)."""

import asyncio
from contextvars import Context
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from cli.doctor import status_findings
from cli.status import picture_lines
from consensus.log import decode_log, height_of
from ledger.actions import ActivateProtocol
from ledger.codec import encode
from ledger.errors import OperatorError, PeerError
from ledger.protocol import NEWEST
from ledger.rows import Upgrade
from ledger.store import MemoryStore
from ledger.tables import TABLES
from ledger.transactions import Enrol, Propose
from node.api.answers import plain
from node.api.operating import status_of
from node.doctor import missing_protocol
from node.replay import replay
from node.snapshot_offer import check_offer
from node.snapshot_wire import Snapshot
from node.storage import open_store
from node.votelog import LOG_FILE
from tests.ledger.chain import Chain
from tests.ledger.test_governance import enacted
from tests.node.network import Network, running
from tests.node.test_validator_changes import decide

NEW = ("platform", "bank", "firm-a")
OLD = "firm-b"
AHEAD = 40


class Apart(asyncio.TaskGroup):
    """Tasks that end by themselves: their owner awaits each."""

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> "asyncio.Task[Any]":
        return asyncio.get_running_loop().create_task(coro, name=name, context=context)


class Remembered:
    """A log that keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, dict[str, Any]]] = []

    def _tell(self, level: str, event: str, particulars: dict[str, Any]) -> None:
        self.told.append((level, event, particulars))

    def debug(self, event: str, **particulars: Any) -> None:
        self._tell("debug", event, particulars)

    def info(self, event: str, **particulars: Any) -> None:
        self._tell("info", event, particulars)

    def warning(self, event: str, **particulars: Any) -> None:
        self._tell("warning", event, particulars)

    def error(self, event: str, **particulars: Any) -> None:
        self._tell("error", event, particulars)

    def of(self, event: str) -> list[tuple[str, str]]:
        """(level, why) of each time the event was told."""
        return [(level, particulars.get("why", "")) for level, name, particulars in self.told if name == event]


async def grow(network: Network, height: int) -> None:
    """Enrolments, one after the other, until the programs that know both versions are at ``height``."""
    number = 0
    while (reached := network.nodes["platform"].chain.height) < height:
        person = sha256(f"{height} {number}".encode()).digest()
        number += 1
        await network.submit("platform", ("platform", Enrol(0, person, 1980 * 12, b"")))
        await network.until_height(reached + 1, *NEW, timeout_s=30)


def forget(network: Network) -> None:
    member = network.members[OLD]
    member.node = member.started = member.task = None


@pytest.mark.asyncio
async def test_an_old_program_stops_before_the_height_names_what_it_needs_and_catches_up_as_a_new_one(
    tmp_path: Path,
) -> None:
    log, apart = Remembered(), Apart()
    options = {"protocol_newest": 1, "log": log}
    network = Network(tmp_path, observers=0, options={OLD: options})
    old = network.members[OLD]
    async with running(network, *NEW):
        await network.start(apart, OLD)
        await grow(network, 2)
        await network.until(lambda node: node.driver.signing, timeout_s=30)
        height = network.nodes["platform"].chain.height + AHEAD
        await decide(network, ActivateProtocol(2, height), 0)
        await network.until(lambda node: node.chain.view.upgrade == Upgrade(2, height))

        # It goes on as before, and says what is coming.
        needed = f"protocol 2 is needed from height {height}; this program speaks 1"
        assert old.running.window.status().more["protocol"] == {
            "version": 1,
            "newest": 1,
            "upgrade": {"version": 2, "height": height},
            "upgrade_needed": needed,
        }
        assert network.nodes["platform"].window.status().more["protocol"]["upgrade_needed"] is None
        assert log.of("protocol upgrade needed") == [("warning", needed)]
        page = {name: network.nodes[name].window.render_metrics() for name in ("platform", OLD)}
        assert b"\nhuzhu_upgrade_needed 1.0\n" in page[OLD] and b"\nhuzhu_upgrade_needed 0.0\n" in page["platform"]
        status = plain(status_of(old.running.window))
        assert f"UPGRADE NEEDED: {needed}" in picture_lines(status, [])
        assert [(item.code, item.what) for item in status_findings(status) if item.code == "UPGRADE_AHEAD"] == [
            ("UPGRADE_AHEAD", needed)
        ]
        fine = plain(status_of(network.nodes["platform"].window))
        assert f"protocol 2 from height {height:,} on" in picture_lines(fine, [])
        assert "UPGRADE_AHEAD" not in {item.code for item in status_findings(fine)}
        await grow(network, height - 5)
        await network.until_height(height - 5, OLD)
        assert old.running.driver.signing

        # The others go across; it ends with the typed error, before it has signed anything at the height.
        stopped, task = old.running, old.task
        assert task is not None
        await grow(network, height + 4)
        with pytest.raises(OperatorError, match=f"protocol 2 is needed from height {height}") as caught:
            await asyncio.wait_for(task, 30)
        assert (caught.value.code, caught.value.exit_code) == ("PROTOCOL_UPGRADE_NEEDED", 3)
        assert stopped.chain.height == height - 1
        assert stopped.driver.height == height - 1, "the height of another protocol was opened"
        assert log.of("stopping before the upgrade") == [
            ("error", f"protocol 2 is needed from height {height}: this program speaks 1")
        ]
        records = decode_log((old.home / "data" / LOG_FILE).read_bytes()).records
        assert max(height_of(record) for record in records) < height
        blocks = network.nodes["platform"].chain.blocks
        versions = [header.version for at in range(1, height + 5) if (header := blocks.header(at)) is not None]
        assert versions == [1] * (height - 1) + [2] * 5
        forget(network)

        # Started again as it is, it opens nothing; as a new program it catches up and votes.
        with pytest.raises(OperatorError, match=f"protocol 2 is needed from height {height}"):
            await network.start(apart, OLD)
        forget(network)
        network.options[OLD] = {}
        await network.start(apart, OLD)
        await grow(network, height + 8)
        await network.until(lambda node: node.driver.signing and node.chain.height >= height + 8, OLD, timeout_s=30)

        # One rule is another one now.
        action = ActivateProtocol(3, height + 1_000)
        await network.submit("platform", ("platform", Propose(action)))
        await grow(network, height + 12)
        await network.submit("bank", ("bank", Propose(action)))
        await grow(network, height + 16)
        await network.until_height(height + 16, OLD)
        found = [code for at in range(height + 8, height + 17) for code in codes(network, at)]
        assert found.count("PROPOSAL_OPEN") == 1 and set(found) == {"OK", "PROPOSAL_OPEN"}

    # The whole chain, executed once more with the rules of each block's own version.
    source = open_store(old.home / "data" / "ledger", create=False, chain_id=network.genesis.chain_id)
    try:
        done = replay(source, network.genesis, MemoryStore(), to=None, progress=lambda at, last: None)
    finally:
        source.close()
    assert done.difference is None and done.height > height + 12


def test_the_doctor_of_a_stopped_node_names_a_protocol_that_this_program_lacks() -> None:
    chain = Chain()
    assert list(missing_protocol(chain.store)) == []
    for version in range(2, NEWEST + 2):
        assert list(missing_protocol(chain.store)) == []
        height = chain.view.height + 60
        enacted(chain, ActivateProtocol(version, height))
        while version <= NEWEST and chain.view.height < height:
            chain.block()
    (found,) = missing_protocol(chain.store)
    assert (found.code, found.what) == ("UPGRADE_AHEAD", f"protocol {NEWEST + 1} is needed from height {height}")


def test_a_snapshot_of_a_protocol_that_this_program_lacks_is_nobodys_fault_but_its_own() -> None:
    chain = Chain()
    chain.block()
    for version, blame in ((NEWEST, PeerError), (NEWEST + 1, OperatorError)):
        header = replace(chain.propose()[0], version=version)
        raws = encode(header), encode(chain.certify(header))
        offer = Snapshot(header.height, *raws, transitions=(), lengths=(1,) * TABLES, roots=(bytes(32),) * TABLES)
        with pytest.raises(blame, match="BAD_OFFER" if blame is PeerError else "protocol 3 is needed from height 2"):
            check_offer(chain.genesis, offer)
    stranger = replace(offer, certificate=encode(replace(chain.certify(header), seals=())))
    with pytest.raises(PeerError, match="BAD_OFFER"):  # an uncertified claim stops nobody
        check_offer(chain.genesis, stranger)


def codes(network: Network, height: int) -> list[str]:
    """Of the receipts of a block, as the program that was old has it."""
    return [receipt.code for receipt in network.members[OLD].running.chain.blocks.receipts(height) or ()]
