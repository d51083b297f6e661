"""Our proofs against the public JavaScript verifier of ICS-23: each is accepted, each flipped bit is refused."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger.store import Batch, MemoryStore, Overlay, Reader
from ledger.table_writer import Tables
from ledger.tables import Table, TableReader
from node.storage import open_store
from tests.interop import tools
from tests.ledger.proof_kit import told
from tests.running import run

pytestmark = pytest.mark.interop


def spec(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What ``huzhu proof spec`` prints."""
    capsys.readouterr()
    assert run(["proof", "spec"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def cases(reader: Reader) -> Iterator[dict[str, str]]:
    """The first, a middle and the last row of every table that has one."""
    tables = TableReader(reader)
    for table in Table:
        length = tables.length(table)
        for row_id in sorted({0, length // 2, length - 1} if length else ()):
            proof = tables.prove(table, row_id)
            yield {
                "root": tables.root().hex(),
                "key": proof.key.hex(),
                "value": proof.value.hex(),
                "proof": proof.encode().hex(),
            }


def check(found: dict[str, Any], count: int) -> None:
    assert found["version"] == json.loads(tools.PACKAGE.read_text())["dependencies"]["@confio/ics23"]
    assert found["accepted"] == [True] * count
    assert found["same"] == [True] * count, "decoding and encoding gives the same bytes: they are canonical protobuf"
    for flips, refused, equal in zip(found["flips"], found["refused"], found["equal"], strict=True):
        assert refused + equal == flips > 500
        assert equal < flips // 50, "only the framing of the protobuf may have two encodings"


def test_every_table_of_a_real_chain(capsys: pytest.CaptureFixture[str]) -> None:
    chain, before = told()
    offered = list(cases(before))
    assert {item["root"] for item in offered} == {chain.blocks[-1].header.state_root.hex()}
    assert len(offered) > 25
    check(tools.public_verifier(spec(capsys), offered), len(offered))


def test_the_same_rows_from_leveldb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chain, before = told()
    store = open_store(tmp_path / "db", create=True, chain_id=chain.genesis.chain_id)
    try:
        store.write(Batch(dict(before.scan(b"", b"\xff"))))
        offered = list(cases(store))
    finally:
        store.close()
    assert offered == list(cases(before))
    check(tools.public_verifier(spec(capsys), offered[:6]), 6)


@pytest.mark.parametrize("length", [1, 16, 17, 256, 257, 4_097])
def test_every_depth(length: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Where a tree grows taller: one row, a full level, one row more."""
    overlay = Overlay(MemoryStore())
    tables = Tables(overlay)
    tables.append_many(Table.MEMBERS, [b"member %d" % number for number in range(length)])
    tables.root()
    offered = list(cases(overlay))
    check(tools.public_verifier(spec(capsys), offered), len(offered))


def test_a_proof_under_another_spec_or_root_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """The verifier does look: with the wrong spec nothing is accepted."""
    _, before = told()
    offered = list(cases(before))[:3]
    wrong = spec(capsys) | {"minDepth": 19, "maxDepth": 19}
    assert tools.public_verifier(wrong, offered)["accepted"] == [False] * 3
    foreign = [item | {"root": "00" * 32} for item in offered]
    assert tools.public_verifier(spec(capsys), foreign)["accepted"] == [False] * 3


def test_without_the_verifier_the_run_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(tools.MissingTool, match="interop needs node"):
        tools.public_verifier({}, [])
