"""What organisations of a live network do with their keys: commands at their own nodes, and decisions of them all.

A network for this is founded with ``clock_ms``: the regulator's week passes when the clock's key says so.
"""

from pathlib import Path
from typing import Any, Final

from ledger.calendar import MS_PER_DAY
from ledger.governance import OBJECTION_DAYS
from ledger.transactions import AdvanceClock
from node.keys import KeyKind, key_path, read_key

from .command import in_json
from .network import COMMIT_SECONDS, LiveNetwork

VOTERS: Final = ("platform", "bank", "assessor-east")
"""Three of four decide."""


def asks(network: LiveNetwork, by: str, *words: str | Path, key: Path | None = None) -> dict[str, Any]:
    """The answer to a command that ``by`` sends to its own node with its key, and that must succeed."""
    ran = in_json(*words, "--key", key or network.key_files[by], "--node", network.nodes[by].api.url)
    assert ran.exit_code == 0, ran
    return ran.json


def objection_passes(network: LiveNetwork, by: str = "bank") -> None:
    """Ledger time goes past the regulator's window, told to the node of ``by``."""
    node = network.nodes[by]
    clock = read_key(key_path(network.directory / "keys", KeyKind.CLOCK))
    to_ms = int(node.status()["ledger_time_ms"]) + (OBJECTION_DAYS + 1) * MS_PER_DAY
    raw = network.sign(AdvanceClock(to_ms), clock)
    answer = node.api.submit(raw, timeout=int(COMMIT_SECONDS), seconds=COMMIT_SECONDS + 5)
    assert answer.json().get("code") == "OK", answer.json()


def decide(network: LiveNetwork, *words: str) -> None:
    """What the first of ``VOTERS`` proposes with these words passes, and so does its window: it is enacted."""
    number = asks(network, VOTERS[0], *words)["proposal"]
    for name in VOTERS[1:]:
        voted = asks(network, name, "gov", "vote", str(number))
    assert voted["state"] == "PASSED"
    objection_passes(network)
    network.commit_one(network.nodes[VOTERS[1]])
