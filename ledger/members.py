"""Members: joining, leaving, coming back, cover, and what is derived from a row and a day (LEDGER §4).

Rules of this file
- One row per (plan, identity). Whoever comes back gets his row again: without a gap (no notice fell into it) the span
  goes on as if he had never left; else the old span is closed into ``spans``, its bill is added to ``billed`` and a new
  one begins, with a new waiting time.
- A new span is charged from the first period whose calendar notice is after the joining, and whose notice is not out.
  An exit ends it with the next period whose notice is not out: who was counted pays.
- Whoever left with unpaid arrears pays them (``contribution``) before he comes back.
- Reinstated: a lapsed member who comes back within ``reinstate_days`` of the lapse goes on without a new waiting
  (``Span.continued``), at any age. The gap itself is not covered; a diagnosis in it costs this right (``endings``).
- WAITING, GRACE and the day on which a lapse took effect are derived from rows and the day; nothing fires them.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace

from . import member_keys
from .bills import RunningSums, is_pending, live_arrears, settlement_of, spans, written_off
from .calendar import age_on, day_from_civil, day_of, month_of, next_notice_period, year_of
from .codec import encode
from .errors import InvariantViolation, TransactionRejected
from .limits import BATCH_ITEMS_MAX
from .params import ACCIDENT, PlanParams
from .plans import need_open_plan, need_plan, next_unnoticed, version_at
from .rows import NO_END, NONE, Member, Plan, Span
from .standing import Changes, MemberState
from .state import Index, State, StateReader, u32
from .tables import Table
from .transactions import Enrol, EnrolBatch, Exit, ExitBatch

IDENTITY_BYTES: Final = 32
IDENTITY_INDEX_BYTES: Final = 10
ID_BYTES: Final = 5
_BIRTH_YEAR_MIN: Final = 1880
_EVER: Final = 2**31

Signer = int | bytes
"""Who signed: an organisation's id, or the public key of a member."""


# ---- joining -------------------------------------------------------------------------------------------------------


def enrol(state: State, body: Enrol, signer: Signer) -> tuple[int, ...]:
    """Join, or come back; detail: (member id, first period charged).

    Raises ``TransactionRejected``: UNKNOWN_PLAN, PLAN_CLOSED, BAD_FIELD, NOT_PERMITTED, KEY_IN_USE, BAD_BIRTH_MONTH,
    AGE_OUT_OF_RANGE, DUPLICATE_MEMBER, ALREADY_HELPED, NOT_A_CURRENT_MEMBER, ARREARS_UNPAID.
    """
    plan = need_open_plan(state, body.plan)
    if len(body.identity) != IDENTITY_BYTES:
        raise TransactionRejected("BAD_FIELD", f"an identity has {IDENTITY_BYTES} bytes")
    if isinstance(signer, bytes) and signer != body.member_key:
        raise TransactionRejected("NOT_PERMITTED", "a member joins with his own key as member_key")
    known = find_identity(state, body.plan, body.identity)
    if known is not None:
        return _come_back(state, plan, known, body, signer)
    if body.member_key:
        member_keys.check_free(state, body.member_key)
    day = day_of(state.block.ledger_time_ms)
    _check_age(version_at(state, body.plan, day)[1].params, body.birth_month, day)
    from_period = _first_period(state, plan)
    changes = Changes(state, body.plan, plan)
    member = _new_member(body.plan, body.identity, body.birth_month, day, from_period)
    member_id = state.append(member)
    changes.put(member_id, None, member)
    changes.flush()
    _index_identity(state, body.plan, body.identity, member_id)
    if body.member_key:
        member_keys.register(state, member_id, body.member_key)
    return member_id, from_period


