"""``huzhu verify chain``: headers and whole blocks from a file; every changed byte is refused and named."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.blocks import header_hash
from ledger.blockwalk import BlockWalk
from ledger.codec import decode, encode
from ledger.errors import ProofFailed
from node.api import light
from node.api.blocks import raw_block
from tests.node.api_kit import FakeNode
from tests.node.test_api_light import told_node
from tests.running import run

BLOCKS = 30
"""Enough of the told chain for enrolments, a clock that is stepped, deadlines and settlements."""


@cache
def node() -> FakeNode:
    return told_node()


def block_records(first: int = 0, last: int = BLOCKS) -> list[bytes]:
    found = [raw_block(node().current.blocks, height) for height in range(first, last + 1)]
    return [raw for raw in found if raw is not None]


def header_records(first: int = 1, last: int = BLOCKS) -> list[bytes]:
    return list(light.header_records(node().current.blocks, first, last))


@pytest.fixture
def genesis(tmp_path: Path) -> Path:
    path = tmp_path / "genesis.toml"
    path.write_bytes(node().genesis_raw)
    return path


def verified(
    tmp_path: Path, genesis: Path, records: list[bytes] | bytes, *more: str, code: int = 0
) -> tuple[int, dict[str, Any]]:
    import io
    from contextlib import redirect_stdout

    path = tmp_path / "chain"
    path.write_bytes(records if isinstance(records, bytes) else b"".join(records))
    out = io.StringIO()
    with redirect_stdout(out):
        found = run(["verify", "chain", str(path), "--genesis", str(genesis), "--output", "json", *more])
    return found, json.loads(out.getvalue())


@pytest.mark.parametrize("first", [0, 1])
def test_blocks_verify_with_and_without_the_genesis_record(tmp_path: Path, genesis: Path, first: int) -> None:
    code, found = verified(tmp_path, genesis, block_records(first))
    assert code == 0
    assert found["height"] == BLOCKS
    assert found["executed"] is False
    texts = {item["text"]: item["mark"] for item in found["findings"]}
    assert [mark for text, mark in texts.items() if text.startswith("The state root")] == [
        "certified by 3 of 4 validators"
    ]


def test_executed_blocks_leave_nobodys_word(tmp_path: Path, genesis: Path) -> None:
    code, found = verified(tmp_path, genesis, block_records(), "--execute")
    assert code == 0
    assert {item["mark"] for item in found["findings"]} == {"recomputed"}
    assert found["receipts_of_newest_unchecked"] is False


def test_headers_verify_from_the_genesis_and_from_a_trusted_one(tmp_path: Path, genesis: Path) -> None:
    code, found = verified(tmp_path, genesis, header_records())
    assert (code, found["height"]) == (0, BLOCKS)
    trusted = header_hash(encode(node().chain.blocks[9].header)).hex()
    code, found = verified(tmp_path, genesis, header_records(10), "--trusted", trusted)
    assert (code, found["height"]) == (0, BLOCKS)
    assert "from the trusted header 10" in found["findings"][0]["text"]
    code, found = verified(tmp_path, genesis, header_records(11), "--trusted", trusted)
    assert (code, found["error"]["code"]) == (6, "NOT_VERIFIED")


def test_a_chain_with_a_hole_or_cut_short_is_refused_at_its_place(tmp_path: Path, genesis: Path) -> None:
    whole = block_records()
    for records, where in (
        (whole[:5] + whole[6:], "header 5"),
        (b"".join(whole)[:-1], f"record {BLOCKS}"),
        (b"", "record 0"),
        (whole[:1], "file"),
        ([*whole[:3], b"\xc1"], "file"),
        ([*whole[:3], encode([1, 2])], "record 3"),
        ([*whole[:3], encode([b"", 1, b"", ()])], "record 3"),
        ([*whole[:3], encode([b"", b"", b"", 7])], "record 3"),
    ):
        code, found = verified(tmp_path, genesis, records)
        assert code == 6
        assert found["error"]["what"].endswith(where), found


def test_what_a_header_does_not_name_is_refused() -> None:
    """Each part of a block in turn is taken from another block; only the check of that part can tell."""
    blocks = node().chain.blocks
    target = next(at for at, block in enumerate(blocks) if len(block.codes) > 1)
    block, other = blocks[target], blocks[target - 1]
    for body, receipts, why in (
        (encode(other.body), block.applied.receipts, "transactions"),
        (None, block.applied.receipts, "no body"),
        (b"\x90", block.applied.receipts, "body"),
        (encode(block.body), block.applied.receipts[:1], "receipts of block"),
    ):
        walk = walked(target)
        with pytest.raises(ProofFailed, match=why):
            walk.step(encode(block.header), body, encode(block.certificate), receipts)
            step(walk, target + 1)


def walked(count: int, *, execute: bool = False) -> BlockWalk:
    walk = BlockWalk(node().chain.genesis, execute=execute)
    for at in range(count):
        step(walk, at)
    return walk


def step(walk: BlockWalk, at: int) -> None:
    block = node().chain.blocks[at]
    walk.step(encode(block.header), encode(block.body), encode(block.certificate), block.applied.receipts)


def test_execution_refuses_receipts_that_the_rules_do_not_give() -> None:
    block = node().chain.blocks[0]
    walk = walked(0, execute=True)
    with pytest.raises(ProofFailed, match="execution gives others"):
        walk.step(encode(block.header), encode(block.body), encode(block.certificate), ())


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 1, exclude_max=True), st.integers(1, 255), st.booleans())
def test_any_changed_byte_of_a_chain_is_refused(
    tmp_path: Path, genesis: Path, where: float, change: int, whole: bool
) -> None:
    raw = bytearray(b"".join(block_records(last=8) if whole else header_records(last=8)))
    raw[int(where * len(raw))] ^= change
    code, found = verified(tmp_path, genesis, bytes(raw), *(["--execute"] if whole else []))
    assert code == 6, found
    assert found["error"]["what"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_any_changed_byte_of_the_genesis_is_refused(tmp_path: Path, genesis: Path, where: float, change: int) -> None:
    raw = bytearray(node().genesis_raw)
    raw[int(where * len(raw))] ^= change
    genesis.write_bytes(raw)
    code, _ = verified(tmp_path, genesis, block_records(last=2))
    assert code in (3, 6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=100))
def test_rubbish_is_refused_and_never_a_crash(tmp_path: Path, genesis: Path, raw: bytes) -> None:
    code, _ = verified(tmp_path, genesis, raw)
    assert code == 6
    assert decode(bytes, encode(raw), bytes_max=200) == raw
