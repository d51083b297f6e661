"""Who stands behind a link: node keys of organisations, and seats of the open height (NODE §1, CONSENSUS §3).

The chain is the only source: ``Organisation.node_keys`` names every node, ``V(height)`` who has a seat.
A roster is a value; it is made anew when either has changed.
"""

from dataclasses import dataclass

from ledger.organisations import OrganisationState
from ledger.rows import Organisation
from ledger.state import StateReader
from ledger.votes import ValidatorEntry


@dataclass(frozen=True, slots=True)
class Roster:
    """Links by seat and seats by link, for one validator set."""

    validators: tuple[ValidatorEntry, ...]
    allowed: frozenset[bytes]
    """Node keys that may have a link."""
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
        addresses={
            row.node_keys[0]: row.address for row in organisations.values() if row.address and len(row.node_keys) == 1
        },
        links=links,
        positions={key: index for index, keys in reversed(list(enumerate(links))) for key in keys},
    )
