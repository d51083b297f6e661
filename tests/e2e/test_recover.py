"""Three of four machines gone for good: the recovery that docs/operate.md describes, step by step (issue 6, must hold).

What survives is one validator and an observer, the keys in the operators' safes (organisation keys and node keys), and
the genesis. The observer and a lost machine that is found again are told nothing: the block itself leads them over.
"""

import shutil
import signal
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

import pytest

from ledger.transactions import transaction_id
from node.keys import KeyKind, key_path, read_card

from .chains import places
from .command import in_json
from .load import Load
from .network import COMMIT_SECONDS, READY_SECONDS, EndToEndError, LiveNetwork, LiveNode, until
from .votes import Watch

pytestmark = pytest.mark.e2e_deep

MORE: Final = 30
FETCH_SECONDS: Final = 40.0
SURVIVOR: Final = "platform"
SEAT_KEYS: Final = (KeyKind.VALIDATOR, KeyKind.BEACON)
LOST: Final = ("bank", "assessor-east", "assessor-west")
OBSERVER: Final = "regulator"


def done(*arguments: str | Path) -> dict[str, Any]:
    """The answer of a command that must succeed."""
    ran = in_json(*arguments)
    assert ran.exit_code == 0, ran
    return ran.json


def stop(node: LiveNode) -> None:
    node.signal(signal.SIGTERM)
    assert node.wait() == 0


def public(home: Path, kind: KeyKind) -> str:
    """The public half of a key of a home."""
    return read_card(key_path(home / "keys", kind), kind).public.hex()


def new_machine(network: LiveNetwork, node: LiveNode, place: Path) -> str:
    """Step 1: the old node key from the safe, everything else new. Its seat's ``VALIDATOR_KEY:BEACON_KEY``."""
    home = place / node.name
    (home / "keys").mkdir(mode=0o700, parents=True)
    shutil.copy2(node.home / "keys" / "node.key", home / "keys" / "node.key")
    others = [other for other in network.nodes.values() if other is not node]
    peers = ",".join(f"{public(other.home, KeyKind.NODE)}@{other.p2p[0]}:{other.p2p[1]}" for other in others)
    done(
        *("init", "--home", home, "--name", node.name, "--genesis", network.genesis),
        *("--set", f"p2p.listen={node.p2p[0]}:{node.p2p[1]}", "--set", f"p2p.peers={peers}"),
        *("--set", f"api.listen={node.api.host}:{node.api.port}", "--set", "verifier.workers=1"),
    )
    made = {key["kind"]: key["public"] for key in done("keys", "list", "--dir", home / "keys")["keys"]}
    kept = {kind.value for kind in (KeyKind.NODE, *SEAT_KEYS) if made[kind.value] == public(node.home, kind)}
    assert kept == {"node"}, "the node key of the safe is kept, the others are new"
    return f"{made['validator']}:{made['beacon']}"


def all_die_at_once(network: LiveNetwork) -> None:
    """SIGKILL to those who are lost, before the first is waited for."""
    for name in LOST:
        network.nodes[name].signal(signal.SIGKILL)
    for name in LOST:
        network.nodes[name].wait()


