"""Who stands behind a link or a key: node keys of organisations, and seats of the open height (NODE §1, CONSENSUS §3).

The chain is the only source: ``Organisation.node_keys`` names every node, ``V(height)`` who has a seat.
A roster is a value; it is made anew when either has changed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ledger.organisations import OrganisationState
from ledger.rows import Organisation
from ledger.state import Index, StateReader
from ledger.tables import Table
from ledger.votes import ValidatorEntry

from .applicants import applicant_keys
from .mempool import SignerClass

ROSTER_FROM: Final = frozenset({Table.ORGANISATIONS, Table.PROPOSALS})
"""Beside the validator set, what of the state a roster is made of."""
SIGNERS_FROM: Final = frozenset({Table.ORGANISATIONS, Index.ORGANISATION_KEY, Index.MEMBER_KEY})
"""What of the state the class of a signing key is read from; the key of a stepped clock never changes."""


@dataclass(frozen=True, slots=True)
class Roster:
    """Links by seat and seats by link, for one validator set."""

    validators: tuple[ValidatorEntry, ...]
    allowed: frozenset[bytes]
    """Node keys that may have a link."""
    applicants: frozenset[bytes]
    """Node keys that may have a status-only link: their organisation's admission is being decided."""
    addresses: dict[bytes, str]
    """Where a node key may be found: its organisation's address, when that names one node."""
    links: tuple[tuple[bytes, ...], ...]
    """Node keys of each position of ``validators``."""
    positions: dict[bytes, int]
    """Position in ``validators`` of a node key's organisation."""

    def index_of(self, node_key: bytes) -> int | None:
        """The validator whose registered node this is; None for all others."""
        return self.positions.get(node_key)


def make_roster(state: StateReader, validators: tuple[ValidatorEntry, ...]) -> Roster:
    """The roster of a validator set, from the organisations of ``state``. A removed organisation has no links."""
    organisations = {number: row for number, row in state.rows(Organisation) if row.state != OrganisationState.REMOVED}
    links = tuple(
        organisations[entry.organisation].node_keys if entry.organisation in organisations else ()
        for entry in validators
    )
    return Roster(
        validators=validators,
        allowed=frozenset(key for row in organisations.values() for key in row.node_keys),
        applicants=applicant_keys(state),
        addresses={
            row.node_keys[0]: row.address for row in organisations.values() if row.address and len(row.node_keys) == 1
        },
        links=links,
        positions={key: index for index, keys in reversed(list(enumerate(links))) for key in keys},
    )


class SignerClasses:
    """What the newest state knows about signing keys, remembered until ``forget``: asked for every transaction."""

    REMEMBERED_MAX: Final = 4_096

    def __init__(self, look: Callable[[bytes], SignerClass]) -> None:
        self._look = look
        self._known: dict[bytes, SignerClass] = {}

    def __call__(self, key: bytes) -> SignerClass:
        """The class of a public key."""
        kind = self._known.get(key)
        if kind is None:
            kind = self._look(key)
            if len(self._known) < self.REMEMBERED_MAX:
                self._known[key] = kind
        return kind

    def forget(self) -> None:
        """A block was committed that touched what they are read from (``SIGNERS_FROM``)."""
        self._known.clear()
