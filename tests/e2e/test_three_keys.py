"""Each of an organisation's three keys is replaced while its network goes on under load (issue 6, item 4).

What docs/operate.md says, word by word: the seat's keys (``keys rotate``), the organisation's own, that of its links.
"""

import json
import shutil
from pathlib import Path
from typing import Any, Final

import pytest

from node.keys import KeyKind, key_path, read_card, read_key

from .command import in_json
from .decisions import asks, decide
from .load import Load
from .network import COMMIT_SECONDS, LiveNetwork, LiveNode, until
from .votes import Watch, promises

pytestmark = pytest.mark.e2e

NAME: Final = "assessor-east"
MORE: Final = 20
SEAT_KEYS: Final = (KeyKind.VALIDATOR, KeyKind.BEACON)


def public(node: LiveNode, kind: KeyKind, name: str | None = None) -> str:
    return read_card(key_path(node.home / "keys", kind, name), kind).public.hex()


def entry_of(asked: LiveNode, name: str, among: str) -> dict[str, Any]:
    """The organisation's seat, or its validator in the set of the next height."""
    found: dict[str, Any] = next(item for item in asked.api.get("/v1/validators")[among] if item["name"] == name)
    return found


def start(network: LiveNetwork, node: LiveNode) -> None:
    network.up([node.name])
    node.await_signing()


def its_vote_is_needed_and_there(network: LiveNetwork, node: LiveNode) -> None:
    network.await_vote_of(node, silent=network.nodes["assessor-west"], seen_by=network.nodes["platform"])


def test_the_keys_of_a_seat_of_an_organisation_and_of_its_links_are_rotated_under_load(clocked: LiveNetwork) -> None:
    network = clocked
    node, other = network.nodes[NAME], network.nodes["platform"]
    watch = Watch(NAME, node.home / "data" / "signing.log")
    with Load(network) as load:
        the_seats_keys(network, node, other, load, watch)
        the_organisations_key(network, node, load)
        the_key_of_its_links(network, node, other, load)
        its_vote_is_needed_and_there(network, node)
    watch.look()
    network.await_agreement()


def the_seats_keys(network: LiveNetwork, node: LiveNode, other: LiveNode, load: Load, watch: Watch) -> None:
    """``keys rotate``, a restart, what it says to propose, two blocks, a restart with ``--finish``."""
    before = {kind: public(node, kind) for kind in SEAT_KEYS}
    seat = entry_of(other, NAME, "seats")
    made = in_json("keys", "rotate", "--home", node.home)
    assert made.exit_code == 0, made
    following = {kind: made.json[f"{kind.value}_key"] for kind in SEAT_KEYS}
    again = in_json("keys", "rotate", "--home", node.home)
    assert again.json == made.json, "keys that wait for a decision are not made twice"
    node.stop()
    load.await_more(MORE, COMMIT_SECONDS)
    start(network, node)
    held = in_json("keys", "rotate", "--finish", "--home", node.home)
    assert held.error["code"] == "LOCKED_DATABASE"

    _, _, action = made.json["next"].partition("huzhu gov propose ")
    action = action.strip("'").replace("SEAT", str(seat["seat"]))
    decide(network, "gov", "propose", json.dumps(json.loads(action)))
    load.await_more(MORE, COMMIT_SECONDS)
    until(
        lambda: entry_of(other, NAME, "validators")["validator_key"] == following[KeyKind.VALIDATOR],
        COMMIT_SECONDS,
        "the chain names the new key",
    )
    signed = len(list(promises(watch.path.read_bytes())))
    its_vote_is_needed_and_there(network, node)
    watch.look()
    assert len(list(promises(watch.path.read_bytes()))) > signed, "the seat's record goes on"

    node.stop()
    finished = in_json("keys", "rotate", "--finish", "--home", node.home)
    assert (finished.exit_code, len(finished.json["retired"])) == (0, 2), finished
    assert {kind: public(node, kind) for kind in SEAT_KEYS} == following
    retired = {read_card(Path(path)).public.hex() for path in finished.json["retired"]}
    assert retired == set(before.values())
    load.await_more(MORE, COMMIT_SECONDS)
    start(network, node)


def the_organisations_key(network: LiveNetwork, node: LiveNode, load: Load) -> None:
    """``org rotate-key``: at once, and the old one is unknown."""
    place = network.directory / "keys"
    made = in_json("keys", "new", "organisation", "--name", f"{NAME}-next", "--dir", place)
    assert made.exit_code == 0, made
    old, new = network.key_files[NAME], Path(made.json["path"])
    asks(network, NAME, "org", "rotate-key", "--new-key", new)
    refused = in_json("org", "nodes", "--key", old, "--node", node.api.url)
    assert (refused.exit_code, refused.error["code"]) == (1, "UNKNOWN_SIGNER"), refused
    network.key_files[NAME], network.keys[NAME] = new, read_key(new)
    load.await_more(MORE, COMMIT_SECONDS)


def the_key_of_its_links(network: LiveNetwork, node: LiveNode, other: LiveNode, load: Load) -> None:
    """Both named, the file exchanged, the new one named alone; the others let it in by that."""
    keys = node.home / "keys"
    old = public(node, KeyKind.NODE)
    made = in_json("keys", "new", "node", "--name", "node-next", "--dir", keys)
    assert made.exit_code == 0, made
    new, address = made.json["public"], f"{node.p2p[0]}:{node.p2p[1]}"
    asks(network, NAME, "org", "nodes", "--node-key", old, "--node-key", new)
    node.stop()
    shutil.move(keys / "node.key", network.directory / "node.key.old")
    (keys / "node-next.key").rename(keys / "node.key")
    load.await_more(MORE, COMMIT_SECONDS)
    start(network, node)
    asks(network, NAME, "org", "nodes", "--node-key", new, "--address", address)
    load.await_more(MORE, COMMIT_SECONDS)
    why = in_json("peers", "why", new, "--node", other.api.url)
    assert (why.exit_code, why.json["connected"]) == (0, True), why