def enrol_batch(state: State, body: EnrolBatch) -> tuple[int, ...]:
    """Custodial members under one signature; detail: (first id, how many joined, how many were known and skipped).

    An identity that is or was a member of the plan, or that stands earlier in the batch, is skipped; whoever comes back
    does so by ``enrol``. Raises ``TransactionRejected``: UNKNOWN_PLAN, PLAN_CLOSED, EMPTY_BATCH, BATCH_TOO_LARGE,
    BAD_FIELD, BAD_BIRTH_MONTH, AGE_OUT_OF_RANGE; then nobody joins.
    """
    plan = need_open_plan(state, body.plan)
    _check_size(len(body.members))
    identities, months = zip(*body.members, strict=True)
    if set(map(len, identities)) != {IDENTITY_BYTES}:
        raise TransactionRejected("BAD_FIELD", f"an identity has {IDENTITY_BYTES} bytes")
    day = day_of(state.block.ledger_time_ms)
    params = version_at(state, body.plan, day)[1].params
    for birth_month in sorted(set(months)):
        _check_age(params, birth_month, day)
    from_period = _first_period(state, plan)
    first = state.length(Member)
    fresh: Sequence[tuple[bytes, int]] = body.members
    if not _index_new(state, body.plan, identities, first):
        fresh = _index_fresh(state, body, first)
        months = tuple(birth_month for _, birth_month in fresh)
    counts = Counter(months)
    parts = {month: _row_parts(body.plan, month, day, from_period) for month in counts}
    rows = [(part := parts[month])[0] + identity + part[1] for identity, month in fresh]
    state.writable.append_many(Table.MEMBERS, rows)
    changes = Changes(state, body.plan, plan)
    for birth_month, members in counts.items():
        changes.count_new(birth_month, from_period, members)
    changes.flush()
    return first, len(fresh), len(body.members) - len(fresh)


def _row_parts(plan_id: int, birth_month: int, day: int, from_period: int) -> tuple[bytes, bytes]:
    """What stands before and after the identity in the rows of the day's new members of one birth month."""
    blank = bytes(IDENTITY_BYTES)
    raw = encode(_new_member(plan_id, blank, birth_month, day, from_period))
    head, _, tail = raw.partition(blank)
    return head, tail


def _index_new(state: State, plan_id: int, identities: Sequence[bytes], first: int) -> bool:
    """Index identities of which nobody knows even the bytes that the index holds: nearly every batch is so.

    False: at least one is known, or two begin alike; then nothing was done, and each is looked at (``_index_fresh``).
    Asked and put in the order of the keys: what LevelDB touches for one is then still in the processor's caches for the
    next, which saves more than half of both.
    """
    prefix = Index.IDENTITY.prefix + u32(plan_id)
    ids = [member_id.to_bytes(ID_BYTES, "big") for member_id in range(first, first + len(identities))]
    pairs = [prefix + name[:IDENTITY_INDEX_BYTES] + packed for name, packed in zip(identities, ids, strict=True)]
    pairs.sort()
    keys = [pair[:-ID_BYTES] for pair in pairs]
    entries = dict(zip(keys, [pair[-ID_BYTES:] for pair in pairs], strict=True))
    if len(entries) < len(keys) or state.overlay.get_many(keys).count(None) < len(keys):
        return False
    state.overlay.add(entries)
    return True


def _index_fresh(state: State, body: EnrolBatch, first: int) -> list[tuple[bytes, int]]:
    """The items whose identity is new, each put into the identity index under the ids from ``first`` on."""
    prefix = Index.IDENTITY.prefix + u32(body.plan)
    get, put = state.overlay.get, state.overlay.put
    seen: set[bytes] = set()
    fresh: list[tuple[bytes, int]] = []
    next_id = first
    for item in body.members:
        identity = item[0]
        if identity in seen:
            continue
        key = prefix + identity[:IDENTITY_INDEX_BYTES]
        ids = get(key)
        if ids is None:
            put(key, next_id.to_bytes(ID_BYTES, "big"))
        else:
            if any(state.get(Member, known).identity == identity for known in _ids(ids) if known < first):
                continue
            put(key, ids + next_id.to_bytes(ID_BYTES, "big"))
        seen.add(identity)
        fresh.append(item)
        next_id += 1
    return fresh


def _ids(packed: bytes) -> list[int]:
    return [int.from_bytes(packed[at : at + ID_BYTES], "big") for at in range(0, len(packed), ID_BYTES)]


def find_identity(state: StateReader, plan_id: int, identity: bytes) -> int | None:
    """The member id of an identity in a plan, or ``None``."""
    packed = state.index_get(Index.IDENTITY, u32(plan_id) + identity[:IDENTITY_INDEX_BYTES])
    for member_id in _ids(packed or b""):
        if state.get(Member, member_id).identity == identity:
            return member_id
    return None


def _index_identity(state: State, plan_id: int, identity: bytes, member_id: int) -> None:
    key = u32(plan_id) + identity[:IDENTITY_INDEX_BYTES]
    packed = state.index_get(Index.IDENTITY, key) or b""
    state.index_put(Index.IDENTITY, key, packed + member_id.to_bytes(ID_BYTES, "big"))


