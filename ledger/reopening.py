"""A member whose help was taken back is what he was before the settlement (LEDGER §4, §5).

Rules of this file
- Whoever had left before he was helped (an exit, a lapse, a suspension) is what he was; nothing was charged meanwhile.
- A current member goes on as if he had never left, when no notice fell in between. Else he cannot be charged for
  periods whose count was frozen without him: the span is closed as it stands, and another begins with the next notice.
  His cover goes on unbroken, with the old waiting time.
- What he owed when he left and did not pay was written off at the close: then he has EXITED, and comes back as
  everybody does, also when no notice fell in between; else the others would bear a debt that he was forgiven.
- Counters follow the difference of the rows (``standing.Changes``), so none is forgotten.
"""

from msgspec.structs import replace

from .bills import RunningSums, is_pending, live_arrears, written_off
from .calendar import year_of
from .plans import next_unnoticed
from .rows import NO_END, NONE, Claim, Member, Plan, Span
from .standing import Changes, MemberState
from .state import State


def reopen(state: State, claim: Claim) -> None:
    """Take back what SETTLED did to the claimant. Somebody who is no longer BENEFITED (he died) is left alone."""
    member = state.get(Member, claim.member)
    if member.state != MemberState.BENEFITED or claim.helped_from == NONE:
        return
    plan = state.get(Plan, member.plan)
    changes = Changes(state, member.plan, plan)
    if claim.helped_from != MemberState.ACTIVE:
        after = replace(member, state=claim.helped_from, to_day=claim.helped_to_day)
    elif written_off(state, member, plan):
        after = replace(member, state=int(MemberState.EXITED))
    elif member.to_period >= next_unnoticed(plan):
        after = _as_if_never_left(changes, member)
    else:
        after = _after_the_gap(state, changes.sums, plan, claim, member)
    changes.put(claim.member, member, after)
    changes.flush()


def _as_if_never_left(changes: Changes, member: Member) -> Member:
    """A pending failure is judged again, now that he stays."""
    pending = is_pending(member, changes.plan)
    after = changes.lift(member)
    if not pending and not live_arrears(after, changes.plan):
        after = replace(after, fail_period=NONE, fails=0, arrears_fen=0)
    after = replace(after, state=int(MemberState.ACTIVE), to_period=NO_END, to_day=0)
    return changes.fail(after, changes.lapse_fails()) if pending else after


def _after_the_gap(state: State, sums: RunningSums, plan: Plan, claim: Claim, member: Member) -> Member:
    """Periods were counted without him: the old span is closed, its bill kept, and cover goes on."""
    begins = next_unnoticed(plan)
    span = Span(
        member=claim.member,
        from_period=member.from_period,
        to_period=member.to_period,
        from_day=member.join_day,
        to_day=member.to_day,
        base_fen=member.base_fen,
        previous_span=member.previous_span,
        continued=True,
    )
    base = 0
    if year_of(member.to_period) == year_of(begins):
        charged = sums.charged_before(member.birth_month, member.from_period, member.base_fen, member.to_period)
        base = min(sums.cap(year_of(begins)), charged)
    bill = sums.span_bill(member.birth_month, member.from_period, member.to_period, member.base_fen)
    return replace(
        member,
        state=int(MemberState.ACTIVE),
        from_period=begins,
        to_period=NO_END,
        to_day=0,
        base_fen=base,
        billed_fen=member.billed_fen + bill,
        fail_period=NONE,
        fails=0,
        arrears_fen=0,
        paid_period=NONE,
        previous_span=state.append(span),
    )
