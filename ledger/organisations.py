"""Organisations of the consortium, and the validator set that their seats make.

An organisation is found by its key; a suspended one may send nothing, a removed one is unknown. V(h + 2) is read
from the validator rows after h: the active seats, ascending.
"""

from enum import IntEnum

from .errors import TransactionRejected
from .roles import Role
from .rows import NONE, Organisation, Validator
from .state import Index, State, StateReader
from .votes import ValidatorEntry


class OrganisationState(IntEnum):
    """Whether an organisation takes part."""

    ACTIVE = 0
    SUSPENDED = 1
    REMOVED = 2


def add(state: State, organisation: Organisation) -> int:
    """Append an organisation; returns its id."""
    organisation_id = state.append(organisation)
    state.index_put(Index.ORGANISATION_KEY, organisation.key, organisation_id)
    return organisation_id


def by_key(reader: StateReader, key: bytes) -> tuple[int, Organisation] | None:
    """The organisation that signs with ``key``; removed ones are not found."""
    organisation_id = reader.index_id(Index.ORGANISATION_KEY, key)
    if organisation_id is None:
        return None
    organisation = reader.get(Organisation, organisation_id)
    if organisation.key != key or organisation.state == OrganisationState.REMOVED:
        return None
    return organisation_id, organisation


def require_active(organisation: Organisation) -> None:
    """Raises SIGNER_SUSPENDED."""
    if organisation.state != OrganisationState.ACTIVE:
        raise TransactionRejected("SIGNER_SUSPENDED", organisation.name)


def with_role(reader: StateReader, role: Role) -> list[int]:
    """Ids of the active organisations that hold ``role``, ascending."""
    return [
        organisation_id
        for organisation_id, row in reader.rows(Organisation)
        if row.state == OrganisationState.ACTIVE and row.roles & role
    ]


def name_of(reader: StateReader, organisation_id: int) -> str:
    """An organisation's name; empty for ``NONE``."""
    return "" if organisation_id == NONE else reader.get(Organisation, organisation_id).name


def validator_rows(reader: StateReader) -> dict[int, Validator]:
    """All seats, by number."""
    return dict(reader.rows(Validator))


def validator_set(reader: StateReader) -> tuple[ValidatorEntry, ...]:
    """V(h + 2) from the rows after h: active seats, ascending."""
    return tuple(
        ValidatorEntry(
            seat=seat,
            organisation=row.organisation,
            organisation_key=reader.get(Organisation, row.organisation).key,
            validator_key=row.validator_key,
            beacon_key=row.beacon_key,
        )
        for seat, row in reader.rows(Validator)
        if row.active
    )