def _new_member(plan_id: int, identity: bytes, birth_month: int, day: int, from_period: int) -> Member:
    return Member(
        identity=identity,
        join_day=day,
        birth_month=birth_month,
        plan=plan_id,
        state=int(MemberState.ACTIVE),
        from_period=from_period,
        to_period=NO_END,
        to_day=0,
        base_fen=0,
        billed_fen=0,
        fail_period=NONE,
        fails=0,
        arrears_fen=0,
        paid_period=NONE,
        previous_span=NONE,
    )


def _first_period(state: State, plan: Plan) -> int:
    return max(next_unnoticed(plan), next_notice_period(state.block.ledger_time_ms))


def _check_size(items: int) -> None:
    if items == 0:
        raise TransactionRejected("EMPTY_BATCH")
    if items > BATCH_ITEMS_MAX:
        raise TransactionRejected("BATCH_TOO_LARGE", f"{items} items, at most {BATCH_ITEMS_MAX}")


def _check_age(params: PlanParams, birth_month: int, day: int) -> None:
    """Only the month is known: days of age count from the 1st of the month after it, as birthdays do."""
    if not _BIRTH_YEAR_MIN * 12 <= birth_month <= month_of(day):
        raise TransactionRejected("BAD_BIRTH_MONTH", str(birth_month))
    year, month = divmod(birth_month + 1, 12)
    age_days = day - day_from_civil(year, month + 1, 1)
    if age_days < params.joining_age_days_min or age_on(birth_month, day) > params.joining_age_years_max:
        raise TransactionRejected("AGE_OUT_OF_RANGE", f"birth month {birth_month}")


# ---- coming back ---------------------------------------------------------------------------------------------------

_CANNOT_RETURN: Final = {
    MemberState.ACTIVE: "DUPLICATE_MEMBER",
    MemberState.BENEFITED: "ALREADY_HELPED",
    MemberState.VOIDED: "NOT_A_CURRENT_MEMBER",
    MemberState.DECEASED: "NOT_A_CURRENT_MEMBER",
    MemberState.SUSPENDED: "DUPLICATE_MEMBER",
    MemberState.EXPELLED: "NOT_A_CURRENT_MEMBER",
}


def _come_back(state: State, plan: Plan, member_id: int, body: Enrol, signer: Signer) -> tuple[int, ...]:
    member = state.get(Member, member_id)
    code = _CANNOT_RETURN.get(MemberState(member.state))
    if code is None and is_pending(member, plan) and member.state == MemberState.LAPSED:
        code = "DUPLICATE_MEMBER"
    if code is not None:
        raise TransactionRejected(code, f"member {member_id}")
    if member.birth_month != body.birth_month:
        raise TransactionRejected("BAD_BIRTH_MONTH", f"member {member_id} joined with another one")
    _check_return_key(state, member_id, body.member_key, signer)
    changes = Changes(state, body.plan, plan)
    after = restore(state, changes, member_id, member, continued=reinstatable(state, member))
    return member_id, after.from_period


def restore(state: State, changes: Changes, member_id: int, member: Member, *, continued: bool) -> Member:
    """Make him a current member again, ``continued`` without a new waiting; returns his row.

    Raises ``TransactionRejected``: ARREARS_UNPAID, AGE_OUT_OF_RANGE.
    """
    plan = changes.plan
    if written_off(state, member, plan):
        raise TransactionRejected("ARREARS_UNPAID", f"member {member_id}")
    if member.to_period >= next_unnoticed(plan):
        after = _reopened(changes, member)
    else:
        after = _new_span(state, changes.sums, plan, member_id, member, continued)
    changes.put(member_id, member, after)
    changes.flush()
    return after


def reinstatable(state: State, member: Member) -> bool:
    """Whether a member lapsed so lately that he comes back without a new waiting."""
    if member.state != MemberState.LAPSED:
        return False
    today = day_of(state.block.ledger_time_ms)
    days = version_at(state, member.plan, today)[1].params.reinstate_days
    return today - covered_until(state, member) <= days


