"""Headers across a recovery: a light client follows from the genesis into the new epoch, pruned node or not (§6)."""

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import msgpack
import pytest

from cli.prooffile import chain_of, record_of
from ledger.blocks import RecoveryRecord, header_hash
from ledger.codec import encode
from ledger.light import genesis_trust, verify_chain
from ledger.store import Batch, MemorySnapshot
from node import blockstore
from node.api import light
from node.blockstore import BlockReader, delete_content
from tests.ledger.test_recovery import signed
from tests.node.api_kit import FakeNode
from tests.running import run

BEFORE, AFTER = 3, 4
FIRST = BEFORE + 1
"""The first block of the new epoch."""


def recovered(*, pruned: bool = False) -> tuple[FakeNode, RecoveryRecord]:
    """A node whose chain went on in a new epoch after ``BEFORE`` blocks."""
    node = FakeNode()
    for _ in range(BEFORE):
        node.commit()
    record = signed(node.chain)
    node.chain.recover(record)
    batch = Batch()
    blockstore.put_validators(batch, record.validators)
    node.chain.store.write(batch)
    for _ in range(AFTER):
        node.commit()
    if pruned:
        batch = Batch()
        for height in range(1, FIRST + 1):
            delete_content(batch, node.chain.store, height)
        node.chain.store.write(batch)
    return node, record


@cache
def whole() -> tuple[FakeNode, tuple[bytes, ...]]:
    node, _ = recovered()
    return node, tuple(light.header_records(node.current.blocks, 1, BEFORE + AFTER))


def verified(place: Path, raws: Iterable[bytes], *more: str) -> int:
    """The exit code of `huzhu verify chain` for a file with these records."""
    genesis, file = place / "genesis.toml", place / "headers"
    genesis.write_bytes(whole()[0].genesis_raw)
    file.write_bytes(b"".join(raws))
    return run(["verify", "chain", str(file), "--genesis", str(genesis), "--output", "json", *more])


def test_a_file_of_headers_is_followed_into_the_new_epoch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node, raws = whole()
    assert [len(msgpack.unpackb(raw)) for raw in raws] == [3] * BEFORE + [4] + [3] * (AFTER - 1)
    assert verified(tmp_path, raws) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["height"] == BEFORE + AFTER
    assert f"Epoch 1 begins with header {FIRST}" in found["findings"][1]["text"]
    for first in (BEFORE, FIRST, FIRST + 1):
        trusted = header_hash(encode(node.chain.blocks[first - 1].header)).hex()
        part = light.header_records(node.current.blocks, first, BEFORE + AFTER)
        assert verified(tmp_path, part, "--trusted", trusted) == 0, first
        capsys.readouterr()


def test_a_proof_file_carries_the_recoveries_on_its_way() -> None:
    node, raws = whole()
    chain = chain_of(b"", [record_of(msgpack.unpackb(raw)) for raw in raws])
    assert len(chain.recoveries) == 1
    assert verify_chain(genesis_trust(node.chain.genesis), chain).newest.epoch == 1


def test_a_pruned_node_still_leads_over(tmp_path: Path) -> None:
    node, record = recovered(pruned=True)
    snapshot = node.chain.store.snapshot()
    assert isinstance(snapshot, MemorySnapshot)
    blocks = BlockReader(snapshot)
    assert blocks.body_raw(FIRST) is None
    assert blocks.epoch_begun(FIRST) == record
    assert [blocks.epoch_begun(height) for height in (FIRST - 1, FIRST + 1)] == [None, None]
    assert verified(tmp_path, light.header_records(blocks, 1, BEFORE + AFTER)) == 0


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda item: item[:3], "lies before it"),
        (lambda item: [*item[:3], [[*item[3][0][:5], item[3][0][5][:2]], item[3][1]]], "3 are needed"),
        (lambda item: [*item[:3], [item[3][0], item[3][1][:3]]], "signed by the set that its parent announced"),
        (lambda item: [*item[:3], [item[3][0]]], "record 3"),
    ],
)
def test_nobody_is_led_over_by_less(change: Any, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raws = list(whole()[1])
    raws[BEFORE] = encode(change(msgpack.unpackb(raws[BEFORE])))
    assert verified(tmp_path, raws) == 6
    assert why in json.dumps(json.loads(capsys.readouterr().out))
