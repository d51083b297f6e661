"""A signature with a part of small order in its nonce: the rule takes it, libsodium does not. From door to audit."""

from hashlib import sha512
from pathlib import Path

import pytest
from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

from ledger.calendar import MS_PER_DAY
from ledger.signing import Domain, signing_digest
from ledger.store import MemoryStore
from ledger.transactions import AdvanceClock, transaction_id
from node.admission import Source
from node.api.blocks import raw_block
from node.blockstore import BlockReader
from node.config import load
from node.opening import DATABASE_DIRECTORY
from node.replay import replay
from node.storage import open_store
from tests.node.network import Network, running
from tests.reference import blockfile, ed25519

CLOCK_START_MS = 1_539_619_200_000
SIGNATURE_BYTES = 64
UNSIGNED_ENDS_BEFORE = SIGNATURE_BYTES + 2
"""The signature, and the two bytes that say how long it is."""


def signed_with_a_small_part(network: Network, raw: bytes) -> bytes:
    """The clock's transaction ``raw``, signed again with a nonce to which a point of order 8 was added."""
    pair = network.keys["clock"]
    unsigned = b"\x95" + raw[1:-UNSIGNED_ENDS_BEFORE]
    digest = signing_digest(Domain.TRANSACTION, network.genesis.chain_id, network.epoch, unsigned)
    assert crypto_sign_open(raw[-SIGNATURE_BYTES:] + digest, pair.public) == digest
    expanded = int.from_bytes(sha512(pair.secret).digest()[:32], "little")
    scalar = expanded % 2**254 - expanded % 8 + 2**254
    public, signature = ed25519.signed(scalar, 12_345, digest, nonce_part=1)
    assert public == pair.public
    with pytest.raises(BadSignatureError):
        crypto_sign_open(signature + digest, public)
    return raw[:-SIGNATURE_BYTES] + signature


@pytest.mark.asyncio
async def test_it_is_committed_by_all_replayed_and_audited(tmp_path: Path) -> None:
    network = Network(tmp_path / "net", observers=0)
    raw = signed_with_a_small_part(network, network.transaction("clock", AdvanceClock(CLOCK_START_MS + MS_PER_DAY)))
    async with running(network):
        (outcome,) = await network.members["bank"].running.admission.submit([raw], Source.CLIENT)
        assert outcome.code == "OK"
        await network.until(lambda node: node.seen(transaction_id(raw)))
        await network.until_height(2)
        stats = [node.verifier.stats for node in network.nodes.values()]
        assert all((each.records, each.invalid) == (1, 0) for each in stats)
    config = load(network.members["firm-a"].home, environ={})
    store = open_store(config.data_path / DATABASE_DIRECTORY, create=False, chain_id=network.genesis.chain_id)
    try:
        replayed = replay(store, network.genesis, MemoryStore(), to=None, progress=lambda height, last: None)
        exported = [raw_block(BlockReader(store), height) or b"" for height in range(1, replayed.height + 1)]
    finally:
        store.close()
    assert (replayed.difference, replayed.transactions) == (None, 1)
    file = tmp_path / "blocks"
    file.write_bytes(b"".join(exported))
    genesis = blockfile.read_genesis(network.members["firm-a"].home / "genesis.toml")
    assert sum(len(block.transactions) for block in blockfile.walk(file, genesis)) == 1


def test_the_audit_refuses_what_the_rule_refuses() -> None:
    public, signature = ed25519.signed(1_000, 12_345, bytes(32), nonce_part=1)
    blockfile._check_signature(public, bytes(32), signature, "a test")
    with pytest.raises(blockfile.AuditError):
        blockfile._check_signature(public, bytes(31) + b"\1", signature, "a test")