def _check_return_key(state: State, member_id: int, key: bytes, signer: Signer) -> None:
    """Whoever comes back keeps his key; a custodial member gets one only when he joins."""
    if key and member_keys.owner_of(state, key, state.block.ledger_time_ms) != member_id:
        raise TransactionRejected("NOT_PERMITTED", "not the key of this member")
    if isinstance(signer, bytes):
        check_member_key(state, member_id, signer)


def _reopened(changes: Changes, member: Member) -> Member:
    """No notice fell into the gap: as if he had never left. A pending failure is judged again, now that he stays."""
    pending = is_pending(member, changes.plan)
    after = changes.lift(member)
    if not pending and not live_arrears(after, changes.plan):
        after = replace(after, fail_period=NONE, fails=0, arrears_fen=0)
    after = replace(after, state=int(MemberState.ACTIVE), to_period=NO_END, to_day=0)
    return changes.fail(after, changes.lapse_fails()) if pending else after


def _new_span(state: State, sums: RunningSums, plan: Plan, member_id: int, member: Member, continued: bool) -> Member:
    day = day_of(state.block.ledger_time_ms)
    if not continued:
        _check_age(version_at(state, member.plan, day)[1].params, member.birth_month, day)
    from_period = _first_period(state, plan)
    span_id = state.append(
        Span(
            member=member_id,
            from_period=member.from_period,
            to_period=member.to_period,
            from_day=member.join_day,
            to_day=covered_until(state, member),
            base_fen=member.base_fen,
            previous_span=member.previous_span,
            continued=continued,
        )
    )
    base = 0
    if year_of(member.to_period) == year_of(from_period):
        charged = sums.charged_before(member.birth_month, member.from_period, member.base_fen, member.to_period)
        base = min(sums.cap(year_of(from_period)), charged)
    bill = sums.span_bill(member.birth_month, member.from_period, member.to_period, member.base_fen)
    return replace(
        _new_member(member.plan, member.identity, member.birth_month, day, from_period),
        base_fen=base,
        billed_fen=member.billed_fen + bill,
        previous_span=span_id,
    )


# ---- leaving -------------------------------------------------------------------------------------------------------


def exit_member(state: State, body: Exit, signer: Signer) -> tuple[int, ...]:
    """Leave; detail: (first period no longer charged,).

    Raises ``TransactionRejected``: UNKNOWN_MEMBER, NOT_PERMITTED, NOT_A_CURRENT_MEMBER.
    """
    member = state.need(Member, body.member, "UNKNOWN_MEMBER")
    if isinstance(signer, bytes):
        check_member_key(state, body.member, signer)
    changes = Changes(state, member.plan, state.get(Plan, member.plan))
    after = left(changes, member, MemberState.EXITED)
    if after is None:
        raise TransactionRejected("NOT_A_CURRENT_MEMBER", f"member {body.member}")
    changes.put(body.member, member, after)
    changes.flush()
    return (after.to_period,)


def exit_batch(state: State, body: ExitBatch) -> tuple[int, ...]:
    """Many leave under one signature; detail: (how many left, how many ids were no current members of the plan).

    Raises ``TransactionRejected``: UNKNOWN_PLAN, EMPTY_BATCH, BATCH_TOO_LARGE, BAD_RANGE (ids not strictly ascending
    from 0); then nobody leaves.
    """
    plan = need_plan(state, body.plan)
    _check_size(len(body.members))
    if body.members[0] < 0 or any(a >= b for a, b in zip(body.members, body.members[1:], strict=False)):
        raise TransactionRejected("BAD_RANGE", "member ids must ascend")
    changes = Changes(state, body.plan, plan)
    gone = 0
    for member_id in body.members[: bisect_left(body.members, state.length(Member))]:
        member = state.get(Member, member_id)
        after = left(changes, member, MemberState.EXITED) if member.plan == body.plan else None
        if after is not None:
            changes.put(member_id, member, after)
            gone += 1
    changes.flush()
    return gone, len(body.members) - gone


def benefit(state: State, member_id: int, period: int) -> None:
    """SETTLED: the member was helped with ``period``, which he still pays; he is charged no more after it."""
    member = state.get(Member, member_id)
    plan = state.get(Plan, member.plan)
    if plan.period != period:
        raise InvariantViolation(f"member {member_id} is helped with period {period}, the plan is at {plan.period}")
    changes = Changes(state, member.plan, plan)
    after = left(changes, member, MemberState.BENEFITED)
    if after is None:
        until = min(covered_until(state, member), day_of(state.block.ledger_time_ms) + 1)
        after = replace(member, state=int(MemberState.BENEFITED), to_day=until)
    changes.put(member_id, member, after)
    changes.flush()


