"""Event fingerprints: the same event claimed in several plans is seen, though identities are not linked (LEDGER §6).

A fingerprint is a keyed hash of (identity, illness group), equal in all plans of a person. Claims of *other* plans with
the same one and a diagnosis within ``EVENT_DAYS`` are shown with a claim and named by the receipt of its filing. To
claim in two plans is no offence; to tell two stories is, so investigators must know of both.
"""

from typing import Final

from .rows import Claim, Fingerprint
from .state import Index, State, StateReader, u64

EVENT_DAYS: Final = 90
COMPARED_MAX: Final = 64
"""Of the events with one fingerprint, so many of the newest are compared."""
_ID_BYTES: Final = 8


def remember(state: State, claim_id: int, claim: Claim) -> tuple[int, ...]:
    """Keep the event of a claim just filed; claims of other plans for the same event, ascending."""
    found = same_event(state, claim_id, claim)
    event = state.append(Fingerprint(fingerprint=claim.fingerprint, diagnosis_day=claim.diagnosis_day, claim=claim_id))
    known = state.index_get(Index.FINGERPRINT, claim.fingerprint) or b""
    state.index_put(Index.FINGERPRINT, claim.fingerprint, known + u64(event))
    return found


def same_event(state: StateReader, claim_id: int, claim: Claim) -> tuple[int, ...]:
    """Claims of other plans whose fingerprint is this one's and whose diagnosis is within ``EVENT_DAYS``, ascending."""
    packed = state.index_get(Index.FINGERPRINT, claim.fingerprint) or b""
    found = set()
    for at in range(0, len(packed), _ID_BYTES)[-COMPARED_MAX:]:
        event = state.get(Fingerprint, int.from_bytes(packed[at : at + _ID_BYTES], "big"))
        near = abs(event.diagnosis_day - claim.diagnosis_day) <= EVENT_DAYS
        if near and event.claim != claim_id and state.get(Claim, event.claim).plan != claim.plan:
            found.add(event.claim)
    return tuple(sorted(found))
