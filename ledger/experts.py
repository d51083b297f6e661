"""Expert review: who judges when no second firm or no jury can (LEDGER §5).

Rules of this file
- Experts are the active organisations that are not involved in the claim, and never the platform; besides them the
  regulator. Each speaks once, with a coded reason (0 clears).
- As soon as more than half of the experts and the regulator agree (clear, or refuse), that is the outcome. With several
  regulators: more than half of them.
- At the deadline the regulator's vote stands. Without it, the last firm's opinion: that of the review. A report is a
  commitment and states no opinion; without a review the claim is refused, for nothing is paid that nobody judged.
"""

from typing import Final

from msgspec.structs import replace

from .claim_table import Event, Judge, target
from .claims import check_reason, move, write
from .errors import TransactionRejected
from .organisations import with_role
from .roles import Role
from .rows import NONE, Claim
from .sender import Sender
from .state import State, StateReader
from .transactions import Opinion

NO_OPINION: Final = 10
"""The coded reason of a claim that nobody judged in time."""
_OUTCOMES: Final = (Event.EXPERTS_CLEAR, Event.EXPERTS_REFUSE)


def experts(state: StateReader, claim: Claim) -> list[int]:
    """Organisations that may judge the claim besides the regulator, ascending."""
    involved = {claim.investigator, claim.reviewer, claim.hospital, *claim.passed_over}
    apart = {*with_role(state, Role.PLATFORM), *with_role(state, Role.REGULATOR)}
    able = {*with_role(state, Role.BANK), *with_role(state, Role.ASSESSOR), *with_role(state, Role.HOSPITAL)}
    return sorted(able - apart - involved)


def regulators(state: StateReader) -> list[int]:
    """Active regulators, ascending."""
    return with_role(state, Role.REGULATOR)


def opine(state: State, body: Opinion, sender: Sender) -> tuple[int, ...]:
    """An opinion; with enough of them EXPERT -> CLEARED or REFUSED_FINAL. Detail: (claim id, opinions so far)."""
    claim = state.need(Claim, body.claim, "UNKNOWN_CLAIM")
    event = _event(body.reason)
    target(claim.state, event)
    check_reason(body.reason)
    judges, watching = experts(state, claim), regulators(state)
    if sender.organisation not in (*judges, *watching):
        raise TransactionRejected("NOT_INDEPENDENT")
    if any(sender.organisation in _said(claim, either) for either in _OUTCOMES):
        raise TransactionRejected("ALREADY_CONSENTED")
    fresh = replace(claim, consents=(*claim.consents, (int(event), sender.organisation, body.reason)))
    write(state, body.claim, claim, fresh)
    agreed = _said(fresh, event)
    if _most(agreed, watching) and (_most(agreed, judges) or not judges):
        _decide(state, body.claim, fresh, _reason(fresh, event, watching), state.block.ledger_time_ms)
    return body.claim, sum(len(_said(fresh, either)) for either in _OUTCOMES)


def overdue(state: State, claim_id: int, opened_ms: int) -> tuple[int, ...]:
    """The time is over: the regulator's vote stands; none: the last firm's opinion. Detail: (coded reason,)."""
    claim, watching = state.get(Claim, claim_id), regulators(state)
    reason = claim.reason if claim.reviewer != NONE else NO_OPINION
    clear, refuse = (len(_said(claim, event) & set(watching)) for event in _OUTCOMES)
    if clear != refuse:
        reason = _reason(claim, _OUTCOMES[refuse > clear], watching)
    _decide(state, claim_id, claim, reason, opened_ms)
    return (reason,)


def _decide(state: State, claim_id: int, claim: Claim, reason: int, opened_ms: int) -> None:
    move(state, claim_id, claim, _event(reason), opened_ms, reason=reason, judge=int(Judge.EXPERTS))


def _said(claim: Claim, event: Event) -> set[int]:
    return {organisation for said, organisation, _ in claim.consents if said == event}


def _event(reason: int) -> Event:
    return Event.EXPERTS_CLEAR if reason == 0 else Event.EXPERTS_REFUSE


def _reason(claim: Claim, event: Event, watching: list[int]) -> int:
    """The reason that the first regulator gave who spoke for ``event``."""
    return next(reason for said, organisation, reason in claim.consents if said == event and organisation in watching)


def _most(agreed: set[int], of: list[int]) -> bool:
    return 2 * len(agreed & set(of)) > len(of)
