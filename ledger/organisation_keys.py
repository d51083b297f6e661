"""An organisation's own key: replaced by itself, or by the others when it is lost (DESIGN §3).

Rules of this file
- One atomic replacement: the new key acts from the next transaction on, the old one is unknown from then on; also what
  it signed before and is not executed yet is refused.
- The new key is a point of the curve and nobody's: no organisation's, no member's, no seat's, no node's.
- Whoever has lost his key asks the others: ``actions.ReplaceKey`` is decided like everything else.

The validators' rows name organisations by id, so a seat keeps its record; the set announced two blocks later carries
the new organisation key.
"""

from msgspec.structs import replace
from nacl.bindings import crypto_core_ed25519_is_valid_point

from .errors import TransactionRejected
from .member_keys import check_free
from .organisations import OrganisationState
from .rows import Organisation, Validator
from .sender import Sender
from .state import Index, State, StateReader
from .transactions import RotateKey


def rotate(state: State, body: RotateKey, sender: Sender) -> tuple[int, ...]:
    """The organisation that signs has another key from now on; detail: (organisation,).

    Raises ``TransactionRejected``: BAD_FIELD, KEY_IN_USE.
    """
    return replace_key(state, sender.organisation, body.key)


def replace_key(state: State, organisation_id: int, key: bytes) -> tuple[int, ...]:
    """Give an organisation another key; detail: (organisation,).

    Raises ``TransactionRejected``: UNKNOWN_ORGANISATION, NOTHING_TO_DECIDE (it was removed), BAD_FIELD, KEY_IN_USE.
    """
    row = state.need(Organisation, organisation_id, "UNKNOWN_ORGANISATION")
    if row.state == OrganisationState.REMOVED:
        raise TransactionRejected("NOTHING_TO_DECIDE", f"{row.name} was removed")
    check_free(state, key)
    _check_unused(state, key)
    state.index_delete(Index.ORGANISATION_KEY, row.key)
    state.index_put(Index.ORGANISATION_KEY, key, organisation_id)
    state.put(organisation_id, replace(row, key=key))
    return (organisation_id,)


def _check_unused(state: StateReader, key: bytes) -> None:
    if not crypto_core_ed25519_is_valid_point(key):
        raise TransactionRejected("BAD_FIELD", "not an Ed25519 public key")
    of_seats = {used for _, seat in state.rows(Validator) for used in (seat.validator_key, seat.beacon_key)}
    of_nodes = {used for _, row in state.rows(Organisation) for used in row.node_keys}
    if key in of_seats or key in of_nodes:
        raise TransactionRejected("KEY_IN_USE", "a seat's or a node's")
