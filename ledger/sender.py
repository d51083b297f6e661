"""Who sent a transaction, and whether he may (LEDGER §2, ``roles.MAY_SEND``)."""

from dataclasses import dataclass
from typing import Final

from .clock import clock
from .errors import TransactionRejected
from .member_keys import owner_of
from .organisations import by_key, require_active
from .roles import MAY_SEND
from .rows import NONE
from .state import State
from .transactions import AdvanceClock, Enrol, Transaction

_NOBODY: Final = NONE


@dataclass(frozen=True, slots=True)
class Sender:
    """The holder of the signing key."""

    key: bytes
    organisation: int = _NOBODY
    """Id of the organisation, or ``NONE``."""
    member: int = _NOBODY
    """Id of the member who acts with his own key, or ``NONE``."""

    @property
    def signer(self) -> int | bytes:
        """The organisation's id, or the key of a person: what the rules of members ask for."""
        return self.key if self.organisation == _NOBODY else self.organisation


def authorise(state: State, transaction: Transaction) -> Sender:
    """The sender of an executing transaction, who may send it.

    Raises UNKNOWN_SIGNER, SIGNER_SUSPENDED, NOT_PERMITTED, or CLOCK_NOT_STEPPED.
    """
    body, key = transaction.body, transaction.signer
    if isinstance(body, AdvanceClock):
        return _clock_keeper(state, key)
    roles, own_key = MAY_SEND[type(body)]
    found = by_key(state, key)
    if found is not None:
        organisation_id, organisation = found
        require_active(organisation)
        if not organisation.roles & roles:
            raise TransactionRejected("NOT_PERMITTED", f"{organisation.name} does not hold the role for it")
        return Sender(key, organisation=organisation_id)
    if isinstance(body, Enrol) and body.member_key == key:
        return Sender(key)
    member = owner_of(state, key, state.block.ledger_time_ms)
    if member is None:
        raise TransactionRejected("UNKNOWN_SIGNER", key.hex())
    if own_key and not isinstance(body, Enrol) and getattr(body, "member", None) == member:
        return Sender(key, member=member)
    raise TransactionRejected("NOT_PERMITTED", "a member's own key acts for that member only")


def _clock_keeper(state: State, key: bytes) -> Sender:
    keeper = clock(state).clock_key
    if not keeper:
        raise TransactionRejected("CLOCK_NOT_STEPPED")
    if key != keeper:
        raise TransactionRejected("NOT_PERMITTED", "the clock key of the genesis advances the clock")
    return Sender(key)
