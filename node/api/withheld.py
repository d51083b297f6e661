"""What views leave out of a transaction: salts and event fingerprints, on which a guess could be tried (LEDGER §6).

The exact bytes hold them, and whoever verifies a block needs those: ``?raw=true`` and the exports of whole blocks are
for the nodes and auditors of the consortium, and the API listens on loopback unless an operator decides otherwise.
"""

from __future__ import annotations

from typing import Any, Final

from ledger.transactions import RevealBallot

from .answers import plain

FIELDS: Final = frozenset({"salt", "fingerprint"})
WITHHELD: Final = "withheld"
PUBLIC: Final[tuple[type[Any], ...]] = (RevealBallot,)
"""Bodies whose salt is sent to be seen: it opens a ballot."""


def shown_body(body: Any) -> dict[str, Any]:
    """The body of a transaction in JSON's types, without what a guess could be tried on."""
    found: dict[str, Any] = plain(body)
    if isinstance(body, PUBLIC):
        return found
    return {name: WITHHELD if name in FIELDS else value for name, value in found.items()}
