"""The nodes of an organisation: which link keys are its own, and where they are found (DESIGN §3).

Rules of this file
- One atomic replacement by the organisation itself, in force with the block: links of keys that are no longer named
  end, and those that are new may come. Who changes a node's key names both while the node changes over.
- A link key is one organisation's, and no other kind of key; who holds a seat keeps a node.

Founders name theirs in the genesis file, others in their application; ``enactment.check_organisation`` holds for all.
"""

from typing import Final

from msgspec.structs import replace

from .enactment import check_organisation
from .errors import TransactionRejected
from .organisations import OrganisationState
from .rows import Organisation, Validator
from .sender import Sender
from .signing import PUBLIC_KEY_BYTES
from .state import Index, State, StateReader
from .transactions import SetNodes

NODES_MAX: Final = 16
"""Link keys that one organisation may name by itself."""


def set_nodes(state: State, body: SetNodes, sender: Sender) -> tuple[int, ...]:
    """The organisation that signs has these nodes from now on; detail: (organisation,).

    Raises ``TransactionRejected``: BAD_FIELD, KEY_IN_USE.
    """
    number = sender.organisation
    row = state.get(Organisation, number)
    if len(body.node_keys) > NODES_MAX or len(set(body.node_keys)) < len(body.node_keys):
        raise TransactionRejected("BAD_FIELD", f"at most {NODES_MAX} nodes, each named once")
    if any(len(key) != PUBLIC_KEY_BYTES or not any(key) for key in body.node_keys):
        raise TransactionRejected("BAD_FIELD", "not a link key")
    if not body.node_keys and any(seat.active and seat.organisation == number for _, seat in state.rows(Validator)):
        raise TransactionRejected("BAD_FIELD", "who holds a seat has a node")
    check_organisation(row.name, row.roles, row.key, body.node_keys, body.address)
    _check_free(state, number, body.node_keys)
    state.put(number, replace(row, node_keys=body.node_keys, address=body.address))
    return (number,)


def _check_free(state: StateReader, number: int, node_keys: tuple[bytes, ...]) -> None:
    of_seats = {used for _, seat in state.rows(Validator) for used in (seat.validator_key, seat.beacon_key)}
    taken = of_seats.union(
        *(
            row.node_keys
            for other, row in state.rows(Organisation)
            if other != number and row.state != OrganisationState.REMOVED
        )
    )
    for key in node_keys:
        signs = any(state.index_get(index, key) is not None for index in (Index.ORGANISATION_KEY, Index.MEMBER_KEY))
        if signs or key in taken:
            raise TransactionRejected("KEY_IN_USE", "another organisation's, or a key that signs")