def test_a_network_that_lost_three_of_four_machines_goes_on_with_new_ones(tmp_path: Path) -> None:
    with LiveNetwork(tmp_path / "net", observers=1) as network:
        network.up([*LOST, SURVIVOR, OBSERVER])
        survivor, observer = network.nodes[SURVIVOR], network.nodes[OBSERVER]
        seats = {name: network.index(name) for name in (SURVIVOR, *LOST)}
        member = survivor.api.submit(enrolment := network.enrolment())
        assert member.json()["code"] == "OK"
        with Load(network) as load:
            load.await_more(MORE, COMMIT_SECONDS)
            for node in (survivor, observer):  # so that the lost ones decide, and acknowledge, what nobody else holds
                node.kill()
            load.await_more(MORE, COMMIT_SECONDS)
            all_die_at_once(network)
            load.stop()
        told = load.committed | {transaction_id(enrolment).hex(): int(member.json()["height"])}

        # Step 1: the highest head of the survivors; each has what the other had, for they still talk to each other.
        for node in (survivor, observer):
            node.start()
        for node in (survivor, observer):
            until(partial(answers, node), READY_SECONDS, f"{node.name} answers")
        found = network.await_agreement(survivor, observer, seconds=FETCH_SECONDS)
        head = int(found["height"])
        status = in_json("status", "--node", survivor.api.url)
        assert status.json["height"] == head, status
        kept = {tx_id: height for tx_id, height in told.items() if height <= head}
        gone = told.keys() - kept.keys()
        assert (bool(kept), bool(gone)) == (True, True), "of what was acknowledged some is kept, some only the lost had"
        machines = {name: new_machine(network, network.nodes[name], tmp_path / "new") for name in LOST}
        old_homes = {name: network.nodes[name].home for name in LOST}
        for name in LOST:
            network.nodes[name].home = tmp_path / "new" / name
            network.nodes[name].start()
        fetched = [network.nodes[name] for name in LOST]
        for node in fetched:
            until(partial(has_fetched, node, head), FETCH_SECONDS, f"{node.name} has fetched it")
            assert not node.status()["signing"], "its keys have no seat yet"
        assert survivor.height == head, "nothing is decided without a quorum"
        stop(observer)

        # Steps 2 and 3, on the survivor, then from organisation to organisation.
        for node in (survivor, *fetched):
            stop(node)
        record = tmp_path / "record.json"
        named = [word for name in LOST for word in ("--seat", f"{seats[name]}:{machines[name]}")]
        drafted = done("recover", "propose", record, "--keep", str(seats[SURVIVOR]), *named, "--home", survivor.home)
        assert (drafted["epoch"], drafted["head_height"], drafted["head_hash"]) == (1, head, found["hash"])
        for name in (SURVIVOR, LOST[0]):
            done("recover", "sign", record, "--key", network.key_files[name])
        too_few = in_json("recover", "apply", record, "--home", survivor.home)
        assert (too_few.exit_code, too_few.error["code"]) == (3, "RECOVERY_REFUSED")
        done("recover", "sign", record, "--key", network.key_files[LOST[1]])
        shown = done("recover", "show", record, "--home", survivor.home)
        assert shown["signed_seats"] == sorted(seats[name] for name in (SURVIVOR, *LOST[:2]))
        assert (shown["seats_needed"], shown["counts"], shown["dropped"]) == (3, True, [])

        # Step 4: every validator of the new set.
        for node in (survivor, *fetched):
            done("recover", "apply", record, "--home", node.home)
        network.epoch = 1
        network.up([SURVIVOR, *LOST])
        network.commit_one(survivor)
        with Load(network) as load:
            load.await_more(MORE, COMMIT_SECONDS)
            observer.start()
            network.await_ready(observer, seconds=READY_SECONDS)
            load.await_more(MORE, COMMIT_SECONDS)
        after = network.await_agreement(survivor, *fetched, observer, seconds=FETCH_SECONDS)
        assert {node.status()["epoch"] for node in (survivor, *fetched, observer)} == {1}
        assert survivor.api.get(f"/v1/blocks/{head}")["hash"] == found["hash"]
        signers = {seat for height in range(head + 2, after["height"] + 1) for seat in survivor.api.signers(height)}
        assert signers == set(seats.values()), "old seat and new keys sign"

        # Everything at or below the head that was kept is there once, and what came after it too.
        for node in (survivor, fetched[0], observer):
            there = places(node, after["height"])
            assert {tx_id: there.get(tx_id) for tx_id in kept} == kept
            assert {tx_id: there.get(tx_id) for tx_id in load.committed} == load.committed
        for name in (SURVIVOR, *LOST):
            Watch(name, network.nodes[name].home / "data" / "signing.log").look()
        a_light_client_follows(network, kept, tmp_path)
        assert not gone & there.keys()
        a_lost_machine_is_found_again(network, old_homes["bank"], record, after["height"])


def answers(node: LiveNode) -> bool:
    """Whether its address answers yet."""
    if not node.running:
        raise EndToEndError(f"{node.name} ended by itself:\n{node.log_tail()}")
    try:
        return node.api.request("GET", "/livez", seconds=5).status == 200
    except OSError:
        return False


def has_fetched(node: LiveNode, height: int) -> bool:
    return answers(node) and node.height == height


def a_light_client_follows(network: LiveNetwork, kept: dict[str, int], place: Path) -> None:
    """From the genesis alone: headers, whole blocks, a statement, and a transaction of the old epoch."""
    observer, genesis = network.nodes[OBSERVER], network.genesis
    last = observer.height
    headers, blocks = place / "headers", place / "blocks"
    headers.write_bytes(observer.api.request("GET", f"/v1/headers?from=1&to={last}", seconds=60).body)
    blocks.write_bytes(observer.api.request("GET", f"/v1/blocks/export?from=1&to={last}", seconds=60).body)
    for file, more in ((headers, ()), (blocks, ("--execute",))):
        found = done("verify", "chain", file, "--genesis", genesis, *more)
        assert (found["height"], found["certified_by"][-12:]) == (last, "4 validators"), found
        assert (file == blocks) or any("Epoch 1 begins" in item["text"] for item in found["findings"])
    statement, proof = place / "statement", place / "transaction"
    done("member", "statement", "0", "--node", observer.api.url, "--out", statement)
    assert done("verify", "statement", statement, "--genesis", genesis)["state"] == "WAITING"
    old = next(islice(kept, 1))
    done("proof", "transaction", old, "--node", observer.api.url, "--out", proof)
    assert done("verify", "transaction", proof, "--genesis", genesis)["code"] == "OK"


def a_lost_machine_is_found_again(network: LiveNetwork, old_home: Path, record: Path, height: int) -> None:
    """What it held above the head goes by command only, which lists it; then it follows, and its keys have no seat."""
    node = network.nodes["bank"]
    stop(node)
    new_home, node.home = node.home, old_home
    above = done("recover", "show", record, "--home", old_home)["dropped"]
    assert sum(block["transactions"] for block in above) > 0
    refused = in_json("recover", "apply", record, "--home", old_home)
    assert (refused.exit_code, refused.error["code"]) == (1, "BLOCKS_WOULD_GO")
    dropped = done("recover", "apply", record, "--drop-blocks", "--home", old_home)["dropped"]
    assert dropped == above
    node.start()
    until(lambda: answers(node), READY_SECONDS, "the old machine answers")
    until(lambda: node.height >= height, FETCH_SECONDS, "the old machine follows into the new epoch")
    found = node.status()
    assert (found["epoch"], found["signing"]) == (1, False)
    stop(node)
    node.home = new_home
