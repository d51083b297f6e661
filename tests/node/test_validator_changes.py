"""The validator set of a running network changes under load: one is added, one rotates its keys, one leaves (§5)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from ledger.actions import AddValidator, RemoveValidator, RotateValidator
from ledger.blocks import decode_certificate
from ledger.calendar import MS_PER_DAY
from ledger.errors import OperatorError
from ledger.governance import OBJECTION_DAYS
from ledger.light import genesis_trust, make_chain, verify_chain
from ledger.proposals import ProposalState
from ledger.rows import Proposal, Validator
from ledger.transactions import AdvanceClock, Enrol, Propose, VoteFor
from node.admission import Source
from node.config import load as load_config
from node.keys import create_next_keys, load_node_keys
from node.rotation import finish
from tests.node.network import Network, running

VOTERS = ("platform", "bank", "firm-a", "firm-b")


class Load:
    """Enrolments, a few at a time, for as long as the block runs; each must be on the chain once."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.sent: list[bytes] = []
        self.stopped = False

    async def run(self) -> None:
        admission = self.network.members["platform"].running.admission
        while not self.stopped:
            number = len(self.sent)
            person = sha256(f"person {number}".encode()).digest()
            raw = self.network.transaction("platform", Enrol(0, person, 1980 * 12, b""))
            await admission.submit([raw], Source.CLIENT)
            self.sent.append(sha256(raw).digest())
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_later(0.02, done.set_result, None)
            await done


@asynccontextmanager
async def loaded(network: Network) -> AsyncIterator[Load]:
    load = Load(network)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(load.run())
        try:
            yield load
        finally:
            load.stopped = True


async def decide(network: Network, action: Any, number: int, voters: tuple[str, ...] = VOTERS) -> int:
    """Propose, vote, let the regulator's window pass; the height that enacted it."""
    platform = network.nodes["platform"]
    await network.submit("platform", (voters[0], Propose(action)))
    await network.until(lambda node: node.chain.current.state.length(Proposal) > number, timeout_s=30)
    await network.submit("platform", *((name, VoteFor(number)) for name in voters[1:]))
    await network.until(
        lambda node: node.chain.current.state.get(Proposal, number).state == ProposalState.PASSED, timeout_s=30
    )
    time_ms = platform.chain.view.ledger_time(platform.clock.time_ms())
    await network.submit("platform", ("clock", AdvanceClock(time_ms + (OBJECTION_DAYS + 1) * MS_PER_DAY)))
    await network.until(lambda node: node.chain.current.state.get(Proposal, number).enacted_height > 0, timeout_s=30)
    row = platform.chain.current.state.get(Proposal, number)
    assert (ProposalState(row.state), row.code) == (ProposalState.ENACTED, "OK")
    return row.enacted_height


async def in_force(network: Network, enacted: int) -> None:
    await network.until_height(enacted + 4, timeout_s=30)


def sets(network: Network, height: int) -> set[bytes]:
    """What every node's header of ``height`` says of V(height): one hash."""
    found = set()
    for node in network.nodes.values():
        header = node.chain.blocks.header(height)
        assert header is not None
        found.add(header.validators_hash)
    return found


def signers(network: Network, height: int) -> set[bytes]:
    """Validator keys in the certificate of ``height``."""
    chain = network.nodes["platform"].chain
    header, raw = chain.blocks.header(height), chain.raw_block(height)
    assert header is not None
    assert raw is not None
    validators = chain.blocks.validators(header.validators_hash)
    assert validators is not None
    return {validators[seal.index].validator_key for seal in decode_certificate(raw.certificate).seals}


@pytest.mark.asyncio
async def test_a_running_network_adds_a_validator_rotates_one_and_removes_one_under_load(tmp_path: Path) -> None:
    network = Network(tmp_path, observers=0, later=("fifth",))
    following = create_next_keys(network.members["bank"].home / "keys")
    fifth, bank = (load_node_keys(network.members[name].home / "keys") for name in ("fifth", "bank"))
    assert fifth.validator is not None
    assert fifth.beacon is not None
    assert bank.validator_next is not None
    assert bank.beacon_next is not None
    assert {card.public for card in following.values()} == {bank.validator_next.public, bank.beacon_next.public}
    async with running(network), loaded(network) as load:
        await network.until(lambda node: node.driver.signing, *VOTERS)
        assert not network.nodes["fifth"].driver.signing

        organisation = len(network.genesis.organisations) - 1
        added = await decide(network, AddValidator(organisation, fifth.validator.public, fifth.beacon.public, False), 0)
        await in_force(network, added)
        assert len(sets(network, added + 1) | sets(network, added + 2)) == 2, "in force at h + 2, not before"
        assert sets(network, added) == sets(network, added + 1)
        await network.until(lambda node: node.driver.signing)
        assert len(network.nodes["platform"].chain.view.next_validators) == 5

        rotated = await decide(
            network, RotateValidator(1, bank.validator_next.public, bank.beacon_next.public), 1, (*VOTERS, "fifth")
        )
        await in_force(network, rotated)
        await network.until(lambda node: node.driver.signing)
        assert bank.validator is not None
        old, new = bank.validator.public, bank.validator_next.public
        height = network.nodes["platform"].chain.height
        assert all(new not in signers(network, h) for h in range(1, rotated + 2))
        assert all(old not in signers(network, h) for h in range(rotated + 2, height + 1))
        await network.until(lambda node: any(new in signers(network, h) for h in range(rotated + 2, node.chain.height)))

        removed = await decide(network, RemoveValidator(3, False), 2, (*VOTERS, "fifth"))
        await in_force(network, removed)
        assert network.nodes["firm-b"].driver.own_index is None, "a removed validator is an observer"
        height = network.nodes["platform"].chain.height
        await network.until_height(height + 3, timeout_s=30)
        load.stopped = True
        await network.until(lambda node: all(node.chain.seen(tx_id) for tx_id in load.sent), timeout_s=30)
        height = max(node.chain.height for node in network.nodes.values())
        await network.until_height(height)
        assert len({header for node in network.nodes.values() if (header := node.chain.blocks.header_raw(height))}) == 1
        rows = [row for _, row in network.nodes["fifth"].chain.current.state.rows(Validator)]
        assert [row.active for row in rows] == [True, True, True, False, True]
        assert len(load.sent) == len(set(load.sent)) > 10
        check_light_client(network, height)
    home = load_config(network.members["bank"].home, environ={})
    assert [path.name for path in finish(home)] == ["beacon-retired-1.key", "validator-retired-1.key"]
    kept = load_node_keys(home.keys_path)
    assert (kept.validator, kept.beacon) == (bank.validator_next, bank.beacon_next)
    assert kept.validator_next is None
    with pytest.raises(OperatorError, match="the next validator key"):
        finish(home)


def check_light_client(network: Network, height: int) -> None:
    """Headers and certificates of an observer's store, over all the changes, from the genesis alone."""
    blocks = network.nodes["firm-b"].chain.blocks
    records, before = [], b""
    for number in range(1, height + 1):
        header, raw, certificate = blocks.header(number), blocks.header_raw(number), blocks.certificate_raw(number)
        assert header is not None
        assert raw is not None
        assert certificate is not None
        changed = header.validators_hash != before
        records.append((raw, certificate, blocks.validators(header.validators_hash) if changed else None))
        before = header.validators_hash
    proof = make_chain(b"", records)
    assert [len(entries) for entries in proof.sets] == [4, 5, 5, 4]
    assert verify_chain(genesis_trust(network.genesis), proof).newest.height == height
