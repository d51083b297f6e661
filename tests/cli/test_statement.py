"""A member's statement from the command line: one file, made by a node, verified without one."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger import bills
from ledger.blocks import header_hash
from ledger.codec import encode
from ledger.rows import Member
from tests.cli.proof_kit import told_network
from tests.ledger.proof_kit import CLAIMANTS, FAILING, LEAVER, RETURNED
from tests.node.api_kit import FakeNode
from tests.running import run

Network = tuple[FakeNode, str, Path]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with told_network(tmp_path_factory.mktemp("statement")) as found:
        yield found


def answer(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    assert run([*arguments, "--output", "json"]) == code, capsys.readouterr().out
    return json.loads(capsys.readouterr().out)


def written(network: Network, capsys: pytest.CaptureFixture[str], out: Path, member: int, *more: str) -> Any:
    return answer(capsys, "member", "statement", str(member), "--out", str(out), "--node", network[1], *more)


@pytest.mark.parametrize("member", [0, 1, 2, CLAIMANTS[1], LEAVER, RETURNED, FAILING])
def test_a_statement_verifies_offline_and_gives_the_ledgers_bill(
    network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str], member: int
) -> None:
    out = tmp_path / "statement"
    written(network, capsys, out, member)
    found = answer(capsys, "verify", "statement", str(out), "--genesis", str(network[2]))
    state = network[0].certified.state
    assert found["bill_fen"] == bills.total(state, state.get(Member, member))
    assert found["member"] == member


def test_every_sentence_is_marked(network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "statement"
    written(network, capsys, out, 0)
    assert run(["verify", "statement", str(out), "--genesis", str(network[2])]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith(("[recomputed] ", "[certified by 3 of 4 validators] ")) for line in lines)
    recomputed = "\n".join(line for line in lines if line.startswith("[recomputed]"))
    for said in ("headers follow", "has his row", "His bill since he joined is 1.50 RMB", "cohort of his birth month"):
        assert said in recomputed
    for not_proven in ("Aid approved", "what the rules make"):
        assert not_proven not in recomputed


def test_a_statement_from_a_height_is_shorter_and_needs_the_trusted_hash(
    network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, short = tmp_path / "whole", tmp_path / "short"
    written(network, capsys, whole, 0)
    trusted = written(network, capsys, short, 0, "--from-height", "120")["trusted_hash"]
    assert trusted == header_hash(encode(network[0].chain.blocks[119].header)).hex()
    assert short.stat().st_size < whole.stat().st_size - 100_000 // 2
    arguments = ("verify", "statement", str(short), "--genesis", str(network[2]))
    assert answer(capsys, *arguments, "--trusted", trusted)["trusted_height"] == 120
    assert trusted in answer(capsys, *arguments, code=6)["error"]["why"]
    refused = answer(capsys, *arguments, "--trusted", "00" * 32, code=6)
    assert "trusted header" in refused["error"]["what"]
    height = str(network[0].current.height)
    late = ("member", "statement", "0", "--out", str(short), "--node", network[1], "--from-height", height)
    assert answer(capsys, *late, code=2)["error"]["code"] == "USAGE"


def test_a_changed_file_and_another_genesis_are_refused_with_where(
    network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "statement"
    written(network, capsys, out, 0)
    raw = bytearray(out.read_bytes())
    raw[len(raw) // 4] ^= 1
    out.write_bytes(raw)
    error = answer(capsys, "verify", "statement", str(out), "--genesis", str(network[2]), code=6)["error"]
    assert error["code"] == "NOT_VERIFIED"
    assert str(out) in error["what"]
    assert error["why"]
    raw[len(raw) // 4] ^= 1
    out.write_bytes(raw)
    other = tmp_path / "genesis.toml"
    other.write_bytes(network[2].read_bytes() + b"\n")
    error = answer(capsys, "verify", "statement", str(out), "--genesis", str(other), code=6)["error"]
    assert "chain id" in error["what"]


def test_a_file_that_cannot_be_read_or_written_is_the_operators(
    network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("verify", "statement", str(tmp_path / "none"), "--genesis", str(network[2]))
    assert answer(capsys, *arguments, code=2)["error"]["code"] == "CANNOT_READ"
    out = tmp_path / "no" / "such" / "place"
    found = answer(capsys, "member", "statement", "0", "--out", str(out), "--node", network[1], code=1)
    assert found["error"]["code"] == "CANNOT_WRITE"
