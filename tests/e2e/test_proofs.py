"""A member takes his statement from a live network and verifies it without one (LEDGER §10)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .command import in_json
from .network import group_members

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Any]]]:
    directory = tmp_path_factory.mktemp("proofs") / "net"
    up: dict[str, Any] = {"nodes": []}
    try:
        ran = in_json("testnet", "up", "--dir", directory, "--clock", "stepped", "--begin", "2019-01-01")
        assert ran.exit_code == 0, ran
        up = ran.json
        yield directory, up
    finally:
        down = in_json("testnet", "down", "--dir", directory)
    assert down.exit_code == 0
    assert [pid for node in up["nodes"] for pid in group_members(node["pid"])] == []


def test_a_statement_of_a_live_network_verifies_offline_and_not_when_changed(
    net: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    directory, up = net
    node, key, genesis = up["nodes"][0]["api"], Path(up["keys"]) / "platform.key", Path(up["genesis"])
    enrolled = in_json("member", "enrol", "--birth-month", "1990-05", "--node", node, "--key", key)
    assert enrolled.exit_code == 0, enrolled
    assert in_json("testnet", "advance", "--dir", directory, "--to", "2019-03-15").exit_code == 0
    file, proof = tmp_path / "statement", tmp_path / "transaction"
    written = in_json("member", "statement", "0", "--node", node, "--out", file)
    assert written.exit_code == 0, written
    assert in_json("proof", "transaction", enrolled.json["transaction"], "--node", node, "--out", proof).exit_code == 0

    verified = in_json("verify", "statement", file, "--genesis", genesis)
    assert (verified.exit_code, verified.json["state"], verified.json["bill_fen"]) == (0, "WAITING", 0)
    assert verified.json["certified_by"].endswith(f"of {len(up['nodes'])} validators")
    included = in_json("verify", "transaction", proof, "--genesis", genesis)
    assert (included.exit_code, included.json["code"], included.json["kind"]) == (0, "OK", "enrol")

    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)
    changed = in_json("verify", "statement", file, "--genesis", genesis)
    assert (changed.exit_code, changed.json["error"]["code"]) == (6, "NOT_VERIFIED")