def left(changes: Changes, member: Member, state: MemberState) -> Member | None:
    """The row of a current member after he left into ``state``; ``None`` when he is no current member."""
    plan = changes.plan
    if member.state == MemberState.SUSPENDED:
        return replace(member, state=int(state))
    pending = is_pending(member, plan)
    after = changes.lift(member)
    if after.state != MemberState.ACTIVE:
        return None
    if not pending and not live_arrears(after, plan):
        after = replace(after, fail_period=NONE, fails=0, arrears_fen=0)
    after = replace(
        after,
        state=int(state),
        to_period=max(after.from_period, next_unnoticed(plan)),
        to_day=day_of(changes.state.block.ledger_time_ms) + 1,
    )
    return changes.fail(after, changes.lapse_fails()) if pending else after


def check_member_key(state: State, member_id: int, key: bytes) -> None:
    """Refuse a key that is not this member's. Raises ``TransactionRejected("NOT_PERMITTED")``."""
    if member_keys.owner_of(state, key, state.block.ledger_time_ms) != member_id:
        raise TransactionRejected("NOT_PERMITTED", f"not the key of member {member_id}")


# ---- derived from rows and the day ---------------------------------------------------------------------------------


def covered_until(state: StateReader, member: Member) -> int:
    """First day on which the present span no longer covers; beyond all days while it covers."""
    if member.to_day:
        return member.to_day
    if member.state == MemberState.LAPSED:
        settlement = settlement_of(state, member.plan, member.to_period - 1)
        if settlement is not None and settlement.closed_ms:
            return day_of(settlement.closed_ms)
    return _EVER


class Lives(NamedTuple):
    """One span of cover: days strictly between ``start`` and ``stop``; an illness is covered after its waiting."""

    start: int
    stop: int
    waits_from: int
    """The joining day from which the waiting counts: that of an earlier span when this one continues it."""


def lives(state: StateReader, member_id: int, member: Member) -> list[Lives]:
    """All spans of cover of a member, the newest first."""
    found: list[Lives] = []
    waits_from, continued = NONE, False
    for span_id, span in spans(state, member):
        if span.member != member_id:
            raise InvariantViolation(f"span {span_id} of member {member_id} is another member's")
        waits_from = waits_from if continued else span.from_day
        found.append(Lives(span.from_day, span.to_day, waits_from))
        continued = span.continued
    waits_from = waits_from if continued else member.join_day
    found.append(Lives(member.join_day, covered_until(state, member), waits_from))
    found.reverse()
    return found


def waits_from(state: StateReader, member: Member) -> int:
    """The joining day from which the waiting of the member's present span counts."""
    since, previous = member.join_day, member.previous_span
    while previous != NONE:
        span = state.get(Span, previous)
        if not span.continued:
            break
        since, previous = span.from_day, span.previous_span
    return since


def covered(state: StateReader, member_id: int, member: Member, day: int, cause: int, params: PlanParams) -> str | None:
    """Whether a diagnosis on ``day`` was covered by one of the member's spans: ``None``, or the code of the refusal.

    ``params`` is the version of that day. Cover begins at 00:00 of the day after joining, for an illness
    ``waiting_days`` later. NOT_COVERED: outside every span; WAITING_ILL: ill while waiting.
    """
    waiting = 0 if cause == ACCIDENT else params.waiting_days
    code = "NOT_COVERED"
    for life in lives(state, member_id, member):
        if life.start < day < life.stop:
            if day >= life.waits_from + 1 + waiting:
                return None
            code = "WAITING_ILL"
    return code


def member_state(member: Member, day: int, plan: Plan, params: PlanParams, since: int | None = None) -> str:
    """The name of the member's state on ``day``, for people: the stored one, or WAITING or GRACE, which are derived.

    ``since``: where ``waits_from`` counts the waiting from; by default the joining day of the present span.
    """
    stored = MemberState(member.state)
    pending = is_pending(member, plan)
    if stored == MemberState.LAPSED and pending:
        return "GRACE"
    if stored != MemberState.ACTIVE:
        return stored.name
    if pending or live_arrears(member, plan):
        return "GRACE"
    since = member.join_day if since is None else since
    return "WAITING" if day <= since + params.waiting_days else stored.name
