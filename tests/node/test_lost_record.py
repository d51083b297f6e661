"""A signing record declared lost: the validator asks what it signed, then goes on; nothing is thrown away."""

from pathlib import Path

import pytest

from consensus.log import decode_log
from consensus.records import FirstRecord
from ledger.errors import OperatorError
from ledger.transactions import AdvanceClock
from node.config import load
from node.lost_record import declare_lost
from node.votelog import LOG_FILE
from tests.node.network import Network, running

NAME = "bank"
DAY_MS = 86_400_000


def first_record(path: Path) -> FirstRecord:
    record = decode_log(path.read_bytes()).records[0]
    assert isinstance(record, FirstRecord)
    return record


@pytest.mark.asyncio
@pytest.mark.parametrize("log", ["gone", "damaged"])
async def test_a_validator_goes_on_after_its_record_was_declared_lost(tmp_path: Path, log: str) -> None:
    network = Network(tmp_path)
    home = network.members[NAME].home
    path = home / "data" / LOG_FILE
    start_ms = network.genesis.values.clock_start_ms
    async with running(network) as live:
        await live.submit("platform", ("clock", AdvanceClock(start_ms + DAY_MS)))
        await live.until_height(1)
        await live.stop(NAME)
        old = path.read_bytes()
        if log == "gone":
            path.unlink()
        else:
            path.write_bytes(old[:40] + bytes((old[40] ^ 1,)) + old[41:])

        aside = declare_lost(load(home))

        assert (aside is None) == (log == "gone")
        assert aside is None or aside.read_bytes()[:40] == old[:40]
        assert first_record(path).lost
    for _ in range(2):  # the second start finds a database that names the new record
        async with running(network) as live:
            await live.until(lambda node: node.driver.signing, NAME)
            height = live.nodes[NAME].chain.height
            start_ms += 2 * DAY_MS
            await live.submit("platform", ("clock", AdvanceClock(start_ms)))
            await live.until_height(height + 1)


@pytest.mark.asyncio
async def test_the_record_of_a_running_node_cannot_be_declared_lost(tmp_path: Path) -> None:
    network = Network(tmp_path)
    home = network.members[NAME].home
    async with running(network):
        before = (home / "data" / LOG_FILE).read_bytes()
        with pytest.raises(OperatorError) as caught:
            declare_lost(load(home))
        assert caught.value.code == "LOCKED_DATABASE"
        assert (home / "data" / LOG_FILE).read_bytes().startswith(before[:16])
