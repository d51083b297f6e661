"""Pruning and a defect report while the node runs under load, with keys encrypted at rest (issue 6, §5 and §6);
and what becomes of a node that everybody's pruning has left behind."""

import base64
import json
import signal
import tarfile
from http.client import HTTPException
from pathlib import Path
from typing import Final

import pytest

from node.keys import list_keys, read_key

from .chains import places
from .command import huzhu, in_json
from .load import Load
from .network import COMMIT_SECONDS, LiveNetwork, LiveNode, until

pytestmark = pytest.mark.e2e_deep

BEGIN_MS: Final = 1_539_619_200_000
OLD_MS: Final = 700_000
"""Blocks so old are out of the validity window, which is always kept."""
OLD_BLOCKS: Final = 30
KEEP_BLOCKS: Final = 16
MORE: Final = 20
PASSPHRASE: Final = "seven herons over the quiet weir"


def test_a_node_is_pruned_and_reported_on_under_load_and_is_healthy_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LiveNetwork(tmp_path / "net", validators=1, observers=1, clock_ms=BEGIN_MS) as network:
        node, observer = network.nodes["platform"], network.nodes["regulator"]
        secrets = encrypted(network, tmp_path, monkeypatch)
        both = (node, observer)
        monkeypatch.setenv("HUZHU_LOG_FILE", "node.jsonl")
        network.up([each.name for each in both])
        with Load(network) as load:
            network.await_height(OLD_BLOCKS, node, seconds=COMMIT_SECONDS)
        old = load.committed
        for each in both:
            each.signal(signal.SIGTERM)
            assert each.wait() == 0
            each.settings["node.clock_offset_ms"] = OLD_MS
        network.ahead_ms = OLD_MS
        network.up([each.name for each in both])

        with Load(network) as load:
            load.await_more(MORE, COMMIT_SECONDS)
            goal = node.height + KEEP_BLOCKS
            until(lambda: node.height >= goal, COMMIT_SECONDS, "there are enough new blocks")
            pruned = in_json("prune", "--home", node.home, "--keep-blocks", str(KEEP_BLOCKS))
            assert pruned.exit_code == 0, pruned
            load.await_more(MORE, COMMIT_SECONDS)
            dump = tmp_path / "dump.tar.gz"
            written = in_json("debug", "dump", dump, "--home", node.home)
            assert (written.exit_code, written.json["node_runs"]) == (0, True), written
            load.await_more(MORE, COMMIT_SECONDS)
        first = pruned.json["first_kept"]
        assert (pruned.json["blocks"], first > OLD_BLOCKS) == (first - 1, True), pruned
        holds_no_secret(dump, secrets)

        # A restart later it is healthy, still votes, and what it gave up the other one has.
        head = network.await_agreement(*both)
        node.signal(signal.SIGTERM)
        assert node.wait() == 0
        found = in_json("doctor", "--home", node.home)
        assert (found.exit_code, found.json) == (0, {"healthy": True, "findings": []}), found
        network.up([node.name])
        network.commit_one(node)
        assert node.api.get(f"/v1/blocks/{head['height']}")["hash"] == head["hash"]
        assert node.api.request("GET", f"/v1/blocks/export?from={first - 1}").status == 404
        assert node.api.request("GET", f"/v1/blocks/export?from={first}").status == 200
        assert node.api.request("GET", "/v1/headers?from=1").status == 200
        there = places(observer)
        assert {tx_id: there.get(tx_id) for tx_id in old | load.committed} == old | load.committed


def test_a_node_behind_every_peers_pruning_says_so_and_comes_back_by_a_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUZHU_LOG_SUMMARY_SECONDS", "1")
    with LiveNetwork(tmp_path / "net", validators=1, observers=1, clock_ms=BEGIN_MS) as network:
        node, late = network.nodes["platform"], network.nodes["regulator"]
        network.up([node.name, late.name])
        network.commit_one(node)
        network.await_agreement(node, late)
        late.signal(signal.SIGTERM)
        assert late.wait() == 0
        for _ in range(3):
            network.commit_one(node)
        node.signal(signal.SIGTERM)
        assert node.wait() == 0
        for each in (node, late):
            each.settings["node.clock_offset_ms"] = OLD_MS
        network.ahead_ms = OLD_MS
        network.up([node.name])
        goal = node.height + KEEP_BLOCKS + 1
        while node.height < goal:
            network.commit_one(node)
        pruned = in_json("prune", "--home", node.home, "--keep-blocks", str(KEEP_BLOCKS))
        assert (pruned.exit_code, pruned.json["blocks"] >= 3) == (0, True), pruned

        late.start()
        until(lambda: says_reset(late), COMMIT_SECONDS, "the node that was away says that it must be reset")
        needed = late.status()["reset_needed"]
        assert needed == f"block {late.height + 1} is needed, and every peer that is ahead has pruned it"
        ready = late.api.request("GET", "/readyz")
        assert (ready.status, f"reset needed: {needed}" in ready.body.decode()) == (503, True)
        until(lambda: "reset needed" in late.log.read_text(), COMMIT_SECONDS, "its log says it")
        doctor = in_json("doctor", "--home", late.home, "--quick")
        assert "RESET_NEEDED" in {finding["code"] for finding in doctor.json["findings"]}
        assert needed in huzhu("status", "--node", late.api.url).stdout

        late.signal(signal.SIGTERM)
        assert late.wait() == 0
        removed = in_json("reset", "--home", late.home, "--yes")
        assert removed.exit_code == 0, removed
        network.up([late.name])
        assert late.status()["reset_needed"] is None
        assert "snapshot complete" in late.log.read_text()
        network.commit_one(node)
        network.await_agreement(node, late)


def says_reset(node: LiveNode) -> bool:
    try:
        return node.status()["reset_needed"] is not None
    except (OSError, HTTPException):
        return False


def encrypted(network: LiveNetwork, place: Path, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Protect every key of the nodes with a passphrase; all secrets that there are."""
    found = [pair.secret for pair in network.keys.values()]
    files = []
    for node in network.nodes.values():
        for path, card in list_keys(node.home / "keys"):
            found.append(read_key(path, card.kind).secret)
            files.append(path)
    passphrase = place / "passphrase"
    passphrase.touch(mode=0o600)
    passphrase.write_text(f"{PASSPHRASE}\n")
    ran = huzhu("keys", "protect", *files, "--new-passphrase-file", passphrase)
    assert ran.exit_code == 0, ran
    monkeypatch.setenv("HUZHU_PASSPHRASE", PASSPHRASE)
    return found


def holds_no_secret(dump: Path, secrets: list[bytes]) -> None:
    """Neither a key, in any notation, nor the passphrase; and the parts that a report needs are there."""
    parts = {}
    with tarfile.open(dump) as archive:
        for entry in archive:
            file = archive.extractfile(entry)
            assert file is not None
            parts[Path(entry.name).name] = file.read()
    wanted = {"versions.json", "configuration.json", "files.json", "findings.json", "node.json", "metrics.txt"}
    assert set(parts) == wanted | {"log.jsonl"}
    assert json.loads(parts["node.json"])
    shown = [PASSPHRASE.encode()]
    for secret in secrets:
        plain = base64.b64encode(secret).rstrip(b"=")
        shown += [secret, secret.hex().encode(), secret.hex().upper().encode(), plain, repr(secret)[2:-1].encode()]
    for name, content in parts.items():
        assert not any(secret in content for secret in shown), f"{name} holds a secret"
