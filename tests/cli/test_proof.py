"""``huzhu proof``: the spec as public verifiers take it, rows with their proofs, and files that verify."""

import json
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger import proofs
from ledger.blocks import decode_header
from ledger.rows import Draw, Settlement
from ledger.transactions import transaction_id
from tests.cli.proof_kit import told_network
from tests.node.api_kit import FakeNode
from tests.running import run

Network = tuple[FakeNode, str, Path]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with told_network(tmp_path_factory.mktemp("proof")) as found:
        yield found


def answer(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    assert run([*arguments, "--output", "json"]) == code, capsys.readouterr().out
    return json.loads(capsys.readouterr().out)


def test_the_spec_is_protobufs_json_of_the_spec_that_the_ledger_follows(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["proof", "spec"]) == 0
    spec = json.loads(capsys.readouterr().out)
    assert spec == answer(capsys, "proof", "spec")
    leaf, inner = spec["leafSpec"], spec["innerSpec"]
    assert (leaf["hash"], leaf["prehashKey"], leaf["prehashValue"], leaf["length"]) == (
        "SHA256",
        "NO_HASH",
        "NO_HASH",
        "VAR_PROTO",
    )
    assert b64decode(leaf["prefix"]) == b"\x00"
    assert inner["childOrder"] == list(range(16))
    assert (inner["childSize"], inner["minPrefixLength"], inner["maxPrefixLength"]) == (32, 1, 1)
    assert b64decode(inner["emptyChild"]) == bytes(32)
    assert (spec["minDepth"], spec["maxDepth"]) == (3, 18)


def test_a_row_is_shown_with_a_proof_that_verifies(
    network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, url, _ = network
    out = tmp_path / "proof.bin"
    found = answer(capsys, "proof", "show", "members", "17", "--node", url, "--out", str(out))
    header = decode_header(bytes.fromhex(found["header"]))
    key, value = bytes.fromhex(found["key"]), bytes.fromhex(found["value"])
    assert proofs.verify(header.state_root, key, value, out.read_bytes())
    assert found["row_id"] == 17
    assert run(["proof", "show", "members", "17", "--node", url]) == 0
    assert "state root" in capsys.readouterr().out
    assert answer(capsys, "proof", "show", "claims", "0", "--node", url, code=1)["error"]["code"] == "NOT_FOUND"


def test_files_are_verified_before_they_are_written_and_after(
    network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node, url, genesis = network
    state = node.certified.state
    period = max(row.period for _, row in state.rows(Settlement) if row.charged_fen)
    name = transaction_id(node.chain.blocks[0].body.transactions[0]).hex()
    for kind, arguments in (
        ("settlement", ["0", str(period)]),
        ("draw", [str(state.length(Draw) - 1)]),
        ("transaction", [name]),
    ):
        out = tmp_path / f"{kind}.proof"
        written = answer(capsys, "proof", kind, *arguments, "--out", str(out), "--node", url)
        assert written["bytes"] == out.stat().st_size
        verified = answer(capsys, "verify", kind, str(out), "--genesis", str(genesis))
        assert verified["verified"] is True
        assert {finding["mark"] for finding in verified["findings"]} == {
            "recomputed",
            "certified by 3 of 4 validators",
        }


def test_a_draw_names_whom_it_would_for_a_claim(
    network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, url, genesis = network
    out = str(tmp_path / "draw.proof")
    answer(capsys, "proof", "draw", "0", "--out", out, "--node", url)
    assert run(["verify", "draw", out, "--genesis", str(genesis), "--claim", "0"]) == 0
    assert "the seed names organisation" in capsys.readouterr().out


def test_what_a_lying_node_hands_out_is_refused_and_not_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with told_network(tmp_path) as (node, url, _):
        out = tmp_path / "settlement.proof"
        period = max(row.period for _, row in node.certified.state.rows(Settlement) if row.charged_fen)
        lie = b"\x00" * 100
        monkeypatch.setattr("node.api.light.prove_rows", lambda reader, keys: iter([lie] * len(keys)))
        found = answer(capsys, "proof", "settlement", "0", str(period), "--out", str(out), "--node", url, code=6)
        assert found["error"]["code"] == "NOT_VERIFIED"
        assert "row proof 0" in found["error"]["what"]
        assert not out.exists()


def test_nobody_listens_and_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "x")
    found = answer(capsys, "proof", "draw", "0", "--out", out, "--node", "http://127.0.0.1:9", code=4)
    assert found["error"]["code"] == "NOT_REACHABLE"
