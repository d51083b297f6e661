"""Four organisations found a chain from four homes; nothing but cards, the genesis and signatures changes hands."""

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from cli.output import Exit
from cli.ports import HOST, hold_ports

from .api import Api
from .command import huzhu, in_json
from .network import LiveNode, until

pytestmark = pytest.mark.e2e

FOUNDERS: Final = {
    "platform": "platform",
    "bank": "bank",
    "assessor-east": "assessor",
    "assessor-west": "assessor,hospital",
}
READY_SECONDS: Final = 30.0


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[dict[str, LiveNode]]:
    """A directory for each founder, with addresses; whatever was started there is ended."""
    with hold_ports(2 * len(FOUNDERS)) as ports:
        pairs = list(zip(ports[::2], ports[1::2], strict=True))
    nodes = {}
    for name, (api, p2p) in zip(FOUNDERS, pairs, strict=True):
        (tmp_path / name).mkdir()
        nodes[name] = LiveNode(name, tmp_path / name / "home", Api(f"http://{HOST}:{api}"), (HOST, p2p), False)
    yield nodes
    for node in nodes.values():
        node.close()


def init(node: LiveNode) -> None:
    """``huzhu init`` with this machine's addresses."""
    settings = {
        "api.listen": f"{node.api.host}:{node.api.port}",
        "p2p.listen": f"{node.p2p[0]}:{node.p2p[1]}",
        "verifier.workers": "1",
    }
    options = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    ran = in_json("init", "--home", node.home, "--name", node.name, *options)
    assert ran.exit_code == 0, ran


def test_four_founders_found_a_chain_that_starts_only_when_all_have_signed(machines: dict[str, LiveNode]) -> None:
    cards = {name: node.home.parent / f"{name}.card" for name, node in machines.items()}
    for name, node in machines.items():
        init(node)
        address = f"{node.p2p[0]}:{node.p2p[1]}"
        arguments: list[str | Path] = [
            "--home",
            node.home,
            "--roles",
            FOUNDERS[name],
            "--address",
            address,
            "--out",
            cards[name],
        ]
        ran = in_json("genesis", "card", *arguments)
        assert (ran.exit_code, ran.json["key_state"], ran.json["validator"]) == (0, "created", True), ran
        again = in_json("genesis", "card", *arguments)
        assert (again.exit_code, again.json["key_state"]) == (0, "kept")

    # one of them assembles; a card altered on its way is refused
    files = {name: node.home.parent / "genesis.toml" for name, node in machines.items()}
    assembled = files["platform"]
    forged = cards["bank"].with_name("forged.card")
    forged.write_text(cards["bank"].read_text().replace('"BANK"', '"PLATFORM"'))
    wrong: list[str | Path] = [cards["platform"], forged, "--name", "four", "--out", assembled]
    ran = in_json("genesis", "assemble", *wrong)
    assert (ran.error["code"], ran.exit_code) == ("CARD_INVALID", Exit.CONFIGURATION.value)
    assert not assembled.exists()
    ran = in_json("genesis", "assemble", *cards.values(), "--name", "four", "--out", assembled)
    assert ran.exit_code == 0, ran
    chain_id = ran.json["chain_id"]
    assert ran.json["unsigned"] == list(FOUNDERS)

    # everybody checks and signs on his own machine
    for name, node in machines.items():
        if name != "platform":
            shutil.copy(assembled, files[name])
        checked = in_json("genesis", "check", files[name])
        assert (checked.exit_code, checked.json["chain_id"]) == (0, chain_id)
        signed = in_json("genesis", "sign", files[name], "--home", node.home)
        assert (signed.exit_code, signed.json["state"]) == (0, "created"), signed
        assert in_json("genesis", "sign", files[name], "--home", node.home).json["state"] == "kept"
    words = huzhu("genesis", "check", assembled).stdout
    assert "300,000.00 RMB" in words
    assert "3 decide a block, 1 may fail or lie" in words
    assert "has not signed: bank, assessor-east, assessor-west" in words

    # a node does not start before it has all the signatures
    bank = machines["bank"]
    assert in_json("init", "--home", bank.home, "--genesis", files["bank"]).exit_code == 0
    refused = in_json("start", "--home", bank.home)
    assert (refused.error["code"], refused.exit_code) == ("GENESIS_UNSIGNED", Exit.CONFIGURATION.value)
    assert "platform, assessor-east, assessor-west" in refused.error["what"]
    lines = "".join(path.with_name("genesis.sigs").read_text() for path in files.values())
    for name, node in machines.items():
        files[name].with_name("genesis.sigs").write_text(lines)
        ran = in_json("init", "--home", node.home, "--genesis", files[name])
        assert ran.exit_code == 0, ran
        node.start()

    # the addresses in the genesis are all they need to find each other
    for node in machines.values():
        until(partial(_in_a_full_mesh, node), READY_SECONDS, f"{node.name} signs and has three peers")
    assert {node.status()["chain_id"] for node in machines.values()} == {chain_id}
    key = machines["platform"].home / "keys" / "organisation.key"
    enrolled = in_json("member", "enrol", "--birth-month", "1990-05", "--node", machines["bank"].api.url, "--key", key)
    assert enrolled.exit_code == 0, enrolled


def test_nobody_signs_a_genesis_that_names_other_keys_than_his_own(machines: dict[str, LiveNode]) -> None:
    node = machines["platform"]
    init(node)
    card, file = node.home.parent / "card", node.home.parent / "genesis.toml"
    what = ["--roles", "platform", "--address", "127.0.0.1:7040", "--out"]
    assert in_json("genesis", "card", "--home", node.home, *what, card).exit_code == 0
    assert in_json("genesis", "assemble", card, "--name", "one", "--out", file).exit_code == 0
    stranger = machines["bank"]
    init(stranger)
    other = in_json("genesis", "card", "--home", stranger.home, *what, card.with_name("other"))
    key = other.json["key_file"]
    ran = in_json("genesis", "sign", file, "--home", node.home, "--key", key)
    assert (ran.error["code"], ran.exit_code) == ("NOT_A_FOUNDER", Exit.CONFIGURATION.value)
    own = node.home / "keys" / "organisation.key"
    ran = in_json("genesis", "sign", file, "--home", stranger.home, "--key", own)
    assert (ran.error["code"], ran.exit_code) == ("GENESIS_NOT_OURS", Exit.CONFIGURATION.value)
    assert not file.with_name("genesis.sigs").exists()


def _in_a_full_mesh(node: LiveNode) -> bool:
    try:
        status = node.status()
    except OSError:
        return False
    return bool(status["signing"] and status["peers_connected"] == len(FOUNDERS) - 1)
