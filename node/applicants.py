"""Applicants on both sides: who may have a status-only link, what it is told, and what a waiting node hears (NODE §1).

Rules of this file

* An applicant is a node key that an undecided or passed proposal to admit an organisation names. All other unknown keys
  are refused in the handshake, so nobody can take the few places without having been proposed.
* The answer is read from the newest state; it holds nothing that is not open to every reader of the API.
"""

from ledger import governance
from ledger.actions import AdmitOrganisation
from ledger.proposals import UNDECIDED, ProposalState
from ledger.rows import Organisation, Proposal
from ledger.state import StateReader

from .chain import Chain
from .snapshot_wire import Admission, encode_answer

UNKNOWN = "unknown"
ADMITTED = "admitted"


def applicant_keys(state: StateReader) -> frozenset[bytes]:
    """Node keys of the organisations whose admission is being decided."""
    return frozenset(
        key
        for _, row in state.rows(Proposal)
        if row.state in UNDECIDED and isinstance(row.action, AdmitOrganisation)
        for key in row.action.node_keys
    )


def admission(state: StateReader, node_key: bytes, height: int) -> Admission:
    """What has become of the application of the organisation that this node belongs to."""
    able = governance.electorate(state)
    needed = -(-2 * len(able) // 3)
    if any(node_key in row.node_keys for _, row in state.rows(Organisation)):
        return Admission(ADMITTED, -1, 0, needed, 0, height)
    found = None
    for number, row in state.rows(Proposal):
        if isinstance(row.action, AdmitOrganisation) and node_key in row.action.node_keys:
            found = (number, row)  # the newest one counts
    if found is None:
        return Admission(UNKNOWN, -1, 0, needed, 0, height)
    number, row = found
    in_favour = len(able.intersection(row.in_favour))
    state_name = ProposalState(row.state).name.lower()
    return Admission(state_name, number, in_favour, needed, row.due_ms, height)


class Applicants:
    """Answers applicants from the newest state."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    def answer(self, peer: bytes) -> bytes:
        """What the peer is told of its organisation's application."""
        current = self._chain.current
        return encode_answer(admission(current.state, peer, current.height))
